"""Lower bounds for networks with one hidden layer, with a separate slope for each input of a unit ``[M-HULL]``.

Linear relaxation bounds a rectified unit from above by a linear function of its signal, so all inputs of the unit share
one slope. But the bound need only hold over the box of the inputs, and with a separate slope for each input it can be
tighter (Anderson et al. 2020, arXiv:1811.01988; Tjandraatmadja et al. 2020, arXiv:2006.14076). The bound on the outputs
is concave in all slopes and is raised by gradient ascent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from minicereb.certificates.chain import Chain, adam, usual_slopes
from minicereb.certificates.relaxations import TINY

STEPS, RATE = 200, 0.5  # steps of the ascent, and its rate
ROUNDOFF = 2.0**-52


class Units(NamedTuple):
    """Hidden units that each contribute ``c max(v, 0)``, with ``c v = height + Σ reach · y`` and inputs y in [-1, 1].

    Attributes
    ----------
    inputs : array of int, shape (inputs per unit, units), or None
        Indices of the inputs; None if every unit receives all of them in order.
    height : array of float64, shape (units,)
        The height, with the possible rounding error of v subtracted.
    reach : array of float64, shape (inputs per unit, units)
    slopes : array of float64, shape (units,)
        The slopes of linear relaxation ``[M-RELAX]``.
    """

    inputs: np.ndarray | None
    height: np.ndarray
    reach: np.ndarray
    slopes: np.ndarray


class Hull(NamedTuple):
    """A linear function of a network's outputs over a box, in terms of inputs y = (x - centre) / radius.

    Attributes
    ----------
    constant : float
        The constant, with the possible rounding errors of the outputs and of this module subtracted.
    linear : array of float64, shape (inputs,)
        The part of the coefficients of y that is due to units that are on everywhere in the box.
    above, below : Units
        The undecided units with c < 0, which are bounded from above, and those with c > 0, which are bounded from below.
    """

    constant: float
    linear: np.ndarray
    above: Units
    below: Units


def has_hull(chain: Chain) -> bool:
    """Return whether :func:`hull_of` can be used: the chain must have exactly one hidden layer."""
    return len(chain.views) == 1


def hull_of(chain: Chain, row: np.ndarray) -> Hull:
    """Return ``row · outputs`` over the box of a chain with one hidden layer; `row` has the shape (outputs,)."""
    inputs, weights = _wiring(chain.weights[0])
    centre, radius = 0.5 * (chain.low + chain.high), 0.5 * (chain.high - chain.low)
    error, share = chain.errors[0], row @ chain.weights[1]
    middle = (weights * _gather(inputs, centre)).sum(axis=0) + chain.biases[0]
    reach = weights * _gather(inputs, radius)
    undecided = (chain.least < 0) & (chain.most > 0)

    def units(which: np.ndarray, slopes: np.ndarray) -> Units:
        some = np.flatnonzero(which)
        height = share[some] * middle[some] - abs(share[some]) * error[some]
        return Units(None if inputs is None else inputs[:, some], height, share[some] * reach[:, some], slopes[some])

    on = units(chain.least >= 0, np.ones(chain.units))
    size = abs(row) @ abs(chain.biases[1]) + abs(share) @ (abs(middle) + abs(reach).sum(axis=0) + error)
    rounding = ROUNDOFF * 8 * (weights.size + centre.size) * size
    return Hull(
        row @ chain.biases[1] - abs(row) @ chain.errors[1] + on.height.sum() - rounding,
        _add_up(on.inputs, on.reach, len(centre)),
        units(undecided & (share < 0), chain.most / np.maximum(chain.most - chain.least, TINY)),
        units(undecided & (share > 0), usual_slopes(chain.least, chain.most)),
    )


def _wiring(weights: Any) -> tuple[np.ndarray | None, np.ndarray]:
    """Return each unit's inputs and their weights, (inputs per unit, units), padded with inputs of weight 0."""
    if not scipy.sparse.issparse(weights):
        return None, weights.T
    weights = scipy.sparse.csr_array(weights, copy=True)
    weights.sum_duplicates()
    counts = np.diff(weights.indptr)
    place = np.arange(counts.max(initial=1))[:, None]
    where = np.where(place < counts, weights.indptr[:-1] + place, -1)
    return np.append(weights.indices, 0)[where], np.append(weights.data, 0.0)[where]


def _gather(inputs: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    """Return the inputs that each unit receives."""
    return x[:, None] if inputs is None else x[inputs]


def _add_up(inputs: np.ndarray | None, values: np.ndarray, count: int) -> np.ndarray:
    """Return, for each input, the sum of the values of all units that receive it."""
    return values.sum(axis=1) if inputs is None else np.bincount(inputs.ravel(), values.ravel(), count)


class HullBound(NamedTuple):
    """A lower bound, its derivatives with respect to the slopes, and the corner of the box (y = ±1) where it is attained."""

    bound: float
    by_above: np.ndarray
    by_below: np.ndarray
    corner: np.ndarray


def lower(hull: Hull, above: np.ndarray, below: np.ndarray) -> HullBound:
    """Return a lower bound on a linear function of the outputs ``[M-HULL]``. It allows for rounding.

    Any slopes in [0, 1] give a sound bound.

    Parameters
    ----------
    hull : Hull
    above : array of float64, shape (inputs per unit, units)
        A slope for each input of each unit that is bounded from above.
    below : array of float64, shape (units,)
        A slope for each unit that is bounded from below.
    """
    up, down, inputs = hull.above, hull.below, len(hull.linear)
    size = abs(up.reach)
    off = -(size * above).sum(axis=0)
    on = up.height - (size * (1 - above)).sum(axis=0)
    total = hull.linear + _add_up(up.inputs, up.reach * above, inputs) + _add_up(down.inputs, down.reach * below, inputs)
    corner = np.where(total > 0, -1.0, 1.0)
    bound = hull.constant + np.minimum(on, off).sum() + below @ down.height - abs(total).sum()
    by_above = np.where(on < off, size, -size) + up.reach * _gather(up.inputs, corner)
    by_below = down.height + (down.reach * _gather(down.inputs, corner)).sum(axis=0)
    return HullBound(float(bound), by_above, by_below, corner)


def raised(hull: Hull, steps: int = STEPS, over: Callable[[], bool] = lambda: False) -> HullBound:
    """Return the best bound of an ascent by Adam. The ascent starts from linear relaxation and ends once a bound exceeds 0.

    Parameters
    ----------
    hull : Hull
    steps : int
        Largest number of steps.
    over : callable, optional
        Called before every step; returns whether the time is up.
    """
    above, below = np.broadcast_to(hull.above.slopes, hull.above.reach.shape), hull.below.slopes
    states = [[np.zeros_like(each), np.zeros_like(each)] for each in (hull.above.reach, below)]
    best = point = lower(hull, above, below)
    for step in range(steps):
        if best.bound > 0 or over():
            break
        above = np.clip(above + adam(states[0], point.by_above, step, RATE), 0, 1)
        below = np.clip(below + adam(states[1], point.by_below, step, RATE), 0, 1)
        point = lower(hull, above, below)
        best = point if point.bound > best.bound else best
    return best
