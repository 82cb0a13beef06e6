"""Networks with noise in every neuron ``[G1]``: they are distributions over classifiers, and fixing the noise selects one."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from minicereb.backend import Array, to_device, to_numpy, xp_of
from minicereb.calculus.activations import Activation, half_tanh, loop_slope
from minicereb.calculus.dense import dense, dense_input_gradient, dense_weight_gradient
from minicereb.calculus.noise import Law
from minicereb.compiled import compiled
from minicereb.errors import InputError, require
from minicereb.inputs import check_credit, check_rows
from minicereb.randomness import generator

Noise = tuple[Array | None, ...]  # noise of unit scale: (outputs, images, replications) per layer, None without noise


class Trace(NamedTuple):
    """The values in every layer, for images with several replications of the noise.

    Attributes
    ----------
    inputs : list of array, shape (inputs, images, replications)
        The inputs x; there is one replication in the first layer, because all replications share the image.
    drives : list of array, shape (outputs, images, replications)
        The drives u = θᵀ[1; x], which are the signals without noise; there is one replication in the first layer.
    signals : list of array, shape (outputs, images, replications)
        The signals v = u + σe.
    responses : list of array, same shape
        The responses φ(v); the last array holds the network's outputs.
    noise : list of array or None
        The noise e, of unit scale.
    """

    inputs: list[Array]
    drives: list[Array]
    signals: list[Array]
    responses: list[Array]
    noise: list[Array | None]

    @property
    def outputs(self) -> Array:
        """Logits, shape (classes, images, replications)."""
        return self.responses[-1]


@dataclass(frozen=True, eq=False)
class NoisyLayer:
    """A layer of neurons with noise: ``v = θᵀ[1; x] + r``, ``x' = φ(v)`` ``[G1]``.

    Parameters
    ----------
    weight : array, shape (outputs, inputs)
        The weights: θ without its first row.
    bias : array, shape (outputs,)
        The biases: the first row of θ.
    scale : array, shape (1,)
        The scale σ of the noise r = σe.
    law : Law or None
        Distribution of the noise e; None without noise.
    activation : Activation or None
        The activation φ; None for the identity.
    """

    weight: Array
    bias: Array
    scale: Array
    law: Law | None
    activation: Activation | None

    @property
    def inputs(self) -> int:
        """Length of x."""
        return int(self.weight.shape[1])

    @property
    def units(self) -> int:
        """Number of units, each with its own noise: length of u and v."""
        return len(self.bias)

    def drive_of_rows(self, x: Array) -> Array:
        """Return u for images in rows: (images, inputs) gives (images, outputs)."""
        return dense(x, self.weight, self.bias)

    def sent_from(self, places: Array) -> Array:
        """Return how much the drive u of each unit changes if a single input grows by 1, for several inputs of each run.

        Parameters
        ----------
        places : array of int, shape (runs, changes)
            Which inputs.

        Returns
        -------
        array, shape (runs, changes, outputs)
        """
        return xp_of(self.weight).ascontiguousarray(self.weight.T)[places]

    def drive(self, x: Array) -> Array:
        """Return u for x of shape (inputs, images, replications)."""
        xp = xp_of(x)
        u = xp.dot(self.weight, x.reshape(len(x), -1))
        u += self.bias[:, None]
        return u.reshape(len(u), *x.shape[1:])

    def run(self, x: Array, e: Array | None) -> tuple[Array, Array, Array]:
        """Return u, v and the response, for x of shape (inputs, images, replications) and noise of unit scale."""
        u = self.drive(x)
        if e is None:
            return u, u, self.respond(u)
        fits = self._responds_alone and u.shape[:2] == e.shape[:2] and u.dtype == e.dtype
        half_slope = loop_slope(self.activation, u.dtype) if fits else None
        loop = None if half_slope is None else compiled(signals_loop, u, e)
        if loop is None:
            v = u + e * self.scale
            return u, v, self.respond(v)
        v, h = np.empty_like(e), np.empty_like(e)
        in_rows = (each.reshape(-1, e.shape[1] if e.shape[2] == 1 else each.shape[2]) for each in (u, e, v, h))
        loop(*in_rows, self.scale, half_slope or None)
        return u, v, h

    @property
    def _responds_alone(self) -> bool:
        """Whether every response depends on one signal only."""
        return True

    def respond(self, v: Array) -> Array:
        """Return φ(v)."""
        return v if self.activation is None else self.activation(v)

    def respond_in_rows(self, v: Array) -> Array:
        """Return φ(v) for images in rows."""
        return self.respond(v)

    def slope(self, v: Array) -> Array | float:
        """Return φ'(v); raise :class:`InputError` if φ has no derivative."""
        return 1.0 if self.activation is None else self.activation.derivative(v)

    def unpooled(self, d_response: Array, v: Array) -> Array:
        """Return the gradient with respect to φ(v), given the gradient with respect to the response.

        Without pooling, the two are equal.
        """
        return d_response

    def unpooled_in_rows(self, d_response: Array, v: Array) -> Array:
        """Return the result of :meth:`unpooled` for images in rows."""
        return d_response

    def signal_gradient(self, d_response: Array, v: Array, slope: Array | float) -> Array:
        """Return the gradient with respect to v ``[G3]``, given the gradient with respect to the response.

        `slope` is φ'(v) or its surrogate.
        """
        return self.unpooled(d_response, v) * slope

    def signal_gradient_in_rows(self, d_response: Array, v: Array, slope: Array | float) -> Array:
        """Return the result of :meth:`signal_gradient` for images in rows."""
        return self.unpooled_in_rows(d_response, v) * slope

    def carried(self, d_v: Array, v: Array) -> Array:
        """Return the gradient with respect to each unit's input, given the gradient with respect to the unit's signal.

        Without time steps, the two are equal.
        """
        return d_v

    def send_back(self, d_v: Array) -> Array:
        """Return the gradient with respect to x, given the gradient with respect to v.

        Both have the shape (..., images, replications).
        """
        d_x = self.weight.T @ d_v.reshape(len(d_v), -1)
        return d_x.reshape(len(d_x), *d_v.shape[1:])

    def weight_gradient(self, d_v: Array, x: Array) -> dict[str, Array]:
        """Return the gradients of weight and bias, summed over rows, given `d_v`, (rows, outputs), and `x`, (rows, inputs)."""
        d_weight, d_bias = dense_weight_gradient(d_v, x)
        return {"weight": d_weight, "bias": d_bias}

    def input_gradient(self, d_v: Array) -> Array:
        """Return the gradient with respect to x, (rows, inputs), given the gradient with respect to v, (rows, outputs)."""
        return dense_input_gradient(d_v, self.weight)

    def largest_changes(self, rise: Array, fall: Array) -> Array:
        """Return a bound on the size of each drive's change if each input rises or falls by at most a given amount
        ``[M-SMOOTH]``.

        Parameters
        ----------
        rise, fall : array, shape (images, inputs)
            At least 0.

        Returns
        -------
        array, shape (images, outputs)
        """
        xp, nothing = xp_of(rise), xp_of(rise).zeros(len(self.bias), dtype=rise.dtype)
        up, down = (replace(self, weight=xp.maximum(side * self.weight, 0), bias=nothing).drive_of_rows for side in (1, -1))
        return xp.maximum(up(rise) + down(fall), down(rise) + up(fall))

    def gain(self) -> float:
        """Return the largest L2 norm of a change of the drives if the change of the inputs has the L2 norm 1 ``[M-SMOOTH]``."""
        return float(np.linalg.norm(to_numpy(self.weight).astype(np.float64), 2))


def signals_loop(u: Array, e: Array, v: Array, h: Array, scale: Array, half_slope: Any) -> None:
    """Compute ``v = u + σe`` and ``h = φ(v)`` in one pass.

    The activation φ is given as a number, which comes from :func:`minicereb.calculus.activations.loop_slope`.

    Parameters
    ----------
    u : array, shape (rows, replications or 1)
    e, v, h : array, shape (rows, replications)
        `v` and `h` are overwritten.
    scale : array, shape (1,)
    half_slope : float or None
        Half the slope of the sigmoid; None for a threshold, so that Numba compiles no sigmoid.
    """
    i, real, s = np.uint64, e.dtype.type, scale[0]
    each = i(1) if u.shape[1] > 1 else i(0)
    for row in range(len(e)):
        for k in range(e.shape[1]):
            v[i(row), i(k)] = u[i(row), i(k) * each] + e[i(row), i(k)] * s
        if half_slope is not None:
            for k in range(e.shape[1]):
                h[i(row), i(k)] = real(0.5) + half_tanh(v[i(row), i(k)] * half_slope)
        else:
            for k in range(e.shape[1]):
                h[i(row), i(k)] = real(1) if v[i(row), i(k)] > 0 else real(0)


@dataclass(frozen=True, eq=False)
class NoisyNetwork:
    """A sequence of noisy layers.

    As a classifier, the network makes the paper's "one time" prediction (OT), without noise.
    """

    layers: tuple[NoisyLayer, ...]

    @property
    def parameters(self) -> dict[str, Array]:
        """The arrays that can learn: each layer's weight, bias and scale, and its recurrent weights."""
        places = itertools.product(enumerate(self.layers), ("weight", "bias", "scale", "recurrent"))
        found = {f"{name}_{number}": getattr(layer, name, None) for (number, layer), name in places}
        return {name: array for name, array in found.items() if array is not None}

    @property
    def bytes_per_image(self) -> int:
        """Bytes of memory per additional image."""
        return sum(16 * layer.units for layer in self.layers)

    @property
    def widths(self) -> list[int]:
        """Number of units with noise in each layer, the outputs last."""
        return [layer.units for layer in self.layers]

    @property
    def is_dense(self) -> bool:
        """Whether every layer is densely connected: no convolutional, recurrent or spiking layers."""
        return all(type(layer) is NoisyLayer for layer in self.layers)

    def run(self, x_t: Array, noise: Noise | None) -> Trace:
        """Run the network.

        Parameters
        ----------
        x_t : array, shape (inputs, images)
            Images in columns.
        noise : tuple or None
            For each layer, noise of unit scale with the shape (outputs, images, replications), or None; None in place of the
            tuple means no noise at all. Noise for a single image is used for all images.

        Raises
        ------
        InputError
            If the images or the noise have the wrong shape.
        """
        self._check_columns(x_t, noise)
        return self._continue(Trace([], [], [], [], []), x_t[:, :, None], (None,) * len(self.layers) if noise is None else noise)

    def run_above(self, quiet: Trace, number: int, e: Array) -> Trace:
        """Run the network with noise in one layer only; the layers below are taken from a run without noise.

        Parameters
        ----------
        quiet : Trace
            A run of the same images without noise.
        number : int
            Index of the layer.
        e : array, shape (outputs of the layer, images, replications)
            Noise of unit scale.

        Returns
        -------
        Trace
            The run, which has a single replication up to the layer's drive.
        """
        layer, x, u = self.layers[number], quiet.inputs[number], quiet.drives[number]
        v = u + e * layer.scale
        trace = Trace(*(kept[:number] for kept in quiet))
        for kept, array in zip(trace, (x, u, v, x := layer.respond(v), e), strict=True):
            kept.append(array)
        return self._continue(trace, x, (None,) * len(self.layers))

    def _continue(self, trace: Trace, x: Array, noise: Noise) -> Trace:
        """Add the layers that a trace does not have yet; `x` is the input of the first of them."""
        for number in range(len(trace.inputs), len(self.layers)):
            e = noise[number]
            u, v, response = self.layers[number].run(x, e)
            for kept, array in zip(trace, (x, u, v, response, e), strict=True):
                kept.append(array)
            x = response
        return trace

    def _check_columns(self, x_t: Array, noise: Noise | None) -> None:
        width, shape = self.layers[0].inputs, x_t.shape
        if len(shape) != 2 or shape[0] != width:
            raise InputError("x_t", f"shape {shape}", f"shape ({width}, images): images are columns")
        if noise is None:
            return
        require(len(noise) == len(self.layers), "noise", f"{len(noise)} arrays", f"one for each of {len(self.layers)} layers")
        for number, (layer, e) in enumerate(zip(self.layers, noise, strict=True)):
            if e is not None and (e.ndim != 3 or e.shape[0] != layer.units or e.shape[1] not in (1, shape[1])):
                expected = f"shape ({layer.units}, {shape[1]} images or 1, replications)"
                raise InputError("noise", f"shape {e.shape} in layer {number}", expected)

    def forward(self, x: Array) -> tuple[Array, list[Array]]:
        """Return the outputs without noise (OT), shape (images, classes), and the signals of every layer."""
        check_rows(x, self.layers[0].inputs)
        signals = []
        for layer in self.layers:
            v = layer.drive_of_rows(x)
            signals.append(v)
            x = layer.respond_in_rows(v)
        return x, signals

    def input_gradient(self, d_outputs: Array, signals: list[Array]) -> Array:
        """Return the gradient with respect to the images, shape (images, inputs), for the network without noise.

        Raises
        ------
        InputError
            If an activation has no derivative; :mod:`minicereb.attacks.gradients` has gradients that need none.
        """
        check_credit(d_outputs, signals[-1].shape)
        d_x = d_outputs
        for layer, v in zip(reversed(self.layers), reversed(signals), strict=True):
            d_x = layer.input_gradient(layer.signal_gradient_in_rows(d_x, v, layer.slope(v)))
        return d_x

    def at(self, noise: Noise) -> BoundNetwork:
        """Return the network with this noise held fixed, an ordinary classifier; the noise has one replication for each image."""
        return BoundNetwork(self, noise)


@dataclass(frozen=True, eq=False)
class BoundNetwork:
    """A noisy network with its noise held fixed: each image has its own noise, of shape (outputs, images, 1) in each layer."""

    network: NoisyNetwork
    noise: Noise

    def forward(self, x: Array) -> tuple[Array, list[Array]]:
        """Return the outputs, shape (images, classes), and the signals of every layer."""
        check_rows(x, self.network.layers[0].inputs)
        trace = self.network.run(xp_of(x).ascontiguousarray(x.T), self.noise)
        require(trace.outputs.shape[2] == 1, "noise", f"{trace.outputs.shape[2]} replications", "one for each image")
        return trace.outputs[:, :, 0].T, [v[:, :, 0].T for v in trace.signals]

    def input_gradient(self, d_outputs: Array, signals: list[Array]) -> Array:
        """Return the gradient with respect to the images for this noise; errors are as in :meth:`NoisyNetwork.input_gradient`."""
        return self.network.input_gradient(d_outputs, signals)


def check_scales(scales: tuple[float, ...], layers: int) -> tuple[float, ...]:
    """Return one noise scale per layer, given one for all layers or one for each; raise :class:`InputError` otherwise."""
    shown = ",".join(f"{scale:g}" for scale in scales)
    if len(scales) not in (1, layers):
        raise InputError("noise-scale", shown, f"one number, or {layers}: one for each layer, outputs included")
    require(all(0 < scale < float("inf") for scale in scales), "noise-scale", shown, "numbers above 0")
    return scales * layers if len(scales) == 1 else scales


def initial_noisy(
    inputs: int,
    hidden: tuple[int, ...],
    classes: int,
    seed: int,
    *,
    activation: Activation,
    law: Law | None,
    scales: tuple[float, ...],
    output_noise: bool = True,
    output_activation: bool = False,
) -> NoisyNetwork:
    """Return an untrained noisy network.

    Parameters
    ----------
    inputs, classes : int
        Number of inputs and number of outputs.
    hidden : tuple of int
        Number of neurons in each hidden layer; there must be at least one layer.
    seed : int
        Seed of the weights and biases, which are drawn from N(0, 0.1²), as in the authors' code.
    activation : Activation
    law : Law or None
        Distribution of the noise; None for a network without noise, which learns by backpropagation.
    scales : tuple of float
        Noise scale σ of each layer, including the outputs, above 0; or one value for all. Ignored without noise.
    output_noise, output_activation : bool
        Whether the outputs have noise, and whether they have an activation.
    """
    require(min(hidden, default=0) >= 1, "hidden", list(hidden), "at least one layer of at least 1 unit")
    widths = (inputs, *hidden, classes)
    number = len(widths) - 1
    scales = check_scales(scales, number) if law is not None else (1.0,) * number
    layers = []
    for index in range(number):
        last = index == number - 1
        shape = (widths[index + 1], widths[index] + 1)
        parameters = generator(seed, "noisy network", index).standard_normal(shape, dtype=np.float32)
        parameters *= np.float32(0.1)
        layers.append(
            NoisyLayer(
                weight=to_device(np.ascontiguousarray(parameters[:, 1:])),
                bias=to_device(np.ascontiguousarray(parameters[:, 0])),
                scale=to_device(np.array([scales[index]], dtype=np.float32)),
                law=law if output_noise or not last else None,
                activation=activation if output_activation or not last else None,
            )
        )
    return NoisyNetwork(tuple(layers))
