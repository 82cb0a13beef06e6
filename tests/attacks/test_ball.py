"""Balls: the nearest point, the steepest way, the size and what is drawn, for both norms and on every device."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from minicereb.attacks.ball import NORMS, L2Ball, ball_around, unit_rows
from minicereb.backend import to_device, to_numpy
from minicereb.randomness import Draws

both_norms = pytest.mark.parametrize("norm", NORMS)
ORDER = {"linf": np.inf, "l2": 2}


def numbers(low, high, width=5):
    return hnp.arrays(np.float32, (3, width), elements=st.floats(low, high, width=32, allow_subnormal=False))


def draws(images=3, seed=0, numbers=(0,)):
    return Draws(seed, "test", numbers, to_device(np.arange(images)))


@both_norms
@given(numbers(0, 1), numbers(-3, 3), st.sampled_from([0.0, 1e-30, 0.1, 0.5, 1.0, 7.0]))
def test_a_projection_is_in_ball_and_box_and_leaves_what_is_there(norm, x, z, epsilon):
    ball = ball_around(x, epsilon, norm)
    projected = ball.project(z)
    assert projected.dtype == np.float32
    assert (np.linalg.norm(projected.astype(np.float64) - x, ORDER[norm], axis=1) <= epsilon + 1e-6).all()
    assert (projected >= 0).all()
    assert (projected <= 1).all()
    assert np.allclose(ball.project(projected), projected, rtol=0, atol=1e-6)
    within = ball.project(z, out=np.empty_like(z))
    assert np.array_equal(within, projected)
    assert ball.project(z, out=z) is z  # in place


@given(numbers(0, 1), numbers(-1, 2), st.sampled_from([0.1, 0.5, 1.0]))
def test_in_linf_it_is_the_nearest_point(x, z, epsilon):
    expected = np.clip(np.clip(z, x - np.float32(epsilon), x + np.float32(epsilon)), 0, 1)
    assert np.array_equal(ball_around(x, epsilon, "linf").project(z), expected)


@both_norms
@given(hnp.arrays(np.float64, (3, 5), elements=st.integers(-9, 9).map(float)), st.sampled_from([1e-300, 1e-20, 1.0, 1e20, 1e300]))
def test_no_direction_of_size_1_rises_more_than_the_ascent(norm, gradient, scale):
    gradient = gradient * scale
    ascent = ball_around(np.zeros((3, 5), dtype=np.float64), 1.0, norm).ascent(gradient)
    size = np.linalg.norm(ascent, ORDER[norm], axis=1)
    flat = (gradient == 0).all(axis=1)
    assert np.allclose(size, ~flat, rtol=0, atol=1e-12)
    best = np.linalg.norm(gradient / scale, {"linf": 1, "l2": 2}[norm], axis=1)  # the dual norm
    assert np.allclose((gradient / scale * ascent).sum(axis=1), best, rtol=1e-9, atol=1e-300)


@both_norms
def test_what_is_not_finite_stays_so(norm):
    gradient = np.array([[np.nan, 1], [1, 2]], dtype=np.float32)
    ascent = ball_around(np.zeros((2, 2), dtype=np.float32), 1.0, norm).ascent(gradient)
    assert np.isnan(ascent[0]).any()
    assert np.isfinite(ascent[1]).all()


def test_rows_of_zeros_have_no_direction():
    assert np.array_equal(unit_rows(np.zeros((2, 3), dtype=np.float32)), np.zeros((2, 3)))


@both_norms
def test_the_size_is_the_norm(norm):
    moves = np.random.default_rng(0).standard_normal((4, 9))
    assert np.allclose(ball_around(moves, 1.0, norm).size(moves), np.linalg.norm(moves, ORDER[norm], axis=1))


@pytest.mark.parametrize("inputs", [1, 2, 5, 30])
def test_offsets_are_uniform_in_the_ball(inputs):
    """In L∞ every pixel is uniform; in L2 the radius to the power of the inputs, and any direction as likely as another."""
    images = 4000
    linf, l2 = (
        ball_around(np.zeros((images, inputs), dtype=np.float32), 1.0, norm).offsets(draws(images)).astype(np.float64)
        for norm in NORMS
    )
    assert stats.kstest(linf.ravel(), stats.uniform(-1, 2).cdf).pvalue > 1e-6
    radius = np.linalg.norm(l2, axis=1)
    assert stats.kstest(radius**inputs, "uniform").pvalue > 1e-6
    if inputs > 1:
        cosine = l2[:, 0] / radius
        law = stats.beta((inputs - 1) / 2, (inputs - 1) / 2, loc=-1, scale=2)
        assert stats.kstest(cosine, law.cdf).pvalue > 1e-6
        correlations = np.corrcoef(l2.T) - np.eye(inputs)
        assert np.abs(correlations).max() < 6 / images**0.5


@both_norms
def test_points_inside_and_corners_are_in_ball_and_box(norm):
    x = np.random.default_rng(0).random((50, 20), dtype=np.float32).round(1)
    ball = ball_around(x, 0.3, norm)
    for point in (ball.inside(draws(50)), ball.corner(draws(50))):
        assert point.dtype == np.float32
        assert (ball.size(point - x) <= 0.3 + 1e-6).all()
        assert (ball.size(point - x) > 0.1).all()
        assert point.min() >= 0
        assert point.max() <= 1
    if norm == "linf":
        corner = ball.corner(draws(50))
        assert ((corner == ball.low) | (corner == ball.high)).all()


@both_norms
def test_draws_belong_to_the_image_the_search_and_the_number(norm):
    ball = ball_around(np.full((8, 6), 0.5, dtype=np.float32), 0.25, norm)
    whole = ball.offsets(draws(8), 5)
    some = np.array([6, 1])
    assert np.array_equal(ball.of(some).offsets(draws(8).of(some), 5), whole[some])
    for other in (ball.offsets(draws(8), 4), ball.offsets(draws(8, seed=1), 5), ball.offsets(draws(8, numbers=(1,)), 5)):
        assert not np.isclose(other, whole).all(axis=1).any()
    assert len({tuple(row) for row in whole}) == 8


@both_norms
def test_every_device_has_the_same_ball(xp_device, norm):
    rng = np.random.default_rng(0)
    x, z = rng.random((4, 7), dtype=np.float32), rng.standard_normal((4, 7)).astype(np.float32)

    def everything(ball, z):
        own = Draws(0, "test", (0,), to_device(np.arange(4)))
        random = [draw(own, 3) for draw in (ball.offsets, ball.inside, ball.corner)]
        return ball.project(z), ball.ascent(z), ball.size(z), *random, ball.of(to_device(np.array([2]))).project(z[2:3])

    there = everything(ball_around(to_device(x), 0.25, norm), to_device(z))
    assert all(type(array) is type(to_device(x)) and array.dtype == np.float32 for array in there)
    from minicereb import backend

    backend.configure(device="cpu")
    here = everything(ball_around(x, 0.25, norm), z)
    for found, expected in zip(there, here, strict=True):
        assert np.allclose(to_numpy(found), expected, rtol=0, atol=1e-6)


def test_numbers_of_numpy_are_numbers():
    x = np.full((2, 3), 0.5, dtype=np.float32)
    for norm in NORMS:
        assert ball_around(x, np.float64(0.25), norm).project(x + 1).dtype == np.float32
    assert isinstance(ball_around(x, 0.25, "l2"), L2Ball)
