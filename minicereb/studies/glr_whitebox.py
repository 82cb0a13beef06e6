"""How robust are the likelihood-ratio networks when the attacker knows the network?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from math import sqrt
from typing import Any

from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import Data, Experiment, Train
from minicereb.experiments.kinds.attacked import AttackedAverage, AttackedModel
from minicereb.experiments.kinds.transfer import TransferredAttack
from minicereb.report.formats import in_words, percent
from minicereb.report.page import Text
from minicereb.robustness.catalogue import PAPER_STEP
from minicereb.studies import glr_tables
from minicereb.studies.glr_tables import name_of
from minicereb.studies.results import Results, tabulate
from minicereb.studies.study import MNIST14, Study
from minicereb.studies.tables import Blocks

OBJECTIVES = ("cross-entropy", "margin")
# The controls of the tables, and their threshold networks with both losses.
ROWS = [
    row
    for row in glr_tables.ROWS + glr_tables.PAPERS_STEP
    if row.activation == "threshold" or row.learning.estimator == "backprop"
]
# Per scale: images under white-box attack, noisy runs that the search uses, draws of the gradient.
SIZES = {"smoke": (40, 16, 8), "course": (500, 64, 16), "paper": (5_000, 64, 32)}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Attack each network by FGSM via the first substitute, then directly by PGD-40, with the answers OT and LAP."""
    size, (images, search, draws) = glr_tables.SIZES[scale], SIZES[scale]
    hidden = next(iter(glr_tables.SUBSTITUTES))
    experiments: list[Experiment] = []
    for seed, row in product(seeds, ROWS):
        train = glr_tables.target(row, data, size, seed)
        substitute = glr_tables.substitute(hidden, data, size, seed)
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


def table(results: Results) -> Blocks:
    """Show one row per network, means over seeds in percent."""
    columns: list[tuple[str, Callable[[Results], str]]] = []
    for answer, kind in (("OT", AttackedModel), ("LAP", AttackedAverage)):
        transferred = f"all.adversarial_{answer.lower()}.accuracy"
        columns.append((f"clean {answer}", partial(_mean, kind=kind, of="clean_accuracy", objective="margin")))
        columns.append((f"transferred {answer}", partial(_mean, kind=TransferredAttack, of=transferred)))
        for objective in OBJECTIVES:
            columns.append((f"{objective} {answer}", partial(_mean, kind=kind, of="robust_accuracy", objective=objective)))
    config, record = results.where(AttackedModel)[0]
    attack, judges = config.attack, results.where(AttackedAverage)
    legend = (
        f"Accuracy in %, ε = {attack.epsilon:g}, first {record['images']:,} test images of {config.train.data.name}, "
        f"{in_words(results.seeds)}; a 95% interval is at most about ±{98 / sqrt(record['images']):.1f} points. Transferred: "
        f"FGSM on a substitute with two hidden layers. The others: PGD-{attack.steps} with step {attack.step_size:g} on the "
        "network itself, by objective; for threshold networks with the gradient from flips, for noisy sigmoid networks from "
        f"derivatives, both averaged over {attack.draws} draws of the noise; best iterate."
    )
    if judges:
        judge = judges[0][0]
        legend += f" LAP: the search uses {judge.search_replications} noisy runs, {judge.replications:,} others judge."
    return [tabulate("network", results.by(lambda config: name_of(config.trainings[0])), *columns), Text(legend)]


def _mean(network: Results, kind: type, of: str, **attack: Any) -> str:
    return percent(network.where(kind, **attack).mean(of))


GLR_WHITEBOX = Study(
    "glr-whitebox",
    "How robust are networks that learned from loss values when the attack is direct instead of transferred?",
    plan,
    table,
    expectation=(
        "The likelihood-ratio paper (Xiao, Peng, Hong and Ke, 2019) attacks its networks only via a substitute; a direct attack "
        "is not in it. Published figures: none."
    ),
    dataset=MNIST14,
)
