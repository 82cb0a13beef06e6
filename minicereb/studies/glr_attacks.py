"""Likelihood-ratio networks under white-box attacks: the best gradient to follow, and the robustness of the paper's networks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import Data, Experiment, Train, describe
from minicereb.experiments.kinds.attacked import AttackedAverage, AttackedModel
from minicereb.experiments.kinds.gradient_sources import GradientSources
from minicereb.experiments.kinds.transfer import TransferredAttack
from minicereb.report.formats import in_words, percent
from minicereb.report.page import Table, Text
from minicereb.robustness.catalogue import PAPER_STEP
from minicereb.studies import glr_tables
from minicereb.studies.glr_tables import name_of
from minicereb.studies.results import Blocks, Results, tabulate
from minicereb.studies.study import MNIST14, Study


def _under_pgd(results: Results) -> str:
    """Describe the common settings of a study's attacks, and how LAP predictions are judged."""
    config, record = results.where(AttackedModel)[0]
    images = record["images"]
    said = (
        f"PGD-{config.attack.steps} with step {config.attack.step_size:g} at ε = {config.attack.epsilon:g}, best iterate, first "
        f"{images:,} test images of {config.train.data.name}, {in_words(results.seeds)}; a 95% interval is at most about "
        f"±{98 / images**0.5:.1f} points."
    )
    judged = results.where(AttackedAverage)
    if judged:
        judge = judged[0][0]
        said += f" LAP: the search uses {judge.search_replications} noisy runs, {judge.replications:,} others judge."
    return said


# -- which gradient ----------------------------------------------------------------------------------------------------------

ESTIMATED = [(name, 32) for name in ("plain", "baseline", "antithetic", "rao-blackwell", "resample")]
SOURCES = (("straight-through", 1), *ESTIMATED, ("flip", 1), ("flip", 32))
# Per scale: hidden neurons, epochs, images whose gradient is compared, images attacked, runs searched, runs that judge, sources.
SOURCES_SIZES = {
    "smoke": (6, 1, 5, 10, 8, 50, SOURCES[:1] + SOURCES[-2:]),
    "course": (20, 5, 50, 200, 64, 500, SOURCES),
    "paper": (20, 24, 200, 1_000, 64, 10_000, SOURCES),
}


def _sources_plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """For both losses, compare each gradient source with the exact gradient, then use it for PGD-40 on both predictions."""
    hidden, epochs, compared, attacked, searched, judging, sources = SOURCES_SIZES[scale]
    experiments: list[Experiment] = []
    for seed, loss in product(seeds, ("cross-entropy", "zero-one")):
        model = NoisyModel((hidden,), loss=loss)
        train = Train(model, data, 50, epochs, 0.06, "adam", seed=seed, validation=0.0, schedule="cosine")
        experiments.append(GradientSources(train, sources, compared, seed=seed))
        for name, draws in sources:
            attack = Attack("pgd", "margin", 0.1, step_size=PAPER_STEP, seed=seed, gradient=name, draws=draws)
            experiments.append(AttackedModel(train, attack, attacked))
            experiments.append(AttackedAverage(train, attack, attacked, searched, judging))
    return experiments


def _sources_table(results: Results) -> Blocks:
    """Show a row for each network and gradient source; entries are means over seeds."""
    rows, config = [], results.where(GradientSources)[0][0]
    for network, group in results.by(lambda config: describe(config.trainings[0])).items():
        measured = group.where(GradientSources)
        for name, draws in (("exact", 1), *config.sources):
            key = name if name == "exact" else f"{name} {draws}"
            cosine = measured.mean(f"{key}.cosine")
            seconds = [r[key]["seconds"] / r["images"] for r in measured.records if r["images"]]
            cells = ["-" if cosine is None else f"{cosine:.3f}", percent(measured.mean(f"{key}.signs"))]
            cells.append(f"{1000 * sum(seconds) / len(seconds):.3g}" if seconds else "-")
            for kind in (AttackedModel, AttackedAverage):
                cells.append(percent(group.where(kind, gradient=name, draws=draws).mean("robust_accuracy")))
            rows.append([network, name, "-" if name == "exact" else str(draws), *cells])
    legend = (
        "Cosine and share of correct signs (in %): compared with the exact gradient of the mean margin, "
        f"{measured[0][1]['images']} images. OT and LAP: accuracy in % under an attack on the margin, {_under_pgd(results)}"
    )
    return [Table(["network", "gradient", "draws", "cosine", "signs", "ms per image", "OT", "LAP"], rows), Text(legend)]


GLR_SOURCES = Study(
    "glr-sources",
    "Which gradient should an attack on a network without derivatives follow, and what does it cost?",
    _sources_plan,
    _sources_table,
    dataset=MNIST14,
)

# -- the paper's networks ----------------------------------------------------------------------------------------------------

OBJECTIVES = ("cross-entropy", "margin")
# The controls of the paper's tables, and its threshold networks with both losses.
ROWS = [
    row
    for row in glr_tables.ROWS + glr_tables.PAPERS_STEP
    if row.activation == "threshold" or row.learning.estimator == "backprop"
]
# Per scale: images under white-box attack, noisy runs that the search uses, draws of the gradient.
WHITEBOX_SIZES = {"smoke": (40, 16, 8), "course": (500, 64, 16), "paper": (5_000, 64, 32)}


def _whitebox_plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Attack each network by FGSM via the first substitute, then directly by PGD-40, and test both kinds of prediction."""
    size, (images, search, draws) = glr_tables.SIZES[scale], WHITEBOX_SIZES[scale]
    experiments: list[Experiment] = []
    for seed, row in product(seeds, ROWS):
        train = glr_tables.target(row, data, size, seed)
        substitute = glr_tables.substitute(glr_tables.SUBSTITUTES[0], data, size, seed)
        experiments.append(TransferredAttack(train, substitute, glr_tables.ATTACK, images, size.lap, seed))
        for objective in OBJECTIVES:
            settings: dict[str, Any] = {"step_size": PAPER_STEP, "seed": seed, "gradient": gradient(train), "draws": draws}
            attack = Attack("pgd", objective, glr_tables.ATTACK.epsilon, **settings)
            experiments.append(AttackedModel(train, attack, images))
            if row.noise_scale is not None:
                experiments.append(AttackedAverage(train, attack, images, search, size.lap))
    return experiments


def gradient(train: Train) -> str:
    """Return the source of the attacker's gradient: flips, or derivatives, averaged over the noise if there is any."""
    model = train.model
    assert isinstance(model, NoisyModel)
    if model.activation == "threshold":
        return "flip"
    return "analytic" if model.noise == "none" else "backprop"


def _whitebox_table(results: Results) -> Blocks:
    """Show one row per network; entries are means over seeds in percent."""
    columns: list[tuple[str, Callable[[Results], str]]] = []
    for answer, kind in (("OT", AttackedModel), ("LAP", AttackedAverage)):
        transferred = f"all.adversarial_{answer.lower()}.accuracy"
        columns.append((f"clean {answer}", partial(_mean, kind=kind, of="clean_accuracy", objective="margin")))
        columns.append((f"transferred {answer}", partial(_mean, kind=TransferredAttack, of=transferred)))
        for objective in OBJECTIVES:
            columns.append((f"{objective} {answer}", partial(_mean, kind=kind, of="robust_accuracy", objective=objective)))
    legend = (
        "Accuracy in %. Transferred: FGSM on a substitute with two hidden layers. The others attack the network itself, by "
        "objective; threshold networks along the gradient from flips, noisy sigmoid networks along derivatives, both averaged "
        f"over {results.where(AttackedModel)[0][0].attack.draws} draws of the noise: {_under_pgd(results)}"
    )
    return [tabulate("network", results.by(lambda config: name_of(config.trainings[0])), *columns), Text(legend)]


def _mean(network: Results, kind: type, of: str, **attack: Any) -> str:
    return percent(network.where(kind, **attack).mean(of))


GLR_WHITEBOX = Study(
    "glr-whitebox",
    "How robust are networks that learned from loss values when the attack is direct instead of transferred?",
    _whitebox_plan,
    _whitebox_table,
    expectation=(
        "The likelihood-ratio paper (Xiao, Peng, Hong and Ke, 2019) attacks its networks only via a substitute; a direct attack "
        "is not in it. Published figures: none."
    ),
    dataset=MNIST14,
)
