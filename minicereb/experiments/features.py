"""Features of a data set's images, computed once by an encoder, stored beside the encoder's model, and read as memory maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import TypedDict

import numpy as np

from minicereb.backend import execution, to_device, to_numpy
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.documents import read_json
from minicereb.errors import DataError
from minicereb.files import DAMAGES, atomic_write, folder_lock, npy_header, sha256_file, write_json
from minicereb.models.sequential import Sequential
from minicereb.models.visual import encoder_of
from minicereb.parallel import images_per_block, one_blas_thread
from minicereb.paths import open_regular

LARGEST_BLOCK = 128  # images that are encoded together, unless memory allows fewer


def features_of(network: Sequential, dataset: Dataset, folder: Path, model: str) -> Generator[int, None, Dataset]:
    """Return a data set with a convolutional network's features in place of images; yield the number computed so far.

    Features are float32 rows in two files in the network's run `folder`, named by the SHA-256 of its `model` and by the
    device. A JSON file beside each of them gives the SHA-256 of the features, the model and the data. All these files can be
    deleted at any time.

    Raises
    ------
    InUseError
        If another process is computing the features.
    DataError
        If a file was altered, or belongs to another model or other data.
    """
    encoder, features = encoder_of(network)
    rows = {"train": dataset.x_train, "test": dataset.x_test}
    paths = {part: folder / f"features-{model[:12]}-{execution().device}-{part}.npy" for part in rows}
    whose = {"model_sha256": model, "data_sha256": dataset.sha256}
    if not all(map(_is_there, paths.values())):
        with folder_lock(folder):
            done = 0
            for part, path in paths.items():
                if not _is_there(path):
                    path.with_suffix(".json").unlink(missing_ok=True)
                    with closing(_write(encoder, rows[part], features, path)) as counts:
                        for count in counts:
                            yield done + count
                    write_json(path.with_suffix(".json"), {**whose, "sha256": sha256_file(path)})
                done += len(rows[part])
    x_train, x_test = (_mapped(paths[part], (len(rows[part]), features), whose) for part in rows)
    return dataclasses.replace(dataset, x_train=x_train, x_test=x_test, image_shape=(features,))


def first_features(encoder: Sequential, dataset: Dataset, images: int) -> Dataset:
    """Return the features of at most `images` training images and at most `images` test images, in memory."""
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
    """Write the features of `rows` block by block, yielding the number done."""
    size = min(LARGEST_BLOCK, images_per_block(encoder.bytes_per_image))
    with atomic_write(path) as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (len(rows), features)}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, len(rows), size):
            file.write(_encoded(encoder, rows[start : start + size]).astype("<f4", copy=False).tobytes())
            yield min(start + size, len(rows))


def _encoded(encoder: Sequential, rows: np.ndarray) -> np.ndarray:
    with one_blas_thread():
        return to_numpy(encoder.forward(to_unit(to_device(rows)))[0])


class _About(TypedDict):
    model_sha256: str
    data_sha256: str
    sha256: str


def _is_there(path: Path) -> bool:
    return path.exists() and path.with_suffix(".json").exists()


def _mapped(path: Path, shape: tuple[int, int], whose: dict[str, str]) -> np.ndarray:
    """Check a file of features against the JSON file beside it, and return the features as a memory map."""
    again = "delete both to compute the features again"
    about = read_json(path.with_suffix(".json"), _About)
    if {name: about[name] for name in whose} != whose:  # type: ignore[literal-required]
        raise DataError(f"{path} holds features of another model or of other data; {again}")
    try:
        with open_regular(path) as file:
            dtype, found = npy_header(file, path.stat().st_size)
        if found != shape or dtype != np.float32:
            raise DataError(f"{path} holds {found} of {dtype}, not {shape} of float32; {again}")
        if sha256_file(path) != about["sha256"]:
            raise DataError(f"{path} was altered: its SHA-256 is not the one in {path.with_suffix('.json').name}; {again}")
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGES as error:
        raise DataError(f"{path} is damaged ({error}); {again}") from error
