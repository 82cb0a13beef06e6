"""Dropout: units silenced at random while a network learns, the others as much louder, so that the mean stays."""

from __future__ import annotations

import math

from minicereb.backend import Array
from minicereb.randomness import signed_uniform


def dropout_mask(like: Array, shape: tuple[int, ...], rate: float, seed: int, *numbers: int) -> Array:
    """Draw what a layer's response is multiplied by, ``h = x m`` with ``m = [u ≥ p] / (1 - p)`` ``[M-DROPOUT]``.

    The derivative by x is the same product.

    Parameters
    ----------
    like : array
        Gives library and dtype.
    shape : tuple of int
    rate : float
        p, from 0 to less than 1.
    seed, *numbers : int
        The address of the draw: for a layer and a step.

    Returns
    -------
    array of `shape`
        0 or 1 / (1 - p).
    """
    drawn = signed_uniform(like, seed, "dropout", numbers, math.prod(shape)).reshape(shape)
    mask = (drawn >= drawn.dtype.type(2 * rate - 1)).astype(like.dtype)
    mask *= mask.dtype.type(1 / (1 - rate))
    return mask
