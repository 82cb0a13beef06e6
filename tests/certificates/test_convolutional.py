"""Certificates of convolutional networks: nothing in the region breaks them; they are those of the same network made dense."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicereb import backend
from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import configure, to_device, to_numpy
from minicereb.certificates.affine import affine_network_of, why_not_certifiable
from minicereb.certificates.certify import certify
from minicereb.certificates.convolutional import Convolved
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.convolutional import BatchNorm, Convolution, Dropout, Flat, Images, MaxPool, initial_convolutional
from minicereb.models.layers import Dense, ReLU
from minicereb.models.sequential import Sequential
from minicereb.models.wiring import Wiring
from minicereb.randomness import generator

NORMS, METHODS = ["linf", "l2"], ["crown", "interval"]
ENDS = ["linear", "perceptron", "normalised", "cerebellum"]


def drawn(rng, shape, dtype, gain=1.0):
    return (gain * rng.normal(size=shape)).astype(dtype)


def normalisation(rng, channels, dtype):
    gamma, beta, mean = (drawn(rng, channels, dtype) for _ in range(3))
    return BatchNorm(gamma, beta, mean, (rng.random(channels) + 0.1).astype(dtype))


def convolutions(rng, shape, dtype, pooled=True):
    """Images, then convolutions of any kernel, stride and padding, with whatever may follow one; and the features at the end."""
    layers = [Images(shape, rng.random(shape[2]).astype(dtype), (0.2 + rng.random(shape[2])).astype(dtype))]
    height, width, channels = shape
    if rng.random() < 0.2:
        layers.append(normalisation(rng, channels, dtype))
    for _ in range(rng.integers(1, 4)):
        padding, stride, outputs = int(rng.integers(0, 3)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
        kernel = [int(rng.integers(1, min(3, side + 2 * padding) + 1)) for side in (height, width)]
        weight, bias = drawn(rng, (outputs, *kernel, channels), dtype), drawn(rng, outputs, dtype, 0.5)
        layers.append(Convolution(weight, bias, stride, padding))
        height, width = ((side + 2 * padding - each) // stride + 1 for side, each in zip((height, width), kernel, strict=True))
        channels = outputs
        layers += [normalisation(rng, channels, dtype)] if rng.random() < 0.5 else []
        layers += [ReLU()] if rng.random() < 0.8 else []
        layers += [normalisation(rng, channels, dtype)] if rng.random() < 0.2 else []
        if pooled and rng.random() < 0.6:
            size = int(rng.integers(1, min(3, height, width) + 1))
            layers.append(MaxPool(size))
            height, width = height // size, width // size
        layers += [Dropout(0.3)] if rng.random() < 0.3 else []
    return [*layers, Flat()], height * width * channels


def network(rng, shape, classes, end, dtype=np.float64, pooled=True):
    layers, features = convolutions(rng, shape, dtype, pooled)
    if end == "cerebellum":
        wiring = Wiring(drawn(rng, (7, 2), dtype), np.sort(rng.integers(0, features, (7, 2)), axis=1).astype(np.int32), features)
        reader = CerebellarNetwork(wiring, rng.random(7).astype(dtype) / 3, drawn(rng, (7, classes), dtype))
        return Sequential((Sequential(tuple(layers)), reader))
    for _ in range(0 if end == "linear" else rng.integers(1, 3)):
        layers.append(Dense(drawn(rng, (5, features), dtype), drawn(rng, 5, dtype)))
        layers += [normalisation(rng, 5, dtype)] if end == "normalised" else []
        layers += [ReLU(), Dropout(0.5)]
        features = 5
    return Sequential((*layers, Dense(drawn(rng, (classes, features), dtype), drawn(rng, classes, dtype))))


def images_of(rng, shape, count, dtype):
    inputs = math.prod(shape)
    return np.where(rng.random((count, inputs)) < 0.3, 0, rng.random((count, inputs))).astype(dtype)


def points_of(rng, x, epsilon, norm, count):
    """Images of the region around x: random ones, and where each pixel is at one of its ends."""
    low, high = np.maximum(x - epsilon, 0), np.minimum(x + epsilon, 1)
    inner, ends = rng.uniform(low, high, (count, len(x))), np.where(rng.random((count, len(x))) < 0.5, low, high)
    points = np.vstack((inner, ends, [x]))
    if norm == "l2":
        away = points - x
        points = x + away * np.minimum(1, epsilon / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-300))
    return points


def margins_of(model, points, label):
    outputs = model.forward(points)[0]
    return outputs[:, label] - np.delete(outputs, label, axis=1).max(axis=1)


shapes = st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 3))
seeds = st.integers(0, 2**32)


@settings(max_examples=120)
@given(
    shapes,
    st.integers(2, 4),
    st.sampled_from(ENDS),
    st.sampled_from([0.0, 0.003, 0.03, 0.3]),
    st.sampled_from(NORMS),
    st.sampled_from([np.float32, np.float64]),
    seeds,
)
def test_no_point_of_the_region_has_a_smaller_margin(shape, classes, end, epsilon, norm, dtype, seed):
    rng = generator(seed, "convolutions of a test")
    model, x = network(rng, shape, classes, end, dtype), images_of(rng, shape, 3, dtype)
    labels = model.forward(x)[0].argmax(axis=1)
    crown, interval = (certify(model, x, labels, epsilon, norm, method).margin for method in METHODS)
    for image, label in enumerate(labels):
        found = margins_of(model, points_of(rng, x[image], epsilon, norm, 100).astype(dtype), label).min()
        assert max(crown[image], interval[image]) <= found
    assert (crown >= interval - 1e-9 * (1 + abs(interval))).all()


@settings(max_examples=50)
@given(shapes, st.sampled_from(ENDS), st.sampled_from([0.003, 0.01, 0.03]), st.sampled_from(NORMS), seeds)
def test_no_image_is_both_certified_and_broken(shape, end, epsilon, norm, seed):
    rng = generator(seed, "attacked convolutions of a test")
    model, x = network(rng, shape, 3, end, np.float32), images_of(rng, shape, 8, np.float32)
    labels = model.forward(x)[0].argmax(axis=1)
    certified = certify(model, x, labels, epsilon, norm).certified
    for method, steps, targets in (("apgd", 20, 0), ("fab", 10, 2)):
        attack = Attack(method, "margin", epsilon, steps=steps, targets=targets, norm=norm)
        (attacked,) = attack_images(model, attack, x, labels, np.arange(8))
        assert not (attacked.success & certified).any()


# -- the same network written densely ----------------------------------------------------------------------------------------


def densely(model):
    """Every layer without pooling as a dense one: a column of the matrix is what the layer makes of one input alone."""
    layers, shape = [], None
    for layer in model.layers:
        shape = layer.shape if isinstance(layer, Images) else shape
        if isinstance(layer, (Images, Convolution, BatchNorm)):
            inputs = math.prod(shape)
            each = np.vstack((np.zeros((1, inputs)), np.eye(inputs)))
            columns = layer.forward(each if isinstance(layer, Images) else each.reshape(inputs + 1, *shape))[0]
            shape, columns = columns.shape[1:], columns.reshape(inputs + 1, -1)
            layers.append(Dense((columns[1:] - columns[0]).T.copy(), columns[0].copy()))
        elif isinstance(layer, Flat):
            shape = (math.prod(shape),)
        elif not isinstance(layer, Dropout):
            layers.append(layer)
    return Sequential(tuple(layers))


@settings(max_examples=60)
@given(shapes, st.sampled_from(["linear", "perceptron"]), st.sampled_from([0.0, 0.01, 0.1]), st.sampled_from(NORMS), seeds)
def test_the_bounds_are_those_of_the_same_network_written_densely(shape, end, epsilon, norm, seed):
    rng = generator(seed, "dense forms of a test")
    model, x = network(rng, shape, 3, end, pooled=False), images_of(rng, shape, 3, np.float64)
    dense = densely(model)
    outputs = model.forward(x)[0]
    assert np.allclose(dense.forward(x)[0], outputs, rtol=1e-9, atol=1e-9)
    labels = outputs.argmax(axis=1)
    interval, expected = (certify(each, x, labels, epsilon, "linf", "interval").margin for each in (model, dense))
    assert np.allclose(interval, expected, rtol=1e-9, atol=1e-9)
    crown, tighter = (certify(each, x, labels, epsilon, norm).margin for each in (model, dense))
    if sum(isinstance(layer, ReLU) for layer in model.layers) == 0:
        assert np.allclose(crown, tighter, rtol=1e-6, atol=1e-6)


def test_one_layer_of_units_is_relaxed_as_it_would_be_densely():
    rng = generator(0, "one layer")
    layers = [Images((6, 5, 2), np.array([0.2, 0.4]), np.array([0.3, 0.5]))]
    layers += [Convolution(drawn(rng, (3, 3, 3, 2), float), drawn(rng, 3, float), 2, 1), normalisation(rng, 3, float), ReLU()]
    model = Sequential((*layers, Flat(), Dense(drawn(rng, (4, 27), float), drawn(rng, 4, float))))
    x = images_of(rng, (6, 5, 2), 20, np.float64)
    labels = model.forward(x)[0].argmax(axis=1)
    found, expected = (certify(each, x, labels, 0.02).margin for each in (model, densely(model)))
    assert np.allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert (found - certify(model, x, labels, 0.02, method="interval").margin).mean() > 0.1


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("end", ENDS)
def test_where_nothing_can_change_sides_the_bound_is_the_margin(norm, end):
    rng = generator(0, "no room")
    model, x = network(rng, (7, 6, 2), 3, end), images_of(rng, (7, 6, 2), 20, np.float64)
    labels = model.forward(x)[0].argmax(axis=1)
    margins = np.array([margins_of(model, x[i : i + 1], label)[0] for i, label in enumerate(labels)])
    assert np.allclose(certify(model, x, labels, 0.0, norm).margin, margins, rtol=0, atol=1e-2 * margins.max())


def test_normalisation_becomes_part_of_the_convolution_before_it():
    model = initial_convolutional(
        (8, 8), 3, 0, stages=((2, 3),), hidden=(4,), batch_norm=True, dropout=(0.2, 0.5), normalisation=(np.ones(1), np.ones(1))
    )
    steps = [type(step).__name__ for step in affine_network_of(model).convolutions.steps]
    assert steps == ["Scaled", "Convolved", "Rectified", "Convolved", "Rectified", "Pooled"]
    assert [shape[2] for shape in affine_network_of(model).convolutions.shapes] == [1, 1, 2, 2, 3, 3, 3]


def test_a_ball_is_less_than_its_box():
    rng = generator(0, "balls and boxes")
    first = Images((6, 6, 1), np.zeros(1), np.ones(1)), Convolution(drawn(rng, (2, 3, 3, 1), float), np.zeros(2))
    model = Sequential((*first, ReLU(), MaxPool(2), Flat(), Dense(drawn(rng, (3, 8), float), np.zeros(3))))
    x = images_of(rng, (6, 6, 1), 10, np.float64)
    labels = model.forward(x)[0].argmax(axis=1)
    for method in METHODS:
        ball, box = (certify(model, x, labels, 0.1, norm, method).margin for norm in ("l2", "linf"))
        assert (ball > box + 0.1).all()


# -- rounding, blocks, devices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [-1, 1])
def test_rounding_in_a_convolution_reaches_the_outputs(monkeypatch, sign):
    """A long sum that cancels, normalised by a small deviation, then one unit."""
    monkeypatch.setattr("minicereb.certificates.certify.with_rounding", lambda epsilon, norm, inputs: epsilon)
    rng = generator(0, "long sums")
    weight = rng.normal(size=(1, 20, 20, 4)).astype(np.float32)
    norm = BatchNorm(*(np.full(1, value, dtype=np.float32) for value in (1, 0.1, 0, 1e-4)))
    first = Sequential((Images((20, 20, 4), np.zeros(4, dtype=np.float32), np.ones(4, dtype=np.float32)),))
    last = Dense(np.array([[sign], [0]], dtype=np.float32), np.zeros(2, dtype=np.float32))
    model = Sequential((first, Convolution(weight, np.zeros(1, dtype=np.float32)), norm, ReLU(), Flat(), last))
    x, along = rng.random((200, 1600)), weight.reshape(-1).astype(np.float64)
    for _ in range(50):
        x = np.clip(x - np.outer(x @ along, along) / (along**2).sum(), 0, 1)
    x, labels = x.astype(np.float32), np.zeros(200, dtype=np.int64)
    for method in METHODS:
        assert (certify(model, x, labels, 0.0, method=method).margin <= margins_of(model, x, 0)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_blocks_and_threads_change_nothing_but_rounding(monkeypatch, norm):
    rng = generator(1, "blocks of a test")
    model, x = network(rng, (6, 6, 2), 4, "perceptron"), images_of(rng, (6, 6, 2), 12, np.float64)
    labels = model.forward(x)[0].argmax(axis=1)
    configure(threads=1)
    whole = certify(model, x, labels, 0.02, norm).margin
    configure(threads=3)
    assert np.array_equal(certify(model, x, labels, 0.02, norm).margin, whole)
    monkeypatch.setattr("minicereb.certificates.certify.IMAGES", 2)
    monkeypatch.setattr("minicereb.certificates.convolutional.ACTIVITY_BYTES", 1)
    backend._execution = dataclasses.replace(backend._execution, memory=4096)
    assert np.allclose(certify(model, x, labels, 0.02, norm).margin, whole, rtol=1e-9, atol=1e-9)


def test_a_convolution_is_never_made_a_matrix(monkeypatch):
    """A network of large images: nothing that is asked for is as large as its first layer written densely."""
    asked = []
    apply = Convolved.apply
    monkeypatch.setattr(Convolved, "apply", lambda step, h: asked.append(h.size) or apply(step, h))
    model = initial_convolutional(
        (64, 64), 3, 0, stages=((4,),), hidden=(), batch_norm=True, dropout=(0, 0), normalisation=(np.zeros(1), np.ones(1))
    )
    certify(model, np.zeros((1, 4096), dtype=np.float32), np.zeros(1, dtype=np.int64), 0.01)
    assert asked == [4096]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("method", METHODS)
def test_on_every_device(xp_device, norm, method):
    def model():
        settings = {"stages": ((3, 4),), "hidden": (5,), "batch_norm": True, "dropout": (0.2, 0.5)}
        return initial_convolutional((8, 8), 3, 0, normalisation=(np.zeros(1), np.ones(1)), **settings)

    x = images_of(generator(0, "device"), (8, 8, 1), 4, np.float32)
    labels = np.arange(4) % 3
    found = certify(model(), to_device(x), to_device(labels), 0.01, norm, method)
    assert type(found.margin) is np.ndarray
    configure(device="cpu")
    assert np.allclose(found.margin, certify(model(), x, to_numpy(labels), 0.01, norm, method).margin, rtol=1e-6, atol=1e-9)


# -- what cannot be certified ------------------------------------------------------------------------------------------------


class Skipped:
    """Something new."""


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ((Skipped(), Flat()), "no bounds are known for Skipped among convolutions"),
        ((ReLU(),), "the features of convolutions must be flattened into rows"),
        ((Flat(), ReLU()), "the outputs must be an affine map, without an activation"),
    ],
)
def test_a_model_without_a_certificate_says_why(layers, reason):
    assert why_not_certifiable(Sequential((Images((2, 2, 1), np.zeros(1), np.ones(1)), *layers))) == reason
