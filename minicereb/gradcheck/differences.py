"""Finite differences that say how exact they are, and whether there is a derivative at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

# Steps that an extrapolation goes through, each a quarter of the last: the first round least, the last fit between the kinks of
# a deep network. Powers of two, so that adding them to a number between ½ and 2 rounds little.
STEPS = tuple(2.0**-power for power in range(1, 24, 2))
CLOSE, CLOSER = 2.0**-18, 2.0**-20  # at which the slopes to both sides are compared
ENOUGH = 1e-9  # relative error at which an extrapolation ends


def moving(array: np.ndarray, place: Any, function: Callable[..., Any], *arguments: Any) -> Callable[[float], float]:
    """Return what `function` comes to as a function of by how much one number of an array is moved.

    Parameters
    ----------
    array : array of float64
        Each time moved in place, and put back.
    place : int or tuple of int
    function : callable
        Of `arguments`, to one number or an array of one.
    """

    def at(move: float) -> float:
        was = array[place]
        array[place] = was + move
        try:
            return float(np.asarray(function(*arguments)).item())
        finally:
            array[place] = was

    return at


class Difference(NamedTuple):
    """What :func:`difference` found.

    Attributes
    ----------
    slope : float
        The central difference, extrapolated to a step of 0.
    rounding : float
        How far it may be off, by what it changed with the last steps.
    left, right : float
        Slopes to both sides.
    kink : bool
        Whether the slopes to both sides stay apart however small the step: there is no derivative.
    """

    slope: float
    rounding: float
    left: float
    right: float
    kink: bool


def difference(function: Callable[[float], float]) -> Difference:
    """Differentiate a function of one number at 0 without knowing its formula.

    Parameters
    ----------
    function : callable
        From by how much something is moved to what comes of it, both in float64.

    Returns
    -------
    Difference

    References
    ----------
    Ridders (1982), Advances in Engineering Software 4(2).
    """
    here = function(0.0)
    best, error = 0.0, float("inf")
    previous: list[float] = []
    for step in STEPS:
        exact_to = np.finfo(np.float64).eps * max(abs(here), 1.0) / step  # a small loss is a sum of numbers that are not
        row = [(function(step) - function(-step)) / (2 * step)]
        if not np.isfinite(row[0]):  # the function is not defined so far away
            previous = []
            continue
        for order, coarser in enumerate(previous):
            power = 16.0 ** (order + 1)
            row.append((row[-1] * power - coarser) / (power - 1))
            found = max(abs(row[-1] - row[-2]), abs(row[-1] - coarser), exact_to)
            if found < error:
                best, error = row[-1], found
        previous = row
        if error <= max(ENOUGH * abs(best), exact_to):  # smaller steps only round more
            break
    (left, right), (left_far, right_far) = (
        ((here - function(-step)) / step, (function(step) - here) / step) for step in (CLOSER, CLOSE)
    )
    gap = abs(right - left)
    noise = 1e-14 * max(abs(here), 1.0) / CLOSER
    # Where the function is smooth the gap shrinks with the step: to a quarter, from one to the other.
    kink = gap > 1e-3 * max(abs(left), abs(right)) + noise and gap > 0.6 * abs(right_far - left_far)
    return Difference(best, error, left, right, kink)
