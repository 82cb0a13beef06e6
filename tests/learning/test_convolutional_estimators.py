"""Estimators of networks with shared weights, and with noise in one layer at a time, against the sum over all patterns.

The oracle knows a convolution as a matrix built by loops over positions and kernel, and pooling as a loop over squares; see
tests/noisy_oracle.py for the rest, and tests/learning/test_estimators.py for how means are compared.
"""

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest
import strict_arrays
from measured_estimates import compare, measure
from noisy_oracle import (
    MEAN_LOSSES,
    build_network,
    derivatives,
    draw_points,
    on_device,
    pattern_probabilities,
    patterns,
)

from minicereb.attacks.gradients import source_named
from minicereb.backend import in_float64, to_device, to_numpy
from minicereb.calculus.activations import Activation
from minicereb.calculus.losses import cross_entropy
from minicereb.calculus.noise import Gaussian, Laplace
from minicereb.calculus.replicated import CrossEntropy, OfRows, ZeroOne, loss_named
from minicereb.errors import InputError
from minicereb.gradcheck.differences import check_gradient
from minicereb.learning.glr import estimator_named
from minicereb.learning.noise import Address
from minicereb.learning.probes import DrawnUnits, Probing, draw_units
from minicereb.models.noisy import NoisyLayer, NoisyNetwork
from minicereb.models.noisy_convolution import NoisyConvolution, initial_noisy_convolutional
from minicereb.randomness import generator

SCORES = ("plain", "baseline", "antithetic", "rao-blackwell")
LAST = {name: ("score", "derivative", "resample") for name in SCORES} | {
    name: ("derivative", "resample") for name in ("flip", "resample")
}
WAYS = [(name, last) for name, lasts in LAST.items() for last in lasts]


def convolve(rng, image, channels, kernel, law, scale, stride=1, pool=1, pooling="mean", activation="threshold"):
    weight = rng.normal(0, 0.6, (channels, kernel, kernel, image[2])).astype(np.float32)
    arrays = weight, rng.normal(0, 0.5, channels).astype(np.float32), np.array([scale], dtype=np.float32)
    return NoisyConvolution(*arrays, law, Activation(activation), image=image, stride=stride, pool=pool, pooling=pooling)


def read_out(rng, inputs, outputs, law, scale, activation=None):
    weight, bias = rng.normal(0, (1.5 if activation else 3) / inputs**0.5, (outputs, inputs)), rng.normal(0, 0.5, outputs)
    arrays = weight.astype(np.float32), bias.astype(np.float32), np.array([scale], dtype=np.float32)
    return NoisyLayer(*arrays, law, activation and Activation(activation))


SEEDS = {"mean": 16, "max": 9, "stride": 13, "two": 1}  # with which every parameter matters


def build(shape, activation="threshold", seed=None):
    """Small networks: one convolution with each way of pooling (a border of units in no square), and two convolutions."""
    rng, law = generator(SEEDS[shape] if seed is None else seed, "convolutional networks of a test"), Gaussian()
    if shape == "two":
        first = convolve(rng, (4, 4, 1), 1, 2, law, 0.9, activation=activation)
        second = convolve(rng, (3, 3, 1), 2, 2, Laplace(), 0.8, stride=1, activation=activation)
        return NoisyNetwork((first, second, read_out(rng, 8, 3, law, 0.5)))
    if shape == "stride":
        first = convolve(rng, (4, 5, 2), 2, 2, law, 0.9, stride=2, activation=activation)
        return NoisyNetwork((first, read_out(rng, 8, 3, law, 0.7, activation), read_out(rng, 3, 3, law, 0.5)))
    first = convolve(rng, (4, 4, 1), 1, 2, law, 0.9, pool=2, pooling=shape, activation=activation)
    return NoisyNetwork((first, read_out(rng, 1, 2, law, 0.7, activation), read_out(rng, 2, 3, law, 0.5)))


SHAPES = ("mean", "max", "stride", "two")
FEWER = [("antithetic", "score"), ("rao-blackwell", "derivative"), ("flip", "resample"), ("resample", "derivative")]
CASES = [("two", *way) for way in WAYS] + [(shape, *way) for shape in SHAPES[:3] for way in FEWER]


# -- the oracle --------------------------------------------------------------------------------------------------------------


def as_matrix(layer):
    """A layer's weights as a matrix (units, inputs), and the bias of every unit."""
    if not isinstance(layer, NoisyConvolution):
        return layer.weight, layer.bias
    (height, width, channels), (outputs, side, _, _) = layer.image, layer.weight.shape
    down, across = (height - side) // layer.stride + 1, (width - side) // layer.stride + 1
    matrix = np.zeros((down, across, outputs, height, width, channels))
    for y, x, i, j in itertools.product(range(down), range(across), range(side), range(side)):
        matrix[y, x, :, y * layer.stride + i, x * layer.stride + j, :] = layer.weight[:, i, j, :]
    return matrix.reshape(down * across * outputs, -1), np.tile(layer.bias, down * across)


def pooled(layer, responses):
    """Responses in rows, square by square."""
    if not isinstance(layer, NoisyConvolution) or layer.pool == 1:
        return responses
    h, take = responses.reshape(len(responses), *layer.positions, -1), {"mean": np.mean, "max": np.max}[layer.pooling]
    size = layer.pool
    squares = [
        [take(h[:, y : y + size, x : x + size], axis=(1, 2)) for x in range(0, h.shape[2] - size + 1, size)]
        for y in range(0, h.shape[1] - size + 1, size)
    ]
    return np.array(squares).transpose(2, 0, 1, 3).reshape(len(responses), -1)


def mean_loss(network, x, labels, loss, noisy=None):
    """Exact mean loss of every image over the noise of all layers, or of some; threshold units."""
    *hidden, last = network.layers
    probability, responses = np.eye(len(x)), x
    for number, layer in enumerate(hidden):
        matrix, bias = as_matrix(layer)
        drive = responses @ matrix.T + bias
        if noisy is None or number in noisy:
            probability = pattern_probabilities(layer, drive) @ probability
            responses = patterns(len(bias))
        else:
            responses = (drive > 0).astype(np.float64)
        responses = pooled(layer, responses)
    drive = responses @ last.weight.T + last.bias
    if noisy is not None and len(hidden) not in noisy:
        wrong = drive.max(axis=1, keepdims=True) > drive
        losses = wrong.astype(np.float64) if loss == "zero-one" else np.logaddexp.reduce(drive, axis=1, keepdims=True) - drive
    else:
        losses = MEAN_LOSSES[loss](last, drive)
    return (probability * losses[:, labels]).sum(axis=0)


@functools.cache
def case(shape, loss):
    network = build(shape)
    x, labels = draw_points(2, network.layers[0].inputs, 3, seed=4)
    return network, x, labels, derivatives(functools.partial(mean_loss, loss=loss), network, x, labels)


@functools.cache
def case_in_turn(shape, loss):
    """The derivative of each layer is that of the mean over its own noise."""
    network, x, labels, _ = case(shape, loss)
    number = len(network.layers)
    by_layer = [derivatives(functools.partial(mean_loss, loss=loss, noisy={one}), network, x, labels) for one in range(number)]
    truth = {"input": by_layer[0]["input"], "loss": np.mean([one["loss"] for one in by_layer], axis=0)}
    for one in range(number):
        truth |= {f"{name}_{one}": by_layer[one][f"{name}_{one}"] for name in ("weight", "bias", "scale")}
    return network, x, labels, truth


def assert_right(found, truth, resolution=1.0):
    """All means are right, and those of the weights are known well enough for another factor to be noticed.

    A unit whose drive is four times its noise changes too rarely to be seen; what it adds is less than 1% of the largest number.
    """
    errors, resolved = compare(found, truth, unnoticed=1e-2)
    assert max(errors.values()) < 1, errors
    assert max(value for name, value in resolved.items() if name.startswith("weight")) < resolution, resolved


# -- unbiased ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "name", "last"), CASES)
def test_networks_with_shared_weights_against_the_sum_over_all_patterns(shape, name, last):
    network, x, labels, truth = case(shape, "cross-entropy")
    found = measure(network, CrossEntropy(), estimator_named(name, last, probes=3), x, labels, samples=1 << 17)
    assert_right(found, truth)


@pytest.mark.parametrize("shape", ["max", "two"])
@pytest.mark.parametrize(("name", "last"), [way for way in WAYS if way[0] in ("antithetic", "flip", "resample")])
def test_the_zero_one_loss_against_the_sum_over_all_patterns(shape, name, last):
    network, x, labels, truth = case(shape, "zero-one")
    found = measure(network, ZeroOne(), estimator_named(name, last, probes=3), x, labels, samples=1 << 17)
    assert_right(found, truth, resolution=1.5)


@pytest.mark.parametrize(("shape", "loss"), [("mean", "cross-entropy"), ("two", "cross-entropy"), ("two", "zero-one")])
@pytest.mark.parametrize(("name", "last"), [way for way in WAYS if way[0] in ("baseline", "antithetic", "flip", "resample")])
def test_noise_in_one_layer_at_a_time_against_the_sum_over_its_patterns(shape, name, last, loss):
    network, x, labels, truth = case_in_turn(shape, loss)
    estimator = estimator_named(name, last, "in-turn", 3)
    found = measure(network, loss_named(loss), estimator, x, labels, samples=1 << 17)
    assert_right(found, truth, resolution=1.5)
    assert compare(found, case(shape, loss)[3])[0]["weight_0"] > 1  # noise everywhere has another derivative


def test_dense_networks_with_noise_in_one_layer_at_a_time():
    network, (x, labels) = build_network((5, 4, 3, 3), [Gaussian()] * 3, (1.5, 0.6, 0.5), seed=15), draw_points(2, 5, 3, seed=15)
    for name, last in (("antithetic", "score"), ("flip", "resample"), ("rao-blackwell", "derivative")):
        found = measure(network, CrossEntropy(), estimator_named(name, last, "in-turn"), x, labels)
        for number in range(3):
            truth = derivatives(functools.partial(mean_loss, loss="cross-entropy", noisy={number}), network, x, labels)
            names = [f"{kind}_{number}" for kind in ("weight", "bias", "scale")]
            errors, _ = compare({"loss": found["loss"], **{key: found[key] for key in names}}, truth)
            assert max(errors[key] for key in names) < 1


@pytest.mark.parametrize("pooling", ["mean", "max"])
@pytest.mark.parametrize("name", ["antithetic", "resample"])
def test_smooth_units_agree_with_backpropagation_along_the_noise(name, pooling):
    network, (x, labels) = build(pooling, "sigmoid"), draw_points(2, 16, 3, seed=4)
    means, errors = {}, {}
    for way, last, samples in (
        (name, "resample", 1 << 19 if name == "antithetic" else 1 << 17),
        ("backprop", "derivative", 1 << 19),
    ):
        found = measure(network, CrossEntropy(), estimator_named(way, last, probes=3), x, labels, samples=samples)
        for key, values in found.items():
            means.setdefault(key, []).append(values.mean(axis=0))
            errors.setdefault(key, []).append(values.std(axis=0) / len(values) ** 0.5)
    for key, (one, other) in means.items():
        allowed = 6 * np.hypot(*errors[key]) + 1e-5
        assert (np.abs(one - other) < allowed).all(), key
        assert allowed.max() < 0.6 * max(np.abs(other).max(), 1e-2), key


# -- units drawn at random ---------------------------------------------------------------------------------------------------


def test_drawn_units_are_right_on_average_over_the_start_with_the_variance_that_theory_gives():
    rng = generator(0, "chances of a test")
    chance = rng.random((7, 1, 1)) * np.array([1, 1, 0, 1, 1, 0.1, 1])[:, None, None]
    values = rng.normal(0, 1, 7) * (chance[:, 0, 0] > 0)
    starts = (np.arange(20_000) + 0.5) / 20_000
    many = np.repeat(chance, len(starts), axis=2)
    for draws in (1, 3, 12):
        drawn = draw_units(many, starts[None], draws)
        found = drawn.scatter(values[drawn.units], many.shape)[:, 0]
        assert np.allclose(found.mean(axis=1), values, atol=2e-3)
        p = draws * chance[:, 0, 0] / chance.sum()
        if p.max() < 1:  # a unit is drawn once or not at all: the variance of value/p
            expected = np.where(p > 0, values**2 / np.where(p > 0, p, 1), 0) - values**2
            assert np.allclose(found.var(axis=1), expected, atol=1e-2 * expected.max())
    assert (drawn.units != 2).all()


def test_runs_in_which_no_unit_can_matter_have_no_credit():
    drawn = draw_units(np.zeros((4, 2, 3), dtype=np.float32), np.full((2, 3), 0.5, dtype=np.float32), 2)
    assert isinstance(drawn, DrawnUnits)
    assert np.isfinite(drawn.times).all()
    assert drawn.units.shape == (6, 2)


def test_more_probes_and_chances_that_fit_lower_the_variance():
    """The variance of the flip estimator's kernel gradient falls with the probes, to that of all flips."""
    network, x, labels, _ = case("stride", "cross-entropy")
    variances = []
    for probes in (1, 4, 16):
        found = measure(network, CrossEntropy(), estimator_named("flip", "derivative", probes=probes), x, labels, samples=1 << 15)
        variances.append(found["weight_0"].var(axis=0).sum())
    assert variances[0] > 1.5 * variances[1] > 1.5 * variances[2]


def test_probes_of_all_units_equal_every_flip_one_by_one():
    """With equal chances and as many probes as units every unit is changed once: the credit is the difference of two losses."""
    network, x, labels, _ = case("two", "cross-entropy")
    estimator = estimator_named("resample", "derivative", probes=network.widths[0])
    noise = estimator.draw(network, x, len(x), 2, Address(0, ()))
    credit = estimator.on(network, CrossEntropy(), x.T.copy(), labels, noise, False).first_credit
    hidden, law = network.layers[0], Gaussian()
    for image, unit in itertools.product(range(len(x)), range(network.widths[0])):
        total = []
        for run in range(2):
            e = [one[:, image : image + 1, run : run + 1].copy() for one in noise.noise]
            place = law.distribution(e[0][unit, 0])

            def loss_at(value, e=e, unit=unit, image=image):
                changed = [e[0].copy(), *e[1:]]
                changed[0][unit] = value
                trace = network.run(x[image : image + 1].T.copy(), tuple(changed))
                return float(CrossEntropy().value(trace.outputs, labels[image : image + 1])[0, 0])

            for stratum in range(2):
                q = law.quantile((stratum + place) / np.float32(4))
                total.append((loss_at(-q) - loss_at(q)) * -q[0] / 2)
        assert np.isclose(credit[image, unit], np.mean(total) / hidden.scale[0], rtol=1e-3, atol=1e-4)


# -- layers ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_equals_the_matrices_of_the_oracle(shape):
    network, (x, _) = in_float64(build(shape)), draw_points(3, build(shape).layers[0].inputs, 3)
    x, noise = x.astype(np.float64), [generator(1, "noise").normal(size=(width, 3, 2)) for width in network.widths]
    trace = network.run(x.T.copy(), tuple(noise))
    outputs, _ = network.forward(x)
    for quiet, run in itertools.product((True, False), range(2)):
        responses = x
        for number, layer in enumerate(network.layers):
            matrix, bias = as_matrix(layer)
            v = responses @ matrix.T + bias + (0 if quiet else layer.scale * noise[number][:, :, run].T)
            if not quiet:
                assert np.allclose(trace.signals[number][:, :, run].T, v, atol=1e-12)
            responses = pooled(layer, layer.activation(v) if layer.activation else v)
        assert np.allclose(responses, outputs if quiet else trace.outputs[:, :, run].T, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_in_one_layer_only_equals_a_run_with_no_noise_elsewhere(shape):
    network, (x, _) = build(shape), draw_points(3, build(shape).layers[0].inputs, 3)
    quiet = network.run(x.T.copy(), None)
    for number, width in enumerate(network.widths):
        noise = [None] * len(network.layers)
        noise[number] = generator(1, "noise", number).normal(size=(width, 3, 4)).astype(np.float32)
        one, other = network.run_above(quiet, number, noise[number]), network.run(x.T.copy(), tuple(noise))
        assert one.inputs[number].shape[2] == 1
        for kept, expected in zip(one, other, strict=True):
            for array, wanted in zip(kept, expected, strict=True):
                assert (array is None) if wanted is None else np.array_equal(array, wanted)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_layer_sends_back_by_the_adjoint_of_its_drive(shape):
    rng = generator(2, "adjoints")
    for layer in in_float64(build(shape)).layers:
        x, d_v = rng.normal(size=(3, layer.inputs)), rng.normal(size=(3, layer.units))
        silent = replace(layer, bias=np.zeros_like(layer.bias))
        forward = (silent.drive_of_rows(x) * d_v).sum()
        assert np.isclose(forward, (x * layer.input_gradient(d_v)).sum())
        assert np.isclose(forward, (layer.weight_gradient(d_v, x)["weight"] * layer.weight).sum())
        assert np.allclose(layer.send_back(d_v.T[:, :, None])[:, :, 0].T, layer.input_gradient(d_v))
        places, change = rng.integers(0, layer.inputs, (3, 2)), rng.normal(size=(3, 2))
        changed = x[:, None].repeat(2, axis=1)
        np.put_along_axis(changed, places[:, :, None], np.take_along_axis(changed, places[:, :, None], 2) + change[:, :, None], 2)
        expected = layer.drive_of_rows(changed.reshape(6, -1)).reshape(3, 2, -1) - layer.drive_of_rows(x)[:, None]
        assert np.allclose(layer.sent_from(places) * change[:, :, None], expected)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_a_changed_unit_changes_its_square_as_pooling_again_does(pooling):
    rng = generator(2, "squares")
    layer = convolve(rng, (4, 6, 1), 2, 2, Gaussian(), 1.0, pool=2, pooling=pooling)
    h = (rng.random((layer.units, 3, 1)) > 0.6).astype(np.float64)
    units = rng.integers(0, layer.units, (3, 20))
    change = layer.response_change(h, units, 1 - h[units, np.arange(3)[:, None], 0])
    effect = layer.flip_effect(h)
    before = pooled(layer, h[:, :, 0].T)
    for run, number in itertools.product(range(3), range(20)):
        flipped = h[:, run, 0].copy()
        flipped[units[run, number]] = 1 - flipped[units[run, number]]
        difference = pooled(layer, flipped[None])[0] - before[run]
        expected = np.zeros(math_of(layer.pooled))
        expected[layer.response_of_unit()[units[run, number]]] += change[run, number]
        assert np.allclose(difference, expected)
        assert np.isclose(abs(difference).sum(), effect[units[run, number], run, 0])


def math_of(shape):
    return int(np.prod(shape))


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_the_input_gradient_of_smooth_networks(pooling):
    network, (x, labels) = in_float64(build(pooling, "sigmoid")), draw_points(2, 16, 3)
    x = x.astype(np.float64)
    outputs, signals = network.forward(x)
    gradient = network.input_gradient(cross_entropy(outputs, labels)[1], signals)
    assert check_gradient(lambda z: float(cross_entropy(network.forward(z)[0], labels)[0].sum()), gradient, x).error < 1e-6


def test_an_untrained_network_has_drives_of_the_size_of_the_noise():
    how = {"kernel": 5, "stride": 2, "pool": 1, "pooling": "mean", "activation": Activation("threshold"), "law": Gaussian()}
    network = initial_noisy_convolutional((28, 28), (16, 8), (32,), 10, 0, scales=(0.3, 0.5, 2.0, 1.0), **how)
    again = initial_noisy_convolutional((28, 28), (16, 8), (32,), 10, 0, scales=(0.3, 0.5, 2.0, 1.0), **how)
    assert network.widths == [12 * 12 * 16, 4 * 4 * 8, 32, 10]
    for layer, other in zip(network.layers, again.layers, strict=True):
        assert np.array_equal(layer.weight, other.weight)
    x = generator(0, "x").random((784, 20)).astype(np.float32)
    for layer, u in zip(network.layers[:3], network.run(x, None).drives[:3], strict=True):
        assert 0.3 < u.std() / layer.scale[0] < 3
    with pytest.raises(InputError, match="channels: .*28 x 28 pixels"):
        initial_noisy_convolutional((28, 28), (4, 4, 4, 4), (), 10, 0, scales=(1.0,), **how)


# -- on every device ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", ["all", "in-turn"])
@pytest.mark.parametrize("loss", [CrossEntropy(), ZeroOne(), OfRows()], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize(("name", "last"), [*WAYS[3:], ("backprop", "derivative")])
@pytest.mark.parametrize("shape", ["max", "two"])
def test_every_device_computes_the_same_from_the_same_noise(xp_device, shape, name, last, loss, placement):
    if name == "backprop" and (not loss.smooth or placement == "in-turn"):
        return
    estimator = estimator_named(name, last, placement, 3)
    network = build(shape, "sigmoid" if name == "backprop" else "threshold")
    x, labels = draw_points(4, network.layers[0].inputs, 3, seed=1)
    x_t = np.ascontiguousarray(x.T)
    noise = estimator.draw(network, x, len(x), 6, Address(0, ()))
    expected = estimator.on(network, loss, x_t, labels, noise, True)
    if isinstance(noise, Probing):
        there = Probing(
            tuple(map(to_device, noise.noise)), tuple(None if one is None else to_device(one) for one in noise.places)
        )
    else:
        there = tuple(map(to_device, noise))
    network, reads = on_device(network), strict_arrays.StrictArray.reads
    found = estimator.on(network, loss, to_device(x_t), to_device(labels), there, True)
    assert strict_arrays.StrictArray.reads == reads
    pairs = [(found.loss, expected.loss), (found.first_credit, expected.first_credit)]
    for gradient, wanted in zip(found.gradients, expected.gradients, strict=True):
        assert gradient.keys() == wanted.keys()
        pairs += [(gradient[key], wanted[key]) for key in wanted]
    for array, wanted in pairs:
        assert type(array) is xp_device.ndarray
        assert (array.dtype, array.shape) == (np.float32, wanted.shape)
        assert np.allclose(to_numpy(array), wanted, rtol=0, atol=1e-4 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("name", ["flip", "resample", "antithetic", "straight-through", "frozen"])
def test_attacks_have_a_gradient_on_every_device(xp_device, name):
    network, (x, labels) = on_device(build("two")), draw_points(3, 16, 3)
    point, gradient = source_named(name, network, 8, 0)(network, cross_entropy, to_device(x), to_device(labels))
    assert point.outputs.shape == (3, 3)
    assert gradient.shape == x.shape
    assert np.abs(to_numpy(gradient)).max() > 0


# -- what does not apply -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "last", "placement", "setting", "expected"),
    [
        ("flip", "score", "all", "last-layer", "derivative or resample with the estimator flip"),
        ("resample", "score", "in-turn", "last-layer", "derivative or resample with the estimator resample"),
        ("backprop", "derivative", "in-turn", "placement", "all with the estimator backprop"),
        ("exact", "derivative", "in-turn", "placement", "all with the estimator exact"),
        ("backprop", "resample", "all", "last-layer", "derivative with the estimator backprop"),
        ("flip", "derivative", "somewhere", "placement", "all or in-turn"),
    ],
)
def test_ways_that_do_not_go_together_are_refused(name, last, placement, setting, expected):
    with pytest.raises(InputError, match=f"{setting}: .*{expected}") as caught:
        estimator_named(name, last, placement)
    assert caught.value.setting == setting


@pytest.mark.parametrize(
    ("name", "last", "change", "expected"),
    [
        ("exact", "derivative", {}, "one hidden layer.*no convolutions, or flip or antithetic"),
        ("flip", "resample", {"law": None}, "noise in every layer, outputs included"),
        ("antithetic", "resample", {"law": None}, "noise in every layer, outputs included"),
        ("flip", "derivative", {"activation": Activation("sigmoid")}, "--activation threshold.*resample"),
        ("backprop", "derivative", {}, "surrogate, flip, rao-blackwell or antithetic: threshold neurons have no derivative"),
    ],
)
def test_an_estimator_that_does_not_fit_a_network_says_what_would(name, last, change, expected):
    network = build("mean")
    layers = list(network.layers)
    place = -1 if "law" in change else 0
    layers[place] = replace(layers[place], **change)
    with pytest.raises(InputError, match=f"estimator: .*{expected}"):
        estimator_named(name, last).check(NoisyNetwork(tuple(layers)), CrossEntropy())
