"""A user's own arrays, checked and converted.

From any kind of file, images become rows of uint8 or of float32 in [0, 1], and labels become int64 from 0. Arrays with only
one possible interpretation are converted, with a :class:`~minicereb.errors.DataWarning`. All other arrays are refused, and
the message names the array.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

import numpy as np

from minicereb.datasets.dataset import Dataset
from minicereb.errors import DataError, DataWarning

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
LAYOUTS = ("channels-last", "channels-first")
CHANNELS = (1, 3, 4)  # possible lengths of an axis of channels: grey, colour, colour with opacity
MOST_CLASSES = 100_000  # a larger label is probably a mistake, and would need that many output cells
NAMED = 10  # largest number of absent classes that are listed


def own_dataset(
    name: str, arrays: Sequence[np.ndarray], layout: str | None = None, called: Sequence[str] = ARRAYS, shift: int = 0
) -> Dataset:
    """Check a user's arrays and return them as a data set.

    Parameters
    ----------
    name : str
        Path of the data, with which every message begins.
    arrays : sequence of array
        ``x_train``, ``y_train``, ``x_test``, ``y_test``. Images are uint8, or float in [0, 1], of shape (images, height, width),
        (images, height, width, channels), (images, channels, height, width) or (images, inputs). Labels are whole numbers from
        0, of shape (images,) or (images, 1), or one-hot, of shape (images, classes).
    layout : {"channels-last", "channels-first"}, optional
        Order of the axes of images with four axes. By default the order is inferred from the shape (:func:`channels_first`).
    called : sequence of str
        Names of the four arrays in error messages.
    shift : int
        Number of the first class in `arrays`; it is subtracted from all labels.

    Returns
    -------
    Dataset
        Its number of classes is the largest label of ``y_train``, plus one.

    Raises
    ------
    DataError
        If an array cannot be used; the message names it and says what is expected.

    Warns
    -----
    DataWarning
        If channels were moved to the last axis, a class has no training image, or all pixels are nearly black.
    """
    path, (x_train, y_train, x_test, y_test) = os.path.abspath(name), arrays
    for images, what in ((x_train, called[0]), (x_test, called[2])):
        _check_images(f"{name}: {what}", images)
    y_train, y_test = (
        _labels(f"{name}: {what}", labels, len(images), shift)
        for what, labels, images in ((called[1], y_train, x_train), (called[3], y_test, x_test))
    )
    if x_test.shape[1:] != x_train.shape[1:] or (x_test.dtype == np.uint8) != (x_train.dtype == np.uint8):
        raise DataError(f"{name}: {called[2]} holds {_kind(x_test)}, {called[0]} {_kind(x_train)}; expected images of one kind")
    classes = int(y_train.max()) + 1
    if classes < 2:
        raise DataError(f"{name}: {called[1]} holds only the label 0; expected at least 2 classes")
    if y_test.max() >= classes:
        raise DataError(f"{name}: {called[3]} holds the label {y_test.max()}; the largest in {called[1]} is {classes - 1}")
    if channels_first(f"{name}: {called[0]}", x_train.shape, layout):
        before, (x_train, x_test) = x_train.shape, (images.transpose(0, 2, 3, 1) for images in (x_train, x_test))
        if layout is None:
            say(f"{name}: images of shape {before[1:]} are taken as channels × height × width and stored as {x_train.shape[1:]}")
    _warn_of_darkness(f"{name}: {called[0]}", x_train)
    warn_of_absent_classes(name, y_train, classes)
    return Dataset(path, _rows(x_train), y_train, _rows(x_test), y_test, x_train.shape[1:], classes)


def say(text: str) -> None:
    """Warn about a user's data; the warning points to the caller of the loading function."""
    warnings.warn(text, DataWarning, stacklevel=4)


def channels_first(name: str, shape: tuple[int, ...], layout: str | None = None) -> bool:
    """Return whether images of this shape hold their channels before height and width, as in PyTorch.

    Parameters
    ----------
    name : str
        Name of the images in error messages.
    shape : tuple of int
        Shape of all images; it is ambiguous only with four axes.
    layout : {"channels-last", "channels-first"}, optional
        The order of the axes, if it is known.

    Raises
    ------
    DataError
        If the shape is ambiguous.

    Notes
    -----
    An axis of 1, 3 or 4 entries can hold the channels. If this is true of only one of an image's first and last axes,
    that axis holds them; if it is true of both or neither, the last axis holds them. However, a shape is refused in two cases: if
    only the other order would make the images square; and if both axes can hold the channels and the images are square in both
    orders or in neither.
    """
    if layout is not None and layout not in LAYOUTS:
        raise DataError(f"{name.partition(': ')[0]}: layout is {layout!r}; expected {' or '.join(LAYOUTS)}")
    if len(shape) != 4:
        return False
    if layout is not None:
        return layout == "channels-first"
    _, a, b, c = shape
    first, last = a in CHANNELS, c in CHANNELS
    if first != last:
        return first
    clear = (a == b and b != c) if first else b != c
    if not clear:
        raise DataError(
            f"{name} has shape {shape}, which may be (images, channels, height, width) or (images, height, width, channels); "
            "say which by adding to the file the text layout='channels-first' or layout='channels-last'"
        )
    return False


def warn_of_absent_classes(name: str, labels: np.ndarray, classes: int) -> None:
    """Warn if a class has no training image, because the chance level is then not 1 / classes."""
    absent = np.flatnonzero(np.bincount(labels, minlength=classes) == 0)
    if not len(absent):
        return
    shown = ", ".join(map(str, absent[:NAMED])) + (f" and {len(absent) - NAMED} others" if len(absent) > NAMED else "")
    what = f"class {shown} has" if len(absent) == 1 else f"classes {shown} have"
    from_one = "; if labels are counted from 1, subtract 1" if absent[0] == 0 else ""
    say(
        f"{name}: {what} no training image. The model still has {classes} outputs, but chance is 1/{classes - len(absent)}, "
        f"not 1/{classes}{from_one}"
    )


def _warn_of_darkness(name: str, images: np.ndarray) -> None:
    """Warn if no pixel is brighter than 1/255 of white."""
    whole = images.dtype == np.uint8
    if (brightest := images.max()) <= images.dtype.type(1 if whole else 1 / 255):
        kind, cure = ("uint8, whose white is 255", "multiply by 255, or store float") if whole else ("float", "multiply by 255")
        say(f"{name} ({kind}) has no pixel above {brightest:g}, which is nearly black; if it was scaled twice, {cure}")


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
    if images.dtype.kind not in "iuf":
        raise DataError(f"{name} is {images.dtype}; expected uint8, or float in [0, 1]")
    low, high = images.min(), images.max()  # both are NaN if any pixel is
    if images.dtype.kind != "f":
        advice = "; convert with .astype('uint8')" if low >= 0 and high <= 255 else f"; it holds {low} to {high}"
        raise DataError(f"{name} is {images.dtype}; expected uint8, or float in [0, 1]{advice}")
    if not np.isfinite(low) or not np.isfinite(high):
        raise DataError(f"{name} holds pixels that are NaN or infinite; expected float in [0, 1]")
    if low < 0 or high > 1:
        raise DataError(f"{name} holds pixels from {low:g} to {high:g}; expected uint8, or float in [0, 1]{_cure(low, high)}")


def _cure(low: float, high: float) -> str:
    """Return words that say how to convert pixels in this range to [0, 1]; empty if the conversion is unknown."""
    if low >= 0 and 1 < high <= 255:
        return "; divide by 255"
    if -1 <= low < -0.9 and high <= 1:
        return "; if black is -1, take (x + 1) / 2"
    return "; undo the standardisation (models scale pixels themselves)" if -20 < low < 0 and high < 20 else ""


def _labels(name: str, labels: np.ndarray, images: int, shift: int) -> np.ndarray:
    """Return labels as int64 from 0, shape (images,), given one number for each image or one-hot rows."""
    if labels.ndim == 2 and labels.shape[0] == images and labels.shape[1] > 1:
        return _from_one_hot(name, labels)
    if labels.shape not in ((images,), (images, 1)):
        raise DataError(f"{name} has shape {labels.shape}; expected ({images},), one label for each image")
    labels = labels.reshape(images)
    if labels.dtype.kind not in "iu" and not (labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels % 1 == 0).all()):
        raise DataError(f"{name} is {labels.dtype}; expected whole numbers from 0")
    low, high = int(labels.min()), int(labels.max())  # as Python integers, because the labels' type may not contain the limits
    if low < shift or high >= MOST_CLASSES:
        raise DataError(f"{name} holds labels from {low} to {high}; expected whole numbers from {shift} and below {MOST_CLASSES}")
    return labels.astype(np.int64) - shift


def _from_one_hot(name: str, labels: np.ndarray) -> np.ndarray:
    if labels.dtype.kind in "biuf" and labels.shape[1] <= MOST_CLASSES:
        ones = (labels == 1).sum(axis=1)
        if ((labels == 0).sum(axis=1) + ones == labels.shape[1]).all():
            if (ones == 1).all():
                return labels.argmax(axis=1).astype(np.int64)
            raise DataError(
                f"{name} has shape {labels.shape} and is multi-label: {ones.min()} to {ones.max()} labels an image; expected 1"
            )
    raise DataError(f"{name} has shape {labels.shape}; expected one label for each image, or one-hot rows of 0 and 1")
