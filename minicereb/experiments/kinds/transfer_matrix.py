"""Images attacked against each of several models, and what all of them answer."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import numpy as np

from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import to_device, to_numpy
from minicereb.datasets.transforms import to_unit
from minicereb.documents import Count, Share
from minicereb.errors import DataError, require
from minicereb.experiments.configs import Train, describe
from minicereb.experiments.identity import config_hash, config_kind
from minicereb.experiments.laboratory import Laboratory, Record, model_of
from minicereb.experiments.records import require_length
from minicereb.files import Declared, read_npz, write_npz
from minicereb.parallel import blocks, images_per_block, one_blas_thread
from minicereb.paths import beneath

BLOCK = 250  # images attacked together


class _Record(TypedDict):
    images: Count
    clean: list[Share]
    accuracy: list[list[Share]]


@config_kind
@dataclass(frozen=True)
class TransferMatrix:
    """Several models, each attacked, all answering.

    Parameters
    ----------
    models : tuple of Train
    attack : Attack
        Made against every model, also on images that it misclassifies as they are.
    images : int
        The first so many test images.
    """

    record_shape: ClassVar[Any] = _Record
    models: tuple[Train, ...]
    attack: Attack
    images: int

    def __post_init__(self) -> None:
        require(len(self.models) >= 1, "models", len(self.models), "at least one")
        require(self.images >= 1, "images", self.images, "a whole number of at least 1")

    def check_record(self, record: Record) -> None:
        """Raise :class:`~minicereb.documents.Mismatch` unless a record has a row and a column for every model."""
        require_length(record["clean"], len(self.models), "clean")
        require_length(record["accuracy"], len(self.models), "accuracy")
        for number, row in enumerate(record["accuracy"]):
            require_length(row, len(self.models), "accuracy", number)

    @property
    def trainings(self) -> tuple[Train, ...]:
        """All of them."""
        return self.models


def transfer_matrix(config: TransferMatrix, laboratory: Laboratory) -> Generator[str, None, Record]:
    """Carry out the experiment, yielding its progress in words; what was attacked before an interruption is not attacked again.

    Returns
    -------
    dict
        ``images``; ``clean``: accuracy of each model; ``accuracy``: for each attacked model (row) that of each answering one.
    """
    dataset = laboratory.dataset
    require(config.images <= len(dataset.x_test), "images", config.images, f"at most the {len(dataset.x_test)} test images")
    files = []
    for model in config.models:
        path = _attacked_path(laboratory.out, config, model)
        if not path.exists():
            parts = []
            for part in blocks(config.images, BLOCK):
                yield f"attacking {describe(model)}, images {part.start}-{part.stop}"
                ids = np.arange(part.start, part.stop, dtype=np.int64)
                images = (dataset.x_test, dataset.y_test, ids)
                every: dict[str, Any] = {"image_shape": dataset.image_shape, "include_misclassified": True}
                parts += [block.x_adv for block in attack_images(laboratory.model(model), config.attack, *images, **every)]
            write_npz(path, {"x_adv": np.concatenate(parts), "owner": np.array(_owner(laboratory, config, model))})
        files.append((path, _owner(laboratory, config, model)))
    columns = []
    for model in config.models:
        yield f"{describe(model)} answers to the images of all"
        columns.append([_accuracy(laboratory, model, None, config.images), *_answers(laboratory, model, files, config.images)])
    table = np.array(columns, dtype=np.float64).T
    for path, _ in files:
        path.unlink()
    return {"images": config.images, "clean": table[0].tolist(), "accuracy": table[1:].tolist()}


def _attacked_path(out: Path, config: TransferMatrix, model: Train) -> Path:
    return beneath(out, "experiments", f"{config_hash(config)[:16]}-{config_hash(model)[:16]}.npz")


def _owner(laboratory: Laboratory, config: TransferMatrix, model: Train) -> str:
    return f"{config_hash(config)} {model_of(laboratory.run(model))}"


def _answers(laboratory: Laboratory, model: Train, files: list[tuple[Path, str]], images: int) -> list[float]:
    return [_accuracy(laboratory, model, _read_attacked(path, owner, laboratory, images), images) for path, owner in files]


def _read_attacked(path: Path, owner: str, laboratory: Laboratory, images: int) -> np.ndarray:
    """Read attacked images; files from before 0.2 do not say of which experiment and model they are."""
    declared: dict[str, Declared] = {"x_adv": (np.float32, (images, laboratory.dataset.inputs)), "owner": ("U", ())}
    stored = read_npz(path, declared, optional=("owner",))
    if "owner" in stored and str(stored["owner"]) != owner:
        raise DataError(f"{path} holds images attacked with other settings or another model; delete it to attack again")
    return stored["x_adv"]


def _accuracy(laboratory: Laboratory, config: Train, rows: np.ndarray | None, images: int) -> float:
    """Accuracy on the first images, or on attacked ones in their place."""
    model, dataset, right = laboratory.model(config), laboratory.dataset, 0
    rows = dataset.x_test if rows is None else rows
    for part in blocks(images, images_per_block(getattr(model, "bytes_per_image", 0) + 16 * dataset.inputs)):
        with one_blas_thread():
            outputs, _ = model.forward(to_unit(to_device(rows[part])))
        right += int((to_numpy(outputs.argmax(axis=1)) == dataset.y_test[part]).sum())
    return right / images
