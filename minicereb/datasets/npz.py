"""A user's own images, as one npz file."""

from __future__ import annotations

import os
from dataclasses import replace

from minicereb.datasets.dataset import Dataset
from minicereb.datasets.own import ARRAYS, LAYOUTS, own_dataset, say
from minicereb.errors import DataError
from minicereb.files import read_npz

MEDMNIST = ("train_images", "train_labels", "test_images", "test_labels")


def load(path: str | os.PathLike, training: bool = True) -> Dataset:
    """Load a data set from an npz file, after checking it.

    Parameters
    ----------
    path : path
        An npz file with the arrays ``x_train``, ``y_train``, ``x_test`` and ``y_test`` of
        :func:`~minicereb.datasets.own.own_dataset`, and optionally ``layout``, the text "channels-first" or "channels-last".
        MedMNIST's files, with the arrays ``train_images``, ``train_labels`` and so on, are read too; their ``val_images`` are not
        used, since training holds out its own images.
    training : bool
        Whether training images are required. Without them, the largest label in the test set gives the number of classes.

    Returns
    -------
    Dataset
        Rows of uint8 or float32, labels int64.

    Raises
    ------
    DataError
        If the file or its content cannot be used; the message names the array and what is expected.
    """
    arrays = read_npz(path)
    called = MEDMNIST if set(MEDMNIST) & set(arrays) and not set(ARRAYS) & set(arrays) else ARRAYS
    test_only = not training and not set(called[:2]) & set(arrays)
    if test_only:
        called = called[2:] * 2
    if missing := [name for name in called if name not in arrays]:
        raise DataError(
            f"{path} lacks {', '.join(dict.fromkeys(missing))}; expected the arrays {', '.join(dict.fromkeys(called))}"
        )
    medmnist = called[2] == MEDMNIST[2]
    if medmnist and arrays[called[0]].ndim == 4 and arrays[called[0]].shape[-1] != 3:
        shape = arrays[called[0]].shape
        raise DataError(f"{path}: {called[0]} has shape {shape}: volumes; expected images, (n, height, width[, 3])")
    layout = arrays.get("layout")
    if layout is not None and (layout.shape != () or layout.dtype.kind != "U"):
        raise DataError(f"{path}: layout is {layout.dtype} of shape {layout.shape}; expected the text {' or '.join(LAYOUTS)}")
    if "val_images" in arrays and medmnist:
        say(f"{path}: val_images are not used; --validation holds out images of train_images")
    whole = own_dataset(str(path), [arrays[name] for name in called], None if layout is None else str(layout), called)
    return replace(whole, x_train=whole.x_train[:0], y_train=whole.y_train[:0]) if test_only else whole
