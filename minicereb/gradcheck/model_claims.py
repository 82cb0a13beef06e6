"""The derivatives of a model as claims: for each layer with respect to input and parameters, and for the whole model."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from minicereb.backend import in_float64
from minicereb.calculus.losses import cross_entropy, squared_error
from minicereb.calculus.replicated import CrossEntropy
from minicereb.errors import InputError
from minicereb.gradcheck.claims import STEP, Claim, credited
from minicereb.learning.exact import Exact
from minicereb.learning.optimizers import SGD
from minicereb.learning.pathwise import Backprop
from minicereb.learning.plasticity import DeltaRule
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.noisy import NoisyNetwork
from minicereb.models.sequential import Sequential
from minicereb.randomness import generator

JITTER = 1e-2  # jitter of a layer's inputs, in standard deviations: a maximum has a kink at equal numbers, and ReLU at zeros
REPLICATIONS = 3


def model_claims(model: Any, x: np.ndarray, labels: np.ndarray, seed: int = 0) -> Iterator[Claim]:
    """Yield claims about the derivatives of a model, any object with ``forward`` and ``input_gradient``, at float64 images.

    For models of the project's own kinds, every layer is checked at inputs that are jittered to avoid equal numbers and
    zeros (:data:`JITTER`). `seed` determines credits and jitter.
    """
    model, rng = in_float64(model), generator(seed, "model-claims")
    if isinstance(model, NoisyNetwork):
        yield from _noisy(model, x, labels, rng)
        return
    if isinstance(model, Sequential):
        at = x
        for number, layer in enumerate(model.layers):
            at = np.ascontiguousarray(at)
            near = at if number == 0 else at + JITTER * (float(at.std()) or 1.0) * rng.standard_normal(at.shape)
            yield from _layer(f"layer {number} {type(layer).__name__}", layer, near, rng)
            if isinstance(layer, CerebellarNetwork):
                yield _delta_rule(layer, near, labels)
            at = np.array(layer.forward(at)[0])
    elif isinstance(model, CerebellarNetwork):
        yield from _input("CerebellarNetwork.input_gradient", "M-DX", model, x, rng)
        yield _delta_rule(model, x, labels)
    else:
        yield from _input("input_gradient", "", model, x, rng)
    for name, tag, loss in (("loss", "M-CE", cross_entropy), ("loss", "C3", squared_error)):
        outputs, cache = model.forward(x)
        value = _loss(lambda z: model.forward(z)[0], loss, labels, np.array(outputs))
        gradient = np.array(model.input_gradient(loss(outputs, labels)[1], cache))
        yield Claim(f"{name} {loss.__name__}", tag, "images", value, gradient, x)


def learning_claims(model: Sequential, x: np.ndarray, labels: np.ndarray, seed: int = 0) -> Iterator[Claim]:
    """Yield claims about the derivatives from which a network learns, through the whole network in training mode ``[M-BP]``."""
    model = in_float64(model)
    learning = model.while_learning(seed, 1)
    outputs, caches = learning.forward(x.copy())
    start = np.array(outputs)
    gradients = learning.weight_gradients(cross_entropy(start, labels)[1], caches)
    for number, (layer, found) in enumerate(zip(model.layers, gradients, strict=True)):
        for key, gradient in found.items():

            def outputs_with(z: np.ndarray, number: int = number, key: str = key) -> Any:
                return Sequential(_with(model.layers, number, key, z)).while_learning(seed, 1).forward(x.copy())[0]

            name = f"weight_gradients, layer {number} {type(layer).__name__}"
            value = _loss(outputs_with, cross_entropy, labels, start)
            yield Claim(name, "M-BP", key, value, np.array(gradient), getattr(layer, key))


def _loss(outputs: Callable[[Any], Any], loss: Any, labels: np.ndarray, before: np.ndarray) -> Callable[[Any], float]:
    """Return the sum of a loss over images, minus its initial value, as a function of anything on which the outputs depend."""
    start = loss(before, labels)[0]
    return lambda z: float((loss(outputs(z), labels)[0] - start).sum())


def _input(name: str, tag: str, layer: Any, at: np.ndarray, rng: np.random.Generator) -> Iterator[Claim]:
    output, cache = layer.forward(at)
    credit = rng.standard_normal(np.shape(output))
    value = credited(lambda z: layer.forward(z)[0], at, credit)
    yield Claim(name, tag, "input", value, np.array(layer.input_gradient(credit, cache)), at)


def _layer(name: str, layer: Any, at: np.ndarray, rng: np.random.Generator) -> Iterator[Claim]:
    yield from _input(name, "", layer, at, rng)
    if not hasattr(layer, "weight_gradient"):
        return
    output, cache = layer.forward(at)
    credit = rng.standard_normal(np.shape(output))
    gradients = {key: np.array(array) for key, array in layer.weight_gradient(credit, cache).items()}
    for key, gradient in gradients.items():
        weights = getattr(layer, key)
        value = credited(functools.partial(lambda key, z: _with([layer], 0, key, z)[0].forward(at)[0], key), weights, credit)
        yield Claim(name, "", key, value, gradient, weights, STEP * max(1.0, weights.size**0.5))


def _with(layers: Sequence[Any], number: int, key: str, weights: np.ndarray) -> tuple[Any, ...]:
    """Return the layers with one array of one layer replaced by `weights`."""
    return *layers[:number], dataclasses.replace(layers[number], **{key: weights}), *layers[number + 1 :]


def _delta_rule(model: CerebellarNetwork, x: np.ndarray, labels: np.ndarray) -> Claim:
    """Return the claim that a step of the delta rule at rate 1 subtracts the gradient of the batch's mean loss."""
    before = model.readout.copy()
    learner = DeltaRule(in_float64(model), SGD(1.0), len(x), None)
    for _ in learner.learn(x, labels):
        pass
    gradient = before - learner.model.readout
    start = squared_error(model.forward(x)[0], labels)[0]

    def value(readout: np.ndarray) -> float:
        outputs = dataclasses.replace(model, readout=readout).forward(x)[0]
        return float((squared_error(outputs, labels)[0] - start).mean())

    return Claim("DeltaRule, one step", "C4", "readout", value, gradient, before)


def _noisy(model: NoisyNetwork, x: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Iterator[Claim]:
    """Yield claims for a noisy network.

    If all activations are smooth, they are about the network without noise and with the noise held fixed. Otherwise they are
    about the exact mean loss or, where this cannot be computed, say that there is no derivative.
    """
    smooth = all(layer.activation is None or layer.activation.smooth for layer in model.layers)
    if smooth:
        yield from _input("NoisyNetwork.input_gradient", "G3", model, x, rng)
        noise = tuple(
            None if layer.law is None else layer.law.quantile(0.01 + 0.98 * rng.random((layer.units, len(x), REPLICATIONS)))
            for layer in model.layers
        )
        yield from _estimated("Backprop", "G3", Backprop(), model, x, labels, noise)
        return
    try:
        Exact().check(model, CrossEntropy())
    except InputError:
        names = ", ".join(dict.fromkeys(layer.activation.name for layer in model.layers if layer.activation is not None))
        for number, layer in enumerate(model.layers):
            reason = f"{names} neurons have no derivative along the noise; estimators replace it"
            yield Claim(f"layer {number} NoisyLayer", "G5", "weight", None, reason, layer.weight)
        return
    yield from _estimated("Exact", "M-EXACT", Exact(), model, x, labels, None)


def _estimated(
    name: str, tag: str, estimator: Any, model: NoisyNetwork, x: np.ndarray, labels: np.ndarray, noise: Any
) -> Iterator[Claim]:
    """Yield claims for an estimator that is exact for given noise, with respect to images, weights, biases and noise scales."""
    loss = CrossEntropy()

    def at(network: NoisyNetwork, images: np.ndarray) -> Any:
        return estimator.on(network, loss, np.ascontiguousarray(images.T), labels, noise, True)

    piece = at(model, x)
    start = np.array(piece.loss)
    first = np.array(piece.first_credit)
    found = [{key: np.array(array) for key, array in layer.items()} for layer in piece.gradients]
    found[0] |= model.layers[0].weight_gradient(first, x)

    def by_images(z: np.ndarray) -> float:
        return float((at(model, z).loss - start).sum())

    yield Claim(name, tag, "images", by_images, model.layers[0].input_gradient(first), x)
    for number, gradients in enumerate(found):
        for key, gradient in gradients.items():

            def moved(z: np.ndarray, number: int = number, key: str = key) -> float:
                return float((at(NoisyNetwork(_with(model.layers, number, key, z)), x).loss - start).sum())

            weights = getattr(model.layers[number], key)
            yield Claim(f"{name}, layer {number}", tag, key, moved, gradient, weights)
