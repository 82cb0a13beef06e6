"""Activations of noisy neurons: values, limits, singular points, derivatives."""

import numpy as np
import pytest

from minicereb.backend import to_device, to_numpy
from minicereb.calculus.activations import ACTIVATIONS, LOG_FLOOR, Activation, sigmoid, threshold
from minicereb.errors import InputError
from minicereb.randomness import generator

V = generator(0, "signals of a test").normal(0, 3, (40, 5))  # none within 1e-3 of 0
FORMULAS = {
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "threshold": lambda v: (v > 0).astype(float),
    "absolute": np.abs,
    "arctan-inverse": lambda v: np.arctan(1 / v),
    "log-absolute": lambda v: np.log(np.abs(v)),
    "log-absolute-minus": lambda v: np.log(np.abs(v)) - v,
}
AT_ZERO = {
    "sigmoid": 0.5,
    "threshold": 0.0,
    "absolute": 0.0,
    "arctan-inverse": -np.pi / 2,
    "log-absolute": np.log(LOG_FLOOR),
    "log-absolute-minus": np.log(LOG_FLOOR),
}
SMOOTH = [Activation("sigmoid"), Activation("sigmoid", 0.3), Activation("sigmoid", 20.0), Activation("absolute")]
every_activation = pytest.mark.parametrize("name", ACTIVATIONS)


def test_the_signals_of_these_tests_keep_off_the_singular_point():
    assert np.abs(V).min() > 1e-3
    assert FORMULAS.keys() == AT_ZERO.keys() == ACTIVATIONS.keys()


@every_activation
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_on_every_device(xp_device, name, dtype):
    activation, v = Activation(name), to_device(V.astype(dtype))
    h, out = activation(v), xp_device.empty(V.shape, dtype=dtype)
    assert np.array_equal(to_numpy(v), V.astype(dtype))  # the signals are needed again
    assert activation(v, out=out) is out
    assert np.array_equal(to_numpy(out), to_numpy(h))
    assert activation(v, out=v) is v
    assert np.array_equal(to_numpy(v), to_numpy(h))
    assert type(h) is xp_device.ndarray
    assert h.dtype == dtype
    assert np.allclose(to_numpy(h), FORMULAS[name](V.astype(dtype).astype(np.float64)), rtol=1e-5, atol=1e-6)
    assert dtype == np.float32 or np.allclose(to_numpy(h), FORMULAS[name](V), rtol=1e-12, atol=1e-14)


@every_activation
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_at_0_and_near_it(name, dtype):
    activation, tiny = Activation(name), np.finfo(dtype).tiny
    assert np.allclose(activation(np.zeros(3, dtype=dtype)), AT_ZERO[name], rtol=1e-6, atol=0)
    h = activation(np.array([-1e-3, -tiny, -0.0, 0.0, tiny, 1e-3], dtype=dtype))
    assert h[2] == h[3]
    if name == "threshold":
        assert h.tolist() == [0, 0, 0, 0, 1, 1]
    elif name == "arctan-inverse":
        assert np.allclose(h, np.arctan([-1e3, -1e300, -1e300, -1e300, 1e300, 1e3]), rtol=1e-6)
    elif name in ("log-absolute", "log-absolute-minus"):
        below = activation(np.array([-LOG_FLOOR / 2, LOG_FLOOR / 2], dtype=dtype))
        assert np.allclose(below, np.log(LOG_FLOOR), rtol=1e-6)
        assert np.allclose(h[[0, 5]], FORMULAS[name](np.array([-1e-3, 1e-3])), rtol=1e-5)
    else:
        assert np.allclose(h, FORMULAS[name](np.array([-1e-3, 0, 0, 0, 0, 1e-3])), rtol=1e-5)


@every_activation
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_signals_neither_overflow_nor_warn(name, dtype):
    largest = np.finfo(dtype).max
    h = Activation(name)(np.array([-largest, -1e4, 1e4, largest], dtype=dtype))
    assert np.isfinite(h).all()
    expected = {
        "sigmoid": [0, 0, 1, 1],
        "threshold": [0, 0, 1, 1],
        "absolute": [largest, 1e4, 1e4, largest],
        "arctan-inverse": [0, -1e-4, 1e-4, 0],
        "log-absolute": np.log([largest, 1e4, 1e4, largest]),
        "log-absolute-minus": [largest, np.log(1e4) + 1e4, np.log(1e4) - 1e4, -largest],
    }
    assert np.allclose(h, expected[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("sigmoid", [0, 1]),
        ("threshold", [0, 1]),
        ("absolute", [np.inf, np.inf]),
        ("arctan-inverse", [0, 0]),
        ("log-absolute", [np.inf, np.inf]),
    ],
)
def test_infinite_signals(name, limits):
    assert np.allclose(Activation(name)(np.array([-np.inf, np.inf])), limits, rtol=0, atol=1e-15)


def test_a_signal_that_is_no_number_does_not_become_one():
    """A diverged model must not look right; only the threshold cannot return NaN, since its values are 0 and 1."""
    for name in ACTIVATIONS:
        h = Activation(name)(np.array([np.nan]))
        assert np.isnan(h[0]) or name == "threshold"


@pytest.mark.parametrize("slope", [1.0, 10.0, 1e3, 1e6])
def test_the_sigmoid_tends_to_the_threshold(slope):
    """The two differ by no more than exp(-s|v|)."""
    difference = np.abs(sigmoid(V, slope) - threshold(V))
    assert (difference <= np.exp(-slope * np.abs(V)) + 1e-15).all()
    assert np.allclose(sigmoid(V, slope), sigmoid(slope * V), rtol=0, atol=1e-15)


# -- derivatives -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", SMOOTH, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_derivatives_keep_dtype_and_device(xp_device, activation, dtype):
    derivative = activation.derivative(to_device(V.astype(dtype)))
    assert type(derivative) is xp_device.ndarray
    assert derivative.dtype == dtype
    assert np.allclose(to_numpy(derivative), activation.derivative(V), rtol=1e-4, atol=1e-5)


def test_the_derivative_at_the_kink_is_0():
    assert Activation("absolute").derivative(np.zeros(1)).tolist() == [0]


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name not in ("sigmoid", "absolute")])
def test_derivatives_do_not_pass_through_a_jump_or_a_pole(name):
    assert not Activation(name).smooth
    with pytest.raises(InputError, match=f"activation: '{name}'.*sigmoid or absolute"):
        Activation(name).derivative(V)


# -- settings ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "setting", "expected"),
    [
        (("relu",), "activation", "sigmoid, threshold"),
        (("sigmoid", 0.0), "slope", "above 0"),
        (("sigmoid", float("inf")), "slope", "above 0"),
        (("sigmoid", float("nan")), "slope", "above 0"),
        (("threshold", 2.0), "slope", "only the sigmoid"),
    ],
)
def test_other_settings_are_refused(given, setting, expected):
    with pytest.raises(InputError, match=expected) as caught:
        Activation(*given)
    assert caught.value.setting == setting
