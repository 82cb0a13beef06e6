"""Layers of convolutional networks, and the untrained network: stages of 3×3 convolutions with pooling, then dense layers.

Arrays between layers have the shape (batch, height, width, channels). :class:`Images` turns rows of pixels into arrays of this
shape, and :class:`Flat` turns them into rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from minicereb.backend import Array, to_device
from minicereb.calculus import batchnorm
from minicereb.calculus.batchnorm import BatchNormCache, frozen_scale
from minicereb.calculus.convolution import convolution, convolution_input_gradient, convolution_weight_gradient
from minicereb.calculus.dropout import dropout_mask
from minicereb.calculus.pooling import max_pool, max_pool_input_gradient
from minicereb.errors import InputError, require
from minicereb.inputs import check_credit, check_rows
from minicereb.models.layers import Dense, ReLU
from minicereb.models.sequential import Sequential
from minicereb.randomness import generator

BYTES_A_RESPONSE = 24  # bytes per response of a convolution: input, value before and after ReLU, credits, mask
STATISTICS_DECAY = 0.9  # decay of the moving averages that batch normalisation uses in test mode
VGG11_STAGES, VGG11_HIDDEN = ((64, 64), (128, 128), (256, 256, 256, 256)), (1024, 1024)


@dataclass(frozen=True, eq=False)
class Images:
    """Reshapes rows of pixels in [0, 1] into images, with each channel standardised by a fixed mean and deviation.

    Parameters
    ----------
    shape : tuple of int
        Height, width, channels.
    mean, deviation : array, shape (channels,)
        Fixed statistics of the pixels; the ε of an attack still refers to pixel values from 0 to 1.
    bytes_per_image : int
        Bytes of memory that an image needs in the whole network.
    """

    shape: tuple[int, int, int]
    mean: Array
    deviation: Array
    bytes_per_image: int = 0

    def forward(self, x: Array) -> tuple[Array, None]:
        """Return the images, shape (batch, height, width, channels)."""
        check_rows(x, math.prod(self.shape))
        images = x.reshape(len(x), *self.shape) - self.mean
        images /= self.deviation
        return images, None

    def input_gradient(self, d_images: Array, cache: None) -> Array:
        """Return the gradient with respect to the rows, shape (batch, pixels)."""
        return (d_images / self.deviation).reshape(len(d_images), math.prod(self.shape))


@dataclass(frozen=True)
class Flat:
    """Flattens images to rows, pixel by pixel and channel by channel."""

    def forward(self, x: Array) -> tuple[Array, tuple[int, ...]]:
        """Return the rows, shape (batch, height · width · channels)."""
        return x.reshape(len(x), math.prod(x.shape[1:])), x.shape[1:]

    def input_gradient(self, d_rows: Array, shape: tuple[int, ...]) -> Array:
        """Return the gradient with respect to the images."""
        return d_rows.reshape(len(d_rows), *shape)


@dataclass(frozen=True, eq=False)
class Convolution:
    """Two-dimensional convolution.

    `weight` has the shape (outputs, kernel height, kernel width, channels), and `bias` has the shape (outputs,).

    If `minimal` is true, as in training, faster methods that round differently are used, such as minimal filtering.
    """

    weight: Array
    bias: Array
    stride: int = 1
    padding: int = 0
    minimal: bool = False

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return the responses, shape (batch, height, width, outputs), and x."""
        return convolution(x, self.weight, self.bias, self.stride, self.padding, self.minimal), x

    def input_gradient(self, d_v: Array, x: Array) -> Array:
        """Return the gradient with respect to x."""
        return convolution_input_gradient(d_v, self.weight, x.shape[1:3], self.stride, self.padding, self.minimal)

    def weight_gradient(self, d_v: Array, x: Array) -> dict[str, Array]:
        """Return the gradients of weight and bias, summed over batch and positions."""
        kernel = self.weight.shape[1:3]
        d_weight, d_bias = convolution_weight_gradient(d_v, x, kernel, self.stride, self.padding, self.minimal)
        return {"weight": d_weight, "bias": d_bias}

    def while_learning(self, seed: int, *numbers: int) -> Convolution:
        """Return the layer with `minimal` set, which is only for training: certificates do not bound its rounding errors."""
        return replace(self, minimal=True)

    @property
    def parameters(self) -> dict[str, Array]:
        """The arrays that are learned, keyed by name."""
        return {"weight": self.weight, "bias": self.bias}


@dataclass(frozen=True)
class MaxPool:
    """Max pooling over squares of pixels."""

    size: int

    def forward(self, x: Array) -> tuple[Array, tuple[Array, tuple[int, int]]]:
        """Return the pooled images and, for the derivative, the indices of the largest pixels and the previous size."""
        h, winner = max_pool(x, self.size)
        return h, (winner, x.shape[1:3])

    def input_gradient(self, d_h: Array, cache: tuple[Array, tuple[int, int]]) -> Array:
        """Return the gradient with respect to x."""
        winner, sides = cache
        check_credit(d_h, winner.shape)
        return max_pool_input_gradient(d_h, winner, self.size, sides)


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """Batch normalisation ``[M-BN]``, which uses fixed statistics except in training.

    Parameters
    ----------
    gamma, beta : array, shape (channels,)
        The parameters that learn.
    mean, variance : array, shape (channels,)
        Moving averages over the training batches.
    """

    gamma: Array
    beta: Array
    mean: Array
    variance: Array

    def forward(self, v: Array) -> tuple[Array, Array]:
        """Return ``a v + b`` and a, where a and b come from the fixed statistics."""
        scale, shift = frozen_scale(self.gamma, self.beta, self.mean, self.variance)
        h = v * scale
        h += shift
        return h, scale

    def input_gradient(self, d_h: Array, scale: Array) -> Array:
        """Return the gradient with respect to v."""
        return d_h * scale

    def while_learning(self, seed: int, *numbers: int) -> BatchNormLearning:
        """Return the layer in training mode, which normalises by the batch's own statistics."""
        return BatchNormLearning(self)

    @property
    def parameters(self) -> dict[str, Array]:
        """The arrays that are learned, keyed by name."""
        return {"gamma": self.gamma, "beta": self.beta}

    @property
    def statistics(self) -> dict[str, Array]:
        """The running statistics."""
        return {"mean": self.mean, "variance": self.variance}


@dataclass(frozen=True, eq=False)
class BatchNormLearning:
    """Batch normalisation by the batch's own statistics, which also update the layer's moving averages."""

    layer: BatchNorm

    def forward(self, v: Array) -> tuple[Array, BatchNormCache]:
        """Normalise, and update the layer's moving averages; the variance for these is divided by n - 1."""
        h, cache = batchnorm.batch_norm(v, self.layer.gamma, self.layer.beta)
        count = math.prod(v.shape[:-1])
        unbiased = cache.variance * (count / max(1, count - 1))
        for average, found in ((self.layer.mean, cache.mean), (self.layer.variance, unbiased)):
            average *= STATISTICS_DECAY
            average += (1 - STATISTICS_DECAY) * found
        return h, cache

    def input_gradient(self, d_h: Array, cache: BatchNormCache) -> Array:
        """Return the gradient with respect to v, including the paths through the batch's statistics."""
        return batchnorm.batch_norm_input_gradient(d_h, cache)

    def weight_gradient(self, d_h: Array, cache: BatchNormCache) -> dict[str, Array]:
        """Return the gradients of gamma and beta."""
        return self.gradients(d_h, cache, False)[0]

    def gradients(self, d_h: Array, cache: BatchNormCache, by_input: bool) -> tuple[dict[str, Array], Array | None]:
        """Return the gradients of gamma and beta and, if `by_input` is true, the gradient with respect to v, written to `d_h`."""
        d_gamma, d_beta = batchnorm.batch_norm_weight_gradient(d_h, cache)
        d_v = batchnorm.batch_norm_input_gradient(d_h, cache, (d_gamma, d_beta), out=d_h) if by_input else None
        return {"gamma": d_gamma, "beta": d_beta}, d_v


@dataclass(frozen=True)
class Dropout:
    """Dropout, which passes its input through except in training."""

    rate: float

    def forward(self, x: Array) -> tuple[Array, None]:
        """Return x."""
        return x, None

    def input_gradient(self, d_h: Array, cache: None) -> Array:
        """Return `d_h`."""
        return d_h

    def while_learning(self, seed: int, *numbers: int) -> DropoutLearning:
        """Return the layer in training mode; `seed` and `numbers` determine its mask."""
        return DropoutLearning(self.rate, seed, numbers)


@dataclass(frozen=True)
class DropoutLearning:
    """Dropout in training ``[M-DROPOUT]``; `seed` and `numbers` determine the mask."""

    rate: float
    seed: int
    numbers: tuple[int, ...] = field(default=())

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return x multiplied by the mask, and the mask."""
        mask = dropout_mask(x, x.shape, self.rate, self.seed, *self.numbers)
        return x * mask, mask

    def input_gradient(self, d_h: Array, mask: Array) -> Array:
        """Return the gradient with respect to x."""
        return d_h * mask


def vgg11(width: float) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Return the stages and the dense hidden layers of the VGG-11 in the code of the cerebellum paper.

    Parameters
    ----------
    width : float
        Factor for the number of outputs of every layer except the last; the result is rounded and at least 1.

    Returns
    -------
    stages : tuple of tuple of int
    hidden : tuple of int
        Stages and units, in the form that :func:`initial_convolutional` takes.

    References
    ----------
    Simonyan and Zisserman (2015), Very Deep Convolutional Networks for Large-Scale Image Recognition; the network here has fewer
    and narrower layers.
    """
    require(0 < width <= 16, "width", width, "a factor above 0, at most 16")
    hidden, *stages = (tuple(max(1, round(width * size)) for size in sizes) for sizes in (VGG11_HIDDEN, *VGG11_STAGES))
    return tuple(stages), hidden


def initial_convolutional(
    image_shape: tuple[int, ...],
    classes: int,
    seed: int,
    *,
    stages: tuple[tuple[int, ...], ...],
    hidden: tuple[int, ...],
    batch_norm: bool,
    dropout: tuple[float, float],
    normalisation: tuple[np.ndarray, np.ndarray],
) -> Sequential:
    """Return an untrained convolutional network.

    Parameters
    ----------
    image_shape : tuple of int
        Height, width and, if there are several, channels.
    classes : int
    seed : int
        Seed of the weights, which are normal with variance 2 / (inputs of a unit), or 1 / inputs for the output layer;
        biases start at 0.
    stages : tuple of tuple of int
        For each stage, the number of outputs of each of its convolutions. A convolution is 3×3 with padding 1, followed by
        ReLU; a stage ends with 2×2 max pooling.
    hidden : tuple of int
        Number of units in each dense hidden layer.
    batch_norm : bool
        Whether each convolution is followed by batch normalisation.
    dropout : tuple of float
        Dropout rate after each pooling, and dropout rate after each dense hidden layer.
    normalisation : tuple of array
        Mean and standard deviation of the pixels in each channel.
    """
    if len(image_shape) not in (2, 3):
        raise InputError("dataset", image_shape, "a data set of images: a convolution needs rows and columns")
    height, width, channels = (*image_shape, 1)[:3]
    require(all(0 <= rate < 1 for rate in dropout), "dropout", dropout, "shares from 0 to less than 1")
    shape, (mean, deviation) = (height, width, channels), (to_device(each.astype(np.float32)) for each in normalisation)
    layers: list[Any] = []
    number, responses = 0, 0

    def drawn(shape: tuple[int, ...], gain: float) -> tuple[Array, Array]:
        nonlocal number
        weight = generator(seed, "convolutional", number).standard_normal(shape, dtype=np.float32)
        weight *= np.float32((gain / math.prod(shape[1:])) ** 0.5)
        number += 1
        return to_device(weight), _filled(shape[0], 0)

    for stage in stages:
        for outputs in stage:
            layers.append(Convolution(*drawn((outputs, 3, 3, channels), 2.0), padding=1))
            if batch_norm:
                layers.append(BatchNorm(*(_filled(outputs, value) for value in (1, 0, 0, 1))))
            layers.append(ReLU())
            channels = outputs
            responses += height * width * outputs
        layers.append(MaxPool(2))
        layers += [Dropout(dropout[0])] if dropout[0] else []
        height, width = height // 2, width // 2
        require(min(height, width) >= 1, "stages", len(stages), f"fewer for images of {image_shape[0]} x {image_shape[1]} pixels")
    layers.append(Flat())
    inputs = height * width * channels
    for units in hidden:
        layers += [Dense(*drawn((units, inputs), 2.0)), ReLU()]
        layers += [Dropout(dropout[1])] if dropout[1] else []
        inputs = units
    images = Images(shape, mean, deviation, BYTES_A_RESPONSE * responses)
    return Sequential((images, *layers, Dense(*drawn((classes, inputs), 1.0))))


def _filled(size: int, value: float) -> Array:
    return to_device(np.full(size, value, dtype=np.float32))
