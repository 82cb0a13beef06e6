"""Number formats of tables, pages and figures: an ε, a share in percent, an interval, a mean over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from minicereb.statistics import mean_interval, proportion_interval


def strength(epsilon: float) -> str:
    """Write an ε as a decimal, like ``0.1``; if that is long and ε is a multiple of half a grey level, as a fraction, like
    ``8/255``.
    """
    short, halves = f"{epsilon:g}", 510 * epsilon
    if len(short) <= 5 or abs(halves - round(halves)) > 1e-6:
        return short
    return f"{round(halves) / 2:g}/255"


def percent(share: float | None) -> str:
    """Write a share in percent with one decimal; a dash for None."""
    return "-" if share is None else f"{100 * share:.1f}"


def short_percent(share: float) -> str:
    """Write a share in percent with at most three digits, as in a title."""
    return f"{100 * share:.3g}"


def interval(bounds: Sequence[float] | None) -> str:
    """Write the bounds of an interval of shares in percent; a dash for None."""
    return "-" if bounds is None else f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"


def with_interval(share: float | None, bounds: Sequence[float] | None) -> str:
    """Write a share in percent, with its 95% interval in brackets."""
    return "-" if share is None else f"{percent(share)} ({interval(bounds)})"


def share_interval(shares: Sequence[float], images: int) -> tuple[float, float]:
    """Return the 95% interval of a mean of shares, one per seed: over the seeds or, if all shares are equal, over the images."""
    if max(shares) - min(shares) < 1e-9:
        return proportion_interval(round(shares[0] * images), images)
    low, high = mean_interval(shares)
    return max(0.0, low), min(1.0, high)


def mean_share(shares: Sequence[float], images: int) -> str:
    """Write the mean of shares, one per seed, in percent with its :func:`share_interval`; a dash if there are none."""
    if not shares:
        return "-"
    low, high = share_interval(shares, images)
    return f"{100 * sum(shares) / len(shares):.1f} ({100 * low:.1f}-{100 * high:.1f})"


def number(value: float) -> str:
    """Write a positive number with three significant digits and without an exponent."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"


def number_or_dash(value: float | None) -> str:
    """Write a published number as it was printed; a dash if there is none."""
    return "-" if value is None else f"{value:g}"


def p_value(p: float) -> str:
    """Write a p-value with two significant digits, or ``< 0.0001``."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def in_words(seeds: Iterable[int]) -> str:
    """Return ``seed 0`` or ``seeds 0, 123``."""
    listed = [str(seed) for seed in seeds]
    return f"seed{'s' * (len(listed) > 1)} {', '.join(listed)}"
