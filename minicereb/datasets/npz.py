"""A user's own images, as one npz file."""

from __future__ import annotations

import os

import numpy as np

from minicereb.datasets.dataset import Dataset
from minicereb.errors import DataError
from minicereb.files import read_npz

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
MOST_CLASSES = 100_000  # a larger label is a mistake, and would take the memory of that many output cells


def load(path: str | os.PathLike) -> Dataset:
    """Load a data set from an npz file, after checking it.

    Parameters
    ----------
    path : path
        An npz file with the arrays ``x_train``, ``y_train``, ``x_test`` and ``y_test``. Images are uint8, or float in [0, 1]
        (kept as float32), of shape (images, height, width), (images, height, width, channels) or (images, inputs). Labels are
        whole numbers from 0, of shape (images,); the largest one in training says how many classes there are.

    Returns
    -------
    Dataset
        Rows of uint8 or float32, labels int64.

    Raises
    ------
    DataError
        If the file or what it holds cannot be used; the message names the array and what is expected.
    """
    arrays = read_npz(path)
    if missing := [name for name in ARRAYS if name not in arrays]:
        raise DataError(f"{path} lacks {', '.join(missing)}; expected the arrays {', '.join(ARRAYS)}")
    for split in ("train", "test"):
        images, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
        _check_images(f"{path}: x_{split}", images)
        _check_labels(f"{path}: y_{split}", labels, len(images))
    x_train, y_train, x_test, y_test = (arrays[name] for name in ARRAYS)
    if x_test.shape[1:] != x_train.shape[1:] or (x_test.dtype == np.uint8) != (x_train.dtype == np.uint8):
        raise DataError(f"{path}: x_test holds {_kind(x_test)}, x_train {_kind(x_train)}; expected images of one kind")
    classes = int(y_train.max()) + 1
    if classes < 2:
        raise DataError(f"{path}: y_train holds only the label 0; expected at least 2 classes")
    if y_test.max() >= classes:
        raise DataError(f"{path}: y_test holds the label {y_test.max()}; the largest in y_train is {classes - 1}")
    return Dataset(
        os.path.abspath(path),
        _rows(x_train),
        y_train.astype(np.int64),
        _rows(x_test),
        y_test.astype(np.int64),
        x_train.shape[1:],
        classes,
    )


def _kind(images: np.ndarray) -> str:
    return f"{images.dtype} of shape {images.shape[1:]}"


def _rows(images: np.ndarray) -> np.ndarray:
    dtype = np.uint8 if images.dtype == np.uint8 else np.float32
    return np.ascontiguousarray(images.reshape(len(images), -1), dtype=dtype)


def _check_images(name: str, images: np.ndarray) -> None:
    if images.ndim not in (2, 3, 4):
        raise DataError(f"{name} has shape {images.shape}; expected (images, height, width[, channels]) or (images, inputs)")
    if images.size == 0:
        raise DataError(f"{name} has shape {images.shape}, which is empty; expected at least one image")
    if images.dtype == np.uint8:
        return
    if images.dtype.kind != "f":
        raise DataError(f"{name} is {images.dtype}; expected uint8, or float in [0, 1]")
    low, high = images.min(), images.max()  # either is NaN if any pixel is
    if not np.isfinite(low) or not np.isfinite(high):
        raise DataError(f"{name} holds pixels that are NaN or infinite; expected float in [0, 1]")
    if low < 0 or high > 1:
        raise DataError(f"{name} holds pixels from {low:g} to {high:g}; expected uint8, or float in [0, 1]")


def _check_labels(name: str, labels: np.ndarray, images: int) -> None:
    if labels.shape != (images,):
        raise DataError(f"{name} has shape {labels.shape}; expected ({images},), one label for each image")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{name} is {labels.dtype}; expected whole numbers from 0")
    low, high = labels.min(), labels.max()
    if low < 0 or high >= MOST_CLASSES:
        raise DataError(f"{name} holds labels from {low} to {high}; expected whole numbers from 0 and below {MOST_CLASSES}")
