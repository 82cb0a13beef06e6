"""The values of the losses, also at the limits of floating-point numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minicereb.calculus.losses import (
    cross_entropy,
    dlr,
    margin,
    squared_error,
    targeted_cross_entropy,
    targeted_dlr,
    targeted_margin,
)

shapes = st.tuples(st.integers(1, 6), st.integers(2, 8))


@st.composite
def cases(draw, dtype=np.float32, limit=1e4):
    """Outputs and labels."""
    shape = draw(shapes)
    outputs = draw(hnp.arrays(dtype, shape, elements=st.floats(-limit, limit, width=32)))
    return outputs, draw(hnp.arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))


@given(cases())
def test_the_margin_is_positive_just_when_the_image_is_misclassified(case):
    outputs, labels = case
    value, _ = margin(outputs, labels)
    correct = outputs[np.arange(len(labels)), labels]
    tied = (outputs == correct[:, None]).sum(axis=1) > 1
    wrong = outputs.argmax(axis=1) != labels
    assert np.array_equal(value[~tied] > 0, wrong[~tied])
    assert np.array_equal(value > 0, outputs.max(axis=1) > correct)  # where outputs tie, the answer is argmax's and the margin 0
    assert np.array_equal(np.sign(value[tied]), np.sign(outputs.max(axis=1) - correct)[tied])


@given(cases())
def test_the_margin_is_the_best_wrong_output_less_the_right_one(case):
    outputs, labels = case
    value, derivative = margin(outputs, labels)
    for row, label in enumerate(labels):
        rival = int(np.delete(outputs[row], label).argmax())
        rival += rival >= label
        assert value[row] == outputs[row, rival] - outputs[row, label]
        expected = np.zeros(outputs.shape[1])
        expected[rival], expected[label] = 1, -1
        assert np.array_equal(derivative[row], expected)


@given(cases(np.float64))
def test_cross_entropy_is_the_logarithm_of_the_softmax(case):
    outputs, labels = case
    value, derivative = cross_entropy(outputs, labels)
    softmax = np.exp(outputs - np.logaddexp.reduce(outputs, axis=1, keepdims=True))
    expected = np.logaddexp.reduce(outputs, axis=1) - outputs[np.arange(len(labels)), labels]
    assert np.allclose(value, expected, rtol=1e-12, atol=1e-11)
    assert np.allclose(derivative, softmax - np.eye(outputs.shape[1])[labels], rtol=0, atol=1e-11)
    assert (value >= 0).all()


@pytest.mark.parametrize("scale", [1e4, 1e30, -1e4, -1e30])
def test_cross_entropy_overflows_nowhere(scale):
    outputs, labels = np.array([[1, 0], [1, 0]], dtype=np.float32) * np.float32(scale), np.array([0, 1])
    value, derivative = cross_entropy(outputs, labels)
    assert value.dtype == derivative.dtype == np.float32
    assert value == pytest.approx([0, abs(scale)] if scale > 0 else [abs(scale), 0])
    assert np.array_equal(derivative, [[0, 0], [1, -1]] if scale > 0 else [[-1, 1], [0, 0]])


@given(cases(np.float64, 100.0))
def test_squared_error_is_half_the_squared_distance_from_the_target(case):
    outputs, labels = case
    value, error = squared_error(outputs, labels)
    targets = np.eye(outputs.shape[1])[labels]
    assert np.array_equal(error, outputs - targets)
    assert np.allclose(value, np.linalg.norm(outputs - targets, axis=1) ** 2 / 2, rtol=1e-12, atol=0)


@given(cases(np.float32, 10.0), st.randoms(use_true_random=False))
def test_an_image_has_its_own_value_whatever_its_neighbours(case, random):
    outputs, labels = case
    order = list(range(len(labels)))
    random.shuffle(order)
    for loss in (squared_error, cross_entropy, margin, dlr):
        value, derivative = loss(outputs, labels)
        shuffled = loss(outputs[order], labels[order])
        assert np.array_equal(shuffled[0], value[order])
        assert np.array_equal(shuffled[1], derivative[order])


def distinct(classes, images=40, seed=0):
    """Outputs of which no two are equal, labels, and targets that differ from them."""
    rng = np.random.default_rng(seed)
    outputs = rng.permuted(np.tile(np.arange(classes) ** 2.0, (images, 1)), axis=1)
    labels = rng.integers(0, classes, images)
    return outputs, labels, (labels + rng.integers(1, classes, images)) % classes


@pytest.mark.parametrize("classes", [3, 4, 10])
def test_the_logits_ratio_is_as_published(classes):
    outputs, labels, _ = distinct(classes)
    for z, y, value in zip(outputs, labels, dlr(outputs, labels)[0], strict=True):
        first, _, third = sorted(z, reverse=True)[:3]
        assert value == pytest.approx(-(z[y] - np.delete(z, y).max()) / (first - third), rel=1e-9)


@pytest.mark.parametrize("classes", [4, 5, 10])
def test_the_targeted_logits_ratio_is_as_published(classes):
    outputs, labels, targets = distinct(classes)
    for z, y, t, value in zip(outputs, labels, targets, targeted_dlr(outputs, labels, targets)[0], strict=True):
        first, _, third, fourth = sorted(z, reverse=True)[:4]
        assert value == pytest.approx(-(z[y] - z[t]) / (first - (third + fourth) / 2), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_ratios_depend_neither_on_shift_nor_on_scale(scale):
    outputs, labels, targets = distinct(6)
    for loss, given_ in ((dlr, (labels,)), (targeted_dlr, (labels, targets))):
        value, derivative = loss(outputs, *given_)
        changed = loss(scale * outputs + 5, *given_)
        assert np.allclose(changed[0], value, rtol=1e-6, atol=0)
        assert np.allclose(changed[1] * scale, derivative, rtol=1e-6, atol=1e-9)
        assert np.allclose(derivative.sum(axis=1), 0, rtol=0, atol=1e-12)


def test_with_too_few_classes_the_ratios_are_margins():
    for classes in (2, 3):
        outputs, labels, targets = distinct(classes)
        for found, expected in zip(
            targeted_dlr(outputs, labels, targets), targeted_margin(outputs, labels, targets), strict=True
        ):
            assert np.array_equal(found, expected)
    outputs, labels, _ = distinct(2)
    for found, expected in zip(dlr(outputs, labels), margin(outputs, labels), strict=True):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("value", [0.0, 3.0, -1e4])
def test_where_all_outputs_are_equal_the_ratios_are_finite(value):
    outputs, labels = np.full((3, 5), value, dtype=np.float32), np.arange(3)
    for found in (*dlr(outputs, labels), *targeted_dlr(outputs, labels, labels + 1)):
        assert found.dtype == np.float32
        assert np.isfinite(found).all()


@given(cases(np.float64, 100.0))
def test_the_margin_is_that_towards_the_likeliest_wrong_class(case):
    outputs, labels = case
    each = [targeted_margin(outputs, labels, np.full_like(labels, target))[0] for target in range(outputs.shape[1])]
    each = np.where(np.arange(outputs.shape[1])[:, None] == labels, -np.inf, each)
    assert np.array_equal(each.max(axis=0), margin(outputs, labels)[0])


def test_the_targeted_cross_entropy_is_the_targets_log_probability():
    outputs, labels, targets = distinct(5)
    value, derivative = targeted_cross_entropy(outputs, labels, targets)
    probabilities = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    assert np.allclose(value, np.log(probabilities[np.arange(40), targets]))
    assert np.allclose(derivative, np.eye(5)[targets] - probabilities)
