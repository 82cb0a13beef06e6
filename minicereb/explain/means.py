"""Means over neuronal noise: how an estimate converges, and how much rare noise that was not drawn could change the result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minicereb.calculus.replicated import ReplicatedLoss
from minicereb.errors import InputError
from minicereb.explain.drawings import Drawing, LineChart
from minicereb.explain.steps import CONFIDENCE, EstimatedMean, Rows
from minicereb.learning.credit import Estimator
from minicereb.learning.exact import Exact
from minicereb.learning.glr import estimator_named
from minicereb.learning.history import NO_HISTORY, History
from minicereb.learning.noise import Address
from minicereb.learning.one_neuron import Flip
from minicereb.learning.pathwise import Backprop
from minicereb.models.noisy import NoisyNetwork
from minicereb.statistics import mean_interval

GROUP, GROUPS = 32, 128  # replications per group, and number of groups
REFERENCE_GROUP, REFERENCE_GROUPS = 256, 64
SHARED_GROUP, SHARED_REFERENCE_GROUP = 8, 16  # replications per group for convolutions and layers with time steps
MOST = 1 << 16  # largest number of patterns (times 64 quadrature nodes for the 0-1 loss) for the closed form
REFERENCES = ("flip", "resample", "antithetic", "baseline")  # estimators that are tried in this order if there is no closed form
RARE = 1e-4  # probability that a neuron's own noise exceeds the range considered
RANGES = {"threshold": (0.0, 1.0), "sigmoid": (0.0, 1.0), "arctan-inverse": (-np.pi / 2, np.pi / 2)}


class CreditBounds(NamedTuple):
    """Bounds on the derivatives in one replication, with respect to each first-layer signal and to a last-layer weight."""

    credit: np.ndarray
    last: float


def credit_bounds_of(
    estimator: Estimator, network: NoisyNetwork, loss: ReplicatedLoss, x: np.ndarray, labels: np.ndarray
) -> CreditBounds:
    """Return bounds on the derivatives that an estimator can give for one image, or zeros where no bound is known.

    A bound is the range of the loss times the estimator's factor. The range of the loss follows from the ranges of the
    last layer's inputs.
    """
    first, last = network.layers[0], network.layers[-1]
    span = _span(network, loss, labels)
    if span is None or isinstance(estimator, Backprop) or first.law is None or not network.is_dense:
        return CreditBounds(np.zeros(len(first.bias), dtype=np.float64), 0.0)
    if isinstance(estimator, Flip):
        factor = first.law.density(first.drive(x.T[:, :, None])[:, 0, 0] / first.scale)
    else:
        factor = np.full(len(first.bias), _largest_score(first.law), dtype=np.float64)
    derivative = 1.0 if last.law is None or loss.smooth else float(1 / last.scale[0])
    by_score = 0.0 if last.law is None else span * _largest_score(last.law) / float(last.scale[0])
    return CreditBounds(span * factor / first.scale, derivative if getattr(estimator, "derivative_last", True) else by_score)


def _largest_score(law: object) -> float:
    places = np.linspace(RARE, 0.5, 1000, dtype=np.float64)
    return float(np.abs(law.score(law.quantile(places))).max())  # type: ignore[attr-defined]


def _span(network: NoisyNetwork, loss: ReplicatedLoss, labels: np.ndarray) -> float | None:
    """Return the difference between the largest and the smallest loss within the ranges of the outputs; None if unbounded."""
    last, before = network.layers[-1], network.layers[-2].activation
    if before is None or before.name not in RANGES or last.activation is not None:
        return None
    low, high = RANGES[before.name]
    centre = last.weight.sum(axis=1) * (low + high) / 2 + last.bias
    radius = np.abs(last.weight).sum(axis=1) * (high - low) / 2
    if last.law is not None:
        radius = radius + float(last.scale[0]) * abs(float(last.law.quantile(np.array([RARE], dtype=np.float64))[0]))
    towards = np.where(np.arange(len(centre), dtype=np.int64) == labels[0], 1.0, -1.0)
    corners = np.stack([centre + side * radius for side in (towards, -towards, 1, -1)], axis=1)[:, None, :]
    values = loss.value(corners, labels)
    return float(values.max() - values.min())


class GroupedEstimates(NamedTuple):
    """Estimates for one image, one per group of `size` replications.

    `credit`, shape (groups, neurons), is the credit of the first layer; `last`, shape (groups, classes, inputs of the
    last layer), is the derivative with respect to the last layer's weights; `weights`, shape (groups, weights), is the
    derivative with respect to some weights of the first layer. If the estimates are the reference for others, `origin`
    describes them; if they are exact, there is one group.
    """

    credit: np.ndarray
    last: np.ndarray
    size: int
    bounds: CreditBounds
    weights: np.ndarray
    origin: str = ""


def _is_applicable(estimator: Estimator, network: NoisyNetwork, loss: ReplicatedLoss) -> bool:
    try:
        estimator.check(network, loss)
    except InputError:
        return False
    return True


def groups_of(
    estimator: Estimator, network: NoisyNetwork, loss: ReplicatedLoss, x: np.ndarray, labels: np.ndarray, at: Address,
    groups: int = GROUPS, size: int | None = None, history: History = NO_HISTORY,
    weights: Sequence[tuple[str, tuple[int, ...]]] = (),
) -> GroupedEstimates:  # fmt: skip
    """Return repeated estimates, each from `size` fresh replications; a single one if the estimator is exact.

    `weights` are the names and indices of weights of the first layer.
    """
    x_t, first = np.ascontiguousarray(x.T), network.layers[0]
    exact = isinstance(estimator, Exact)
    size = size or (GROUP if network.is_dense else SHARED_GROUP)
    credits, last, chosen = [], [], []
    for group in range(1 if exact else groups):
        noise = estimator.draw(network, x, 1, 1 if exact else size, at.of(group))
        piece = estimator.on(network, loss, x_t, labels, noise, False, history)
        credits.append(piece.first_credit[0])
        last.append(piece.gradients[-1]["weight"])
        every = piece.gradients[0] | first.weight_gradient(piece.first_credit, x) if weights else {}
        chosen.append([every[name][index] for name, index in weights])
    bounds = credit_bounds_of(estimator, network, loss, x, labels)
    credit, by_last, by_weight = (np.array(each, dtype=np.float64) for each in (credits, last, chosen))
    return GroupedEstimates(credit, by_last, size, bounds, by_weight)


def reference_for(
    own: str, network: NoisyNetwork, loss: ReplicatedLoss, x: np.ndarray, labels: np.ndarray, at: Address,
    placement: str = "all", weights: Sequence[tuple[str, tuple[int, ...]]] = (),
) -> GroupedEstimates:  # fmt: skip
    """Return the closed form or else an independent estimate, by an estimator other than `own` and with more replications."""
    exact = estimator_named("exact", "derivative")
    patterns = (1 if loss.smooth else 64) << min(len(network.layers[0].bias), 64)
    if placement == "all" and patterns <= MOST and _is_applicable(exact, network, loss):
        found = groups_of(exact, network, loss, x, labels, at)
        return found._replace(origin="the sum over all patterns of the hidden layer")
    size = REFERENCE_GROUP if network.is_dense else SHARED_REFERENCE_GROUP
    for name in REFERENCES:
        other = estimator_named(name, "derivative", placement)
        if name != own and _is_applicable(other, network, loss):
            found = groups_of(other, network, loss, x, labels, at, REFERENCE_GROUPS, size, weights=weights)
            drawn = REFERENCE_GROUPS * size
            origin = f"{name} with other noise, {drawn:,} replications (there is no closed form, or it has too many terms)"
            return found._replace(origin=origin)
    raise InputError("what", "a mean over noise", "a network to which an estimator applies")


class Series(NamedTuple):
    """Estimates of one number, one per group of `size` replications.

    The number's absolute value in a single replication is at most `bound`.
    """

    values: np.ndarray
    size: int
    bound: float

    def interval(self, groups: int | None = None) -> tuple[float, float]:
        """Return the mean of the first `groups` values and the half-width of its interval; for a single value, the value and 0.

        Student's interval is widened by ``ln(1/δ)/K`` times the bound, to account for rare noise that was not drawn: an event
        that never occurred in K replications has a probability below ``ln(1/δ)/K``, with confidence 1 - δ.
        """
        values = self.values[:groups]
        if len(values) == 1:
            return float(values[0]), 0.0
        low, high = mean_interval(values, CONFIDENCE)  # type: ignore[arg-type]
        unseen = -math.log(1 - CONFIDENCE) / (len(values) * self.size) * self.bound
        return float(values.mean()), (high - low) / 2 + unseen


def weight_series(found: GroupedEstimates, neuron: int, activity: float) -> Series:
    """Return the derivative with respect to a weight of the first layer: the activity of its input times the credit."""
    return Series(found.credit[:, neuron] * activity, found.size, float(found.bounds.credit[neuron] * abs(activity)))


def last_series(found: GroupedEstimates, output: int, neuron: int) -> Series:
    """Return the derivative with respect to a weight of the last layer."""
    return Series(found.last[:, output, neuron], found.size, found.bounds.last)


def pixel_series(found: GroupedEstimates, network: NoisyNetwork, pixel: int) -> Series:
    """Return the derivative with respect to a pixel: the credit passed back through the first layer's weights."""
    bound = float(np.abs(network.layers[0].weight[:, pixel]) @ found.bounds.credit) if network.is_dense else 0.0
    return Series(network.layers[0].input_gradient(found.credit)[:, pixel], found.size, bound)


def estimate_of(of: str, series: Series, reference: Series, by: str) -> EstimatedMean:
    """Return the mean of a series beside its expected value, the mean of `reference`."""
    mean, half = series.interval()
    should, should_half = reference.interval()
    return EstimatedMean(of, len(series.values) * series.size, mean, half, should, should_half, by)


def running(of: str, series: Series, reference: Series) -> tuple[Rows, Drawing]:
    """Return the mean over the first 4, 8, 16, … groups of replications as a table, and the running mean as a figure."""
    should, _ = reference.interval()
    counts = [4 << power for power in range(20) if 4 << power <= len(series.values)]
    found = [(count * series.size, *series.interval(count)) for count in counts]
    rows = [(count, mean, mean - half, mean + half, abs(mean - should)) for count, mean, half in found]
    table = Rows(f"running mean of {of}", ("replications", "mean", "low", "high", "off by"), rows)
    every = np.arange(4, len(series.values) + 1, dtype=np.int64)
    bands = [series.interval(int(count)) for count in every]
    means, halves = (np.array(part, dtype=np.float64) for part in zip(*bands, strict=True))
    lines = {
        "running mean": (every * series.size, means, means - halves, means + halves),
        "expected value": (every[[0, -1]] * series.size, np.full(2, should, dtype=np.float64)),
    }
    caption = f"The mean of {of} over more and more replications, with its {CONFIDENCE:.1%} interval."
    return table, Drawing(caption, [LineChart("running mean", lines, ("replications", of), logarithmic=True)])
