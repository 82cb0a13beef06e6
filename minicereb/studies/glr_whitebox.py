"""What is left of the likelihood-ratio networks' robustness when the attacker knows the network."""

from __future__ import annotations

from itertools import product
from math import sqrt

from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import AttackedModel, Data, Experiment, Train
from minicereb.experiments.kinds.averaged import AttackedAverage
from minicereb.experiments.kinds.transfer import TransferredAttack
from minicereb.report.pipes import markdown
from minicereb.robustness.catalogue import PAPER_STEP
from minicereb.studies import glr_tables
from minicereb.studies.glr_tables import name_of
from minicereb.studies.study import Results, Study

OBJECTIVES = ("cross-entropy", "margin")
# Of the tables' rows: both controls, and the threshold networks of both losses.
ROWS = [
    row
    for row in glr_tables.ROWS + glr_tables.PAPERS_STEP
    if row.activation == "threshold" or row.learning.estimator == "backprop"
]
# Per scale: images under white-box attack, noisy runs that the search looks at, draws of the gradient.
SIZES = {"smoke": (40, 16, 8), "course": (500, 64, 16), "paper": (5_000, 64, 32)}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """For each network: FGSM by way of the first substitute, then PGD-40 on the network itself, by OT and by LAP."""
    size, (images, search, draws) = glr_tables.SIZES[scale], SIZES[scale]
    hidden = next(iter(glr_tables.SUBSTITUTES))
    experiments: list[Experiment] = []
    for seed, row in product(seeds, ROWS):
        train = glr_tables.target(row, data, size, seed)
        substitute = glr_tables.substitute(hidden, data, size, seed)
        experiments.append(TransferredAttack(train, substitute, glr_tables.ATTACK, images, size.lap, seed))
        for objective in OBJECTIVES:
            attack = Attack(
                "pgd",
                objective,
                glr_tables.ATTACK.epsilon,
                step_size=PAPER_STEP,
                seed=seed,
                gradient=gradient(train),
                draws=draws,
            )
            experiments.append(AttackedModel(train, attack, images))
            if row.noise_scale is not None:
                experiments.append(AttackedAverage(train, attack, images, search, size.lap))
    return experiments


def gradient(train: Train) -> str:
    """Return where an attacker gets the gradient: by flips, or by derivatives averaged over the noise, if there is any."""
    model = train.model
    assert isinstance(model, NoisyModel)
    if model.activation == "threshold":
        return "flip"
    return "analytic" if model.noise == "none" else "backprop"


COLUMNS = [f"{what} {by}" for by in ("OT", "LAP") for what in ("clean", "transferred", *OBJECTIVES)]


def table(results: Results) -> str:
    """Return one row a network, means over seeds in percent."""
    networks = list(dict.fromkeys(name_of(_trained(config)) for config, _ in results))
    rows = []
    for name in networks:
        of_network = [(config, record) for config, record in results if name_of(_trained(config)) == name]
        rows.append([name, *(_mean(values) for values in _columns(of_network))])
    attack = next(config.attack for config, _ in results if isinstance(config, AttackedModel))
    images = next(record["images"] for config, record in results if isinstance(config, AttackedModel))
    judge = next((c for c, _ in results if isinstance(c, AttackedAverage)), None)
    seeds = sorted({_trained(config).seed for config, _ in results})
    return "\n".join(
        [
            *markdown(["network", *COLUMNS], rows),
            "",
            f"Accuracy in %, ε = {attack.epsilon:g}, first {images:,} test images of {_trained(results[0][0]).data.name}, seed"
            f"{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}; a 95% interval is at most about "
            f"±{98 / sqrt(images):.1f} points. "
            "Transferred: FGSM on a substitute of two hidden layers. Else: PGD-"
            f"{attack.steps} with step {attack.step_size:g} on the network itself, by objective; of threshold networks with the "
            "gradient from flips, of noisy sigmoid networks from derivatives, both averaged over "
            f"{attack.draws} draws of the noise; best iterate."
            + (
                f" LAP: the search looks at {judge.search_replications} noisy runs, {judge.replications:,} others judge."
                if judge
                else ""
            ),
        ]
    )


def _trained(config: Experiment) -> Train:
    return config.trainings[0]


def _columns(results: Results) -> list[list[float]]:
    """Values over seeds for each column; empty where there is no such experiment."""
    transfers = [record for config, record in results if isinstance(config, TransferredAttack)]

    def attacked(kind: type[AttackedModel] | type[AttackedAverage], key: str, objective: str) -> list[float]:
        return [record[key] for config, record in results if isinstance(config, kind) and config.attack.objective == objective]

    def transferred(name: str) -> list[float]:
        return [record["all"][name]["accuracy"] for record in transfers if record["all"][name] is not None]

    return [
        attacked(AttackedModel, "clean_accuracy", "margin"),
        transferred("adversarial_ot"),
        *(attacked(AttackedModel, "robust_accuracy", objective) for objective in OBJECTIVES),
        attacked(AttackedAverage, "clean_accuracy", "margin"),
        transferred("adversarial_lap"),
        *(attacked(AttackedAverage, "robust_accuracy", objective) for objective in OBJECTIVES),
    ]


def _mean(values: list[float]) -> str:
    return f"{100 * sum(values) / len(values):.1f}" if values else "-"


GLR_WHITEBOX = Study(
    "glr-whitebox",
    "What is left of the robustness of networks that learned from loss values when the attack is not transferred but direct?",
    {"smoke": "strokes14", "course": "mnist14", "paper": "mnist14"},
    plan,
    table,
    expectation=(
        "The likelihood-ratio paper (Xiao, Peng, Hong and Ke, 2019) attacks its networks only by way of a substitute; a "
        "direct attack is not in it. Published figures: none."
    ),
)
