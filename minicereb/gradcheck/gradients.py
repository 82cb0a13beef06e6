"""Is a derivative right? Central differences in float64 along random directions, and the adjoint test for linear maps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minicereb.randomness import generator


class GradientCheck(NamedTuple):
    """What :func:`check_gradient` found.

    Attributes
    ----------
    error : float
        Largest difference between derivative and central difference along a direction, relative to the derivative's scale.
    directions : int
        Directions that were compared.
    kinks : int
        Directions left out because the function is not smooth within the step: both one-sided slopes differ.
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
        From an array of float64 to one number.
    gradient : array of float64, shape of `at`
        The claimed derivative of `function` at `at`.
    at : array of float64
        Where.
    directions : int
        How many random directions of unit length to try.
    step : float
        Half the distance between the two points of a difference.
    seed : int
        Of the directions.

    Returns
    -------
    GradientCheck
        The error is relative to the gradient's length divided by the square root of its size (what a random direction
        sees of it), so it does not shrink when a wrong derivative is merely small. If every direction met a kink the error
        is infinite: nothing was shown.

    Raises
    ------
    TypeError
        If an array is not float64: in float32 a difference of this size is noise.
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
    """Whether the difference of the slopes to both sides shrinks with the step as that of a smooth function does."""
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
