"""Would the paper's checks for masked gradients have caught that its attack fails, and does our checklist?"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import AttackedModel, Data, Experiment, Train, describe
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.kinds.gradient_sizes import GradientSizes
from minicereb.experiments.laboratory import Record
from minicereb.report.figures import curves, save_figure
from minicereb.report.pipes import markdown
from minicereb.robustness.catalogue import PAPER_STEP, PAPER_STEPS, TUNED_STEPS
from minicereb.robustness.checklist import CHECKS, TOLERATED
from minicereb.statistics import proportion_interval
from minicereb.studies.protocol import EVERY, as_coded, as_printed
from minicereb.studies.study import Results, Study

PAPERS = ("fgsm-mse", "pgd-mse")  # the evaluation that the paper plans
NEAR, EVERYTHING = 0.005, 1.0  # where a step of 0.01 leaves the ball, and where the ball is the whole box
LOOKED_AT = 0.1  # the ε of the gradients and of the table of the checklist
SETTINGS = {
    "as printed": f"{PAPER_STEPS} steps of {PAPER_STEP:g}",
    "doubled": f"{2 * PAPER_STEPS} steps of {PAPER_STEP:g}",
    "tuned": f"{TUNED_STEPS} steps of ε/10, best iterate",
}


class Size(NamedTuple):
    """Of a scale: cells in full and random wiring, epochs at batch 1 and 10, images, ε of the evaluations, attacks of ours."""

    full: int
    random: int
    epochs_of_1: int
    epochs_of_10: int
    images: int
    epsilons: tuple[float, ...]
    attacks: tuple[str, ...]


SIZES = {
    "smoke": Size(50, 200, 1, 1, 8, (0.1,), (*PAPERS, "apgd-margin")),
    "course": Size(597, 20_000, 1, 2, 100, (0.1, 0.3), EVERY),
    "paper": Size(5_970, 200_000, 10, 10, 1_000, (0.1, 0.3), EVERY),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """The four models of the ablation, as coded and as printed: the paper's evaluation and ours, attacks, gradients."""
    size, experiments = SIZES[scale], []
    for seed, learned, wiring, ltd in product(seeds, (as_coded, as_printed), ("full", "random"), (False, True)):
        cells, per_cell = (size.full, None) if wiring == "full" else (size.random, 4)
        epochs = size.epochs_of_1 if learned is as_coded else size.epochs_of_10
        experiments += looked_at(learned(CerebellumModel(wiring, cells, per_cell, ltd=ltd), data, epochs, seed), size)
    return experiments


def looked_at(train: Train, size: Size) -> list[Experiment]:
    """Everything that is done with one model; what an evaluation has measured is not measured again."""
    experiments: list[Experiment] = [
        EvaluatedModel(train, size.epsilons, size.images, names, certify=False, seed=train.seed)
        for names in (PAPERS, size.attacks)
    ]
    everywhere = (NEAR, *size.epsilons, EVERYTHING)
    attacks = [("mse", "as printed", epsilon) for epsilon in (NEAR, EVERYTHING)]
    attacks += [("mse", "doubled", epsilon) for epsilon in size.epsilons]
    attacks += [("mse", "tuned", epsilon) for epsilon in everywhere]
    attacks += [("margin", setting, epsilon) for setting, epsilon in product(("as printed", "tuned"), everywhere)]
    experiments += [AttackedModel(train, attack_with(*attack, train.seed), size.images) for attack in attacks]
    for objective in ("mse", "margin"):
        experiments.append(GradientSizes(train, attack_with(objective, "as printed", LOOKED_AT, train.seed), size.images))
    return experiments


def attack_with(objective: str, setting: str, epsilon: float, seed: int) -> Attack:
    """PGD as printed, with its steps doubled, or tuned to ε."""
    if setting == "tuned":
        return Attack("pgd", objective, epsilon, steps=TUNED_STEPS, step_size=epsilon / 10, seed=seed)
    steps = PAPER_STEPS * (1 + (setting == "doubled"))
    return Attack("pgd", objective, epsilon, steps=steps, step_size=PAPER_STEP, seed=seed, keep="last")


# -- what was found of a model -----------------------------------------------------------------------------------------------


class Examined:
    """Everything that was found of one model.

    Parameters
    ----------
    train : Train
    results : list of (experiment, record)
        Of the study.
    """

    def __init__(self, train: Train, results: Results):
        own = [(config, record) for config, record in results if config.trainings == (train,)]
        self.train = train
        self.evaluations = {c.attacks == PAPERS: r for c, r in own if isinstance(c, EvaluatedModel)}
        self.epsilons = tuple(entry["epsilon"] for entry in self.ours["epsilons"])
        self._attacks = {c.attack: r["robust_accuracy"] for c, r in own if isinstance(c, AttackedModel)}
        self.gradients = {c.attack.objective: r for c, r in own if isinstance(c, GradientSizes)}

    @property
    def name(self) -> str:
        """A few words, with the seed."""
        return f"{describe(self.train)}, seed {self.train.seed}"

    @property
    def ours(self) -> Record:
        """The whole evaluation."""
        return self.evaluations[False]

    @property
    def papers(self) -> Record:
        """The one with nothing but the paper's attacks."""
        return self.evaluations[True]

    def under(self, objective: str, setting: str, epsilon: float) -> float:
        """Accuracy under an attack, from the evaluation where that has made it."""
        if setting == "as printed" and epsilon in self.epsilons and objective == "mse":
            return self.papers["epsilons"][self.epsilons.index(epsilon)]["by_attack"]["pgd-mse"]
        return self._attacks[attack_with(objective, setting, epsilon, self.train.seed)]

    def fgsm(self, epsilon: float) -> float:
        """Accuracy under one step on the squared error."""
        return self.papers["epsilons"][self.epsilons.index(epsilon)]["by_attack"]["fgsm-mse"]

    def left(self, epsilon: float) -> float:
        """What all attacks leave."""
        return self.ours["epsilons"][self.epsilons.index(epsilon)]["attacked"]

    def hidden(self, epsilon: float) -> float:
        """Share of the images that PGD on the squared error would have called robust, and are not."""
        return self.under("mse", "as printed", epsilon) - self.left(epsilon)


class Check(NamedTuple):
    """A check as the paper plans it: a number, and whether it is large enough for an alarm."""

    name: str
    value: float
    alarm: bool


def papers_checks(model: Examined, epsilon: float) -> list[Check]:
    """Return what the paper's checks say of its attack at one ε; the tolerance is that of our checklist."""
    printed, chance = model.under("mse", "as printed", epsilon), 1 / model.gradients["mse"]["classes"]
    gains = {
        "FGSM breaks more": printed - model.fgsm(epsilon),
        "80 steps break more": printed - model.under("mse", "doubled", epsilon),
        "tuned steps break more": printed - model.under("mse", "tuned", epsilon),
    }
    checks = [Check(name, gain, gain > TOLERATED + 1e-9) for name, gain in gains.items()]
    for setting in ("as printed", "tuned"):
        left = model.under("mse", setting, EVERYTHING)
        checks.append(Check(f"unbounded, {setting}", left, left > chance))
    before, after = (model.gradients["mse"][when] for when in ("before", "after"))
    vanished = max(each["zero"] + each["not_finite"] for each in (before, after))
    return [*checks, Check("images without gradient", vanished, vanished > TOLERATED)]


def models_of(results: Results) -> list[Examined]:
    """Return the models of the study in their order."""
    return [Examined(train, results) for train in dict.fromkeys(train for config, _ in results for train in config.trainings)]


# -- tables ------------------------------------------------------------------------------------------------------------------


def table(results: Results) -> str:
    """What each attack says; what each of the paper's checks says of its attack; our checklist, of both evaluations."""
    models = models_of(results)
    parts = (_attacks_table(models), _papers_table(models), _settings_table(models), _checklist_table(models))
    return "\n".join(line for part in parts for line in part).rstrip("\n")


def _attacks_table(models: list[Examined]) -> list[str]:
    head = ["model", "ε", "FGSM", *(f"squared error, {s}" for s in SETTINGS), "margin, tuned", "all attacks"]
    rows = []
    for model, epsilon in _cases(models):
        shares = [model.fgsm(epsilon), *(model.under("mse", setting, epsilon) for setting in SETTINGS)]
        shares += [model.under("margin", "tuned", epsilon), model.left(epsilon)]
        rows.append([model.name, f"{epsilon:g}", *map(_percent, shares)])
    images = models[0].ours["images"]
    return [
        *markdown(head, rows),
        "",
        f"Accuracy in % on the first {images:,} test images of {models[0].train.data.name}; a 95% interval is at most about "
        f"±{98 / images**0.5:.1f} points. As printed: {SETTINGS['as printed']}, last iterate; doubled: {SETTINGS['doubled']}, "
        f"last iterate; tuned: {SETTINGS['tuned']}. FGSM ascends the squared error. All attacks: for each image the strongest. "
        "Batch 1 as the authors' code has it, batch 10 as the paper prints it.",
        "",
    ]


def _papers_table(models: list[Examined]) -> list[str]:
    cases = _cases(models)
    checked = {(model.name, epsilon): papers_checks(model, epsilon) for model, epsilon in cases}
    names = [check.name for check in next(iter(checked.values()))]
    rows, fooled = [], []
    for model, epsilon in cases:
        n, checks = model.ours["images"], checked[model.name, epsilon]
        low, high = proportion_interval(round(model.hidden(epsilon) * n), n)
        if low > TOLERATED:
            fooled.append(checks)
        hidden = f"{_percent(model.hidden(epsilon))} ({_percent(low)}-{_percent(high)})"
        rows.append([model.name, f"{epsilon:g}", hidden, *(_percent(c.value) + " **alarm**" * c.alarm for c in checks)])
    caught = [f"{name} {sum(checks[n].alarm for checks in fooled)}" for n, name in enumerate(names)]
    none = sum(not any(check.alarm for check in checks) for checks in fooled)
    return [
        *markdown(["model", "ε", "called robust and is not", *names], rows),
        "",
        f"In %. Called robust and is not: images that withstand the paper's attack ({SETTINGS['as printed']} on the squared "
        "error) and fall to another, with 95% interval (Clopper-Pearson). The next three columns: by how much less another "
        "attack on the squared error leaves. Unbounded: what is left when every pixel may change as it likes. Images without "
        "gradient: zero throughout, or not finite, before the attack or after it. The paper names no thresholds; an alarm here "
        f"is more than {100 * TOLERATED:g} point, or unbounded more than chance. Of the {len(fooled)} rows in which the interval "
        f"of the first number is above {100 * TOLERATED:g}, an alarm was raised by: {'; '.join(caught)}; by none of them in "
        f"{none}.",
        "",
    ]


def _settings_table(models: list[Examined]) -> list[str]:
    places = (NEAR, *models[0].epsilons, EVERYTHING)
    head = ["model", "ascending", *(f"{s} {place:g}" for place in places for s in ("as printed", "tuned"))]
    rows = []
    for model, objective in product(models, ("mse", "margin")):
        shares = (model.under(objective, setting, place) for place, setting in product(places, ("as printed", "tuned")))
        rows.append([model.name, objective, *map(_percent, shares)])
    return [
        *markdown(head, rows),
        "",
        f"Accuracy in % under PGD with the settings as printed and tuned, at each ε. A step of {PAPER_STEP:g} is longer than "
        f"ε = {NEAR:g}, and {PAPER_STEPS} of them cannot cross the ball where ε is above {PAPER_STEPS * PAPER_STEP / 2:g}.",
        "",
    ]


VERDICTS = {"pass": "pass", "warn": "warn", "fail": "**fail**", "not tested": "-"}


def _checklist_table(models: list[Examined]) -> list[str]:
    rows = []
    for model, which in product(models, ("papers", "ours")):
        entry = next(each for each in getattr(model, which)["epsilons"] if each["epsilon"] == LOOKED_AT)
        verdicts = {line["name"]: VERDICTS[line["verdict"]] for line in entry["checklist"]}
        rows.append([model.name, {"papers": "the paper's", "ours": "all"}[which], *(verdicts.get(name, "-") for name in CHECKS)])
    return [
        *markdown(["model", "attacks", *CHECKS], rows),
        "",
        f"Our checklist at ε = {LOOKED_AT:g}, of an evaluation with {' and '.join(PAPERS)} alone and of one with all attacks. A "
        "fail says that the evaluation deceives itself, a warning that one of its attacks would have, or that a single image "
        "did.",
    ]


def _cases(models: list[Examined]) -> list[tuple[Examined, float]]:
    return [(model, epsilon) for model in models for epsilon in model.epsilons]


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


# -- figures -----------------------------------------------------------------------------------------------------------------


def figures(results: Results, out: Path) -> None:
    """Draw for each kind of model the sizes of its gradients' entries, before the attack and after, for both objectives."""
    drawn = set()
    for model in models_of(results):
        name = _figure(model.train)
        if name not in drawn:
            drawn.add(name)
            panels = [_panel(objective, record) for objective, record in model.gradients.items()]
            save_figure(curves(panels, "size, power of ten", "share of the entries", marked=False), out / f"{name}.png")


def _panel(objective: str, record: Record) -> tuple[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Title with the zeros, and the share of all entries in each bin between the outermost that are not empty."""
    middles = np.convolve(np.array(record["edges"], dtype=np.float64), [0.5, 0.5], mode="valid")
    sides = [record[when] for when in ("before", "after")]
    counts = np.array([side["counts"] for side in sides], dtype=np.float64)
    used = np.flatnonzero(counts.any(axis=0))
    shown = slice(used[0], used[-1] + 1) if len(used) else slice(None)
    lines = {}
    for words, side, count in zip(("as they are", "attacked"), sides, counts, strict=True):
        shares = (1 - side["zero_entries"]) * count / max(1.0, count.sum())
        lines[words] = (middles[shown], shares[shown])
    zeros = [f"{100 * side['zero_entries']:.1f}%" for side in sides]
    return f"{objective}; zeros {zeros[0]}, then {zeros[1]}", lines


def _figure(train: Train) -> str:
    model = train.model
    assert isinstance(model, CerebellumModel)
    return f"gradients-{model.wiring}-{'ltd' if model.ltd else 'no-ltd'}-batch-{train.batch_size}"


CAPTION = (
    "Absolute values of the entries of the input gradient of the squared error and of the margin, at the images as they are and "
    f"where {PAPER_STEPS} steps of {PAPER_STEP:g} have taken them (ε = {LOOKED_AT:g}); zeros are counted in the titles. Images "
    "that are right as they are, of the first seed."
)

WORDS = {"no-ltd": "no LTD", "ltd": "LTD"}

MASKING = Study(
    "masking",
    "Would the paper's checks for masked gradients have caught that its attack fails, and does our checklist?",
    {"smoke": "strokes", "course": "mnist", "paper": "mnist"},
    plan,
    table,
    figures,
    expectation=(
        "The cerebellum paper (Yuezhang, Li and Chen, a registered plan) plans to take FGSM as a sanity test for PGD, to plot "
        "the distribution of gradients, to tune the attack, to double its iterations and to attack without bound. Published "
        "figures: none."
    ),
    captions={
        f"gradients-{wiring}-{ltd}-batch-{batch}": f"{wiring.capitalize()} wiring, {WORDS[ltd]}, batch {batch}. " + CAPTION
        for wiring, ltd, batch in product(("full", "random"), WORDS, (1, 10))
    },
)
