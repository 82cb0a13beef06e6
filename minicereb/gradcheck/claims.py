"""Claims: a claim is a derivative at one point and its function; finite differences confirm or refute it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from minicereb.gradcheck.differences import check_gradient, kink_place

TOLERANCE = 1e-6  # tolerance of the error, relative to the derivative's scale
STEP = 1e-6


class Claim(NamedTuple):
    """A claim that an array is the derivative of a function at one point.

    Attributes
    ----------
    name, tag, by : str
        The function or layer that computes the derivative, the tag of its equation or "", and the argument with respect to
        which it is taken.
    function : callable or None
        Maps an array like `at` to a number; None if there is no derivative (then `gradient` says why).
    gradient : array of float64, or str
        The derivative; if there is none, a sentence that says why.
    at : array of float64
        The point.
    step : float
        Half the distance between the two points of a central difference.
    """

    name: str
    tag: str
    by: str
    function: Callable[[np.ndarray], float] | None
    gradient: Any
    at: np.ndarray
    step: float = STEP


class CheckedClaim(NamedTuple):
    """The result of comparing a claim with finite differences; `name`, `tag` and `by` are copied from the claim.

    Attributes
    ----------
    numbers, scale : int, float
        Number of entries of the derivative, and their root mean square.
    error : float or None
        Largest deviation from a central difference along a random direction, relative to `scale`; None if there was no
        comparison.
    directions, kinks : int
        Number of directions that were compared, and number of directions left out because of a kink.
    where : str
        Indices of an entry with a kink, or the reason why there is no derivative.
    state : str
        ``"ok"``, ``"wrong"``, ``"kinks"`` (nothing could be shown) or ``"none"`` (no derivative exists).
    """

    name: str
    tag: str
    by: str
    numbers: int
    scale: float
    error: float | None
    directions: int
    kinks: int
    where: str
    state: str


def examine(claim: Claim, seed: int = 0) -> CheckedClaim:
    """Compare a claim with central differences along 20 random directions, drawn with `seed`."""
    if claim.function is None:
        return CheckedClaim(*claim[:3], claim.at.size, 0.0, None, 0, 0, claim.gradient, "none")
    at, gradient = np.ascontiguousarray(claim.at), np.ascontiguousarray(claim.gradient)
    found = check_gradient(claim.function, gradient, at, step=claim.step, seed=seed)
    for times in (10, 100):  # a larger step reduces rounding errors but not the error of a wrong derivative
        if not TOLERANCE <= found.error < np.inf:
            break
        again = check_gradient(claim.function, gradient, at, step=times * claim.step, seed=seed)
        found = min(found, again, key=lambda each: each.error)
    scale = float(np.linalg.norm(gradient)) / max(1, at.size) ** 0.5
    error = float(found.error) if np.isfinite(found.error) else None
    where = kink_place(claim.function, at, seed, claim.step) if found.kinks else ""
    state = "kinks" if not found.directions else "ok" if error is not None and error < TOLERANCE else "wrong"
    return CheckedClaim(*claim[:3], at.size, scale, error, found.directions, found.kinks, where, state)


def credited(function: Callable[[Any], Any], at: np.ndarray, credit: np.ndarray) -> Callable[[np.ndarray], float]:
    """Return ``Σ credit · (function(z) - function(at))`` as a function of z; subtracting before summing limits rounding."""
    before = np.array(function(at))  # a copy, because the next call may overwrite this memory

    def value(z: np.ndarray) -> float:
        return float(np.vdot(credit, function(z) - before))

    return value


def elementwise(name: str, tag: str, function: Callable[[Any], Any], derivative: Any, at: np.ndarray, by: str = "v") -> Claim:
    """Return the claim that `derivative` is the derivative of an elementwise function; each element has a different weight."""
    credit = np.linspace(0.5, 1.5, at.size, dtype=np.float64).reshape(at.shape)
    return Claim(name, tag, by, credited(function, at, credit), credit * derivative(at), at)


def by_arguments(function: Callable[..., Any], given: dict[str, Any], credit: np.ndarray, *rows: tuple) -> Iterator[Claim]:
    """Yield the claims about the derivatives of a function that returns an array; `given` maps the names of its arguments to
    values.

    `credit` is the derivative of the objective with respect to that array. Each row has a derivative's name and tag, the
    argument with respect to which it is taken, and the derivative itself.
    """
    for name, tag, by, gradient in rows:
        value = credited(functools.partial(lambda by, z: function(**{**given, by: z}), by), given[by], credit)
        yield Claim(name, tag, by, value, gradient, given[by])
