"""Draws are addressed, the same wherever they are made, and as random as they claim.

Tests of a distribution state how often a perfect generator would fail them; their addresses are fixed, so they do not flicker.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from minicereb.backend import to_device, to_numpy
from minicereb.randomness import AHEAD, Ahead, Draws, generator, signed_uniform, uniform

FALSE_ALARM = 1e-6  # of each test of a distribution
PINNED = [[6892167, 6607645, 907451], [9204593, 10477748, 8776450]]


def draw(ids, width, seed=0, stream="a test", numbers=()):
    return uniform(np, seed, stream, numbers, np.asarray(ids, dtype=np.int64), width)


# -- generator ---------------------------------------------------------------------------------------------------------------

addresses = st.tuples(st.integers(0, 2**70), st.text(max_size=5), st.lists(st.integers(0, 2**40), max_size=3).map(tuple))


@given(addresses)
def test_an_address_always_gives_the_same_generator(address):
    seed, stream, numbers = address
    first, again = generator(seed, stream, *numbers), generator(seed, stream, *numbers)
    assert np.array_equal(first.integers(0, 1 << 62, 8), again.integers(0, 1 << 62, 8))


@given(addresses, addresses)
def test_different_addresses_give_different_draws(one, other):
    draws = [generator(seed, stream, *numbers).integers(0, 1 << 62, 4).tolist() for seed, stream, numbers in (one, other)]
    assert (draws[0] == draws[1]) == (one == other)


def test_neighbouring_addresses_are_not_correlated():
    draws = np.array([generator(seed, "a test", number).standard_normal(2000) for seed in range(5) for number in range(5)])
    correlation = np.corrcoef(draws)[np.triu_indices(25, 1)]  # 300 pairs, each normal with variance 1/2000
    assert np.abs(correlation).max() < stats.norm.isf(FALSE_ALARM / 300 / 2) / 2000**0.5


# -- uniform -----------------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 2**62), max_size=20), st.integers(0, 20), st.integers(0, 2**70))
def test_uniform_numbers_are_multiples_of_2_to_minus_24_from_0_to_below_1(ids, width, seed):
    u = draw(ids, width, seed)
    assert u.shape == (len(ids), width)
    assert u.dtype == np.float32
    assert ((u >= 0) & (u < 1)).all()
    assert np.array_equal(u * 2**24, np.floor(u * 2**24))


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=20), st.integers(1, 20), st.data())
def test_a_row_depends_on_its_id_alone(ids, width, data):
    chosen = data.draw(st.lists(st.integers(0, len(ids) - 1)))
    assert np.array_equal(draw(ids, width)[chosen], draw([ids[row] for row in chosen], width))


@given(st.integers(0, 2**62), st.integers(1, 20), st.integers(0, 20))
def test_a_wider_row_begins_with_the_narrower(one_id, width, more):
    assert np.array_equal(draw([one_id], width + more)[:, :width], draw([one_id], width))


@given(addresses, addresses)
def test_different_addresses_give_different_numbers(one, other):
    draws = [draw(range(3), 5, *address) for address in (one, other)]
    assert np.array_equal(*draws) == (one == other)


def test_every_device_draws_the_same_bits(xp_device):
    ids = np.array([0, 1, 7, 2**40], dtype=np.int64)
    there = uniform(xp_device, 3, "a test", (1, 2), to_device(ids), 33)
    assert np.array_equal(to_numpy(there), draw(ids, 33, 3, "a test", (1, 2)))


def test_these_bits_stay():
    """Published runs name their seed: another draw from the same address would make them irreproducible."""
    assert (draw([0, 5], 3, 1, "attack start", (2,)) * 2**24).astype(int).tolist() == PINNED


@pytest.fixture(scope="module")
def square():
    return draw(range(1000), 1000).astype(np.float64)


def test_uniform_numbers_are_uniform(square):
    assert stats.kstest(square.ravel(), "uniform").pvalue > FALSE_ALARM


def test_uniform_numbers_fill_1000_cells_evenly_in_every_part(square):
    for part in (square[:100], square[-100:], square[:, :100], square[:, -100:], square[::10]):
        counts = np.bincount((part * 1000).astype(int).ravel(), minlength=1000)
        assert stats.chisquare(counts).pvalue > FALSE_ALARM / 5


def test_every_bit_is_set_half_of_the_time(square):
    words = (square * 2**24).astype(np.int64)
    shares = np.array([((words >> bit) & 1).mean() for bit in range(24)])
    assert np.abs(shares - 0.5).max() < stats.norm.isf(FALSE_ALARM / 24 / 2) * 0.5 / square.size**0.5


@pytest.mark.parametrize("distance", [1, 2, 3, 28, 255, 256, 512])
def test_neighbouring_rows_and_columns_are_not_correlated(square, distance):
    for u in (square, square.T):
        pairs = np.corrcoef(u[:-distance].ravel(), u[distance:].ravel())[0, 1]
        assert abs(pairs) < stats.norm.isf(FALSE_ALARM / 14 / 2) / u[distance:].size ** 0.5


@pytest.mark.parametrize("other", [{"seed": 1}, {"numbers": (0,)}, {"numbers": (1,)}, {"stream": "a tesu"}])
def test_neighbouring_addresses_of_uniform_are_not_correlated(square, other):
    pairs = np.corrcoef(square.ravel(), draw(range(1000), 1000, **other).ravel())[0, 1]
    assert abs(pairs) < stats.norm.isf(FALSE_ALARM / 4 / 2) / 1000


def test_no_two_rows_share_a_run_of_columns():
    """Rows that are shifted copies of one another would pass every test above."""
    u = draw(range(2000), 64)
    runs = np.lib.stride_tricks.sliding_window_view(u, 3, axis=1).reshape(-1, 3)
    assert len(np.unique(runs, axis=0)) == len(runs)  # 7.5e9 pairs of 72 bits: chance 2e-12


# -- signed_uniform ----------------------------------------------------------------------------------------------------------


def signed(count, seed=0, numbers=(), dtype=np.float32):
    return signed_uniform(np.empty(0, dtype=dtype), seed, "a test", numbers, count)


@given(st.integers(0, 2**70), st.lists(st.integers(0, 2**40), max_size=4).map(tuple), st.integers(1, 50))
def test_bulk_draws_are_addressed_and_begin_alike_whatever_their_number(seed, numbers, count):
    draws = signed(50, seed, numbers)
    assert np.array_equal(signed(count, seed, numbers), draws[:count])
    assert not np.array_equal(draws, signed(50, seed, (*numbers, 0)))
    assert not np.array_equal(draws, signed(50, seed + 1, numbers))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bulk_draws_are_uniform_and_never_zero(dtype):
    draws = signed(1 << 20, dtype=dtype)
    assert draws.dtype == dtype
    assert np.abs(draws).min() > 0
    assert np.abs(draws).max() <= 1
    assert stats.kstest(draws.astype(np.float64), stats.uniform(-1, 2).cdf).pvalue > FALSE_ALARM


def test_bulk_draws_of_neighbouring_addresses_and_places_are_not_correlated():
    draws = np.array([signed(2000, seed, (number,)) for seed in range(5) for number in range(5)])
    rows = np.concatenate((draws, draws[:5, ::-1], np.roll(draws[5:10], 1, axis=1)))
    correlation = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]
    assert np.abs(correlation).max() < stats.norm.isf(FALSE_ALARM / len(correlation) / 2) / 2000**0.5


def test_bulk_draws_have_the_same_bits_on_every_device(xp_device):
    there = signed_uniform(xp_device.empty(0, dtype=xp_device.float32), 3, "a test", (1, 2), 1001)
    assert type(there) is xp_device.ndarray
    assert np.array_equal(to_numpy(there), signed_uniform(np.empty(0, dtype=np.float32), 3, "a test", (1, 2), 1001))


def test_draws_made_ahead_are_those_made_one_at_a_time(xp_device):
    draws = Draws(3, "test", (1, 2), to_device(np.array([5, 0, 9, 7])))
    each = to_numpy(draws.each(6, range(4, 9)))
    assert all(np.array_equal(to_numpy(draws.uniform(6, number)), row) for number, row in zip(range(4, 9), each, strict=True))
    ahead = Ahead(draws, 6, range(1, 2 * AHEAD))
    for number in range(1, 2 * AHEAD):
        if number in (1, 10, AHEAD + 1):
            keep = to_device(np.arange(len(draws.ids))[-3 if number == 1 else -2 :])
            draws = draws.of(keep)
            ahead.of(keep)
        assert np.array_equal(to_numpy(ahead.uniform()), to_numpy(draws.uniform(6, number)))
