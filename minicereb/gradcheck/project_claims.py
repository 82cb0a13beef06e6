"""Every derivative of the project as a claim for finite differences: the list that ``minicereb gradcheck`` checks."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from minicereb.calculus import cerebellum, losses
from minicereb.calculus.activations import ACTIVATIONS, Activation, relu, relu_input_gradient
from minicereb.calculus.batchnorm import batch_norm, batch_norm_input_gradient, batch_norm_weight_gradient, frozen_scale
from minicereb.calculus.convolution import convolution, convolution_input_gradient, convolution_weight_gradient
from minicereb.calculus.dense import dense, dense_input_gradient, dense_weight_gradient
from minicereb.calculus.intervals import interval_dense, interval_dense_gradients, interval_relu, interval_relu_gradients
from minicereb.calculus.likelihood_ratio import signal_gradient
from minicereb.calculus.noise import LAWS, Gaussian, Law, Logistic, conditional_score
from minicereb.calculus.pooling import max_pool, max_pool_input_gradient
from minicereb.calculus.projection import add_project_input_gradient, project
from minicereb.calculus.replicated import CrossEntropy, OfRows, ReplicatedLoss, error_probability, error_probability_gradient
from minicereb.calculus.winograd import winograd, winograd_weight_gradient
from minicereb.gradcheck.claims import Claim, by_arguments, elementwise
from minicereb.gradcheck.model_claims import learning_claims, model_claims
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.convolutional import BatchNorm, Convolution, Dropout, DropoutLearning, Flat, Images, MaxPool
from minicereb.models.layers import Dense, ReLU
from minicereb.models.noisy import NoisyLayer, NoisyNetwork
from minicereb.models.noisy_convolution import POOLING, NoisyConvolution
from minicereb.models.noisy_time import NoisyTime
from minicereb.models.sequential import Sequential
from minicereb.models.visual import with_encoder
from minicereb.models.wiring import Wiring
from minicereb.randomness import generator

CLASSES = 4


def claims() -> Iterator[Claim]:
    """Yield a claim about every derivative at a random point: formulas first, then the models built from them."""
    rng = generator(0, "gradcheck")
    formulas = (
        _activations,
        _losses,
        _paper,
        _noisy_layer,
        _replicated,
        _dense,
        _intervals,
        _projection,
        _images,
        _batch_norm,
        _laws,
    )
    for group in (*formulas, _models):
        yield from group(rng)


def _activations(rng: np.random.Generator) -> Iterator[Claim]:
    v = rng.standard_normal((6, 5))
    yield elementwise("relu_input_gradient", "C1", relu, lambda at: relu_input_gradient(np.ones_like(at), at > 0), v)
    smooth = [Activation(name) for name, formula in ACTIVATIONS.items() if formula.derivative is not None]
    for activation in (*smooth, Activation("sigmoid", 0.3), Activation("sigmoid", 20.0)):
        slope = "" if activation.slope == 1 else f" of slope {activation.slope:g}"
        tag = ACTIVATIONS[activation.name].tag
        yield elementwise(f"{activation.name}{slope}, Activation.derivative", tag, activation, activation.derivative, v)


def _losses(rng: np.random.Generator) -> Iterator[Claim]:
    outputs, labels, credit = 3 * rng.standard_normal((7, CLASSES)), rng.integers(0, CLASSES, 7), rng.standard_normal(7)
    plain = {"squared_error": "C3", "pessimistic_squared_error": "M-PESSIMISTIC"}
    plain |= {"cross_entropy": "M-CE", "margin": "M-MARGIN", "dlr": "M-DLR"}
    targeted = {"targeted_margin": "M-MARGIN-T", "targeted_cross_entropy": "M-CE-T", "targeted_dlr": "M-DLR-T"}
    for name, tag in (plain | targeted).items():
        given: dict[str, Any] = {"outputs": outputs, "labels": labels}
        given |= {} if name in plain else {"targets": (labels + 1) % CLASSES}
        loss = getattr(losses, name)
        row = (name, tag, "outputs", credit[:, None] * loss(**given)[1])
        yield from by_arguments(lambda loss=loss, **at: loss(**at)[0], given, credit, row)


def _paper(rng: np.random.Generator) -> Iterator[Claim]:
    x, J, W = rng.random((5, 6)), rng.standard_normal((6, 8)), rng.standard_normal((8, CLASSES))
    mean, targets, h = rng.random(8), np.eye(CLASSES, dtype=np.float64)[rng.integers(0, CLASSES, 5)], cerebellum.granule(x, J)
    _, error = cerebellum.loss(cerebellum.purkinje(h, mean, W), targets)

    def mean_loss(x: Any, W: Any) -> Any:
        return cerebellum.loss(cerebellum.purkinje(cerebellum.granule(x, J), mean, W), targets)[0].mean(keepdims=True)

    yield from by_arguments(
        mean_loss,
        {"x": x, "W": W},
        np.ones(1, dtype=np.float64),
        ("readout_gradient", "C4", "W", cerebellum.readout_gradient(h, mean, error)),
        ("input_gradient of the cerebellum", "M-DX", "x", cerebellum.input_gradient(error / len(x), h, J, W)),
    )
    low, high = cerebellum.granule_bounds(*cerebellum.mossy_bounds(x, 0.1), J)

    def worst_loss(W: Any) -> Any:
        return cerebellum.pessimistic_loss(cerebellum.worst_outputs(low, high, mean, W, targets), targets)[0].mean(keepdims=True)

    _, error = cerebellum.pessimistic_loss(cerebellum.worst_outputs(low, high, mean, W, targets), targets)
    gradient = cerebellum.pessimistic_gradient(low, high, mean, error, W, targets)
    row = ("pessimistic_gradient", "M-PESSIMISTIC", "W", gradient)
    yield from by_arguments(worst_loss, {"W": W}, np.ones(1, dtype=np.float64), row)


def _noisy_layer(rng: np.random.Generator) -> Iterator[Claim]:
    v, weight, credit = rng.standard_normal((7, 5)), rng.standard_normal((4, 5)), rng.standard_normal((7, 4))
    sigmoid = Activation("sigmoid")
    row = ("signal_gradient", "G3", "v", signal_gradient(credit, weight, sigmoid.derivative(v)))
    yield from by_arguments(lambda v: sigmoid(v) @ weight.T, {"v": v}, credit, row)


def _replicated(rng: np.random.Generator) -> Iterator[Claim]:
    outputs, labels = rng.standard_normal((CLASSES, 5, 3)), rng.integers(0, CLASSES, 5)
    credit, weights = rng.standard_normal((5, 3)), rng.dirichlet(np.ones(6))
    smooth: list[tuple[str, str, ReplicatedLoss]] = [("CrossEntropy", "M-CE", CrossEntropy())]
    for name, tag in (("squared_error", "C3"), ("cross_entropy", "M-CE"), ("margin", "M-MARGIN")):
        smooth.append((f"OfRows({name})", tag, OfRows(getattr(losses, name))))
    for name, tag, loss in smooth:
        gradient = credit * loss.derivative(outputs, labels)
        given = {"outputs": outputs, "labels": labels}
        yield from by_arguments(loss.value, given, credit, (f"replicated {name}", tag, "outputs", gradient))
    for law in (each() for each in LAWS.values()):
        scale, nodes = np.array([1.5]), rng.standard_normal((6, 5, 3))
        noisy: dict[str, Any] = {"outputs": outputs, "labels": labels, "law": law, "scale": scale, "nodes": nodes}
        for name, more in ((law.name, {}), (f"{law.name}, weighted nodes", {"weights": weights})):
            at: dict[str, Any] = noisy | more
            gradient = credit * error_probability_gradient(**at)
            by_scale = -np.sum(gradient * outputs, keepdims=True).reshape(1) / scale
            yield from by_arguments(
                error_probability,
                at,
                credit,
                (f"error_probability_gradient, {name}", "M-ZEROONE", "outputs", gradient),
                (f"error_probability_gradient, {name}", "M-ZEROONE", "scale", by_scale),
            )


def _dense(rng: np.random.Generator) -> Iterator[Claim]:
    x, weight, bias, credit = (rng.standard_normal(shape) for shape in ((7, 5), (4, 5), (4,), (7, 4)))
    d_weight, d_bias = dense_weight_gradient(credit, x)
    yield from by_arguments(
        dense,
        {"x": x, "weight": weight, "bias": bias},
        credit,
        ("dense_input_gradient", "M-BP", "x", dense_input_gradient(credit, weight)),
        ("dense_weight_gradient", "M-BP", "weight", d_weight),
        ("dense_weight_gradient", "M-BP", "bias", d_bias),
    )


def _intervals(rng: np.random.Generator) -> Iterator[Claim]:
    """Yield claims about centre and radius together: their credits are the two halves of one array."""
    centre, weight, bias = (rng.standard_normal(shape) for shape in ((7, 5), (4, 5), (4,)))
    radius, credit = rng.random((7, 5)), rng.standard_normal((7, 8))
    names, (d_centre, d_radius) = ("weight", "bias", "centre", "radius"), np.split(credit, 2, axis=1)
    of_dense = interval_dense_gradients(d_centre, d_radius, centre, radius, weight)
    yield from by_arguments(
        lambda **at: np.concatenate(interval_dense(**at), axis=1),
        {"centre": centre, "radius": radius, "weight": weight, "bias": bias},
        credit,
        *(("interval_dense_gradients", "M-IBP-BP", name, gradient) for name, gradient in zip(names, of_dense, strict=True)),
    )
    credit = rng.standard_normal((7, 10))
    d_centre, d_radius = np.split(credit, 2, axis=1)
    of_relu = interval_relu_gradients(d_centre, d_radius, centre, radius)
    yield from by_arguments(
        lambda **at: np.concatenate(interval_relu(**at), axis=1),
        {"centre": centre, "radius": radius},
        credit,
        *(("interval_relu_gradients", "M-IBP-BP", name, gradient) for name, gradient in zip(names[2:], of_relu, strict=True)),
    )


def _projection(rng: np.random.Generator) -> Iterator[Claim]:
    x_t, credit = rng.standard_normal((9, 6)), rng.standard_normal((20, 6))
    for kind, per_cell in (("sparse", 3), ("full", 9)):
        given: dict[str, Any] = {
            "weights": rng.standard_normal((20, per_cell)),
            "inputs": rng.integers(0, 9, (20, 3), dtype=np.int32) if kind == "sparse" else None,
        }
        gradient = add_project_input_gradient(**given, d_v=credit, d_x_t=np.zeros((9, 6), dtype=np.float64))
        row = (f"add_project_input_gradient, {kind}", "M-DX", "x_t", gradient)
        yield from by_arguments(lambda **at: project(**at, out=np.empty_like(credit)), {**given, "x_t": x_t}, credit, row)


def _images(rng: np.random.Generator) -> Iterator[Claim]:
    x, weight, bias = rng.standard_normal((3, 7, 6, 2)), rng.standard_normal((4, 3, 2, 2)), rng.standard_normal(4)
    for stride, padding in ((1, 1), (2, 0), (2, 1)):
        given: dict[str, Any] = {"x": x, "weight": weight, "bias": bias, "stride": stride, "padding": padding}
        how = f"stride {stride}, padding {padding}"
        credit = rng.standard_normal(convolution(**given).shape)
        d_weight, d_bias = convolution_weight_gradient(credit, x, (3, 2), stride, padding)
        d_x = convolution_input_gradient(credit, weight, (7, 6), stride, padding)
        yield from by_arguments(
            convolution,
            given,
            credit,
            (f"convolution_input_gradient, {how}", "M-CONV-DX", "x", d_x),
            (f"convolution_weight_gradient, {how}", "M-CONV-DW", "weight", d_weight),
            (f"convolution_weight_gradient, {how}", "M-CONV-DW", "bias", d_bias),
        )
    filtered, kernel = rng.standard_normal((2, 4, 6, 3)), rng.standard_normal((2, 3, 3, 3))
    credit = rng.standard_normal((2, 4, 6, 2))
    row = ("winograd_weight_gradient", "M-WINOGRAD", "weight", winograd_weight_gradient(credit, filtered))
    yield from by_arguments(winograd, {"x": filtered, "weight": kernel, "bias": bias[:2]}, credit, row)
    h, winner = max_pool(x, 2)
    credit = rng.standard_normal(h.shape)
    row = ("max_pool_input_gradient", "M-POOL", "x", max_pool_input_gradient(credit, winner, 2, (7, 6)))
    yield from by_arguments(lambda x: max_pool(x, 2)[0], {"x": x}, credit, row)


def _batch_norm(rng: np.random.Generator) -> Iterator[Claim]:
    v, credit = rng.standard_normal((4, 3, 2, 5)), rng.standard_normal((4, 3, 2, 5))
    gamma, beta = rng.standard_normal(5), rng.standard_normal(5)
    cache = batch_norm(v, gamma, beta)[1]
    d_gamma, d_beta = batch_norm_weight_gradient(credit, cache)
    yield from by_arguments(
        lambda v, gamma, beta: batch_norm(v, gamma, beta)[0],
        {"v": v, "gamma": gamma, "beta": beta},
        credit,
        ("batch_norm_input_gradient", "M-BN-DX", "v", batch_norm_input_gradient(credit, cache)),
        ("batch_norm_weight_gradient", "M-BN", "gamma", d_gamma),
        ("batch_norm_weight_gradient", "M-BN", "beta", d_beta),
    )
    scale, shift = frozen_scale(gamma, beta, rng.standard_normal(5), 0.5 + rng.random(5))
    yield from by_arguments(lambda v: v * scale + shift, {"v": v}, credit, ("frozen_scale", "M-BN", "v", credit * scale))


def _laws(rng: np.random.Generator) -> Iterator[Claim]:
    e, q = 1.5 * rng.standard_normal((6, 5)), 0.02 + 0.96 * rng.random((6, 5))
    fires = (rng.random((6, 5)) < 0.5).astype(np.float64)
    for law in (each() for each in LAWS.values()):
        yield from _of_law(law, e, q, fires)


def _of_law(law: Law, e: np.ndarray, q: np.ndarray, fires: np.ndarray) -> Iterator[Claim]:
    def probability(a: Any) -> Any:
        return law.distribution((2 * fires - 1) * a)

    yield elementwise(f"density, {law.name}", "", law.distribution, law.density, e, "e")
    yield elementwise(f"score, {law.name}", "G5", lambda e: -np.log(law.density(e)), law.score, e, "e")
    yield elementwise(f"density_ratio, {law.name}", "", lambda e: np.log(law.distribution(e)), law.density_ratio, e, "e")
    yield elementwise(f"quantile, {law.name}", "", law.quantile, lambda q: 1 / law.density(law.quantile(q)), q, "q")
    score = functools.partial(conditional_score, law, fires)
    yield elementwise(f"conditional_score, {law.name}", "M-RB", lambda a: np.log(probability(a)), score, e, "u/σ")


def _models(rng: np.random.Generator) -> Iterator[Claim]:
    """Yield claims about small models of each kind, layer by layer and as a whole."""
    x, labels = rng.random((3, 64)), rng.integers(0, CLASSES, 3)
    for kind, per_cell in (("sparse", 4), ("full", 64)):
        inputs = np.sort(rng.integers(0, 64, (40, per_cell), dtype=np.int32), axis=1) if kind == "sparse" else None
        wiring = Wiring(rng.standard_normal((40, per_cell)), inputs, 64)
        cerebellum = CerebellarNetwork(wiring, rng.random(40), rng.standard_normal((40, CLASSES)))
        yield from _named(f"cerebellum, {kind}: ", cerebellum, x, labels)
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
    cerebellum = CerebellarNetwork(wiring, rng.random(30), rng.standard_normal((30, CLASSES)))
    yield from _named("cerebellum behind convolutions: ", with_encoder(Sequential(layers[:-1]), cerebellum), x, labels)
    for name, law in (("sigmoid", Logistic()), ("absolute", Gaussian()), ("threshold", Gaussian())):
        hidden = NoisyLayer(0.2 * rng.standard_normal((6, 64)), rng.standard_normal(6), np.array([0.8]), law, Activation(name))
        silent = name == "threshold"
        parameters = rng.standard_normal((CLASSES, 6)), rng.standard_normal(CLASSES)
        last = NoisyLayer(*parameters, np.array([1.0]), None if silent else law, None)
        yield from _named(f"noisy, {name}: ", NoisyNetwork((hidden, last)), x, labels)
    for pooling in POOLING:
        shared = (
            0.3 * rng.standard_normal((2, 3, 3, 1)),
            rng.standard_normal(2),
            np.array([0.8]),
            Gaussian(),
            Activation("sigmoid"),
        )
        convolves = NoisyConvolution(*shared, image=(8, 8, 1), pool=2, pooling=pooling)
        last = NoisyLayer(rng.standard_normal((CLASSES, 18)), rng.standard_normal(CLASSES), np.array([1.0]), Gaussian(), None)
        yield from _named(f"noisy convolution, {pooling} pooling: ", NoisyNetwork((convolves, last)), x, labels)
    arrays = 0.5 * rng.standard_normal((5, 8)), rng.standard_normal(5), np.array([0.8])
    in_time = NoisyTime(*arrays, Gaussian(), Activation("sigmoid"), recurrent=rng.standard_normal((5, 5)), steps=8)
    last = NoisyLayer(rng.standard_normal((CLASSES, 5)), rng.standard_normal(CLASSES), np.array([1.0]), Gaussian(), None)
    yield from _named("noisy, recurrent: ", NoisyNetwork((in_time, last)), x, labels)


def _layer(rng: np.random.Generator, inputs: int, outputs: int) -> Dense:
    return Dense(rng.standard_normal((outputs, inputs)) / inputs**0.5, rng.standard_normal(outputs))


def _named(prefix: str, model: Any, x: np.ndarray, labels: np.ndarray) -> Iterator[Claim]:
    for claim in model_claims(model, x, labels):
        yield claim._replace(name=prefix + claim.name)
