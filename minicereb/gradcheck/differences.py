"""Checks of derivatives in float64: finite differences for one entry or along random directions, and the adjoint test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minicereb.randomness import generator

# The steps of an extrapolation, each a quarter of the one before. Large steps have the smallest rounding errors; small steps fit
# between the kinks of a deep network. They are powers of two, so that adding them to a number between ½ and 2 rounds little.
STEPS = tuple(2.0**-power for power in range(1, 24, 2))
CLOSE, CLOSER = 2.0**-18, 2.0**-20  # steps at which the slopes to both sides are compared
ENOUGH = 1e-9  # relative error at which an extrapolation ends


def moving(array: np.ndarray, place: Any, function: Callable[..., Any], *arguments: Any) -> Callable[[float], float]:
    """Return ``function(*arguments)``, a number, as a function of the displacement of one entry of a float64 array.

    The array is changed in place during a call, and restored.
    """

    def at(move: float) -> float:
        was = array[place]
        array[place] = was + move
        try:
            return float(np.asarray(function(*arguments)).item())
        finally:
            array[place] = was

    return at


class FiniteDifference(NamedTuple):
    """The result of :func:`difference`.

    Attributes
    ----------
    slope, rounding : float
        The central difference, extrapolated to a step of 0, and an estimate of its error from the change between the last steps.
    left, right : float
        One-sided slopes.
    kink : bool
        Whether the one-sided slopes differ even for the smallest step, so that there is no derivative.
    """

    slope: float
    rounding: float
    left: float
    right: float
    kink: bool


def difference(function: Callable[[float], float]) -> FiniteDifference:
    """Estimate the derivative at 0 of a function of one float64 number.

    References
    ----------
    Ridders (1982), Advances in Engineering Software 4(2).
    """
    here = function(0.0)
    best, error = 0.0, float("inf")
    previous: list[float] = []
    for step in STEPS:
        # a small loss may be a sum of numbers that are not small
        exact_to = np.finfo(np.float64).eps * max(abs(here), 1.0) / step
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
        if error <= max(ENOUGH * abs(best), exact_to):  # smaller steps would only increase rounding errors
            break
    (left, right), (left_far, right_far) = (
        ((here - function(-step)) / step, (function(step) - here) / step) for step in (CLOSER, CLOSE)
    )
    gap = abs(right - left)
    noise = 1e-14 * max(abs(here), 1.0) / CLOSER
    # For a smooth function the gap is proportional to the step: the second is a quarter of the first.
    kink = gap > 1e-3 * max(abs(left), abs(right)) + noise and gap > 0.6 * abs(right_far - left_far)
    return FiniteDifference(best, error, left, right, kink)


class GradientCheck(NamedTuple):
    """The result of :func:`check_gradient`.

    Attributes
    ----------
    error : float
        Largest difference between derivative and central difference along a direction, relative to the derivative's scale.
    directions : int
        Number of directions that were compared.
    kinks : int
        Number of directions left out because the function is not smooth within the step, so that the one-sided slopes
        differ.
    """

    error: float
    directions: int
    kinks: int


def check_gradient(
    function: Callable[[np.ndarray], float],
    gradient: np.ndarray,
    at: np.ndarray,
    *,
    directions: int = 20,
    step: float = 1e-6,
    seed: int = 0,
) -> GradientCheck:
    """Compare a hand-written derivative with central differences.

    Parameters
    ----------
    function : callable
        Maps an array of float64 to one number.
    gradient : array of float64, shape of `at`
        The claimed derivative of `function` at `at`.
    at : array of float64
        The point.
    directions : int
        Number of random directions of unit length to try.
    step : float
        Half the distance between the two points of a central difference.
    seed : int
        Seed of the directions.

    Returns
    -------
    GradientCheck
        The error is relative to the gradient's length divided by the square root of its size, which is the typical slope along a
        random direction. So it is not small merely because a wrong derivative is small. If every direction met a kink, the error
        is infinite, because nothing was shown.

    Raises
    ------
    TypeError
        If an array is not float64. In float32, such small differences would be lost in rounding.
    """
    if at.dtype != np.float64 or gradient.dtype != np.float64 or gradient.shape != at.shape:
        raise TypeError("check_gradient needs float64 arrays of one shape")
    rng = generator(seed, "check-gradient")
    scale = max(float(np.linalg.norm(gradient)) / np.sqrt(at.size), 1e-12)
    middle, errors, kinks = function(at), [], 0
    for _ in range(directions):
        direction = rng.standard_normal(at.shape)
        direction /= np.linalg.norm(direction)
        ahead, behind = function(at + step * direction), function(at - step * direction)
        bend = abs((ahead - middle) - (middle - behind))
        if bend > 1e-3 * scale * step + 1e-13 * abs(middle) and not _is_smooth(function, at, step * direction, middle, bend):
            kinks += 1
            continue
        errors.append(abs((ahead - behind) / (2 * step) - float(np.vdot(gradient, direction))) / scale)
    return GradientCheck(max(errors, default=np.inf), len(errors), kinks)


def _is_smooth(function: Callable[[np.ndarray], float], at: np.ndarray, move: np.ndarray, middle: float, bend: float) -> bool:
    """Return whether the difference between the one-sided slopes shrinks with the step, as for a smooth function."""
    for part in (2, 4):
        ahead, behind = function(at + move / part), function(at - move / part)
        if abs(part**2 * abs((ahead - middle) - (middle - behind)) - bend) > 0.2 * bend:
            return False
    return True


def check_adjoint(
    forward: Callable[[np.ndarray], np.ndarray],
    adjoint: Callable[[np.ndarray], np.ndarray],
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
    seed: int = 0,
) -> float:
    """Return how far <Ax, y> and <x, Aᵀy> differ for random x and y, relative to |Ax||y|; near 0 if `adjoint` is right."""
    rng = generator(seed, "check-adjoint")
    x, y = rng.standard_normal(input_shape), rng.standard_normal(output_shape)
    image = forward(x)
    return abs(float(np.vdot(image, y)) - float(np.vdot(x, adjoint(y)))) / float(np.linalg.norm(image) * np.linalg.norm(y))


def kink_place(function: Callable[[np.ndarray], float], at: np.ndarray, seed: int = 0, step: float = 1e-6) -> str:
    """Find by bisection an entry of the array `at` in which `function` has a kink, and return its indices as text.

    The text is empty if no such entry is found.
    """
    direction = generator(seed, "kink").standard_normal(at.size)
    middle, numbers = function(at), np.arange(at.size, dtype=np.int64)

    def bends(chosen: np.ndarray) -> bool:
        move = np.zeros(at.size, dtype=np.float64)
        move[chosen] = direction[chosen] * step
        ahead, behind = (function(at + sign * move.reshape(at.shape)) - middle for sign in (1, -1))
        size = max(abs(ahead), abs(behind))
        return abs(ahead + behind) > 1e-3 * size + 1e-13 * abs(middle) and size > 0

    if not bends(numbers):
        return ""
    while len(numbers) > 1:
        halves = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
        kept = next((half for half in halves if bends(half)), None)
        if kept is None:
            return ""
        numbers = kept
    return ", ".join(str(int(index)) for index in np.unravel_index(int(numbers[0]), at.shape))
