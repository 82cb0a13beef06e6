"""How large a credit can be, which bounds the effect of noise that has not occurred on a mean."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minicereb.calculus.replicated import ReplicatedLoss
from minicereb.learning.credit import Estimator
from minicereb.learning.estimators import Backprop, Flip
from minicereb.models.noisy import NoisyNetwork

RARE = 1e-4  # probability that a neuron's own noise exceeds the range considered
RANGES = {"threshold": (0.0, 1.0), "sigmoid": (0.0, 1.0), "arctan-inverse": (-np.pi / 2, np.pi / 2)}


class CreditBounds(NamedTuple):
    """The largest derivatives that one replication can have.

    Attributes
    ----------
    credit : array, shape (neurons,)
        By the signals of the first layer.
    last : float
        By a weight of the last layer.
    """

    credit: np.ndarray
    last: float


def credit_bounds_of(
    estimator: Estimator, network: NoisyNetwork, loss: ReplicatedLoss, x: np.ndarray, labels: np.ndarray
) -> CreditBounds:
    """Bound the derivatives that an estimator can give for one image; zeros where there is no bound.

    Parameters
    ----------
    estimator : Estimator
    network : NoisyNetwork
    loss : ReplicatedLoss
    x : array of float64, shape (1, inputs)
    labels : array of int64, shape (1,)

    Returns
    -------
    CreditBounds
        The range of the loss, by the ranges of what the last layer sees, times what the estimator multiplies it with.
    """
    first, last = network.layers[0], network.layers[-1]
    span = _span(network, loss, labels)
    if span is None or isinstance(estimator, Backprop) or first.law is None:
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
    """Difference of the largest and the smallest loss within the ranges of the outputs; None if these have none."""
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
