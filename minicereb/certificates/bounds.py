"""Bounds on the outputs of a network over all images of a region: intervals ``[M-IBP]`` and linear relaxations ``[M-CROWN]``.

Signals have the shape (cells, images), and coefficients of linear functions have the shape (cells, functions, images). So
images are contiguous in memory, and a block of cells is a view. All bounds hold for the outputs that the model computes in its
own precision, because each affine map adds the possible rounding error ``[M-ROUND]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from minicereb.backend import Array, execution, xp_of
from minicereb.certificates.affine import PART_WEIGHTS, Affine, AffineNetwork
from minicereb.certificates.convolutional import Features
from minicereb.certificates.region import Region
from minicereb.certificates.relaxations import Lines, Unit
from minicereb.parallel import blocks

PART_NUMBERS = 1 << 18  # coefficients of a block of cells
# Largest number of units of a layer after convolutions; each needs two passes through them. Larger layers have intervals only.
TIGHTENED_BEHIND_CONVOLUTIONS = 128


class Response(NamedTuple):
    """Bounds on the responses that the model computes, (cells, images): linear functions of the exact signal, and intervals."""

    lines: Lines
    low: Array
    high: Array


class InputBounds(NamedTuple):
    """Bounds on all inputs of an affine map: centre, radius and largest absolute value of each interval."""

    centre: Array
    radius: Array
    size: Array


class Bounds:
    """Bounds on the units and outputs of a network, for a block of images.

    Parameters
    ----------
    network : AffineNetwork
    region : Region or Features
        Region of images, or of their features.
    crown : bool
        Whether to use linear relaxations in addition to the intervals.

    Notes
    -----
    The bounds on all hidden layers but the last are computed once and stored. The last hidden layer may be as large as a
    granule layer. Its bounds are never stored, but computed in blocks of cells whenever they are needed.
    """

    def __init__(self, network: AffineNetwork, region: Region | Features, crown: bool):
        self.network, self.region, self.crown = network, region, crown
        self.inputs = [InputBounds(region.centre, region.radius, abs(region.centre) + region.radius)]
        self.responses: list[Response] = []
        xp = xp_of(region.x)
        for number, layer in enumerate(network.hidden[:-1]):
            parts = [self.respond(number, part) for part in self.parts(layer.affine, 1)]
            lines = Lines(*(xp.concatenate(arrays) for arrays in zip(*(part.lines for part in parts), strict=True)))
            low, high = (xp.concatenate(arrays) for arrays in zip(*(part[1:] for part in parts), strict=True))
            self.responses.append(Response(lines, low, high))
            self.inputs.append(InputBounds(0.5 * (low + high), 0.5 * (high - low), xp.maximum(abs(low), abs(high))))

    @property
    def images(self) -> int:
        """Number of images."""
        return self.region.x.shape[1]

    def parts(self, affine: Affine, functions: int) -> list[slice]:
        """Cut the outputs of an affine map into blocks of limited size, for `functions` linear functions per image."""
        size = min(PART_NUMBERS // (functions * self.images), PART_WEIGHTS // affine.weights.shape[1])
        return list(blocks(affine.outputs, max(16, size)))

    def errors(self, affine: Affine, size: Array) -> Array:
        """Return bounds on the rounding errors of an affine map's outputs, shape (outputs, images); `size` is ``|W||h|``."""
        total = size if affine.bias_size is None else size + affine.bias_size[:, None]
        return affine.rounding(self.network.unit) * total + affine.terms * self.network.tiny

    def respond(self, number: int, part: slice) -> Response:
        """Return bounds on the units in `part` of hidden layer `number`, counted from 0."""
        xp = xp_of(self.region.x)
        affine, unit = self.network.hidden[number].affine.part(part), self.network.hidden[number].unit
        signals = self.inputs[number]
        middle = affine.apply(signals.centre)
        both = affine.apply_size(xp.concatenate((signals.radius, signals.size), axis=1))
        radius, size = both[:, : self.images], both[:, self.images :]
        if affine.bias is not None:
            middle += affine.bias[:, None]
        low, high = middle - radius, middle + radius
        if number == 0 and self.region.epsilon is not None:
            at_x = affine.apply(self.region.x)
            if affine.bias is not None:
                at_x += affine.bias[:, None]
            reach = self.region.epsilon * affine.lengths()[:, None]
            low, high = xp.maximum(low, at_x - reach), xp.minimum(high, at_x + reach)
        convolutions = isinstance(self.region, Features)
        few = not convolutions or self.network.hidden[number].affine.outputs <= TIGHTENED_BEHIND_CONVOLUTIONS
        if self.crown and few and (number > 0 or convolutions):
            low, high = self._tighten(number, affine, low, high)
        return self._as_computed(unit, low, high, self.errors(affine, size))

    def _as_computed(self, unit: Unit, low: Array, high: Array, error: Array) -> Response:
        """Return bounds on units with exact signals from `low` to `high`, and computed signals that differ by up to `error`."""
        low, high = low - error, high + error
        lines, (least, largest) = unit.lines(low, high), unit.interval(low, high)
        own = unit.rounding * self.network.unit
        below, above = abs(lines.lower_slope) * error, abs(lines.upper_slope) * error
        lines = lines._replace(
            lower_intercept=lines.lower_intercept - below - own, upper_intercept=lines.upper_intercept + above + own
        )
        return Response(lines, least - own, largest + own)

    def _tighten(self, number: int, affine: Affine, low: Array, high: Array) -> tuple[Array, Array]:
        """Return bounds on the signals of some units, tightened by linear relaxation of the earlier layers."""
        xp = xp_of(low)
        low, high = low.copy(), high.copy()
        widest = max(layer.affine.width for layer in self.network.hidden[: number + 1])
        size = max(1, execution().memory // 64 // (16 * widest * self.images))
        rows = xp.arange(affine.outputs)
        if number == 0:  # after convolutions, only undecided units are worth the cost
            rows = xp.flatnonzero(((low < 0) & (high > 0)).any(axis=1))
        for part in blocks(len(rows), size):
            some = rows[part]
            few = affine.part(some)
            full = xp.zeros((affine.width, few.outputs), dtype=xp.float64)
            few.add_transpose(xp.eye(few.outputs, dtype=xp.float64), full)
            both = xp.concatenate((full, -full), axis=1)[:, :, None]
            bias = xp.zeros(few.outputs, dtype=xp.float64) if few.bias is None else few.bias
            least, _ = self.lower(number, both.__getitem__, 2 * few.outputs)
            low[some] = xp.maximum(low[some], least[: few.outputs] + bias[:, None])
            high[some] = xp.minimum(high[some], bias[:, None] - least[few.outputs :])
        return low, high

    def lower(
        self,
        number: int,
        coefficients: Callable[[slice], Array],
        functions: int,
        watch: Callable[[slice, Array], None] | None = None,
    ) -> tuple[Array, Array]:
        """Return lower bounds on linear functions of the units of the `number`-th hidden layer.

        Parameters
        ----------
        number : int
            Index of the hidden layer, counted from 1; 0 for functions of the images.
        coefficients : callable
            Maps a block of units to their coefficients, shape (block, functions, images), or (block, functions, 1) if they are
            the same for all images.
        functions : int
        watch : callable, optional
            Called with every block and the largest absolute responses of its units, (block, images).

        Returns
        -------
        relaxed, interval : array, shape (functions, images)
            The bounds by linear relaxation (by intervals if `crown` is false), and the bounds that follow from the intervals of
            that layer.
        """
        xp = xp_of(self.region.x)
        shape = (functions, self.images)
        constant, interval = xp.zeros(shape, dtype=xp.float64), None
        for layer in reversed(range(number)):
            affine = self.network.hidden[layer].affine
            a = xp.zeros((affine.width, functions * self.images), dtype=xp.float64) if self.crown else None
            total = xp.zeros(shape, dtype=xp.float64) if interval is None else None
            for part in self.parts(affine, functions):
                kept = layer < len(self.responses)
                response = _part(self.responses[layer], part) if kept else self.respond(layer, part)
                up, down = _signed(coefficients(part))
                if total is not None:
                    total += _sum(up, response.low, down, response.high)
                    if watch is not None:
                        watch(part, xp.maximum(abs(response.low), abs(response.high)))
                if a is not None:
                    lines, rows = response.lines, affine.part(part)
                    constant += _sum(up, lines.lower_intercept, down, lines.upper_intercept)
                    slopes = up * lines.lower_slope[:, None]
                    slopes += down * lines.upper_slope[:, None]
                    if rows.bias is not None:
                        constant += xp.tensordot(rows.bias, slopes, axes=1)
                    rows.add_transpose(xp.ascontiguousarray(slopes).reshape(len(slopes), -1), a)
            interval = total if interval is None else interval
            if a is None:
                return interval, interval
            a = a.reshape(affine.width, *shape)
            coefficients = a.__getitem__
        inputs = slice(0, len(self.region.x))
        if watch is not None and number == 0:
            watch(inputs, self.inputs[0].size)
        relaxed = constant + self.region.least(coefficients(inputs))
        return relaxed, relaxed if interval is None else interval


def _part(response: Response, part: slice) -> Response:
    return Response(Lines(*(array[part] for array in response.lines)), response.low[part], response.high[part])


def _signed(a: Array) -> tuple[Array, Array]:
    """Return the positive and the negative part of an array."""
    xp = xp_of(a)
    up = xp.maximum(a, 0.0)
    return up, a - up


def _sum(up: Array, below: Array, down: Array, above: Array) -> Array:
    """Return ``Σ up·below + down·above`` over the cells, shape (functions, images)."""
    if up.shape[2] == 1:
        return up[:, :, 0].T @ below + down[:, :, 0].T @ above
    terms = up * below[:, None]
    terms += down * above[:, None]
    return terms.sum(axis=0)
