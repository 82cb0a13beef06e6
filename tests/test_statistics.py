"""The intervals that tables report, the tests of differences, and the bounds that certificates take."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from minicereb.randomness import generator
from minicereb.statistics import (
    detectable_difference,
    holm,
    mcnemar_test,
    mean_deviation,
    mean_interval,
    paired_difference_interval,
    proportion_interval,
)

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


# -- two classifiers on the same images --------------------------------------------------------------------------------------

pairs = st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(0, 1000)).map(lambda n: (n[0], n[1], sum(n)))


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemars_p_is_that_of_the_binomial_test(one, other):
    expected = stats.binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar_test(one, other) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_test(one, other) == mcnemar_test(other, one)


@pytest.mark.parametrize(("one", "other", "p"), [(0, 0, 1), (3, 3, 1), (0, 5, 2 / 32), (1, 5, 2 * 7 / 64)])
def test_mcnemars_p_by_hand(one, other, p):
    assert mcnemar_test(one, other) == pytest.approx(p)


@given(pairs)
def test_the_interval_of_a_difference_holds_it_and_turns_with_its_sides(counts):
    one, other, images = counts
    low, high = paired_difference_interval(one, other, images)
    if images == 0:
        assert (low, high) == (-1, 1)
        return
    assert -1 <= low <= (one - other) / images <= high <= 1
    assert paired_difference_interval(other, one, images) == (-high, -low)
    wider = paired_difference_interval(one, other, images, 0.99)
    assert wider[0] <= low
    assert high <= wider[1]


def test_the_interval_of_a_difference_is_wilsons_where_only_one_side_has_images():
    """Without differences the score statistic is that of a single proportion, with the bound z²/(n + z²)."""
    z2 = stats.norm.isf(0.025) ** 2
    assert paired_difference_interval(0, 0, 50) == pytest.approx((-z2 / (50 + z2), z2 / (50 + z2)))


@given(pairs.filter(lambda counts: counts[0] + counts[1] > 0))
def test_the_interval_of_a_difference_inverts_mcnemars_statistic(counts):
    """At a difference of 0 the score statistic is (b - c) / √(b + c): the interval of just that confidence ends at 0."""
    one, other, images = counts
    confidence = 1 - 2 * stats.norm.sf(abs(one - other) / np.sqrt(one + other))
    if 0.01 < confidence < 1 - 1e-9:
        ends = paired_difference_interval(one, other, images, confidence)
        assert min(map(abs, ends)) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize(("images", "least"), [(10, 0.913), (20, 0.924), (40, 0.928)])
def test_the_interval_of_a_difference_covers_it_about_as_often_as_it_says(images, least):
    """Exact enumeration of all possible counts, over a grid of true values."""
    counts = np.array([(b, c) for b in range(images + 1) for c in range(images + 1 - b)])
    rest = images - counts.sum(axis=1)
    bounds = np.array([paired_difference_interval(int(b), int(c), images) for b, c in counts])
    ways = special.gammaln(images + 1) - special.gammaln(np.stack([*counts.T, rest]) + 1).sum(axis=0)
    covered = []
    for p in np.linspace(0, 1, 21):
        for q in np.linspace(0, 1 - p, 21):
            logs = special.xlogy(counts[:, 0], p) + special.xlogy(counts[:, 1], q) + special.xlogy(rest, max(0, 1 - p - q))
            inside = (bounds[:, 0] <= p - q + 1e-12) & (p - q - 1e-12 <= bounds[:, 1])
            covered.append(np.exp(ways + logs)[inside].sum())
    assert least <= min(covered)
    assert 0.95 <= np.mean(covered) <= 0.965


# -- several tests, several seeds --------------------------------------------------------------------------------------------


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_lies_between_the_p_and_bonferronis(p):
    adjusted = holm(p)
    assert all(a <= b <= min(1, len(p) * a) for a, b in zip(p, adjusted, strict=True))
    assert [adjusted[i] for i in np.argsort(p, kind="stable")] == sorted(adjusted)


def test_the_interval_of_a_mean_is_students():
    values = [93.1, 94.0, 92.2, 95.5]
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected)
    assert mean_interval([3.0, 3.0]) == (3, 3)
    with pytest.raises(ValueError, match="at least two of them, got 1"):
        mean_interval([3.0])


@pytest.mark.parametrize("draws", [2, 3, 5, 10])
def test_the_detectable_difference_is_found_as_often_as_it_says(draws):
    """The power by summing over the deviation that is measured, without the noncentral t distribution."""
    shift = np.sqrt(draws) * detectable_difference(2.5, draws) / 2.5
    spread = np.linspace(0, 12, 200_001)  # measured deviation times √(n - 1), in units of the true one
    bound = stats.t.isf(0.025, draws - 1) * spread / np.sqrt(draws - 1)
    found = stats.norm.sf(bound - shift) + stats.norm.cdf(-bound - shift)
    power = (stats.chi.pdf(spread, draws - 1) * found).sum() * (spread[1] - spread[0])
    assert power == pytest.approx(0.8, abs=1e-4)
