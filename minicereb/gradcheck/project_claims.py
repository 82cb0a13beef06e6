"""Every derivative of the project as claims that differences can judge: what ``minicereb gradcheck`` goes through."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minicereb.calculus import cerebellum, losses
from minicereb.calculus.activations import Activation, relu, relu_input_gradient
from minicereb.calculus.batchnorm import batch_norm, batch_norm_input_gradient, batch_norm_weight_gradient, frozen_scale
from minicereb.calculus.convolution import convolution, convolution_input_gradient, convolution_weight_gradient
from minicereb.calculus.dense import dense, dense_input_gradient, dense_weight_gradient
from minicereb.calculus.noise import Gaussian, Laplace, Law, Logistic, StudentT, conditional_score
from minicereb.calculus.pooling import max_pool, max_pool_input_gradient
from minicereb.calculus.projection import add_project_input_gradient, project
from minicereb.calculus.replicated import CrossEntropy, OfRows, ReplicatedLoss, error_probability, error_probability_gradient
from minicereb.gradcheck.claims import Claim, credited, elementwise
from minicereb.gradcheck.model_claims import learning_claims, model_claims
from minicereb.models.cerebellum import Cerebellum
from minicereb.models.convolutional import BatchNorm, Convolution, Dropout, DropoutLearning, Flat, Images, MaxPool
from minicereb.models.layers import Dense, ReLU
from minicereb.models.noisy import NoisyLayer, NoisyNetwork
from minicereb.models.sequential import Sequential
from minicereb.models.visual import with_encoder
from minicereb.models.wiring import Wiring
from minicereb.randomness import generator

CLASSES = 4


def claims() -> Iterator[Claim]:
    """Yield every derivative at a random place: formulas first, then the models made of them."""
    rng = generator(0, "gradcheck")
    for group in (_activations, _losses, _paper, _replicated, _dense, _projection, _images, _batch_norm, _laws, _models):
        yield from group(rng)


def _activations(rng: np.random.Generator) -> Iterator[Claim]:
    v = rng.standard_normal((6, 5))
    yield elementwise("relu_input_gradient", "C1", relu, lambda at: relu_input_gradient(np.ones_like(at), at > 0), v)
    for activation, tag in ((Activation("sigmoid", 2.0), "G-SIGMOID"), (Activation("absolute"), "G-ABS")):
        yield elementwise(f"{activation.name}, Activation.derivative", tag, activation, activation.derivative, v)


def _losses(rng: np.random.Generator) -> Iterator[Claim]:
    outputs, labels = 3 * rng.standard_normal((7, CLASSES)), rng.integers(0, CLASSES, 7)
    targets = (labels + 1) % CLASSES
    plain = {"squared_error": "C3", "cross_entropy": "M-CE", "margin": "M-MARGIN", "dlr": "M-DLR"}
    targeted = {"targeted_margin": "M-MARGIN-T", "targeted_cross_entropy": "M-CE-T", "targeted_dlr": "M-DLR-T"}
    for name, tag in (plain | targeted).items():
        function, given = getattr(losses, name), (labels,) if name in plain else (labels, targets)
        credit = rng.standard_normal(7)
        value = credited(_first_of(function, *given), outputs, credit)
        yield Claim(name, tag, "outputs", value, credit[:, None] * function(outputs, *given)[1], outputs)


def _paper(rng: np.random.Generator) -> Iterator[Claim]:
    x, J, W = rng.random((5, 6)), rng.standard_normal((6, 8)), rng.standard_normal((8, CLASSES))
    mean, targets, h = rng.random(8), np.eye(CLASSES, dtype=np.float64)[rng.integers(0, CLASSES, 5)], cerebellum.granule(x, J)
    _, error = cerebellum.loss(cerebellum.purkinje(h, mean, W), targets)

    def mean_loss(x: Any, W: Any) -> Any:
        return cerebellum.loss(cerebellum.purkinje(cerebellum.granule(x, J), mean, W), targets)[0].mean(keepdims=True)

    one, by_readout = np.ones(1, dtype=np.float64), cerebellum.readout_gradient(h, mean, error)
    yield Claim("readout_gradient", "C4", "W", credited(lambda W: mean_loss(x, W), W, one), by_readout, W)
    by_input = cerebellum.input_gradient(error / len(x), h, J, W)
    yield Claim("input_gradient of the cerebellum", "M-DX", "x", credited(lambda x: mean_loss(x, W), x, one), by_input, x)


def _replicated(rng: np.random.Generator) -> Iterator[Claim]:
    outputs, labels = rng.standard_normal((CLASSES, 5, 3)), rng.integers(0, CLASSES, 5)
    credit = rng.standard_normal((5, 3))
    for name, tag, loss in (
        ("replicated CrossEntropy", "M-CE", CrossEntropy()),
        ("replicated OfRows", "", OfRows(losses.squared_error)),
    ):
        value = credited(_at_labels(loss, labels), outputs, credit)
        yield Claim(name, tag, "outputs", value, credit * loss.derivative(outputs, labels), outputs)
    scale, nodes = np.array([1.5]), rng.standard_normal((6, 5, 3))
    for law in (Gaussian(), Logistic(), StudentT()):
        given = (labels, law, scale, nodes)
        value = credited(_after(error_probability, *given), outputs, credit)
        gradient = credit * error_probability_gradient(outputs, *given)
        yield Claim(f"error_probability_gradient, {law.name}", "M-ZEROONE", "outputs", value, gradient, outputs)


def _dense(rng: np.random.Generator) -> Iterator[Claim]:
    x, weight, bias, credit = (rng.standard_normal(shape) for shape in ((7, 5), (4, 5), (4,), (7, 4)))
    d_weight, d_bias = dense_weight_gradient(credit, x)
    yield Claim(
        "dense_input_gradient",
        "M-BP",
        "x",
        credited(lambda z: dense(z, weight, bias), x, credit),
        dense_input_gradient(credit, weight),
        x,
    )
    yield Claim(
        "dense_weight_gradient", "M-BP", "weight", credited(lambda z: dense(x, z, bias), weight, credit), d_weight, weight
    )
    yield Claim("dense_weight_gradient", "M-BP", "bias", credited(lambda z: dense(x, weight, z), bias, credit), d_bias, bias)


def _projection(rng: np.random.Generator) -> Iterator[Claim]:
    x_t, credit = rng.standard_normal((9, 6)), rng.standard_normal((20, 6))
    for kind, per_cell in (("sparse", 3), ("full", 9)):
        weights = rng.standard_normal((20, per_cell))
        inputs = rng.integers(0, 9, (20, 3), dtype=np.int32) if kind == "sparse" else None
        value = credited(functools.partial(_projected, weights, inputs), x_t, credit)
        gradient = add_project_input_gradient(weights, inputs, credit, np.zeros((9, 6), dtype=np.float64))
        yield Claim(f"add_project_input_gradient, {kind}", "M-DX", "x", value, gradient, x_t)


def _images(rng: np.random.Generator) -> Iterator[Claim]:
    x, weight, bias = rng.standard_normal((3, 7, 6, 2)), rng.standard_normal((4, 3, 3, 2)), rng.standard_normal(4)
    for stride, padding in ((1, 1), (2, 0)):
        how = f"stride {stride}, padding {padding}"
        credit = rng.standard_normal(convolution(x, weight, bias, stride, padding).shape)
        d_weight, d_bias = convolution_weight_gradient(credit, x, (3, 3), stride, padding)
        by_x = convolution_input_gradient(credit, weight, (7, 6), stride, padding)
        for by, at, gradient, tag in (
            ("x", x, by_x, "M-CONV-DX"),
            ("weight", weight, d_weight, "M-CONV-DW"),
            ("bias", bias, d_bias, "M-CONV-DW"),
        ):
            given = {"x": x, "weight": weight, "bias": bias, "stride": stride, "padding": padding}
            value = credited(_convolved(given, by), at, credit)
            kind = "input" if by == "x" else "weight"
            yield Claim(f"convolution_{kind}_gradient, {how}", tag, by, value, gradient, at)
    h, winner = max_pool(x, 2)
    credit = rng.standard_normal(h.shape)
    value = credited(lambda z: max_pool(z, 2)[0], x, credit)
    yield Claim("max_pool_input_gradient", "M-POOL", "x", value, max_pool_input_gradient(credit, winner, 2, (7, 6)), x)


def _batch_norm(rng: np.random.Generator) -> Iterator[Claim]:
    v, credit = rng.standard_normal((4, 3, 2, 5)), rng.standard_normal((4, 3, 2, 5))
    gamma, beta = rng.standard_normal(5), rng.standard_normal(5)
    cache = batch_norm(v, gamma, beta)[1]
    d_gamma, d_beta = batch_norm_weight_gradient(credit, cache)
    yield Claim(
        "batch_norm_input_gradient",
        "M-BN-DX",
        "v",
        credited(lambda z: batch_norm(z, gamma, beta)[0], v, credit),
        batch_norm_input_gradient(credit, cache),
        v,
    )
    yield Claim(
        "batch_norm_weight_gradient",
        "M-BN",
        "gamma",
        credited(lambda z: batch_norm(v, z, beta)[0], gamma, credit),
        d_gamma,
        gamma,
    )
    yield Claim(
        "batch_norm_weight_gradient", "M-BN", "beta", credited(lambda z: batch_norm(v, gamma, z)[0], beta, credit), d_beta, beta
    )
    mean, variance = rng.standard_normal(5), 0.5 + rng.random(5)
    scale, shift = frozen_scale(gamma, beta, mean, variance)
    yield Claim("frozen_scale", "M-BN", "v", credited(lambda z: z * scale + shift, v, credit), credit * scale, v)


def _laws(rng: np.random.Generator) -> Iterator[Claim]:
    e = 1.5 * rng.standard_normal((6, 5))
    q = 0.02 + 0.96 * rng.random((6, 5))
    fires = (rng.random((6, 5)) < 0.5).astype(np.float64)
    for law in (Gaussian(), Laplace(), Logistic(), StudentT()):
        yield elementwise(f"density, {law.name}", "", law.distribution, law.density, e, "e")
        yield elementwise(f"score, {law.name}", "G5", _surprise(law), law.score, e, "e")
        yield elementwise(f"density_ratio, {law.name}", "", _log_distribution(law), law.density_ratio, e, "e")
        yield elementwise(
            f"quantile, {law.name}", "", law.quantile, lambda at, law=law: 1 / law.density(law.quantile(at)), q, "q"
        )
        ln = _log_distribution(law)
        value = _signed(ln, 2 * fires - 1)
        yield elementwise(
            f"conditional_score, {law.name}", "M-RB", value, lambda a, law=law: conditional_score(law, fires, a), e, "u/σ"
        )


def _first_of(function: Callable[..., Any], *given: Any) -> Callable[[Any], Any]:
    return lambda z: function(z, *given)[0]


def _after(function: Callable[..., Any], *given: Any) -> Callable[[Any], Any]:
    return lambda z: function(z, *given)


def _at_labels(loss: ReplicatedLoss, labels: np.ndarray) -> Callable[[Any], Any]:
    return lambda z: loss.value(z, labels)


def _projected(weights: np.ndarray, inputs: np.ndarray | None, x_t: np.ndarray) -> Any:
    return project(weights, inputs, x_t, np.empty((len(weights), x_t.shape[1]), dtype=np.float64))


def _convolved(given: dict[str, Any], by: str) -> Callable[[Any], Any]:
    return lambda z: convolution(**{**given, by: z})


def _signed(function: Callable[[Any], Any], sign: np.ndarray) -> Callable[[Any], Any]:
    return lambda a: function(sign * a)


def _surprise(law: Law) -> Callable[[Any], Any]:
    return lambda e: -np.log(law.density(e))


def _log_distribution(law: Law) -> Callable[[Any], Any]:
    return lambda e: np.log(law.distribution(e))


def _models(rng: np.random.Generator) -> Iterator[Claim]:
    """Small models of each kind, layer by layer and as a whole."""
    x, labels = rng.random((3, 64)), rng.integers(0, CLASSES, 3)
    for kind, per_cell in (("sparse", 4), ("full", 64)):
        inputs = np.sort(rng.integers(0, 64, (40, per_cell), dtype=np.int32), axis=1) if kind == "sparse" else None
        wiring = Wiring(rng.standard_normal((40, per_cell)), inputs, 64)
        yield from _named(
            f"cerebellum, {kind}: ", Cerebellum(wiring, rng.random(40), rng.standard_normal((40, CLASSES))), x, labels
        )
    yield from _named("perceptron: ", Sequential((_layer(rng, 64, 20), ReLU(), _layer(rng, 20, CLASSES))), x, labels)
    kernel = 0.3 * rng.standard_normal((3, 3, 3, 1))
    norm = BatchNorm(*(0.5 + rng.random(3) for _ in range(4)))
    layers = (
        Images((8, 8, 1), np.array([0.2]), np.array([0.7])),
        Convolution(kernel, rng.standard_normal(3), padding=1),
        norm,
        ReLU(),
        MaxPool(2),
        DropoutLearning(0.25, 0, (0,)),
        Flat(),
        _layer(rng, 48, CLASSES),
    )
    yield from _named("convolutional: ", Sequential(layers), x, labels)
    network = Sequential((*layers[:2], ReLU(), norm, MaxPool(2), Dropout(0.25), *layers[6:]))
    for claim in learning_claims(network, x, labels):
        yield claim._replace(name=f"convolutional, learning: {claim.name}")
    wiring = Wiring(rng.standard_normal((30, 4)), np.sort(rng.integers(0, 48, (30, 4), dtype=np.int32), axis=1), 48)
    cerebellum = Cerebellum(wiring, rng.random(30), rng.standard_normal((30, CLASSES)))
    yield from _named("cerebellum behind convolutions: ", with_encoder(Sequential(layers[:-1]), cerebellum), x, labels)
    for name, law in (("sigmoid", Logistic()), ("absolute", Gaussian()), ("threshold", Gaussian())):
        hidden = NoisyLayer(0.2 * rng.standard_normal((6, 64)), rng.standard_normal(6), np.array([0.8]), law, Activation(name))
        silent = name == "threshold"
        last = NoisyLayer(
            rng.standard_normal((CLASSES, 6)), rng.standard_normal(CLASSES), np.array([1.0]), None if silent else law, None
        )
        yield from _named(f"noisy, {name}: ", NoisyNetwork((hidden, last)), x, labels)


def _layer(rng: np.random.Generator, inputs: int, outputs: int) -> Dense:
    return Dense(rng.standard_normal((outputs, inputs)) / inputs**0.5, rng.standard_normal(outputs))


def _named(prefix: str, model: Any, x: np.ndarray, labels: np.ndarray) -> Iterator[Claim]:
    for claim in model_claims(model, x, labels):
        yield claim._replace(name=prefix + claim.name)
