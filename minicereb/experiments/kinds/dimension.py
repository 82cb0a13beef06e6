"""The dimension of a granule layer's activity, on images and on inputs for which theory predicts it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from math import isfinite

import numpy as np

from minicereb.backend import Array, to_device
from minicereb.calculus.dimension import FEWEST_IMAGES, participation_ratio
from minicereb.datasets.transforms import to_unit
from minicereb.documents import Count
from minicereb.errors import require
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Experiment
from minicereb.experiments.identity import config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.records import shape
from minicereb.models.dimension import drawn_thresholds, granule_gram, normal_thresholds, with_equal_weights
from minicereb.models.wiring import draw_wiring
from minicereb.randomness import generator
from minicereb.settings import setting

INPUTS = ("images", "pixels", "normal")
UNITS = ("relu", "threshold")
WEIGHTS = ("gaussian", "equal")
CALIBRATION = 1_000  # training images that determine the thresholds


@config_kind
@dataclass(frozen=True)
class Dimension(Experiment):
    """The participation ratio of a granule layer's activity.

    Nothing is learned. Only the wiring matters, and a model trained with the same seed has the same wiring. With the inputs
    ``"pixels"``, each pixel is taken from a random image, so that pixels are independent. Threshold cells have the activity
    1 above a threshold, otherwise 0. Unless the inputs are normally distributed, the thresholds are determined from 1,000
    inputs of the same kind, made from training images.
    """

    record_shape = shape(
        dimension=float | None,
        interval=tuple[float, float | None],
        squared_trace=float,
        trace_of_square=float,
        active=float,
        images=Count,
        inputs=Count,
    )
    model: CerebellumModel = setting(help="The model whose granule layer is measured.")
    data: Data = setting(help="The data set.")
    inputs: str = setting(
        "images", "Kind of inputs: test images, their pixels drawn independently, or standard normal numbers.", choices=INPUTS
    )
    units: str = setting("relu", "The model's own cells, or cells with a threshold.", choices=UNITS)
    weights: str = setting("gaussian", "The model's own weights, or 1/√k at every synapse.", choices=WEIGHTS)
    level: float = setting(0.1, "Share of the inputs for which a threshold cell fires.", above=0, below=1)
    images: int = setting(
        1_000, "Number of inputs; at most the number of test images, unless they are normal numbers.", at_least=FEWEST_IMAGES
    )
    seed: int = setting(0, "Seed of the wiring and of the inputs.", at_least=0)

    def __post_init__(self) -> None:
        twice = self.model.replacement and self.units == "threshold" and self.inputs == "normal"
        codons = self.model.codons
        require(codons is None, "codons", codons, "no encoder: the dimension of its features is not measured")
        require(
            not twice, "replacement", True, "false for threshold cells on normal inputs, whose level would otherwise be wrong"
        )

    @property
    def description(self) -> str:
        """A short description."""
        model = self.model
        wiring = model.wiring if model.inputs_per_cell is None else f"{model.wiring} k={model.inputs_per_cell}"
        cells = f"{model.cells:,} {self.units} cells, {self.weights} weights"
        return f"{wiring}, {cells}, on {self.images:,} {self.inputs}, seed {self.seed}"

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Measure the dimension; it is null if no two images share an active cell."""
        model, dataset, doing = self.model, laboratory.dataset, f"dimension of {self.description}"
        yield f"{doing}: wiring"
        settings = (model.wiring, model.cells, dataset.image_shape, model.inputs_per_cell, self.seed)
        wiring = draw_wiring(*settings, replacement=model.replacement, patch=model.patch, field=model.field)
        if self.weights == "equal":
            wiring = with_equal_weights(wiring)
        thresholds = None
        if self.units == "threshold" and self.inputs == "normal":
            thresholds = normal_thresholds(wiring, self.level)
        elif self.units == "threshold":
            yield f"{doing}: thresholds"
            rows = dataset.x_train
            thresholds = drawn_thresholds(wiring, _drawn(self, rows, min(CALIBRATION, len(rows)), "thresholds"), self.level)
        if self.inputs == "normal":
            drawn = generator(self.seed, "dimension normal").standard_normal((self.images, dataset.inputs), dtype=np.float32)
            x = to_device(drawn)
        else:
            x = _drawn(self, dataset.x_test, min(self.images, len(dataset.x_test)), "images")
        yield f"{doing}: {len(x):,} images"
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
    """Draw distinct images, or, for the inputs ``"pixels"``, rows whose pixels each come from a random image."""
    rng = generator(config.seed, f"dimension {what}", INPUTS.index(config.inputs))
    if config.inputs == "images":
        return to_unit(to_device(rows[rng.permutation(len(rows))[:count]]))
    chosen = rng.integers(0, len(rows), (count, rows.shape[1]), dtype=np.int32)
    return to_unit(to_device(np.take_along_axis(rows, chosen, axis=0)))
