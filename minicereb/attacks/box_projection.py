"""The shortest move within the box from a point to a plane ``[M-PLANE]``, for FAB."""

from __future__ import annotations

from minicereb.attacks.ball import row_products
from minicereb.backend import Array, xp_of

MOST_ROUNDS, EVERY = 30, 3  # of Newton's method, and rounds between two tests for the end
PRECISION = 1e-6  # of the distance to the plane
TINY = 1e-30


def least_move(x: Array, w: Array, rise: Array, norm: str) -> Array:
    """Return the shortest δ with ``w·δ = rise`` and x + δ in the box [0, 1].

    If the plane does not meet the box, it is the move to the corner nearest to the plane; if w is 0, there is no move.

    Parameters
    ----------
    x : array, shape (images, inputs)
        In [0, 1].
    w : array, same shape
        Normal of each image's plane.
    rise : array, shape (images,)
        Required change of ``w·x``.
    norm : {"linf", "l2"}

    Returns
    -------
    array, shape (images, inputs)
        Every pixel moves in its direction by ``min(λ a_j, room_j)``. The change of ``w·x`` is a rising, concave, piecewise linear
        function of λ; Newton's method approaches the solution from the left and ends on its piece, without sorting.
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
    wanted /= xp.maximum(scale, wanted / (x.shape[1] + 1))  # no need for more than any move can reach
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
