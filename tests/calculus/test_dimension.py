"""Dimension: its components are unbiased, its interval covers it, and its closed form agrees with the literature.

Tests of a distribution state how often a perfect estimator would fail them; their seeds are fixed, so they do not flicker.
"""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from minicereb.calculus.dimension import _over_different_images, participation_ratio, threshold_covariance, threshold_dimension
from minicereb.errors import InputError
from minicereb.randomness import generator

WHITE = np.ones(200, dtype=np.float64)
STEEP = 0.7 ** np.arange(30, dtype=np.float64)
SPECTRA = {"white": WHITE, "steep": STEEP, "one large": np.append(10.0, WHITE)}


def gram(eigenvalues, images, *address):
    """Products of normal vectors with these variances around a mean of 3."""
    rows = generator(0, "rows", *address).standard_normal((images, len(eigenvalues))) * np.sqrt(eigenvalues) + 3
    return rows @ rows.T


def true_dimension(eigenvalues):
    return eigenvalues.sum() ** 2 / np.square(eigenvalues).sum()


def test_the_means_are_over_images_that_are_all_different():
    a = generator(0, "symmetric").random((7, 7))
    a += a.T
    np.fill_diagonal(a, 0)
    forms = (lambda p, q: a[p, q] ** 2, lambda p, q, r: a[p, q] * a[p, r], lambda p, q, r, s: a[p, q] * a[r, s])
    for different, (found, without), form in zip((2, 3, 4), _over_different_images(a), forms, strict=True):
        assert found == pytest.approx(np.mean([form(*each) for each in permutations(range(7), different)]), rel=1e-12)
        for out in range(7):
            others = [number for number in range(7) if number != out]
            expected = np.mean([form(*each) for each in permutations(others, different)])
            assert without[out] == pytest.approx(expected, rel=1e-12)


def test_numerator_and_denominator_are_those_of_the_definition_by_images():
    rows = generator(0, "few rows").standard_normal((7, 4)) * (1, 2, 3, 4)
    found = participation_ratio(rows @ rows.T)
    quadruples = list(permutations(range(7), 4))
    squared = [np.square(rows[p] - rows[q]).sum() * np.square(rows[r] - rows[s]).sum() / 4 for p, q, r, s in quadruples]
    of_square = [((rows[p] - rows[q]) @ (rows[r] - rows[s])) ** 2 / 4 for p, q, r, s in quadruples]
    assert found.squared_trace == pytest.approx(np.mean(squared), rel=1e-12)
    assert found.trace_of_square == pytest.approx(np.mean(of_square), rel=1e-12)
    assert found.value == pytest.approx(np.mean(squared) / np.mean(of_square), rel=1e-12)


@pytest.mark.parametrize("name", SPECTRA)
def test_numerator_and_denominator_are_unbiased_for_few_images(name):
    """Twelve images of up to 201 cells, 2,000 times; either mean is off by more than four standard errors once in 10,000."""
    eigenvalues = SPECTRA[name]
    found = [participation_ratio(gram(eigenvalues, 12, number)) for number in range(2_000)]
    for values, truth in (
        ([each.squared_trace for each in found], eigenvalues.sum() ** 2),
        ([each.trace_of_square for each in found], np.square(eigenvalues).sum()),
    ):
        assert abs(np.mean(values) - truth) < 4 * np.std(values) / len(values) ** 0.5


def test_the_usual_estimate_would_fail_that():
    products = [gram(WHITE, 12, number) for number in range(50)]
    centring = np.eye(12) - 1 / 12
    plugged = [np.square(centring @ each @ centring).sum() / 11**2 for each in products]
    assert np.mean(plugged) > 10 * np.square(WHITE).sum()
    found = [participation_ratio(each).trace_of_square for each in products]
    assert np.mean(found) == pytest.approx(200, rel=0.2)


@pytest.mark.parametrize(("name", "images", "least", "most"), [("white", 60, 0.95, 1), ("steep", 150, 0.905, 0.97)])
def test_the_interval_covers_the_true_dimension(name, images, least, most):
    """400 intervals; at 94% coverage, about what 150 images have, the share is out of these bounds once in 100 draws."""
    truth = true_dimension(SPECTRA[name])
    found = [participation_ratio(gram(SPECTRA[name], images, number)) for number in range(400)]
    assert least <= np.mean([each.low <= truth <= each.high for each in found]) <= most
    assert all(each.low <= each.value <= each.high for each in found)


def test_six_images_of_many_dimensions_give_a_dimension_and_a_wide_interval():
    found = [participation_ratio(gram(np.ones(2_000, dtype=np.float64), 6, number)) for number in range(100)]
    assert np.mean([each.low <= 2_000 <= each.high for each in found]) >= 0.95
    assert all(0 < each.low < each.value < each.high < np.inf for each in found)


def test_activity_in_two_images_alone_has_a_dimension_without_bounds():
    rows = np.zeros((8, 3), dtype=np.float64)
    rows[0, 0] = rows[1] = 1
    found = participation_ratio(rows @ rows.T)
    assert (found.low, found.high) == (1, np.inf)
    assert 0 < found.value < np.inf


def test_images_with_nothing_in_common_have_no_end_of_dimensions():
    assert participation_ratio(np.eye(9))[:3] == (np.inf, 1, np.inf)


def test_a_constant_activity_more_or_another_scale_changes_nothing():
    rows = generator(0, "rows").standard_normal((40, 10))
    one, other = participation_ratio(rows @ rows.T), participation_ratio((5 * rows + 50) @ (5 * rows + 50).T)
    assert np.allclose(one[:3], other[:3], rtol=1e-8)


@pytest.mark.parametrize("products", [np.eye(5), np.zeros((8, 8)), np.ones((8, 8)), np.diag([1.0, 0, 0, 0, 0, 0])])
def test_what_has_no_dimension_is_refused(products):
    with pytest.raises(InputError):
        participation_ratio(products)


# -- the closed form ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("per_cell", "known"), [(1, 6_939), (2, 26_359), (4, 33_736), (5, 34_281), (10, 30_843), (50, 11_605)])
def test_a_fixed_number_of_synapses_gives_the_known_dimensions(per_cell, known):
    # 8e5/K is no whole number of cells only where K does not divide it: here it always does
    assert threshold_dimension(7_000, per_cell, 800_000 // per_cell, 0.1) == pytest.approx(known, abs=0.5)


def test_another_known_value():
    assert threshold_dimension(784, 4, 20_000, 0.1) == pytest.approx(3_647, abs=0.5)


@pytest.mark.parametrize("level", [0.02, 0.1, 0.5, 0.9])
def test_the_covariance_is_that_of_two_normal_drives(level):
    correlations, above = np.array([0.0, 0.25, 0.7, 0.99], dtype=np.float64), stats.norm.ppf(level)
    both = [stats.multivariate_normal.cdf([above, above], cov=[[1, r], [r, 1]]) for r in correlations]
    assert np.allclose(threshold_covariance(correlations, level), np.array(both) - level**2, rtol=0, atol=1e-6)
    assert threshold_covariance(np.ones(1), level)[0] == pytest.approx(level - level**2, rel=1e-12)


def test_cells_that_all_see_everything_are_one_dimension_and_cells_that_share_nothing_their_number():
    assert threshold_dimension(30, 30, 500, 0.1) == pytest.approx(1, rel=1e-9)
    assert threshold_dimension(10**7, 1, 20, 0.1) == pytest.approx(20, rel=1e-4)
    assert threshold_dimension(30, 20, 500, 0.1) > 1  # overlaps below 10 cannot be


@pytest.mark.parametrize("wrong", [(10, 0, 5, 0.1), (10, 11, 5, 0.1), (10, 2, 0, 0.1), (10, 2, 5, 0.0), (10, 2, 5, 1.0)])
def test_what_the_closed_form_does_not_know_is_refused(wrong):
    with pytest.raises(InputError):
        threshold_dimension(*wrong)
