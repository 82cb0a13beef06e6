"""FMN ``[M-FMN]``: the nearest misclassified image, by steps along the gradient in a ball that shrinks and grows."""

from __future__ import annotations

import math

from minicereb.attacks.ball import Ball, movable, unit_rows, whole_box
from minicereb.attacks.fab import narrowed
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.search import Search, put_rows
from minicereb.backend import Array, xp_of

FIRST_STEP, LAST_STEP = 1.0, 0.01  # α: length of a step
FIRST_RATE, LAST_RATE = 0.05, 0.001  # γ: by what share the ball shrinks or grows


def fmn(landscape: Landscape, ball: Ball, start: Array, steps: int) -> Search:
    """Yield the points visited; the last one is, for each image, the nearest misclassified one, or the image if there is none.

    It always goes on with all images, as :func:`minicereb.attacks.fab.fab` does.

    Parameters
    ----------
    landscape : Landscape
        Of the margin, towards a class or of the likeliest wrong class at each point: the decision is where it is 0.
    ball : Ball
        Around clean images; gives them and the norm. Its size plays no part.
    start : array, shape (images, inputs)
        Where to begin, in the box.
    steps : int
        Number of steps.

    References
    ----------
    Pintor, Roli, Brendel and Biggio (2021), arXiv:2102.12827, Algorithm 1, with its settings: steps from 1 to 0.01, rates from
    0.05 to 0.001, both by half a cosine. As there, a step has its length in L2, whatever the norm of the ball. Other than there,
    a direction leaves out the pixels that the box holds, the ball goes a share γ beyond where the margin seems to be 0, and the
    way from the image to the nearest point is searched at the end, as FAB does.
    """
    xp, x, here = xp_of(start), ball.x, start
    nearest, least = x.copy(), xp.full(len(x), xp.inf, dtype=x.dtype)
    epsilon = ball.size(here - x)
    for step in range(steps):
        point, gradient = landscape.value_and_gradient(here)
        yield point
        size, wrong = ball.size(here - x), landscape.wrong(point)
        nearer = wrong & (size < least)
        put_rows(nearest, here, nearer)
        least = xp.where(nearer, size, least)
        rate = _falling(FIRST_RATE, LAST_RATE, step / steps)
        # Beyond where the margin seems to be 0 until a misclassified point is known, then a share outwards.
        gradient = movable(gradient, here)
        known = xp.where(xp.isinf(least), xp.maximum(size + _way(ball, gradient, -point.value), epsilon), epsilon)
        outwards = known * (1 + rate)
        epsilon = xp.where(wrong, xp.minimum(epsilon * (1 - rate), least), outwards)
        here = here + _falling(FIRST_STEP, LAST_STEP, step / steps) * unit_rows(gradient)
        ball.within(here, epsilon, out=here)
    point = landscape.evaluate(here)
    yield point
    nearer = landscape.wrong(point) & (ball.size(here - x) < least)
    put_rows(nearest, here, nearer)
    yield from narrowed(landscape, ball, nearest)


def _falling(first: float, last: float, share: float) -> float:
    """From `first` to `last` by half a cosine."""
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * share))


def _way(ball: Ball, gradient: Array, missing: Array) -> Array:
    """Distance to where a linear function with this gradient has risen by `missing`, at most to the end of the box."""
    xp = xp_of(gradient)
    steepness = ball.steepness(gradient)
    way = xp.maximum(missing, 0).astype(xp.float64) / xp.where(steepness > 0, steepness, 1.0)
    return xp.minimum(way, whole_box(ball.norm, gradient.shape[1])).astype(missing.dtype)
