"""Projected gradient descent ``[M-PGD]``: small steps uphill, each followed by a projection onto the ball and the box."""

from __future__ import annotations

from minicereb.attacks.ball import Ball
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.search import Search
from minicereb.backend import Array


def pgd(landscape: Landscape, ball: Ball, start: Array, steps: int, step_size: float) -> Search:
    """Yield the points visited: the start, then one after each step.

    Parameters
    ----------
    landscape : Landscape
        The objective to climb.
    ball : Ball
        Around clean images.
    start : array, shape (images, inputs)
        Where to begin; projected onto the ball and the box.
    steps : int
        Number of steps.
    step_size : float
        α, in the units of a pixel: of each pixel's step in L∞, of the whole step in L2.

    References
    ----------
    Madry, Makelov, Schmidt, Tsipras and Vladu (2018), arXiv:1706.06083.
    """
    step_size = float(step_size)
    here = ball.project(start)
    for _ in range(steps):
        point, gradient = landscape.value_and_gradient(here)
        keep = yield point
        if keep is not None:
            landscape, ball, here, gradient = landscape.of(keep), ball.of(keep), here[keep], gradient[keep]
        here = here + step_size * ball.ascent(gradient)
        ball.project(here, out=here)
    yield landscape.evaluate(here)
