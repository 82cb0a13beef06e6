"""Linear bounds of activations on an interval ``[M-CROWN]``, element by element in float64.

The bounds are sound: rounding in this module can only loosen a line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from minicereb.backend import Array, xp_of
from minicereb.calculus.activations import sigmoid
from minicereb.errors import InputError

SLACK = 2.0**-50  # relative; covers several float64 roundings
SIGMOID_SLACK = 2.0**-44  # absolute; covers several float64 roundings
TINY = 2.0**-1000  # in place of a divisor that is 0
LEAST = 1e-290  # no line is steeper than the inverse of this
FLAT = 1e-8  # over a shorter interval a sigmoid's chord would be dominated by rounding
LAST_TANGENT = 40.0  # beyond this, a tangent of the sigmoid is as good as its limit
BISECTIONS = 32

DEVIATIONS = 6.0


def relative_rounding(terms: int, unit: float) -> float:
    """Return γ of ``[M-ROUND]`` for a sum of `terms` terms in arithmetic with the unit roundoff `unit`."""
    return 1.001 * unit * min(terms, DEVIATIONS * terms**0.5)


class Lines(NamedTuple):
    """Two float64 lines per unit: ``lower_slope·v + lower_intercept ≤ φ(v) ≤ upper_slope·v + upper_intercept``."""

    lower_slope: Array
    lower_intercept: Array
    upper_slope: Array
    upper_intercept: Array


def identity_lines(lower: Array, upper: Array) -> Lines:
    """Return the lines of ``φ(v) = v``; both are the function itself."""
    xp = xp_of(lower)
    one, zero = xp.ones_like(lower), xp.zeros_like(lower)
    return Lines(one, zero, one, zero)


def relu_lines(lower: Array, upper: Array) -> Lines:
    """Return the lines of ``max(v, 0)`` ``[M-RELAX]``.

    The upper line is the chord. The lower line is ``v`` or 0, whichever is larger on most of the interval.

    Parameters
    ----------
    lower, upper : array of float64, same shape
        Bounds of the signal, ``l ≤ v ≤ u``.

    Returns
    -------
    Lines
        Both lines are the function itself if the unit is on (l ≥ 0) or off (u ≤ 0) over the whole interval.
    """
    xp = xp_of(lower)
    above = xp.maximum(upper, 0.0)
    chord = above / xp.maximum(above - xp.minimum(lower, 0.0), TINY)  # 1 if it is on, 0 if it is off
    lower_slope = (lower + upper > 0) * 1.0
    return Lines(lower_slope, xp.zeros_like(lower), chord, SLACK * above - chord * xp.minimum(lower, 0.0))


def threshold_lines(lower: Array, upper: Array) -> Lines:
    """Return the lines of ``[v > 0]`` ``[M-STEP]``; arguments as for :func:`relu_lines`.

    The lower line is 0 or ``v/u``, and the upper line is 1 or ``1 + v/|l|``, whichever leaves less area.
    """
    xp = xp_of(lower)
    unstable = (lower <= 0) & (upper > 0)
    rising = unstable & (lower + upper > 0) & (upper > LEAST)
    falling = unstable & (lower + upper < 0) & (lower < -LEAST)
    lower_slope = xp.where(rising, (1 - SLACK) / xp.where(rising, upper, 1.0), 0.0)
    upper_slope = xp.where(falling, (SLACK - 1) / xp.where(falling, lower, -1.0), 0.0)
    return Lines(lower_slope, (lower > 0) * 1.0, upper_slope, (upper > 0) * 1.0)


def absolute_lines(lower: Array, upper: Array) -> Lines:
    """Return the lines of ``|v|`` ``[M-ABSLINES]``: the chord above, ``v`` or ``-v`` below.

    Arguments as for :func:`relu_lines`.
    """
    xp = xp_of(lower)
    unstable = (lower < 0) & (upper > 0)
    side = xp.where(lower >= 0, 1.0, -1.0)
    chord = xp.where(unstable, (upper + lower) / xp.where(unstable, upper - lower, 1.0), side)
    intercept = xp.where(unstable, (1 - chord) * upper + SLACK * xp.maximum(upper, -lower), 0.0)
    return Lines(xp.where(unstable, xp.sign(lower + upper), side), xp.zeros_like(lower), chord, intercept)


def largest_lines(lower: Array, upper: Array) -> Lines:
    """Return the lines of the largest of several signals, ``max_i v_i`` ``[M-MAXLINES]``.

    Parameters
    ----------
    lower, upper : array of float64, shape (signals, ...)

    Returns
    -------
    Lines
        There is a slope for each signal, in the shape of `lower`; intercepts lack the first axis. If one signal is always the
        largest, both lines are that signal.
    """
    xp = xp_of(lower)
    floor, roof = lower.max(axis=0), upper.max(axis=0)
    numbers = xp.arange(len(lower)).reshape(-1, *(1,) * floor.ndim)
    lower_slope = (numbers == (lower + upper).argmax(axis=0)) * 1.0
    above = xp.maximum(upper - floor, 0.0)
    chord = above / xp.maximum(upper - lower, TINY)
    size = abs(floor) + (chord * (abs(lower) + abs(upper))).sum(axis=0)
    tilted = above.sum(axis=0) < 2 * (roof - floor)
    intercept = xp.where(tilted, floor - (chord * lower).sum(axis=0) + 4 * SLACK * size, roof)
    return Lines(lower_slope, xp.zeros_like(floor), chord * tilted, intercept)


def sigmoid_lines(lower: Array, upper: Array, slope: float = 1.0) -> Lines:
    """Return the lines of ``1/(1 + exp(-sv))`` ``[M-SIGLINES]``: chords or tangents. Arguments as for :func:`relu_lines`.

    The upper line is the chord if the curve lies below it, otherwise a tangent in the concave half that passes above the curve at
    l. Bisection finds the point of contact; of the two ends of the final bracket, the one whose tangent passes above the
    curve at l is used. The lower line is found in the same way, after reflection about the curve's centre.
    """
    a, b = slope * lower, slope * upper
    upper_slope, upper_intercept = _above_sigmoid(a, b)
    lower_slope, mirrored = _above_sigmoid(-b, -a)
    return Lines(slope * lower_slope, 1 - mirrored, slope * upper_slope, upper_intercept)


def _above_sigmoid(a: Array, b: Array) -> tuple[Array, Array]:
    """Return slope and intercept of a line above the sigmoid of slope 1 on [a, b]."""
    xp = xp_of(a)
    at_a, at_b = sigmoid(a), sigmoid(b)
    wide = b - a > FLAT
    chord = xp.where(wide, (at_b - at_a) / xp.where(wide, b - a, 1.0), 0.0)
    use_chord = (a < 0) & ((b <= 0) | (_sigmoid_slope(b) >= chord))
    far = xp.maximum(xp.minimum(b, LAST_TANGENT), 0.0)
    near = xp.zeros_like(a)
    for _ in range(BISECTIONS if bool(((a < 0) & ~use_chord).any()) else 0):
        middle = 0.5 * (near + far)
        passes = _sigmoid_slope(middle) * (a - middle) + sigmoid(middle) >= at_a
        far, near = xp.where(passes, middle, far), xp.where(passes, near, middle)
    touch = xp.minimum(xp.maximum(0.5 * (a + b), xp.where(a < 0, far, a)), b)
    tangent = _sigmoid_slope(touch)
    height = sigmoid(touch) - tangent * touch
    flat = ~wide | (~use_chord & (tangent * a + height < at_a))
    slope = xp.where(flat, 0.0, xp.where(use_chord, chord, tangent))
    intercept = xp.where(use_chord, xp.maximum(at_a - chord * a, at_b - chord * b), height)
    return slope, xp.where(flat, at_b, intercept) + SIGMOID_SLACK


def _sigmoid_slope(v: Array) -> Array:
    """Return ``σ(v)(1 - σ(v))``, accurately even far from 0."""
    xp = xp_of(v)
    tail = xp.exp(-xp.abs(v))
    return tail / ((1 + tail) * (1 + tail))


def _monotone(function: Callable[[Array], Array]) -> Callable[[Array, Array], tuple[Array, Array]]:
    return lambda lower, upper: (function(lower), function(upper))


def _absolute_interval(lower: Array, upper: Array) -> tuple[Array, Array]:
    xp = xp_of(lower)
    return xp.maximum(xp.maximum(lower, -upper), 0.0), xp.maximum(-lower, upper)


def _sigmoid_interval(lower: Array, upper: Array, slope: float) -> tuple[Array, Array]:
    return sigmoid(lower, slope) - SIGMOID_SLACK, sigmoid(upper, slope) + SIGMOID_SLACK


# The lines and the interval of each activation that has bounds. Those of the sigmoid also depend on its slope.
UNITS: dict[str, tuple[Callable[..., Lines], Callable[..., tuple[Array, Array]]]] = {
    "identity": (identity_lines, _monotone(lambda v: v)),
    "relu": (relu_lines, _monotone(lambda v: xp_of(v).maximum(v, 0.0))),
    "threshold": (threshold_lines, _monotone(lambda v: (v > 0) * 1.0)),
    "absolute": (absolute_lines, _absolute_interval),
    "sigmoid": (sigmoid_lines, _sigmoid_interval),
}


@dataclass(frozen=True)
class Unit:
    """An activation from :data:`UNITS`, given by its name. Only the sigmoid uses `slope`."""

    name: str
    slope: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in UNITS:
            raise InputError("activation", self.name, ", ".join(UNITS))

    def interval(self, lower: Array, upper: Array) -> tuple[Array, Array]:
        """Return the least and largest response to signals from `lower` to `upper` ``[M-IBP]``."""
        return UNITS[self.name][1](lower, upper, *self._slope)

    def lines(self, lower: Array, upper: Array) -> Lines:
        """Return the two bounding lines for signals from `lower` to `upper`."""
        return UNITS[self.name][0](lower, upper, *self._slope)

    @property
    def _slope(self) -> tuple[float, ...]:
        return (self.slope,) if self.name == "sigmoid" else ()

    @property
    def rounding(self) -> float:
        """Error of a computed response, in units of roundoff; most activations are exact."""
        return 8.0 if self.name == "sigmoid" else 0.0
