"""The papers' equations as printed: against loops and finite differences, against the engine, and in their examples."""

import doctest
import itertools

import numpy as np
import pytest
from scipy.sparse import csr_array

from minicereb.calculus import cerebellum, likelihood_ratio
from minicereb.calculus.activations import Activation, threshold
from minicereb.calculus.dense import dense_weight_gradient
from minicereb.calculus.losses import squared_error
from minicereb.calculus.noise import Gaussian, conditional_score
from minicereb.calculus.replicated import OfRows
from minicereb.gradcheck.differences import check_gradient
from minicereb.learning.estimators import ESTIMATORS
from minicereb.learning.optimizers import SGD
from minicereb.learning.plasticity import DeltaRule
from minicereb.models.convolutional import Convolution
from minicereb.models.noisy import NoisyLayer, NoisyNetwork


@pytest.fixture
def rng():
    return np.random.Generator(np.random.PCG64(5))


@pytest.mark.parametrize("module", [cerebellum, likelihood_ratio], ids=lambda module: module.__name__)
def test_the_examples_in_the_docstrings_are_right(module):
    results = doctest.testmod(module)
    assert results.attempted > 10
    assert results.failed == 0


def test_the_forward_pass_against_loops(rng):
    x, J = rng.standard_normal((4, 3)), rng.standard_normal((3, 5))
    h = cerebellum.granule(x, J)
    mean, W = rng.random(5), rng.standard_normal((5, 2))
    after, outputs = cerebellum.ltd_mean(mean, h, 0.9), cerebellum.purkinje(h, mean, W)
    for image in range(4):
        for cell in range(5):
            assert np.isclose(h[image, cell], max(sum(J[i, cell] * x[image, i] for i in range(3)), 0))
        for output in range(2):
            total = sum(W[cell, output] * (h[image, cell] - mean[cell]) for cell in range(5))
            assert np.isclose(outputs[image, output], total)
    for cell in range(5):
        assert np.isclose(after[cell], 0.9 * mean[cell] + 0.1 * sum(h[:, cell]) / 4)
    assert np.allclose(cerebellum.granule(x, csr_array(J)), h, rtol=1e-14, atol=1e-15)


def test_the_gradients_against_finite_differences(rng):
    x, J, W = rng.random((4, 3)), rng.standard_normal((3, 5)), rng.standard_normal((5, 2))
    mean, targets = rng.random(5), np.eye(2)[[0, 1, 1, 0]]

    def value(x, W):
        return float(cerebellum.loss(cerebellum.purkinje(cerebellum.granule(x, J), mean, W), targets)[0].mean())

    h = cerebellum.granule(x, J)
    _, error = cerebellum.loss(cerebellum.purkinje(h, mean, W), targets)
    by_readout = cerebellum.readout_gradient(h, mean, error)
    by_input = cerebellum.input_gradient(error / 4, h, J, W)
    assert check_gradient(lambda changed: value(x, changed), by_readout, W).error < 1e-7
    assert check_gradient(lambda changed: value(changed, W), by_input, x).error < 1e-7


@pytest.mark.parametrize("kind", ["random", "full"])
def test_model_and_delta_rule_equal_the_equations(build_cerebellum, draw_images, kind):
    """In float64, to 1e-13: only the order of the sums differs. Whole training runs: tests/learning/test_plasticity.py."""
    model, (x, labels) = build_cerebellum(cells=300, kind=kind), draw_images(10)
    data, indices, starts = model.wiring.csr()
    J = csr_array((data, indices, starts), shape=(model.wiring.cells, model.wiring.width)).T
    W, h = model.readout.copy(), cerebellum.granule(x, J)
    outputs, cache = model.forward(x)
    value, error = squared_error(outputs, labels)
    assert np.allclose(outputs, cerebellum.purkinje(h, model.ltd_mean, W), rtol=0, atol=1e-13)
    expected = cerebellum.input_gradient(error, h, J, W)
    assert np.allclose(model.input_gradient(error, cache), expected, rtol=0, atol=1e-13 * np.abs(expected).max())
    mean = cerebellum.ltd_mean(model.ltd_mean, h, 0.9)
    value, error = cerebellum.loss(cerebellum.purkinje(h, mean, W), np.eye(W.shape[1])[labels])
    (learned,) = DeltaRule(model, SGD(1.0), 10, 0.9).learn(x, labels)
    assert np.allclose(learned.loss, value, rtol=1e-13, atol=0)
    assert np.allclose(model.ltd_mean, mean, rtol=0, atol=1e-14)
    assert np.allclose(W - model.readout, cerebellum.readout_gradient(h, mean, error), rtol=0, atol=1e-13)


def network_of(rng, activation):
    """Two layers with Gaussian noise; images and labels."""
    layers = []
    for shape, phi in (((4, 3), activation), ((2, 4), None)):
        weight, bias = rng.standard_normal(shape), rng.standard_normal(shape[0])
        layers.append(NoisyLayer(weight, bias, np.array([0.7]), Gaussian(), phi))
    return NoisyNetwork(tuple(layers)), rng.random((1, 3)), np.array([1])


def rows(array):
    """(neurons, 1 image, replications) as (replications, neurons)."""
    return array[:, 0].T


def test_the_plain_estimator_equals_loss_times_score(rng):
    network, x, labels = network_of(rng, Activation("threshold"))
    first, last = network.layers
    noise = tuple(rng.standard_normal((width, 1, 50)) for width in network.widths)
    r = [rows(e) * 0.7 for e in noise]
    v, h = likelihood_ratio.noisy_layer(x.repeat(50, axis=0), first.weight, first.bias, r[0], threshold)
    _, outputs = likelihood_ratio.noisy_layer(h, last.weight, last.bias, r[1], lambda v: v)
    losses, _ = squared_error(outputs, labels.repeat(50))
    scores = [likelihood_ratio.gaussian_score(each, 0.7) for each in r]
    trace = network.run(x.T, noise)
    assert np.allclose(rows(trace.signals[0]), v, rtol=1e-13)
    piece = ESTIMATORS["plain"].on(network, OfRows(squared_error), x.T, labels, noise, False)
    credit = likelihood_ratio.likelihood_ratio_gradient(losses, scores[0], np.ones((50, 1)))
    assert np.allclose(piece.first_credit, credit.T, rtol=1e-12)
    by_weight = likelihood_ratio.likelihood_ratio_gradient(losses, scores[1], h)
    assert np.allclose(piece.gradients[1]["weight"], by_weight, rtol=1e-12, atol=1e-14)


def test_backpropagation_along_noise_equals_the_equations(rng):
    network, x, labels = network_of(rng, Activation("sigmoid"))
    first, last = network.layers
    noise = tuple(rng.standard_normal((width, 1, 50)) for width in network.widths)
    sigmoid, many = first.activation, x.repeat(50, axis=0)
    v, h = likelihood_ratio.noisy_layer(many, first.weight, first.bias, rows(noise[0]) * 0.7, sigmoid)
    _, outputs = likelihood_ratio.noisy_layer(h, last.weight, last.bias, rows(noise[1]) * 0.7, lambda v: v)
    _, d_outputs = squared_error(outputs, labels.repeat(50))
    d_v = likelihood_ratio.signal_gradient(d_outputs, last.weight, sigmoid.derivative(v))
    piece = ESTIMATORS["backprop"].on(network, OfRows(squared_error), x.T, labels, noise, False)
    assert np.allclose(piece.first_credit, d_v.mean(axis=0), rtol=1e-12)
    assert np.allclose(piece.gradients[1]["weight"], dense_weight_gradient(d_outputs, h)[0] / 50, rtol=1e-12)


def test_the_likelihood_ratio_of_a_shared_weight_against_the_sum_over_all_patterns(rng):
    """Four threshold units share a kernel: the mean of the estimate over every pattern is the derivative of the mean loss."""
    image, scale = rng.standard_normal((1, 3, 3, 1)), 0.7
    weight, bias = rng.standard_normal((1, 2, 2, 1)), rng.standard_normal(1)
    fires = np.array(list(itertools.product((0.0, 1.0), repeat=4))).reshape(16, 2, 2, 1)
    losses = rng.random(16)

    def probabilities(weight, bias):
        p = Gaussian().distribution(Convolution(weight, bias).forward(image)[0] / scale)
        return np.where(fires > 0, p, 1 - p).prod(axis=(1, 2, 3))

    layer, p = Convolution(weight, bias), probabilities(weight, bias)
    drive = layer.forward(image)[0]
    score = conditional_score(Gaussian(), fires, drive / scale) / scale  # mean of s(r) given the pattern
    for baseline in (0.0, losses.mean()):
        credit = likelihood_ratio.unit_credit(losses, baseline, score) * p[:, None, None, None]
        found = likelihood_ratio.shared_weight_gradient(credit, image.repeat(16, axis=0), layer.weight_gradient, 1)
        assert check_gradient(lambda changed: float(probabilities(changed, bias) @ losses), found["weight"], weight).error < 1e-7
        assert check_gradient(lambda changed: float(probabilities(weight, changed) @ losses), found["bias"], bias).error < 1e-7
