"""Attacks by way of another model, whose gradient is followed in place of the one that is judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from minicereb.attacks.run import Attacked, attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import to_device
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.errors import InputError
from minicereb.learning.least_squares import least_squares_readout
from minicereb.models.cerebellum import Cerebellum, initial_cerebellum
from minicereb.models.wiring import draw_wiring
from minicereb.parallel import blocks
from minicereb.robustness.auxiliary import attempt

SUBSTITUTE_CELLS, SUBSTITUTE_IMAGES = 1_000, 10_000
OWN = "a cerebellum learned in closed form"


def transferred(
    substitute: Any, attack: Attack, rows: np.ndarray, labels: np.ndarray, ids: np.ndarray, image_shape: tuple[int, ...]
) -> Iterator[Attacked]:
    """Attack images by way of a substitute, also those that the substitute misclassifies as they are.

    Parameters
    ----------
    substitute : classifier
    attack : Attack
    rows, labels, ids, image_shape
        As for :func:`minicereb.attacks.run.attack_images`.

    Yields
    ------
    Attacked
        A block, with the answers of the substitute: for each image the point where it errs by the largest objective (the last
        point, or the first where it errs, if the attack says so).
    """
    return attack_images(substitute, attack, rows, labels, ids, image_shape=image_shape, include_misclassified=True)


def own_substitute(dataset: Dataset, seed: int) -> Cerebellum:
    """Return a small cerebellum that learns the training images in closed form: a substitute that costs a second.

    Raises
    ------
    InputError
        If there are no training images, or the closed form has no solution.
    """
    if len(dataset.x_train) == 0:
        raise InputError("x_train", 0, "at least one training image to learn a substitute from")
    cells = min(SUBSTITUTE_CELLS, max(1, len(dataset.x_train) // 4))  # as many cells as images would fit noise
    wiring = draw_wiring("full", cells, dataset.image_shape, None, seed)
    learned = range(min(len(dataset.x_train), SUBSTITUTE_IMAGES))
    batches = (
        (to_unit(to_device(dataset.x_train[part])), to_device(dataset.y_train[part])) for part in blocks(len(learned), 1024)
    )
    return least_squares_readout(initial_cerebellum(wiring, dataset.classes, seed), batches)


def substitutes_for(dataset: Dataset, seed: int, others: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the models that attacks are transferred from, by name: the one in closed form first, then the others.

    Returns
    -------
    substitutes : dict
    why : str
        Why the one in closed form is not among them; empty if it is.
    """
    own, why = attempt(lambda: own_substitute(dataset, seed))
    return {**({} if own is None else {OWN: own}), **others}, why
