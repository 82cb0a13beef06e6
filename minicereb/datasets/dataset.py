"""Data sets: images and labels, split into training and test."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from minicereb.datasets.transforms import to_unit
from minicereb.files import sha256_arrays
from minicereb.inputs import as_labels, check_finite, check_image_shape, check_rows
from minicereb.parallel import blocks

CONSTANT = 1e-4  # a channel whose pixels, from 0 to 1, have a smaller standard deviation counts as constant


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images.

    Parameters
    ----------
    name : str
        Name as given to ``--dataset``.
    x_train, x_test : array of uint8, or of float32 in [0, 1], shape (images, inputs)
        Images as rows; a value v of type uint8 stands for v / 255.
    y_train, y_test : array of int, shape (images,) or (images, 1)
        Labels, 0 to ``classes - 1``; stored as int64 of shape (images,).
    image_shape : tuple of int
        (height, width) or (height, width, channels); (inputs,) for rows that are not images.
    classes : int

    Raises
    ------
    InputError
        If shapes or types do not fit, an image is not finite, or a label is not one of the classes.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    image_shape: tuple[int, ...]
    classes: int

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            rows, labels = getattr(self, f"x_{part}"), getattr(self, f"y_{part}")
            check_rows(rows, math.prod(self.image_shape), f"x_{part}", stored=True)
            check_image_shape(self.image_shape, rows.shape[1])
            object.__setattr__(self, f"y_{part}", as_labels(labels, len(rows), self.classes, f"y_{part}"))
            # memory-mapped rows are features that a model computed, and checking them would take long
            if rows.dtype.kind == "f" and not isinstance(rows, np.memmap):
                for block in blocks(len(rows), 1000):
                    check_finite(rows[block], f"x_{part}")

    @property
    def inputs(self) -> int:
        """The length of a row: the number of mossy fibres of a cerebellum that receives these images."""
        return self.x_train.shape[1]

    @functools.cached_property
    def channel_statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the training pixels in [0, 1] by channel; arrays of float64, shape (channels,).

        A constant channel gets a deviation of 1, so that it is not scaled.
        """
        channels = self.image_shape[2] if len(self.image_shape) == 3 else 1
        sums = np.zeros((2, channels), dtype=np.float64)
        for part in blocks(len(self.x_train), 1000):
            pixels = to_unit(self.x_train[part]).reshape(-1, channels).astype(np.float64)
            sums += pixels.sum(axis=0), np.square(pixels).sum(axis=0)
        mean, square = sums / (self.x_train.size // channels)
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        return mean, np.where(deviation < CONSTANT, 1, deviation)

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of everything in the data that a result can depend on."""
        return sha256_arrays(self.x_train, self.y_train, self.x_test, self.y_test, np.array(self.image_shape))
