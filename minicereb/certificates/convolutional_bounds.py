"""What is known of the features that an encoder makes of a region: intervals ``[M-IBP]``, and lines to the pixels ``[M-CROWN]``.

Signals are (images, height, width, channels) in float64. Inner units are bounded by intervals alone. Rounding counts as in
:mod:`minicereb.certificates.bounds`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from minicereb.backend import Array, xp_of
from minicereb.certificates.affine import relative_rounding
from minicereb.certificates.convolutional import ConvolutionalPart, Convolved, Pooled, Rectified, Scaled
from minicereb.certificates.region import Region
from minicereb.certificates.relaxations import Lines, largest_lines, relu_lines
from minicereb.parallel import ACTIVITY_BYTES, blocks


class Passed(NamedTuple):
    """What a step leaves for the way back.

    Attributes
    ----------
    step : Scaled, Convolved, Rectified or Pooled
    shape : tuple of int
        Of the images that came in: height, width, channels.
    error : array or None
        Of an affine map: by how much rounding may change its values.
    lines : Lines or None
        Of units and pools, these with a first axis for the places of a square. Lower intercepts are 0.
    """

    step: Scaled | Convolved | Rectified | Pooled
    shape: tuple[int, int, int]
    error: Array | None
    lines: Lines | None


@dataclass(frozen=True, eq=False)
class Encoded:
    """The features of the images of a region; stands for a :class:`minicereb.certificates.region.Region` before what reads them.

    Parameters
    ----------
    region : Region
        Of images.
    passed : tuple of Passed
        What the steps leave; without linear relaxations nothing.
    centre, radius : array of float64, shape (features, images)
        The intervals of the features, as the model computes them.
    """

    region: Region
    passed: tuple[Passed, ...]
    centre: Array
    radius: Array
    epsilon = None

    @property
    def x(self) -> Array:
        """The middle of the intervals."""
        return self.centre

    def least(self, a: Array) -> Array:
        """Lower bound on ``a·h`` over the features h of the region, shape (functions, images).

        Parameters
        ----------
        a : array, shape (features, functions, images), or (features, functions, 1) if all images have the same.
        """
        xp = xp_of(a)
        box = (a * self.centre[:, None]).sum(axis=0) - (abs(a) * self.radius[:, None]).sum(axis=0)
        if not self.passed:
            return box
        widest = max(len(a), *(math.prod(each.shape) for each in self.passed))
        for image in range(self.centre.shape[1]):
            alone = slice(image, image + 1)
            for part in blocks(a.shape[1], max(1, ACTIVITY_BYTES // (8 * widest))):
                least = self._back(a[:, part, alone if a.shape[2] > 1 else slice(1)], alone)
                box[part, alone] = xp.maximum(box[part, alone], least)
        return box

    def _back(self, a: Array, image: slice) -> Array:
        """From the features to the pixels of one image, step by step."""
        xp, last, functions = xp_of(a), self.passed[-1], a.shape[1]
        a = xp.ascontiguousarray(a[:, :, 0].T).reshape(functions, *last.step.outputs(last.shape))
        constant = xp.zeros(functions, dtype=xp.float64)
        for step, before, error, lines in reversed(self.passed):
            flat = a.reshape(functions, -1)
            if error is not None:
                assert isinstance(step, (Scaled, Convolved))
                constant += a.sum(axis=(1, 2)) @ step.bias - abs(flat) @ error[image].reshape(-1)
                a = step.transpose(a, before[:2])
                continue
            assert lines is not None
            down = xp.minimum(a, 0.0)
            constant += down.reshape(functions, -1) @ lines.upper_intercept[image].reshape(-1)
            if isinstance(step, Pooled):
                up, a = a - down, xp.zeros((functions, *before), dtype=xp.float64)
                for place, below, above in zip(_places(a, step.size), lines.lower_slope, lines.upper_slope, strict=True):
                    xp.add(up * below[image], down * above[image], out=place)
            else:
                down *= lines.upper_slope[image] - lines.lower_slope[image]
                a = a * lines.lower_slope[image]
                a += down
        pixels = xp.ascontiguousarray(a.reshape(functions, -1).T)[:, :, None]
        return constant[:, None] + self.region.only(image).least(pixels)


class _Ball(NamedTuple):
    """The values at the images themselves while all steps were affine, channel by channel: what a ball in L2 is bounded by."""

    at_x: Array
    error: Array
    stretch: Array


def encode(encoder: ConvolutionalPart, region: Region, unit: float, tiny: float, crown: bool) -> Encoded:
    """Bound what an encoder makes of the images of a region.

    Parameters
    ----------
    encoder : ConvolutionalPart
    region : Region
    unit, tiny : float
        As of :class:`minicereb.certificates.affine.AffineNetwork`.
    crown : bool
        Whether linear functions of the features are to be bounded by linear relaxation too.
    """
    xp, shape = xp_of(region.x), encoder.shape
    x, centre, radius = (array.T.reshape(-1, *shape) for array in (region.x, region.centre, region.radius))
    low, high = centre - radius, centre + radius
    ball = None if region.epsilon is None else _Ball(x, xp.zeros_like(x), xp.ones(shape[2], dtype=xp.float64))
    passed = []
    for step in encoder.steps:
        before, error, lines = low.shape[1:], None, None
        if isinstance(step, (Scaled, Convolved)):
            low, high, error, ball = _affine(step, low, high, ball, region.epsilon, relative_rounding(step.terms, unit), tiny)
        elif isinstance(step, Rectified):
            lines = relu_lines(low, high) if crown else None
            low, high, ball = xp.maximum(low, 0.0), xp.maximum(high, 0.0), None
        else:
            lower, upper = (xp.stack(_places(array, step.size)) for array in (low, high))
            lines = largest_lines(lower, upper) if crown else None
            low, high, ball = lower.max(axis=0), upper.max(axis=0), None
        passed.append(Passed(step, before, error, lines))
    low, high = (xp.ascontiguousarray(array.reshape(len(array), -1).T) for array in (low, high))
    return Encoded(region, tuple(passed) if crown else (), 0.5 * (low + high), 0.5 * (high - low))


def _affine(
    step: Scaled | Convolved, low: Array, high: Array, ball: _Ball | None, epsilon: float | None, rounding: float, tiny: float
) -> tuple[Array, Array, Array, _Ball | None]:
    """Intervals and possible rounding error of an affine map's values, and what is known of them in the ball."""
    xp = xp_of(low)
    middle, radius = step.apply(0.5 * (low + high)) + step.bias, step.apply_size(0.5 * (high - low))
    error = rounding * (step.apply_size(xp.maximum(abs(low), abs(high))) + step.bias_size) + step.terms * tiny
    low, high = middle - radius, middle + radius
    if ball is not None:
        at_x, before = step.apply(ball.at_x) + step.bias, step.apply_size(ball.error)
        if isinstance(step, Scaled):
            ball = _Ball(at_x, before + error, ball.stretch * abs(step.scale))
        else:
            reach = (epsilon or 0.0) * step.lengths(ball.stretch) + before
            low, high, ball = xp.maximum(low, at_x - reach), xp.minimum(high, at_x + reach), None
    return low - error, high + error, error, ball


def _places(array: Array, size: int) -> list[Array]:
    """Views of the first pixel of every square, of the second, and so on; images before the last three axes."""
    rows, columns = (side // size * size for side in array.shape[-3:-1])
    return [array[..., row:rows:size, column:columns:size, :] for row in range(size) for column in range(size)]
