"""Would the paper's checks for masked gradients have detected that its attack fails, and does our checklist detect it?"""

from __future__ import annotations

from collections import namedtuple
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Experiment, Train, describe
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.kinds.attacked import AttackedModel, GradientSizes
from minicereb.experiments.laboratory import Record
from minicereb.report.figures import Curves, curves
from minicereb.report.formats import percent
from minicereb.report.page import Table, Text
from minicereb.robustness.catalogue import PAPER_STEP, PAPER_STEPS, TUNED_STEPS
from minicereb.robustness.checklist import CHECKS, TOLERATED
from minicereb.statistics import proportion_interval
from minicereb.studies.protocol import EVERY, as_coded, as_printed, four_models, paper_pgd
from minicereb.studies.results import Blocks, Figures, Results
from minicereb.studies.study import Study
from minicereb.studies.tables import entry_at

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAPERS = ("fgsm-mse", "pgd-mse")  # the evaluation that the paper plans
NEAR, EVERYTHING = 0.005, 1.0  # a step of 0.01 leaves the ball, and the ball is the whole box
SHOWN = 0.1  # ε of the gradients and of the table of the checklist
SETTINGS = {
    "as printed": f"{PAPER_STEPS} steps of {PAPER_STEP:g}",
    "doubled": f"{2 * PAPER_STEPS} steps of {PAPER_STEP:g}",
    "tuned": f"{TUNED_STEPS} steps of ε/10, best iterate",
}


# Per scale: cells in full and random wiring, epochs at batch 1 and 10, images, ε of the evaluations, our attacks.
SIZES = {
    "smoke": (50, 200, 1, 1, 8, (0.1,), (*PAPERS, "apgd-margin")),
    "course": (597, 20_000, 1, 2, 100, (0.1, 0.3), EVERY),
    "paper": (5_970, 200_000, 10, 10, 1_000, (0.1, 0.3), EVERY),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Train the ablation's models as in the code and as in the paper; run both evaluations and more attacks; measure gradients.

    Attacks already run by an evaluation are not repeated.
    """
    full, random, coded, printed, images, epsilons, attacks = SIZES[scale]
    everywhere = (NEAR, *epsilons, EVERYTHING)
    further = [
        *(("mse", "as printed", epsilon) for epsilon in (NEAR, EVERYTHING)),
        *(("mse", "doubled", epsilon) for epsilon in epsilons),
        *(("mse", "tuned", epsilon) for epsilon in everywhere),
        *product(("margin",), ("as printed", "tuned"), everywhere),
    ]
    experiments: list[Experiment] = []
    for seed, (way, epochs), model in product(seeds, ((as_coded, coded), (as_printed, printed)), four_models(full, random)):
        train = way(model, data, epochs, seed)
        for names in (PAPERS, attacks):
            experiments.append(EvaluatedModel(train, epsilons, images, names, certify=False, seed=seed))
        experiments += [AttackedModel(train, attack_with(*attack, seed), images) for attack in further]
        for objective in ("mse", "margin"):
            experiments.append(GradientSizes(train, attack_with(objective, "as printed", SHOWN, seed), images))
    return experiments


def attack_with(objective: str, setting: str, epsilon: float, seed: int) -> Attack:
    """Return PGD as in the paper, with twice as many steps, or with a step size tuned to ε."""
    if setting == "tuned":
        return Attack("pgd", objective, epsilon, steps=TUNED_STEPS, step_size=epsilon / 10, seed=seed)
    printed = paper_pgd(objective, epsilon, seed)
    return replace(printed, steps=2 * PAPER_STEPS) if setting == "doubled" else printed


class MaskedModel:
    """The results of one model."""

    def __init__(self, train: Train, results: Results):
        self.train = train
        self.name = f"{describe(train)}, seed {train.seed}"
        self.papers, self.ours = results.where(EvaluatedModel).records  # with the paper's attacks only, and with all
        self.epsilons = tuple(entry["epsilon"] for entry in self.ours["epsilons"])
        self._attacks = {config.attack: record["robust_accuracy"] for config, record in results.where(AttackedModel)}
        self.gradients = {config.attack.objective: record for config, record in results.where(GradientSizes)}

    def under(self, objective: str, setting: str, epsilon: float) -> float:
        """Return the accuracy under PGD, from the evaluation if it ran this attack."""
        if setting == "as printed" and epsilon in self.epsilons and objective == "mse":
            return self.by_paper("pgd-mse", epsilon)
        return self._attacks[attack_with(objective, setting, epsilon, self.train.seed)]

    def by_paper(self, attack: str, epsilon: float) -> float:
        """Return the accuracy under an attack of the paper's evaluation."""
        return entry_at(self.papers, epsilon)["by_attack"][attack]  # type: ignore[no-any-return]

    def attacked(self, epsilon: float) -> float:
        """Return the robust accuracy under all attacks."""
        return entry_at(self.ours, epsilon)["attacked"]  # type: ignore[no-any-return]


PlannedCheck = namedtuple("PlannedCheck", "name value alarm")  # a check that the paper plans, and whether it raises an alarm


def papers_checks(model: MaskedModel, epsilon: float) -> list[PlannedCheck]:
    """Return the outcomes at one ε of the checks that the paper plans for its attack, with the tolerance of our checklist."""
    printed, chance = model.under("mse", "as printed", epsilon), 1 / model.gradients["mse"]["classes"]
    gains = {
        "FGSM breaks more": printed - model.by_paper("fgsm-mse", epsilon),
        "80 steps break more": printed - model.under("mse", "doubled", epsilon),
        "tuned steps break more": printed - model.under("mse", "tuned", epsilon),
    }
    checks = [PlannedCheck(name, gain, gain > TOLERATED + 1e-9) for name, gain in gains.items()]
    for setting in ("as printed", "tuned"):
        unbounded = model.under("mse", setting, EVERYTHING)
        checks.append(PlannedCheck(f"unbounded, {setting}", unbounded, unbounded > chance))
    sizes = (model.gradients["mse"][when] for when in ("before", "after"))
    vanished = max(each["zero"] + each["not_finite"] for each in sizes)
    return [*checks, PlannedCheck("images without gradient", vanished, vanished > TOLERATED)]


def models_of(results: Results) -> list[MaskedModel]:
    """Return the models of the study in order."""
    return [MaskedModel(train, group) for (train, *_), group in results.by(lambda config: config.trainings).items()]


def table(results: Results) -> Blocks:
    """Show accuracy under each attack, the paper's checks, the settings of PGD, and our checklist for both evaluations."""
    models = models_of(results)
    cases = [(model, epsilon) for model in models for epsilon in model.epsilons]
    return [*_attacks_table(cases), *_papers_table(cases), *_settings_table(models), *_checklist_table(models)]


Cases = list[tuple[MaskedModel, float]]


def _attacks_table(cases: Cases) -> Blocks:
    rows, model = [], cases[0][0]
    for each, epsilon in cases:
        shares = [each.by_paper("fgsm-mse", epsilon), *(each.under("mse", setting, epsilon) for setting in SETTINGS)]
        shares += [each.under("margin", "tuned", epsilon), each.attacked(epsilon)]
        rows.append([each.name, f"{epsilon:g}", *map(percent, shares)])
    images = model.ours["images"]
    legend = (
        f"Accuracy in % on the first {images:,} test images of {model.train.data.name}; a 95% interval is at most about "
        f"±{98 / images**0.5:.1f} points. As printed: {SETTINGS['as printed']}, last iterate; doubled: {SETTINGS['doubled']}, "
        f"last iterate; tuned: {SETTINGS['tuned']}. FGSM ascends the squared error. All attacks: for each image the strongest. "
        "Batch 1 is trained as the authors' code has it, batch 10 as the paper prints it."
    )
    head = ["model", "ε", "FGSM", *(f"squared error, {s}" for s in SETTINGS), "margin, tuned", "all attacks"]
    return [Table(head, rows), Text(legend)]


def _papers_table(cases: Cases) -> Blocks:
    rows, deceived = [], []
    for model, epsilon in cases:
        checks, n = papers_checks(model, epsilon), model.ours["images"]
        hidden = model.under("mse", "as printed", epsilon) - model.attacked(epsilon)  # share of the images
        low, high = proportion_interval(round(hidden * n), n)
        if low > TOLERATED:
            deceived.append(checks)
        shown = f"{percent(hidden)} ({percent(low)}-{percent(high)})"
        rows.append([model.name, f"{epsilon:g}", shown, *(percent(c.value) + " **alarm**" * c.alarm for c in checks)])
    names = [check.name for check in checks]
    caught = [f"{name} {sum(checks[n].alarm for checks in deceived)}" for n, name in enumerate(names)]
    none = sum(not any(check.alarm for check in checks) for checks in deceived)
    legend = (
        f"In %. Wrongly called robust: images that are correctly classified under the paper's attack ({SETTINGS['as printed']} "
        "on the squared error) and broken by another, with 95% interval (Clopper-Pearson). The next three columns: by how much "
        "another attack on the squared error lowers the accuracy further. Unbounded: accuracy if every pixel may take any value. "
        "Images without gradient: zero everywhere, or not finite, before or after the attack. The paper names no thresholds; "
        f"here more than {100 * TOLERATED:g} point, or an unbounded accuracy above chance, is an alarm. Of the {len(deceived)} "
        f"rows in which the interval of the first number is above {100 * TOLERATED:g}, an alarm was raised by: "
        f"{'; '.join(caught)}; by none of them in {none}."
    )
    return [Table(["model", "ε", "wrongly called robust", *names], rows), Text(legend)]


def _settings_table(models: list[MaskedModel]) -> Blocks:
    places = list(product((NEAR, *models[0].epsilons, EVERYTHING), ("as printed", "tuned")))
    rows = [
        [model.name, objective, *(percent(model.under(objective, setting, epsilon)) for epsilon, setting in places)]
        for model, objective in product(models, ("mse", "margin"))
    ]
    legend = (
        f"Accuracy in % under PGD with the settings as printed and tuned, at each ε. A step of {PAPER_STEP:g} is longer than "
        f"ε = {NEAR:g}, and {PAPER_STEPS} of them cannot cross the ball if ε is above {PAPER_STEPS * PAPER_STEP / 2:g}."
    )
    return [Table(["model", "ascending", *(f"{s} {epsilon:g}" for epsilon, s in places)], rows), Text(legend)]


VERDICTS = {"pass": "pass", "warn": "warn", "fail": "**fail**", "not tested": "-"}


def _checklist_table(models: list[MaskedModel]) -> Blocks:
    rows = []
    for model in models:
        for attacks, record in (("the paper's", model.papers), ("all", model.ours)):
            verdicts = {line["name"]: VERDICTS[line["verdict"]] for line in entry_at(record, SHOWN)["checklist"]}
            rows.append([model.name, attacks, *(verdicts.get(name, "-") for name in CHECKS)])
    legend = (
        f"Our checklist at ε = {SHOWN:g}, for an evaluation with {' and '.join(PAPERS)} only and for one with all attacks. A "
        "fail means that the evaluation overestimates robustness, a warning that one of its attacks alone would, or that it does "
        "for a single image."
    )
    return [Table(["model", "attacks", *CHECKS], rows), Text(legend)]


def figures(results: Results) -> Figures:
    """For each kind of model, draw how the entries of the gradient are distributed before and after the attack, by objective."""
    drawn: dict[str, Figure] = {}
    for model in models_of(results):
        name = _figure_of(model.train)
        if name not in drawn:
            panels = [_panel(objective, record) for objective, record in model.gradients.items()]
            changed = [f"{_typical_change(lines):.2g} times ({title.partition(';')[0]})" for title, lines in panels]
            said = f"The attack makes a typical entry of the gradient {' or '.join(changed)} as large."
            drawn[name] = curves(panels, "size, power of ten", "share of the entries", marked=False, conclusion=said)
    return drawn


def _typical_change(lines: Curves) -> float:
    """Return the geometric mean of the nonzero entries after the attack, divided by the geometric mean before the attack."""
    clean, attacked = (np.average(middles, weights=shares) for middles, shares in lines.values() if shares.any())
    return float(10 ** (attacked - clean))


def _panel(objective: str, record: Record) -> tuple[str, Curves]:
    """Return the share of entries in each bin, from the first to the last non-empty one; the title gives the share of zeros."""
    middles = np.convolve(np.array(record["edges"], dtype=np.float64), [0.5, 0.5], mode="valid")
    sides = [record[when] for when in ("before", "after")]
    counts = np.array([side["counts"] for side in sides], dtype=np.float64)
    used = np.flatnonzero(counts.any(axis=0))
    shown = slice(used[0], used[-1] + 1) if len(used) else slice(None)
    lines = {}
    for words, side, count in zip(("clean", "attacked"), sides, counts, strict=True):
        shares = (1 - side["zero_entries"]) * count / max(1.0, count.sum())
        lines[words] = (middles[shown], shares[shown])
    zeros = [f"{100 * side['zero_entries']:.1f}%" for side in sides]
    return f"{objective}; zeros {zeros[0]}, then {zeros[1]}", lines


def _figure_of(train: Train) -> str:
    model = train.model
    assert isinstance(model, CerebellumModel)
    return f"gradients-{model.wiring}-{'ltd' if model.ltd else 'no-ltd'}-batch-{train.batch_size}"


CAPTION = (
    "Absolute values of the entries of the input gradient of the squared error and of the margin, at the clean images and after "
    f"{PAPER_STEPS} steps of {PAPER_STEP:g} (ε = {SHOWN:g}); the titles give the share of zeros. Images that are correctly "
    "classified before the attack, first seed."
)
WORDS = {"no-ltd": "no LTD", "ltd": "LTD"}

MASKING = Study(
    "masking",
    "Would the paper's checks for masked gradients have detected that its attack fails, and does our checklist detect it?",
    plan,
    table,
    figures,
    "The cerebellum paper (Yuezhang, Li and Chen, a registered plan) plans to use FGSM as a sanity test for PGD, to plot the "
    "distribution of gradients, to tune the attack, to double its iterations and to attack without bound. Published figures: "
    "none.",
    captions={
        f"gradients-{wiring}-{ltd}-batch-{batch}": f"{wiring.capitalize()} wiring, {WORDS[ltd]}, batch {batch}. " + CAPTION
        for wiring, ltd, batch in product(("full", "random"), WORDS, (1, 10))
    },
)
