"""Losses of noisy outputs: against those of single outputs, against Monte-Carlo and numerical integration."""

from itertools import pairwise

import numpy as np
import pytest
from noisy_oracle import LAWS, distribution_of, nodes_of
from scipy import stats
from scipy.integrate import quad

from minicereb.backend import to_device, to_numpy
from minicereb.calculus import losses
from minicereb.calculus.replicated import (
    CrossEntropy,
    OfRows,
    ZeroOne,
    error_probability,
    error_probability_gradient,
    loss_named,
    probabilities,
)
from minicereb.errors import InputError
from minicereb.randomness import generator

FALSE_ALARM = 1e-6  # of each Monte-Carlo test
CLASSES, IMAGES, REPLICATIONS = 4, 5, 6
RNG = generator(0, "noisy outputs of a test")
OUTPUTS = 3 * RNG.standard_normal((CLASSES, IMAGES, REPLICATIONS))
LABELS = RNG.integers(0, CLASSES, IMAGES)
SMOOTH = {
    "cross-entropy": (CrossEntropy(), losses.cross_entropy),
    "cross-entropy of rows": (OfRows(), losses.cross_entropy),
    "squared error": (OfRows(losses.squared_error), losses.squared_error),
    "margin": (OfRows(losses.margin), losses.margin),
}
every_smooth_loss = pytest.mark.parametrize(("loss", "single"), SMOOTH.values(), ids=SMOOTH)
every_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)


def one_by_one(function, outputs=OUTPUTS):
    """A loss of single outputs, for each replication: value and derivative in this module's shapes."""
    values, derivatives = zip(*(function(outputs[:, :, k].T, LABELS) for k in range(outputs.shape[2])), strict=True)
    return np.stack(values, axis=1), np.stack(derivatives, axis=2).transpose(1, 0, 2)


# -- smooth losses -----------------------------------------------------------------------------------------------------------


@every_smooth_loss
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_smooth_losses_are_those_of_single_outputs(xp_device, loss, single, dtype):
    outputs, labels = to_device(OUTPUTS.astype(dtype)), to_device(LABELS)
    value, derivative = loss.value(outputs, labels), loss.derivative(outputs, labels)
    assert np.array_equal(to_numpy(outputs), OUTPUTS.astype(dtype))
    for found, expected in zip((value, derivative), one_by_one(single), strict=True):
        assert type(found) is xp_device.ndarray
        assert (found.dtype, found.shape) == (dtype, expected.shape)
        assert np.allclose(to_numpy(found), expected, rtol=0, atol=1e-5 if dtype == np.float32 else 1e-13)


@pytest.mark.parametrize("labels_dtype", [np.int64, np.int32, np.uint8])
def test_labels_may_be_of_any_integer_type(labels_dtype):
    for loss in (CrossEntropy(), ZeroOne(), OfRows()):
        assert np.array_equal(loss.value(OUTPUTS, LABELS.astype(labels_dtype)), loss.value(OUTPUTS, LABELS))
    assert np.array_equal(
        CrossEntropy().derivative(OUTPUTS, LABELS.astype(labels_dtype)), CrossEntropy().derivative(OUTPUTS, LABELS)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_outputs_neither_overflow_nor_warn(dtype):
    outputs = np.array([[1e4], [-1e4], [0]], dtype=dtype)[:, :, None]
    assert CrossEntropy().value(outputs, np.array([0]))[0, 0] == 0
    assert CrossEntropy().value(outputs, np.array([1]))[0, 0] == pytest.approx(2e4)
    assert CrossEntropy().derivative(outputs, np.array([2]))[:, 0, 0].tolist() == [1, 0, -1]


def test_probabilities_are_softmax(xp_device):
    softmax = probabilities(to_device(OUTPUTS))
    exponentials = np.exp(OUTPUTS)
    assert np.allclose(to_numpy(softmax), exponentials / exponentials.sum(axis=0), rtol=1e-12, atol=0)


# -- zero-one ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zero_one_is_0_just_when_the_label_has_the_largest_output(xp_device, dtype):
    loss = ZeroOne().value(to_device(OUTPUTS.astype(dtype)), to_device(LABELS))
    assert loss.dtype == dtype
    assert np.array_equal(to_numpy(loss), OUTPUTS.argmax(axis=0) != LABELS[:, None])


def test_zero_one_is_0_if_nothing_exceeds_the_label():
    outputs = np.array([[1.0, 1.0, 2.0], [1.0, 2.0, 1.0]])[:, None, :]
    assert ZeroOne().value(outputs, np.array([0])).tolist() == [[0, 1, 0]]
    assert ZeroOne().value(outputs, np.array([1])).tolist() == [[0, 0, 1]]


def test_zero_one_has_no_derivative_and_says_so():
    assert not ZeroOne().smooth
    with pytest.raises(InputError, match="loss: 'zero-one'.*cross-entropy"):
        ZeroOne().derivative(OUTPUTS, LABELS)


def test_losses_are_found_by_name():
    assert (loss_named("cross-entropy"), loss_named("zero-one")) == (CrossEntropy(), ZeroOne())
    with pytest.raises(InputError, match="cross-entropy, zero-one"):
        loss_named("hinge")


# -- the 0-1 loss averaged over output noise ---------------------------------------------------------------------------------

SCALE = np.array([1.7])


def quadrature(law, points=30):
    """Nodes and weights for the noise of the label's own output."""
    nodes, weights = nodes_of(law, points)
    return nodes[:, None, None], weights


@every_law
def test_the_error_probability_is_the_numerical_integral(law):
    """∫ f(t) ∏_{j≠y} F((z_y - z_j)/σ + t) dt by SciPy, piece by piece where Laplace's F has its kinks."""
    found, exact = error_probability(OUTPUTS, LABELS, law, SCALE, *quadrature(law, 400)), distribution_of(law)
    for image, label in enumerate(LABELS[:2]):
        lead = np.delete(OUTPUTS[label, image, 0] - OUTPUTS[:, image, 0], label) / SCALE[0]
        ends = [-np.inf, *np.sort(np.append(-lead, 0)), np.inf]
        right = sum(quad(lambda t: exact.pdf(t) * exact.cdf(lead + t).prod(), *piece)[0] for piece in pairwise(ends))  # noqa: B023
        assert found[image, 0] == pytest.approx(1 - right, abs=1e-5)


@every_law
def test_the_error_probability_is_how_often_noise_makes_an_error(law):
    draws, rng = 40_000, np.random.default_rng(1)
    expected = error_probability(OUTPUTS, LABELS, law, SCALE, *quadrature(law))
    noise = distribution_of(law).rvs((CLASSES, IMAGES, REPLICATIONS, draws), random_state=rng)
    wrong = ((OUTPUTS[..., None] + SCALE * noise).argmax(axis=0) != LABELS[:, None, None]).sum(axis=2)
    z = (wrong - draws * expected) / np.sqrt(draws * expected * (1 - expected))
    assert np.abs(z).max() < stats.norm.isf(FALSE_ALARM / 2 / expected.size)


@every_law
def test_the_mean_over_drawn_nodes_is_unbiased_for_any_number_of_them(law):
    draws, rng = 20_000, np.random.default_rng(2)
    expected = error_probability(OUTPUTS, LABELS, law, SCALE, *quadrature(law))[:, 0]
    nodes = distribution_of(law).rvs((2, IMAGES, draws), random_state=rng)
    found = error_probability(np.repeat(OUTPUTS[:, :, :1], draws, axis=2), LABELS, law, SCALE, nodes)
    z = (found.mean(axis=1) - expected) / (found.std(axis=1) / draws**0.5)
    assert np.abs(z).max() < stats.norm.isf(FALSE_ALARM / 2 / IMAGES)


@every_law
def test_moving_all_outputs_changes_no_error_probability(law):
    gradient = error_probability_gradient(OUTPUTS, LABELS, law, SCALE, *quadrature(law))
    assert np.allclose(gradient.sum(axis=0), 0, atol=1e-12)
    of_label = gradient[LABELS, np.arange(IMAGES)]
    assert (of_label < 0).all()
    assert (np.delete(gradient[:, 0], LABELS[0], axis=0) > 0).all()


@every_law
def test_far_outputs_neither_overflow_nor_warn(law):
    outputs = np.array([60, -60, 0], dtype=np.float32)[:, None, None]
    nodes, scale = np.array([-1, 1], dtype=np.float32)[:, None, None], np.ones(1, dtype=np.float32)
    for label, expected in ((0, 0), (1, 1)):
        given = (outputs, np.array([label]), law, scale, nodes)
        assert error_probability(*given)[0, 0] == pytest.approx(expected, abs=1e-4)
        assert np.isfinite(error_probability_gradient(*given)).all()


@every_law
def test_the_error_probability_on_every_device(xp_device, law):
    scale, nodes = SCALE.astype(np.float32), RNG.standard_normal((3, IMAGES, REPLICATIONS)).astype(np.float32)
    for function in (error_probability, error_probability_gradient):
        found = function(*map(to_device, (OUTPUTS.astype(np.float32), LABELS)), law, *map(to_device, (scale, nodes)))
        assert type(found) is xp_device.ndarray
        assert found.dtype == np.float32
        assert np.allclose(to_numpy(found), function(OUTPUTS, LABELS, law, SCALE, nodes.astype(np.float64)), rtol=0, atol=1e-5)
