"""The laws of noise: each function, and the draws, against SciPy's distributions, quadrature and finite differences.

Tests of a distribution state how often perfect noise would fail them; their addresses are fixed, so they do not flicker.
"""

import numpy as np
import pytest
import scipy
from noisy_oracle import LAWS, distribution_of
from scipy import stats

from minicereb.backend import to_device, to_numpy
from minicereb.calculus.noise import LAWS as LAW_TYPES
from minicereb.calculus.noise import Gaussian, Laplace, Logistic, StudentT, conditional_score, draw_noise, law_named
from minicereb.errors import InputError

FALSE_ALARM = 1e-6  # of each test of a distribution
ALL = [*LAWS, StudentT(1.0), StudentT(2.5), StudentT(30.0), StudentT(1000.0)]
every_law = pytest.mark.parametrize("law", ALL, ids=lambda law: f"{law.name}-{getattr(law, 'degrees', '')}".strip("-"))
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
PLACES = np.concatenate((np.linspace(-6, 6, 121), [-1e-9, 1e-9, -1e-4, 1e-4, 1e-2]))
FAR = np.concatenate((-np.linspace(20, 40, 21), np.linspace(20, 40, 21)))
T, WEIGHTS = np.polynomial.legendre.leggauss(400)


def integral(function, low, high):
    """Integrate over an interval on one side of 0, by Gauss-Legendre quadrature after the substitution e = sinh(t)."""
    start, end = np.arcsinh((low, high))
    t = (start + end) / 2 + (end - start) / 2 * T
    return (end - start) / 2 * WEIGHTS @ (np.cosh(t) * function(np.sinh(t)))


def mean_of(law, function, far=1e7):
    """``E[function(e)]`` by the law's own density."""
    return sum(integral(lambda e: law.density(e) * function(e), *side) for side in ((-far, 0), (0, far)))


def slope(function, e, step=1e-5):
    return (function(e + step) - function(e - step)) / (2 * step)


# -- each function -----------------------------------------------------------------------------------------------------------


@every_law
def test_the_density_integrates_to_1(law):
    assert mean_of(law, np.ones_like) == pytest.approx(1, abs=1e-6)  # Cauchy's tail beyond 1e7 is 6e-8


@every_law
@both_dtypes
def test_density_and_distribution_are_those_of_scipy(law, dtype):
    e, expected = PLACES.astype(dtype), distribution_of(law)
    tolerance = 1e-4 if dtype == np.float32 else 1e-12  # (1 + e²/ν)^(-ν/2) in float32 for a large ν
    for found, wanted in ((law.density(e), expected.pdf(e)), (law.distribution(e), expected.cdf(e))):
        assert found.dtype == dtype
        assert np.allclose(found, wanted, rtol=tolerance, atol=0 if dtype == np.float64 else 1e-7)


@every_law
def test_the_distribution_is_the_integral_of_the_density(law):
    """Half of the distribution lies below 0, so the integrals start at 0."""
    assert law.distribution(np.zeros(1))[0] == 0.5
    for e in (-5.0, -1.3, -0.2, 0.4, 2.0, 7.0):
        inside = integral(law.density, *sorted((0.0, e)))
        assert law.distribution(np.array([e]))[0] == pytest.approx(0.5 + np.sign(e) * inside, abs=1e-12)


# SciPy's betaincinv was good to 2e-12 before it came from Boost, which is 5e-11 in a millionth of a distribution.
OF_QUANTILES = 1e-11 if tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 12) else 1e-10


@every_law
@both_dtypes
def test_the_quantile_inverts_the_distribution(law, dtype):
    q = np.array([1e-6, 1e-3, 0.1, 0.3, 0.5, 0.7, 0.9, 1 - 1e-3, 1 - 2.0**-20], dtype=dtype)
    e = law.quantile(q)
    assert e.dtype == dtype
    assert e[4] == 0
    assert np.allclose(law.distribution(e), q, rtol=1e-4 if dtype == np.float32 else OF_QUANTILES, atol=0)
    reference, q = distribution_of(law), q.astype(np.float64)
    exact = reference.ppf(q)
    exact -= (reference.cdf(exact) - q) / reference.pdf(exact)  # Newton's step: Student's in SciPy 1.11 is good to 2e-9 only
    assert np.allclose(e, exact, rtol=1e-4 if dtype == np.float32 else 1e-9, atol=1e-12)


@every_law
def test_the_score_is_minus_the_slope_of_the_log_density(law):
    e = PLACES[(np.abs(PLACES) > 1e-4) | (law.name != "laplace")]  # Laplace's jumps at 0
    assert np.allclose(law.score(e), -slope(lambda e: np.log(law.density(e)), e), rtol=0, atol=1e-8)


@every_law
def test_the_laws_are_symmetric(law):
    e = np.abs(PLACES)
    assert np.array_equal(law.density(-e), law.density(e))
    assert np.array_equal(law.score(-e), -law.score(e))
    assert np.allclose(law.distribution(-e), 1 - law.distribution(e), rtol=0, atol=1e-15)


@every_law
def test_fisher_is_the_mean_squared_score(law):
    assert law.fisher == pytest.approx(mean_of(law, lambda e: law.score(e) ** 2), rel=1e-6)


@pytest.mark.parametrize("law", [*LAWS, StudentT(30.0), StudentT(1000.0)], ids=repr)
def test_the_standard_deviation(law):
    """For t with 3 degrees of freedom, 1e-6 of the variance lies beyond 1e7."""
    assert law.standard_deviation == pytest.approx(mean_of(law, np.square, far=1e8) ** 0.5, rel=1e-6)
    assert law.standard_deviation == pytest.approx(distribution_of(law).std(), rel=1e-12)


def test_students_t_has_no_variance_up_to_2_degrees():
    assert StudentT(2.0).standard_deviation == StudentT(1.0).standard_deviation == float("inf")


@pytest.mark.parametrize("v", [0.25, 1.0, 4.0])
def test_fisher_information_at_equal_variance_is_as_the_reference_has_it(v):
    """The Fisher information is 1/v, 2/v, 1.097/v and ν(ν+1)/((ν+3)(ν-2)v); that of r = σe is that of e over σ²."""

    def at_variance(law):
        return law.fisher * law.standard_deviation**2 / v

    assert at_variance(Gaussian()) == pytest.approx(1 / v)
    assert at_variance(Laplace()) == pytest.approx(2 / v)
    assert at_variance(Logistic()) == pytest.approx(1.097 / v, rel=1e-3)
    for nu in (2.5, 3.0, 10.0):
        assert at_variance(StudentT(nu)) == pytest.approx(nu * (nu + 1) / ((nu + 3) * (nu - 2) * v))


# -- the ratio ---------------------------------------------------------------------------------------------------------------


@every_law
@both_dtypes
@pytest.mark.parametrize("places", [PLACES, FAR], ids=["near", "far"])
def test_the_ratio_of_density_and_distribution_also_where_both_vanish(law, dtype, places):
    """It may be 0 far above, where the ratio itself vanishes. Where t's distribution underflows, its limit is 4% off."""
    e, exact = places.astype(dtype), distribution_of(law)
    expected = np.exp(exact.logpdf(e.astype(np.float64)) - exact.logcdf(e.astype(np.float64)))
    ratio = law.density_ratio(e)
    assert ratio.dtype == dtype
    assert np.isfinite(ratio).all()
    underflows = (exact.cdf(e.astype(np.float64)) < 1e-37) & (law.name == "student-t")
    rtol = np.where(underflows, 4e-2, 1e-4 if dtype == np.float32 else 1e-11)
    assert (np.abs(ratio - expected) <= rtol * expected + (1e-7 if dtype == np.float32 else 1e-15)).all()


@every_law
@pytest.mark.parametrize("a", [-7.0, -1.5, 0.0, 0.3, 2.0, 12.0])
def test_the_conditional_score_is_the_mean_score_given_the_response(law, a):
    """A neuron fires if a + e > 0: quadrature over that half-line, or the other, cut at 0 where Laplace's score jumps."""
    drive, far = np.array([a]), 1e9
    for fires, (low, high) in ((1.0, (-a, far)), (0.0, (-far, -a))):
        sides = [(low, 0.0), (0.0, high)] if low < 0 < high else [(low, high)]
        mass = sum(integral(law.density, *side) for side in sides)
        mean = sum(integral(lambda e: law.density(e) * law.score(e), *side) for side in sides) / mass
        assert conditional_score(law, np.array([fires]), drive)[0] == pytest.approx(mean, rel=1e-4, abs=1e-9)


@every_law
def test_the_conditional_score_averages_to_0(law):
    a, fires = np.linspace(-5, 5, 41), np.array([[0.0], [1.0]])
    p = law.distribution(a)
    assert np.allclose((np.stack((1 - p, p)) * conditional_score(law, fires, a)).sum(axis=0), 0, atol=1e-12)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_the_conditional_score_is_the_formula_where_that_can_be_computed(law):
    a, fires = np.linspace(-5, 5, 41), np.array([[0.0], [1.0]])
    p = law.distribution(a)
    assert np.allclose(conditional_score(law, fires, a), (fires - p) * law.density(a) / (p * (1 - p)), rtol=1e-9, atol=0)


# -- names -------------------------------------------------------------------------------------------------------------------


def test_laws_are_found_by_name():
    assert [law_named(name) for name in LAW_TYPES] == [Gaussian(), Laplace(), Logistic(), StudentT(3.0)]
    assert law_named("student-t", 5.0) == StudentT(5.0)


@pytest.mark.parametrize(
    ("given", "setting", "expected"),
    [
        (("cauchy",), "noise", "gaussian, laplace, logistic, student-t"),
        (("gaussian", 3.0), "noise-degrees", "only student-t"),
        (("student-t", 0.0), "noise-degrees", "a number"),
        (("student-t", float("inf")), "noise-degrees", "a number"),
    ],
)
def test_other_names_are_refused(given, setting, expected):
    with pytest.raises(InputError, match=expected) as caught:
        law_named(*given)
    assert caught.value.setting == setting


# -- draws -------------------------------------------------------------------------------------------------------------------


def draw(laws, shapes, like=None, numbers=(0,), seed=0):
    return draw_noise(np.empty(0, dtype=np.float32) if like is None else like, laws, shapes, seed, "a test of noise", numbers)


@every_law
@both_dtypes
def test_draws_have_the_distribution_of_their_law(xp_device, law, dtype):
    (e,) = draw([law], [(3, 20_000)], xp_device.empty(0, dtype=dtype))
    assert type(e) is xp_device.ndarray
    assert (e.dtype, e.shape) == (dtype, (3, 20_000))
    e = to_numpy(e).astype(np.float64).ravel()
    assert np.isfinite(e).all()
    assert stats.kstest(e, distribution_of(law).cdf).pvalue > FALSE_ALARM / 2
    largest = stats.binomtest(int((np.abs(e) > distribution_of(law).isf(5e-4)).sum()), e.size, 1e-3)
    assert largest.pvalue > FALSE_ALARM / 2  # tails, to which that test is blind


@pytest.mark.parametrize("degrees", [0.6, 1e3])
def test_draws_of_unusual_degrees_of_freedom(degrees):
    (e,) = draw([StudentT(degrees)], [(40_000,)])
    assert np.isfinite(e).all()
    assert stats.kstest(e.astype(np.float64), stats.t(degrees).cdf).pvalue > FALSE_ALARM


@pytest.mark.parametrize("degrees", [0.5, 0.6, 3.0])
def test_the_longest_tail_is_finite_and_has_a_score(degrees):
    law, least = StudentT(degrees), np.float32(2.0**-32)
    e = law.draw(np.array([least, -least, least, least], dtype=np.float32), 2)
    assert e.dtype == np.float32
    assert np.isfinite(e).all()
    assert np.allclose(law.score(e) * e, degrees + 1, rtol=1e-2)  # what it tends to


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_draws_are_independent_of_their_neighbours(law):
    """Rank correlations with the next ones, and with the one half the array away, that Box and Muller make together with it."""
    (e,) = draw([law], [(40_000,)])
    for distance in (1, 2, 3, 20_000):
        for one, other in ((e[:-distance], e[distance:]), (np.abs(e[:-distance]), np.abs(e[distance:]))):
            correlation = stats.spearmanr(one, other).statistic
            assert abs(correlation) < stats.norm.isf(FALSE_ALARM / 16) / len(one) ** 0.5


def test_layers_have_noise_of_their_own_law_and_silent_ones_none():
    shapes = [(2, 3, 5), (4, 3, 5), (1, 3, 5), (3, 3, 5)]
    noise = draw([Gaussian(), None, StudentT(), Laplace()], shapes)
    assert [None if e is None else e.shape for e in noise] == [(2, 3, 5), None, (1, 3, 5), (3, 3, 5)]
    drawn = np.concatenate([e.ravel() for e in noise if e is not None])
    assert len(np.unique(drawn)) == len(drawn)
    assert draw([None, None], shapes[:2]) == (None, None)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_an_address_gives_the_same_noise_again_and_another_address_other_noise(law):
    (first,), (again,) = draw([law], [(1001,)]), draw([law], [(1001,)])
    assert np.array_equal(first, again)
    for other in (draw([law], [(1001,)], numbers=(1,)), draw([law], [(1001,)], numbers=(0, 0)), draw([law], [(1001,)], seed=1)):
        assert abs(stats.spearmanr(first, other[0]).statistic) < stats.norm.isf(FALSE_ALARM) / 1001**0.5


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_every_device_draws_the_same_to_rounding(xp_device, law):
    (there,) = draw([law], [(999,)], xp_device.empty(0, dtype=np.float32))
    (here,) = draw([law], [(999,)])
    assert np.allclose(to_numpy(there), here, rtol=1e-4, atol=1e-6)


# -- on every device ---------------------------------------------------------------------------------------------------------


@every_law
@both_dtypes
def test_the_laws_keep_dtype_and_device(xp_device, law, dtype):
    e, q = PLACES.astype(dtype), np.linspace(0.01, 0.99, 99).astype(dtype)
    fires = (e > 1).astype(dtype)
    found = [getattr(law, name)(to_device(e)) for name in ("score", "density", "distribution", "density_ratio")]
    found += [law.quantile(to_device(q)), conditional_score(law, to_device(fires), to_device(e))]
    wanted = [getattr(law, name)(e) for name in ("score", "density", "distribution", "density_ratio")]
    wanted += [law.quantile(q), conditional_score(law, fires, e)]
    for array, expected in zip(found, wanted, strict=True):
        assert type(array) is xp_device.ndarray
        assert array.dtype == expected.dtype == dtype
        assert np.allclose(to_numpy(array), expected, rtol=1e-4, atol=1e-6)
