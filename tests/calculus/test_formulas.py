"""Formulas keep the dtype and the device of their arguments; the transposed projection is the adjoint."""

import numpy as np
import pytest

from minicereb.backend import to_device, to_numpy
from minicereb.calculus.activations import relu, relu_input_gradient
from minicereb.calculus.dense import dense, dense_input_gradient, dense_weight_gradient
from minicereb.calculus.losses import (
    cross_entropy,
    dlr,
    margin,
    one_hot,
    squared_error,
    targeted_cross_entropy,
    targeted_dlr,
    targeted_margin,
)
from minicereb.calculus.projection import add_project_input_gradient, project
from minicereb.gradcheck.differences import check_adjoint
from minicereb.randomness import generator

RNG = generator(0, "derivatives")
X, WEIGHT, BIAS, CREDIT = (RNG.standard_normal(shape) for shape in ((7, 5), (4, 5), (4,), (7, 4)))
LABELS = RNG.integers(0, 4, 7)


def towards_next(loss):
    """A targeted loss whose target is the class after the label."""
    return lambda outputs, labels: loss(outputs, labels, (labels + 1) % 4)


TARGETED = [towards_next(loss) for loss in (targeted_margin, targeted_cross_entropy, targeted_dlr)]
LOSSES = [squared_error, cross_entropy, margin, dlr, *TARGETED]


@pytest.mark.parametrize("per_cell", [1, 3, 9])
def test_the_transpose_of_the_projection_is_its_adjoint(per_cell):
    weights, inputs = RNG.standard_normal((20, per_cell)), RNG.integers(0, 9, (20, per_cell), dtype=np.int32)
    for connections in (inputs, None) if per_cell == 9 else (inputs,):
        error = check_adjoint(
            lambda x_t, j=connections: project(weights, j, x_t, np.empty((20, 6))),
            lambda d_v, j=connections: add_project_input_gradient(weights, j, d_v, np.zeros((9, 6))),
            (9, 6),
            (20, 6),
        )
        assert error < 1e-14


def test_the_transpose_of_the_projection_adds_to_what_is_there():
    weights, d_v, before = RNG.standard_normal((20, 9)), RNG.standard_normal((20, 6)), RNG.standard_normal((9, 6))
    d_x_t = before.copy()
    assert add_project_input_gradient(weights, None, d_v, d_x_t) is d_x_t
    assert np.allclose(d_x_t, before + weights.T @ d_v, rtol=0, atol=1e-13)


def test_relu_of_special_values():
    v = np.array([-np.inf, -1, -0.0, 0.0, 5e-324, np.inf, np.nan])
    h = relu(v)
    assert h[:6].tolist() == [0, 0, 0, 0, 5e-324, np.inf]
    assert np.isnan(h[6])  # a model that has gone wrong must not look right
    assert relu(v, out=v) is v


# -- on every device ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_keep_dtype_and_device(xp_device, loss, dtype):
    outputs = CREDIT.astype(dtype)
    value, derivative = loss(to_device(outputs), to_device(LABELS))
    expected = loss(outputs, LABELS)
    assert (value.shape, derivative.shape) == ((7,), (7, 4))
    for found, wanted in zip((value, derivative), expected, strict=True):
        assert found.dtype == dtype
        assert type(found) is type(to_device(outputs))
        assert np.allclose(to_numpy(found), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("labels_dtype", [np.int64, np.int32, np.uint8])
def test_targets_are_one_at_the_label(xp_device, labels_dtype):
    like = xp_device.empty((7, 4), dtype=xp_device.float32)
    targets = one_hot(to_device(LABELS.astype(labels_dtype)), like)
    assert targets.dtype == np.float32
    assert np.array_equal(to_numpy(targets), np.eye(4)[LABELS])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layers_keep_dtype_and_device(xp_device, dtype):
    x, weight, bias, credit = (to_device(array.astype(dtype)) for array in (X, WEIGHT, BIAS, CREDIT))
    v = dense(x, weight, bias)
    h = relu(v)
    d_v = relu_input_gradient(credit, v > 0)
    results = (v, h, d_v, dense_input_gradient(d_v, weight), *dense_weight_gradient(d_v, x))
    expected_v = X @ WEIGHT.T + BIAS
    expected_d = CREDIT * (expected_v > 0)
    wanted = (expected_v, expected_v.clip(0), expected_d, expected_d @ WEIGHT, expected_d.T @ X, expected_d.sum(axis=0))
    for found, value in zip(results, wanted, strict=True):
        assert found.dtype == dtype
        assert type(found) is type(x)
        assert np.allclose(to_numpy(found), value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_projection_keeps_dtype_and_device(xp_device, sparse, dtype):
    weights, d_v = RNG.standard_normal((20, 5)), RNG.standard_normal((20, 7))
    inputs = to_device(RNG.permuted(np.tile(np.arange(5, dtype=np.int32), (20, 1)), axis=1)) if sparse else None
    dense_weights = weights if inputs is None else np.take_along_axis(weights, to_numpy(inputs).argsort(axis=1), axis=1)
    there, x_t = to_device(weights.astype(dtype)), to_device(np.ascontiguousarray(X.T).astype(dtype))
    out = project(there, inputs, x_t, xp_device.empty((20, 7), dtype=dtype))
    back = add_project_input_gradient(there, inputs, to_device(d_v.astype(dtype)), xp_device.zeros((5, 7), dtype=dtype))
    assert out.dtype == back.dtype == dtype
    assert np.allclose(to_numpy(out), dense_weights @ X.T, rtol=0, atol=1e-5)
    assert np.allclose(to_numpy(back), dense_weights.T @ d_v, rtol=0, atol=1e-5)
