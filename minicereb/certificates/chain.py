"""Chains of affine maps and rectified units over a box, and lower bounds on linear functions of their signals ``[M-CROWN]``.

The complete verifier (:mod:`minicereb.certificates.complete`) works on chains. The signals of all hidden units are stored in
one row, layer after layer. The lower slopes of undecided units and the multipliers of branches are chosen by gradient ascent on
the bound; the derivative of the bound is computed by a forward pass through the relaxed units ``[M-SLOPES]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from minicereb.backend import to_numpy
from minicereb.certificates.affine import OWN_ROUNDING, Affine, AffineNetwork
from minicereb.certificates.region import Region
from minicereb.certificates.relaxations import SLACK, TINY, relative_rounding
from minicereb.errors import InputError, require

RATE, DECAY = 0.1, 0.95  # of the ascent: the first step, in units of slope, and its factor per step
ROWS = 256  # functions bounded together
CLOSED = 1e-5  # a single-precision bound above this is recomputed in double precision


@dataclass(frozen=True, eq=False)
class Chain:
    """A chain ``v₁ = W₁x + b₁, h = max(v₁, 0), v₂ = W₂h + b₂, …`` over a box. No units follow the last map.

    Parameters
    ----------
    weights : tuple of array of float64, shape (outputs, inputs)
        NumPy arrays, or sparse arrays of SciPy.
    biases, errors : tuple of array of float64, shape (outputs,)
        The bias b, and a bound on the difference between the signal that the model computes and the exact one ``[M-ROUND]``.
    low, high : array of float64, shape (inputs,)
        Lower and upper limits of the box.
    least, most : array of float64, shape (hidden units,)
        Bounds on the hidden units' signals v, as the model computes them.
    binary : bool
        Whether each input takes only the values at the two ends of its interval.
    """

    weights: tuple[Any, ...]
    biases: tuple[np.ndarray, ...]
    errors: tuple[np.ndarray, ...]
    low: np.ndarray
    high: np.ndarray
    least: np.ndarray
    most: np.ndarray
    binary: bool = False

    @property
    def units(self) -> int:
        """Number of hidden units."""
        return len(self.least)

    @cached_property
    def views(self) -> list[slice]:
        """The position of each hidden layer's units among all hidden units."""
        ends = np.cumsum([0, *(len(bias) for bias in self.biases[:-1])]).tolist()
        return [slice(a, b) for a, b in zip(ends[:-1], ends[1:], strict=True)]

    @cached_property
    def transposed(self) -> list[Any]:
        """The transposed weights, in a memory layout that suits products."""
        return [w.T.tocsr() if scipy.sparse.issparse(w) else np.ascontiguousarray(w.T) for w in self.weights]

    def in_precision(self, dtype: Any) -> Chain:
        """Return the chain with its arrays converted to another dtype."""
        arrays = ((each.astype(dtype) for each in group) for group in (self.weights, self.biases, self.errors))
        weights, biases, errors = (tuple(group) for group in arrays)
        return replace(self, weights=weights, biases=biases, errors=errors)

    def without_silent(self) -> Chain:
        """Return the chain without the units that are off over the whole box."""
        weights, biases, errors, before = list(self.weights), list(self.biases), list(self.errors), None
        for number, view in enumerate([*self.views, None]):
            if before is not None:
                weights[number] = weights[number][:, before]
            if view is not None:
                before = np.flatnonzero(self.most[view] > 0)
                for group in (weights, biases, errors):
                    group[number] = group[number][before]
        alive = self.most > 0
        return replace(
            self,
            weights=tuple(w if scipy.sparse.issparse(w) else np.ascontiguousarray(w) for w in weights),
            biases=tuple(biases),
            errors=tuple(errors),
            least=self.least[alive],
            most=self.most[alive],
        )

    def outputs(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs, shape (rows, outputs), for inputs of shape (rows, inputs)."""
        for weights, bias in zip(self.transposed[:-1], self.biases[:-1], strict=True):
            x = np.maximum(x @ weights + bias, 0)
        return x @ self.transposed[-1] + self.biases[-1]

    def slope(self, credit: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the derivative of ``Σ credit · outputs`` with respect to the inputs, shape (rows, inputs)."""
        masks = []
        for weights, bias in zip(self.transposed[:-1], self.biases[:-1], strict=True):
            x = np.maximum(x @ weights + bias, 0)
            masks.append(x > 0)
        for weights, mask in zip(reversed(self.weights[1:]), reversed(masks), strict=True):
            credit = (credit @ weights) * mask
        return credit @ self.weights[0]


def chain_of(
    weights: Sequence[Any],
    biases: Sequence[np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
    unit: float = 2.0**-24,
    sizes: Sequence[np.ndarray] | None = None,
    terms: Sequence[int] | None = None,
    tiny: float = 2.0**-126,
    binary: bool = False,
) -> Chain:
    """Return a chain whose hidden units are bounded by intervals ``[M-IBP]``.

    Parameters
    ----------
    weights, biases, low, high, binary
        As in :class:`Chain`.
    unit, tiny : float
        Unit roundoff and smallest normal number of the model's arithmetic; by default single precision. With a `unit` of 0,
        only the certificate's own rounding is taken into account.
    sizes : sequence of array, optional
        Bounds on the sums of the absolute values of the terms that the model adds up to obtain the biases; by default ``|b|``.
    terms : sequence of int, optional
        For each map, the number of terms that the model adds up for one output; by default the number of inputs, plus 1 for the
        bias.

    Raises
    ------
    InputError
        If shapes do not fit each other, a number is not finite, or the box is empty.
    """
    require(len(weights) == len(biases) > 0, "biases", len(biases), f"as many as there are affine maps, {len(weights)}")
    low, high = (np.asarray(end, dtype=np.float64) for end in (low, high))
    require(bool((low <= high).all() and np.isfinite(high - low).all()), "low", "above high", "a box of finite numbers")
    width, errors, least, most = len(low), [], [], []
    h_low, h_high = low, high
    for number, (w, bias) in enumerate(zip(weights, biases, strict=True)):
        if w.ndim != 2 or w.shape != (len(bias), width):
            raise InputError("weights", f"shape {w.shape}", f"({len(bias)}, {width}), by the bias and the layer before")
        width = len(bias)
        size = np.maximum(abs(h_low), abs(h_high))
        count = w.shape[1] + 1 if terms is None else terms[number]
        total = abs(w) @ size + (abs(bias) if sizes is None else sizes[number])
        error = relative_rounding(count, unit + OWN_ROUNDING) * total + count * tiny
        errors.append(error)
        middle, radius = w @ (0.5 * (h_low + h_high)) + bias, abs(w) @ (0.5 * (h_high - h_low))
        if number < len(weights) - 1:
            least.append(middle - radius - error)
            most.append(middle + radius + error)
            h_low, h_high = np.maximum(least[-1], 0), np.maximum(most[-1], 0)
    ends = [np.concatenate([np.zeros(0), *each]) for each in (least, most)]
    return Chain(tuple(weights), tuple(map(np.asarray, biases)), tuple(errors), low, high, ends[0], ends[1], binary)


def chain_of_network(network: AffineNetwork, region: Region) -> Chain | str:
    """Return a classifier as a chain over the box around one image, or a one-line reason why it cannot be converted.

    If the classifier begins with mossy fibres that either fire or are silent, the chain begins after them and has binary
    inputs.
    """
    if network.convolutions is not None:
        return "branching is for networks without convolutions"
    if region.epsilon is not None:
        return "branching is for changes measured by linf"
    region = region if network.fires_above is None else region.fired(network.fires_above)
    centre, radius = (to_numpy(array)[:, 0] for array in (region.centre, region.radius))
    layers, low, high, binary = list(network.hidden), centre - radius, centre + radius, network.fires_above is not None
    other = next((layer.unit.name for layer in layers if layer.unit.name != "relu"), None)
    if other is not None:
        return f"branching is for rectified units, not {other}"
    maps = [*(layer.affine for layer in layers), network.output]
    zero = [np.zeros(each.outputs) for each in maps]
    biases = [zero[i] if each.bias is None else to_numpy(each.bias) for i, each in enumerate(maps)]
    sizes = [zero[i] if each.bias_size is None else to_numpy(each.bias_size) for i, each in enumerate(maps)]
    terms = [each.terms for each in maps]
    return chain_of([_dense(each) for each in maps], biases, low, high, network.unit, sizes, terms, network.tiny, binary)


def _dense(affine: Affine) -> Any:
    """Return the weights as a matrix, which is sparse if the wiring is sparse."""
    weights = to_numpy(affine.weights).astype(np.float64)
    if affine.inputs is None:
        return weights
    starts = np.arange(0, weights.size + 1, weights.shape[1])
    return scipy.sparse.csr_array((weights.ravel(), to_numpy(affine.inputs).ravel(), starts), shape=(len(weights), affine.width))


# -- the bound ---------------------------------------------------------------------------------------------------------------


class Relaxed(NamedTuple):
    """The bounding lines of rectified units, and the signs of the branches taken, in arrays of shape (rows or 1, hidden units).

    Attributes
    ----------
    up, over : array
        Slope and intercept of the upper line, which is exact for a unit that is always on or always off.
    fixed : array of bool
        Whether the line is exact because the unit is always on or always off.
    sign : array
        1 where a branch requires v ≥ 0, -1 where it requires v ≤ 0, otherwise 0.
    """

    up: np.ndarray
    over: np.ndarray
    fixed: np.ndarray
    sign: np.ndarray


def relaxed(least: np.ndarray, most: np.ndarray, sign: np.ndarray, dtype: Any) -> Relaxed:
    """Return the bounding lines ``[M-RELAX]`` of units, given their bounds and branches, all of shape (rows, hidden units)."""
    fixed = (least >= 0) | (most <= 0) | (sign != 0)
    on = np.where(sign != 0, sign > 0, least >= 0) * 1.0
    chord = most / np.maximum(most - least, TINY)
    over = np.where(fixed, 0.0, SLACK * most - chord * least)
    return Relaxed(np.where(fixed, on, chord).astype(dtype), over.astype(dtype), fixed, sign.astype(dtype))


class Target(NamedTuple):
    """The signals to bound from below, one per row: `sign` times the signal of unit `unit` in hidden layer `layer`."""

    layer: int
    unit: np.ndarray
    sign: np.ndarray


class Pass(NamedTuple):
    """Results of a backward pass: the bound, each layer's coefficients and slopes, and the coefficients of the inputs."""

    bound: np.ndarray
    credit: list[np.ndarray | None]
    slopes: list[np.ndarray | None]
    inputs: np.ndarray


def backward(
    chain: Chain,
    box: tuple[np.ndarray, np.ndarray],
    lines: Relaxed,
    free: np.ndarray,
    top: np.ndarray | None,
    target: Target | None,
) -> Pass:
    """Return a lower bound on ``top · outputs``, plus the target if there is one. It allows for rounding ``[M-CROWN]``.

    Parameters
    ----------
    chain : Chain
    box : tuple of array, shape (rows or 1, inputs)
        Centre and radius.
    lines : Relaxed
    free : array of float, shape (rows, hidden units)
        Lower slopes of undecided units, in [0, 1], and multipliers of branches, at least 0. Any values in these ranges give a
        sound bound.
    top : array of float, shape (rows, outputs), or None
    target : Target, optional
    """
    layers = len(chain.views)
    credit: list[np.ndarray | None] = [None] * layers
    slopes: list[np.ndarray | None] = [None] * layers
    bound: Any = 0.0
    a: Any = None
    if top is not None:
        bound = top @ chain.biases[-1] - abs(top) @ chain.errors[-1]
        a = top @ chain.weights[-1]
    for layer in reversed(range(layers)):
        view = chain.views[layer]
        v = np.zeros((len(free), view.stop - view.start), dtype=free.dtype)
        if a is not None:
            some, up = free[:, view], lines.up[:, view]
            slope = np.where(a < 0, up, np.where(lines.fixed[:, view], up, some))
            bound = bound + (np.minimum(a, 0) * lines.over[:, view]).sum(axis=1)
            credit[layer], slopes[layer] = a, slope
            v = slope * a - lines.sign[:, view] * some
        if target is not None and target.layer == layer:
            v[np.arange(len(v)), target.unit] += target.sign
        elif a is None:
            continue
        bound = bound + v @ chain.biases[layer] - abs(v) @ chain.errors[layer]
        a = v @ chain.weights[layer]
    return Pass(bound + (a * box[0]).sum(axis=1) - (abs(a) * box[1]).sum(axis=1), credit, slopes, a)


def _forward(chain: Chain, box: Any, lines: Relaxed, free: np.ndarray, back: Pass) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the derivative of the bound with respect to `free` ``[M-SLOPES]``, and the outputs at the relaxed minimum."""
    h, slope = box[0] - box[1] * np.sign(back.inputs), np.zeros_like(free)
    for layer, view in enumerate(chain.views):
        a, d = back.credit[layer], back.slopes[layer]
        if a is None or d is None:
            return slope, None
        v = h @ chain.transposed[layer] + chain.biases[layer]
        slope[:, view] = np.where(lines.fixed[:, view], -lines.sign[:, view] * v, np.maximum(a, 0) * v)
        h = d * v + (a < 0) * lines.over[:, view]
    return slope, h @ chain.transposed[-1] + chain.biases[-1]


class Goal(NamedTuple):
    """Forbidden outputs z: those for which all rows of ``C z + d ≤ 0`` hold.

    Attributes
    ----------
    rows : array of float64, shape (rows, outputs)
    offsets : array of float64, shape (rows,)
    """

    rows: np.ndarray
    offsets: np.ndarray


class Ascent(NamedTuple):
    """The best result of an ascent, for each row.

    Attributes
    ----------
    bound : array of float64, shape (rows,)
    free : array
        The slopes and multipliers that give this bound, as :func:`backward` takes them.
    weight : array, shape (rows, rows of the goal)
        The weights with which the goal's rows are combined to give this bound.
    """

    bound: np.ndarray
    free: np.ndarray
    weight: np.ndarray


def ascend(
    chain: Chain,
    box: Any,
    lines: Relaxed,
    free: np.ndarray,
    weight: np.ndarray,
    goal: Goal | None,
    target: Target | None,
    steps: int,
    rate: float = RATE,
) -> Ascent:
    """Raise lower bounds by optimising slopes and multipliers with Adam ``[M-SLOPES]``.

    Without a target, the bounded quantity is ``weight · (C z + d)`` with weights that sum to 1. With a target, the bounded
    quantity is the target plus a sum of this form with any nonnegative weights; the result then bounds the target wherever the
    goal is met.

    Parameters
    ----------
    chain, box, lines, free, target
        As in :func:`backward`.
    weight : array of float, shape (rows, rows of the goal)
    goal : Goal or None
        Without a goal, the target is bounded over the whole box.
    steps : int
        Number of backward passes.
    rate : float
        Size of the first step.
    """
    best = np.full(len(free), -np.inf)
    best_free, best_weight = free.copy(), weight.copy()
    states = [[np.zeros_like(each), np.zeros_like(each)] for each in (free, weight)]
    for step in range(steps):
        back = backward(chain, box, lines, free, None if goal is None else weight @ goal.rows, target)
        bound = back.bound if goal is None else back.bound + weight @ goal.offsets
        better = bound > best
        best[better], best_free[better], best_weight[better] = bound[better], free[better], weight[better]
        if step == steps - 1 or (target is None and (best > 2 * CLOSED).all()):
            break
        slope, outputs = _forward(chain, box, lines, free, back)
        free = np.maximum(free + adam(states[0], slope, step, rate), 0)
        free = np.where(lines.fixed, free, np.minimum(free, 1))
        if goal is not None and outputs is not None and (target is not None or len(goal.offsets) > 1):
            weight = np.maximum(weight + adam(states[1], outputs @ goal.rows.T + goal.offsets, step, rate), 0)
            if target is None:
                total = weight.sum(axis=1, keepdims=True)
                weight = np.where(total > 0, weight / np.maximum(total, 1e-9), best_weight)
    return Ascent(best, best_free, best_weight)


def adam(state: list[np.ndarray], slope: np.ndarray, step: int, rate: float) -> np.ndarray:
    """Return a step of Adam uphill, and update its moving averages, `state`.

    The step size shrinks by the factor DECAY each time.
    """
    mean, square = state
    mean += 0.1 * (slope - mean)
    square += 0.01 * (slope * slope - square)
    scale = rate * DECAY**step / (1 - 0.9 ** (step + 1))
    return (scale * mean / (np.sqrt(square / (1 - 0.99 ** (step + 1))) + 1e-8)).astype(slope.dtype)


def usual_slopes(least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Return the lower slopes ``[M-RELAX]`` of CROWN, at which an ascent starts."""
    return (least + most > 0) * 1.0
