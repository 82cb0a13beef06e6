"""The least move to a plane within the box, against linear programming and bisection in float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linprog

from minicereb.attacks.fab import least_move
from minicereb.backend import to_device, to_numpy

ORDER = {"linf": np.inf, "l2": 2}
both_norms = pytest.mark.parametrize("norm", ["linf", "l2"])
WIDTH = 6


def least_linf(x, w, rise):
    """Return min t subject to w·δ = rise, |δ| ≤ t, 0 ≤ x + δ ≤ 1; None if there is no such δ."""
    inputs = len(x)
    size = np.block([[np.eye(inputs), -np.ones((inputs, 1))], [-np.eye(inputs), -np.ones((inputs, 1))]])
    found = linprog(
        np.append(np.zeros(inputs), 1),
        A_ub=size,
        b_ub=np.zeros(2 * inputs),
        A_eq=np.append(w, 0)[None],
        b_eq=[rise],
        bounds=[*zip(-x, 1 - x, strict=True), (0, None)],
    )
    return found.fun if found.success else None


def least_l2(x, w, rise):
    """The shortest is clip(λw) to the box of δ, for the λ at which w·δ = rise (Karush, Kuhn and Tucker)."""
    low, high = -1e12, 1e12
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(middle * w, -x, 1 - x) @ w < rise else (low, middle)
    move = np.clip(high * w, -x, 1 - x)
    return np.linalg.norm(move) if abs(move @ w - rise) < 1e-7 else None


problems = st.tuples(
    hnp.arrays(np.float64, WIDTH, elements=st.integers(0, 8).map(lambda k: k / 8)),
    hnp.arrays(np.float64, WIDTH, elements=st.integers(-8, 8).map(lambda k: k / 4)),
    st.integers(-24, 24).map(lambda k: k / 8),
)


@both_norms
@settings(max_examples=150)
@given(problem=problems)
def test_no_move_to_the_plane_is_shorter(norm, problem):
    x, w, rise = problem
    expected = (least_linf if norm == "linf" else least_l2)(x, w, rise)
    move = least_move(x[None], w[None], np.array([rise]), norm)[0]
    assert ((x + move >= -1e-12) & (x + move <= 1 + 1e-12)).all()
    if expected is None:  # as near as the box allows
        best = np.where(w * rise > 0, w * (1 - x), -w * x) if rise else w * 0
        assert move @ w == pytest.approx(best.sum(), abs=1e-9)
        return
    assert move @ w == pytest.approx(rise, abs=1e-5)
    assert np.linalg.norm(move, ORDER[norm]) == pytest.approx(expected, abs=1e-5)


@both_norms
def test_images_have_nothing_to_do_with_each_other(norm):
    rng = np.random.default_rng(0)
    x, w, rise = rng.random((40, 30)).round(1), rng.standard_normal((40, 30)), 3 * rng.standard_normal(40)
    together = least_move(x, w, rise, norm)
    for image in range(40):
        one = slice(image, image + 1)
        assert np.allclose(least_move(x[one], w[one], rise[one], norm), together[one], rtol=0, atol=1e-5)


@both_norms
@pytest.mark.parametrize("scale", [1e-37, 1e-20, 1.0, 1e20, 1e37])
def test_the_scale_of_the_plane_plays_no_part(norm, scale):
    rng = np.random.default_rng(0)
    x, w, rise = (array.astype(np.float32) for array in (rng.random((9, 30)), rng.uniform(-1, 1, (9, 30)), rng.uniform(-1, 1, 9)))
    scaled = least_move(x, w * np.float32(scale), rise * np.float32(scale), norm)
    assert scaled.dtype == np.float32
    assert np.allclose(scaled, least_move(x, w, rise, norm), rtol=0, atol=1e-5)


@both_norms
@pytest.mark.parametrize("rise", [0.0, 1.0, 1e30])
def test_without_a_direction_there_is_no_move(norm, rise):
    x = np.full((2, 4), 0.5, dtype=np.float32)
    w = np.zeros((2, 4), dtype=np.float32)
    w[1] = 1e-40  # steep is what one calls it
    move = least_move(x, w, np.full(2, rise, dtype=np.float32), norm)
    assert np.array_equal(move[0], np.zeros(4))
    assert np.isfinite(move).all()
    assert np.allclose(move[1], 0.5 if rise else 0)


@both_norms
def test_every_device_moves_alike(xp_device, norm):
    rng = np.random.default_rng(0)
    x, w, rise = (
        array.astype(np.float32) for array in (rng.random((9, 30)), rng.standard_normal((9, 30)), rng.standard_normal(9))
    )
    there = least_move(to_device(x), to_device(w), to_device(rise), norm)
    assert there.dtype == np.float32
    assert np.allclose(to_numpy(there), least_move(x, w, rise, norm), rtol=0, atol=1e-6)
