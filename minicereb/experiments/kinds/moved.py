"""What an attack does to a model's outputs: which it moves, and how far. It tells why an attack on the squared error can fail."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict

import numpy as np

from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import to_device, to_numpy
from minicereb.documents import Count, Share
from minicereb.errors import require
from minicereb.experiments.configs import Train, describe
from minicereb.experiments.identity import config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.parallel import one_blas_thread


class _Moved(TypedDict):
    before: float | None
    after: float | None


class _Record(TypedDict):
    images: Count
    robust_accuracy: Share
    true: _Moved
    rival: _Moved
    error: _Moved
    rose: Share | None
    by_true: float | None


@config_kind
@dataclass(frozen=True)
class MovedOutputs:
    """The outputs of a trained model before and after an attack.

    Parameters
    ----------
    train : Train
    attack : Attack
    images : int
        The first so many test images; those that are right as they are count.
    """

    record_shape: ClassVar[Any] = _Record
    train: Train
    attack: Attack
    images: int

    def __post_init__(self) -> None:
        require(self.images >= 1, "images", self.images, "a whole number of at least 1")

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The one that is attacked."""
        return (self.train,)


def moved_outputs(config: MovedOutputs, laboratory: Laboratory) -> Generator[str, None, Record]:
    """Carry out the experiment, yielding its progress in words.

    Returns
    -------
    dict
        Means over the images that are right as they are: ``true`` and ``rival``, the outputs of the label and of the largest
        other class, ``before`` and ``after``; ``rose``, the share of images whose true output rose; ``error``, the squared
        error ½‖ŷ - y‖² before and after; ``by_true``, the share of its rise that the true output alone has made (the mean of
        the one over the mean of the other); ``robust_accuracy`` of all images. None where no image is right.
    """
    model, dataset = laboratory.model(config.train), laboratory.dataset
    ids = np.arange(min(config.images, len(dataset.x_test)), dtype=np.int64)
    rows, robust = [], 0
    blocks = attack_images(model, config.attack, dataset.x_test, dataset.y_test, ids, image_shape=dataset.image_shape)
    for block in blocks:
        right = block.clean_predicted == block.y
        robust += int((~block.success).sum())
        with one_blas_thread():
            outputs = [to_numpy(model.forward(to_device(x[right]))[0]).astype(np.float64) for x in (block.x, block.x_adv)]
        rows.append(np.stack([_measured(each, block.y[right]) for each in outputs], axis=1))
        yield f"looking at the outputs of {describe(config.train)}, {block.ids[-1] + 1} images"
    before, after = np.concatenate(rows).transpose(1, 2, 0)  # each: true, rival, error, its part by the true output
    means = {name: {"before": _mean(b), "after": _mean(a)} for name, b, a in zip(NAMES, before, after, strict=True)}
    del means["error_of_true"]
    rise, by_true = (float(after[n].mean()) - float(before[n].mean()) if before.size else 0.0 for n in (2, 3))
    return {
        "images": len(ids),
        "robust_accuracy": robust / len(ids),
        **means,
        "rose": _mean(after[0] > before[0]),
        "by_true": by_true / rise if rise > 0 else None,
    }


NAMES = ("true", "rival", "error", "error_of_true")


def _measured(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For each image the true output, the largest other, the squared error, and the true output's part of it."""
    targets = np.eye(outputs.shape[1], dtype=np.float64)[labels]
    true = (outputs * targets).sum(axis=1)
    rival = np.where(targets > 0, -np.inf, outputs).max(axis=1)
    return np.stack([true, rival, 0.5 * ((outputs - targets) ** 2).sum(axis=1), 0.5 * (true - 1) ** 2], axis=1)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
