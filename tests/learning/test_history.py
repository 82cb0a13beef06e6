"""Baselines and allocations from earlier steps: unbiased at one replication per image, with the stated variance."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import strict_arrays
from measured_estimates import assert_unbiased, compare
from noisy_oracle import build_network, derivatives, distribution_of, draw_points, mean_loss, on_device

from minicereb import backend
from minicereb.backend import to_device, to_numpy
from minicereb.calculus.noise import Gaussian, Laplace
from minicereb.calculus.replicated import CrossEntropy
from minicereb.errors import InputError
from minicereb.learning import glr
from minicereb.learning.estimators import ESTIMATORS
from minicereb.learning.glr import GLR, estimate, estimator_with
from minicereb.learning.history import FLOOR, Allocated, History, RunningMean, allocate, by_image
from minicereb.learning.noise import Address
from minicereb.learning.optimizers import SGD

COPIES, STEPS = 128, 256
WAYS = {
    "class": ("rao-blackwell", 1, {"baseline": "class"}),
    "image": ("baseline", 1, {"baseline": "image"}),
    "pairs": ("antithetic", 2, {"baseline": "image"}),
    "allocated": ("rao-blackwell", 2, {"allocation": "scatter"}),
    "allocated flips": ("flip", 1, {"allocation": "scatter"}),
    "both": ("rao-blackwell", 1, {"baseline": "image", "allocation": "scatter"}),
    "both, pairs": ("antithetic", 2, {"baseline": "class", "allocation": "scatter"}),
}


@functools.cache
def case():
    """A network, two images of different classes and lengths, labels, and the true derivatives."""
    network, (x, labels) = build_network((5, 4, 3), [Gaussian(), Laplace()], (1.5, 0.6), seed=3), draw_points(2, 5, 3, 3)
    x[1] *= 0.4
    return network, x, labels, derivatives(functools.partial(mean_loss, loss="cross-entropy"), network, x, labels)


class Still(GLR):
    """A learner that remembers, keeps its gradients, and changes no weight."""

    def _change(self, gradients):
        self.found = gradients


def remembered(name, replications, how, images=None):
    """The gradients of many steps at fixed weights, as measure() gives them: each step uses what the earlier ones remember."""
    network, x, labels, _ = case()
    x = x if images is None else images
    learner = Still(network, CrossEntropy(), ESTIMATORS[name], SGD(0.1), 2 * COPIES, replications, 0, images=2 * COPIES, **how)
    batch, found = (np.tile(x, (COPIES, 1)), np.tile(labels, COPIES), np.arange(2 * COPIES)), {}
    for _ in range(STEPS):
        (learned,) = learner.learn(*batch)
        found.setdefault("loss", []).append(learned.loss.reshape(COPIES, 2).mean(axis=0))
        for number, gradient in enumerate(learner.found):
            for kind, array in gradient.items():
                found.setdefault(f"{kind}_{number}", []).append(array.astype(np.float64))
    return {kind: np.array(arrays) for kind, arrays in found.items()}


@pytest.mark.parametrize("way", WAYS)
def test_gradients_with_what_is_remembered_against_the_sum_over_all_patterns(way):
    assert_unbiased(remembered(*WAYS[way]), case()[3], 0.8)


def test_a_baseline_from_the_same_noise_is_noticed(monkeypatch):
    """A fifth of the loss that it is subtracted from, as if the mean were updated before its use."""
    run = glr.estimate

    def peeking(*given, history, **how):
        loss = run(*given, history=history, **how).loss
        return run(*given, history=history._replace(baseline=history.baseline + 0.2 * (loss - history.baseline)), **how)

    monkeypatch.setattr(glr, "estimate", peeking)
    errors, _ = compare(remembered(*WAYS["class"]), case()[3])
    assert errors["loss"] < 1
    assert max(errors["weight_0"], errors["weight_1"]) > 1


def test_a_forgotten_weight_is_noticed(monkeypatch):
    monkeypatch.setattr(glr, "allocate", lambda *given: Allocated((drawn := allocate(*given)).images, 0 * drawn.weights + 1))
    errors, _ = compare(remembered(*WAYS["allocated flips"]), case()[3])
    assert max(errors["weight_0"], errors["weight_1"]) > 1


# -- variance ----------------------------------------------------------------------------------------------------------------


class FirstOutput:
    """The loss is the only output itself."""

    smooth = True

    def value(self, outputs, labels):
        return outputs[0]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_variance_with_a_baseline_is_that_of_theory(share):
    """One threshold neuron and a loss of 0.2 + 0.9h + 0.3e: ``E[(L - b)² q²] - g²`` over h, with q the spike's score."""
    network, (x, labels) = build_network((3, 1, 1), [Gaussian()] * 2, (0.8, 0.3), seed=1), draw_points(1, 3, 1, seed=62)
    hidden, last = network.layers
    last.weight[...], last.bias[...] = 0.9, 0.2
    law, sigma = distribution_of(hidden.law), 0.8
    a = (x[0].astype(np.float64) @ hidden.weight[0] + hidden.bias[0]) / sigma
    p, density = law.cdf(a), law.pdf(a) / sigma
    b = share * (0.2 + 0.9 * p)
    gradient = 0.9 * density
    squares = [(chance, loss, density / chance) for chance, loss in ((p, 1.1), (1 - p, 0.2))]
    expected = sum(chance * ((loss - b) ** 2 + 0.3**2) * q**2 for chance, loss, q in squares) - gradient**2
    many, estimator = 1 << 17, estimator_with(ESTIMATORS["rao-blackwell"], "class", "equal")
    history = History(baseline=np.full(many, b, dtype=np.float32))
    given = (network, FirstOutput(), estimator, np.tile(x, (many, 1)), np.tile(labels, many), 1, Address(0, ()))
    credit = estimate(*given, history=history).first_credit[:, 0].astype(np.float64)
    squared = (credit - gradient) ** 2
    assert abs(squared.mean() - expected) < 4.9 * squared.std() / many**0.5
    assert squared.std() / many**0.5 < 0.01 * expected  # so that another variance would be noticed


def test_at_equal_runs_what_is_remembered_lowers_the_variance():
    """Of the first weights' gradient: a learned baseline against one other run; allocation where half of the images are dark."""
    network, x, *_ = case()
    dark = np.float32([[3], [0]]) * x[:1]
    ways = {"pair": (2, {}), "image": (1, {"baseline": "image"}), "both": WAYS["both"][1:]}
    total = {
        way: runs * remembered("rao-blackwell", runs, how, dark)["weight_0"][64:].var(axis=0).sum()
        for way, (runs, how) in ways.items()
    }
    assert total["image"] < 0.8 * total["pair"]


@pytest.mark.parametrize("draws", [4, 16])
def test_output_draws_divide_the_variance_that_the_outputs_noise_gives_the_hidden_credit(draws):
    """One threshold neuron and a loss of h + e²: pairs of opposite noise are alike, so draws/2 of them divide Var[e²] = 2."""
    network, (x, labels) = build_network((3, 1, 1), [Gaussian()] * 2, (0.8, 1.0), seed=1), draw_points(1, 3, 1, seed=62)
    hidden, last = network.layers
    last.weight[...], last.bias[...] = 1, 0
    law, many = distribution_of(hidden.law), 1 << 16
    a = (x[0].astype(np.float64) @ hidden.weight[0] + hidden.bias[0]) / 0.8
    p, density = law.cdf(a), law.pdf(a) / 0.8

    class Squared(FirstOutput):
        def value(self, outputs, labels):
            return np.where(outputs[0] > 50, (outputs[0] - 100) ** 2 + 1, outputs[0] ** 2)

    last.weight[...] = 100
    b = 1 + p
    squares = [(chance, loss, density / chance) for chance, loss in ((p, 2.0), (1 - p, 1.0))]
    expected = sum(chance * ((loss - b) ** 2 + 2 / (draws / 2)) * q**2 for chance, loss, q in squares) - density**2
    estimator = replace(estimator_with(ESTIMATORS["rao-blackwell"], "class", "equal"), output_draws=draws)
    history = History(baseline=np.full(many, b, dtype=np.float32))
    given = (network, Squared(), estimator, np.tile(x, (many, 1)), np.tile(labels, many), 1, Address(0, ()))
    credit = estimate(*given, history=history).first_credit[:, 0].astype(np.float64)
    squared = (credit - density) ** 2
    assert abs(credit.mean() - density) < 4.9 * credit.std() / many**0.5
    assert abs(squared.mean() - expected) < 4.9 * squared.std() / many**0.5
    assert squared.std() / many**0.5 < 0.02 * expected


# -- the means, and the draws ------------------------------------------------------------------------------------------------


def test_means_follow_what_they_are_told():
    mean, labels, ids = RunningMean(np.zeros(1, np.float32), 3, 5), np.array([0, 0, 2]), np.array([4, 1, 0])
    mean.update(labels, ids, np.float32([1, 3, 7]), np.float32([1, 1, 0]), 0)
    assert np.all(mean.by_class == [2, 0, 0])  # the first step takes the mean itself; times of 0 count for nothing
    assert np.allclose(mean.by_image, [0, 0.75, 0, 0, 0.25])
    assert np.allclose(mean.of(labels, ids), [2.25, 2.75, 0])
    assert np.allclose(mean.of(labels, None), [2, 2, 0])
    for step in range(1, 400):
        mean.update(labels, ids, np.float32([1, 3, 7]), np.float32([1, 1, 1]), step)
    assert np.allclose(mean.of(labels, ids), [1, 3, 7], rtol=1e-4)


@pytest.mark.parametrize("start", [0.0, 0.3, 0.99])
def test_draws_are_allocated_in_proportion_to_the_scatter(start):
    scatter = np.float32([2, 0, 1, -3, 3])
    drawn = allocate(scatter, np.float32([start]), 60)
    times = 60 * ((1 - FLOOR) * np.array([2, 0, 1, 0, 3]) / 6 + FLOOR / 5)
    counts = np.bincount(drawn.images, minlength=5)
    assert len(drawn.images) == 60
    assert np.all(np.abs(counts - times) < 1 + 1e-4)
    assert np.allclose(drawn.weights, 12 / times[drawn.images], rtol=1e-5)
    assert np.allclose(by_image(drawn.weights * 0 + 1, drawn.images, 5), counts)


def test_the_variance_of_allocated_draws_is_that_of_theory_and_near_the_least():
    """``Σ S²/π / B²`` for gradients of mean 0, averaged over the starts; equal shares have more."""
    scatter, draws, starts = np.float32([8, 0.5, 0.2, 1, 0.1, 0.3]), 9, (np.arange(2000) + 0.5) / 2000
    shares = draws * ((1 - FLOOR) * scatter / scatter.sum() + FLOOR / 6)
    expected = (scatter**2 / shares).sum() / 36
    found, mean = 0.0, np.zeros(6)
    for start in starts:
        drawn = allocate(scatter, np.float32([start]), draws)
        found += ((drawn.weights * scatter[drawn.images]) ** 2).sum() / draws**2 / len(starts)
        mean += by_image(drawn.weights, drawn.images, 6) / draws / len(starts)
    assert found == pytest.approx(expected, rel=2e-3)
    assert np.allclose(mean, 1 / 6, rtol=1e-2)  # every image counts as much as the others
    least, equal = scatter.sum() ** 2 / (36 * draws), (scatter**2).sum() / (6 * draws)
    assert least < expected < 1.3 * least < 0.6 * equal


def test_without_memory_shares_are_equal():
    drawn = allocate(np.zeros(4, np.float32), np.float32([0.5]), 8)
    assert drawn.images.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert np.all(drawn.weights == 1)


@pytest.mark.parametrize(
    ("name", "baseline", "allocation", "expected"),
    [
        ("flip", "class", "equal", "mean: this estimator multiplies no score"),
        ("plain", "image", "equal", "--estimator baseline"),
        ("sobol", "mean", "scatter", "equal: a Sobol sequence"),
        ("exact", "mean", "scatter", "equal: this estimator draws no noise"),
        ("baseline", "best", "equal", "mean, class, image"),
        ("baseline", "mean", "most", "equal or scatter"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(name, baseline, allocation, expected):
    with pytest.raises(InputError, match=expected):
        estimator_with(ESTIMATORS[name], baseline, allocation)


@pytest.mark.parametrize("way", WAYS)
def test_learning_on_every_device(xp_device, way):
    name, replications, how = WAYS[way]

    def learner(network):
        return GLR(network, CrossEntropy(), ESTIMATORS[name], SGD(0.1), 5, replications, 0, images=20, **how)

    x, labels = draw_points(20, 5, 3)
    there = learner(on_device(build_network((5, 4, 3), [Gaussian()] * 2, (1.5, 0.6), seed=3)))
    inputs, reads = [to_device(array) for array in (x, labels, np.arange(20))], strict_arrays.StrictArray.reads
    list(there.learn(*inputs))
    assert strict_arrays.StrictArray.reads == reads  # nothing waits for the device
    assert all(type(array) is xp_device.ndarray and array.dtype == np.float32 for array in there.arrays().values())
    backend.configure(device="cpu")
    here = learner(build_network((5, 4, 3), [Gaussian()] * 2, (1.5, 0.6), seed=3))
    list(here.learn(x, labels, np.arange(20)))
    for key, array in here.arrays().items():
        assert np.allclose(to_numpy(there.arrays()[key]), array, rtol=1e-3, atol=1e-3), key
