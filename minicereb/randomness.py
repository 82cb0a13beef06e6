"""Randomness is addressed, not consumed: a draw is a function of where it is used, never of what was drawn before.

Two forms. :func:`generator` gives one NumPy generator for an address (seed, stream, numbers), for draws that are made on the
host and copied: wiring, initial weights, orders. :func:`uniform` is counter-based, so the same bits come from NumPy and CuPy and
from any block of images: attack starts.
"""

from __future__ import annotations

import hashlib
from types import ModuleType
from typing import Any

import numpy as np

# The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): a bijection of 64-bit integers with full avalanche.
_GOLDEN = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def _address(stream: str, numbers: tuple[int, ...]) -> tuple[int, ...]:
    name = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")
    return (name, *numbers)


def generator(seed: int, stream: str, *numbers: int) -> np.random.Generator:
    """Return the generator that belongs to one address.

    Parameters
    ----------
    seed : int
        The experiment's seed, at least 0.
    stream : str
        What the draw is for, for example ``"wiring"``.
    *numbers : int
        Where in the stream: an epoch, an image, a block.

    Returns
    -------
    numpy.random.Generator
        Always in its initial state; equal addresses give equal draws.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=_address(stream, numbers))
    return np.random.Generator(np.random.SFC64(sequence))


def _mix(words: Any, xp: ModuleType) -> Any:
    for shift, multiplier in _MIX:
        words = (words ^ (words >> xp.uint64(shift))) * xp.uint64(multiplier)
    return words ^ (words >> xp.uint64(31))


def uniform(xp: ModuleType, seed: int, stream: str, numbers: tuple[int, ...], ids: Any, width: int) -> Any:
    """Draw uniform numbers in [0, 1), one row for each id, the same bits on every device and in every block.

    Parameters
    ----------
    xp : module
        The array library in which to draw (see :func:`minicereb.backend.xp_of`).
    seed, stream, numbers
        The address, as for :func:`generator`.
    ids : array of int64, shape (rows,)
        Identity of each row, for example the image's number in its data set. An array of `xp`.
    width : int
        Numbers in a row.

    Returns
    -------
    array of float32, shape (rows, width)
        Multiples of 2**-24. Element (i, j) depends on the address, ``ids[i]`` and ``j`` alone.
    """
    row_key, cell_key = np.random.SeedSequence(seed, spawn_key=_address(stream, numbers)).generate_state(2, np.uint64)
    rows = _mix(ids.astype(xp.uint64) * xp.uint64(_GOLDEN) + xp.uint64(row_key), xp)
    columns = xp.arange(width, dtype=xp.uint64) * xp.uint64(_GOLDEN) + xp.uint64(cell_key)
    words = _mix(rows[:, None] + columns, xp)
    return (words >> xp.uint64(40)).astype(xp.float32) * xp.float32(2.0**-24)
