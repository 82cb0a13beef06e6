"""Convolutional layers of noisy networks: the weights are shared, but every unit has its own noise ``[M-SHARED]``."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np

from minicereb.backend import Array, to_device, to_numpy, xp_of
from minicereb.calculus.activations import Activation
from minicereb.calculus.convolution import Window, convolution, convolution_input_gradient, convolution_weight_gradient
from minicereb.calculus.noise import Law
from minicereb.calculus.pooling import max_pool, max_pool_input_gradient
from minicereb.errors import InputError, require
from minicereb.models.noisy import NoisyLayer, NoisyNetwork, check_scales
from minicereb.parallel import blocks
from minicereb.randomness import generator

POOLING = ("mean", "max")
IMPULSES = 256  # images of one pixel that a convolution is applied to together, for its singular value
SPREAD = 2.0  # initial spread of a unit's drive, in noise scales, for inputs of size 1


@dataclass(frozen=True, eq=False)
class NoisyConvolution(NoisyLayer):
    """A convolution with noise on every unit, then the activation, then pooling: ``x' = pool(φ(θ * x + b + r))`` ``[M-SHARED]``.

    Outside this class a layer's values are vectors: images are flattened pixel by pixel and channel by channel.

    Parameters
    ----------
    weight : array, shape (channels, kernel height, kernel width, input channels)
    bias : array, shape (channels,)
    scale, law, activation
        As for :class:`~minicereb.models.noisy.NoisyLayer`.
    image : tuple of int
        Height, width and channels of the input.
    stride : int
        Distance between neighbouring windows, in pixels.
    pool : int
        Side of the squares of units that are pooled, 1 for no pooling. Incomplete squares at the edges are ignored.
    pooling : {"mean", "max"}
    """

    image: tuple[int, int, int] = (1, 1, 1)
    stride: int = 1
    pool: int = 1
    pooling: str = "mean"

    @property
    def inputs(self) -> int:
        """Length of x."""
        return math.prod(self.image)

    @property
    def positions(self) -> tuple[int, int]:
        """Number of rows and number of columns of units."""
        return Window(self.weight.shape[1], self.weight.shape[2], self.stride).positions(*self.image[:2])

    @property
    def units(self) -> int:
        """Number of units, each with its own noise: positions times channels."""
        return math.prod(self.positions) * len(self.bias)

    @property
    def pooled(self) -> tuple[int, int, int]:
        """Height, width and channels of the response."""
        down, across = self.positions
        return down // self.pool, across // self.pool, len(self.bias)

    @property
    def _responds_alone(self) -> bool:
        return self.pool == 1

    def drive_of_rows(self, x: Array) -> Array:
        """Return u for images in rows: (images, inputs) gives (images, units)."""
        v = convolution(x.reshape(len(x), *self.image), self.weight, self.bias, self.stride)
        return v.reshape(len(x), -1)

    def drive(self, x: Array) -> Array:
        """Return u for x of shape (inputs, images, replications)."""
        xp = xp_of(x)
        u = self.drive_of_rows(xp.ascontiguousarray(x.reshape(len(x), -1).T))
        return xp.ascontiguousarray(u.T).reshape(-1, *x.shape[1:])

    def respond_alone(self, v: Array) -> Array:
        """Return φ(v) without pooling."""
        return super().respond(v)

    def respond(self, v: Array) -> Array:
        """Return the pooled φ(v), shape (responses, ...), for v of shape (units, ...)."""
        h = self.respond_alone(v)
        if self.pool == 1:
            return h
        xp, places = xp_of(v), self._places(h)
        if self.pooling == "max":
            return functools.reduce(xp.maximum, places).reshape(-1, *v.shape[1:])
        total = functools.reduce(xp.add, places) * v.dtype.type(1 / self.pool**2)
        return total.reshape(-1, *v.shape[1:])

    def respond_in_rows(self, v: Array) -> Array:
        """Return the pooled φ(v) for images in rows."""
        return xp_of(v).ascontiguousarray(self.respond(v.T).T)

    def _places(self, h: Array) -> list[Array]:
        """Return one view for each place within a square of units: the first unit of every square, the second unit, and so on."""
        rows, columns, channels = self.pooled
        image = h.reshape(*self.positions, channels, *h.shape[1:])
        starts = [(i, j) for i in range(self.pool) for j in range(self.pool)]
        return [image[i : rows * self.pool : self.pool, j : columns * self.pool : self.pool] for i, j in starts]

    def spread(self, pooled: Array) -> Array:
        """Return for each unit the value of the pooling square that contains it, or 0 if the unit is in no square.

        An array of shape (responses, ...) gives an array of shape (units, ...).
        """
        if self.pool == 1:
            return pooled
        units = xp_of(pooled).zeros((self.units, *pooled.shape[1:]), dtype=pooled.dtype)
        for place in self._places(units):
            place[...] = pooled.reshape(place.shape)
        return units

    def response_of_unit(self) -> Array:
        """Return for each unit the index of the response that is pooled from its square, shape (units,).

        For a unit that is in no square the entry is 0 and has no meaning.
        """
        rows, columns, channels = self.pooled
        return self.spread(xp_of(self.weight).arange(rows * columns * channels))

    def units_of_responses(self) -> Array:
        """Return the indices of the units in the square of each response, ascending, shape (responses, units of a square)."""
        xp = xp_of(self.weight)
        return xp.stack([place.ravel() for place in self._places(xp.arange(self.units, dtype=xp.int32))], axis=1)

    def flip_effect(self, fires: Array) -> Array:
        """Return the size of the change in a square's response when one of its threshold units fires or falls silent.

        Parameters
        ----------
        fires : array of float, shape (units, ...), values 0 and 1

        Returns
        -------
        array, shape (units, ...)
            Without pooling, 1. With mean pooling, 1 divided by the number of units in a square. With max pooling, 1 if no other
            unit of the square fires, otherwise 0. For units outside all squares, 0.
        """
        xp = xp_of(fires)
        if self.pool == 1:
            return xp.ones_like(fires)
        share = fires.dtype.type(1 if self.pooling == "max" else 1 / self.pool**2)
        if self.pooling == "mean":
            return self.spread(xp.full((math.prod(self.pooled), *fires.shape[1:]), share, dtype=fires.dtype))
        count = functools.reduce(xp.add, self._places(fires)).reshape(-1, *fires.shape[1:])
        alone = self.spread(count + 1) - fires  # 1 if no other unit of the square fires; at most 0 for units outside all squares
        return (alone == 1).astype(fires.dtype)

    def response_change(self, h: Array, units: Array, responses: Array) -> Array:
        """Return the change of the pooled response for each of several changes of a single unit.

        Parameters
        ----------
        h : array, shape (units, ...)
            The responses φ(v) of every run.
        units : array of int, shape (runs, changes)
            Index of the unit that responds differently.
        responses : array, same shape
            The changed response of that unit.

        Returns
        -------
        array, shape (runs, changes)
            0 for units outside all squares.
        """
        xp, runs = xp_of(h), xp_of(h).arange(len(units))[:, None]
        h = h.reshape(len(h), -1)
        if self.pool == 1:
            return responses - h[units, runs]
        number = math.prod(self.pooled)
        inside = self.spread(xp.ones(number, dtype=h.dtype))[units]
        if self.pooling == "mean":
            return (responses - h[units, runs]) * inside * h.dtype.type(1 / self.pool**2)
        members = self.units_of_responses()[self.response_of_unit()[units]]  # (runs, changes, units of the square)
        values = h[members, runs[:, :, None]]
        others = xp.where(members == units[:, :, None], h.dtype.type(-np.inf), values).max(axis=2)
        return (xp.maximum(responses, others) - values.max(axis=2)) * inside

    def unpooled(self, d_response: Array, v: Array) -> Array:
        """Return the gradient with respect to φ(v), given the gradient with respect to the response.

        The shapes are (units, ...) and (responses, ...).
        """
        if self.pool == 1:
            return d_response
        if self.pooling == "mean":
            return self.spread(d_response) * v.dtype.type(1 / self.pool**2)
        xp = xp_of(v)
        h = self.respond_alone(v).reshape(self.units, -1).T.reshape(-1, *self.positions, len(self.bias))
        _, winner = max_pool(xp.ascontiguousarray(h), self.pool)
        d_rows = xp.ascontiguousarray(d_response.reshape(len(d_response), -1).T).reshape(winner.shape)
        d_h = max_pool_input_gradient(d_rows, winner, self.pool, self.positions)
        return d_h.reshape(len(d_h), -1).T.reshape(v.shape)

    def unpooled_in_rows(self, d_response: Array, v: Array) -> Array:
        """Return the result of :meth:`unpooled` for images in rows."""
        return xp_of(v).ascontiguousarray(self.unpooled(d_response.T, v.T).T)

    def send_back(self, d_v: Array) -> Array:
        """Return the gradient with respect to x, given the gradient with respect to v.

        Both have the shape (..., images, replications).
        """
        xp = xp_of(d_v)
        d_x = self.input_gradient(xp.ascontiguousarray(d_v.reshape(len(d_v), -1).T))
        return xp.ascontiguousarray(d_x.T).reshape(-1, *d_v.shape[1:])

    def weight_gradient(self, d_v: Array, x: Array) -> dict[str, Array]:
        """Return the gradients of weight and bias, summed over positions and rows.

        `d_v` has the shape (rows, units), and `x` the shape (rows, inputs).
        """
        xp = xp_of(x)
        credit = xp.ascontiguousarray(d_v).reshape(len(d_v), *self.positions, len(self.bias))
        images = xp.ascontiguousarray(x).reshape(len(x), *self.image)
        d_weight, d_bias = convolution_weight_gradient(credit, images, self.weight.shape[1:3], self.stride)
        return {"weight": d_weight, "bias": d_bias}

    def input_gradient(self, d_v: Array) -> Array:
        """Return the gradient with respect to x, (rows, inputs), given the gradient with respect to v, (rows, units)."""
        credit = xp_of(d_v).ascontiguousarray(d_v).reshape(len(d_v), *self.positions, len(self.bias))
        d_x = convolution_input_gradient(credit, self.weight, self.image[:2], self.stride)
        return d_x.reshape(len(d_v), -1)

    def gain(self) -> float:
        """Return the largest singular value of the convolution, seen as a matrix."""
        weight = to_numpy(self.weight).astype(np.float64)
        alone = replace(self, weight=weight, bias=np.zeros(len(weight), dtype=np.float64))
        each = np.eye(self.inputs, dtype=np.float64)
        squares = [alone.input_gradient(alone.drive_of_rows(each[part])) for part in blocks(len(each), IMPULSES)]
        return float(max(np.linalg.eigvalsh(np.concatenate(squares))[-1], 0.0) ** 0.5)

    def sent_from(self, places: Array) -> Array:
        """Return the effect of single inputs on each unit's drive; shapes are as in the base class.

        An input is seen by the few windows that contain it, each through a different weight of the kernel.
        """
        xp, (down, across), each = xp_of(places), self.positions, xp_of(places).arange(places.size)
        pixel, channel = places.reshape(-1) // self.image[2], places.reshape(-1) % self.image[2]
        row, column = pixel // self.image[1], pixel % self.image[1]
        sent = xp.zeros((places.size, down, across, len(self.bias)), dtype=self.weight.dtype)
        for i in range(self.weight.shape[1]):
            for j in range(self.weight.shape[2]):
                y, x = row - i, column - j
                seen = (y >= 0) & (x >= 0) & (y < down * self.stride) & (x < across * self.stride)
                seen &= (y % self.stride == 0) & (x % self.stride == 0)
                share = self.weight[:, i, j].T[channel] * seen[:, None]
                sent[each, xp.where(seen, y // self.stride, 0), xp.where(seen, x // self.stride, 0)] += share
        return sent.reshape(*places.shape, -1)


def initial_noisy_convolutional(
    image_shape: tuple[int, ...],
    channels: tuple[int, ...],
    hidden: tuple[int, ...],
    classes: int,
    seed: int,
    *,
    kernel: int,
    stride: int,
    pool: int,
    pooling: str,
    activation: Activation,
    law: Law | None,
    scales: tuple[float, ...],
    output_noise: bool = True,
    output_activation: bool = False,
) -> NoisyNetwork:
    """Return an untrained noisy network that begins with convolutions.

    Parameters
    ----------
    image_shape : tuple of int
        Height, width and, if there are several, channels.
    channels : tuple of int
        Number of channels of each convolution.
    hidden : tuple of int
        Number of neurons in each dense hidden layer; may be empty.
    classes : int
    seed : int
        Seed of the weights, which are normal with a standard deviation of `SPREAD` σ / √(inputs per unit), or 1 / √inputs
        for the output layer. Biases start at 0.
    kernel, stride, pool : int
        For every convolution: side of the kernel, distance between windows, and side of the squares that are pooled (1: no
        pooling).
    pooling : {"mean", "max"}
    activation : Activation
    law : Law or None
        Distribution of the noise; None for a network without noise, which learns by backpropagation.
    scales : tuple of float
        Noise scale σ of each layer, including the outputs, above 0; or one value for all. Ignored without noise.
    output_noise, output_activation : bool
        Whether the outputs have noise, and whether they have an activation.
    """
    if len(image_shape) not in (2, 3):
        raise InputError("dataset", image_shape, "a data set of images: a convolution needs rows and columns")
    require(min(channels, default=0) >= 1, "channels", list(channels), "at least one convolution of at least 1 channel")
    require(pooling in POOLING, "pooling", pooling, " or ".join(POOLING))
    number = len(channels) + len(hidden) + 1
    scales = check_scales(scales, number) if law is not None else (1.0,) * number
    height, width, depth = (*image_shape, 1)[:3]
    image, layers = (height, width, depth), []
    require(kernel <= min(height, width), "kernel", kernel, f"at most {min(height, width)}, the smaller side of the images")
    inputs = math.prod(image)
    for index, outputs in enumerate((*channels, *hidden, classes)):
        last, convolves = index == number - 1, index < len(channels)
        shape = (outputs, kernel, kernel, image[2]) if convolves else (outputs, inputs)
        weight = generator(seed, "noisy convolutional network", index).standard_normal(shape, dtype=np.float32)
        weight *= np.float32((1.0 if last else SPREAD * scales[index]) / math.prod(shape[1:]) ** 0.5)
        arrays = {
            "weight": to_device(weight),
            "bias": to_device(np.zeros(outputs, dtype=np.float32)),
            "scale": to_device(np.array([scales[index]], dtype=np.float32)),
            "law": law if output_noise or not last else None,
            "activation": activation if output_activation or not last else None,
        }
        if not convolves:
            layers.append(NoisyLayer(**arrays))
            inputs = outputs
            continue
        layer = NoisyConvolution(**arrays, image=image, stride=stride, pool=pool, pooling=pooling)
        fits = min(image[:2]) >= kernel and min(layer.pooled) >= 1
        expected = (
            f"fewer convolutions, or a smaller kernel, stride or pool, for images of {image_shape[0]} x {image_shape[1]} pixels"
        )
        require(fits, "channels", list(channels), expected)
        layers.append(layer)
        image = layer.pooled
        inputs = math.prod(image)
    return NoisyNetwork(tuple(layers))
