"""Random numbers of an attack, addressed by the number of an image: they do not depend on blocks or on other images."""

from __future__ import annotations

from dataclasses import dataclass, replace

from minicereb.backend import Array, xp_of
from minicereb.randomness import uniform


@dataclass(frozen=True, eq=False)
class Draws:
    """Random numbers of one search, addressed by seed, stream, `numbers` (restart and target) and `ids` of the images (int64)."""

    seed: int
    stream: str
    numbers: tuple[int, ...]
    ids: Array

    def of(self, images: Array) -> Draws:
        """Return the draws of some of the images."""
        return replace(self, ids=self.ids[images])

    def uniform(self, width: int, *numbers: int) -> Array:
        """Return uniform numbers in [0, 1), float32, shape (images, width); `numbers` address one of the search's draws."""
        return uniform(xp_of(self.ids), self.seed, self.stream, (*self.numbers, *numbers), self.ids, width)
