"""The features that an encoder makes of a data set's images: computed once, kept beside its model, read as a memory map."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from minicereb.backend import execution, to_device, to_numpy
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.errors import DataError
from minicereb.files import atomic_write, folder_lock
from minicereb.lanes import images_per_block, one_blas_thread
from minicereb.models.sequential import Sequential
from minicereb.models.visual import encoder_of

LARGEST_BLOCK = 128  # images that are encoded together, unless memory allows fewer


def features_of(network: Sequential, dataset: Dataset, folder: Path, model: str) -> Generator[int, None, Dataset]:
    """Return a data set's images as the features that a trained network makes of them; yield how many are computed.

    Features are float32 rows in two files, which name the network's model and the device. They can be deleted at any time and
    are computed again.

    Parameters
    ----------
    network : Sequential
        Convolutional, trained.
    dataset : Dataset
        What it was trained on.
    folder : Path
        Where the files are kept: the network's run.
    model : str
        SHA-256 of the network's file.

    Returns
    -------
    Dataset
        The same labels; the rows are memory maps.

    Raises
    ------
    InUseError
        If another process is computing them.
    """
    encoder, features = encoder_of(network)
    rows = {"train": dataset.x_train, "test": dataset.x_test}
    paths = {part: folder / f"features-{model[:12]}-{execution().device}-{part}.npy" for part in rows}
    if not all(path.exists() for path in paths.values()):
        with folder_lock(folder):
            done = 0
            for part, path in paths.items():
                if not path.exists():
                    for count in _write(encoder, rows[part], features, path):
                        yield done + count
                done += len(rows[part])
    x_train, x_test = (_mapped(paths[part], (len(rows[part]), features)) for part in rows)
    return dataclasses.replace(dataset, x_train=x_train, x_test=x_test, image_shape=(features,))


def first_features(encoder: Sequential, dataset: Dataset, images: int) -> Dataset:
    """Return the first training and test images of a data set as features, in memory: for trying something out.

    Parameters
    ----------
    encoder : Sequential
        From rows of pixels to rows of features.
    dataset : Dataset
    images : int
        How many of each, at most.
    """
    train, test = (_encoded(encoder, rows[:images]) for rows in (dataset.x_train, dataset.x_test))
    return dataclasses.replace(
        dataset,
        x_train=train,
        y_train=dataset.y_train[:images],
        x_test=test,
        y_test=dataset.y_test[:images],
        image_shape=train.shape[1:],
    )


def _write(encoder: Sequential, rows: np.ndarray, features: int, path: Path) -> Generator[int, None, None]:
    """Encode `rows` into a file block by block, yielding how many are done."""
    size = min(LARGEST_BLOCK, images_per_block(encoder.bytes_per_image))
    with ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(atomic_write(path))
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), features)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(rows), size):
            file.write(_encoded(encoder, rows[start : start + size]).astype("<f4", copy=False).tobytes())
            yield min(start + size, len(rows))


def _encoded(encoder: Sequential, rows: np.ndarray) -> np.ndarray:
    with one_blas_thread():
        return to_numpy(encoder.forward(to_unit(to_device(rows)))[0])


def _mapped(path: Path, shape: tuple[int, int]) -> np.ndarray:
    try:
        rows = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it to compute the features again") from error
    if rows.shape != shape or rows.dtype != np.float32:
        raise DataError(f"{path} holds {rows.shape} of {rows.dtype}; delete it to compute the features again")
    return rows
