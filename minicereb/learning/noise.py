"""Designs: how the noise of an image's replications is drawn, and which baseline this allows.

A baseline must be independent of the noise by which it is multiplied. So every design divides the replications of an image
into independent groups, and the baseline of a group is the mean loss of the *other* groups, which keeps the estimate
unbiased. (The mean over all replications, or over all others including the partner in an antithetic pair, would bias the
estimate.)
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicereb.backend import Array, to_device, xp_of
from minicereb.calculus.noise import Law, draw_noise
from minicereb.errors import require
from minicereb.models.noisy import Noise
from minicereb.randomness import generator

STREAM = "neuronal noise"
Laws = Sequence[Law | None]  # the noise distribution of each layer


@dataclass(frozen=True)
class Address:
    """What determines a random draw: a seed, the name of a stream, and numbers such as the step. Equal addresses give equal
    noise.
    """

    seed: int
    numbers: tuple[int, ...]
    stream: str = STREAM

    def of(self, *more: int) -> Address:
        """Return an address with more numbers appended, such as the index of a part."""
        return Address(self.seed, (*self.numbers, *more), self.stream)


@dataclass(frozen=True)
class Independent:
    """Independent noise, in which every replication is a group of its own."""

    def least(self, baseline: bool) -> int:
        """Return the smallest number of replications, with or without a baseline from other replications."""
        return 1 + baseline

    def check(self, replications: int, baseline: bool) -> None:
        """Raise :class:`InputError` if this design cannot draw this many replications."""
        least = self.least(baseline)
        require(replications >= least, "replications", replications, f"a whole number of at least {least} here")

    def pieces(self, replications: int, at_most: int) -> list[int]:
        """Return the sizes of nearly equal parts that can be drawn separately, each at most `at_most` (3 or more).

        No part has just one replication, because a single replication has no others for its baseline.
        """
        number = max(1, min(-(-replications // max(2, at_most)), replications // 2))
        return [(replications * (part + 1)) // number - (replications * part) // number for part in range(number)]

    def draw(self, like: Array, laws: Laws, widths: list[int], images: int, replications: int, at: Address) -> Noise:
        """Draw noise of unit scale for some images: (width, images, replications) for each layer with noise."""
        return draw_noise(like, laws, [(width, images, replications) for width in widths], at.seed, at.stream, at.numbers)

    def others(self, loss: Array) -> Array:
        """Return the mean loss of the other groups for each replication: shape (images, replications)."""
        return (loss.sum(axis=1, keepdims=True) - loss) / (loss.shape[1] - 1)


@dataclass(frozen=True)
class Antithetic(Independent):
    """Pairs of opposite noise, e and -e; each pair is a group.

    The second half of the replications has the noise of the first half with the opposite sign.
    """

    def least(self, baseline: bool) -> int:
        """Return the smallest number of replications: one pair, or two pairs if there is a baseline."""
        return 4 if baseline else 2

    def check(self, replications: int, baseline: bool) -> None:
        """Raise :class:`InputError` if this design cannot draw this many replications."""
        least = self.least(baseline)
        even = replications >= least and replications % 2 == 0
        require(even, "replications", replications, f"an even number of at least {least}")

    def pieces(self, replications: int, at_most: int) -> list[int]:
        """Return the sizes of the parts, all of them even."""
        return [2 * part for part in super().pieces(replications // 2, at_most // 2)]

    def draw(self, like: Array, laws: Laws, widths: list[int], images: int, replications: int, at: Address) -> Noise:
        """Draw noise as :meth:`Independent.draw` does; the second half of the replications is the negative of the first half."""
        xp = xp_of(like)
        halves = super().draw(like, laws, widths, images, replications // 2, at)
        return tuple(None if half is None else xp.concatenate((half, -half), axis=2) for half in halves)

    def others(self, loss: Array) -> Array:
        """Return the mean loss of the other pairs."""
        pairs = loss.reshape(len(loss), 2, -1).sum(axis=1)
        others = (loss.sum(axis=1, keepdims=True) - pairs) / (loss.shape[1] - 2)
        return xp_of(loss).concatenate((others, others), axis=1)


@dataclass(frozen=True)
class Sobol(Independent):
    """Noise from a Sobol sequence with random linear scrambling and digital shifts, one dimension per neuron ``[M-SOBOL]``.

    The replications of an image form two groups. Each group is scrambled independently of the other group and of all other
    images.
    """

    def check(self, replications: int, baseline: bool) -> None:
        """Raise :class:`InputError` if this design cannot draw this many replications."""
        power = 4 <= replications <= 1 << 20 and replications & (replications - 1) == 0
        require(power, "replications", replications, "a power of two from 4 to 1048576 for Sobol noise")

    def pieces(self, replications: int, at_most: int) -> list[int]:
        """Return a single part, because a longer Sobol sequence is better than several short ones."""
        return [replications]

    def draw(self, like: Array, laws: Laws, widths: list[int], images: int, replications: int, at: Address) -> Noise:
        """Draw noise as :meth:`Independent.draw` does, but always on the host, so that every device gets the same bits."""
        rng = generator(at.seed, at.stream, *at.numbers)
        silent = [0 if law is None else width for law, width in zip(laws, widths, strict=True)]
        points = np.empty((sum(silent), images, 2, replications // 2), dtype=np.float64)
        for image in range(images):
            for group in range(2):
                points[:, image, group] = scrambled_sobol(sum(silent), replications // 2, rng)
        rows = points.reshape(sum(silent), images, replications)
        ends = np.cumsum(silent)
        device = "cpu" if isinstance(like, np.ndarray) else "cuda"
        return tuple(
            law and to_device(law.quantile(rows[end - width : end]).astype(like.dtype), device)
            for law, width, end in zip(laws, silent, ends, strict=True)
        )

    def others(self, loss: Array) -> Array:
        """Return the mean loss of the other group."""
        xp = xp_of(loss)
        means = loss.reshape(len(loss), 2, -1).mean(axis=2)
        return xp.repeat(means[:, ::-1], loss.shape[1] // 2, axis=1)


@dataclass(frozen=True)
class NoNoise(Independent):
    """No noise, for an estimator that sums over all outcomes."""

    def check(self, replications: int, baseline: bool) -> None:
        """Raise :class:`InputError` for more than one replication: all would be equal."""
        require(replications == 1, "replications", replications, "1: this estimator draws no noise")

    def draw(self, like: Array, laws: Laws, widths: list[int], images: int, replications: int, at: Address) -> Noise:
        """Return None for every layer."""
        return (None,) * len(widths)


def joined(parts: Sequence[Any]) -> Any:
    """Join the noise of successive groups of images; each part is an array (..., images, replications), None, or a tuple of
    these.
    """
    first = parts[0]
    if isinstance(first, tuple):
        each = [joined(layer) for layer in zip(*parts, strict=True)]
        return type(first)(*each) if hasattr(first, "_fields") else tuple(each)
    return first if first is None or len(parts) == 1 else xp_of(first).concatenate(parts, axis=-2)


Design = Independent | Antithetic | Sobol | NoNoise


def scrambled_sobol(dimensions: int, points: int, rng: np.random.Generator) -> np.ndarray:
    """Return points of a scrambled Sobol sequence, each uniform in (0, 1) ``[M-SOBOL]``.

    Parameters
    ----------
    dimensions : int
        At most 21,201.
    points : int
        Number of points, a power of two.
    rng : numpy.random.Generator

    Returns
    -------
    array of float64, shape (dimensions, points)

    References
    ----------
    Matoušek (1998), On the L2-discrepancy for anchored boxes: in each dimension a random lower triangular matrix over GF(2) acts
    on the digits, followed by a random digital shift.
    """
    plain = _sobol_digits(dimensions, points)
    scrambled = np.broadcast_to(rng.integers(0, 1 << 32, (dimensions, 1), dtype=np.uint32), plain.shape).copy()
    for digit in range(points.bit_length() - 1):  # the first 2^n points have no digits beyond the n-th
        one = np.uint32(1 << (31 - digit))
        column = one | (rng.integers(0, 1 << 32, (dimensions, 1), dtype=np.uint32) & (one - np.uint32(1)))
        scrambled ^= np.where(plain & one, column, np.uint32(0))
    uniform: np.ndarray = (scrambled + 0.5) * 2.0**-32
    return uniform


@functools.lru_cache(maxsize=4)
def _sobol_digits(dimensions: int, points: int) -> np.ndarray:
    from scipy.stats import qmc  # slow to import, and few need it

    plain = qmc.Sobol(dimensions, scramble=False).random_base2(points.bit_length() - 1)
    digits = np.ascontiguousarray((plain.T * 2.0**32).astype(np.uint32))
    digits.flags.writeable = False
    return digits
