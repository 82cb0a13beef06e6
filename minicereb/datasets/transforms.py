"""From stored images to what a network computes with, where they live: on the CPU or the GPU."""

from __future__ import annotations

from minicereb.backend import Array, xp_of


def to_unit(rows: Array) -> Array:
    """Turn stored images into numbers in [0, 1].

    Parameters
    ----------
    rows : array of uint8, or of float in [0, 1]
        Images, any shape. uint8 means pixel / 255.

    Returns
    -------
    array of float32
        The shape of `rows`: pixel * (1/255) for uint8 (0 and 255 become exactly 0 and 1), otherwise `rows` as float32,
        without a copy where it is that already.
    """
    xp = xp_of(rows)
    if rows.dtype == xp.uint8:
        return rows.astype(xp.float32) * xp.float32(1 / 255)
    return rows.astype(xp.float32, copy=False)
