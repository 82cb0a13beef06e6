"""Intervals for proportions, for differences of two proportions, and for means; tests of differences."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import bdtr, betaincinv, nctdtrinc, ndtri, stdtrit


def proportion_interval(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Clopper-Pearson interval for a proportion; (0, 1) without trials.

    The interval is exact: its coverage is always at least `confidence`, so it is slightly wide.

    References
    ----------
    Clopper and Pearson (1934), Biometrika 26(4).
    """
    if trials == 0:
        return 0.0, 1.0
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, trials - hits + 1, tail))
    high = 1.0 if hits == trials else float(betaincinv(hits + 1, trials - hits, 1 - tail))
    return low, high


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return Student's interval for the mean of at least two independent values, one per seed.

    The interval's coverage is `confidence` for normal values; for few values the interval is wide.

    References
    ----------
    Student (1908), Biometrika 6(1).
    """
    if len(values) < 2:
        raise ValueError(f"an interval over seeds needs at least two of them, got {len(values)}")
    drawn = np.asarray(values, dtype=np.float64)
    mean, error = float(drawn.mean()), float(drawn.std(ddof=1)) / math.sqrt(len(drawn))
    half = float(stdtrit(len(drawn) - 1, (1 + confidence) / 2)) * error
    return mean - half, mean + half


def mean_deviation(variance: np.ndarray, draws: int, tail: float) -> np.ndarray:
    """Return a one-sided bound on the distance of a mean of independent numbers in [0, 1] from its expectation ``[M-BERNSTEIN]``.

    Parameters
    ----------
    variance : array of float64, any shape
        Sample variance of the draws, with n - 1 in its denominator.
    draws : int
        Number n of draws, at least 2.
    tail : float
        Probability of exceeding the bound. Half of this probability goes to Hoeffding's bound and half to the empirical
        Bernstein bound; the smaller bound is used.

    References
    ----------
    Hoeffding (1963), Theorem 1; Maurer and Pontil (2009), Theorem 4.
    """
    hoeffding = math.sqrt(math.log(2 / tail) / (2 * draws))
    logarithm = math.log(4 / tail)
    bernstein = np.sqrt(2 * variance * logarithm / draws) + 7 * logarithm / (3 * (draws - 1))
    return np.minimum(hoeffding, bernstein)


def mcnemar_test(only_one: int, only_other: int) -> float:
    """Return the two-sided p-value of an exact test of equal accuracy of two classifiers on the same images.

    Under the null hypothesis, if exactly one of the two classifiers is correct on an image, each is equally likely to be that
    one.

    Parameters
    ----------
    only_one, only_other : int
        Numbers of images on which only the first classifier is correct, and on which only the second is. If both are 0, p is 1.

    References
    ----------
    McNemar (1947), Psychometrika 12(2); with the binomial distribution instead of his approximation.
    """
    images = only_one + only_other
    return 1.0 if images == 0 else min(1.0, 2 * float(bdtr(min(only_one, only_other), images, 0.5)))


def paired_difference_interval(only_one: int, only_other: int, images: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return a score interval for the difference of two proportions on the same images; (-1, 1) without images.

    Parameters
    ----------
    only_one, only_other : int
        Numbers of images on which only the first classifier is correct, and on which only the second is.
    images : int
        Number of all images.
    confidence : float
        Nominal coverage. The actual coverage is slightly higher on average, but may be lower if there are few images.

    Returns
    -------
    tuple of float
        Bounds for the proportion of the first classifier minus the proportion of the second; both bounds are in [-1, 1].

    References
    ----------
    Tango (1998), Statistics in Medicine 17(8).
    """
    if images == 0:
        return -1.0, 1.0
    z = float(ndtri((1 + confidence) / 2))
    return _score_bound(only_one, only_other, images, z), -_score_bound(only_other, only_one, images, z)


def _score_bound(only_one: int, only_other: int, images: int, z: float) -> float:
    """Return the difference below the observed one at which the score statistic is z, by bisection; -1 if there is none."""
    low, high = -1.0, (only_one - only_other) / images
    for _ in range(60):
        middle = (low + high) / 2
        if _score(only_one, only_other, images, middle) > z:
            low = middle
        else:
            high = middle
    return low


def _score(only_one: int, only_other: int, images: int, difference: float) -> float:
    """Return Tango's statistic: (observed minus hypothesised difference) / its standard deviation under the hypothesis."""
    b = (2 * images - only_one + only_other) * difference - only_one - only_other
    c = -only_other * difference * (1 - difference)
    # the most likely share of images on which only the other is correct
    share = (math.sqrt(b * b - 8 * images * c) - b) / (4 * images)
    variance = images * max(2 * share + difference * (1 - difference), 1e-300)
    return (only_one - only_other - images * difference) / math.sqrt(variance)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values adjusted for several, possibly dependent tests, so that the familywise error rate is controlled.

    References
    ----------
    Holm (1979), Scandinavian Journal of Statistics 6(2).
    """
    adjusted, largest = [1.0] * len(p), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda place: p[place])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted


def standard_deviation(values: Sequence[float]) -> float:
    """Return the standard deviation of at least two numbers, with n - 1 in its denominator."""
    return float(np.std(values, ddof=1, dtype=np.float64))


def detectable_difference(deviation: float, draws: int, power: float = 0.8, level: float = 0.05) -> float:
    """Return the smallest true difference that a two-sided t-test of `draws` differences detects with the given power.

    Parameters
    ----------
    deviation : float
        Standard deviation of the differences, for example of two models with the same seed; the result has the same unit.
    draws : int
        Number of differences, at least 2.
    power, level : float
        Probabilities of detecting the difference, and of detecting a difference that does not exist.

    References
    ----------
    Johnson and Welch (1940), Biometrika 31(3-4).
    """
    threshold = float(stdtrit(draws - 1, 1 - level / 2))
    return float(nctdtrinc(draws - 1, 1 - power, threshold)) * deviation / math.sqrt(draws)
