"""Substitutes: models whose gradient an attack follows instead of the evaluated model's gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minicereb.backend import to_device
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.errors import require
from minicereb.learning.least_squares import least_squares_readout
from minicereb.models.cerebellum import CerebellarNetwork, initial_cerebellum
from minicereb.models.wiring import draw_wiring
from minicereb.parallel import blocks
from minicereb.robustness.optional import attempt

SUBSTITUTE_CELLS, SUBSTITUTE_IMAGES = 1_000, 10_000
OWN = "a cerebellum learned in closed form"


def own_substitute(dataset: Dataset, seed: int) -> CerebellarNetwork:
    """Return a small cerebellum, fitted in closed form to the training images within a second.

    An :class:`InputError` is raised if there are no training images, or if the closed form has no solution.
    """
    require(len(dataset.x_train) > 0, "x_train", 0, "at least one training image, from which a substitute can learn")
    cells = min(SUBSTITUTE_CELLS, max(1, len(dataset.x_train) // 4))  # with as many cells as images, it would fit noise
    wiring = draw_wiring("full", cells, dataset.image_shape, None, seed)
    learned = range(min(len(dataset.x_train), SUBSTITUTE_IMAGES))
    batches = (
        (to_unit(to_device(dataset.x_train[part])), to_device(dataset.y_train[part])) for part in blocks(len(learned), 1024)
    )
    return least_squares_readout(initial_cerebellum(wiring, dataset.classes, seed), batches)


def substitutes_for(dataset: Dataset, seed: int, others: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the models from which attacks are transferred, keyed by name, and why there is no :func:`own_substitute` (or "")."""
    own, why = attempt(lambda: own_substitute(dataset, seed))
    return {**({} if own is None else {OWN: own}), **others}, why
