"""The convolutional part of a classifier as a certificate sees it: affine maps, rectified units and pools.

A convolution stays one: it is never made a matrix. Batch normalisation by fixed statistics becomes part of the convolution
before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from minicereb.backend import Array, xp_of
from minicereb.calculus.batchnorm import frozen_scale
from minicereb.calculus.convolution import Window, convolution, convolution_input_gradient
from minicereb.models.convolutional import BatchNorm, Convolution, Dropout, Flat, Images, MaxPool
from minicereb.models.layers import ReLU

OWN_OPERATIONS = 12  # roundings in a normalisation, from the statistics on


@dataclass(frozen=True, eq=False)
class Scaled:
    """``v = a h + b``, channel by channel.

    Parameters
    ----------
    scale, bias, bias_size : array of float64, shape (channels,)
        a, b, and what bounds the numbers that the model adds up to b.
    """

    scale: Array
    bias: Array
    bias_size: Array
    terms: int = OWN_OPERATIONS

    def apply(self, h: Array) -> Array:
        """``a h``, shape (images, height, width, channels)."""
        return h * self.scale

    def apply_size(self, h: Array) -> Array:
        """``|a| h``, likewise."""
        return h * abs(self.scale)

    def transpose(self, credit: Array, sides: tuple[int, int]) -> Array:
        """The adjoint of :meth:`apply`."""
        return credit * self.scale

    def outputs(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Shape of what comes of images of this shape: height, width, channels."""
        return shape


@dataclass(frozen=True, eq=False)
class Convolved:
    """A convolution.

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
        """Numbers that the model adds up for one output, and roundings of what is made of it."""
        return self.weight[0].size + OWN_OPERATIONS

    def apply(self, h: Array) -> Array:
        """``θ h``, shape (images, height, width, outputs), without the bias."""
        return convolution(h, self.weight, xp_of(h).zeros_like(self.bias), self.stride, self.padding)

    def apply_size(self, h: Array) -> Array:
        """``|θ| h``, likewise."""
        return convolution(h, abs(self.weight), xp_of(h).zeros_like(self.bias), self.stride, self.padding)

    def transpose(self, credit: Array, sides: tuple[int, int]) -> Array:
        """The adjoint of :meth:`apply` for images of these sides."""
        return convolution_input_gradient(credit, self.weight, sides, self.stride, self.padding)

    def lengths(self, stretch: Array) -> Array:
        """``‖θ_o‖₂`` of each output, shape (outputs,), of a kernel inside the image with its channels multiplied by `stretch`."""
        return xp_of(stretch).sqrt(((self.weight * stretch) ** 2).sum(axis=(1, 2, 3)))

    def outputs(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Shape of what comes of images of this shape: height, width, outputs."""
        height, width, _ = shape
        window = Window(self.weight.shape[1], self.weight.shape[2], self.stride, self.padding)
        return (*window.positions(height, width), len(self.weight))


@dataclass(frozen=True)
class Rectified:
    """``max(v, 0)``."""

    def outputs(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Shape of what comes of images of this shape: the same."""
        return shape


@dataclass(frozen=True)
class Pooled:
    """The largest of each square of `size` × `size`."""

    size: int

    def outputs(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Shape of what comes of images of this shape: height, width, channels."""
        height, width, channels = shape
        return height // self.size, width // self.size, channels


Step = Scaled | Convolved | Rectified | Pooled


class ConvolutionalPart(NamedTuple):
    """Steps from images to rows of features.

    Attributes
    ----------
    shape : tuple of int
        Height, width and channels of the images.
    steps : tuple of Scaled, Convolved, Rectified or Pooled
    """

    shape: tuple[int, int, int]
    steps: tuple[Step, ...]

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """Shapes before, between and after the steps."""
        shapes = [self.shape]
        for step in self.steps:
            shapes.append(step.outputs(shapes[-1]))
        return shapes


def encoder_of(layers: list[Any]) -> tuple[ConvolutionalPart, int] | str:
    """Read the layers from :class:`minicereb.models.convolutional.Images`, the first, to ``Flat``.

    Returns
    -------
    tuple of ConvolutionalPart and int, or str
        The encoder and how many layers it is; or what stands in the way, in one line.
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
    return "what convolutions give must be made rows"


def scaled_of(layer: BatchNorm) -> Scaled:
    """Batch normalisation by fixed statistics, with a and b as the model computes them."""
    scale, shift = frozen_scale(layer.gamma, layer.beta, layer.mean, layer.variance)
    double = xp_of(scale).float64
    scale = scale.astype(double)
    size = abs(layer.beta.astype(double)) + abs(layer.mean.astype(double) * scale)
    return Scaled(scale, shift.astype(double), size)


def _normalised(convolved: Convolved, norm: Scaled) -> Convolved:
    """A convolution with the normalisation after it."""
    weight = convolved.weight * norm.scale[:, None, None, None]
    bias = norm.scale * convolved.bias + norm.bias
    return Convolved(weight, bias, abs(norm.scale) * convolved.bias_size + norm.bias_size, convolved.stride, convolved.padding)
