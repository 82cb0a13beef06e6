"""How many dimensions a granule layer's activity has: on images, and on inputs for which the theory says it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from math import isfinite
from typing import Any, ClassVar, TypedDict

import numpy as np

from minicereb.backend import Array, to_device
from minicereb.calculus.dimension import FEWEST_IMAGES, participation_ratio
from minicereb.datasets.transforms import to_unit
from minicereb.documents import Count
from minicereb.errors import require
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.identity import config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.models.dimension import drawn_thresholds, granule_gram, normal_thresholds, with_equal_weights
from minicereb.models.wiring import draw_wiring
from minicereb.randomness import generator

INPUTS = ("images", "pixels", "normal")
UNITS = ("relu", "threshold")
WEIGHTS = ("gaussian", "equal")
CALIBRATION = 1_000  # training images, from which the thresholds on images are


class _Record(TypedDict):
    dimension: float | None
    interval: tuple[float, float | None]
    squared_trace: float
    trace_of_square: float
    active: float
    images: Count
    inputs: Count


@config_kind
@dataclass(frozen=True)
class Dimension:
    """The participation ratio of a granule layer's activity.

    Parameters
    ----------
    model : CerebellumModel
        Its wiring is what counts, and is that of a model trained with the same seed; nothing is learned.
    data : Data
    inputs : {"images", "pixels", "normal"}
        Test images; the same with every pixel drawn from an image of its own, so that pixels are independent; or independent
        standard normal numbers.
    units : {"relu", "threshold"}
        The model's own, or cells that are 1 above a threshold, else 0.
    weights : {"gaussian", "equal"}
        The model's own, or ``1/√k`` at every synapse.
    level : float
        f, the share of inputs for which a threshold cell fires. On normal inputs this is exact, on others the threshold is found
        with 1,000 inputs of the same kind from the training images.
    images : int
        P, at least 6; not more than there are test images are used, unless they are standard normal.
    seed : int
        Of the wiring, and of what is drawn of the inputs.
    """

    record_shape: ClassVar[Any] = _Record
    model: CerebellumModel
    data: Data
    inputs: str = "images"
    units: str = "relu"
    weights: str = "gaussian"
    level: float = 0.1
    images: int = 1_000
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.inputs in INPUTS, "inputs", self.inputs, ", ".join(INPUTS))
        require(self.units in UNITS, "units", self.units, " or ".join(UNITS))
        require(self.weights in WEIGHTS, "weights", self.weights, " or ".join(WEIGHTS))
        require(0 < self.level < 1, "level", self.level, "a share above 0 and below 1")
        require(self.images >= FEWEST_IMAGES, "images", self.images, f"a whole number of at least {FEWEST_IMAGES}")
        require(self.seed >= 0, "seed", self.seed, "a whole number of at least 0")
        twice = self.model.replacement and self.units == "threshold" and self.inputs == "normal"
        require(not twice, "replacement", True, "false for threshold cells on normal inputs: their level would be another")

    @property
    def trainings(self) -> tuple[Train, ...]:
        """None: the granule layer does not learn."""
        return ()

    @property
    def description(self) -> str:
        """A few words."""
        model = self.model
        wiring = model.wiring if model.inputs_per_cell is None else f"{model.wiring} k={model.inputs_per_cell}"
        cells = f"{model.cells:,} {self.units} cells, {self.weights} weights"
        return f"{wiring}, {cells}, on {self.images:,} {self.inputs}, seed {self.seed}"


def dimension(config: Dimension, laboratory: Laboratory) -> Generator[str, None, Record]:
    """Carry out the experiment, yielding its progress in words.

    Returns
    -------
    dict
        ``dimension``, null if no two images share an active cell; ``interval``, 95%, its upper bound null if there is none;
        ``squared_trace`` and ``trace_of_square``, unbiased estimates of (tr C)² and tr C²; ``active``, the share of pairs of
        cell and input with activity; ``images``; ``inputs``, how many a row has.
    """
    model, dataset = config.model, laboratory.dataset
    yield f"dimension of {config.description}: wiring"
    wiring = draw_wiring(
        model.wiring,
        model.cells,
        dataset.image_shape,
        model.inputs_per_cell,
        config.seed,
        replacement=model.replacement,
        patch=model.patch,
    )
    if config.weights == "equal":
        wiring = with_equal_weights(wiring)
    thresholds = None
    if config.units == "threshold" and config.inputs == "normal":
        thresholds = normal_thresholds(wiring, config.level)
    elif config.units == "threshold":
        yield f"dimension of {config.description}: thresholds"
        rows = dataset.x_train
        thresholds = drawn_thresholds(wiring, _drawn(config, rows, min(CALIBRATION, len(rows)), "thresholds"), config.level)
    if config.inputs == "normal":
        drawn = generator(config.seed, "dimension normal").standard_normal((config.images, dataset.inputs), dtype=np.float32)
        x = to_device(drawn)
    else:
        x = _drawn(config, dataset.x_test, min(config.images, len(dataset.x_test)), "images")
    yield f"dimension of {config.description}: {len(x):,} images"
    gram = granule_gram(wiring, x, thresholds)
    found = participation_ratio(gram.products)
    value, high = (number if isfinite(number) else None for number in (found.value, found.high))
    return {
        "dimension": value,
        "interval": [found.low, high],
        "squared_trace": found.squared_trace,
        "trace_of_square": found.trace_of_square,
        "active": gram.active,
        "images": len(x),
        "inputs": dataset.inputs,
    }


def _drawn(config: Dimension, rows: np.ndarray, count: int, what: str) -> Array:
    """Return so many different images, drawn by seed, or as many rows whose every pixel is from an image drawn for it alone."""
    rng = generator(config.seed, f"dimension {what}", INPUTS.index(config.inputs))
    if config.inputs == "images":
        return to_unit(to_device(rows[rng.permutation(len(rows))[:count]]))
    chosen = rng.integers(0, len(rows), (count, rows.shape[1]), dtype=np.int32)
    return to_unit(to_device(np.take_along_axis(rows, chosen, axis=0)))
