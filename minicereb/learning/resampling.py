"""The score function, with the noise of one neuron at a time redrawn in antithetic pairs, one per stratum ``[M-RESAMPLE]``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from minicereb.backend import Array, xp_of
from minicereb.learning.credit import Credit
from minicereb.models.noisy import NoisyLayer

PAIRS = 2  # pairs of nodes at which a neuron's own noise is redrawn


class Redrawn(NamedTuple):
    """Estimated derivatives of the loss, multiplied by σ.

    `values` are derivatives with respect to each neuron's signal; `moved`, if requested, are derivatives with respect to σ
    itself.
    """

    values: Array
    moved: Array | None

    def credit(self, scale: Array) -> Credit:
        """Return the credit of a whole layer; the arrays must have the shape (neurons, images, replications)."""
        return Credit(self.values, None, scale, None, by_density=None if self.moved is None else self.moved.sum(axis=0))


def redrawn(layer: NoisyLayer, e: Array | None, losses_at: Callable[[list[Array]], Iterable[Array]], scales: bool) -> Redrawn:
    """Estimate derivatives of the loss by redrawing the noise `e` of one neuron at a time.

    The function `losses_at` takes several arrays of the shape of `e`, with a new noise value for each neuron. It returns the same
    number of arrays of the same shape: the loss if only that neuron's noise has the new value.
    """
    law = layer.law
    assert law is not None
    assert e is not None
    edge = e.dtype.type(1e-6)
    place = law.distribution(e)
    strata = [law.quantile(xp_of(e).clip((stratum + place) / e.dtype.type(2 * PAIRS), edge, 0.5)) for stratum in range(PAIRS)]
    nodes = [node for q in strata for node in (-q, q)]
    nodes += [0 * e] if scales else []
    losses = iter(losses_at(nodes))
    pairs = [(next(losses), next(losses)) for _ in strata]
    still: Any = next(losses) if scales else None
    values: Any = 0
    moved: Any = 0
    for q, (above, below) in zip(strata, pairs, strict=True):
        score = law.score(-q)
        values = values + (above - below) * score
        if scales:
            moved = moved + (above + below - 2 * still) * (-q * score - 1)
    return Redrawn(values / (2 * PAIRS), moved / (2 * PAIRS) if scales else None)
