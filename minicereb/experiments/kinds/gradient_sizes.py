"""How large the entries of an attack's gradients are, before it and after: the plot that is looked at for masked gradients."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypedDict

import numpy as np

from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.documents import Count, Share
from minicereb.errors import require
from minicereb.experiments.configs import Train, describe
from minicereb.experiments.identity import config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.records import require_length
from minicereb.robustness.evaluate import EvaluationTarget
from minicereb.robustness.gradient_statistics import gradient_statistics, input_gradients

# Powers of ten at which the bins of the histogram end. What is smaller counts in the first, what is larger in the last.
EDGES = tuple(n / 4 for n in range(-48, 13))


class _Sizes(TypedDict):
    zero: float
    zero_entries: float
    not_finite: float
    counts: list[Count]


class _Record(TypedDict):
    images: Count
    robust_accuracy: Share
    classes: Count
    edges: list[float]
    before: _Sizes
    after: _Sizes


@config_kind
@dataclass(frozen=True)
class GradientSizes:
    """The input gradient of an attack's objective at images as they are, and where the attack has taken them.

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

    def check_record(self, record: Record) -> None:
        """Raise :class:`~minicereb.documents.Mismatch` unless a record has a count for every bin."""
        for when in ("before", "after"):
            require_length(record[when]["counts"], max(0, len(record["edges"]) - 1), when, "counts")

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The one whose gradients are looked at."""
        return (self.train,)


def gradient_sizes(config: GradientSizes, laboratory: Laboratory) -> Generator[str, None, Record]:
    """Carry out the experiment, yielding its progress in words.

    Returns
    -------
    dict
        ``images`` that were right, ``robust_accuracy`` of all, ``classes``; ``edges``, the powers of ten at which the bins end;
        ``before`` and ``after`` the attack: ``zero``, the share of the images whose gradient is zero throughout,
        ``zero_entries`` and ``not_finite`` likewise (see
        :class:`~minicereb.robustness.gradient_statistics.GradientStatistics`), and
        ``counts`` of the entries' absolute values in the bins, zeros apart.
    """
    model, dataset = laboratory.model(config.train), laboratory.dataset
    ids = np.arange(min(config.images, len(dataset.x_test)), dtype=np.int64)
    subject = EvaluationTarget(model, dataset.x_test, dataset.y_test, dataset.image_shape, dataset.classes)
    found: dict[str, list[tuple[int, Record]]] = {"before": [], "after": []}
    robust = 0
    blocks = attack_images(model, config.attack, dataset.x_test, dataset.y_test, ids, image_shape=dataset.image_shape)
    for block in blocks:
        right = block.clean_predicted == block.y
        robust += int((~block.success).sum())
        for when, x in (("before", block.x), ("after", block.x_adv)) if right.any() else ():
            there = replace(subject, rows=x[right], labels=block.y[right])
            gradients = input_gradients(there, config.attack.objective, np.arange(right.sum()), config.attack.seed)
            assert gradients is not None
            found[when].append((len(gradients), _counted(gradients)))
        yield f"looking at the gradients of {describe(config.train)}, {block.ids[-1] + 1} images"
    images = sum(n for n, _ in found["before"])
    about = {"images": images, "robust_accuracy": robust / len(ids), "classes": dataset.classes, "edges": list(EDGES)}
    return about | {when: _together(parts, images) for when, parts in found.items()}


def _counted(gradients: np.ndarray) -> Record:
    """Shares and counts for some images."""
    statistics = gradient_statistics(gradients)
    sizes = np.abs(gradients[np.isfinite(gradients) & (gradients != 0)])
    powers = np.clip(np.log10(sizes), EDGES[0], EDGES[-1])
    shares = {"zero": statistics.zero, "zero_entries": statistics.zero_entries, "not_finite": statistics.not_finite}
    return shares | {"counts": np.histogram(powers, np.array(EDGES, dtype=np.float64))[0]}


def _together(parts: list[tuple[int, Record]], images: int) -> Record:
    """Put blocks of images together."""
    counts = sum((part["counts"] for _, part in parts), np.zeros(len(EDGES) - 1, dtype=np.int64))
    shares = ("zero", "zero_entries", "not_finite")
    means: Record = {name: sum(n * part[name] for n, part in parts) / max(1, images) for name in shares}
    return means | {"counts": [int(count) for count in counts]}
