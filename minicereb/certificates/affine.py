"""A classifier in the form that certificates need: affine maps with units between them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minicereb.backend import Array, xp_of
from minicereb.calculus.projection import add_project_input_gradient, project
from minicereb.certificates.convolutional import ConvolutionalPart, convolutional_part, scaled_of
from minicereb.certificates.relaxations import UNITS, Unit, relative_rounding
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.convolutional import BatchNorm, Dropout, Flat, Images
from minicereb.models.layers import Dense, ReLU
from minicereb.models.noisy import NoisyNetwork
from minicereb.models.noisy_convolution import NoisyConvolution
from minicereb.models.noisy_time import NoisyTime
from minicereb.models.sequential import Sequential
from minicereb.parallel import LANES, blocks

OWN_ROUNDING = 64 * 2.0**-53  # rounding of the certificate's float64, added to the rounding of the model
PART_WEIGHTS = 1 << 21  # weights converted to float64 at once


@dataclass(frozen=True, eq=False)
class Affine:
    """An affine map ``v = W h + b``, whose rows are converted to float64 a few at a time.

    Parameters
    ----------
    weights : array of float, shape (outputs, inputs per output)
    inputs : array of int32, same shape, or None
        Indices of the inputs, ascending in each row; None if every output receives all of them in order.
    width : int
        Number of inputs.
    bias, bias_size : array of float64, shape (outputs,), or None
        The bias b, and a bound on the sum of the absolute values of the terms that the model adds up to obtain b:
        ``|b|``, or ``|W|ᵀμ`` for a readout.
    terms : int
        Number of terms that the model sums for one output.
    """

    weights: Array
    inputs: Array | None
    width: int
    bias: Array | None
    bias_size: Array | None
    terms: int

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return len(self.weights)

    def part(self, part: slice | Array) -> Affine:
        """Return the map to the outputs in `part` (a slice or indices) only, with weights in float64."""
        xp = xp_of(self.weights)
        return Affine(
            xp.ascontiguousarray(self.weights[part].astype(xp.float64)),
            None if self.inputs is None else self.inputs[part],
            self.width,
            None if self.bias is None else self.bias[part],
            None if self.bias_size is None else self.bias_size[part],
            self.terms,
        )

    def apply(self, h: Array) -> Array:
        """Return ``W h``, shape (outputs, columns), for `h` of shape (inputs, columns).

        The weights must be in float64 (:meth:`part`).
        """
        return self._times(self.weights, h)

    def apply_size(self, h: Array) -> Array:
        """Return ``|W| h``; weights and `h` as in :meth:`apply`."""
        return self._times(abs(self.weights), h)

    def _times(self, weights: Array, h: Array) -> Array:
        out = xp_of(h).empty((len(weights), h.shape[1]), dtype=h.dtype)
        return project(weights, self.inputs, h, out)

    def add_transpose(self, a: Array, out: Array) -> None:
        """Add ``Wᵀ a`` to `out`, for `a` of shape (outputs, columns). The weights must be in float64 (:meth:`part`)."""
        add_project_input_gradient(self.weights, self.inputs, a, out)

    def lengths(self) -> Array:
        """Return the length ``‖W_i‖₂`` of each row, shape (outputs,). Weights of an input that occurs twice are added first."""
        square = (self.weights * self.weights).sum(axis=1)
        apart = 1
        while self.inputs is not None and apart < self.weights.shape[1]:
            same = self.inputs[:, apart:] == self.inputs[:, :-apart]
            if not bool(same.any()):
                break
            square += 2 * (self.weights[:, apart:] * self.weights[:, :-apart] * same).sum(axis=1)
            apart += 1
        xp = xp_of(square)
        return xp.sqrt(xp.maximum(square, 0.0))

    def rounding(self, unit: float) -> float:
        """Return γ in ``|computed - v| ≤ γ(|W||h| + |b|)`` ``[M-ROUND]`` for arithmetic with the unit roundoff `unit`."""
        return relative_rounding(self.terms, unit)


class AffineLayer(NamedTuple):
    """An affine map and the units that receive its outputs."""

    affine: Affine
    unit: Unit


class AffineNetwork(NamedTuple):
    """Hidden layers and an affine map to the outputs. Convolutions may precede them.

    Attributes
    ----------
    hidden : tuple of AffineLayer
    output : Affine
        The map to the outputs, each of which receives all units of the last hidden layer.
    unit : float
        Sum of the unit roundoffs of the model's arithmetic and of the certificate's own arithmetic.
    tiny : float
        The smallest normal number of the model's arithmetic; smaller numbers may be rounded to 0.
    convolutions : ConvolutionalPart or None
        The layers before the hidden ones, from images to features.
    fires_above : float or None
        Threshold above which mossy fibres fire ``[M-FIBRES]``; None if the network does not begin with mossy fibres that have a
        threshold.
    """

    hidden: tuple[AffineLayer, ...]
    output: Affine
    unit: float
    tiny: float
    convolutions: ConvolutionalPart | None = None
    fires_above: float | None = None

    @property
    def inputs(self) -> int:
        """Number of inputs per image."""
        if self.convolutions is not None:
            return math.prod(self.convolutions.shape)
        return (self.hidden[0].affine if self.hidden else self.output).width


def why_not_certifiable(model: Any) -> str | None:
    """Return a one-line reason why a model cannot be certified, or None if it can be."""
    parts = _convolutions_and_steps(model)
    if isinstance(parts, str):
        return parts
    _, steps = parts
    if not steps or not isinstance(steps[-1], Affine):
        return "the outputs must be an affine map, without an activation"
    if steps[-1].inputs is not None:
        return "the outputs must see all units of the last layer"
    return None


def affine_network_of(model: Any) -> AffineNetwork:
    """Return the affine form of a model for which :func:`why_not_certifiable` returns None."""
    parts = _convolutions_and_steps(model)
    assert not isinstance(parts, str)
    convolutions, steps = parts
    layers: list[AffineLayer] = []
    affine = next(step for step in steps if isinstance(step, Affine))
    pending: Affine | None = None if steps[0] is affine else _unchanged(affine.width, affine.weights)
    for step in steps:
        if isinstance(step, Affine):
            if pending is not None:
                layers.append(AffineLayer(pending, Unit("identity")))
            pending = affine = step
        else:
            layers.append(AffineLayer(_unchanged(affine.outputs, affine.weights) if pending is None else pending, step))
            pending = None
    precision = np.finfo(affine.weights.dtype)
    fires_above = getattr(_flatten(model)[0], "fires_above", None)
    if fires_above is not None:
        fires_above = float(affine.weights.dtype.type(fires_above))  # the number with which pixels are compared
    unit, tiny = float(precision.eps) / 2 + OWN_ROUNDING, float(precision.tiny)
    return AffineNetwork(tuple(layers), affine, unit, tiny, convolutions, fires_above)


def _unchanged(width: int, like: Array) -> Affine:
    """Return the identity map, for units that no affine map precedes."""
    xp = xp_of(like)
    inputs = xp.arange(width, dtype=xp.int32)[:, None]
    return Affine(xp.ones((width, 1), dtype=like.dtype), inputs, width, None, None, 1)


def _convolutions_and_steps(model: Any) -> tuple[ConvolutionalPart | None, list[Affine | Unit]] | str:
    """Return a model's convolutions (or None) and its affine maps and units in order, or why it cannot be certified."""
    layers, convolutions = _flatten(model), None
    if any(getattr(layer, "fires_above", None) is not None for layer in layers[1:]):
        return "mossy fibres that fire above a threshold must see the image itself"
    if layers and isinstance(layers[0], Images):
        found = convolutional_part(layers)
        if isinstance(found, str):
            return found
        convolutions, count = found
        layers = layers[count:]
    steps: list[Affine | Unit] = []
    for layer in layers:
        each = _steps(layer)
        if isinstance(each, str):
            return each
        steps += each
    return convolutions, steps


def _flatten(model: Any) -> list[Any]:
    """Return the layers of a model in order, including the layers of nested networks."""
    return [layer for each in model.layers for layer in _flatten(each)] if isinstance(model, Sequential) else [model]


def _steps(model: Any) -> list[Affine | Unit] | str:
    """Return a layer's affine maps and units, or the reason why it cannot be certified."""
    if isinstance(model, Dense):
        return [_dense(model.weight, model.bias)]
    if isinstance(model, ReLU):
        return [Unit("relu")]
    if isinstance(model, (Dropout, Flat)):
        return []
    if isinstance(model, BatchNorm):
        return [_batch_norm(model)]
    if isinstance(model, CerebellarNetwork):
        return _cerebellum(model)
    if isinstance(model, NoisyNetwork):
        return _noisy(model)
    return f"no bounds are known for {type(model).__name__}"


def _dense(weight: Array, bias: Array) -> Affine:
    bias = bias.astype(xp_of(bias).float64)
    return Affine(weight, None, weight.shape[1], bias, abs(bias), weight.shape[1] + 1)


def _noisy(model: NoisyNetwork) -> list[Affine | Unit] | str:
    """Return the affine maps and units of a noisy network, without its noise, or the reason why it cannot be certified."""
    steps: list[Affine | Unit] = []
    for layer in model.layers:
        if isinstance(layer, NoisyTime):
            return "no bounds are known for layers with time steps; evaluate --answer lap certifies some of them by smoothing"
        if isinstance(layer, NoisyConvolution):
            if layer.pool > 1 and layer.pooling == "max":
                return "no bounds are known for max pooling after such units, only for mean pooling or none"
            steps.append(_windows(layer))
        else:
            steps.append(_dense(layer.weight, layer.bias))
        if layer.activation is not None:
            if layer.activation.name not in UNITS:
                return f"no bounds are known for the activation {layer.activation.name}"
            steps.append(Unit(layer.activation.name, layer.activation.slope))
        if isinstance(layer, NoisyConvolution) and layer.pool > 1:
            steps.append(_means(layer))
    return steps


def _windows(layer: NoisyConvolution) -> Affine:
    """Return a convolution as an affine map in which every output receives only its window of the image."""
    xp, (outputs, height, width, channels) = xp_of(layer.weight), layer.weight.shape
    pixels = xp.arange(layer.inputs, dtype=xp.int32).reshape(layer.image)
    corners = pixels[:: layer.stride, :: layer.stride, 0][: layer.positions[0], : layer.positions[1]]
    inputs = (corners.reshape(-1, 1, 1) + pixels[:height, :width].reshape(1, 1, -1)).repeat(outputs, axis=1)
    weights = xp.broadcast_to(layer.weight.reshape(1, outputs, -1), inputs.shape).reshape(-1, inputs.shape[2])
    bias = xp.tile(layer.bias.astype(xp.float64), corners.size)
    terms = height * width * channels + 1
    return Affine(xp.ascontiguousarray(weights), inputs.reshape(-1, inputs.shape[2]), layer.inputs, bias, abs(bias), terms)


def _means(layer: NoisyConvolution) -> Affine:
    """Return mean pooling as an affine map in which every output receives only its square of responses."""
    inputs = layer.units_of_responses()
    weights = xp_of(inputs).full(inputs.shape, layer.weight.dtype.type(1 / layer.pool**2), dtype=layer.weight.dtype)
    return Affine(weights, inputs, layer.units, None, None, layer.pool**2 + 1)


def _batch_norm(model: BatchNorm) -> Affine:
    scaled = scaled_of(model)
    inputs = xp_of(scaled.scale).arange(len(scaled.scale), dtype=xp_of(scaled.scale).int32)[:, None]
    weights = scaled.scale.astype(model.gamma.dtype)[:, None]
    return Affine(weights, inputs, len(weights), scaled.bias, scaled.bias_size, scaled.terms)


def _cerebellum(model: CerebellarNetwork) -> list[Affine | Unit]:
    wiring, readout = model.wiring, model.readout
    xp = xp_of(readout)
    cells, classes = readout.shape
    bias, size = xp.zeros(classes, dtype=xp.float64), xp.zeros(classes, dtype=xp.float64)
    for part in blocks(cells, PART_WEIGHTS // classes):
        mean, weights = model.ltd_mean[part].astype(xp.float64), readout[part].astype(xp.float64)
        bias -= mean @ weights
        size += abs(mean) @ abs(weights)
    rest, terms = None, wiring.weights.shape[1]
    if wiring.rest is not None:
        rest, terms = wiring.rest.astype(xp.float64), terms + 1
    projection = Affine(wiring.weights, wiring.inputs, wiring.width, rest, None if rest is None else abs(rest), terms)
    return [projection, Unit("relu"), Affine(readout.T, None, cells, bias, size, 2 * cells + 2 * LANES)]
