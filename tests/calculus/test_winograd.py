"""Minimal filtering equals the plain convolution, except for rounding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicereb import backend
from minicereb.backend import to_device, to_numpy
from minicereb.calculus import winograd as module
from minicereb.calculus.convolution import convolution, convolution_input_gradient, convolution_weight_gradient
from minicereb.calculus.winograd import applies, winograd, winograd_weight_gradient
from minicereb.randomness import generator


def arrays(batch, height, width, channels, outputs, dtype=np.float64):
    """x, weight, bias and a credit for the output."""
    rng = generator(0, "minimal filtering")
    shapes = (batch, height, width, channels), (outputs, 3, 3, channels), (outputs,), (batch, height, width, outputs)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


even = st.integers(1, 5).map(lambda half: 2 * half)


@given(st.integers(1, 5), even, even, st.integers(1, 4), st.integers(1, 4), st.sampled_from([4, 64, 1 << 16]))
def test_it_is_the_plain_convolution_and_its_derivative(batch, height, width, channels, outputs, together):
    x, weight, bias, credit = arrays(batch, height, width, channels, outputs)
    before = module.RESPONSES
    module.RESPONSES = together  # images go through in blocks of any size
    try:
        assert np.allclose(winograd(x, weight, bias), convolution(x, weight, bias, 1, 1), rtol=0, atol=1e-12)
        assert np.allclose(winograd(x, weight, None), convolution(x, weight, 0 * bias, 1, 1), rtol=0, atol=1e-12)
        d_weight, _ = convolution_weight_gradient(credit, x, (3, 3), 1, 1)
        assert np.allclose(winograd_weight_gradient(credit, x), d_weight, rtol=0, atol=1e-11)
    finally:
        module.RESPONSES = before


@pytest.mark.parametrize(
    ("window", "images", "outputs", "found"),
    [
        ((3, 3, 1, 1), (8, 4, 6, 64), 64, True),
        ((3, 3, 1, 1), (8, 4, 6, 63), 64, False),
        ((3, 3, 1, 1), (8, 4, 6, 64), 63, False),
        ((3, 3, 1, 1), (8, 5, 6, 64), 64, False),
        ((3, 3, 1, 1), (8, 4, 7, 64), 64, False),
        ((3, 3, 2, 1), (8, 4, 6, 64), 64, False),
        ((3, 3, 1, 0), (8, 4, 6, 64), 64, False),
        ((3, 2, 1, 1), (8, 4, 6, 64), 64, False),
    ],
)
def test_where_it_applies(window, images, outputs, found):
    assert applies(*window, images, outputs) is found


def test_a_convolution_takes_it_only_where_it_may(monkeypatch):
    monkeypatch.setattr("minicereb.calculus.convolution.winograd4_applies", lambda x, outputs: False)
    x, weight, bias, credit = arrays(3, 6, 4, 64, 65, np.float32)
    for minimal in (False, True):
        v = convolution(x, weight, bias, 1, 1, minimal)
        d_weight, d_bias = convolution_weight_gradient(credit, x, (3, 3), 1, 1, minimal)
        d_x = convolution_input_gradient(credit, weight, (6, 4), 1, 1, minimal)
        turned = np.ascontiguousarray(weight[:, ::-1, ::-1].transpose(3, 1, 2, 0))
        assert np.array_equal(v, winograd(x, weight, bias)) is minimal
        assert np.array_equal(d_weight, winograd_weight_gradient(credit, x)) is minimal
        assert np.array_equal(d_x, winograd(credit, turned, None)) is minimal
        assert np.allclose(d_bias, credit.sum(axis=(0, 1, 2)), rtol=0, atol=1e-4)


def test_in_float32_it_is_as_exact_as_the_plain_form_but_for_a_small_factor():
    x, weight, bias, _ = arrays(4, 8, 8, 64, 64)
    exact = convolution(x, weight, bias, 1, 1)
    narrow = [array.astype(np.float32) for array in (x, weight, bias)]
    errors = [abs(form - exact).max() for form in (winograd(*narrow), convolution(*narrow, 1, 1))]
    assert errors[0] < 8 * errors[1]
    assert errors[0] < 1e-6 * abs(exact).max()


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_do_not_change_a_bit(threads):
    x, weight, bias, credit = arrays(40, 12, 12, 32, 48, np.float32)
    backend.configure(threads=1)
    alone = winograd(x, weight, bias), winograd_weight_gradient(credit, x)
    backend.configure(threads=threads)
    for one, other in zip(alone, (winograd(x, weight, bias), winograd_weight_gradient(credit, x)), strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_device_filters_the_same_way(xp_device, dtype):
    host = arrays(5, 4, 6, 3, 2, dtype)
    x, weight, bias, credit = map(to_device, host)
    found = winograd(x, weight, bias), winograd_weight_gradient(credit, x)
    wide = [array.astype(np.float64) for array in host]
    expected = convolution(*wide[:3], 1, 1), convolution_weight_gradient(wide[3], wide[0], (3, 3), 1, 1)[0]
    for one, other in zip(found, expected, strict=True):
        assert type(one) is xp_device.ndarray
        assert one.dtype == dtype
        assert np.allclose(to_numpy(one), other, rtol=0, atol=1e-4)
