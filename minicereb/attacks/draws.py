"""What an attack draws at random: for each image by its own number, whatever the block and whichever images are left."""

from __future__ import annotations

from dataclasses import dataclass, replace

from minicereb.backend import Array, xp_of
from minicereb.randomness import uniform


@dataclass(frozen=True, eq=False)
class Draws:
    """Random numbers of one search.

    Parameters
    ----------
    seed : int
    stream : str
    numbers : tuple of int
        Restart, and number of the target.
    ids : array of int64, shape (images,)
        Numbers of the images, on their device.
    """

    seed: int
    stream: str
    numbers: tuple[int, ...]
    ids: Array

    def of(self, images: Array) -> Draws:
        """The draws of some of the images."""
        return replace(self, ids=self.ids[images])

    def uniform(self, width: int, *numbers: int) -> Array:
        """Uniform numbers in [0, 1), float32, shape (images, width); `numbers` say which of the search's draws."""
        return uniform(xp_of(self.ids), self.seed, self.stream, (*self.numbers, *numbers), self.ids, width)
