"""The protocol of the cerebellum paper: training, examination of each model, and studies of robustness.

Every model is examined in two ways: by the paper's own attacks, FGSM and PGD on the squared error, and by the full evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from minicereb.attacks.settings import Attack, fitting_step
from minicereb.datasets.registry import in_layout_of_cifar10
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Experiment, Train, describe, describe_attack
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.kinds.attacked import AttackedModel
from minicereb.experiments.kinds.paired import PairedComparison
from minicereb.robustness.catalogue import PAPER_STEP, PAPER_STEPS
from minicereb.studies import tables
from minicereb.studies.published import PRINTED, logged_for
from minicereb.studies.results import Blocks, Figures, Results
from minicereb.studies.study import Study
from minicereb.studies.tables import OVER_EPSILON, Models, by_model

# All attacks that the catalogue had when the studies were run; fixed, so that their records remain valid.
EVERY = (
    *("fgsm-mse", "pgd-mse", "pgd-margin", "pgd-tuned", "apgd-margin", "apgd-ce", "apgd-dlr", "apgd-t", "fab-t"),
    *("transfer", "square", "random"),
)
ATTACKS = {"smoke": ("pgd-mse", "apgd-margin"), "course": EVERY, "paper": EVERY}


class Strengths(NamedTuple):
    """Strengths of the attacks for a kind of data; `epsilons`, `evaluated` and `attacked` have one entry per scale."""

    paper: tuple[float, float]  # ε of the paper's own attacks: PGD at both, FGSM at the first
    epsilons: dict[str, tuple[float, ...]]  # ε of the full evaluation
    evaluated: dict[str, int]  # number of images in the full evaluation
    attacked: dict[str, int]  # number of images under the paper's own attacks
    tuned: bool = False  # whether PGD is run once more with a step that fits ε, because the paper's step is longer than ε


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
    """Return the strengths for digits, as on MNIST, or for colour photographs, as on CIFAR-10."""
    return PHOTOGRAPHS if in_layout_of_cifar10(data.name) else DIGITS


EXPECTED = (
    "The cerebellum paper (Yuezhang, Li and Chen) is a registered plan without results of its own; «published» figures are from "
    "its authors' results paper or logs. Their models were trained image by image, drew inputs with replacement, and chose the "
    "epoch on the test images; the models here are trained as the plan says, unless a table states otherwise. "
)


def as_printed(model: CerebellumModel, data: Data, epochs: int, seed: int, encoder: Train | None = None) -> Train:
    """Return the training run as printed in the paper: batches of ten, RMSprop, the epoch chosen on held-out images.

    The learning rate is 0.5 divided by the number of cells.
    """
    return Train(model, data, 10, epochs, 0.5 / model.cells, seed=seed, encoder=encoder)


def as_coded(model: CerebellumModel, data: Data, epochs: int, seed: int, encoder: Train | None = None) -> Train:
    """Return the training run of the authors' code: image by image, on all images, the epoch chosen on the test images.

    The code draws the inputs of random wiring with replacement.
    """
    if model.wiring == "random":
        model = CerebellumModel("random", model.cells, model.inputs_per_cell, replacement=True, ltd=model.ltd)
    return Train(model, data, 1, epochs, 0.5 / model.cells, seed=seed, validation=0.0, choose_on="test", encoder=encoder)


def four_models(full: int, random: int) -> list[CerebellumModel]:
    """Return the models of the ablation: full and random wiring (k = 4), each without LTD and with it."""
    wirings = (("full", full, None), ("random", random, 4))
    return [CerebellumModel(wiring, cells, k, ltd=ltd) for wiring, cells, k in wirings for ltd in (False, True)]


def evaluated(train: Train, scale: str) -> EvaluatedModel:
    """Return the full evaluation of a model: every attack, certificates and the checklist."""
    strong = strengths(train.data)
    return EvaluatedModel(train, strong.epsilons[scale], strong.evaluated[scale], ATTACKS[scale], seed=train.seed)


def examined(train: Train, scale: str) -> list[Experiment]:
    """Return the full evaluation, then the paper's own attacks on more images: FGSM and 40 steps of PGD, last iterate."""
    strong, attacks = strengths(train.data), []
    for epsilon in strong.paper:
        attacks.append(Attack("fgsm", "mse", epsilon, seed=train.seed))
        steps = (PAPER_STEP, tuned_step(epsilon)) if strong.tuned else (PAPER_STEP,)
        attacks += [paper_pgd("mse", epsilon, train.seed, step) for step in steps]
    return [evaluated(train, scale), *(AttackedModel(train, attack, strong.attacked[scale]) for attack in attacks)]


def paper_pgd(objective: str, epsilon: float, seed: int, step: float = PAPER_STEP, keep: str = "last") -> Attack:
    """Return the paper's PGD: 40 steps, using the last iterate."""
    return Attack("pgd", objective, epsilon, steps=PAPER_STEPS, step_size=step, seed=seed, keep=keep)


def tuned_step(epsilon: float) -> float:
    """Return a PGD step size that suits ε."""
    return fitting_step(epsilon, PAPER_STEPS)


def compared(trains: Sequence[Train], scale: str) -> list[Experiment]:
    """Return the comparisons of each model's evaluation with the evaluation of the first model, seed by seed."""
    seeds = dict.fromkeys(train.seed for train in trains)
    groups = [[evaluated(train, scale) for train in trains if train.seed == seed] for seed in seeds]
    return [PairedComparison(other, first) for first, *others in groups for other in others]


def published(experiment: Experiment) -> dict[str, str]:
    """Return the authors' accuracies for an experiment, in percent; the keys are the names of the measurements in the report."""
    if not isinstance(experiment, AttackedModel) or experiment.attack.objective != "mse":
        return {}
    attack = experiment.attack
    if attack.method == "pgd" and (attack.keep, attack.steps, attack.step_size) != ("last", PAPER_STEPS, PAPER_STEP):
        return {}
    figure = getattr(logged_for(experiment.train), PRINTED.get((attack.method, attack.epsilon), ""), None)
    return {} if figure is None else {describe_attack(attack): f"{figure:g}"}


Groups = Sequence[Sequence[Train]]


def robustness_study(
    name: str,
    question: str,
    trainings: Callable[[Data, str, int], Groups],
    label: Callable[[Train], str] = describe,
    *,
    expectation: str,
    captions: Mapping[str, str],
    reference: Callable[[Train], bool] = lambda train: True,
    figures: Callable[[Models], Figures] | None = None,
    inputs: int | None = None,
) -> Study:
    """Return a study in which every model is examined and compared with a reference in its group.

    Parameters
    ----------
    trainings : callable
        Maps data, scale and seed to groups of training runs.
    label : callable
        Maps a training run to the model's name in tables and figures.
    captions : mapping
        Captions of the figures, keyed by file name; the caption of accuracy against ε is appended to the one whose key is the
        study's name.
    reference : callable
        Returns whether a training run is the reference of its group; by default, the first run is.
    figures : callable, optional
        Takes the results, keyed by model, and returns figures, keyed by name; by default, accuracy against ε, in colours from
        dark to light.
    name, question, expectation, inputs
        As in :class:`~minicereb.studies.study.Study`; the expectation is appended to a paragraph about the paper.
    """

    def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
        experiments: list[Experiment] = []
        for groups in zip(*(trainings(data, scale, seed) for seed in seeds), strict=True):  # the same group, seed by seed
            trains = [train for same_model in zip(*groups, strict=True) for train in same_model]
            experiments += [experiment for train in trains for experiment in examined(train, scale)]
            experiments += compared(sorted(trains, key=lambda train: not reference(train)), scale)
        return experiments

    def table(results: Results) -> Blocks:
        models = by_model(results, label)
        return [*tables.paper_table(models), *tables.bracket_table(models), *tables.comparison_table(results)]

    draw = figures or (lambda models: {name: tables.over_epsilon_figure(models, graded=True)})
    return Study(
        name,
        question,
        plan,
        table,
        lambda results: draw(by_model(results, label)),
        EXPECTED + expectation,
        published,
        captions={key: f"{caption} {OVER_EPSILON}".strip() if key == name else caption for key, caption in captions.items()},
        inputs=inputs,
    )
