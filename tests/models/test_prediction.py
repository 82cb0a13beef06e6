"""Predictions of a noisy network: LAP against sums over every pattern, and its addressed noise."""

import numpy as np
import pytest
from noisy_oracle import build_network, draw_points
from scipy import stats

from minicereb import backend
from minicereb.backend import to_numpy
from minicereb.calculus.noise import Gaussian, Laplace
from minicereb.calculus.replicated import probabilities
from minicereb.errors import InputError
from minicereb.models.prediction import Averaged, average_probabilities, lap_correct

FALSE_ALARM = 1e-6


@pytest.fixture
def network():
    return build_network((5, 4, 3), [Gaussian(), Laplace()], (0.8, 0.5), seed=3)


def true_probabilities(network, x):
    """Mean over the patterns of the hidden layer, exactly, and over 2**14 draws of the output noise of each."""
    hidden, last = network.layers
    u = x.astype(np.float64) @ hidden.weight.T.astype(np.float64) + hidden.bias
    p = stats.norm.cdf(u / hidden.scale[0])
    rng = np.random.default_rng(0)
    noise = rng.laplace(size=(len(last.bias), 1, 1 << 14)) * last.scale[0]
    total = np.zeros((len(x), len(last.bias)))
    for pattern in range(1 << len(hidden.bias)):
        h = np.array([pattern >> bit & 1 for bit in range(len(hidden.bias))])
        outputs = (last.weight @ h + last.bias)[:, None, None] + noise
        total += np.where(h, p, 1 - p).prod(axis=1)[:, None] * probabilities(outputs).mean(axis=2).T
    return total


@pytest.mark.parametrize("by", ["average_probabilities", "Averaged"])
def test_mean_probabilities_are_those_of_the_network(network, by):
    """Each is a mean of K numbers in [0, 1]: Hoeffding's bound for the 9 of them, and 0.01 for the oracle's own noise."""
    x, _ = draw_points(3, 5, 3, seed=1)
    replications = 20_000
    if by == "Averaged":
        found = np.exp(Averaged(network, replications, 0).forward(x)[0])
    else:
        found = average_probabilities(network, x, np.arange(3), replications, 0)
    allowed = (np.log(2 * 9 / FALSE_ALARM) / (2 * replications)) ** 0.5
    assert np.abs(found - true_probabilities(network, x)).max() < allowed + 0.01
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5)


def test_an_images_noise_depends_on_seed_and_number_alone(network):
    x, _ = draw_points(6, 5, 3, seed=2)
    ids = np.array([7, 3, 11, 4, 0, 5])
    together = average_probabilities(network, x, ids, 300, 1)
    alone = np.concatenate([average_probabilities(network, x[i : i + 1], ids[i : i + 1], 300, 1) for i in range(6)])
    assert np.array_equal(together, alone)
    assert not np.array_equal(together, average_probabilities(network, x, ids, 300, 2))
    backend.configure(threads=1)
    assert np.array_equal(together, average_probabilities(network, x, ids, 300, 1))


def test_the_average_meets_every_image_with_the_same_noise(network):
    x, _ = draw_points(6, 5, 3, seed=2)
    average = Averaged(network, 50, 0)
    assert np.allclose(average.forward(x)[0], np.concatenate([average.forward(row[None])[0] for row in x]), atol=1e-5)
    assert np.array_equal(average.forward(x)[0], average.forward(x)[0])
    assert not np.array_equal(average.forward(x)[0], Averaged(network, 50, 1).forward(x)[0])


def test_what_is_correct_is_the_most_probable_class(network):
    x, _ = draw_points(4, 5, 3, seed=5)
    ids = np.arange(4)
    answers = average_probabilities(network, x, ids, 100, 0).argmax(axis=1)
    assert lap_correct(network, x, answers, ids, 100, 0).all()
    assert not lap_correct(network, x, (answers + 1) % 3, ids, 100, 0).any()


def test_no_replications_are_refused(network):
    with pytest.raises(InputError, match="replications: 0"):
        average_probabilities(network, np.zeros((1, 5), dtype=np.float32), np.arange(1), 0, 0)


def test_both_devices_give_the_same_probabilities(xp_device):
    network = build_network((5, 4, 3), [Gaussian(), Laplace()], (0.8, 0.5), seed=3)
    x, _ = draw_points(3, 5, 3, seed=1)
    here = average_probabilities(network, xp_device.asarray(x), np.arange(3), 200, 0) if xp_device is np else None
    if here is not None:
        assert here.dtype == np.float32
        return
    from noisy_oracle import on_device

    there = average_probabilities(on_device(network), xp_device.asarray(x), np.arange(3), 200, 0)
    assert type(there) is xp_device.ndarray
    assert np.allclose(to_numpy(there), average_probabilities(network, x, np.arange(3), 200, 0), atol=1e-5)
