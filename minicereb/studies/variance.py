"""By how much does each estimator reduce the variance of the first layer's gradient, compared with the plain one at equal K?"""

from __future__ import annotations

from collections import Counter, namedtuple
from collections.abc import Callable
from itertools import product
from math import exp, sqrt
from typing import NamedTuple

import numpy as np

from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.estimator_variance import EstimatorVariance
from minicereb.report.figures import points
from minicereb.report.formats import in_words, number, percent
from minicereb.report.page import Table, Text
from minicereb.studies.results import Blocks, Figures, Results
from minicereb.studies.study import MNIST14, Study

LOSSES = ("cross-entropy", "zero-one")
STATES = ("untrained", "half trained", "trained")  # half trained: with the paper's own steps, gradient descent at a rate of 0.1
CONDITIONS = tuple(product(LOSSES, STATES))
PLAIN = ("plain", "score")
ESTIMATORS = {  # name of a row: estimator and last layer
    "plain": PLAIN,
    "mean baseline": ("baseline", "score"),
    "antithetic": ("antithetic", "score"),
    "Rao-Blackwell": ("rao-blackwell", "score"),
    "scrambled Sobol": ("sobol", "score"),
    "mean baseline, derivative last": ("baseline", "derivative"),
    "Rao-Blackwell, derivative last": ("rao-blackwell", "derivative"),
    "flip": ("flip", "derivative"),
}
# Factors in the project's earlier notes, from a prototype: cross-entropy untrained and trained (the method was not noted), and
# 0-1 loss untrained and trained.
EARLIER = {
    "mean baseline": (4.6, 2.6, 10.7, 5.3),
    "antithetic": (2.5, 1.7, 9.6, 4.1),
    "Rao-Blackwell": (7.4, 12, 17, 24),
    "scrambled Sobol": (158, 35, 24, 8.8),  # at K = 8192
    "flip": (44_000, 521, 748, 297),
}


# Per scale: epochs of training; K of the score estimators, of Sobol and of flip; draws, and draws of Sobol.
VarianceScale = namedtuple("VarianceScale", "epochs score sobol flip draws sobol_draws")
SIZES = {
    "smoke": VarianceScale(1, 64, 128, 4, 8, 4),
    "course": VarianceScale(4, 1024, 8192, 64, 100, 24),
    "paper": VarianceScale(12, 1024, 8192, 64, 400, 100),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[EstimatorVariance]:
    """Measure every estimator on the network before, during and after its training, for both losses."""
    size, experiments = SIZES[scale], []
    for seed, (loss, state) in product(seeds, CONDITIONS):
        step = (0.1, "sgd") if state == "half trained" else (0.02, "adam")
        schedule = "constant" if state == "half trained" else "cosine"
        train = Train(NoisyModel((20,), loss=loss), data, 25, size.epochs, *step, seed=seed, keep="last", schedule=schedule)
        for estimator, last_layer in ESTIMATORS.values():
            replications = {"sobol": size.sobol, "flip": size.flip}.get(estimator, size.score)
            draws = size.sobol_draws if estimator == "sobol" else size.draws
            experiments.append(
                EstimatorVariance(train, state != "untrained", estimator, last_layer, replications, draws, seed=seed)
            )
    return experiments


class Ratio(NamedTuple):
    """The ratio of the plain estimator's variance to another estimator's variance, written with its 95% interval."""

    logarithm: float
    error: float  # standard error of the logarithm

    def __str__(self) -> str:
        low, high = (exp(self.logarithm + side * 1.96 * self.error) for side in (-1, 1))
        return f"{number(exp(self.logarithm))} [{number(low)}, {number(high)}]"


class Measured(NamedTuple):
    """Measurements of an estimator under one condition, scaled to one replication (variance falls as 1/K, time grows as K)."""

    variances: np.ndarray  # (seeds, layers)
    errors: np.ndarray  # relative standard errors
    seconds: np.ndarray  # (seeds,)


def condition_of(config: EstimatorVariance) -> tuple[str, str]:
    """Return the loss of the measured network and its state of training."""
    state = "untrained" if not config.trained else "half trained" if config.train.optimizer == "sgd" else "trained"
    assert isinstance(config.train.model, NoisyModel)
    return config.train.model.loss, state


def measured(results: Results, name: str, condition: tuple[str, str]) -> Measured:
    """Collect the measurements of an estimator under a condition."""
    estimator, last_layer = ESTIMATORS[name]
    rows = results.where(test=lambda c: condition_of(c) == condition, estimator=estimator, last_layer=last_layer)
    replications = np.array([config.replications for config, _ in rows])
    variance, error = (
        np.array([[layer[key] for layer in record["layers"]] for record in rows.records], dtype=np.float64)
        for key in ("variance", "standard_error")
    )
    seconds = np.array(rows.values("seconds"), dtype=np.float64) / replications
    return Measured(variance * replications[:, None], error / variance, seconds)


def reduction(plain: Measured, other: Measured, layer: int) -> Ratio:
    """Return the plain estimator's variance divided by that of `other` at the same K, as the geometric mean over seeds."""
    logarithms = np.log(plain.variances[:, layer] / other.variances[:, layer])
    errors = np.hypot(plain.errors[:, layer], other.errors[:, layer])
    return Ratio(float(logarithms.mean()), float(sqrt(np.square(errors).sum()) / len(errors)))


def gain(plain: Measured, other: Measured) -> float:
    """Return the plain estimator's variance × seconds in the first layer, divided by another estimator's variance × seconds."""
    products = [each.variances[:, 0] * each.seconds for each in (plain, other)]
    return float(np.exp(np.log(products[0] / products[1]).mean()))


def table(results: Results) -> Blocks:
    """Tabulate the variance reduction in the first layer (next to earlier measurements) and in the second, then cost and gain."""
    found = {name: [measured(results, name, condition) for condition in CONDITIONS] for name in ESTIMATORS}
    plain, others = found["plain"], [name for name in ESTIMATORS if name != "plain"]
    at_k = max(config.replications for config, _ in results)

    def part(corner: str, names: list[str], cell: Callable[[str, int], str]) -> Table:
        head = [corner, *(f"{state}, {loss}" for loss, state in CONDITIONS)]
        return Table(head, [[name, *(cell(name, condition) for condition in range(len(CONDITIONS)))] for name in names])

    def first(name: str, condition: int) -> str:
        ratio = reduction(plain[condition], found[name][condition], 0)
        if name not in EARLIER or (name == "scrambled Sobol" and at_k != 8192):
            return str(ratio)
        loss, state = CONDITIONS[condition]
        earlier = EARLIER[name][2 * (loss == "zero-one") + (state != "untrained")]
        return f"{ratio} / {number(earlier)}{' **(!)**' * (not 0.5 <= exp(ratio.logarithm) / earlier <= 2)}"

    def cost_and_gain(name: str, condition: int) -> str:
        seconds = at_k * found[name][condition].seconds.mean()
        return f"{number(seconds)} s; {number(gain(plain[condition], found[name][condition]))}"

    return [
        part("first layer: variance of plain / of this, at equal K", others, first),
        part("second layer: the same", others, lambda name, c: f"{reduction(plain[c], found[name][c], 1)}"),
        part(f"seconds at K = {at_k:,}; variance × seconds of plain / of this", list(ESTIMATORS), cost_and_gain),
        Text(_legend(results)),
    ]


def _legend(results: Results) -> str:
    config = results[0][0]
    seeds = in_words(sorted({c.train.seed for c, _ in results}))
    ks = sorted({(c.estimator, c.replications, c.draws) for c, _ in results})
    networks = results.by(condition_of)
    trained = [(loss, state) for loss, state in CONDITIONS if state != "untrained"]
    accuracies = "; ".join(f"{loss}, {state}, {percent(networks[loss, state].mean('test_accuracy'))}%" for loss, state in trained)
    return (
        f"Variance of the gradient of the mean loss over a batch of {config.images} training images ({config.train.data.name}), "
        "summed over the weights of a layer, between estimates with independent noise; in brackets a 95% interval (jackknife "
        "over estimates: for this network and batch, not for others). It falls as 1/K, with a baseline nearly so, with Sobol "
        "noise faster, so each is measured at its own K and scaled: "
        + "; ".join(f"{estimator} K = {k:,}, {draws} estimates" for estimator, k, draws in ks)
        + f". Networks with 20 hidden threshold neurons, Gaussian noise 2 on all neurons, {seeds}; "
        f"trained with the flip estimator and their own loss for {config.train.epochs} epochs by Adam, or half trained by "
        f"gradient descent at a rate of 0.1; test accuracy: {accuracies}. After the slash: the project's earlier notes, for "
        "other trained networks; **(!)**: they differ by more than a factor of two. «Derivative last», and flip: the last "
        "layer's credit is a derivative, and the 0-1 loss is averaged over the noise on all outputs except the label's first; "
        "the earlier notes on flips used the raw 0-1 loss. Seconds are medians on this machine, scaled in proportion to K."
    )


def figures(results: Results) -> Figures:
    """Draw variance against seconds, all for the same K, with a panel for each condition."""
    at_k, panels = max(config.replications for config, _ in results), []
    for loss, state in CONDITIONS:
        places = {}
        for name in ESTIMATORS:
            each = measured(results, name, (loss, state))
            places[name] = (float(each.seconds.mean() * at_k), float(np.exp(np.log(each.variances[:, 0]).mean()) / at_k))
        panels.append((f"{loss}, {state}", places))
    across = f"seconds per estimate, K = {at_k:,} (dotted: plain at other K)"
    best = Counter(min(places, key=lambda name: places[name][0] * places[name][1]) for _, places in panels)
    ways = " and ".join(f"{name} in {count} of {len(panels)} cases" for name, count in best.most_common())
    said = f"Variance times seconds is smallest for {ways}."
    return {"variance": points(panels, across, "variance, first layer", conclusion=said)}


VARIANCE = Study(
    "variance",
    "By how much does each estimator reduce the variance of the first layer's gradient, compared with the plain one at equal K?",
    plan,
    table,
    figures,
    captions={
        "variance": (
            "Variance of the first layer's gradient over the seconds that an estimate takes on this machine, at equal K; a panel "
            "for each loss and state. Along the dotted line variance times seconds equals that of the plain estimator."
        ),
    },
    dataset=MNIST14,
)
