"""The exact estimator against a loop over patterns, and against central differences of the oracle's own sum."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from noisy_oracle import LAWS, build_network, derivatives, distribution_of, draw_points, mean_loss, on_device, patterns
from scipy.integrate import quad

from minicereb.backend import in_float64, to_device, to_numpy
from minicereb.calculus.losses import cross_entropy
from minicereb.calculus.noise import Gaussian
from minicereb.calculus.replicated import CrossEntropy, ZeroOne, loss_named
from minicereb.errors import InputError
from minicereb.learning import exact
from minicereb.learning.exact import Exact
from minicereb.learning.glr import estimate
from minicereb.learning.noise import Address

LOSSES = ["cross-entropy", "zero-one"]
every_loss = pytest.mark.parametrize("loss", LOSSES)
every_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)


def network_for(law, loss, widths=(5, 4, 3), seed=3, dtype=np.float64):
    return build_network(widths, [law, law if loss == "zero-one" else None], (1.5, 0.6), seed=seed, dtype=dtype)


def exactly(network, loss, x, labels):
    """Return the estimator's result by the names that the oracle's derivatives() uses."""
    Exact().check(network, loss_named(loss))
    found = estimate(
        network, loss_named(loss), Exact(), x.astype(network.layers[0].weight.dtype), labels, 1, Address(0, ()), scales=True
    )
    values = {"loss": found.loss, "input": network.layers[0].input_gradient(found.first_credit)}
    for number, gradient in enumerate(found.gradients):
        values.update({f"{name}_{number}": array for name, array in gradient.items()})
    return values


# -- the sum -----------------------------------------------------------------------------------------------------------------


@every_loss
@every_law
def test_all_derivatives_are_those_of_the_mean_loss(law, loss):
    """Compared with central differences of the oracle. Laplace's kinks make both quadratures of the 0-1 loss less accurate."""
    network, (x, labels) = network_for(law, loss), draw_points(2, 5, 3, seed=3)
    found, truth = exactly(network, loss, x, labels), derivatives(functools.partial(mean_loss, loss=loss), network, x, labels)
    silent = {"scale_1"} if loss == "cross-entropy" else set()
    assert found.keys() == truth.keys() - silent
    tolerance = 1e-8 if loss == "cross-entropy" else 2e-4
    for name, array in found.items():
        assert np.allclose(array, truth[name], rtol=0, atol=tolerance * max(1, np.abs(truth[name]).max())), name


@every_loss
@every_law
def test_the_loss_and_the_first_credit_are_a_loop_over_patterns(law, loss):
    network, (x, labels) = network_for(law, loss, (3, 2, 2)), draw_points(1, 3, 2)
    found = estimate(network, loss_named(loss), Exact(), x.astype(np.float64), labels, 1, Address(0, ()))
    hidden, last = network.layers
    sigma, density = hidden.scale[0], distribution_of(law)
    for image, label in enumerate(labels):
        u = hidden.weight @ x[image] + hidden.bias
        mean, credit = 0.0, np.zeros(2)
        for h in patterns(2):
            z = last.weight @ h + last.bias
            p = [float(density.cdf(a if fires else -a)) for a, fires in zip(u / sigma, h, strict=True)]
            value = loss_of(loss, z, label, last)
            mean += np.prod(p) * value
            for neuron in range(2):
                others = np.prod(np.delete(p, neuron))
                credit[neuron] += others * value * (1 if h[neuron] else -1) * density.pdf(u[neuron] / sigma) / sigma
        tolerance = 1e-12 if loss == "cross-entropy" else 2e-4
        assert found.loss[image] == pytest.approx(mean, abs=tolerance)
        assert np.allclose(found.first_credit[image], credit, rtol=0, atol=tolerance)


def loss_of(loss, z, label, last):
    """Loss of two classes: cross-entropy, or the probability that noise puts the other class ahead."""
    lead = z[label] - z[1 - label]
    if loss == "cross-entropy":
        return float(np.logaddexp(0, -lead))
    law, scale = distribution_of(last.law), last.scale[0]
    return 1 - quad(lambda t: law.pdf(t) * law.cdf(lead / scale + t), -np.inf, np.inf)[0]


@every_loss
def test_blocks_of_patterns_add_up(monkeypatch, loss):
    network, (x, labels) = network_for(Gaussian(), loss), draw_points(4, 5, 3)
    whole = exactly(network, loss, x, labels)
    for size in (1, 3, 8):
        monkeypatch.setattr(exact, "PATTERNS", size)
        for name, array in exactly(network, loss, x, labels).items():
            assert np.allclose(array, whole[name], rtol=1e-12, atol=1e-14)


def test_more_patterns_than_a_block_holds():
    """13 neurons, of which three have weights: the oracle needs only these."""
    widths = (5, 13, 3)
    network, (x, labels) = network_for(Gaussian(), "cross-entropy", widths), draw_points(2, 5, 3)
    assert exact.PATTERNS < 1 << 13
    hidden, last = network.layers
    last.weight[:, 3:] = 0
    small = replace(
        network,
        layers=(replace(hidden, weight=hidden.weight[:3], bias=hidden.bias[:3]), replace(last, weight=last.weight[:, :3])),
    )
    found, expected = (exactly(one, "cross-entropy", x, labels) for one in (network, small))
    assert np.allclose(found["loss"], expected["loss"], rtol=1e-12)
    assert np.allclose(found["weight_0"][:3], expected["weight_0"], rtol=0, atol=1e-12)
    assert np.allclose(found["weight_0"][3:], 0, atol=1e-12)
    assert np.allclose(found["scale_0"], expected["scale_0"], rtol=0, atol=1e-12)


@every_loss
@every_law
def test_neurons_that_are_as_good_as_certain_do_no_harm(law, loss):
    """Drives of hundreds of noise scales: probabilities of 0 even in float64, and patterns that cannot occur."""
    network, (x, labels) = network_for(law, loss), draw_points(4, 5, 3)
    network.layers[0].scale[...] = 1e-3
    found = exactly(network, loss, x, labels)
    assert all(np.isfinite(array).all() for array in found.values())
    if loss == "cross-entropy":
        certain, _ = cross_entropy(network.forward(x.astype(np.float64))[0], labels)
        assert np.allclose(found["loss"], certain, rtol=0, atol=1e-6)


@every_loss
def test_no_noise_plays_a_part_and_every_image_is_its_own(loss):
    network, (x, labels) = network_for(LAWS[2], loss), draw_points(6, 5, 3)
    given = (network, loss_named(loss), Exact(), x.astype(np.float64), labels)
    first, second = estimate(*given, 1, Address(0, ())), estimate(*given, 3, Address(7, (1,)))
    assert np.array_equal(first.first_credit, second.first_credit)
    some = estimate(network, loss_named(loss), Exact(), x[2:4].astype(np.float64), labels[2:4], 1, Address(0, ()))
    assert np.allclose(some.loss, first.loss[2:4], rtol=1e-12)
    assert np.allclose(some.first_credit, first.first_credit[2:4], rtol=1e-12, atol=1e-15)


@every_loss
@every_law
def test_on_every_device(xp_device, law, loss):
    host, (x, labels) = network_for(law, loss, dtype=np.float32), draw_points(4, 5, 3)
    expected = exactly(in_float64(host), loss, x, labels)
    found = exactly(on_device(host), loss, to_device(x), to_device(labels))
    for name, array in found.items():
        assert type(array) is xp_device.ndarray
        assert array.dtype == np.float32
        assert np.allclose(to_numpy(array), expected[name], rtol=0, atol=1e-5 * max(1, np.abs(expected[name]).max()))


# -- what can be summed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "loss", "expected"),
    [
        (build_network((3, 21, 2), [LAWS[0], None], (1, 1)), CrossEntropy(), "at most 20.*flip"),
        (build_network((3, 2, 2, 2), [LAWS[0]] * 2 + [None], (1, 1, 1)), CrossEntropy(), "one hidden layer.*flip"),
        (build_network((3, 2, 2), [LAWS[0], None], (1, 1), "sigmoid"), CrossEntropy(), "threshold neurons"),
        (build_network((3, 2, 2), [None, None], (1, 1)), CrossEntropy(), "noisy threshold neurons"),
        (build_network((3, 2, 2), [LAWS[0]] * 2, (1, 1)), CrossEntropy(), "no output noise.*--no-output-noise"),
        (build_network((3, 2, 2), [LAWS[0], None], (1, 1)), ZeroOne(), "expected output noise"),
    ],
)
def test_what_cannot_be_summed_is_refused_with_what_would_do(network, loss, expected):
    with pytest.raises(InputError, match=f"estimator: 'exact'.*{expected}") as caught:
        Exact().check(network, loss)
    assert caught.value.setting == "estimator"


def test_twenty_neurons_are_not_too_many():
    Exact().check(build_network((3, 20, 2), [LAWS[0], None], (1, 1)), CrossEntropy())
