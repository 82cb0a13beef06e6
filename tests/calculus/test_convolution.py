"""Convolution and pooling against their definitions, and their derivatives against differences and adjoints."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicereb import backend
from minicereb.backend import to_device, to_numpy
from minicereb.calculus import convolution as module
from minicereb.calculus.convolution import (
    Window,
    convolution,
    convolution_input_gradient,
    convolution_weight_gradient,
)
from minicereb.calculus.pooling import max_pool, max_pool_input_gradient
from minicereb.errors import InputError
from minicereb.randomness import generator


@st.composite
def cases(draw):
    """Sizes of a convolution that has an output: batch, sides, channels, outputs, kernel, stride, padding."""
    kernel, padding = draw(st.tuples(st.integers(1, 4), st.integers(1, 4))), draw(st.integers(0, 2))
    sides = [draw(st.integers(max(1, side - 2 * padding), 9)) for side in kernel]
    return (
        draw(st.integers(1, 4)),
        *sides,
        draw(st.integers(1, 3)),
        draw(st.integers(1, 4)),
        kernel,
        draw(st.integers(1, 3)),
        padding,
    )


def arrays_of(case, dtype=np.float64):
    """x, weight, bias and a credit for the output."""
    batch, height, width, channels, outputs, kernel, stride, padding = case
    sides = Window(*kernel, stride, padding).positions(height, width)
    rng = generator(0, "convolution")
    shapes = (batch, height, width, channels), (outputs, *kernel, channels), (outputs,), (batch, *sides, outputs)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def by_definition(x, weight, bias, stride, padding):
    """Each output on its own."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    outputs, height, width, _ = weight.shape
    down, across = (x.shape[1] - height) // stride + 1, (x.shape[2] - width) // stride + 1
    v = np.empty((len(x), down, across, outputs))
    for i in range(down):
        for j in range(across):
            window = x[:, i * stride : i * stride + height, j * stride : j * stride + width]
            v[:, i, j] = np.einsum("bhwc,ohwc->bo", window, weight) + bias
    return v


@given(cases(), st.sampled_from([1, 7, 1024]))
def test_convolution_is_its_definition_and_its_derivatives_are_adjoint(case, together):
    _, height, width, _, _, kernel, stride, padding = case
    x, weight, bias, credit = arrays_of(case)
    before = module.POSITIONS
    module.POSITIONS = together  # images go through in blocks of any size
    try:
        v = convolution(x, weight, bias, stride, padding)
        assert np.allclose(v, by_definition(x, weight, bias, stride, padding), rtol=0, atol=1e-12)
        linear = v - bias
        d_x = convolution_input_gradient(credit, weight, (height, width), stride, padding)
        assert d_x.shape == x.shape
        assert np.vdot(d_x, x) == pytest.approx(np.vdot(credit, linear), rel=1e-10, abs=1e-10)
        d_weight, d_bias = convolution_weight_gradient(credit, x, kernel, stride, padding)
        assert d_weight.shape == weight.shape
        assert np.vdot(d_weight, weight) == pytest.approx(np.vdot(credit, linear), rel=1e-10, abs=1e-10)
        assert np.allclose(d_bias, credit.sum(axis=(0, 1, 2)), rtol=0, atol=1e-12)
    finally:
        module.POSITIONS = before


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_change_a_bit(threads):
    x, weight, bias, credit = arrays_of((40, 12, 12, 3, 8, (3, 3), 1, 1), np.float32)
    backend.configure(threads=1)
    alone = convolution(x, weight, bias, 1, 1), *convolution_weight_gradient(credit, x, (3, 3), 1, 1)
    backend.configure(threads=threads)
    together = convolution(x, weight, bias, 1, 1), *convolution_weight_gradient(credit, x, (3, 3), 1, 1)
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_device_convolves_the_same_way(xp_device, dtype):
    case = (5, 7, 6, 2, 3, (3, 3), 2, 1)
    host = arrays_of(case, dtype)
    x, weight, bias, credit = map(to_device, host)
    found = (
        convolution(x, weight, bias, 2, 1),
        convolution_input_gradient(credit, weight, (7, 6), 2, 1),
        *convolution_weight_gradient(credit, x, (3, 3), 2, 1),
    )
    wide = [array.astype(np.float64) for array in host]
    expected = (
        by_definition(*wide[:3], 2, 1),
        convolution_input_gradient(wide[3], wide[1], (7, 6), 2, 1),
        *convolution_weight_gradient(wide[3], wide[0], (3, 3), 2, 1),
    )
    for one, other in zip(found, expected, strict=True):
        assert type(one) is xp_device.ndarray
        assert one.dtype == dtype
        assert np.allclose(to_numpy(one), other, rtol=0, atol=1e-4)


def test_a_kernel_larger_than_the_image_is_told():
    x, weight, bias, _ = arrays_of((1, 5, 5, 1, 1, (3, 3), 1, 0))
    with pytest.raises(
        InputError, match="image: '2 x 5' is not valid; expected at least 3 x 3 pixels for the kernel, with padding 0"
    ):
        convolution(x[:, :2], weight, bias)


# -- pooling -----------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 3), st.integers(1, 7), st.integers(1, 7), st.integers(1, 3), st.integers(0, 1000))
def test_pooling_takes_the_largest_and_the_first_among_equals(batch, height, width, size, seed):
    if size > min(height, width):
        return
    x = generator(seed, "pooling").integers(0, 3, (batch, height, width, 2)).astype(np.float64)
    h, winner = max_pool(x, size)
    rows, columns = height // size, width // size
    assert h.shape == winner.shape == (batch, rows, columns, 2)
    squares = x[:, : rows * size, : columns * size].reshape(batch, rows, size, columns, size, 2).transpose(0, 1, 3, 5, 2, 4)
    squares = squares.reshape(batch, rows, columns, 2, size * size)
    assert np.array_equal(h, squares.max(axis=-1))
    assert np.array_equal(winner, squares.argmax(axis=-1))
    credit = generator(seed, "credit").standard_normal(h.shape)
    d_x = max_pool_input_gradient(credit, winner, size, (height, width))
    assert d_x.shape == x.shape
    assert (d_x != 0).sum() == credit.size
    assert np.vdot(d_x, x) == pytest.approx(np.vdot(credit, h))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_device_pools_the_same_way(xp_device, dtype):
    x, credit = (
        generator(n, "pooling").standard_normal(shape).astype(dtype) for n, shape in ((0, (2, 4, 6, 3)), (1, (2, 2, 3, 3)))
    )
    h, winner = max_pool(to_device(x), 2)
    d_x = max_pool_input_gradient(to_device(credit), winner, 2, (4, 6))
    expected = max_pool(x, 2)
    for found, wanted in (
        (h, expected[0]),
        (winner, expected[1]),
        (d_x, max_pool_input_gradient(credit, expected[1], 2, (4, 6))),
    ):
        assert type(found) is xp_device.ndarray
        assert found.dtype == wanted.dtype
        assert np.array_equal(to_numpy(found), wanted)


def test_a_square_larger_than_the_image_is_told():
    with pytest.raises(InputError, match="pool size: 4 is not valid; expected a whole number from 1 to the 3 x 9 pixels"):
        max_pool(np.zeros((1, 3, 9, 1)), 4)
