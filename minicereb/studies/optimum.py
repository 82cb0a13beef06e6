"""Is k = 4 near-optimal? Accuracy, what attacks leave of it, and dimension over the inputs of a granule cell, at one budget."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import exp, inf, log
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicereb.calculus.dimension import threshold_dimension
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Experiment, Train
from minicereb.experiments.kinds.dimension import Dimension
from minicereb.report.figures import curves, save_figure
from minicereb.report.pipes import markdown
from minicereb.statistics import holm, mean_interval
from minicereb.studies.comparisons import comparison_table, rows_of
from minicereb.studies.protocol import EXPECTED, as_printed, compared, evaluated
from minicereb.studies.sparsity import ALL_INPUTS, NATURAL, inputs_of, models
from minicereb.studies.sparsity import SIZES as TRAININGS
from minicereb.studies.study import Results, Study, short
from minicereb.studies.tables import Found, grouped, share_interval, with_interval

LEVEL = 0.1  # share of the inputs for which a threshold cell fires
# Per scale: inputs per cell, of those that the study of sparsity has; images or inputs that a dimension is measured with.
SIZES: dict[str, tuple[tuple[int, ...], int]] = {
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
    """The study of sparsity's trainings for some k, each evaluated and compared with four; the dimensions of their wirings."""
    chosen, images = SIZES[scale]
    trains = [as_printed(model, data, TRAININGS[scale][2], seed) for model, seed in product(models(scale), seeds)]
    trains = [train for train in trains if inputs_of(train) in chosen]
    experiments: list[Experiment] = []
    for train in trains:
        experiments.append(evaluated(train, scale, train.seed))
        for inputs, units, weights in MEASURES.values():
            model: CerebellumModel = train.model  # type: ignore[assignment]
            experiments.append(Dimension(model, data, inputs, units, weights, LEVEL, images, train.seed))
    natural_first = sorted(trains, key=lambda train: inputs_of(train) != NATURAL)
    return [*experiments, *compared(natural_first, scale)]


class Value(NamedTuple):
    """A number with its 95% interval."""

    value: float
    low: float
    high: float


def dimensions(results: Results) -> dict[str, dict[int, Value]]:
    """Return by measure and k the dimension: for one seed with the interval over images; for several their geometric mean.

    The closed form has none, and is the one for threshold cells with equal weights on independent normal inputs.
    """
    found: dict[str, dict[int, list[Value]]] = {name: {} for name in MEASURES}
    closed: dict[int, Value] = {}
    for config, record in results:
        if isinstance(config, Dimension):
            name = next(name for name, way in MEASURES.items() if way == (config.inputs, config.units, config.weights))
            k = config.model.inputs_per_cell or record["inputs"]
            numbers = (inf if number is None else number for number in (record["dimension"], *record["interval"]))
            found[name].setdefault(k, []).append(Value(*numbers))
            exact = threshold_dimension(record["inputs"], k, config.model.cells, config.level)
            closed[k] = Value(exact, exact, exact)
    return {name: {k: _mean(values) for k, values in by_inputs.items()} for name, by_inputs in found.items()} | {CLOSED: closed}


def _mean(measured: Sequence[Value]) -> Value:
    if len(measured) == 1:
        return measured[0]
    logarithms = [log(each.value) for each in measured]
    return Value(exp(sum(logarithms) / len(logarithms)), *(exp(bound) for bound in mean_interval(logarithms)))


def _named(train: Train) -> str:
    return f"{inputs_of(train)}"


def table(results: Results) -> str:
    """Accuracy over k; dimension over k; of each the best k, and those that differ from k = 4; the comparisons with k = 4."""
    found, measured = grouped(results, _named), dimensions(results)
    lines = [*_accuracies(found), *_dimensions(results, measured), *_answers(results, found, measured)]
    return "\n".join([*lines, comparison_table(results)])


def _accuracies(found: list[Found]) -> list[str]:
    config, record = found[0].evaluations[0]
    sides = ("attacked", "certified")
    rows = []
    for each in found:
        left = [with_interval(each.shares(side, e), record["images"]) for e in range(len(config.epsilons)) for side in sides]
        rows.append([each.name, f"{each.train.model.cells:,}", each.test, *left])  # type: ignore[union-attr]
    return [
        *markdown(["k", "cells", "test", *(f"{side} {epsilon:g}" for epsilon in config.epsilons for side in sides)], rows),
        "",
        f"Accuracy in % with its 95% interval, {_over(found)}; test: {record['test_images']:,} images of "
        f"{config.train.data.name}, attacked and certified: the first {record['images']:,}. Attacked: what is left after "
        f"{', '.join(config.attacks)}. Certified: interval bounds and CROWN. Every model has about the same number of synapses, "
        "cells × (k + 20), and LTD.",
        "",
    ]


def _dimensions(results: Results, measured: dict[str, dict[int, Value]]) -> list[str]:
    config, record = next((config, record) for config, record in results if isinstance(config, Dimension))
    rows = [
        [f"{k}", *(_shown(values[k]) for name, values in measured.items() if name != CLOSED), short(exact.value)]
        for k, exact in measured[CLOSED].items()
    ]
    seeds = {config.seed for config, _ in results if isinstance(config, Dimension)}
    over = "over images and inputs, by the jackknife" if len(seeds) == 1 else "over the seeds, Student's t of the logarithms"
    return [
        *markdown(["k", *measured], rows),
        "",
        f"Dimension (participation ratio) of the granule layer's activity, with its 95% interval {over}; {record['images']:,} "
        f"images or inputs. Images: test images. Pixels apart: each pixel from an image of its own, so that pixels are "
        "independent. Normal: independent standard normal inputs. ReLU and Gaussian weights are the model's; threshold cells "
        f"are 1 for {100 * config.level:g}% of the inputs, fewer on images, else 0. The closed form is exact for the column "
        "before it, and guides elsewhere.",
        "",
    ]


def _answers(results: Results, found: list[Found], measured: dict[str, dict[int, Value]]) -> list[str]:
    """For each quantity the best k, what k = 4 has, and which k have more, less, or what cannot be told from that."""
    config, record = found[0].evaluations[0]
    paired = _told_apart(results)
    test = _shares(found, "test", record["test_images"])
    rows = [_answer("test accuracy, %", test, _apart(test))]
    for e, epsilon in enumerate(config.epsilons):
        left = _shares(found, "attacked", record["images"], e)
        rows.append(_answer(f"attacked {epsilon:g}, %", left, paired[f"{epsilon:g}"]))
    rows += [_answer(f"dimension: {name}", values, _apart(values)) for name, values in measured.items()]
    return [
        *markdown(["quantity", "best k", f"at k = {NATURAL}", "k with more", "k with less", "k not told apart"], rows),
        "",
        f"Is k = {NATURAL} near-optimal? More, less: than k = {NATURAL}. Attacked shares are told apart where McNemar's test on "
        "the same images, adjusted for all comparisons made, has p < 0.05 for every seed; the others where the 95% "
        "intervals do not meet, which is stricter; the closed form, which has no interval, always. What is not told apart may "
        "differ. The best of several k is chosen after the fact, and a k between them may be better.",
        "",
    ]


def _answer(name: str, values: dict[int, Value], apart: dict[int, int]) -> list[str]:
    """Return a row of the table of answers; `apart` has for each k its sign against k = 4, 0 if it is not known."""
    best = max(values, key=lambda k: values[k].value)
    write = short if name.startswith("dimension") else "{:.1f}".format
    named = [", ".join(f"{k}" for k in values if k != NATURAL and apart[k] == sign) or "-" for sign in (1, -1, 0)]
    first = f"{best} ({write(values[best].value)})" if values[best].value > 0 else "-"
    return [name, first, write(values[NATURAL].value), *named]


def _apart(values: dict[int, Value]) -> dict[int, int]:
    """Return for each k 1 or -1 if its interval lies above or below that of k = 4, else 0."""
    natural = values[NATURAL]
    return {k: int(value.low > natural.high) - int(value.high < natural.low) for k, value in values.items()}


def _told_apart(results: Results) -> dict[str, dict[int, int]]:
    """Return by ε, for each k, the sign of the difference from k = 4 if it is significant for every seed, else 0."""
    rows = rows_of(results)
    signs: dict[str, dict[int, set[int]]] = {}
    for row, p in zip(rows, holm([row.found["p"] for row in rows]), strict=True):
        sign = int(np.sign(row.found["difference"])) if p < 0.05 else 0
        signs.setdefault(row.where, {}).setdefault(inputs_of(row.config.one.train), set()).add(sign)
    return {where: {k: min(each) if len(each) == 1 else 0 for k, each in by_k.items()} for where, by_k in signs.items()}


def _shares(found: list[Found], what: str, images: int, e: int = 0) -> dict[int, Value]:
    """Test accuracy, or the attacked or certified share at the ε of this number, in percent by k."""
    values = {}
    for each in found:
        shares = [record["test_accuracy"] for _, record in each.evaluations] if what == "test" else each.shares(what, e)
        low, high = share_interval(shares, images)
        values[int(each.name)] = Value(100 * sum(shares) / len(shares), 100 * low, 100 * high)
    return values


def _shown(value: Value) -> str:
    if value.low == value.high:
        return short(value.value)
    return f"{short(value.value)} ({short(value.low)}-{short(value.high)})"


def _over(found: list[Found]) -> str:
    seeds = sorted({config.train.seed for config, _ in found[0].evaluations})
    over = "over the images; seed" if len(seeds) == 1 else "over the seeds, Student's t (over the images where they agree); seeds"
    return f"{over} {', '.join(map(str, seeds))}"


def figures(results: Results, out: Path) -> None:
    """Draw over k: accuracy and what is left at each ε; dimensions, on logarithmic scales."""
    found, measured = grouped(results, _named), dimensions(results)
    config, record = found[0].evaluations[0]
    test = {"test accuracy": _line(_shares(found, "test", record["test_images"]))}
    sides = []
    for title, side in (("left by all attacks", "attacked"), ("certified", "certified")):
        shares = {f"ε = {epsilon:g}": _shares(found, side, record["images"], e) for e, epsilon in enumerate(config.epsilons)}
        sides.append((title, test | {name: _line(values) for name, values in shares.items()}))
    k = "inputs per granule cell, k"
    across: dict[str, Any] = {"from_zero": True, "logarithmic": True, "graded": True}
    share = f"% of {record['images']:,} images; test: of {record['test_images']:,}"
    save_figure(curves(sides, k, share, **across), out / "optimum-accuracy.png")
    lines = {name: _line(values) for name, values in measured.items()}
    panels = [
        ("images", {name: lines[name] for name in lines if name.startswith(("images", "pixels"))}),
        ("normal inputs", {name: lines[name] for name in lines if name.startswith(("normal", CLOSED))}),
    ]
    inputs = max(record["images"] for config, record in results if isinstance(config, Dimension))
    figure = curves(panels, k, f"dimension, from {inputs:,} inputs", logarithmic=True, logarithmic_values=True)
    save_figure(figure, out / "optimum-dimension.png")


def _line(values: dict[int, Value]) -> tuple[np.ndarray, ...]:
    """Values over k, with their bounds."""
    return tuple(np.array(column, dtype=np.float64) for column in (list(values), *zip(*values.values(), strict=True)))


OPTIMUM = Study(
    "optimum",
    "Are four inputs to a granule cell, at a fixed budget of synapses, near-optimal for accuracy, robustness or dimension?",
    {"smoke": "strokes", "course": "mnist", "paper": "mnist"},
    plan,
    table,
    figures,
    inputs=ALL_INPUTS,
    expectation=EXPECTED
    + "It will «examine whether the parameters decided by the natural cerebellum (k = 4) is (near) optimal against adversarial "
    "attacks», with as many synapses m(k + 2c) for every k, and expects nothing in particular. The theory that it cites "
    "(Litwin-Kumar et al. 2017) has the dimension of threshold cells largest at four or five inputs, for 7,000 mossy fibres, "
    "a budget mK and independent inputs. With 784 inputs and the paper's budget m(K + 20), which makes many inputs cheaper, the "
    "same formula has another best K: it is in the table.",
    captions={
        "optimum-accuracy": (
            "Accuracy on the test images, and share of the evaluated ones that all attacks leave right, over the inputs of a "
            "granule cell k (logarithmic), at a fixed budget of synapses m(k + 20). Bars: 95% intervals, over the images for one "
            "seed, over seeds for several; lines only join the marks."
        ),
        "optimum-dimension": (
            "Participation ratio of the granule layer's activity (a number of dimensions) over the inputs of a granule cell k, "
            "both logarithmic, at a fixed budget of synapses. Left on test images, and with each pixel from an image of its own; "
            "right on independent normal inputs, with the closed form for threshold cells with equal weights. Bars: 95% "
            "intervals; most are smaller than the marks."
        ),
    },
)
