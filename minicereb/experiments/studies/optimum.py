"""Is k = 4 near-optimal? Accuracy, what attacks leave of it, and dimension over the inputs of a granule cell, at one budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicereb.calculus.dimension import threshold_dimension
from minicereb.experiments.configs import Data, Experiment, Train
from minicereb.experiments.dimension import Dimension
from minicereb.experiments.studies.protocol import EXPECTED, Found, as_printed, evaluated, grouped, markdown, with_interval
from minicereb.experiments.studies.sparsity import ALL_INPUTS, inputs_of, models
from minicereb.experiments.studies.sparsity import SIZES as TRAININGS
from minicereb.experiments.studies.study import Results, Study, short
from minicereb.report.figures import curves, save_figure
from minicereb.statistics import mean_interval, proportion_interval

NATURAL = 4  # k in the animal
LEVEL = 0.1  # share of the inputs for which a threshold cell fires
# Per scale: inputs per cell, of those that the study of sparsity has; images or inputs that a dimension is measured with.
SIZES: dict[str, tuple[tuple[int, ...], int]] = {
    "smoke": ((1, 4, 784), 60),
    "course": ((1, 2, 4, 10, 50, 784), 1_000),
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
    """Every number of inputs: the model trained as in the study of sparsity and evaluated, and the dimensions of its wiring."""
    chosen, images = SIZES[scale]
    experiments: list[Experiment] = []
    for model in models(scale):
        for seed in seeds if (model.inputs_per_cell or ALL_INPUTS) in chosen else ():
            experiments.append(evaluated(as_printed(model, data, TRAININGS[scale][2], seed), scale, seed))
            for inputs, units, weights in MEASURES.values():
                experiments.append(Dimension(model, data, inputs, units, weights, LEVEL, images, seed))
    return experiments


class Value(NamedTuple):
    """A number with its 95% interval."""

    value: float
    low: float
    high: float


def dimensions(results: Results) -> dict[str, dict[int, Value]]:
    """Return by measure and k the dimension: the interval over images for one seed, over seeds for several.

    The closed form has none, and is the one for threshold cells with equal weights on independent normal inputs.
    """
    found: dict[str, dict[int, list[tuple[float, list[float | None]]]]] = {name: {} for name in MEASURES}
    closed: dict[int, Value] = {}
    for config, record in results:
        if isinstance(config, Dimension):
            name = next(name for name, way in MEASURES.items() if way == (config.inputs, config.units, config.weights))
            k = config.model.inputs_per_cell or record["inputs"]
            found[name].setdefault(k, []).append((record["dimension"], record["interval"]))
            exact = threshold_dimension(record["inputs"], k, config.model.cells, config.level)
            closed[k] = Value(exact, exact, exact)
    return {name: {k: _mean(values) for k, values in by_inputs.items()} for name, by_inputs in found.items()} | {CLOSED: closed}


def _mean(measured: Sequence[tuple[float, list[float | None]]]) -> Value:
    if len(measured) == 1:
        value, (low, high) = measured[0]
        return Value(value, low or 1.0, float("inf") if high is None else high)
    values = [value for value, _ in measured]
    return Value(sum(values) / len(values), *mean_interval(values))


def _named(train: Train) -> str:
    return f"{inputs_of(train)}"


def table(results: Results) -> str:
    """Accuracy over k, dimension over k, and of each the k that is best and those that these intervals do not tell from it."""
    found, measured = grouped(results, _named), dimensions(results)
    return "\n".join([*_accuracies(found), *_dimensions(results, measured), *_answers(found, measured)])


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
    over = "over images and inputs, by the jackknife" if len(seeds) == 1 else "over the seeds, Student's t"
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


def _answers(found: list[Found], measured: dict[str, dict[int, Value]]) -> list[str]:
    """For each quantity the best k, what k = 4 has, and the k that the intervals do not tell from the best."""
    config, record = found[0].evaluations[0]
    quantities = {"test accuracy, %": _shares(found, "test", record["test_images"])}
    for e, epsilon in enumerate(config.epsilons):
        quantities[f"attacked {epsilon:g}, %"] = _shares(found, "attacked", record["images"], e)
    rows = []
    for name, values in (quantities | {f"dimension: {name}": values for name, values in measured.items()}).items():
        best = max(values, key=lambda k: values[k].value)
        if values[best].value == 0:
            rows.append([name, "- (0 for all)", "0", "-"])
            continue
        near = [f"{k}" for k, value in values.items() if k != best and value.high >= values[best].low]
        write = short if name.startswith("dimension") else "{:.1f}".format
        rows.append([name, f"{best} ({write(values[best].value)})", write(values[NATURAL].value), ", ".join(near) or "none"])
    return [
        *markdown(["quantity", "best k", f"k = {NATURAL}", "k whose interval meets the best one's"], rows),
        "",
        f"Is k = {NATURAL} near-optimal? It is the best of these k, or not told from the best, where it stands in the second or "
        "the last column. Intervals that meet leave a difference undecided, and do not prove that there is none; the best of "
        "many is chosen after the fact. The closed form has no interval.",
    ]


def _shares(found: list[Found], what: str, images: int, e: int = 0) -> dict[int, Value]:
    """Test accuracy, or the attacked or certified share at the ε of this number, in percent by k."""
    values = {}
    for each in found:
        shares = [record["test_accuracy"] for _, record in each.evaluations] if what == "test" else each.shares(what, e)
        mean = sum(shares) / len(shares)
        low, high = proportion_interval(round(mean * images), images) if len(shares) == 1 else mean_interval(shares)
        values[int(each.name)] = Value(100 * mean, 100 * max(0.0, low), 100 * min(1.0, high))
    return values


def _shown(value: Value) -> str:
    if value.low == value.high:
        return short(value.value)
    return f"{short(value.value)} ({short(max(value.low, 1e-9))}-{short(value.high)})"


def _over(found: list[Found]) -> str:
    seeds = sorted({config.train.seed for config, _ in found[0].evaluations})
    return ("over the images; seed " if len(seeds) == 1 else "over the seeds, Student's t; seeds ") + ", ".join(map(str, seeds))


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
    across = {"from_zero": True, "logarithmic": True, "graded": True}
    save_figure(curves(sides, k, "share of the test images, %", **across), out / "optimum-accuracy.png")
    lines = {name: _line(values) for name, values in measured.items()}
    panels = [
        ("images", {name: lines[name] for name in lines if name.startswith(("images", "pixels"))}),
        ("normal inputs", {name: lines[name] for name in lines if name.startswith(("normal", CLOSED))}),
    ]
    figure = curves(panels, k, "dimension of the granule layer", logarithmic=True, logarithmic_values=True)
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
    expectation=EXPECTED
    + "It will «examine whether the parameters decided by the natural cerebellum (k = 4) is (near) optimal against adversarial "
    "attacks», with as many synapses m(k + 2c) for every k, and expects nothing in particular. The theory that it cites "
    "(Litwin-Kumar et al. 2017) has the dimension of threshold cells largest at about four inputs, for some 7,000 mossy fibres, "
    "a budget mK and independent inputs. With 784 inputs and the paper's budget m(K + 20), which makes many inputs cheaper, the "
    "same formula has another best K: it is in the table.",
    captions={
        "optimum-accuracy": (
            "Accuracy on the test images, and share of the evaluated ones that all attacks leave right, over the inputs of a "
            "granule cell k (logarithmic), at a fixed budget of synapses m(k + 20). Bars: 95% intervals, over the images for one seed, "
            "over seeds for several; lines only join the marks. The numbers of images are in the tables."
        ),
        "optimum-dimension": (
            "Participation ratio of the granule layer's activity (a number of dimensions) over the inputs of a granule cell k, "
            "both logarithmic, at a fixed budget of synapses. Left on test images, and with each pixel from an image of its own; "
            "right on independent normal inputs, with the closed form for threshold cells with equal weights. Bars: 95% "
            "intervals; most are smaller than the marks."
        ),
    },
)
