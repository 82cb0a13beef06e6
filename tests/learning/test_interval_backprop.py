"""Learning from interval bounds: the bounds hold, their derivatives are right, and what was learned can be certified."""

import re

import numpy as np
import pytest
from commands import document, refused, succeed

from minicereb.backend import to_device, to_numpy
from minicereb.calculus.intervals import interval_dense, interval_relu
from minicereb.calculus.losses import DESCENDED
from minicereb.certificates.certify import certify
from minicereb.errors import InputError
from minicereb.gradcheck.differences import check_gradient
from minicereb.learning.backprop import Backpropagation
from minicereb.learning.interval_backprop import IntervalBackpropagation
from minicereb.learning.optimizers import SGD, Adam
from minicereb.models.layers import Dense
from minicereb.models.mlp import initial_mlp
from minicereb.models.sequential import Sequential


def perceptron(hidden=(20, 10), dtype=np.float64):
    """On the configured device, in a given precision."""
    layers = initial_mlp(30, hidden, 3, 0).layers
    return Sequential(
        tuple(Dense(each.weight.astype(dtype), each.bias.astype(dtype)) if isinstance(each, Dense) else each for each in layers)
    )


def parameters(network):
    return [array for layer in network.layers for array in getattr(layer, "parameters", {}).values()]


def rule_of(network, optimizer, batch_size, epsilon=0.1, share=0.6, total_steps=1, **settings):
    how = {"epsilon": epsilon, "pessimism": share, "total_steps": total_steps, **settings}
    return IntervalBackpropagation(network, optimizer, batch_size, **how)


def test_a_layer_contains_what_it_is_said_to_bound_and_touches_it():
    rng = np.random.default_rng(0)
    centre, radius = rng.standard_normal((4, 6)), rng.random((4, 6))
    weight, bias = rng.standard_normal((5, 6)), rng.standard_normal(5)
    middle, reach = interval_dense(centre, radius, weight, bias)
    inside = centre + radius * rng.uniform(-1, 1, (1000, 4, 6))
    assert (abs(inside @ weight.T + bias - middle) <= reach + 1e-12).all()
    corner = centre[:, None] + radius[:, None] * np.sign(weight)  # the highest value of each output
    assert np.allclose((corner * weight).sum(axis=2) + bias, middle + reach, rtol=0, atol=1e-12)
    middle, reach = interval_relu(centre, radius)
    assert np.allclose(middle + reach, np.maximum(centre + radius, 0), rtol=0, atol=1e-15)
    assert np.allclose(middle - reach, np.maximum(centre - radius, 0), rtol=0, atol=1e-15)


@pytest.mark.parametrize("hidden", [(), (20,), (20, 10)])
@pytest.mark.parametrize(("loss", "steps"), [("cross-entropy", 0), ("cross-entropy", 3), ("mse", 3)])
def test_a_step_goes_against_the_derivative_of_the_mixed_loss(draw_images, hidden, loss, steps):
    """ε grows: after three of eight steps it is three quarters of the bound."""
    x, labels = draw_images(10)
    network, fresh = perceptron(hidden), perceptron(hidden)
    rule = rule_of(network, SGD(1.0), 10, total_steps=8, loss=loss)
    rule.steps = steps
    before = [array.copy() for array in parameters(network)]
    (learned,) = rule.learn(x, labels)
    reference = rule_of(fresh, SGD(1.0), 10)

    def mixed():
        worst, _ = reference.worst(x, labels, 0.1 * steps / 4)
        plain = DESCENDED[loss](fresh.forward(x)[0], labels)[0]
        return float((0.4 * plain + 0.6 * DESCENDED[loss](worst, labels)[0]).mean())

    assert learned.loss.mean() == pytest.approx(mixed(), rel=1e-12)
    for old, new, parameter in zip(before, parameters(network), parameters(fresh), strict=True):

        def loss_at(values, parameter=parameter, old=old):
            parameter[...] = values
            found = mixed()
            parameter[...] = old
            return found

        check = check_gradient(loss_at, old - new, old)
        assert check.error < 1e-6
        assert check.directions >= 10


def test_without_a_box_it_is_plain_backpropagation(draw_images):
    x, labels = draw_images(40)
    one, other = perceptron(), perceptron()
    list(rule_of(one, Adam(0.01), 10, epsilon=0.0).learn(x, labels))
    list(Backpropagation(other, Adam(0.01), 10).learn(x, labels))
    assert all(np.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(parameters(one), parameters(other), strict=True))


def test_the_worst_outputs_are_below_every_image_of_the_box_and_agree_with_the_certificates(draw_images):
    x, labels = draw_images(12)
    network = perceptron()
    rule = rule_of(network, SGD(1.0), 10)
    worst, _ = rule.worst(x, labels, 0.03)
    rows, rng = np.arange(12), np.random.default_rng(0)

    def margin(z):
        others = z.copy()
        others[rows, labels] = -np.inf
        return z[rows, labels] - others.max(axis=1)

    for _ in range(200):
        near = np.clip(x + rng.choice([-0.03, 0.03], x.shape), 0, 1)
        assert (margin(worst) <= margin(network.forward(near)[0]) + 1e-12).all()
    certified, _ = certify(network, x, labels, 0.03)
    safe = rule_of(network, SGD(1.0), 10, epsilon=0.03).hits(x, labels)
    assert (safe <= certified).all()


def test_it_learns_what_can_be_certified():
    rng = np.random.default_rng(1)
    centres, labels = rng.integers(0, 2, (3, 30)), np.arange(300) % 3
    x = np.clip(centres[labels] * 0.8 + 0.1 + 0.1 * rng.standard_normal((300, 30)), 0, 1).astype(np.float32)
    counts = {}
    for name, share in (("plain", 0.0), ("bounds", 0.5)):
        network = perceptron(dtype=np.float32)
        rule = rule_of(network, Adam(3e-3), 10, epsilon=0.25, share=share, total_steps=300)
        for _ in range(10):
            list(rule.learn(x, labels))
        counts[name] = int(rule.hits(x, labels).sum())
        assert (network.forward(x)[0].argmax(axis=1) == labels).mean() > 0.95
    assert counts["bounds"] > counts["plain"] + 100


def test_the_same_on_every_device(draw_images, xp_device):
    x, labels = draw_images(20)
    on_host, network = (
        perceptron(),
        Sequential(
            tuple(Dense(to_device(e.weight), to_device(e.bias)) if isinstance(e, Dense) else e for e in perceptron().layers)
        ),
    )
    rule_of(on_host, SGD(0.1), 10)
    list(rule_of(network, SGD(0.1), 10, total_steps=2).learn(to_device(x), to_device(labels)))
    list(rule_of(on_host, SGD(0.1), 10, total_steps=2).learn(x, labels))
    for a, b in zip(parameters(on_host), parameters(network), strict=True):
        assert np.allclose(to_numpy(a), to_numpy(b), rtol=1e-9, atol=1e-12)


def test_the_command_trains_and_names_what_is_wrong(tmp_path):
    few = ("--dataset", "strokes", "--hidden", "10", "--epochs", "1")
    document("train", "mlp", *few, "--interval-bounds", "0.1", "--out", tmp_path / "run")
    assert re.search(r"interval-bounds +0.1\npessimism +0.5\n", succeed("show", tmp_path / "run").stdout)
    assert "pessimism: 0.4" in refused("train", "mlp", *few, "--pessimism", 0.4, "--out", tmp_path / "other")
    assert "interval-bounds: -1.0" in refused("train", "mlp", *few, "--interval-bounds", -1, "--out", tmp_path / "other")
    both = ("--interval-bounds", 0.1, "--adversarial", 0.1, "--out", tmp_path / "other")
    assert "no value with --interval-bounds" in refused("train", "mlp", *few, *both)
    assert "pessimism: 2.0" in refused("train", "mlp", *few, "--interval-bounds", 0.1, "--pessimism", 2)
    with pytest.raises(InputError, match="epsilon"):
        rule_of(perceptron(), SGD(1.0), 10, epsilon=-1)
    with pytest.raises(InputError, match="pessimism"):
        rule_of(perceptron(), SGD(1.0), 10, share=1.5)
