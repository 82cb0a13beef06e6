"""Which circuits provably withstand attacks: the effect of threshold fibres, pessimism, sparse wiring and LTD, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from minicereb.attacks.adversarial_training import Adversary
from minicereb.attacks.settings import fitting_step
from minicereb.experiments.architectures import CerebellumModel, Model, NoisyModel, PerceptronModel
from minicereb.experiments.configs import Data, Experiment, Train
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.kinds.paired import PairedComparison
from minicereb.learning.rules import PESSIMISTIC
from minicereb.report.formats import mean_share, strength
from minicereb.report.page import Text
from minicereb.robustness.catalogue import FLIPS, STANDARD
from minicereb.studies import tables
from minicereb.studies.results import Blocks, Results, tabulate
from minicereb.studies.sparsity import ALL_INPUTS, CLASSES, NATURAL
from minicereb.studies.study import Study

EPSILONS = {"smoke": (0.1,), "course": (0.1, 0.3), "paper": (0.1, 0.3)}
ATTACKS = {"smoke": ("apgd-margin",), "course": ("apgd-margin", "transfer"), "paper": STANDARD}
FLIPPED = {"smoke": ("greedy",), "course": ("greedy", "beam"), "paper": FLIPS}  # attacks on fibres that fire at a threshold
WHOLE = "threshold fibres, pessimistic rule, k = 4, LTD"


class Size(NamedTuple):
    """The size of the study at a scale: synapses m(k + 2c), epochs, hidden units of the other networks, evaluated images."""

    synapses: int
    epochs: int
    hidden: int
    images: int


SIZES = {"smoke": Size(4_800, 1, 10, 8), "course": Size(96_000, 3, 100, 200), "paper": Size(480_000, 20, 100, 1_000)}


def circuits(synapses: int, epsilon: float) -> list[CerebellumModel]:
    """Return the circuits for one ε: the complete circuit, and circuits with one or two ingredients changed or left out."""

    def circuit(k: int = NATURAL, fires: bool = True, pessimistic: bool = True, **others: Any) -> CerebellumModel:
        settings: dict[str, Any] = {"loss": "cross-entropy", **others}
        settings |= {"mossy_fibres": "threshold", "threshold": 0.5} if fires else {}
        settings |= {"rule": PESSIMISTIC, "uncertainty": epsilon, "pessimism": 0.5} if pessimistic else {}
        wiring = ("full", None) if k == ALL_INPUTS else ("random", k)
        return CerebellumModel(wiring[0], synapses // (k + 2 * CLASSES), wiring[1], **settings)

    changed = [circuit(fires=False), circuit(pessimistic=False), circuit(fires=False, pessimistic=False)]
    changed += [circuit(loss="mse"), circuit(ltd=False)]
    return [circuit(), *changed, *map(circuit, (1, 2, 10, ALL_INPUTS))]


def trainings(data: Data, scale: str, seed: int, epsilon: float) -> list[Train]:
    """Return the training runs for one ε: circuits, perceptrons trained on attacks or bounds, and a noisy network."""
    size = SIZES[scale]

    def training(model: Model, batch_size: int, rate: float, optimizer: str = "rmsprop", **how: Any) -> Train:
        settings = {"seed": seed, "validation": 0.0, "keep": "last", "schedule": "cosine", **how}
        return Train(model, data, batch_size, size.epochs, rate, optimizer, **settings)

    # With cross-entropy the outputs become far larger than the 0 and 1 of the squared error.
    rates = {"cross-entropy": 80.0, "mse": 0.5}
    cerebella = [training(model, 100, rates[model.loss] / model.cells) for model in circuits(size.synapses, epsilon)]
    adversary = Adversary(epsilon, fitting_step(epsilon, 7))
    perceptron = training(PerceptronModel((size.hidden,), l1=7e-5), 100, 3e-3, "adam", adversary=adversary)
    bounds = PerceptronModel((size.hidden,), interval_bounds=epsilon, pessimism=0.9)
    return [*cerebella, perceptron, training(bounds, 100, 3e-3, "adam"), training(NoisyModel((size.hidden,)), 50, 0.06, "adam")]


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Evaluate every model at the ε of its training (at every ε if it has none), and compare it with the complete circuit."""
    experiments: list[Experiment] = []
    for seed in seeds:
        epsilons: dict[Train, tuple[float, ...]] = {}
        for together in zip(*(trainings(data, scale, seed, epsilon) for epsilon in EPSILONS[scale]), strict=True):
            for train, epsilon in zip(together, EPSILONS[scale], strict=True):
                epsilons[train] = (*epsilons.get(train, ()), epsilon)
        evaluated = []
        for train, of in epsilons.items():
            fires = getattr(train.model, "threshold", None) is not None
            attacks = (*ATTACKS[scale], *FLIPPED[scale]) if fires else ATTACKS[scale]
            evaluated.append(EvaluatedModel(train, of, SIZES[scale].images, attacks, seed=seed))
        count = len(EPSILONS[scale])
        whole, others = evaluated[:count], evaluated[count:]
        pairs = ((one, other) for other in others for one in whole if set(one.epsilons) <= set(other.epsilons))
        experiments += [*evaluated, *(PairedComparison(one, other) for one, other in pairs)]
    return experiments


def name_of(train: Train) -> str:
    """Return a name that says how a model differs from the complete circuit."""
    model = train.model
    if isinstance(model, PerceptronModel):
        return f"perceptron, {'adversarial training' if model.interval_bounds is None else 'interval bounds'}"
    if isinstance(model, NoisyModel):
        return "threshold network, GLR"
    assert isinstance(model, CerebellumModel)
    k = "full wiring" if model.inputs_per_cell is None else f"k = {model.inputs_per_cell}"
    changes = {
        "graded fibres": model.threshold is None,
        "plain rule": model.rule != PESSIMISTIC,
        "squared error": model.loss == "mse",
        "no LTD": not model.ltd,
        k: model.inputs_per_cell != NATURAL,
    }
    return ", ".join(name for name, changed in changes.items() if changed) or WHOLE


def table(results: Results) -> Blocks:
    """Return each model's clean, attacked and certified accuracy at each ε, then the comparisons."""
    evaluations = results.where(EvaluatedModel)
    models, (config, record) = tables.by_model(results, name_of), evaluations[0]
    columns: list[tuple[str, Callable[[Results], str]]] = []
    for epsilon in sorted({epsilon for config, _ in evaluations for epsilon in config.epsilons}):
        columns.append((f"test, for {strength(epsilon)}", partial(_share, epsilon=epsilon)))
        columns += [(f"{label} {strength(epsilon)}", partial(_share, epsilon=epsilon, label=label)) for label in tables.LABELS]
    legend = (
        f"In % ({tables.interval_in_words(models)}); test: {record['test_images']:,} images of {config.train.data.name} without "
        f"attack; attacked and certified: the first {record['images']:,}. Attacked: robust accuracy under "
        f"{', '.join(config.attacks)}, for each image the strongest; fibres are flipped only where they fire at a threshold. "
        "Certified: interval bounds and CROWN. The first row is the "
        "whole circuit, with cross-entropy at the climbing fibres; the next ones are named by what is changed. Pessimistic rules "
        "and adversaries learn for the ε of the columns, the others once for both. Cerebella have as many synapses, "
        "cells × (k + 20)."
    )
    return [tabulate("model", models, *columns), Text(legend), *tables.comparison_table(results, tables.LABELS)]


def _share(model: Results, epsilon: float, label: str | None = None) -> str:
    """Format the mean over seeds, with its interval, for models that were evaluated at this ε."""
    found = model.where(EvaluatedModel, lambda config: epsilon in config.epsilons).records
    if label is None:
        return mean_share([record["test_accuracy"] for record in found], found[0]["test_images"])
    return mean_share([tables.entry_at(record, epsilon)[label] for record in found], found[0]["images"])


ROBUST_CIRCUITS = Study(
    "robust-circuits",
    "Which circuits provably withstand attacks, and what is each ingredient worth?",
    plan,
    table,
    expectation=(
        "Neither paper asks. Threshold fibres should help most, since on MNIST few pixels are near the threshold; pessimism "
        "should turn what holds into what is proved, at some cost in accuracy. Published figures: none."
    ),
    inputs=ALL_INPUTS,
)
