"""White-box attacks on a noisy network that answers by its mean probabilities (LAP), judged on fresh noise."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import to_device
from minicereb.datasets.transforms import to_unit
from minicereb.errors import require
from minicereb.experiments.configs import Train, describe
from minicereb.experiments.identity import config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.records import AttackedRecord
from minicereb.models.prediction import Averaged, lap_correct
from minicereb.statistics import proportion_interval

BLOCK = 250  # images attacked, and then judged, at a time


@config_kind
@dataclass(frozen=True)
class AttackedAverage:
    """A trained noisy network under an attack that knows it answers by LAP.

    Parameters
    ----------
    train : Train
        Of a noisy network.
    attack : Attack
    images : int
        The first so many test images.
    search_replications : int
        Noisy runs whose mean the search looks at: the same noise at every step.
    replications : int
        Noisy runs that judge the outcome, on noise that the search has not met.
    """

    record_shape: ClassVar[Any] = AttackedRecord
    train: Train
    attack: Attack
    images: int
    search_replications: int = 64
    replications: int = 10_000

    def __post_init__(self) -> None:
        require(self.images >= 1, "images", self.images, "a whole number of at least 1")

    @property
    def revision(self) -> int:
        """Counts in the identity of an experiment, see :mod:`minicereb.experiments.identity`."""
        return 1  # since images that the search has wrong are attacked, too

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The one that is attacked."""
        return (self.train,)


def attacked_average(config: AttackedAverage, laboratory: Laboratory) -> Generator[str, None, Record]:
    """Carry out the experiment, yielding its progress in words.

    What the search sees as wrong already is attacked as well: the judge, on other noise, may have it right.
    """
    network, data, attack = laboratory.model(config.train), laboratory.dataset, config.attack
    average = Averaged(network, config.search_replications, attack.seed)
    clean = robust = done = 0
    images, arrays = min(config.images, len(data.x_test)), (data.x_test, data.y_test)
    while done < images:
        ids = np.arange(done, min(done + BLOCK, images), dtype=np.int64)
        for block in attack_images(average, attack, *arrays, ids, image_shape=data.image_shape, include_misclassified=True):
            for_judge = (block.y, block.ids, config.replications, attack.seed)
            clean += int(lap_correct(network, to_unit(to_device(data.x_test[block.ids])), *for_judge).sum())
            robust += int(lap_correct(network, to_device(block.x_adv), *for_judge).sum())
            done += len(block.y)
            yield f"attacking {describe(config.train)}, answering by LAP: {attack.objective}, {done} images"
    return {
        "method": attack.method,
        "objective": attack.objective,
        "epsilon": attack.epsilon,
        "images": done,
        "clean_accuracy": clean / done,
        "robust_accuracy": robust / done,
        "robust_interval": list(proportion_interval(robust, done)),
    }
