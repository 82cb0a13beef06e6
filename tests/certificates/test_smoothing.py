"""The smoothing certificate against networks whose probabilities are known, and against every point of a ball."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from minicereb.attacks.ball import ROUNDING
from minicereb.backend import configure, to_device, to_numpy
from minicereb.calculus.activations import Activation
from minicereb.calculus.noise import Gaussian, Laplace
from minicereb.certificates.smoothing import (
    SampledAnswers,
    linf_radius,
    noisy_answers,
    probability_bounds,
    signal_shift,
    smoothing_certificate,
    why_not_smoothable,
)
from minicereb.errors import InputError
from minicereb.models.mlp import initial_mlp
from minicereb.models.noisy import NoisyLayer, NoisyNetwork, initial_noisy
from minicereb.models.noisy_convolution import NoisyConvolution
from minicereb.models.noisy_time import NoisyTime
from minicereb.randomness import generator
from minicereb.statistics import mean_deviation

THRESHOLD = Activation("threshold")
GAIN = 40.0  # of the outputs of `neuron`: its probabilities are 0 or 1 to float32


def neuron(weight, bias, sigma):
    """One noisy threshold neuron, read out as class 1 if it fires and as class 0 if not."""
    weight = np.asarray(weight, dtype=np.float32)[None]
    first = NoisyLayer(weight, np.array([bias], dtype=np.float32), np.array([sigma], dtype=np.float32), Gaussian(), THRESHOLD)
    readout = np.array([[-GAIN], [GAIN]], dtype=np.float32)
    second = NoisyLayer(readout, np.array([GAIN / 2, -GAIN / 2], dtype=np.float32), np.ones(1, dtype=np.float32), None, None)
    return NoisyNetwork((first, second))


def fires(model, x):
    """Exact probability that the neuron fires."""
    layer = model.layers[0]
    return stats.norm.cdf((x @ layer.weight[0] + layer.bias[0]) / layer.scale[0])


@pytest.mark.parametrize("predictor", ["votes", "probabilities"])
def test_of_one_threshold_neuron_the_radius_is_the_distance_to_the_plane(predictor):
    """p = Φ(u/σ): the mean answer changes where u = 0, at a distance |u|/‖w‖ in L2 and |u|/‖w‖₁ in L∞."""
    model = neuron([0.6, -0.8, 0.2], 0.3, 0.5)
    x = generator(0, "images of a neuron").random((40, 3)).astype(np.float32)
    u = x @ model.layers[0].weight[0] + model.layers[0].bias[0]
    labels, ids = (u > 0).astype(np.int64), np.arange(40)
    for norm, length in (("l2", np.linalg.norm([0.6, -0.8, 0.2])), ("linf", 1.6)):
        found = smoothing_certificate(model, x, labels, ids, 0.05, norm, 4096, predictor=predictor)
        distance = np.abs(u) / length
        if norm == "linf":  # of images that the ball reaches before the box
            inside = distance < np.minimum(x, 1 - x).min(axis=1)
            assert (found.radius <= distance)[inside].all()
        else:
            assert (found.radius <= distance).all()
            near = (distance > 0.1) & (distance < 0.8)
            assert (found.radius > distance - 0.12)[near].all()
        assert np.array_equal(found.certified, found.radius > 0.05 + ROUNDING)
        assert found.certified.any()
        one = int(found.certified.argmax())
        largest = float(found.radius[one]) - ROUNDING / 2  # so near the radius that rounding may carry an image across
        again = smoothing_certificate(model, x, labels, ids, largest, norm, 4096, predictor=predictor)
        assert not again.certified[one]
        assert np.array_equal(again.radius, found.radius)
    wrong = smoothing_certificate(model, x, 1 - labels, ids, 0.0, "l2", 256, predictor=predictor)
    assert not wrong.certified.any()
    assert (wrong.radius == 0).all()


def test_the_shift_and_the_linf_radius_have_their_closed_forms():
    model = neuron([0.6, -0.8, 0.0], 0.0, 0.5)
    label, rival = np.array([0.9, 0.6, 0.5, 0.2, 1.0]), np.array([0.1, 0.3, 0.5, 0.8, 0.0])
    shift = signal_shift(model, label, rival)
    expected = 0.25 * (stats.norm.ppf(label[:2]) - stats.norm.ppf(rival[:2]))
    assert np.allclose(shift, [*expected, 0, 0, np.inf])
    middle = np.full((5, 3), 0.5)
    assert np.allclose(linf_radius(model, middle, shift), [expected[0] / 1.4, expected[1] / 1.4, 0, 0, np.inf], atol=1e-8)
    # A black image can only become lighter: of the two weights one counts at a time.
    assert np.allclose(linf_radius(model, np.zeros((5, 3)), shift)[:2], expected / 0.8, atol=1e-8)
    several = dataclasses.replace(model.layers[0], weight=np.array([[3.0, 4.0], [0.0, 1.0]]), scale=np.ones(1))
    wide = NoisyNetwork((several, model.layers[1]))
    assert linf_radius(wide, np.full((1, 2), 0.5), np.array([0.5]))[0] == pytest.approx(0.5 / 50**0.5, abs=1e-8)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_within_the_radius_the_mean_answer_stays(norm):
    """Exact answers of a threshold network with 6 hidden units and silent outputs, at random points and corners of each ball."""
    model = initial_noisy(
        4, (6,), 3, 0, activation=THRESHOLD, law=Gaussian(), scales=(0.6,), output_noise=False, output_activation=False
    )
    rng = generator(0, "a small network")
    for layer, gain in zip(model.layers, (12, 25), strict=True):
        layer.weight[...] *= gain
    patterns = np.array(np.meshgrid(*[[0, 1]] * 6)).reshape(6, -1).T
    outputs = patterns @ model.layers[1].weight.T + model.layers[1].bias
    softmax = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)

    def mean(points):
        p = stats.norm.cdf((points @ model.layers[0].weight.T + model.layers[0].bias) / 0.6)[:, None]
        return np.where(patterns == 1, p, 1 - p).prod(axis=2) @ softmax

    x = rng.random((30, 4)).astype(np.float32)
    labels = mean(x).argmax(axis=1)
    found = smoothing_certificate(model, x, labels, np.arange(30), 0.0, norm, 8192)
    assert (found.radius > 0.01).sum() > 5
    for image, radius in enumerate(found.radius):
        if radius > 0:
            away = rng.uniform(-1, 1, (3000, 4))
            away[1000:] = np.sign(away[1000:])
            away *= min(radius, 1) / (np.linalg.norm(away, axis=1, keepdims=True) if norm == "l2" else 1)
            assert (mean(np.clip(x[image] + away, 0, 1)).argmax(axis=1) == labels[image]).all()


@pytest.mark.parametrize("predictor", ["votes", "probabilities"])
def test_the_bounds_hold_as_often_as_they_say(predictor):
    """Over 3,000 samples of three classes at risk 0.2; false alarm below 1e-6 if each fails with probability 0.2 at most."""
    risk, samples, draws = 0.2, 3000, 300
    answers = generator(0, "answers of a test").multinomial(1, [0.5, 0.3, 0.2], (samples, draws))
    share = 0.8 * answers + 0.2 / 3  # probabilities that a run of answers might have
    drawn = SampledAnswers(share.mean(axis=1), share.var(axis=1, ddof=1), answers.sum(axis=1))
    expected = np.array([0.5, 0.3, 0.2]) * (1 if predictor == "votes" else 0.8) + (0 if predictor == "votes" else 0.2 / 3)
    label, rival = probability_bounds(drawn, np.zeros(samples, dtype=np.int64), draws, risk, predictor)
    if predictor == "probabilities":
        deviation = mean_deviation(drawn.variance[:, 0], draws, risk / 3)
        assert np.allclose(drawn.mean[:, 0] - label, deviation, rtol=0, atol=1e-5)
    failed = (label > expected[0]) | (rival < expected[1])
    assert failed.sum() <= stats.binom.isf(1e-6, samples, risk)
    assert (expected[0] - label).mean() < 0.12
    assert (rival - expected[1]).mean() < 0.12
    assert (label + rival <= 1 + 1e-12).all()


def test_the_draws_are_the_networks_probabilities_and_depend_on_the_images_number_alone():
    model = neuron([1.0, -1.0], 0.1, 0.7)
    x = generator(0, "images of a test").random((5, 2)).astype(np.float32)
    draws = noisy_answers(model, x, np.arange(5), 5000, 0)
    p = fires(model, x)
    error = np.sqrt(p * (1 - p) / 5000)
    assert (np.abs(draws.mean[:, 1] - p) < 5.5 * error).all()  # false alarm below 1e-6
    assert np.allclose(draws.votes[:, 1] / 5000, draws.mean[:, 1], atol=1e-6)
    assert np.allclose(draws.variance[:, 1], draws.mean[:, 1] * (1 - draws.mean[:, 1]) * 5000 / 4999, atol=1e-6)
    assert (draws.votes.sum(axis=1) == 5000).all()
    some = noisy_answers(model, x[[3, 1]], np.array([3, 1]), 5000, 0)
    assert np.array_equal(some.mean, draws.mean[[3, 1]])
    assert not np.array_equal(noisy_answers(model, x, np.arange(5), 5000, 1).mean, draws.mean)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_on_every_device(xp_device, norm):
    def certificate():
        model = initial_noisy(6, (5,), 3, 0, activation=THRESHOLD, law=Gaussian(), scales=(0.5,))
        x = generator(0, "images of a test").random((4, 6)).astype(np.float32)
        return smoothing_certificate(model, to_device(x), to_device(np.array([0, 1, 2, 0])), np.arange(4), 0.01, norm, 3000)

    found = certificate()
    configure(device="cpu")
    assert np.allclose(to_numpy(found.radius), certificate().radius, atol=1e-3)


# -- convolutions and layers with time steps ---------------------------------------------------------------------------------


def convolution(stride=2, pool=2):
    rng = generator(0, "a convolution of a test")
    scale = np.full(1, 0.5, dtype=np.float32)
    shape = (3, 3, 3, 2)
    weight, bias = rng.standard_normal(shape).astype(np.float32), rng.standard_normal(3).astype(np.float32)
    return NoisyConvolution(weight, bias, scale, Gaussian(), THRESHOLD, image=(7, 6, 2), stride=stride, pool=pool)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_convolution_is_bounded_as_its_matrix(stride):
    layer = convolution(stride, 1)
    one_by_one = np.eye(layer.inputs, dtype=np.float64)
    matrix = (layer.drive_of_rows(one_by_one) - layer.drive_of_rows(np.zeros((1, layer.inputs)))).T
    assert layer.gain() == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-12)
    dense = NoisyLayer(matrix, np.zeros(layer.units), layer.scale, layer.law, layer.activation)
    rise, fall = generator(0, "changes of a test").random((2, 5, layer.inputs))
    assert np.allclose(layer.largest_changes(rise, fall), dense.largest_changes(rise, fall), rtol=1e-12)
    up, down = np.maximum(matrix, 0), np.maximum(-matrix, 0)
    largest = np.maximum(rise @ up.T + fall @ down.T, rise @ down.T + fall @ up.T)
    assert np.allclose(dense.largest_changes(rise, fall), largest, rtol=1e-12)


def in_time(whole=False, connected=False, leak=0.75):
    """Two threshold units in three steps, whose mean answer is a sum over 64 paths."""
    rng = generator(8, "units in time of a test")
    weight, bias, connections = (rng.normal(0, size, shape) for size, shape in ((2.5, (2, 2)), (0.4, 2), (1.5, (2, 2))))
    layer = NoisyTime(
        weight.astype(np.float32),
        bias.astype(np.float32),
        np.full(1, 0.6, dtype=np.float32),
        Gaussian(),
        THRESHOLD,
        recurrent=connections.astype(np.float32) if connected else None,
        steps=3,
        whole=whole,
        leak=leak,
        firing=0.25,
        averages=True,
    )
    readout = rng.normal(0, 12, (3, 2)).astype(np.float32)
    return NoisyNetwork((layer, NoisyLayer(readout, np.zeros(3, dtype=np.float32), np.ones(1, dtype=np.float32), None, None)))


PATHS = np.array(np.meshgrid(*[[0, 1]] * 6)).reshape(6, -1).T.reshape(-1, 3, 2)


def drives_along(layer, x, responses):
    """Drives of images in rows along given responses, shape (images, paths, steps, units)."""
    parts = np.stack([x] * 3, axis=1) if layer.whole else x.reshape(len(x), 3, -1)
    m, h, found = 0.0, np.zeros((1, 1, 2)), []
    for t in range(3):
        m = layer.leak * m * (1 - h) + (parts[:, t] @ layer.weight.T + layer.bias)[:, None]
        m = m if layer.recurrent is None else m + h @ layer.recurrent.T
        h = responses[None, :, t]
        found.append(np.broadcast_to(m - layer.firing, (len(x), len(responses), 2)))
    return np.stack(found, axis=2)


def mean_in_time(model, x):
    """Exact mean probabilities of the classes."""
    layer, last = model.layers
    outputs = PATHS.mean(axis=1) @ last.weight.T + last.bias
    softmax = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    p = stats.norm.cdf(drives_along(layer, x, PATHS) / layer.scale[0])
    return np.where(PATHS > 0, p, 1 - p).prod(axis=(2, 3)) @ softmax


SHAPES = [{}, {"whole": True}, {"connected": True, "leak": 0.0}, {"connected": True}]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("shape", SHAPES)
def test_in_time_the_mean_answer_stays_within_the_radius(shape, norm):
    """Mean answers from the sum over all paths, at random points and corners of each ball."""
    model, rng = in_time(**shape), generator(0, "images in time of a test")
    x = rng.random((30, model.layers[0].inputs)).astype(np.float32)
    labels = mean_in_time(model, x).argmax(axis=1)
    found = smoothing_certificate(model, x, labels, np.arange(30), 0.0, norm, 8192)
    assert (found.radius > 0.01).sum() > 5
    for image, radius in enumerate(found.radius):
        if radius > 0:
            away = rng.uniform(-1, 1, (600, x.shape[1]))
            away[200:] = np.sign(away[200:])
            away *= min(radius, 1) / (np.linalg.norm(away, axis=1, keepdims=True) if norm == "l2" else 1)
            assert (mean_in_time(model, np.clip(x[image] + away, 0, 1)).argmax(axis=1) == labels[image]).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_in_time_drives_change_by_no_more_than_the_bounds_along_every_path(shape):
    layer, rng = in_time(**shape).layers[0], generator(0, "changes in time of a test")
    x, changes = rng.random((20, layer.inputs)), rng.uniform(-1, 1, (20, layer.inputs))
    changes[10:] = np.sign(changes[10:])
    moved = drives_along(layer, x + changes, PATHS) - drives_along(layer, x, PATHS)
    bound = layer.largest_changes(np.maximum(changes, 0), np.maximum(-changes, 0)).reshape(20, 1, 3, 2)
    assert (np.abs(moved) <= bound + 1e-9).all()
    length = np.sqrt((moved**2).sum(axis=(2, 3)))
    assert (length <= layer.gain() * np.linalg.norm(changes, axis=1)[:, None] + 1e-9).all()
    alone = NoisyLayer(layer.weight, layer.bias, layer.scale, layer.law, layer.activation)  # a single step has no past
    once = dataclasses.replace(layer, steps=1)
    assert once.gain() == pytest.approx(alone.gain(), rel=1e-12)
    assert np.array_equal(once.largest_changes(x[:, :2], x[:, :2]), alone.largest_changes(x[:, :2], x[:, :2]))


def test_units_that_never_fire_have_the_length_of_a_leaky_sum():
    """Silent units keep everything: with inputs that all rise together the bound of L∞ is attained."""
    layer = dataclasses.replace(in_time().layers[0], weight=np.array([[1.0, 2.0], [0.5, 0.25]]), bias=np.zeros(2))
    silent = np.zeros((1, 3, 2))
    rise = np.full((1, 6), 0.1)
    moved = drives_along(layer, rise, silent) - drives_along(layer, 0 * rise, silent)
    assert np.allclose(layer.largest_changes(rise, rise).reshape(moved.shape), moved, rtol=1e-12)


def test_a_leak_is_certified_only_if_responses_are_from_0_to_1():
    layer, last = in_time().layers
    assert why_not_smoothable(NoisyNetwork((layer, last))) is None
    absolute = dataclasses.replace(layer, activation=Activation("absolute"))
    assert why_not_smoothable(NoisyNetwork((absolute, last))) == (
        "units with a leak are absolute; the certificate is for responses from 0 to 1"
    )
    assert why_not_smoothable(NoisyNetwork((dataclasses.replace(absolute, leak=0.0), last))) is None


def test_a_convolutional_network_is_certified_as_the_dense_network_with_its_matrix():
    layer, rng = convolution(2, 1), generator(0, "images of a convolution")
    matrix = layer.drive_of_rows(np.eye(layer.inputs, dtype=np.float32)) - np.tile(layer.bias, layer.units // 3)
    bias = np.tile(layer.bias, layer.units // 3)
    dense = NoisyLayer(np.ascontiguousarray(matrix.T), bias, layer.scale, layer.law, layer.activation)
    readout = rng.standard_normal((3, layer.units)).astype(np.float32)
    last = NoisyLayer(readout, np.zeros(3, dtype=np.float32), np.ones(1, dtype=np.float32), None, None)
    x, ids = rng.random((6, layer.inputs)).astype(np.float32), np.arange(6)
    labels = NoisyNetwork((layer, last)).forward(x)[0].argmax(axis=1)
    for norm in ("linf", "l2"):
        found, expected = (
            smoothing_certificate(NoisyNetwork((first, last)), x, labels, ids, 0.01, norm, 2000) for first in (layer, dense)
        )
        assert np.allclose(found.radius, expected.radius, atol=1e-4)
        assert found.radius.max() > 0


def test_networks_without_gaussian_noise_say_why():
    build = {"activation": THRESHOLD, "scales": (1.0,)}
    laplace = initial_noisy(3, (4,), 2, 0, law=Laplace(), **build)
    silent = initial_noisy(3, (4,), 2, 0, law=None, **build)
    gaussian = initial_noisy(3, (4,), 2, 0, law=Gaussian(), **build)
    assert why_not_smoothable(gaussian) is None
    assert why_not_smoothable(NoisyNetwork((gaussian.layers[0], laplace.layers[1]))) is None
    assert "laplace; the certificate is for gaussian noise" in why_not_smoothable(laplace)
    assert "absent" in why_not_smoothable(silent)
    assert why_not_smoothable(initial_mlp(3, (4,), 2, 0)) == "Sequential has no noise"
    with pytest.raises(InputError, match="gaussian"):
        smoothing_certificate(laplace, np.zeros((1, 3), dtype=np.float32), np.zeros(1, dtype=np.int64), np.arange(1), 0.1)


@pytest.mark.parametrize(
    "setting",
    [{"epsilon": -1}, {"norm": "l1"}, {"replications": 1}, {"predictor": "mode"}, {"confidence": 1.0}],
)
def test_settings_are_checked(setting):
    model = neuron([1.0], 0.0, 1.0)
    arguments = {"epsilon": 0.1} | setting
    with pytest.raises(InputError, match=next(iter(setting))):
        smoothing_certificate(model, np.zeros((1, 1), dtype=np.float32), np.zeros(1, dtype=np.int64), np.arange(1), **arguments)
