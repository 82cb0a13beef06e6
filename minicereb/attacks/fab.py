"""FAB ``[M-FAB]``: search for the nearest misclassified image, without a bound ε, by steps to the boundary's tangent plane."""

from __future__ import annotations

from minicereb.attacks.ball import Ball, row_products
from minicereb.attacks.gradients import Landscape, Point
from minicereb.attacks.search import Search, put_rows
from minicereb.backend import Array, xp_of
from minicereb.calculus.losses import margin

MOST_BIAS = 0.1  # α_max: largest weight of the part of a step that starts at the image itself
OVERSHOOT = 1.05  # η
BACKWARD = 0.9  # β: share of the change that is kept after a misclassified point
FINAL_STEPS = 5  # the paper uses 3
FINAL_OVERSHOOT = 1.001
NARROWING = 0.9  # share of the way to the estimated boundary that a final step goes
SURE = 2.0**-22  # relative to the largest output: a margin above this keeps its sign in float32 arithmetic
TINY = 1e-30
MOST_ROUNDS, EVERY = 30, 3  # iterations of Newton's method, and iterations between two tests for convergence
PRECISION = 1e-6  # relative to the distance to the plane


def fab(landscape: Landscape, ball: Ball, start: Array, steps: int) -> Search:
    """Yield the points visited; the last is each image's nearest misclassified point, or the image itself if no point is
    misclassified.

    No image is dropped from the search: however near a misclassified point is, another class may be nearer.

    Parameters
    ----------
    landscape : Landscape
        The margin towards a target class (FAB-T), or towards the likeliest wrong class at each point; it is 0 at the boundary.
    ball : Ball
        Ball around the clean images, which also determines the norm. The ball's radius has no effect.
    start : array, shape (images, inputs)
        Starting points in the box.
    steps : int
        Number of steps; the paper uses 100.

    References
    ----------
    Croce and Hein (2019), arXiv:1907.02044, Algorithm 1, targeted as in arXiv:2003.01690: α_max = 0.1, η = 1.05, β = 0.9. As
    in the paper, the search ends with false-position steps between the image and the nearest point, but each of these
    steps goes only 0.9 of the way to the estimated boundary, so that the point probably stays misclassified. There is one
    step that the paper does not have. It comes just before the false-position steps and goes from the image itself to the
    tangent plane at the nearest point; for a linear model, no misclassified point is nearer than the one that this step
    reaches.
    """
    xp, x, here = xp_of(start), ball.x, start
    nearest, least = x.copy(), xp.full(len(x), xp.inf, dtype=x.dtype)
    for _ in range(steps):
        at, w = landscape.value_and_gradient(here)
        here = _step(ball, here, w, at.value)
        point = landscape.evaluate(here)
        yield point
        change = here - x
        size, wrong = ball.size(change), landscape.wrong(point)
        nearer = wrong & (size < least)
        put_rows(nearest, here, nearer)
        least = xp.where(nearer, size, least)
        change *= BACKWARD
        change += x
        here = xp.where(wrong[:, None], change, here)
    at, w = landscape.value_and_gradient(nearest)
    move = least_move(x, w, -at.value - row_products(w, x - nearest), ball.norm)
    point = landscape.evaluate(xp.clip(x + FINAL_OVERSHOOT * move, 0, 1))
    yield point
    nearer = landscape.wrong(point) & (ball.size(point.x - x) < least)
    put_rows(nearest, point.x, nearer)
    yield from narrowed(landscape, ball, nearest)


def _step(ball: Ball, here: Array, w: Array, value: Array) -> Array:
    """Return a weighted mean of two steps, from the current point and from the image, to just beyond the tangent plane.

    On this plane the linearised margin is 0.
    """
    xp, x = xp_of(here), ball.x
    own = least_move(here, w, -value, ball.norm)
    original = least_move(x, w, -value - row_products(w, x - here), ball.norm)
    size = ball.size(own)
    bias = xp.minimum(size / xp.maximum(size + ball.size(original), TINY), size.dtype.type(MOST_BIAS))[:, None]
    own *= OVERSHOOT
    own += here
    original *= OVERSHOOT
    original += x
    original -= own
    original *= bias
    own += original
    return xp.clip(own, 0, 1, out=own)


def narrowed(landscape: Landscape, ball: Ball, nearest: Array) -> Search:
    """Yield points between the image and its nearest misclassified point; the last is the nearest misclassified point found."""
    xp, x = xp_of(nearest), ball.x
    move = nearest - x
    nearest = Point(*(array.copy() for array in landscape.evaluate(nearest)))
    before, beyond = (margin(point.outputs, landscape.labels)[0] for point in (landscape.evaluate(x), nearest))
    low, high = xp.zeros_like(before), xp.ones_like(before)
    for _ in range(FINAL_STEPS):
        rise = xp.maximum(beyond, 0) - before
        root = xp.maximum(-before, 0) / xp.where(rise > 0, rise, rise.dtype.type(1))
        share = high - NARROWING * (1 - root) * (high - low)
        point = landscape.evaluate(xp.clip(x + share[:, None] * move, 0, 1))
        yield point
        value = margin(point.outputs, landscape.labels)[0]
        # By more than rounding may change if the image is evaluated again, alone or on another machine.
        wrong = landscape.wrong(point) & (value > SURE * xp.abs(point.outputs).max(axis=1))
        for kept, new in zip(nearest, point, strict=True):
            put_rows(kept, new, wrong)
        high, beyond = xp.where(wrong, share, high), xp.where(wrong, value, beyond)
        low, before = xp.where(wrong, low, share), xp.where(wrong, before, value)
    yield nearest


def least_move(x: Array, w: Array, rise: Array, norm: str) -> Array:
    """Return the shortest δ with ``w·δ = rise`` and x + δ in the box [0, 1] ``[M-PLANE]``.

    If the plane does not meet the box, δ leads to the corner nearest to the plane; if w is 0, so is δ.

    Parameters
    ----------
    x : array, shape (images, inputs)
        In [0, 1].
    w : array, same shape
        Normal vector of each image's plane.
    rise : array, shape (images,)
        Required change of ``w·x``.
    norm : {"linf", "l2"}

    Returns
    -------
    array, shape (images, inputs)
        Pixel j moves by ``min(λ a_j, room_j)``, where ``room_j`` is its distance from the edge of the box, and ``a_j`` is 1 in
        L∞ and ``|w_j|`` in L2. The change of ``w·x`` is a rising, concave, piecewise linear function of λ. Newton's method
        finds λ from the left, without sorting.
    """
    xp, one = xp_of(x), x.dtype.type(1)
    size = xp.abs(w)
    largest = size.max(axis=1)
    scale = xp.where(largest == 0, one, largest)
    size /= scale[:, None]
    direction = xp.sign(w)
    direction *= xp.sign(rise)[:, None]
    work = xp.greater(direction, 0, out=xp.empty_like(size))  # products of numbers are faster than where()
    room = xp.abs(work - x)
    size *= xp.greater(room, 0, out=work)
    wanted = xp.abs(rise)
    wanted /= xp.maximum(scale, wanted / (x.shape[1] + 1))  # larger values are unnecessary: no move can reach them
    gain = size * size if norm == "l2" else size
    multiplier = wanted / xp.maximum(gain.sum(axis=1), TINY)
    move = xp.empty_like(size)
    for number in range(MOST_ROUNDS):
        reach = xp.multiply(size, multiplier[:, None], out=move) if norm == "l2" else multiplier[:, None]
        slope = row_products(gain, xp.greater(room, reach, out=work))
        xp.minimum(reach, room, out=move)
        missing = wanted - row_products(size, move)
        more = (missing > PRECISION * wanted) & (slope > 0)
        if number % EVERY == EVERY - 1 and not bool(more.any()):
            break
        multiplier += more * missing / xp.maximum(slope, TINY)
    move *= direction
    return move
