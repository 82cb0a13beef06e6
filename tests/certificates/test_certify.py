"""No certificate may exceed what is found in the region, by points, corners or grids; and some must reach it."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicereb import backend
from minicereb.attacks.ball import ROUNDING
from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import configure, to_device, to_numpy
from minicereb.calculus.activations import Activation
from minicereb.certificates import bounds
from minicereb.certificates import certify as module
from minicereb.certificates.affine import affine_network_of, why_not_certifiable
from minicereb.certificates.certify import certify
from minicereb.certificates.region import Region
from minicereb.errors import InputError
from minicereb.models.cerebellum import CerebellarNetwork, initial_cerebellum
from minicereb.models.layers import Dense, ReLU
from minicereb.models.mlp import initial_mlp
from minicereb.models.noisy import NoisyLayer, NoisyNetwork
from minicereb.models.sequential import Sequential
from minicereb.models.wiring import Wiring, draw_wiring
from minicereb.randomness import generator

UNITS = [Activation("threshold"), Activation("absolute"), Activation("sigmoid"), Activation("sigmoid", 20.0)]
KINDS = ["relu", "cerebellum", "threshold fibres", "encoder and cerebellum", *UNITS]
NORMS, METHODS = ["linf", "l2"], ["crown", "interval"]


def dense(rng, inputs, outputs, dtype=np.float64):
    return Dense(rng.normal(size=(outputs, inputs)).astype(dtype), rng.normal(size=outputs).astype(dtype) / 2)


def cerebellum(rng, inputs, classes, dtype=np.float64):
    """With full wiring, or with few inputs a cell, of which some may be drawn twice."""
    cells, per_cell = int(rng.integers(1, 30)), int(rng.integers(1, inputs + 1))
    drawn = np.sort(rng.integers(0, inputs, (cells, per_cell)), axis=1).astype(np.int32)
    full = rng.random() < 0.5
    weights = rng.normal(size=(cells, inputs if full else per_cell)).astype(dtype)
    wiring = Wiring(weights, None if full else drawn, inputs)
    rest = rng.normal(size=cells).astype(dtype) if rng.random() < 0.5 else None
    wiring = dataclasses.replace(wiring, rest=rest)
    return CerebellarNetwork(wiring, rng.random(cells).astype(dtype) / 3, rng.normal(size=(cells, classes)).astype(dtype))


def network(kind, rng, inputs, hidden, classes, dtype=np.float64):
    widths = [inputs, *hidden, classes]
    if kind == "cerebellum":
        return cerebellum(rng, inputs, classes, dtype)
    if kind == "threshold fibres":
        return dataclasses.replace(cerebellum(rng, inputs, classes, dtype), fires_above=rng.uniform(0.2, 0.8))
    if kind == "encoder and cerebellum":
        encoder = Sequential((dense(rng, inputs, 4, dtype), ReLU()))
        return Sequential((encoder, cerebellum(rng, 4, classes, dtype)))
    pairs = list(itertools.pairwise(widths))
    if kind == "relu":
        return Sequential(tuple(layer for pair in pairs for layer in (dense(rng, *pair, dtype), ReLU()))[:-1])
    layers = []
    for number, pair in enumerate(pairs):
        affine, last = dense(rng, *pair, dtype), number == len(pairs) - 1
        layers.append(NoisyLayer(affine.weight, affine.bias, np.ones(1, dtype=dtype), None, None if last else kind))
    return NoisyNetwork(tuple(layers))


def points_of(rng, x, epsilon, norm, count):
    """Images of the region around x: random ones, the corners of the box, x itself."""
    low, high = np.maximum(x - epsilon, 0), np.minimum(x + epsilon, 1)
    points = np.vstack((rng.uniform(low, high, (count, len(x))), list(itertools.product(*zip(low, high, strict=True))), [x]))
    if norm == "l2":
        away = points - x
        points = x + away * np.minimum(1, epsilon / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-300))
    return points


def margins_of(model, points, label):
    outputs = model.forward(points)[0]
    return outputs[:, label] - np.delete(outputs, label, axis=1).max(axis=1)


@settings(max_examples=400)
@given(
    st.sampled_from(KINDS),
    st.integers(1, 6),
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.integers(2, 4),
    st.sampled_from([0.0, 0.01, 0.1, 0.3, 1.0, 2.0]),
    st.sampled_from(NORMS),
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 2**32),
)
def test_no_point_of_the_region_has_a_smaller_margin(kind, inputs, hidden, classes, epsilon, norm, dtype, seed):
    rng = generator(seed, "networks of a test")
    model = network(kind, rng, inputs, hidden, classes, dtype)
    x = np.where(rng.random((3, inputs)) < 0.3, 0, rng.random((3, inputs))).astype(dtype)
    labels = model.forward(x)[0].argmax(axis=1)
    crown, interval = (certify(model, x, labels, epsilon, norm, method).margin for method in METHODS)
    for image, label in enumerate(labels):
        found = margins_of(model, points_of(rng, x[image], epsilon, norm, 1000).astype(dtype), label).min()
        assert max(crown[image], interval[image]) <= found
    assert (crown >= interval - 1e-9).all()  # deeper layers too are bounded by the better of both


@settings(max_examples=150)
@given(
    st.sampled_from(KINDS),
    st.integers(1, 6),
    st.lists(st.integers(1, 6), min_size=1, max_size=2),
    st.integers(2, 5),
    st.sampled_from([0.01, 0.05, 0.2, 0.6]),
    st.sampled_from(NORMS),
    st.integers(0, 2**32),
)
def test_no_image_is_both_certified_and_broken(kind, inputs, hidden, classes, epsilon, norm, seed):
    """By attacks that search where the margin is smallest, which random points hardly ever meet."""
    rng = generator(seed, "attacked networks of a test")
    model, x = network(kind, rng, inputs, hidden, classes, np.float32), rng.random((8, inputs)).astype(np.float32)
    labels, ids = model.forward(x)[0].argmax(axis=1), np.arange(8)
    certified = certify(model, x, labels, epsilon, norm).certified
    stepped = isinstance(model, NoisyNetwork) or kind == "threshold fibres"  # neither has a derivative of its own
    gradient = "straight-through" if stepped else "analytic"
    for settings_of in (("apgd", "margin", 30, 0), ("fab", "margin", 15, 4), ("square", "margin", 60, 0)):
        method, objective, steps, targets = settings_of
        attack = Attack(method, objective, epsilon, steps=steps, targets=targets, norm=norm, gradient=gradient)
        (attacked,) = attack_images(model, attack, x, labels, ids)
        assert not (attacked.success & certified).any()


@settings(max_examples=40)
@given(
    st.sampled_from(KINDS), st.integers(1, 2), st.sampled_from([0.05, 0.2, 0.6]), st.sampled_from(NORMS), st.integers(0, 2**32)
)
def test_no_point_of_a_fine_grid_has_a_smaller_margin(kind, inputs, epsilon, norm, seed):
    rng = generator(seed, "grids of a test")
    model, x = network(kind, rng, inputs, [5], 3), rng.random(inputs)
    side = np.linspace(np.maximum(x - epsilon, 0), np.minimum(x + epsilon, 1), 101 if inputs == 2 else 4001).T
    points = np.array(list(itertools.product(*side)))
    if norm == "l2":
        points = points[np.linalg.norm(points - x, axis=1) <= epsilon]
    for label in range(3):
        least = certify(model, x[None], np.array([label]), epsilon, norm).margin[0]
        assert least <= margins_of(model, points, label).min()


# -- where the least margin is known -----------------------------------------------------------------------------------------


def linear_oracle(weight, bias, x, labels, epsilon):
    """m_j + Σ_i min(w_i lo_i, w_i hi_i), the least over the wrong classes."""
    w = weight[labels][:, None] - weight
    low, high = np.maximum(x - epsilon, 0) - x, np.minimum(x + epsilon, 1) - x
    m = bias[labels][:, None] - bias + (w * x[:, None]).sum(axis=2)
    m += np.minimum(w * low[:, None], w * high[:, None]).sum(axis=2)
    m[np.arange(len(x)), labels] = np.inf
    return m.min(axis=1)


@pytest.mark.parametrize("epsilon", [0.0, 0.01, 0.2, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_linear_models_have_their_exact_margin(epsilon, method):
    rng = generator(0, "linear models of a test")
    model, x, labels = dense(rng, 9, 4), rng.random((20, 9)), rng.integers(0, 4, 20)
    found = certify(Sequential((model,)), x, labels, epsilon, method=method)
    expected = linear_oracle(model.weight, model.bias, x, labels, epsilon + ROUNDING)
    assert np.allclose(found.margin, expected, rtol=0, atol=1e-11)
    assert np.array_equal(found.certified, expected > 0)


def test_in_l2_linear_models_are_within_a_little_of_the_best_point_that_can_be_found():
    rng = generator(0, "linear models in l2")
    a, x, epsilon = rng.normal(size=(30, 1, 12)), np.where(rng.random((30, 12)) < 0.4, 0, rng.random((30, 12))), 0.5
    region = Region.around(x, epsilon, "l2")
    least = region.least(np.ascontiguousarray(a.transpose(2, 1, 0)))[0]
    inside, outside = np.full((30, 1), 1e4), np.full((30, 1), 1e-6)
    for _ in range(80):
        penalty = np.sqrt(inside * outside)
        d = np.clip(-a[:, 0] / penalty, -x, 1 - x)
        holds = np.linalg.norm(d, axis=1, keepdims=True) <= epsilon
        inside, outside = np.where(holds, penalty, inside), np.where(holds, outside, penalty)
    d = np.clip(-a[:, 0] / inside, -x, 1 - x)
    assert np.linalg.norm(d, axis=1).max() <= epsilon
    best = (a[:, 0] * (x + d)).sum(axis=1)
    assert (least <= best + 1e-12).all()
    assert (best - least < 1e-4).all()
    ball = (a[:, 0] * x).sum(axis=1) - epsilon * np.linalg.norm(a[:, 0], axis=1)
    assert (least > ball + 0.02).any()


def test_the_bound_is_exact_where_no_unit_can_change_sides(build_cerebellum, draw_images):
    x, _ = draw_images(20)
    for model in (
        build_cerebellum(),
        build_cerebellum(kind="full"),
        build_cerebellum(kind="local", k=3),
        build_cerebellum(kind="random", k=9, replacement=True),
    ):
        epsilon = 1e-9
        labels = model.forward(x)[0].argmax(axis=1)
        found = certify(model, x, labels, epsilon).margin
        change, wiring = epsilon + ROUNDING, model.wiring
        for image, label in enumerate(labels):
            j = np.zeros((wiring.cells, wiring.width), dtype=np.float64)
            weights, inputs, _ = wiring.csr()
            np.add.at(j, (np.repeat(np.arange(wiring.cells), wiring.weights.shape[1]), inputs), weights)
            v = j @ x[image]
            if np.abs(v).min() < change * np.abs(j).sum(axis=1).max():
                continue
            slopes = model.readout.T @ (j * (v > 0)[:, None])
            bias = -model.ltd_mean @ model.readout
            expected = linear_oracle(slopes, bias, x[image : image + 1], np.array([label]), change)[0]
            assert found[image] == pytest.approx(expected, abs=1e-10)


def test_the_bound_is_exact_in_deep_networks_too_where_no_unit_can_change_sides():
    rng = generator(0, "deep networks")
    model, x, change = network("relu", rng, 6, [9, 8, 7], 3), rng.random((20, 6)), ROUNDING
    labels, known = model.forward(x)[0].argmax(axis=1), 0
    found = certify(model, x, labels, 0.0).margin
    for image, label in enumerate(labels):
        weight, bias, least = np.eye(6), np.zeros(6), np.inf
        for layer in model.layers:
            if isinstance(layer, Dense):
                weight, bias = layer.weight @ weight, layer.weight @ bias + layer.bias
            else:
                v = weight @ x[image] + bias
                least = min(least, (np.abs(v) - 10 * change * np.abs(weight).sum(axis=1)).min())
                weight, bias = weight * (v > 0)[:, None], bias * (v > 0)
        if least > 0:
            known += 1
            expected = linear_oracle(weight, bias, x[image : image + 1], np.array([label]), change)[0]
            assert found[image] == pytest.approx(expected, abs=1e-10)
    assert known > 10


def test_relaxation_tightens_both_bounds_of_inner_units():
    rng = generator(0, "inner units")
    normal = affine_network_of(network("relu", rng, 6, [20, 20, 20], 3))
    region = Region.around(rng.random((5, 6)), 0.1, "linf")
    crown, interval = (bounds.Bounds(normal, region, method).responses[1] for method in (True, False))
    on = (crown.low > 0) & (interval.low > 0)
    assert (crown.low[on] > interval.low[on] + 1e-3).any()
    assert (crown.high < interval.high - 1e-3).any()
    assert (crown.low >= interval.low - 1e-9).all()
    assert (crown.high <= interval.high + 1e-9).all()


def test_misclassified_images_and_ties_are_never_certified():
    rng = generator(0, "misclassified")
    model = network("relu", rng, 5, [8], 3)
    x = rng.random((50, 5))
    labels = model.forward(x)[0].argmax(axis=1)
    assert certify(model, x, labels, 0.0).certified.all()
    assert not certify(model, x, (labels + 1) % 3, 0.0).certified.any()
    equal = Sequential((Dense(np.zeros((2, 5), dtype=np.float32), np.zeros(2, dtype=np.float32)),))
    assert not certify(equal, x.astype(np.float32), np.zeros(50, dtype=np.int64), 0.0).certified.any()
    with pytest.raises(InputError, match="labels: 7 is not valid; expected indices of the 3 classes"):
        certify(model, x[:1], np.array([7]), 0.0)
    none = certify(model, x[:0], labels[:0], 0.1)
    assert none.margin.shape == none.certified.shape == (0,)


def test_a_larger_ball_is_never_safer():
    rng = generator(0, "larger balls")
    for kind in KINDS:
        model, x = network(kind, rng, 5, [8, 6], 3), rng.random((10, 5))
        labels = model.forward(x)[0].argmax(axis=1)
        one, other = (certify(model, x, labels, epsilon, "l2").margin for epsilon in (0.05, 0.1))
        if kind in ("relu", "cerebellum"):
            assert (other <= one + 1e-9).all()
        # A ball in L2 lies within the one in L∞.
        assert (certify(model, x, labels, 0.1, "linf").margin <= other + 1e-6 + (kind not in ("relu", "cerebellum"))).all()


# -- rounding ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "random"])
def test_outputs_of_large_sums_in_float32_stay_above_the_bound(kind):
    """20,000 cells; the margins of points that the float32 network computes, against bounds that hardly have any other slack."""
    model = initial_cerebellum(draw_wiring(kind, 20_000, (6, 6), 4, 0), 10, 0)
    model = dataclasses.replace(model, ltd_mean=np.full(20_000, 0.2, dtype=np.float32))
    rng = generator(0, "large sums")
    x = rng.random((8, 36), dtype=np.float32)
    labels = model.forward(x)[0].argmax(axis=1)
    found = certify(model, x, labels, 0.0)
    exact = dataclasses.replace(
        model,
        wiring=dataclasses.replace(model.wiring, weights=model.wiring.weights.astype(np.float64)),
        ltd_mean=model.ltd_mean.astype(np.float64),
        readout=model.readout.astype(np.float64),
    )
    for image, label in enumerate(labels):
        points = np.clip(x[image] + rng.uniform(-ROUNDING, ROUNDING, (64, 36)), 0, 1).astype(np.float32)
        computed, true = margins_of(model, points, label), margins_of(exact, points.astype(np.float64), label)
        assert np.abs(computed - true).max() > 0
        assert found.margin[image] <= min(computed.min(), true.min())
        assert found.margin[image] > true.min() - 0.05


def test_a_threshold_unit_that_rounding_may_flip_counts_as_either(monkeypatch):
    """v = x₀ + x₁ - x₂ is 0 but for rounding, which has the last word: what is exactly above 0 may be computed as 0."""
    monkeypatch.setattr(module, "with_rounding", lambda epsilon, norm, inputs: epsilon)
    first = NoisyLayer(
        np.array([[1.0, 1.0, -1.0]], dtype=np.float32), np.zeros(1, dtype=np.float32), np.ones(1), None, Activation("threshold")
    )
    readout, bias = np.array([[1.0], [-1.0]], dtype=np.float32), np.array([-0.5, 0.5], dtype=np.float32)
    model = NoisyNetwork((first, NoisyLayer(readout, bias, np.ones(1), None, None)))
    x = generator(0, "cancelling").random((200, 3), dtype=np.float32) / 2
    x[:, 2] = x[:, 0] + x[:, 1]
    exact = (x.astype(np.float64) @ [1, 1, -1] <= 0).astype(np.int64)
    assert (model.forward(x)[0].argmax(axis=1) != exact).any()
    for label in (0, 1):
        assert not certify(model, x, np.full(200, label), 0.0).certified.any()
    x[:, 2] -= 1e-5
    assert certify(model, x, np.zeros(200, dtype=np.int64), 0.0).certified.all()


@pytest.mark.parametrize("sign", [-1, 1])
def test_rounding_in_the_first_layer_reaches_the_outputs(monkeypatch, sign):
    """A long sum that cancels, then one unit: where it is on, its rounding is the only one that counts."""
    monkeypatch.setattr(module, "with_rounding", lambda epsilon, norm, inputs: epsilon)
    rng = generator(0, "long sums")
    first = Dense(rng.normal(size=(1, 3000)).astype(np.float32), np.full(1, 0.5, dtype=np.float32))
    last = Dense(np.array([[sign], [0]], dtype=np.float32), np.array([0, 0], dtype=np.float32))
    model, x = Sequential((first, ReLU(), last)), rng.random((200, 3000), dtype=np.float32)
    x -= np.outer(x @ first.weight[0], first.weight[0]) / (first.weight[0] ** 2).sum()
    x = np.clip(x, 0, 1)
    labels = np.zeros(200, dtype=np.int64)
    for method in METHODS:
        assert (certify(model, x, labels, 0.0, method=method).margin <= margins_of(model, x, 0)).all()


# -- the same, whatever the blocks, threads and device -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["relu", "cerebellum", "encoder and cerebellum", UNITS[0]], ids=str)
@pytest.mark.parametrize("norm", NORMS)
def test_blocks_and_threads_change_nothing_but_rounding(monkeypatch, kind, norm):
    rng = generator(1, "blocks of a test")
    model, x = network(kind, rng, 6, [25, 20], 4), rng.random((30, 6))
    labels = model.forward(x)[0].argmax(axis=1)
    configure(threads=1)
    whole = certify(model, x, labels, 0.05, norm)
    configure(threads=3)
    assert np.array_equal(certify(model, x, labels, 0.05, norm).margin, whole.margin)
    monkeypatch.setattr(module, "IMAGES", 2)
    monkeypatch.setattr(bounds, "PART_NUMBERS", 1)
    backend._execution = dataclasses.replace(backend._execution, memory=4096)
    assert np.allclose(certify(model, x, labels, 0.05, norm).margin, whole.margin, rtol=0, atol=1e-10)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["full", "random", "perceptron", "threshold", "sigmoid"])
def test_on_every_device(xp_device, build_cerebellum, draw_images, kind, norm, method):
    def build():
        if kind == "perceptron":
            return initial_mlp(30, (8, 6), 3, 0)
        if kind in ("threshold", "sigmoid"):
            layers = [dense(generator(0, "device"), *pair, np.float32) for pair in ((30, 8), (8, 3))]
            activations = (Activation(kind), None)
            return NoisyNetwork(
                tuple(
                    NoisyLayer(to_device(layer.weight), to_device(layer.bias), to_device(np.ones(1)), None, activation)
                    for layer, activation in zip(layers, activations, strict=True)
                )
            )
        return build_cerebellum(kind=kind, dtype=np.float32)

    x, labels = draw_images(12, dtype=np.float32)
    found = certify(build(), x, labels, 0.03, norm, method)
    assert type(found.margin) is type(found.certified) is np.ndarray
    assert found.margin.dtype == np.float64
    configure(device="cpu")
    expected = certify(build(), to_numpy(x), to_numpy(labels), 0.03, norm, method)
    assert np.allclose(found.margin, expected.margin, rtol=0, atol=1e-9)


# -- what cannot be certified ------------------------------------------------------------------------------------------------


class Convolution:
    """Something new."""


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Convolution(), "no bounds are known for Convolution"),
        (Sequential((Convolution(), ReLU())), "no bounds are known for Convolution"),
        (Sequential((dense(generator(0, "a"), 3, 2), ReLU())), "the outputs must be an affine map, without an activation"),
        (Sequential(()), "the outputs must be an affine map, without an activation"),
        (
            network(Activation("log-absolute"), generator(0, "a"), 3, [4], 2),
            "no bounds are known for the activation log-absolute",
        ),
    ],
)
def test_a_model_without_a_certificate_says_why(model, reason):
    assert why_not_certifiable(model) == reason
    with pytest.raises(InputError, match=f"a model with a certificate: {reason}"):
        certify(model, np.zeros((1, 3)), np.zeros(1, dtype=np.int64), 0.1)


@pytest.mark.parametrize("setting", [{"epsilon": -0.1}, {"epsilon": np.nan}, {"norm": "l1"}, {"method": "milp"}])
def test_settings_are_checked(setting):
    model = Sequential((dense(generator(0, "a"), 3, 2),))
    arguments = {"epsilon": 0.1} | setting
    with pytest.raises(InputError, match=next(iter(setting))):
        certify(model, np.zeros((1, 3)), np.zeros(1, dtype=np.int64), **arguments)


def test_units_may_follow_each_other_and_come_first():
    rng = generator(0, "odd orders")
    model = Sequential((ReLU(), dense(rng, 4, 5), dense(rng, 5, 5), ReLU(), ReLU(), dense(rng, 5, 3)))
    x = rng.random((10, 4))
    labels = model.forward(x)[0].argmax(axis=1)
    for image, least in enumerate(certify(model, x, labels, 0.1).margin):
        assert least <= margins_of(model, points_of(rng, x[image], 0.1, "linf", 500), labels[image]).min()
