"""The interval that tables report, and the bounds that certificates take."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from minicereb.randomness import generator
from minicereb.statistics import mean_deviation, mean_interval, proportion_interval

counts = st.integers(1, 2000).flatmap(lambda trials: st.tuples(st.integers(0, trials), st.just(trials)))


@given(counts, st.floats(0.5, 0.999))
def test_the_interval_is_scipys_exact_one(count, confidence):
    hits, trials = count
    expected = stats.binomtest(hits, trials).proportion_ci(confidence, method="exact")
    assert proportion_interval(hits, trials, confidence) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)


@given(counts)
def test_the_interval_holds_the_share_and_widens_with_confidence(count):
    hits, trials = count
    (low, high), (lower, higher) = proportion_interval(hits, trials, 0.9), proportion_interval(hits, trials, 0.99)
    assert 0 <= lower <= low <= hits / trials <= high <= higher <= 1
    assert lower < low or hits == 0
    assert high < higher or hits == trials


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.floats(0.5, 0.999))
def test_the_interval_over_seeds_is_students(values, confidence):
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(confidence) if len(set(values)) > 1 else (values[0], values[0])
    assert mean_interval(values, confidence) == pytest.approx(tuple(expected), rel=1e-9, abs=1e-12)


def test_one_seed_has_no_interval_over_seeds():
    with pytest.raises(ValueError, match="at least two"):
        mean_interval([0.5])


def test_at_the_ends_it_is_the_rule_of_three():
    assert proportion_interval(0, 1000) == (0, pytest.approx(1 - 0.025 ** (1 / 1000)))
    assert proportion_interval(1000, 1000) == (pytest.approx(0.025 ** (1 / 1000)), 1)
    assert proportion_interval(0, 0) == (0, 1)


@pytest.mark.parametrize("trials", [1, 10, 50])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_it_covers_the_truth_at_least_as_often_as_it_says(trials, confidence):
    intervals = np.array([proportion_interval(hits, trials, confidence) for hits in range(trials + 1)])
    for share in np.linspace(0, 1, 201):
        covered = (intervals[:, 0] <= share) & (share <= intervals[:, 1])
        assert stats.binom.pmf(np.arange(trials + 1), trials, share)[covered].sum() >= confidence - 1e-12


# -- means of bounded numbers ------------------------------------------------------------------------------------------------


def test_the_deviation_is_the_smaller_of_two_bounds():
    tail, draws = 0.01, 1000
    hoeffding = np.sqrt(np.log(2 / tail) / (2 * draws))
    small, large = mean_deviation(np.array([1e-4, 0.25]), draws, tail)
    assert large == pytest.approx(hoeffding)
    assert small == pytest.approx(np.sqrt(2 * 1e-4 * np.log(4 / tail) / draws) + 7 * np.log(4 / tail) / (3 * (draws - 1)))
    assert small < large


@given(st.floats(0, 0.25), st.integers(2, 10**6), st.floats(1e-9, 0.5))
def test_more_draws_and_more_risk_make_it_smaller(variance, draws, tail):
    found = mean_deviation(np.array([variance]), draws, tail)[0]
    assert 0 < mean_deviation(np.array([variance]), 2 * draws, tail)[0] < found
    assert mean_deviation(np.array([variance]), draws, tail * 1.5)[0] < found


@pytest.mark.parametrize("shape", [(0.5, 0.5), (0.05, 2.0), (5.0, 0.02), (1.0, 1.0)])
@pytest.mark.parametrize("draws", [2, 20, 200])
def test_the_deviation_is_exceeded_no_more_often_than_it_says(shape, draws):
    """False alarm below 1e-6: the number of misses among 20,000 samples is binomial with at most `tail`, if the bound holds."""
    tail, samples = 0.2, 20_000
    drawn = generator(0, "bounded numbers of a test").beta(*shape, (samples, draws))
    deviation = mean_deviation(drawn.var(axis=1, ddof=1), draws, tail)
    away = drawn.mean(axis=1) - shape[0] / sum(shape)
    for misses in ((away > deviation).sum(), (-away > deviation).sum()):
        assert misses <= stats.binom.isf(1e-7, samples, tail)
