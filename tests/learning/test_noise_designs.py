"""How noise is drawn for replications: groups, their independence, and baselines that respect them.

Tests of a distribution state how often a perfect design would fail them; their addresses are fixed, so they do not flicker.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from noisy_oracle import LAWS, distribution_of
from scipy import stats

from minicereb.backend import to_device, to_numpy
from minicereb.errors import InputError
from minicereb.learning.noise import Address, Antithetic, Independent, Sobol, scrambled_sobol

FALSE_ALARM = 1e-6  # of each test of a distribution
DESIGNS = [Independent(), Antithetic(), Sobol()]
every_design = pytest.mark.parametrize("design", DESIGNS, ids=lambda design: type(design).__name__)
SINGLE = np.empty(0, dtype=np.float32)


def draw(design, laws=LAWS, widths=(2, 3, 1, 2), images=3, replications=8, at=None, like=SINGLE):
    return design.draw(like, laws, list(widths), images, replications, at or Address(0, (1, 2)))


# -- drawing -----------------------------------------------------------------------------------------------------------------


@every_design
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_layer_has_noise_of_its_law_on_the_device(xp_device, design, dtype):
    noise = draw(design, [LAWS[0], None, LAWS[3]], (2, 3, 4), like=xp_device.empty(0, dtype=dtype))
    assert noise[1] is None
    for e, width in ((noise[0], 2), (noise[2], 4)):
        assert type(e) is xp_device.ndarray
        assert (e.shape, e.dtype) == ((width, 3, 8), dtype)
        assert np.isfinite(to_numpy(e)).all()


@every_design
def test_sobol_noise_has_the_same_bits_on_every_device_and_the_rest_to_rounding(xp_device, design):
    there, here = draw(design, like=xp_device.empty(0, dtype=np.float32)), draw(design)
    for found, expected in zip(map(to_numpy, there), here, strict=True):
        assert np.allclose(found, expected, rtol=1e-4, atol=1e-6)
        assert not isinstance(design, Sobol) or np.array_equal(found, expected)


@every_design
def test_an_address_gives_the_same_noise_again_and_another_other_noise(design):
    first = np.concatenate([e.ravel() for e in draw(design)])
    again = np.concatenate([e.ravel() for e in draw(design, at=Address(0, (1,)).of(2))])
    assert np.array_equal(first, again)
    for other in (Address(1, (1, 2)), Address(0, (2, 1)), Address(0, (1,)), Address(0, (1, 2), "another stream")):
        assert not np.isclose(first, np.concatenate([e.ravel() for e in draw(design, at=other)])).any()


@every_design
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_every_replication_has_the_distribution_of_the_law(design, law):
    """One replication of each of many images: they are independent of one another in every design."""
    (e,) = draw(design, [law], [2], images=800)
    for replication in (0, 3, 7):
        values = e[:, :, replication].astype(np.float64).ravel()
        assert stats.kstest(values, distribution_of(law).cdf).pvalue > FALSE_ALARM / 3


@every_design
def test_images_and_neurons_are_independent(design):
    (e,) = draw(design, LAWS[:1], [2], images=1500)
    limit = stats.norm.isf(FALSE_ALARM / 8) / 1499**0.5
    for replication in (0, 7):
        one, other = e[:, :, replication]
        assert abs(np.corrcoef(one, other)[0, 1]) < limit
        assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < limit


def test_the_second_half_of_antithetic_noise_is_the_opposite_of_the_first():
    for e in draw(Antithetic()):
        assert np.array_equal(e[:, :, 4:], -e[:, :, :4])
        assert len(np.unique(np.abs(e))) == e.size // 2


def test_the_replications_of_an_image_are_two_independent_scrambles():
    """Each scramble stratifies every neuron's noise, with one value in each n-th of the distribution."""
    (e,) = draw(Sobol(), LAWS[:1], [5], images=20, replications=64, like=np.empty(0))
    strata = (stats.norm.cdf(e) * 32).astype(int)
    for half in (strata[:, :, :32], strata[:, :, 32:]):
        assert np.array_equal(np.sort(half, axis=2), np.broadcast_to(np.arange(32), half.shape))
    together = np.sort((stats.norm.cdf(e) * 64).astype(int), axis=2)
    assert not (together == np.arange(64)).all(axis=2).any()


# -- scrambled Sobol points --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("points", [2, 4, 64, 1024])
@pytest.mark.parametrize("dimensions", [1, 3, 40])
def test_every_projection_has_one_point_in_each_interval(dimensions, points):
    u = scrambled_sobol(dimensions, points, np.random.default_rng(0))
    assert (u.shape, u.dtype) == ((dimensions, points), np.float64)
    assert ((u > 0) & (u < 1)).all()
    assert np.array_equal(np.sort((u * points).astype(int), axis=1), np.broadcast_to(np.arange(points), u.shape))


@pytest.mark.parametrize("points", [16, 64])
def test_the_first_two_dimensions_fill_every_box_of_equal_volume_once(points):
    """They are a (0, m, 2)-net, and scrambling keeps that."""
    u = scrambled_sobol(2, points, np.random.default_rng(1))
    for rows in (2**power for power in range(points.bit_length())):
        columns = points // rows
        boxes = (u[0] * rows).astype(int) * columns + (u[1] * columns).astype(int)
        assert np.array_equal(np.sort(boxes), np.arange(points))


def test_every_point_is_uniform_over_scrambles():
    rng = np.random.default_rng(2)
    u = np.array([scrambled_sobol(3, 8, rng) for _ in range(2000)])
    for dimension in range(3):
        for point in (0, 1, 7):
            assert stats.kstest(u[:, dimension, point], "uniform").pvalue > FALSE_ALARM / 9


def test_two_points_of_a_scramble_are_uncorrelated_with_those_of_the_next():
    rng = np.random.default_rng(3)
    u = np.array([scrambled_sobol(2, 8, rng) for _ in range(2500)]).reshape(2500, -1)
    correlation = np.corrcoef(u[1:].T, u[:-1].T)[:16, 16:]
    assert np.abs(correlation).max() < stats.norm.isf(FALSE_ALARM / 2 / 256) / 2499**0.5


def test_dimensions_are_scrambled_independently():
    rng = np.random.default_rng(4)
    u = np.array([scrambled_sobol(3, 2, rng)[:, 0] for _ in range(2500)])
    assert np.abs(np.corrcoef(u.T)[np.triu_indices(3, 1)]).max() < stats.norm.isf(FALSE_ALARM / 2 / 3) / 2500**0.5


def test_sobol_points_integrate_better_than_independent_ones():
    """For a smooth function of four variables the error falls as 1/n, not as 1/√n: here to a tenth or less."""
    rng = np.random.default_rng(5)

    def error(points):
        return (np.exp(-points.mean(axis=0)).mean() - (4 * (1 - np.exp(-0.25))) ** 4) ** 2

    sobol = np.mean([error(scrambled_sobol(4, 256, rng)) for _ in range(40)])
    independent = np.mean([error(rng.random((4, 256))) for _ in range(40)])
    assert sobol < independent / 100


# -- baselines ---------------------------------------------------------------------------------------------------------------

GROUPS = {
    "Independent": lambda k: [[i] for i in range(k)],
    "Antithetic": lambda k: [[i, i + k // 2] for i in range(k // 2)],
    "Sobol": lambda k: [list(range(k // 2)), list(range(k // 2, k))],
}


@every_design
@pytest.mark.parametrize("replications", [4, 8, 16])
def test_a_baseline_is_the_mean_loss_of_the_other_groups(xp_device, design, replications):
    loss = np.random.default_rng(0).random((3, replications))
    found = design.others(to_device(loss))
    assert type(found) is xp_device.ndarray
    for group in GROUPS[type(design).__name__](replications):
        expected = np.delete(loss, group, axis=1).mean(axis=1, keepdims=True)
        assert np.allclose(to_numpy(found)[:, group], expected, rtol=1e-13, atol=0)


@every_design
@pytest.mark.parametrize("replications", [4, 8])
def test_one_loss_moves_the_baselines_of_the_other_groups_and_of_no_other(design, replications):
    loss = np.random.default_rng(1).integers(0, 9, (2, replications)).astype(np.float64)
    for group in GROUPS[type(design).__name__](replications):
        for replication in group:
            changed = loss.copy()
            changed[1, replication] += 1 << 20
            moved = design.others(changed) != design.others(loss)
            assert moved.tolist() == [[False] * replications, [other not in group for other in range(replications)]]


# -- numbers of replications -------------------------------------------------------------------------------------------------


@given(st.sampled_from(DESIGNS), st.integers(2, 12), st.integers(16, 5000))
def test_pieces_add_up_and_every_piece_can_be_drawn(design, power, at_most):
    for replications in (1 << power, 6 * power):
        pieces = design.pieces(replications, at_most)
        assert sum(pieces) == replications
        assert isinstance(design, Sobol) or max(pieces) <= at_most
        assert max(pieces) - min(pieces) <= 2
        for piece in set(pieces) if not isinstance(design, Sobol) else ():
            design.check(piece, baseline=replications >= 4)


@pytest.mark.parametrize("at_most", [2, 3, 4, 5])
@pytest.mark.parametrize("replications", [4, 6, 10, 14, 22])
@pytest.mark.parametrize("design", [Independent(), Antithetic()])
def test_no_piece_is_without_others(design, replications, at_most):
    pieces = design.pieces(replications, at_most)
    assert sum(pieces) == replications
    for piece in pieces + design.pieces(replications + 1 + isinstance(design, Antithetic), at_most):
        design.check(piece, baseline=True)
        assert np.isfinite(design.others(np.ones((2, piece), dtype=np.float32))).all()


@pytest.mark.parametrize(
    ("design", "replications", "baseline", "expected"),
    [
        (Independent(), 0, False, "at least 1"),
        (Independent(), -3, False, "at least 1"),
        (Independent(), 1, True, "at least 2"),
        (Antithetic(), 0, False, "an even number of at least 2"),
        (Antithetic(), 5, False, "an even number"),
        (Antithetic(), 2, True, "an even number of at least 4"),
        (Sobol(), 0, True, "a power of two"),
        (Sobol(), 2, True, "a power of two from 4"),
        (Sobol(), 12, True, "a power of two"),
        (Sobol(), 1 << 21, True, "to 1048576"),
    ],
)
def test_numbers_that_a_design_cannot_draw_are_refused(design, replications, baseline, expected):
    with pytest.raises(InputError, match=f"replications: {replications}.*{expected}") as caught:
        design.check(replications, baseline)
    assert caught.value.setting == "replications"


@pytest.mark.parametrize(("design", "least"), [(Independent(), 1), (Antithetic(), 2), (Sobol(), 4)])
def test_the_least_numbers_are_drawn(design, least):
    design.check(least, baseline=False)
    assert draw(design, replications=least)[0].shape[2] == least
    with_baseline = max(least, 4 if isinstance(design, Antithetic) else 2)
    design.check(with_baseline, baseline=True)
    assert np.isfinite(design.others(np.ones((1, with_baseline)))).all()
