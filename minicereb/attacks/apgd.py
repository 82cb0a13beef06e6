"""Auto-PGD ``[M-APGD]``: steps with momentum; the step length of an image that makes no progress is halved."""

from __future__ import annotations

from minicereb.attacks.ball import Ball
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.search import Search, put_rows
from minicereb.backend import Array, xp_of
from minicereb.parallel import run_lanes, scratch, shares

FIRST_STEP = 2.0  # η, as a multiple of ε
MOMENTUM = 0.75  # a; 1 in the first step
RISING = 0.75  # ρ: share of a window's steps that must raise the objective
# as shares of all steps: the first window, how much shorter each next one is, and the shortest
FIRST_WINDOW, SHORTER, LEAST_WINDOW = 0.22, 0.03, 0.06


def apgd(landscape: Landscape, ball: Ball, start: Array, steps: int) -> Search:
    """Yield the points visited: the start, then one after each step.

    The steps are divided into windows. At the end of a window, an image's step length is halved and its search continues from
    its best point in two cases: less than the fraction ρ of the window's steps raised the objective, or neither the step length
    nor the best value has changed since the window before.

    Steps go along the sign of the gradient in L∞, and along the gradient itself in L2. The arguments are the same as for
    :func:`minicereb.attacks.pgd.pgd`; the paper uses 100 `steps`.

    References
    ----------
    Croce and Hein (2020), arXiv:2003.01690, Algorithm 1: η = 2ε, ρ = 0.75, a = 0.75; the first window has 22% of the steps, and
    each later one is shorter by 3% of the steps, down to 6%.
    """
    xp = xp_of(start)
    here = before = ball.project(start)
    point, gradient = landscape.value_and_gradient(here)
    value = point.value
    best, best_gradient, best_value = here.copy(), gradient.copy(), value.copy()
    step = xp.full(len(here), FIRST_STEP * ball.epsilon, dtype=here.dtype)
    rises = xp.zeros(len(here), dtype=xp.int32)
    best_before, halved = best_value.copy(), xp.zeros(len(here), dtype=bool)
    window, since = max(int(FIRST_WINDOW * steps), 1), 0
    for number in range(steps):
        keep = yield point
        if keep is not None:
            landscape, ball = landscape.of(keep), ball.of(keep)
            here, before, gradient, value, best, best_gradient, best_value, step, rises, best_before, halved = (
                array[keep]
                for array in (here, before, gradient, value, best, best_gradient, best_value, step, rises, best_before, halved)
            )
        a = MOMENTUM if number else 1.0
        before, here = here, _moved(ball, gradient, step, here, before, a)
        if number < steps - 1:
            point, gradient = landscape.value_and_gradient(here)
        else:
            point = landscape.evaluate(here)
        rises += point.value > value
        value = point.value
        better = value > best_value
        for kept, new in ((best, here), (best_gradient, gradient)):
            put_rows(kept, new, better)
        best_value = xp.where(better, value, best_value)
        since += 1
        if since == window:
            halved = (rises < RISING * window) | (~halved & (best_value <= best_before))
            step = xp.where(halved, 0.5 * step, step)
            here = xp.where(halved[:, None], best, here)
            gradient = xp.where(halved[:, None], best_gradient, gradient)
            value = xp.where(halved, best_value, value)
            best_before, rises = best_value, xp.zeros_like(rises)
            window, since = max(window - max(int(SHORTER * steps), 1), max(int(LEAST_WINDOW * steps), 1)), 0
    yield point


def _moved(ball: Ball, gradient: Array, step: Array, here: Array, before: Array, a: float) -> Array:
    """Return the next point, ``a z + (2 - 2a) x_k - (1 - a) x_{k-1}`` after projection; ``z`` is a step along the gradient."""
    xp = xp_of(here)
    ahead = xp.empty_like(here)

    def move(images: slice) -> None:
        near, x = ball.of(images), here[images]
        z = ball.ascent(gradient[images], out=ahead[images])
        z *= step[images, None]
        z += x
        near.project(z, out=z)
        if a < 1:
            term = scratch("term", z.shape, z)
            z *= a
            z += xp.multiply(x, 2 - 2 * a, out=term)
            z -= xp.multiply(before[images], 1 - a, out=term)
            near.project(z, out=z)

    run_lanes(move, shares(here))
    return ahead
