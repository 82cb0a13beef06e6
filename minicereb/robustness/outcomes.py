"""The outcome of an evaluation for each image, and the counts that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from minicereb.attacks.ball import with_rounding
from minicereb.inputs import as_labels
from minicereb.robustness.catalogue import attack_named
from minicereb.statistics import proportion_interval

NOT_TRIED, WITHSTOOD, BROKEN = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The outcomes for some images of an evaluation, in arrays on the host that are filled in place.

    Parameters
    ----------
    ids, labels, predicted : array of int64, shape (images,)
        Indices, labels, and the predictions for the clean images.
    tried : array of uint8, shape (epsilons, attacks, images)
        The outcome of each attack: :data:`NOT_TRIED`, :data:`WITHSTOOD` or :data:`BROKEN`.
    certified : array of bool, shape (epsilons, images)
    margin : array of float64, shape (epsilons, images)
        The bound that decides whether an image is certified; NaN without a certificate.
    nearest : array of float32, shape (images, inputs)
        The nearest misclassified image found; the image itself if there is none.
    distance : array of float64, shape (images,)
        Distance of the nearest misclassified image; infinite if there is none, 0 for images that are misclassified without an
        attack.
    finder : array of int16, shape (images,)
        Index of the attack that found the nearest misclassified image; -1 for none.
    smallest : array of float64, shape (attacks, images)
        Distances found by attacks that search for the nearest image independently of ε; NaN if the search was not run
        on an image.
    """

    ids: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    tried: np.ndarray
    certified: np.ndarray
    margin: np.ndarray
    nearest: np.ndarray
    distance: np.ndarray
    finder: np.ndarray
    smallest: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """Return every array by its name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def clean(self) -> np.ndarray:
        """Mask of the images that are classified correctly without an attack."""
        return self.predicted == self.labels

    def survivors(self, epsilon: int, attacks: Sequence[int] | None = None) -> np.ndarray:
        """Return a mask of the images that are correctly classified and withstood all attacks (or those given) up to this ε."""
        tried = self.tried[: epsilon + 1] if attacks is None else self.tried[: epsilon + 1, list(attacks)]
        return self.clean & ~(tried == BROKEN).any(axis=(0, 1))

    def first_breaker(self, epsilon: int) -> np.ndarray:
        """Return for each image the index of the first attack that broke it; -1 if none did."""
        broken = (self.tried[: epsilon + 1] == BROKEN).any(axis=0)
        return np.where(broken.any(axis=0), broken.argmax(axis=0), -1)


def no_outcomes(ids: np.ndarray, labels: np.ndarray, inputs: int, epsilons: int, attacks: int) -> Outcomes:
    """Return the empty outcomes of an evaluation that has not begun."""
    images = len(ids)
    return Outcomes(
        ids=ids,
        labels=as_labels(labels, images),
        predicted=np.full(images, -1, dtype=np.int64),
        tried=np.zeros((epsilons, attacks, images), dtype=np.uint8),
        certified=np.zeros((epsilons, images), dtype=bool),
        margin=np.full((epsilons, images), np.nan, dtype=np.float64),
        nearest=np.zeros((images, inputs), dtype=np.float32),
        distance=np.full(images, np.inf, dtype=np.float64),
        finder=np.full(images, -1, dtype=np.int16),
        smallest=np.full((attacks, images), np.nan, dtype=np.float64),
    )


@dataclass
class Counts:
    """Sums over the outcomes of an evaluation, added a few images at a time; arguments as for an ``EvaluationPlan``."""

    attacks: tuple[str, ...]
    epsilons: tuple[float, ...]
    norm: str = "linf"

    def __post_init__(self) -> None:
        shape = (len(self.epsilons), len(self.attacks))
        self.images = self.clean = self.inputs = 0
        self.survivors, self.certified = (np.zeros(shape[0], dtype=np.int64) for _ in range(2))
        self.left, self.first = (np.zeros(shape, dtype=np.int64) for _ in range(2))
        self.distances: list[np.ndarray] = []

    def add(self, outcomes: Outcomes) -> None:
        """Add the outcomes for some more images."""
        self.images += len(outcomes.ids)
        self.inputs = outcomes.nearest.shape[1]
        self.clean += int(outcomes.clean.sum())
        self.distances.append(outcomes.distance)
        for e in range(len(self.epsilons)):
            self.survivors[e] += outcomes.survivors(e).sum()
            self.certified[e] += outcomes.certified[e].sum()
            first = outcomes.first_breaker(e)
            before = outcomes.survivors(e - 1) if e else outcomes.clean
            for a, name in enumerate(self.attacks):
                left = before & outcomes.survivors(e, range(a + 1))
                if attack_named(name).alone:
                    left = outcomes.clean & (outcomes.tried[e, a] != BROKEN)
                self.left[e, a] += left.sum()
                self.first[e, a] += (first == a).sum()

    def at(self, e: int, certified: bool) -> dict[str, Any]:
        """Return the result at one ε as JSON values, as documented in docs/formats.md."""
        n = max(1, self.images)
        return {
            "epsilon": self.epsilons[e],
            "attacked": int(self.survivors[e]) / n,
            "attacked_interval": list(proportion_interval(int(self.survivors[e]), self.images)),
            "certified": int(self.certified[e]) / n if certified else None,
            "certified_interval": list(proportion_interval(int(self.certified[e]), self.images)) if certified else None,
            "by_attack": {name: int(self.left[e, a]) / n for a, name in enumerate(self.attacks)},
            "broken_first_by": {name: int(self.first[e, a]) for a, name in enumerate(self.attacks)},
        }

    def curve(self, points: int = 101) -> dict[str, list[float]]:
        """Return the share of images with no known misclassified image within ε, for ε from 0 to the largest, as JSON values."""
        grid = np.linspace(0, self.epsilons[-1], points, dtype=np.float64)
        distances = np.sort(np.concatenate(self.distances))
        within = [with_rounding(epsilon, self.norm, self.inputs) for epsilon in grid.tolist()]
        left = len(distances) - np.searchsorted(distances, within, side="right")
        return {"epsilon": [float(e) for e in grid], "attacked": [int(count) / max(1, len(distances)) for count in left]}
