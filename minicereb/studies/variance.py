"""By how much does each estimator reduce the variance of the first layer's gradient, against the plain one at equal K?"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import exp, sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.estimator_variance import EstimatorVariance
from minicereb.report.figures import points, save_figure
from minicereb.report.pipes import markdown
from minicereb.studies.study import Results, Study, short

LOSSES = ("cross-entropy", "zero-one")
STATES = ("untrained", "half trained", "trained")  # half: by the paper's own step, gradient descent at a rate of 0.1
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
# Factors in the project's notes, from throw-away code that was there before this engine: cross-entropy untrained and trained
# (it is not known by what and how far), 0-1 loss untrained and trained.
EARLIER = {
    "mean baseline": (4.6, 2.6, 10.7, 5.3),
    "antithetic": (2.5, 1.7, 9.6, 4.1),
    "Rao-Blackwell": (7.4, 12, 17, 24),
    "scrambled Sobol": (158, 35, 24, 8.8),  # at K = 8192
    "flip": (44_000, 521, 748, 297),
}


class Size(NamedTuple):
    """Of a scale: epochs of training; K of the score estimators, of Sobol and of flip; draws, and draws of Sobol."""

    epochs: int
    score: int
    sobol: int
    flip: int
    draws: int
    sobol_draws: int


SIZES = {
    "smoke": Size(1, 64, 128, 4, 8, 4),
    "course": Size(4, 1024, 8192, 64, 100, 24),
    "paper": Size(12, 1024, 8192, 64, 400, 100),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[EstimatorVariance]:
    """Every estimator on the network before, in and after its training, for both losses."""
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
    """A quotient of the plain estimator's number by another's, with the standard error of its logarithm."""

    logarithm: float
    error: float

    @property
    def value(self) -> float:
        """The quotient."""
        return exp(self.logarithm)

    def shown(self) -> str:
        """The quotient with its 95% interval."""
        low, high = (exp(self.logarithm + side * 1.96 * self.error) for side in (-1, 1))
        return f"{short(self.value)} [{short(low)}, {short(high)}]"


class Measured(NamedTuple):
    """An estimator under one condition: per replication, since variance is 1/K and time K times as large; a number per seed."""

    variances: np.ndarray  # (seeds, layers)
    errors: np.ndarray  # relative standard errors
    seconds: np.ndarray  # (seeds,)


def condition_of(config: EstimatorVariance) -> tuple[str, str]:
    """Return loss and state of the network."""
    state = "untrained" if not config.trained else "half trained" if config.train.optimizer == "sgd" else "trained"
    assert isinstance(config.train.model, NoisyModel)
    return config.train.model.loss, state


def measured(results: Results, name: str, condition: tuple[str, str]) -> Measured:
    """Collect what was measured of an estimator under a condition."""
    rows = [
        (config, record)
        for config, record in results
        if (config.estimator, config.last_layer) == ESTIMATORS[name] and condition_of(config) == condition
    ]
    layers = [[(layer["variance"], layer["standard_error"]) for layer in record["layers"]] for _, record in rows]
    numbers, replications = np.array(layers, dtype=np.float64), np.array([config.replications for config, _ in rows])
    seconds = np.array([record["seconds"] for _, record in rows], dtype=np.float64) / replications
    return Measured(numbers[:, :, 0] * replications[:, None], numbers[:, :, 1] / numbers[:, :, 0], seconds)


def reduction(plain: Measured, other: Measured, layer: int) -> Ratio:
    """By how much the plain estimator's variance at equal K is larger: geometric mean over seeds."""
    logarithms = np.log(plain.variances[:, layer] / other.variances[:, layer])
    errors = np.hypot(plain.errors[:, layer], other.errors[:, layer])
    return Ratio(float(logarithms.mean()), float(sqrt(np.square(errors).sum()) / len(errors)))


def gain(plain: Measured, other: Measured) -> float:
    """By how much the plain estimator's variance × seconds is larger, in the first layer."""
    products = [each.variances[:, 0] * each.seconds for each in (plain, other)]
    return float(np.exp(np.log(products[0] / products[1]).mean()))


def table(results: Results) -> str:
    """Factors of reduction in the first layer beside the earlier ones, then in the second, then what they cost and gain."""
    found = {name: [measured(results, name, condition) for condition in CONDITIONS] for name in ESTIMATORS}
    plain, others = found["plain"], [name for name in ESTIMATORS if name != "plain"]
    at_k = max(config.replications for config, _ in results)

    def part(corner: str, names: list[str], cell: Callable[[str, int], str]) -> list[str]:
        head = [corner, *(f"{state}, {loss}" for loss, state in CONDITIONS)]
        return [*markdown(head, [[name, *(cell(name, number) for number in range(len(CONDITIONS)))] for name in names]), ""]

    def first(name: str, number: int) -> str:
        ratio = reduction(plain[number], found[name][number], 0)
        if name not in EARLIER or (name == "scrambled Sobol" and at_k != 8192):
            return ratio.shown()
        loss, state = CONDITIONS[number]
        earlier = EARLIER[name][2 * (loss == "zero-one") + (state != "untrained")]
        return f"{ratio.shown()} / {short(earlier)}{' **(!)**' * (not 0.5 <= ratio.value / earlier <= 2)}"

    def second(name: str, number: int) -> str:
        return reduction(plain[number], found[name][number], 1).shown()

    def worth(name: str, number: int) -> str:
        seconds = at_k * found[name][number].seconds.mean()
        return f"{short(seconds)} s; {short(gain(plain[number], found[name][number]))}"

    lines = [
        *part("first layer: variance of plain / of this, at equal K", others, first),
        *part("second layer: the same", others, second),
        *part(f"seconds at K = {at_k:,}; variance × seconds of plain / of this", list(ESTIMATORS), worth),
    ]
    return "\n".join(lines) + "\n" + caption(results)


def caption(results: Results) -> str:
    """Say what was measured, and how."""
    config = results[0][0]
    ks = sorted({(c.estimator, c.replications, c.draws) for c, _ in results})
    seeds = sorted({c.train.seed for c, _ in results})
    accuracies = "; ".join(
        f"{loss}, {state}, {100 * np.mean([r['test_accuracy'] for c, r in results if condition_of(c) == (loss, state)]):.1f}%"
        for loss, state in CONDITIONS
        if state != "untrained"
    )
    return (
        f"Variance of the gradient of the mean loss over a batch of {config.images} training images ({config.train.data.name}), "
        "summed over the weights of a layer, between estimates with independent noise; in brackets a 95% interval (jackknife "
        "over estimates: for this network and batch, not for others). It falls as 1/K, nearly so with a baseline, so each is "
        "measured at a K of its own and scaled: "
        + "; ".join(f"{estimator} K = {k:,}, {draws} estimates" for estimator, k, draws in ks)
        + ". With Sobol noise it falls faster: the factors are for that K. Networks with 20 hidden threshold neurons, Gaussian "
        f"noise 2 on all neurons, seed {', '.join(map(str, seeds))}; trained with the flip estimator and their own loss for "
        f"{config.train.epochs} epochs by Adam, or half trained by gradient descent at a rate of 0.1; test "
        f"accuracy: {accuracies}. After the slash: the project's earlier notes, for other "
        "trained networks; **(!)**: they differ by more than a factor of two. «Derivative last», and flip: the last layer's "
        "credit is a derivative, and the 0-1 loss is averaged over the noise on all outputs but the label's before anything "
        "else; the earlier notes on flips took the raw 0-1 loss. Seconds are medians on this machine, scaled in proportion to K."
    )


def figures(results: Results, out: Path) -> None:
    """Draw ``variance.png``: variance against seconds at equal K, a panel for each condition."""
    at_k, panels = max(config.replications for config, _ in results), []
    for loss, state in CONDITIONS:
        places = {}
        for name in ESTIMATORS:
            each = measured(results, name, (loss, state))
            places[name] = (float(each.seconds.mean() * at_k), float(np.exp(np.log(each.variances[:, 0]).mean()) / at_k))
        panels.append((f"{loss}, {state}", places))
    save_figure(
        points(panels, f"seconds for an estimate, K = {at_k:,} (dotted: plain at other K)", "variance, first layer"),
        out / "variance.png",
    )


VARIANCE = Study(
    "variance",
    "By how much does each estimator reduce the variance of the first layer's gradient, against the plain one at equal K?",
    {"smoke": "strokes14", "course": "mnist14", "paper": "mnist14"},
    plan,
    table,
    figures,
    captions={
        "variance": (
            "Variance of the first layer's gradient over the seconds that an estimate takes on this machine, at "
            "equal K; a panel for each loss and state. Along the dotted line variance times seconds is that of "
            "the plain estimator."
        ),
    },
)
