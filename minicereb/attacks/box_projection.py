"""The least move within the box that brings a point onto a plane ``[M-PLANE]``: what FAB is made of."""

from __future__ import annotations

from minicereb.attacks.ball import row_products
from minicereb.backend import Array, xp_of

MOST_ROUNDS, LOOK = 30, 3  # of Newton's method, and rounds between two looks at the device
PRECISION = 1e-6  # of the distance to the plane
TINY = 1e-30


def least_move(x: Array, w: Array, rise: Array, norm: str) -> Array:
    """Return the shortest δ with ``w·δ = rise`` and x + δ in the box [0, 1].

    Where the plane does not meet the box, the move to the corner nearest to the plane; where w is 0, none.

    Parameters
    ----------
    x : array, shape (images, inputs)
        In [0, 1].
    w : array, same shape
        Normal of each image's plane.
    rise : array, shape (images,)
        How much ``w·x`` must change.
    norm : {"linf", "l2"}

    Returns
    -------
    array, shape (images, inputs)
        Every pixel moves the right way by ``min(λ a_j, room_j)``. What this changes is a rising concave function of λ, made of
        straight pieces; Newton's method comes from the left, never goes beyond, and ends on the piece itself: no sorting.
    """
    xp, one = xp_of(x), x.dtype.type(1)
    size = xp.abs(w)
    largest = size.max(axis=1)
    scale = xp.where(largest == 0, one, largest)
    size /= scale[:, None]
    direction = xp.sign(w)
    direction *= xp.sign(rise)[:, None]
    work = xp.greater(direction, 0, out=xp.empty_like(size))  # products of numbers are faster than choices by truth values
    room = xp.abs(work - x)
    size *= xp.greater(room, 0, out=work)
    wanted = xp.abs(rise)
    wanted /= xp.maximum(scale, wanted / (x.shape[1] + 1))  # more than any move can do is enough
    gain = size * size if norm == "l2" else size
    multiplier = wanted / xp.maximum(gain.sum(axis=1), TINY)
    move = xp.empty_like(size)
    for number in range(MOST_ROUNDS):
        reach = xp.multiply(size, multiplier[:, None], out=move) if norm == "l2" else multiplier[:, None]
        slope = row_products(gain, xp.greater(room, reach, out=work))
        xp.minimum(reach, room, out=move)
        missing = wanted - row_products(size, move)
        more = (missing > PRECISION * wanted) & (slope > 0)
        if number % LOOK == LOOK - 1 and not bool(more.any()):
            break
        multiplier += more * missing / xp.maximum(slope, TINY)
    move *= direction
    return move
