"""Which test images an attack breaks: what several attacks on one model are compared by, image by image."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict

import numpy as np

from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.documents import Count, Share
from minicereb.errors import require
from minicereb.experiments.configs import Train, describe, describe_attack
from minicereb.experiments.identity import config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.records import Interval, require_length
from minicereb.statistics import proportion_interval


class _Record(TypedDict):
    images: Count
    wrong: list[Count]
    broken: list[Count]
    distance: list[float]
    left: Count
    robust_accuracy: Share
    robust_interval: Interval
    seconds: float


@config_kind
@dataclass(frozen=True)
class BrokenImages:
    """A trained model under an attack, with the number of every image that it breaks.

    Parameters
    ----------
    train : Train
    attack : Attack
    images : int
        The first so many test images.
    after : Attack, optional
        The attack is made only on the images that this one leaves.
    """

    record_shape: ClassVar[Any] = _Record
    train: Train
    attack: Attack
    images: int
    after: Attack | None = None

    def __post_init__(self) -> None:
        require(self.images >= 1, "images", self.images, "a whole number of at least 1")

    def check_record(self, record: Record) -> None:
        """Raise :class:`~minicereb.documents.Mismatch` unless a record has a distance for every broken image."""
        require_length(record["distance"], len(record["broken"]), "distance")

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The one that is attacked."""
        return (self.train,)


def broken_images(config: BrokenImages, laboratory: Laboratory) -> Generator[str, None, Record]:
    """Run the experiment, yielding its progress in words.

    Returns
    -------
    dict
        ``images``; ``wrong``, the numbers of the images that are misclassified as they are; ``broken``, those of the images that
        the attack breaks, and ``distance``, how far it moved each; ``left``, how many images it was made on;
        ``robust_accuracy`` with its ``robust_interval``, of all images, and after both attacks if there are two; ``seconds``.
    """
    dataset, began = laboratory.dataset, time.monotonic()
    require(config.images <= len(dataset.x_test), "images", config.images, f"at most the {len(dataset.x_test)} test images")
    ids, model = np.arange(config.images, dtype=np.int64), laboratory.model(config.train)
    wrong: list[int] = []
    for attack in (config.attack,) if config.after is None else (config.after, config.attack):
        doing, attacked = f"attacking {describe(config.train)}: {describe_attack(attack)}", ids
        broken: list[int] = []
        distance: list[float] = []
        yield doing
        for block in attack_images(model, attack, dataset.x_test, dataset.y_test, ids, image_shape=dataset.image_shape):
            right = block.clean_predicted == block.y
            wrong += block.ids[~right].tolist()
            broken += block.ids[right & block.success].tolist()
            distance += block.distance[right & block.success].tolist()
            yield f"{doing}, {len(wrong) + len(broken)} broken"
        ids = np.setdiff1d(ids, [*wrong, *broken])
    robust = len(ids)
    return {
        "images": config.images,
        "wrong": wrong,
        "broken": broken,
        "distance": distance,
        "left": len(np.setdiff1d(attacked, wrong)),
        "robust_accuracy": robust / config.images,
        "robust_interval": list(proportion_interval(robust, config.images)),
        "seconds": round(time.monotonic() - began, 3),
    }
