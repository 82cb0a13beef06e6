"""The interval that tables report."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from minicereb.statistics import proportion_interval

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
