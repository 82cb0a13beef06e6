"""Lines and intervals of activations: sound everywhere, tight where they should be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicereb.backend import to_device, to_numpy
from minicereb.calculus.activations import relu, sigmoid, threshold
from minicereb.certificates.relaxations import UNITS, Unit, largest_lines
from minicereb.errors import InputError
from minicereb.randomness import generator

FUNCTIONS = {
    "identity": lambda v, slope: v,
    "relu": lambda v, slope: relu(v),
    "threshold": lambda v, slope: threshold(v),
    "absolute": lambda v, slope: np.abs(v),
    "sigmoid": sigmoid,
}
ALL = [Unit(name) for name in UNITS] + [Unit("sigmoid", 0.1), Unit("sigmoid", 30.0)]
every_unit = pytest.mark.parametrize("unit", ALL, ids=lambda unit: f"{unit.name}-{unit.slope:g}")
SIZES = [0.0, 1e-300, 1e-9, 1e-3, 0.5, 1.0, 3.0, 40.0, 1e3, 1e15, 1e100]
ENDS = sorted({sign * size for size in SIZES for sign in (-1, 1)})
CORNERS = np.array([(low, high) for low in ENDS for high in ENDS if low <= high]).T


def places(low, high, count=101):
    """Points of each interval, its ends and the singular point among them, shape (count, intervals)."""
    shares = np.linspace(0, 1, count)[:, None]
    points = np.concatenate((low + shares * (high - low), np.zeros((1, len(low))), np.full((1, len(low)), 1e-12), [low, high]))
    return np.clip(points, low, high)


def assert_sound(unit, low, high):
    lines, (least, largest) = unit.lines(low, high), unit.interval(low, high)
    v = places(low, high)
    response = FUNCTIONS[unit.name](v, unit.slope)
    below, above = (slope * v + intercept for slope, intercept in (lines[:2], lines[2:]))
    tolerance = 1e-300 + 2.0**-52 * (np.abs(response) + np.abs(lines.upper_slope * v) + np.abs(lines.lower_slope * v))
    assert (below <= response + tolerance).all()
    assert (response <= above + tolerance).all()
    assert (least <= response).all()
    assert (response <= largest).all()
    assert all(array.dtype == np.float64 and np.isfinite(array).all() for array in (*lines, least, largest))


@every_unit
def test_at_the_extremes(unit):
    assert_sound(unit, *CORNERS)


@every_unit
def test_on_dense_grids(unit):
    ends = generator(0, "intervals of a test").normal(0, 4, (2, 3000)) * np.array([1, 0.1, 10])[np.arange(3000) % 3]
    assert_sound(unit, ends.min(axis=0), ends.max(axis=0))


@given(st.sampled_from(ALL), st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_on_any_interval(unit, low, width):
    assert_sound(unit, np.array([low]), np.array([low + width]))


@pytest.mark.parametrize("name", ["relu", "threshold", "absolute"])
def test_a_unit_that_cannot_change_sides_is_its_own_line(name):
    unit = Unit(name)
    low, high = np.array([-3.0, -1e-9, 1e-9, 2.0, 1.0]), np.array([-2.0, -1e-10, 1.0, 3.0, 1.0])
    lines = unit.lines(low, high)
    for v in (low, high):
        for slope, intercept in (lines[:2], lines[2:]):
            assert np.allclose(slope * v + intercept, FUNCTIONS[name](v, 1.0), rtol=0, atol=1e-14)


def test_the_lines_of_units_that_can():
    low, high = np.array([-1.0, -3.0]), np.array([3.0, 1.0])
    relu_lines, step, absolute = (Unit(name).lines(low, high) for name in ("relu", "threshold", "absolute"))
    assert np.allclose(relu_lines, [[1, 0], [0, 0], [0.75, 0.25], [0.75, 0.75]])
    assert np.allclose(step, [[1 / 3, 0], [0, 0], [0, 1 / 3], [1, 1]])
    assert np.allclose(absolute, [[1, -1], [0, 0], [0.5, -0.5], [1.5, 1.5]])


def gaps(low, high):
    """How far the sigmoid's lines are from it, (2, points, intervals): above and below."""
    lines, v = Unit("sigmoid").lines(low, high), np.linspace(low, high, 2001)
    upper, lower = (slope * v + intercept for slope, intercept in (lines[2:], lines[:2]))
    return np.array([upper - sigmoid(v), sigmoid(v) - lower])


def test_the_sigmoids_lines_touch_it():
    both = gaps(np.array([-2.0, -2.0, -9.0, 1.0, -4.0]), np.array([2.0, 30.0, 0.5, 3.0, -1.0]))
    assert (both.min(axis=1) < 1e-7).all()
    above, below = both
    assert above[0, 0] < 1e-7  # of the tangents above the lower end, the one nearest to the middle
    assert (above[1000, 1:4] < [1e-7, 0.5, 1e-7]).all()
    assert (above[[0, -1], 4] < 1e-12).all()  # the chord of the convex half
    assert (below[[0, -1], 3] < 1e-12).all()


def test_the_sigmoids_lines_close_in_on_a_short_interval():
    start = np.linspace(-5, 5, 41)
    for width in (1e-2, 1e-4, 1e-6):
        assert gaps(start, start + width).max() < width**2 + 1e-9


@every_unit
def test_on_every_device(xp_device, unit):
    low, high = CORNERS
    found = (*unit.lines(to_device(low), to_device(high)), *unit.interval(to_device(low), to_device(high)))
    for one, other in zip(found, (*unit.lines(low, high), *unit.interval(low, high)), strict=True):
        assert type(one) is xp_device.ndarray
        assert np.allclose(to_numpy(one), other, rtol=1e-12, atol=1e-15)


def test_an_activation_without_lines_is_refused():
    with pytest.raises(InputError, match="activation: 'log-absolute'.*relu"):
        Unit("log-absolute")


@given(st.integers(1, 5), st.sampled_from([1e-9, 0.1, 1.0, 1e6]), st.integers(0, 2**32))
def test_the_largest_signal_is_between_its_lines(signals, width, seed):
    rng = generator(seed, "signals of a test")
    low = np.round(rng.normal(size=(signals, 200)), 1)  # with equal ones among them
    high = low + width * rng.random((signals, 200)) * rng.integers(0, 2, (signals, 200))
    lines = largest_lines(low, high)
    for place in (*rng.random((20, signals, 1)), np.zeros((signals, 1)), np.ones((signals, 1)), np.eye(signals)[:, :1]):
        v = low + place * (high - low)
        below, above = ((slope * v).sum(axis=0) + intercept for slope, intercept in (lines[:2], lines[2:]))
        assert (below <= v.max(axis=0)).all()
        assert (v.max(axis=0) <= above).all()
    leads = low.max(axis=0) >= np.sort(high, axis=0)[-2:-1].max(axis=0, initial=-np.inf)
    if leads.any():
        assert np.allclose(
            ((lines[2] * high).sum(axis=0) + lines[3])[leads], high.max(axis=0)[leads], rtol=0, atol=1e-9 * (1 + width)
        )


def test_the_lines_of_the_largest_signal():
    low, high = np.array([[-1.0, 0.0, 2.0], [-1.0, -3.0, 0.0]]), np.array([[1.0, 1.0, 3.0], [1.0, 0.5, 1.0]])
    lines = largest_lines(low, high)
    assert np.allclose(lines.upper_slope, [[0, 1, 1], [0, 0.5 / 3.5, 0]])
    assert np.allclose(lines.upper_intercept, [1, 1.5 / 3.5, 0])
    assert np.array_equal(lines.lower_slope, [[1, 1, 1], [0, 0, 0]])
    assert not lines.lower_intercept.any()
