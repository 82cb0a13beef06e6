"""Random numbers by address: a draw is determined by its address alone, never by earlier draws.

An address consists of a seed, the name of a stream, and numbers. :func:`generator` returns the NumPy generator of an address,
for draws on the host: wiring, initial weights, orders of images. :func:`uniform`, for the random starts of attacks, is
counter-based, so NumPy and CuPy give the same bits in any block of images. :func:`signed_uniform`, for large amounts of
neuronal noise, is counter-based too; it works on whole arrays and is several times as fast as NumPy's generators.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from minicereb.backend import Array, xp_of
from minicereb.compiled import compiled
from minicereb.parallel import pass_blocks, scratch

# The finaliser of SplitMix64 (Steele, Lea and Flood, 2014): a bijection of 64-bit integers with full avalanche.
_GOLDEN = 0x9E3779B97F4A7C15
AHEAD = 64  # number of draws made at once
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


def _address(stream: str, numbers: tuple[int, ...]) -> tuple[int, ...]:
    name = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")
    return (name, *numbers)


def generator(seed: int, stream: str, *numbers: int) -> np.random.Generator:
    """Return the random generator of an address, in its initial state.

    Parameters
    ----------
    seed : int
        The experiment's seed, at least 0.
    stream : str
        Purpose of the draw, for example ``"wiring"``.
    *numbers : int
        Position in the stream: an epoch, an image, a block.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=_address(stream, numbers))
    return np.random.Generator(np.random.SFC64(sequence))


def _mix(words: Any, xp: ModuleType) -> Any:
    for shift, multiplier in _MIX:
        words = (words ^ (words >> xp.uint64(shift))) * xp.uint64(multiplier)
    return words ^ (words >> xp.uint64(31))


def uniform(xp: ModuleType, seed: int, stream: str, numbers: tuple[int, ...], ids: Any, width: int) -> Any:
    """Draw uniform numbers in [0, 1), one row per id, with the same bits on every device and in every block.

    Parameters
    ----------
    xp : module
        The array library (see :func:`minicereb.backend.xp_of`).
    seed, stream, numbers
        The address, as for :func:`generator`.
    ids : array of int64, shape (rows,)
        Identity of each row, for example the image's index in its data set; an array of `xp`.
    width : int
        Number of values in a row.

    Returns
    -------
    array of float32, shape (rows, width)
        Multiples of 2**-24. Element (i, j) depends only on the address, ``ids[i]`` and ``j``.
    """
    return uniforms(xp, seed, stream, [numbers], ids, width)[0]


def uniforms(xp: ModuleType, seed: int, stream: str, addresses: list[tuple[int, ...]], ids: Any, width: int) -> Any:
    """Draw :func:`uniform` for several addresses at once: array of float32, shape (addresses, rows, width)."""
    keys = [np.random.SeedSequence(seed, spawn_key=_address(stream, each)).generate_state(2, np.uint64) for each in addresses]
    row_keys, cell_keys = xp.asarray(np.array(keys, dtype=np.uint64).reshape(-1, 2).T)
    rows = _mix(ids.astype(xp.uint64) * xp.uint64(_GOLDEN) + row_keys[:, None], xp)
    columns = xp.arange(width, dtype=xp.uint64) * xp.uint64(_GOLDEN) + cell_keys[:, None]
    words = _mix(rows[:, :, None] + columns[:, None, :], xp)
    return (words >> xp.uint64(40)).astype(xp.float32) * xp.float32(2.0**-24)


@dataclass(frozen=True, eq=False)
class Draws:
    """Random numbers of an attack's search, drawn for each image separately, so they depend neither on blocks nor on other
    images.

    The numbers are determined by seed, stream, `numbers` (restart and target), and `ids`, the images' indices (array of int64).
    """

    seed: int
    stream: str
    numbers: tuple[int, ...]
    ids: Array

    def of(self, images: Array) -> Draws:
        """Return the draws of some of the images."""
        return replace(self, ids=self.ids[images])

    def uniform(self, width: int, *numbers: int) -> Array:
        """Return uniform numbers in [0, 1), float32, shape (images, width); `numbers` identify one of the search's draws."""
        return uniform(xp_of(self.ids), self.seed, self.stream, (*self.numbers, *numbers), self.ids, width)

    def each(self, width: int, numbers: range) -> Array:
        """Return :meth:`uniform` for each of `numbers`, shape (numbers, images, width)."""
        addresses = [(*self.numbers, number) for number in numbers]
        return uniforms(xp_of(self.ids), self.seed, self.stream, addresses, self.ids, width)


class Ahead:
    """The draws ``draws.uniform(width, number)`` for each of `numbers` in turn.

    Many draws are made at once, which is cheaper.
    """

    def __init__(self, draws: Draws, width: int, numbers: range):
        self.draws, self.width, self.numbers = draws, width, numbers
        self._drawn: Any = ()
        self._next = 0

    def of(self, images: Array) -> None:
        """Continue with some of the images."""
        self.draws = self.draws.of(images)
        self._drawn = self._drawn[:, images] if len(self._drawn) else ()

    def uniform(self) -> Array:
        """Return the next draw, float32, shape (images, width)."""
        place = self._next % AHEAD
        if place == 0:
            self._drawn = self.draws.each(self.width, self.numbers[self._next : self._next + AHEAD])
        self._next += 1
        return self._drawn[place]


def signed_uniform(like: Array, seed: int, stream: str, numbers: tuple[int, ...], count: int) -> Array:
    """Draw `count` uniform numbers in [-1, 1], never 0, with the library and dtype of `like`.

    This is SplitMix64 with a separate start and increment for each address (see :func:`generator`). Each 64-bit word gives two
    numbers ``(i + ½) / 2³¹`` for a 32-bit integer i, rounded to the dtype. The integers are the same on every device.

    References
    ----------
    Steele, Lea and Flood (2014), Fast splittable pseudorandom number generators.
    """
    xp = xp_of(like)
    start, step = _bulk_key(seed, stream, numbers)
    uniform = xp.empty(count + count % 2, dtype=like.dtype)
    one_pass = compiled(signed_uniform_loop, uniform)
    if one_pass is not None:
        one_pass(np.uint64(start), np.uint64(step | 1), uniform)
        return uniform[:count]
    counter = _counter(xp, len(uniform) // 2)
    for block in pass_blocks(counter):
        words, shifted = (scratch(slot, (1, block.stop - block.start), counter)[0] for slot in ("words", "shifted"))
        xp.multiply(counter[block], xp.uint64(step | 1), out=words)
        words += xp.uint64(start)
        for shift, multiplier in _MIX:
            xp.right_shift(words, xp.uint64(shift), out=shifted)
            words ^= shifted
            words *= xp.uint64(multiplier)
        xp.right_shift(words, xp.uint64(31), out=shifted)
        words ^= shifted
        part = uniform[2 * block.start : 2 * block.stop]
        part[...] = words.view(xp.int32)
        part += like.dtype.type(0.5)
        part *= like.dtype.type(2.0**-31)
    return uniform[:count]


def signed_uniform_loop(start: Any, step: Any, out: Array) -> None:
    """Compute :func:`signed_uniform` one 64-bit word at a time, by the same operations in the same order."""
    word, real, integer = np.uint64, out.dtype.type, np.int32
    half, scale = real(0.5), real(2.0**-31)
    for i in range(len(out) // 2):
        w = word(i) * step + start
        w = (w ^ (w >> word(30))) * word(0xBF58476D1CE4E5B9)  # _MIX
        w = (w ^ (w >> word(27))) * word(0x94D049BB133111EB)
        w = w ^ (w >> word(31))
        out[word(2 * i)] = (real(integer(w & word(0xFFFFFFFF))) + half) * scale
        out[word(2 * i + 1)] = (real(integer(w >> word(32))) + half) * scale


def _bulk_key(seed: int, stream: str, numbers: tuple[int, ...]) -> tuple[int, int]:
    """Return the start and increment of an address: a stream's seed sequence, mixed with each number in turn.

    Creating a seed sequence for each address would take longer than a small draw.
    """
    start, step = _stream_key(seed, stream)
    for number in numbers:
        start, step = _mix_int(start + (number + 1) * _GOLDEN), _mix_int(step ^ start)
    return start, step


@functools.lru_cache(maxsize=64)
def _stream_key(seed: int, stream: str) -> tuple[int, int]:
    start, step = np.random.SeedSequence(seed, spawn_key=_address(stream, ())).generate_state(2, np.uint64)
    return int(start), int(step)


def _mix_int(word: int) -> int:
    word &= _ALL_BITS
    for shift, multiplier in _MIX:
        word = ((word ^ (word >> shift)) * multiplier) & _ALL_BITS
    return word ^ (word >> 31)


_ALL_BITS = (1 << 64) - 1


def _counter(xp: ModuleType, size: int) -> Array:
    """Return 0, 1, 2, ... as 64-bit integers."""
    if xp is not np:
        return xp.arange(size, dtype=xp.uint64)
    return _host_counter(1 << max(12, (size - 1).bit_length()))[:size]


@functools.lru_cache(maxsize=2)
def _host_counter(size: int) -> np.ndarray:
    counter = np.arange(size, dtype=np.uint64)
    counter.flags.writeable = False
    return counter
