"""Attacks on runs: counted as they come, kept in the run folder, not done twice."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from minicereb.attacks.run import Attacked, attack_images
from minicereb.attacks.settings import Attack
from minicereb.datasets.dataset import Dataset
from minicereb.errors import DataError, InputError
from minicereb.experiments.configs import AttackedModel, describe
from minicereb.experiments.identity import config_hash
from minicereb.experiments.laboratory import Laboratory, Record, model_of
from minicereb.experiments.records import read_record, write_record
from minicereb.experiments.runs import Run, require_whole
from minicereb.files import write_npz
from minicereb.paths import beneath
from minicereb.statistics import proportion_interval


@dataclass
class Tally:
    """Counts over the blocks of an attack.

    Parameters
    ----------
    keep_images : bool
        Whether to keep the blocks themselves, for :meth:`save`.
    """

    keep_images: bool = False
    images: int = 0
    clean: int = 0
    robust: int = 0
    seconds: float = 0.0
    blocks: list[Attacked] = field(default_factory=list)

    def add(self, block: Attacked) -> None:
        """Count one block."""
        self.images += len(block.y)
        self.clean += int((block.clean_predicted == block.y).sum())
        self.robust += int((~block.success).sum())
        if self.keep_images:
            self.blocks.append(block)

    def save(self, path: str | Path) -> None:
        """Write ids, x, x_adv, y, predicted, success and distance of every image, in order, to an npz."""
        names = ("ids", "x", "x_adv", "y", "predicted", "success", "distance")
        write_npz(path, {name: np.concatenate([getattr(block, name) for block in self.blocks]) for name in names})


def record_path(run: Run, config: AttackedModel) -> Path:
    """Where the result of an attack on a run is kept."""
    return beneath(run.folder, "attacks", f"{config_hash(config)[:16]}.json")


def attack_config(run: Run, dataset: Dataset, attack: Attack, images: int | None) -> AttackedModel:
    """Return the experiment: `attack` on the first `images` test images (None: all of them)."""
    available = len(dataset.x_test)
    if images is not None and not 1 <= images <= available:
        raise InputError("images", images, f"a whole number from 1 to the {available} test images")
    return AttackedModel(run.config, attack, available if images is None else images)


def stored_record(run: Run, config: AttackedModel) -> Record | None:
    """Return the record of an attack that was done already, or None.

    Raises
    ------
    DataError
        If the record is that of other settings or of another model, or the run's model was altered.
    """
    path = record_path(run, config)
    if not path.exists():
        return None
    kept = read_record(path, config)
    if kept.models not in (None, (model_of(run),)):
        raise DataError(f"{path} holds the record of an attack on another model; delete it to attack again")
    require_whole(run)
    return kept.record


def attack_run(run: Run, model: Any, dataset: Dataset, config: AttackedModel, tally: Tally) -> Iterator[Tally]:
    """Attack a run's model, yielding the tally after every block; at the end the record is kept in the run folder."""
    yield from _attack(model, dataset, config, tally)
    write_record(record_path(run, config), config, _record(run, config, tally), [model_of(run)])


def attacked_model(config: AttackedModel, laboratory: Laboratory) -> Generator[str, None, Record]:
    """Carry out the experiment, yielding its progress in words."""
    attack, tally = config.attack, Tally()
    doing = f"attacking {describe(config.train)}: {attack.method} on {attack.objective} at {attack.epsilon:g}"
    for _ in _attack(laboratory.model(config.train), laboratory.dataset, config, tally):
        yield f"{doing}, {tally.images} images"
    return _record(laboratory.run(config.train), config, tally)


def _attack(model: Any, dataset: Dataset, config: AttackedModel, tally: Tally) -> Iterator[Tally]:
    began, ids = time.monotonic(), np.arange(min(config.images, len(dataset.x_test)), dtype=np.int64)
    blocks = attack_images(model, config.attack, dataset.x_test, dataset.y_test, ids, image_shape=dataset.image_shape)
    for block in blocks:
        tally.add(block)
        tally.seconds = time.monotonic() - began
        yield tally


def _record(run: Run, config: AttackedModel, tally: Tally) -> Record:
    return {
        "run": str(run.folder),
        "method": config.attack.method,
        "objective": config.attack.objective,
        "epsilon": config.attack.epsilon,
        "images": tally.images,
        "clean_accuracy": tally.clean / tally.images,
        "robust_accuracy": tally.robust / tally.images,
        "robust_interval": list(proportion_interval(tally.robust, tally.images)),
        "seconds": round(tally.seconds, 3),
    }
