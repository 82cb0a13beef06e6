"""The checkers themselves: they pass what is right and fail what is wrong."""

import numpy as np
import pytest

from minicereb.calculus.activations import relu
from minicereb.gradcheck.differences import check_adjoint, check_gradient

RNG = np.random.default_rng(0)
AT, MIXING = RNG.standard_normal((4, 4)), RNG.standard_normal((4, 4))


def smooth(x):
    return float(np.mean(np.sin(x @ MIXING)))


RIGHT = np.cos(AT @ MIXING) @ MIXING.T / 16


def test_a_right_gradient_passes():
    check = check_gradient(smooth, RIGHT, AT)
    assert check.error < 1e-8
    assert (check.directions, check.kinks) == (20, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(-RIGHT, id="sign"),
        pytest.param(2 * RIGHT, id="factor 2"),
        pytest.param(RIGHT / 2, id="factor 1/2"),
        pytest.param(RIGHT.T.copy(), id="transposed"),
        pytest.param(16 * RIGHT, id="mean forgotten"),
        pytest.param(RIGHT / 16, id="mean taken twice"),
        pytest.param(0 * RIGHT, id="zero"),
        pytest.param(np.cos(AT @ MIXING) @ MIXING / 16, id="mixing not transposed"),
        pytest.param(RIGHT * (np.arange(16).reshape(4, 4) != 5), id="one element missing"),
        pytest.param(RIGHT + 0.01 * np.linalg.norm(RIGHT) / 4, id="one percent off"),
    ],
)
def test_a_wrong_gradient_fails(wrong):
    assert check_gradient(smooth, wrong, AT).error > 1e-3


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e6])
def test_the_verdict_does_not_depend_on_the_units(scale):
    assert check_gradient(lambda x: scale * smooth(x), scale * RIGHT, AT).error < 1e-6
    assert check_gradient(lambda x: scale * smooth(x), scale * RIGHT * 1.01, AT).error > 1e-3


def test_directions_that_meet_a_kink_are_left_out():
    at = np.ones(50)
    check = check_gradient(lambda x: float(relu(x).sum()), np.ones(50), at)
    assert (check.error < 1e-8, check.directions, check.kinks) == (True, 20, 0)
    at[7] = 0.0
    check = check_gradient(lambda x: float(relu(x).sum()), np.ones(50), at)
    assert (check.error, check.directions, check.kinks) == (np.inf, 0, 20)


def test_a_kink_in_the_neighbourhood_is_found_where_a_step_crosses_it():
    """A kink 5e-8 away: a step of 1e-6 along a random direction in 100 dimensions crosses it or not."""
    at = np.ones(100)
    at[7] = 5e-8
    check = check_gradient(lambda x: float(relu(x).sum()), np.ones(100), at, directions=50)
    assert check.kinks + check.directions == 50
    assert check.kinks > 10
    assert check.directions > 10
    assert check.error < 1e-3  # a kink of less than a thousandth of the slope counts as smooth


def test_only_float64_of_one_shape_is_taken():
    for gradient, at in ((RIGHT.astype(np.float32), AT), (RIGHT, AT.astype(np.float32)), (RIGHT, AT.astype(int)), (RIGHT[0], AT)):
        with pytest.raises(TypeError, match="float64"):
            check_gradient(smooth, gradient, at)


def test_the_adjoint_of_a_linear_map_passes_and_nothing_else():
    matrix = RNG.standard_normal((3, 5))
    assert check_adjoint(lambda x: matrix @ x, lambda y: matrix.T @ y, (5, 2), (3, 2)) < 1e-14
    for wrong in (-matrix, 2 * matrix, matrix * (matrix != matrix[1, 2]), matrix[::-1]):
        assert check_adjoint(lambda x: matrix @ x, lambda y, wrong=wrong: wrong.T @ y, (5, 2), (3, 2)) > 1e-3
