"""Max pooling, with its derivative: the credit goes to the largest pixel."""

from __future__ import annotations

from collections.abc import Iterator

from minicereb.backend import Array, xp_of
from minicereb.errors import InputError
from minicereb.parallel import cached_blocks, run_lanes


def max_pool(x: Array, size: int) -> tuple[Array, Array]:
    """Largest value of each square of pixels, channel by channel ``[M-POOL]``.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels)
    size : int
        Side of a square; squares do not overlap, and incomplete squares at the edges are ignored.

    Returns
    -------
    h : array, shape (batch, height // size, width // size, channels)
    winner : array of uint8, same shape
        Index of the largest pixel within its square, row by row; ties go to the first.
    """
    xp = xp_of(x)
    if not 1 <= size <= min(*x.shape[1:3], 15):
        raise InputError("pool size", size, f"a whole number from 1 to the {x.shape[1]} x {x.shape[2]} pixels, 15 at most")
    rows, columns = x.shape[1] // size, x.shape[2] // size
    h = xp.empty((len(x), rows, columns, x.shape[3]), dtype=x.dtype)
    winner = xp.zeros(h.shape, dtype=xp.uint8)

    def pool(part: slice) -> None:
        places = _places(x[part], size)
        h[part] = next(places)
        for number, pixel in enumerate(places, 1):
            better = pixel > h[part]
            xp.maximum(winner[part], better * xp.uint8(number), out=winner[part])
            xp.maximum(h[part], pixel, out=h[part])

    run_lanes(pool, cached_blocks(x))
    return h, winner


def max_pool_input_gradient(d_h: Array, winner: Array, size: int, sides: tuple[int, int]) -> Array:
    """Input gradient of :func:`max_pool`: `d_h` at the largest pixel of each square, 0 at all others.

    Parameters
    ----------
    d_h, winner, size
        The derivative of the response, the indices that :func:`max_pool` returned, and the side of a square.
    sides : tuple of int
        Height and width of the input.

    Returns
    -------
    array, shape (batch, height, width, channels)
    """
    xp = xp_of(d_h)
    fresh = xp.zeros if sides[0] % size or sides[1] % size else xp.empty  # in the latter a square has every pixel
    d_x = fresh((len(d_h), *sides, d_h.shape[3]), dtype=d_h.dtype)

    def give_back(part: slice) -> None:
        for number, pixel in enumerate(_places(d_x[part], size)):
            xp.multiply(d_h[part], winner[part] == number, out=pixel)

    run_lanes(give_back, cached_blocks(d_x))
    return d_x


def _places(x: Array, size: int) -> Iterator[Array]:
    """Yield one view for each position within a square: the first pixel of every square, the second pixel, and so on."""
    rows, columns = x.shape[1] // size * size, x.shape[2] // size * size
    for row in range(size):
        for column in range(size):
            yield x[:, row:rows:size, column:columns:size]
