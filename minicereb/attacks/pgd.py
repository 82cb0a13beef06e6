"""Projected gradient descent ``[M-PGD]``: small signed steps, each followed by a projection onto the ball and the box."""

from __future__ import annotations

from collections.abc import Iterator

from minicereb.attacks.sources import Landscape, Point
from minicereb.backend import Array, xp_of


def pgd(landscape: Landscape, x: Array, start: Array, epsilon: float, steps: int, step_size: float) -> Iterator[Point]:
    """Yield the points visited: the start, then one after each step.

    Parameters
    ----------
    landscape : Landscape
        The objective to climb.
    x : array, shape (images, inputs)
        Clean images in [0, 1].
    start : array, shape (images, inputs)
        Where to begin; what lies outside the ball or the box is brought in.
    epsilon : float
        Bound in L∞.
    steps : int
        Number of steps.
    step_size : float
        α, in the units of a pixel.

    References
    ----------
    Madry, Makelov, Schmidt, Tsipras and Vladu (2018), arXiv:1706.06083.
    """
    xp = xp_of(x)
    low, high = xp.maximum(x - epsilon, 0), xp.minimum(x + epsilon, 1)
    here = xp.clip(start, low, high)
    for _ in range(steps):
        point, gradient = landscape.slope(here)
        yield point
        here = here + step_size * xp.sign(gradient)
        xp.clip(here, low, high, out=here)
    yield landscape.look(here)
