"""Bounds on convolutional features of images: intervals ``[M-IBP]`` and linear functions of the pixels ``[M-CROWN]``.

The convolutional part of a classifier is converted to affine maps, rectified units and pools; a convolution is never
expanded into a matrix. Batch normalisation by fixed statistics becomes part of the convolution before it. Signals are
(images, height, width, channels) in float64. The units within this part are bounded by intervals alone. Rounding is
treated as in :mod:`minicereb.certificates.bounds`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from minicereb.backend import Array, xp_of
from minicereb.calculus.batchnorm import frozen_scale
from minicereb.calculus.convolution import Window, convolution, convolution_input_gradient
from minicereb.certificates.region import Region
from minicereb.certificates.relaxations import Lines, largest_lines, relative_rounding, relu_lines
from minicereb.models.convolutional import BatchNorm, Convolution, Dropout, Flat, Images, MaxPool
from minicereb.models.layers import ReLU
from minicereb.parallel import ACTIVITY_BYTES, blocks

OWN_OPERATIONS = 12  # roundings in a normalisation, from the statistics on
Shape = tuple[int, int, int]  # height, width, channels


@dataclass(frozen=True, eq=False)
class Scaled:
    """A map ``v = a h + b`` with one factor and one offset for each channel.

    Parameters
    ----------
    scale, bias, bias_size : array of float64, shape (channels,)
        The factors a, the offsets b, and a bound on the sum of the absolute values of the terms that the model adds up to
        obtain b.
    """

    scale: Array
    bias: Array
    bias_size: Array
    terms: int = OWN_OPERATIONS

    def apply(self, h: Array) -> Array:
        """Return ``a h``, shape (images, height, width, channels)."""
        return h * self.scale

    def apply_size(self, h: Array) -> Array:
        """Return ``|a| h``, in the shape of `h`."""
        return h * abs(self.scale)

    def transpose(self, credit: Array, sides: tuple[int, int]) -> Array:
        """Apply the adjoint of :meth:`apply` to `credit`."""
        return credit * self.scale

    def outputs(self, shape: Shape) -> Shape:
        """Return the shape of the output for images of the given shape."""
        return shape


@dataclass(frozen=True, eq=False)
class Convolved:
    """A convolution ``v = θ h + b``.

    Parameters
    ----------
    weight : array of float64, shape (outputs, kernel height, kernel width, channels)
    bias, bias_size : array of float64, shape (outputs,)
        As in :class:`Scaled`.
    stride, padding : int
    """

    weight: Array
    bias: Array
    bias_size: Array
    stride: int
    padding: int

    @property
    def terms(self) -> int:
        """Number of terms that the model sums for one output, plus the number of roundings afterwards."""
        return self.weight[0].size + OWN_OPERATIONS

    def apply(self, h: Array) -> Array:
        """Return ``θ h``, shape (images, height, width, outputs), without the bias."""
        return convolution(h, self.weight, xp_of(h).zeros_like(self.bias), self.stride, self.padding)

    def apply_size(self, h: Array) -> Array:
        """Return ``|θ| h``, in the same shape as ``θ h``."""
        return convolution(h, abs(self.weight), xp_of(h).zeros_like(self.bias), self.stride, self.padding)

    def transpose(self, credit: Array, sides: tuple[int, int]) -> Array:
        """Apply the adjoint of :meth:`apply` to `credit`, for images whose height and width are `sides`."""
        return convolution_input_gradient(credit, self.weight, sides, self.stride, self.padding)

    def lengths(self, stretch: Array) -> Array:
        """Return the length ``‖θ_o‖₂`` of each output's kernel, shape (outputs,), with its channels multiplied by `stretch`."""
        return xp_of(stretch).sqrt(((self.weight * stretch) ** 2).sum(axis=(1, 2, 3)))

    def outputs(self, shape: Shape) -> Shape:
        """Return the shape of the output for images of the given shape."""
        height, width, _ = shape
        window = Window(self.weight.shape[1], self.weight.shape[2], self.stride, self.padding)
        return (*window.positions(height, width), len(self.weight))


@dataclass(frozen=True)
class Rectified:
    """The rectification ``max(v, 0)``."""

    def outputs(self, shape: Shape) -> Shape:
        """Return the shape of the output for images of the given shape."""
        return shape


@dataclass(frozen=True)
class Pooled:
    """The maximum over each square of `size` × `size` pixels."""

    size: int

    def outputs(self, shape: Shape) -> Shape:
        """Return the shape of the output for images of the given shape."""
        height, width, channels = shape
        return height // self.size, width // self.size, channels


Step = Scaled | Convolved | Rectified | Pooled


class ConvolutionalPart(NamedTuple):
    """Steps that turn images of one shape into rows of features."""

    shape: Shape
    steps: tuple[Step, ...]

    @property
    def shapes(self) -> list[Shape]:
        """Shapes of the signals before, between and after the steps."""
        shapes = [self.shape]
        for step in self.steps:
            shapes.append(step.outputs(shapes[-1]))
        return shapes


def convolutional_part(layers: list[Any]) -> tuple[ConvolutionalPart, int] | str:
    """Convert the first layers of a classifier, from ``Images`` to ``Flat`` (:mod:`minicereb.models.convolutional`).

    Returns
    -------
    tuple of ConvolutionalPart and int, or str
        The steps and the number of layers converted, or a one-line reason why there are no bounds.
    """
    first, folded = layers[0], 0
    assert isinstance(first, Images)
    wide, mean = (array.astype(xp_of(array).float64) for array in (first.deviation, first.mean))
    steps: list[Step] = [Scaled(1 / wide, -mean / wide, abs(mean / wide))]
    for number, layer in enumerate(layers[1:], 1):
        if isinstance(layer, Flat):
            return ConvolutionalPart(first.shape, tuple(steps)), number + 1
        if isinstance(layer, Convolution):
            bias = layer.bias.astype(xp_of(layer.bias).float64)
            steps.append(Convolved(layer.weight.astype(bias.dtype), bias, abs(bias), layer.stride, layer.padding))
            folded = number
        elif isinstance(layer, BatchNorm):
            before = steps[-1]
            if folded == number - 1 and isinstance(before, Convolved):
                steps[-1] = _normalised(before, scaled_of(layer))
            else:
                steps.append(scaled_of(layer))
        elif isinstance(layer, ReLU):
            steps.append(Rectified())
        elif isinstance(layer, MaxPool):
            steps.append(Pooled(layer.size))
        elif not isinstance(layer, Dropout):
            return f"no bounds are known for {type(layer).__name__} among convolutions"
    return "the features of convolutions must be flattened into rows"


def scaled_of(layer: BatchNorm) -> Scaled:
    """Return batch normalisation by fixed statistics as a map ``a h + b``, with a and b as the model computes them."""
    scale, shift = frozen_scale(layer.gamma, layer.beta, layer.mean, layer.variance)
    double = xp_of(scale).float64
    scale = scale.astype(double)
    size = abs(layer.beta.astype(double)) + abs(layer.mean.astype(double) * scale)
    return Scaled(scale, shift.astype(double), size)


def _normalised(convolved: Convolved, norm: Scaled) -> Convolved:
    """Return a convolution together with the normalisation after it."""
    weight = convolved.weight * norm.scale[:, None, None, None]
    bias = norm.scale * convolved.bias + norm.bias
    return Convolved(weight, bias, abs(norm.scale) * convolved.bias_size + norm.bias_size, convolved.stride, convolved.padding)


class _Passed(NamedTuple):
    """A step, and the values that the backward pass through it needs.

    `shape` is the shape of the step's input. An affine map has an `error`, a bound on the effect of rounding. Units and pools
    have `lines`; for pools, their first axis is the position in a square. Lower intercepts are 0.
    """

    step: Step
    shape: Shape
    error: Array | None
    lines: Lines | None


@dataclass(frozen=True, eq=False)
class Features:
    """The features of all images of a region. It is used like a :class:`minicereb.certificates.region.Region`.

    Parameters
    ----------
    region : Region
        Region of images.
    passed : tuple
        The steps, if linear relaxation is used; otherwise empty.
    centre, radius : array of float64, shape (features, images)
        Intervals of the features that the model computes.
    """

    region: Region
    passed: tuple[_Passed, ...]
    centre: Array
    radius: Array
    epsilon = None

    @property
    def x(self) -> Array:
        """The middle of the intervals."""
        return self.centre

    def least(self, a: Array) -> Array:
        """Return a lower bound on ``a·h`` over the features h of the region, shape (functions, images).

        Parameters
        ----------
        a : array, shape (features, functions, images), or (features, functions, 1) if it is the same for all images
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
        """Return a lower bound on ``a·h`` for one image, going back from the features to the pixels step by step."""
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
    """The signals at the images themselves.

    They tighten the bounds over an L2 ball, up to and including the first convolution.
    """

    at_x: Array
    error: Array
    stretch: Array


def features_of(part: ConvolutionalPart, region: Region, unit: float, tiny: float, crown: bool) -> Features:
    """Return bounds on the features of a region's images: intervals and, if `crown` is true, the lines for linear relaxation.

    `unit` and `tiny` are as in :class:`minicereb.certificates.affine.AffineNetwork`.
    """
    xp, shape = xp_of(region.x), part.shape
    x, centre, radius = (array.T.reshape(-1, *shape) for array in (region.x, region.centre, region.radius))
    low, high = centre - radius, centre + radius
    ball = None if region.epsilon is None else _Ball(x, xp.zeros_like(x), xp.ones(shape[2], dtype=xp.float64))
    passed = []
    for step in part.steps:
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
        passed.append(_Passed(step, before, error, lines))
    low, high = (xp.ascontiguousarray(array.reshape(len(array), -1).T) for array in (low, high))
    return Features(region, tuple(passed) if crown else (), 0.5 * (low + high), 0.5 * (high - low))


def _affine(
    step: Scaled | Convolved, low: Array, high: Array, ball: _Ball | None, epsilon: float | None, rounding: float, tiny: float
) -> tuple[Array, Array, Array, _Ball | None]:
    """Return lower and upper bounds on the values of an affine map, their rounding error, and the new `ball`."""
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
    """Return one view per position in a square: of all first pixels, all second pixels, and so on.

    Images are the last three axes.
    """
    rows, columns = (side // size * size for side in array.shape[-3:-1])
    return [array[..., row:rows:size, column:columns:size, :] for row in range(size) for column in range(size)]
