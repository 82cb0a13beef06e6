"""Dropout: during learning, random units are silenced and the others are scaled up, so that the mean is unchanged."""

from __future__ import annotations

import math

from minicereb.backend import Array
from minicereb.randomness import signed_uniform


def dropout_mask(like: Array, shape: tuple[int, ...], rate: float, seed: int, *numbers: int) -> Array:
    """Draw the mask that multiplies a layer's response, ``h = x m`` with ``m = [u ≥ p] / (1 - p)`` ``[M-DROPOUT]``.

    In the backward pass, the derivative is multiplied by the same mask.

    Parameters
    ----------
    like : array
        Determines the array library and the dtype.
    shape : tuple of int
        Shape of the mask.
    rate : float
        The dropout rate p, from 0 to less than 1.
    seed, *numbers : int
        Seed, and numbers that identify the draw, such as the numbers of the layer and of the step.
    """
    drawn = signed_uniform(like, seed, "dropout", numbers, math.prod(shape)).reshape(shape)
    mask = (drawn >= drawn.dtype.type(2 * rate - 1)).astype(like.dtype)
    mask *= mask.dtype.type(1 / (1 - rate))
    return mask
