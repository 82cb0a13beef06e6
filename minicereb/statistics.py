"""Intervals for the proportions that tables report."""

from scipy.special import betaincinv


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
