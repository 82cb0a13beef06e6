"""How many inputs should a granule cell have for robustness, accuracy and dimension, at a fixed budget of synapses?"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import exp, inf, log
from typing import Any, NamedTuple

import numpy as np

from minicereb.calculus.dimension import threshold_dimension
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Experiment, Train
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.kinds.dimension import Dimension
from minicereb.report.figures import Curves, curves
from minicereb.report.formats import number, share_interval, short_percent
from minicereb.report.page import Table, Text
from minicereb.statistics import holm, mean_interval
from minicereb.studies import tables
from minicereb.studies.protocol import EXPECTED, as_printed, compared, evaluated, robustness_study
from minicereb.studies.results import Blocks, Figures, Results, tabulate
from minicereb.studies.study import Study
from minicereb.studies.tables import Models, by_model, comparisons, evaluation_of, training_of

CLASSES = 10
NATURAL, ALL_INPUTS = 4, 784
# Per scale: synapses m(k + 2c), inputs per cell, epochs.
SIZES = {
    "smoke": (8_000, (1, 4, ALL_INPUTS), 1),
    "course": (480_000, (1, 2, 4, 10, 20, 50, 100, 200, 400, ALL_INPUTS), 3),
    "paper": (4_800_000, (1, 2, 4, 10, 20, 50, 100, 200, 400, ALL_INPUTS), 10),
}
OVER_K = "inputs per granule cell, k"


def trainings(data: Data, scale: str, seed: int) -> list[Train]:
    """Return a training run for each number of inputs per cell, with as many cells as the budget of synapses allows."""
    synapses, inputs, epochs = SIZES[scale]
    cells = [round(synapses / (k + 2 * CLASSES)) for k in inputs]
    wirings = [("full", m, None) if k == ALL_INPUTS else ("random", m, k) for k, m in zip(inputs, cells, strict=True)]
    return [as_printed(CerebellumModel(*wiring), data, epochs, seed) for wiring in wirings]


def inputs_of(train: Train) -> int:
    """Return the number of inputs per granule cell."""
    return train.model.inputs_per_cell or ALL_INPUTS  # type: ignore[union-attr]


def _sparsity_figures(models: Models) -> Figures:
    """Draw accuracy against k at each ε, and against ε for each k."""
    panels = [
        (tables.SAYS_PGD, _over_inputs(models, tables.over_epsilon(models, tables.under_pgd))),
        (tables.UNDER_ALL, _over_inputs(models, tables.over_epsilon(models))),
    ]
    most = [f"{title} at {_largest(lines)}" for title, lines in panels]
    conclusion = f"Most images are left {most[0]}; {most[1]}."
    over_k = curves(panels, OVER_K, tables.share_of(models), from_zero=True, logarithmic=True, conclusion=conclusion)
    return {"sparsity-over-k": over_k, "sparsity": tables.over_epsilon_figure(models, graded=True)}


def _largest(lines: Curves) -> str:
    """State the k at which the most variable line is highest; each line shows the accuracy at one ε."""
    name = max((each for each in lines if each.startswith("ε")), key=lambda each: np.ptp(lines[each][1]))
    inputs, values = lines[name][:2]
    best = values.argmax()
    return f"{name} with k = {inputs[best]:g} ({short_percent(values[best])}%)"


def _over_inputs(models: Models, lines: Curves) -> Curves:
    """Return a line over k for each ε, given a line over ε for each k."""
    inputs = np.array([inputs_of(training_of(model)) for model in models.values()], dtype=np.float64)
    epsilons = next(iter(lines.values()))[0]
    return {
        "clean" if epsilon == 0 else f"ε = {epsilon:g}": (inputs, np.array([line[1][e] for line in lines.values()]))
        for e, epsilon in enumerate(epsilons)
    }


SPARSITY = robustness_study(
    "sparsity",
    "Is sparse wiring, few inputs for each of many granule cells, more robust than denser wiring with as many synapses?",
    lambda data, scale, seed: [trainings(data, scale, seed)],
    lambda train: f"k = {inputs_of(train)}, {train.model.cells:,} cells",  # type: ignore[union-attr]
    reference=lambda train: inputs_of(train) == NATURAL,
    figures=_sparsity_figures,
    expectation="It asks whether sparse wiring with k = 4, the biological value, is an advantage, and whether near-optimal.",
    captions={
        "sparsity-over-k": (
            "Share of the evaluated test images over the number of inputs per granule cell, at a fixed budget of synapses "
            "m(k + 20), by ε (L∞, pixels in 0 to 1). Left: accuracy under the paper's PGD on the squared error; right: robust "
            "accuracy under all attacks. Points are measurements, joined by lines; the intervals are in the tables."
        ),
        "sparsity": "By number of inputs per granule cell.",
    },
    inputs=ALL_INPUTS,
)

# -- is k = 4 near-optimal? --------------------------------------------------------------------------------------------------

LEVEL = 0.1  # share of the inputs for which a threshold cell fires
# Per scale: numbers of inputs per cell, among those above; number of images or inputs for measuring a dimension.
OPTIMUM_SIZES: dict[str, tuple[tuple[int, ...], int]] = {
    "smoke": ((1, 4, 784), 60),
    "course": ((1, 2, 4, 10, 20, 50, 784), 1_000),
    "paper": ((1, 2, 4, 10, 20, 50, 100, 200, 400, 784), 2_000),
}
MEASURES = {  # how a dimension is measured: inputs, units, weights
    "images, ReLU": ("images", "relu", "gaussian"),
    "images, threshold": ("images", "threshold", "gaussian"),
    "pixels apart, ReLU": ("pixels", "relu", "gaussian"),
    "normal, ReLU": ("normal", "relu", "gaussian"),
    "normal, threshold": ("normal", "threshold", "gaussian"),
    "normal, threshold, equal weights": ("normal", "threshold", "equal"),
}
CLOSED = "closed form"


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Evaluate some runs of the study ``sparsity``, compare them with k = 4, and measure the dimensions of their wirings."""
    chosen, images = OPTIMUM_SIZES[scale]
    by_seed = zip(*(trainings(data, scale, seed) for seed in seeds), strict=True)
    trains = [train for same_k in by_seed for train in same_k if inputs_of(train) in chosen]
    experiments: list[Experiment] = []
    for train in trains:
        experiments.append(evaluated(train, scale))
        model: CerebellumModel = train.model  # type: ignore[assignment]
        experiments += [Dimension(model, data, *measure, LEVEL, images, train.seed) for measure in MEASURES.values()]
    return [*experiments, *compared(sorted(trains, key=lambda train: inputs_of(train) != NATURAL), scale)]


class WithInterval(NamedTuple):
    """A number with its 95% interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return number(self.value)
        return f"{number(self.value)} ({number(self.low)}-{number(self.high)})"


Values = dict[int, WithInterval]  # by k


def dimensions(results: Results) -> dict[str, Values]:
    """Return the dimension for each measure and k: for one seed with an interval over images, otherwise a geometric mean over
    seeds.

    The closed form, for threshold cells with equal weights on independent normal inputs, has no interval.
    """
    found: dict[str, Values] = {}
    closed: Values = {}
    for name, (inputs, units, weights) in MEASURES.items():
        of_measure = results.where(Dimension, inputs=inputs, units=units, weights=weights)
        for k, group in of_measure.by(lambda config: config.model.inputs_per_cell or ALL_INPUTS).items():
            config, record = group[0]
            exact = threshold_dimension(record["inputs"], k, config.model.cells, config.level)
            closed[k] = WithInterval(exact, exact, exact)
            numbers = [[inf if each is None else each for each in (r["dimension"], *r["interval"])] for r in group.records]
            found.setdefault(name, {})[k] = _geometric_mean([WithInterval(*each) for each in numbers])
    return found | {CLOSED: closed}


def _geometric_mean(measured: list[WithInterval]) -> WithInterval:
    if len(measured) == 1:
        return measured[0]
    logarithms = [log(each.value) for each in measured]
    return WithInterval(exp(sum(logarithms) / len(logarithms)), *(exp(bound) for bound in mean_interval(logarithms)))


def _by_inputs(results: Results) -> Models:
    return by_model(results, lambda train: f"{inputs_of(train)}")


def table(results: Results) -> Blocks:
    """Show accuracy and dimension for every k, the best k for each quantity and how it differs from k = 4, and comparisons."""
    models, measured = _by_inputs(results), dimensions(results)
    answers = _answers(results, models, measured)
    return [*_accuracies(models), *_dimensions(results, measured), *answers, *tables.comparison_table(results)]


def _accuracies(models: Models) -> Blocks:
    config, record = evaluation_of(models)
    columns: list[tuple[str, Callable[[Results], str]]] = [
        ("cells", lambda model: f"{training_of(model).model.cells:,}"),  # type: ignore[union-attr]
        ("test", tables.accuracy_of),
    ]
    for e, epsilon in enumerate(config.epsilons):
        columns += [(f"{label} {epsilon:g}", partial(tables.share_at, label=label, e=e)) for label in tables.LABELS]
    legend = (
        f"Accuracy in % ({tables.interval_in_words(models)}); test: {record['test_images']:,} images of "
        f"{config.train.data.name}, attacked and certified: the first {record['images']:,}. Attacked: robust accuracy under "
        f"{', '.join(config.attacks)}. Certified: interval bounds and CROWN. All models have LTD and about the same number of "
        "synapses, cells × (k + 20)."
    )
    return [tabulate("k", models, *columns), Text(legend)]


def _dimensions(results: Results, measured: dict[str, Values]) -> Blocks:
    some = results.where(Dimension)
    config, record = some[0]
    rows = [[f"{k}", *(f"{values[k]}" for values in measured.values())] for k in measured[CLOSED]]
    seeds = {c.seed for c, _ in some}
    over = "over images and inputs, by the jackknife" if len(seeds) == 1 else "over the seeds, Student's t of the logarithms"
    legend = (
        f"Dimension (participation ratio) of the granule layer's activity, with its 95% interval {over}; {record['images']:,} "
        "images or inputs. Images: test images. Pixels apart: each pixel from a different image, so that pixels are independent. "
        "Normal: independent standard normal inputs. ReLU and Gaussian weights are the model's; threshold cells are 1 for "
        f"{100 * config.level:g}% of the inputs, fewer on images, and 0 otherwise. The closed form is exact for the column "
        "before it, and an approximation for the others."
    )
    return [Table(["k", *measured], rows), Text(legend)]


def _answers(results: Results, models: Models, measured: dict[str, Values]) -> Blocks:
    """Show for each quantity the best k, the value at k = 4, and which k give larger, smaller or indistinguishable values."""
    config, significant = evaluation_of(models)[0], _significant(results)
    test = _shares(models)
    rows = [_answer("test accuracy, %", test, _apart(test))]
    for e, epsilon in enumerate(config.epsilons):
        rows.append(_answer(f"attacked {epsilon:g}, %", _shares(models, "attacked", e), significant[f"{epsilon:g}"]))
    rows += [_answer(f"dimension: {name}", values, _apart(values)) for name, values in measured.items()]
    legend = (
        f"Is k = {NATURAL} near-optimal? More, less: than k = {NATURAL}. Attacked shares differ if McNemar's test on the same "
        "images, adjusted for all comparisons made, has p < 0.05 for every seed; the other quantities if the 95% intervals do "
        "not overlap, which is stricter; the closed form, which has no interval, always. Quantities listed as indistinguishable "
        "may still differ. The best of several k is chosen after the fact, and a k between them may be better."
    )
    return [
        Table(["quantity", "best k", f"at k = {NATURAL}", "k with more", "k with less", "indistinguishable"], rows),
        Text(legend),
    ]


def _answer(name: str, values: Values, signs: dict[int, int]) -> list[str]:
    """Return the table row for one quantity.

    `signs` has an entry for each k: 1 if the quantity is larger than at k = 4, -1 if it is smaller, and 0 if that is unclear.
    """
    best = max(values, key=lambda k: values[k].value)
    write = number if name.startswith("dimension") else "{:.1f}".format
    named = [", ".join(f"{k}" for k in values if k != NATURAL and signs[k] == sign) or "-" for sign in (1, -1, 0)]
    first = f"{best} ({write(values[best].value)})" if values[best].value > 0 else "-"
    return [name, first, write(values[NATURAL].value), *named]


def _apart(values: Values) -> dict[int, int]:
    """Return a sign for each k: 1 or -1 if its interval is above or below the interval of k = 4, otherwise 0."""
    natural = values[NATURAL]
    return {k: int(value.low > natural.high) - int(value.high < natural.low) for k, value in values.items()}


def _significant(results: Results) -> dict[str, dict[int, int]]:
    """Return for each ε and k the sign of the difference from k = 4 if it is significant for every seed, otherwise 0."""
    rows = comparisons(results)
    signs: dict[str, dict[int, set[int]]] = {}
    for row, p in zip(rows, holm([row.found["p"] for row in rows]), strict=True):
        sign = int(np.sign(row.found["difference"])) if p < 0.05 else 0
        signs.setdefault(row.epsilon, {}).setdefault(inputs_of(row.config.one.train), set()).add(sign)
    return {epsilon: {k: min(each) if len(each) == 1 else 0 for k, each in by_k.items()} for epsilon, by_k in signs.items()}


def _shares(models: Models, label: str | None = None, e: int = 0) -> Values:
    """Return for each k, in %, the attacked or certified share at the ε with index `e` or, without a label, the test accuracy."""
    values, record = {}, evaluation_of(models)[1]
    for name, model in models.items():
        found = tables.shares(model, label, e) if label else model.where(EvaluatedModel).values("test_accuracy")
        low, high = share_interval(found, record["images" if label else "test_images"])
        values[int(name)] = WithInterval(100 * sum(found) / len(found), 100 * low, 100 * high)
    return values


def figures(results: Results) -> Figures:
    """Draw accuracy, robust accuracy at each ε, and dimensions against k, on logarithmic scales."""
    models, measured = _by_inputs(results), dimensions(results)
    config, record = evaluation_of(models)
    sides = []
    for title, label in (("under all attacks", "attacked"), ("certified", "certified")):
        lines = {f"ε = {epsilon:g}": _line(_shares(models, label, e)) for e, epsilon in enumerate(config.epsilons)}
        sides.append((title, {"test accuracy": _line(_shares(models))} | lines))
    share = f"% of {record['images']:,} images; test: of {record['test_images']:,}"
    best = {
        title: ", ".join(
            f"{_best(line)} ({name})" for name, line in lines.items() if name.startswith("ε") and np.ptp(line[1]) > 0
        )
        for title, lines in sides
    }
    said = "; ".join(f"{title}: {each or 'the same for every k'}" for title, each in best.items())
    said = f"The k that leaves most images, {said}."
    accuracy = curves(sides, OVER_K, share, from_zero=True, logarithmic=True, graded=True, conclusion=said)
    drawn = {name: _line(values) for name, values in measured.items()}
    panels = [
        (title, {name: line for name, line in drawn.items() if name.startswith(begin)})
        for title, begin in (("images", ("images", "pixels")), ("normal inputs", ("normal", CLOSED)))
    ]
    inputs = max(results.where(Dimension).values("images"))
    by_k: dict[str, list[str]] = {}
    for name, line in drawn.items():
        by_k.setdefault(_best(line), []).append(name)
    groups = (f"k = {k} ({' / '.join(names)})" for k, names in by_k.items())
    said = f"The dimension is largest at {'; '.join(groups)}."
    scales: dict[str, Any] = {"logarithmic": True, "logarithmic_values": True}
    dimension = curves(panels, OVER_K, f"dimension, from {inputs:,} inputs", **scales, conclusion=said)
    return {"optimum-accuracy": accuracy, "optimum-dimension": dimension}


def _best(line: tuple[np.ndarray, ...]) -> str:
    return f"{line[0][line[1].argmax()]:g}"


def _line(values: Values) -> tuple[np.ndarray, ...]:
    """Return every k, and the values at each k with their lower and upper bounds, as arrays."""
    return tuple(np.array(column, dtype=np.float64) for column in (list(values), *zip(*values.values(), strict=True)))


OPTIMUM = Study(
    "optimum",
    "Are four inputs per granule cell, at a fixed budget of synapses, near-optimal for accuracy, robustness or dimension?",
    plan,
    table,
    figures,
    EXPECTED
    + "It will «examine whether the parameters decided by the natural cerebellum (k = 4) is (near) optimal against adversarial "
    "attacks», with as many synapses m(k + 2c) for every k, and expects nothing in particular. The theory that it cites "
    "(Litwin-Kumar et al. 2017) has the dimension of threshold cells largest at four or five inputs, for 7,000 mossy fibres, "
    "a budget mK and independent inputs. With 784 inputs and the paper's budget m(K + 20), which makes many inputs cheaper, the "
    "same formula has another best K; see the table.",
    inputs=ALL_INPUTS,
    captions={
        "optimum-accuracy": (
            "Accuracy on the test images, and robust accuracy on the evaluated ones (left: under all attacks, right: certified), "
            "over the inputs per granule cell k (logarithmic), at a fixed budget of synapses m(k + 20). Bars: 95% intervals, "
            "over the images for one seed, over seeds for several; the lines only join the points."
        ),
        "optimum-dimension": (
            "Participation ratio of the granule layer's activity (a number of dimensions) over the inputs per granule cell k, "
            "both logarithmic, at a fixed budget of synapses. Left: on test images, and with each pixel from a different image; "
            "right: on independent normal inputs, with the closed form for threshold cells with equal weights. Bars: 95% "
            "intervals; most are smaller than the points."
        ),
    },
)
