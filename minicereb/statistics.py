"""Intervals for the proportions that tables report, and for means of bounded numbers."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import betaincinv, stdtrit


def proportion_interval(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval for a proportion.

    Parameters
    ----------
    hits, trials : int
        Successes among independent trials.
    confidence : float
        Coverage, at least this in every case (the interval is exact, hence a little wide).

    Returns
    -------
    tuple of float
        Lower and upper bound, both in [0, 1]; (0, 1) without trials.

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
    """Student's interval for the mean of which `values`, one a seed, are independent draws.

    Parameters
    ----------
    values : sequence of float
        At least two: one says nothing of how far others would be from it.
    confidence : float
        Coverage, if the values are normal; wide for few of them.

    Returns
    -------
    tuple of float

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
    """By how much a mean of independent numbers in [0, 1] may miss their expectation to one side ``[M-BERNSTEIN]``.

    Parameters
    ----------
    variance : array of float64, any shape
        Of the draws, with n - 1 in its denominator.
    draws : int
        n, at least 2.
    tail : float
        Probability with which more is allowed: half of it is Hoeffding's, half that of the empirical Bernstein bound, and the
        smaller deviation counts.

    Returns
    -------
    array of float64

    References
    ----------
    Hoeffding (1963), Theorem 1; Maurer and Pontil (2009), Theorem 4.
    """
    hoeffding = math.sqrt(math.log(2 / tail) / (2 * draws))
    logarithm = math.log(4 / tail)
    bernstein = np.sqrt(2 * variance * logarithm / draws) + 7 * logarithm / (3 * (draws - 1))
    return np.minimum(hoeffding, bernstein)
