"""Gradients of the mean objective of a noisy network: unbiased, the same for every block, and refused where there are none."""

import numpy as np
import pytest
from oracle import build_network, draw_points

from minicereb.attacks.run import Attack, attack_images
from minicereb.attacks.sources import MeanGradient, source_named
from minicereb.backend import blocks
from minicereb.calculus.losses import margin
from minicereb.calculus.noise import Gaussian
from minicereb.errors import InputError
from minicereb.learning.estimators import ESTIMATORS
from minicereb.models.mlp import initial_mlp
from minicereb.models.prediction import Averaged

LAWS = [Gaussian(), Gaussian()]


@pytest.fixture
def network():
    return build_network((6, 4, 3), LAWS, (0.8, 0.5), seed=2)


def mean_margin(network, x, labels):
    """Mean margin over every pattern of the hidden layer, and over output noise by many draws that all images share."""
    from scipy import stats

    hidden, last = network.layers
    p = stats.norm.cdf((x @ hidden.weight.T.astype(np.float64) + hidden.bias) / hidden.scale[0])
    noise = np.random.default_rng(0).standard_normal((20_000, 3)) * last.scale[0]
    total = np.zeros(len(x))
    for pattern in range(1 << len(hidden.bias)):
        h = np.array([pattern >> bit & 1 for bit in range(len(hidden.bias))])
        outputs = last.weight.astype(np.float64) @ h + last.bias + noise
        by_label = [margin(outputs, np.full(len(outputs), label))[0].mean() for label in range(3)]
        total += np.where(h, p, 1 - p).prod(axis=1) * np.array(by_label)[labels]
    return total


@pytest.mark.parametrize(
    ("name", "draws"), [("flip", 2_000), ("resample", 2_000), ("rao-blackwell", 40_000), ("antithetic", 40_000)]
)
def test_the_gradient_is_that_of_the_mean_objective(network, name, draws):
    """To a tenth of its size: what so many draws allow (five standard errors, measured)."""
    x, labels = draw_points(3, 6, 3, seed=4)
    _, found = source_named(name, network, draws, 0)(network, margin, x, labels)
    step, truth = 1e-3, np.zeros(x.shape)
    for pixel in range(6):
        up, down = x.astype(np.float64), x.astype(np.float64)
        up[:, pixel] += step
        down[:, pixel] -= step
        truth[:, pixel] = (mean_margin(network, up, labels) - mean_margin(network, down, labels)) / (2 * step)
    assert np.abs(found - truth).max() < 0.1 * np.abs(truth).max()


def test_blocks_of_images_meet_the_same_noise(network):
    x, labels = draw_points(7, 6, 3, seed=4)
    source = MeanGradient(ESTIMATORS["flip"], 8, 3)
    together = source(network, margin, x, labels)[1]
    apart = [source(network, margin, x[part], labels[part])[1] for part in blocks(7, 3)]
    assert np.allclose(together, np.concatenate(apart), rtol=1e-4, atol=1e-6)
    assert not np.allclose(together, MeanGradient(ESTIMATORS["flip"], 8, 4)(network, margin, x, labels)[1])


@pytest.mark.parametrize("average", [False, True])
def test_an_attack_breaks_what_has_no_derivative(network, average):
    model = Averaged(network, 64, 0) if average else network
    rows = np.random.default_rng(0).random((40, 6), dtype=np.float32)
    labels = model.forward(rows)[0].argmax(axis=1)
    attack = Attack("pgd", "margin", 0.5, steps=20, step_size=0.05, gradient="flip", draws=16)
    (attacked,) = attack_images(model, attack, rows, labels, np.arange(40))
    assert attacked.success.mean() > 0.3
    assert attacked.distance.max() <= 0.5 + 1e-6


@pytest.mark.parametrize(
    ("activation", "name", "expected"),
    [
        ("threshold", "analytic", "flip: threshold neurons have no derivative"),
        ("log-absolute", "analytic", "resample: log-absolute neurons have no derivative"),
        ("sigmoid", "flip", "--activation threshold"),
        ("threshold", "backprop", "has no derivative"),
    ],
)
def test_a_gradient_that_is_not_there_is_refused_and_one_that_is_named(activation, name, expected):
    with pytest.raises(InputError, match=expected):
        source_named(name, build_network((6, 4, 3), LAWS, (0.8, 0.5), activation), 8, 0)


def test_only_a_network_with_noise_has_a_mean_over_it():
    with pytest.raises(InputError, match="only networks with noise"):
        source_named("flip", initial_mlp(4, (3,), 2, 0), 8, 0)
