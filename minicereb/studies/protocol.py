"""What the studies of the cerebellum paper share: how its models learn, how each is examined, and the tables of what was found.

Every model is examined in two ways: by the paper's own attacks, FGSM and PGD on the squared error, and by the whole evaluation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minicereb.attacks.settings import Attack, fitting_step
from minicereb.datasets.registry import in_layout_of_cifar10
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import AttackedModel, Data, Experiment, Train, describe_attack
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.kinds.paired import PairedComparison
from minicereb.robustness.catalogue import PAPER_STEP, PAPER_STEPS
from minicereb.studies.published import CEREBELLUM, Logged

# All attacks that the catalogue had when the studies were done: what they found is compared, and found again.
EVERY = (
    *("fgsm-mse", "pgd-mse", "pgd-margin", "pgd-tuned", "apgd-margin", "apgd-ce", "apgd-dlr", "apgd-t", "fab-t"),
    *("transfer", "square", "random"),
)
ATTACKS = {"smoke": ("pgd-mse", "apgd-margin"), "course": EVERY, "paper": EVERY}


@dataclass(frozen=True)
class Strengths:
    """How strong the attacks on models of some data are.

    Parameters
    ----------
    paper : tuple of float
        ε of the paper's own attacks: PGD at both, FGSM at the first.
    epsilons : dict
        ε of the whole evaluation at each scale.
    evaluated : dict
        Images under the whole evaluation at each scale.
    attacked : dict
        Images under the paper's own attacks at each scale.
    tuned : bool
        Whether PGD is made once more with steps that fit ε, because the paper's step is larger than it.
    """

    paper: tuple[float, float]
    epsilons: dict[str, tuple[float, ...]]
    evaluated: dict[str, int]
    attacked: dict[str, int]
    tuned: bool = False


DIGITS = Strengths(
    (0.1, 0.3),
    {"smoke": (0.1,), "course": (0.02, 0.05, 0.1, 0.2, 0.3), "paper": (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)},
    {"smoke": 8, "course": 100, "paper": 500},
    {"smoke": 50, "course": 1_000, "paper": 10_000},
)
_LEVELS = (0.5 / 255, 1 / 255, 2 / 255, 4 / 255, 8 / 255)
PHOTOGRAPHS = Strengths(
    (2 / 255, 8 / 255),
    {"smoke": (2 / 255,), "course": (2 / 255, 8 / 255), "paper": _LEVELS},
    {"smoke": 8, "course": 50, "paper": 500},
    {"smoke": 20, "course": 200, "paper": 10_000},
    tuned=True,
)


def strengths(data: Data) -> Strengths:
    """Return how strongly models of some data are attacked: digits as on MNIST, colour photographs as on CIFAR-10."""
    return PHOTOGRAPHS if in_layout_of_cifar10(data.name) else DIGITS


EXPECTED = (
    "The cerebellum paper (Yuezhang, Li and Chen) is a registered plan without results of its own; «published» here are figures "
    "of its authors' results paper or logs. They learned image by image, drew inputs with replacement, and chose the epoch on "
    "the test images; the models here learn as the plan has it, unless a table says otherwise. "
)


def as_printed(model: CerebellumModel, data: Data, epochs: int, seed: int, encoder: Train | None = None) -> Train:
    """Return the training that the paper prints: batches of ten, RMSprop at 0.5/m, the epoch chosen on images held out."""
    return Train(model, data, 10, epochs, 0.5 / model.cells, seed=seed, encoder=encoder)


def as_coded(model: CerebellumModel, data: Data, epochs: int, seed: int, encoder: Train | None = None) -> Train:
    """Return the training of the authors' code: image by image, on all of them, the epoch chosen on the test images.

    Of the wiring only the kind counts: the code draws random inputs with replacement.
    """
    if model.wiring == "random":
        model = CerebellumModel("random", model.cells, model.inputs_per_cell, replacement=True, ltd=model.ltd)
    return Train(model, data, 1, epochs, 0.5 / model.cells, seed=seed, validation=0.0, choose_on="test", encoder=encoder)


def evaluated(train: Train, scale: str, seed: int = 0) -> EvaluatedModel:
    """Return the whole evaluation of a model: every attack, certificates and the checklist."""
    strong = strengths(train.data)
    return EvaluatedModel(train, strong.epsilons[scale], strong.evaluated[scale], ATTACKS[scale], seed=seed)


def paper_attacks(train: Train, scale: str, seed: int = 0) -> list[AttackedModel]:
    """Return the paper's own attacks on a model, on more images: FGSM and the last of forty steps of PGD, squared error."""
    strong, attacks = strengths(train.data), []
    for epsilon in strong.paper:
        attacks.append(Attack("fgsm", "mse", epsilon, seed=seed))
        steps = (PAPER_STEP, tuned_step(epsilon)) if strong.tuned else (PAPER_STEP,)
        attacks += [Attack("pgd", "mse", epsilon, steps=PAPER_STEPS, step_size=step, seed=seed, keep="last") for step in steps]
    return [AttackedModel(train, attack, strong.attacked[scale]) for attack in attacks]


def tuned_step(epsilon: float) -> float:
    """Return the length of a step of PGD that fits ε."""
    return fitting_step(epsilon, PAPER_STEPS)


def examined(train: Train, scale: str, seed: int = 0) -> list[Experiment]:
    """Return both, the evaluation first."""
    return [evaluated(train, scale, seed), *paper_attacks(train, scale, seed)]


def compared(trains: Sequence[Train], scale: str) -> list[Experiment]:
    """Return the comparisons of each model's evaluation with that of the first, seed by seed."""
    seeds = dict.fromkeys(train.seed for train in trains)
    groups = [[evaluated(train, scale, seed) for train in trains if train.seed == seed] for seed in seeds]
    return [PairedComparison(other, first) for first, *others in groups for other in others]


def published(experiment: Experiment) -> dict[str, str]:
    """Return what the authors print for an experiment, in percent, by the name that a report has for what was measured."""
    if not isinstance(experiment, AttackedModel) or experiment.attack.objective != "mse":
        return {}
    attack, logged = experiment.attack, logged_for(experiment.train) or Logged()
    if attack.method == "pgd" and (attack.keep, attack.steps, attack.step_size) != ("last", PAPER_STEPS, PAPER_STEP):
        return {}
    figure = {("fgsm", 0.1): logged.fgsm, ("pgd", 0.1): logged.pgd, ("pgd", 0.3): logged.pgd_far}.get(
        (attack.method, attack.epsilon)
    )
    return {} if figure is None else {describe_attack(attack): f"{figure:g}"}


def logged_for(train: Train) -> Logged | None:
    """Return what the authors print or logged for a model, however it has learned here; None if there is nothing."""
    model = train.model
    if not isinstance(model, CerebellumModel) or model.wiring == "local" or train.data.name != "mnist":
        return None
    return CEREBELLUM.get((model.inputs_per_cell, model.cells, model.ltd))
