"""FMN ``[M-FMN]``: search for the nearest misclassified image, by steps along the gradient in a ball that shrinks and grows."""

from __future__ import annotations

import math

from minicereb.attacks.ball import Ball, movable, unit_rows, whole_box
from minicereb.attacks.fab import narrowed
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.search import Search, put_rows
from minicereb.backend import Array, xp_of

FIRST_STEP, LAST_STEP = 1.0, 0.01  # α: length of a step
FIRST_RATE, LAST_RATE = 0.05, 0.001  # γ: relative amount by which the ball shrinks or grows


def fmn(landscape: Landscape, ball: Ball, start: Array, steps: int) -> Search:
    """Yield the points visited; the last is each image's nearest misclassified point, or the image itself if no point is
    misclassified.

    The arguments are the same as for :func:`minicereb.attacks.fab.fab`. Here too, no image is dropped from the search.

    References
    ----------
    Pintor, Roli, Brendel and Biggio (2021), arXiv:2102.12827, Algorithm 1, with its settings: steps fall from 1 to 0.01 and rates
    from 0.05 to 0.001, both along half a cosine. As in the paper, step lengths are in L2 for either norm of the ball. There
    are three differences from the paper: a step does not move pixels that would leave the box, the ball extends a fraction γ
    beyond the estimated boundary, and a final search follows the line from the image to the nearest point, as in FAB.
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
        # The radius is just beyond the estimated boundary until a misclassified point is known; after that it grows by a share.
        gradient = movable(gradient, here)
        known = xp.where(xp.isinf(least), xp.maximum(size + _distance_to(ball, gradient, -point.value), epsilon), epsilon)
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
    """Return a value that falls from `first` to `last` along half a cosine as `share` grows from 0 to 1."""
    return last + 0.5 * (first - last) * (1 + math.cos(math.pi * share))


def _distance_to(ball: Ball, gradient: Array, missing: Array) -> Array:
    """Return the distance over which a linear function with this gradient rises by `missing`, at most the diameter of the box."""
    xp = xp_of(gradient)
    steepness = ball.steepness(gradient)
    way = xp.maximum(missing, 0).astype(xp.float64) / xp.where(steepness > 0, steepness, 1.0)
    return xp.minimum(way, whole_box(ball.norm, gradient.shape[1])).astype(missing.dtype)
