"""CIFAR-10: 60,000 colour photographs of ten kinds of animals and vehicles.

The binary version of CIFAR-10 is six files with the same number of records: one byte for the label, then 1024 bytes each of
red, green and blue, row by row. The official archive of these files is read in place: nothing is unpacked onto the disk.
"""

from __future__ import annotations

import io
import os
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from minicereb.datasets import store
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.own import warn_of_absent_classes
from minicereb.errors import DataError
from minicereb.paths import open_regular, reading

FOLDER = "cifar-10-batches-bin"  # its name in the archive, and usually also after unpacking
FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
NOTES = ("batches.meta.txt", "readme.html")  # also in the archive, but not read
LONGEST_NOTE = 1 << 16  # bytes
IMAGES = 10_000  # number of images in each official file
SIDE, CHANNELS, CLASSES = 32, 3, 10
PIXELS = SIDE * SIDE * CHANNELS
RECORD = 1 + PIXELS  # bytes


def load() -> Dataset:
    """Load CIFAR-10 from its official archive.

    Returns
    -------
    Dataset
        uint8 rows (50000, 3072) and (10000, 3072), with the red, green and blue of each pixel side by side; labels int64.

    Raises
    ------
    DataError
        If the archive is missing, truncated or altered: its SHA-256 is compared each time. The message says what to do.

    References
    ----------
    Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images.
    """
    (file,) = store.download_of("cifar10").files
    return _dataset("cifar10", file.name, IMAGES, archived(store.read(file), file.name, IMAGES))


def load_folder(path: str | os.PathLike) -> Dataset:
    """Load a user's own images from a folder that holds the six files of the binary version.

    Parameters
    ----------
    path : path
        Folder with ``data_batch_1.bin`` to ``data_batch_5.bin`` and ``test_batch.bin``, all with the same number of records.
        The content of the files may differ from CIFAR-10.

    Returns
    -------
    Dataset
        As returned by :func:`load`; its name is the path of the folder.

    Raises
    ------
    DataError
        If a file is missing, cannot be read, has another size, or holds a label above 9.
    """
    folder = Path(os.path.abspath(path))
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise DataError(f"{folder} lacks {', '.join(missing)}; expected the six files of CIFAR-10's binary version")
    sizes = {name: (folder / name).stat().st_size for name in FILES}
    first = sizes[FILES[0]]
    if first == 0 or first % RECORD:
        raise DataError(f"{folder / FILES[0]} has {first} bytes; expected records of {RECORD} bytes, at least one")
    for name, size in sizes.items():
        if size != first:
            raise DataError(f"{folder / name} has {size} bytes, {FILES[0]} {first}; expected six files of one size")
    data = _dataset(str(folder), str(folder), first // RECORD, _contents(folder, first))
    warn_of_absent_classes(str(folder), data.y_train, data.classes)
    return data


def archived(archive: bytes, name: str, images: int) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the content of each of the six files in an archive, one at a time, in the archive's order.

    Parameters
    ----------
    archive : bytes
        A tar file, compressed by gzip, that holds only the folder, the six files and two notes.
    name : str
        Name of the archive in error messages.
    images : int
        Number of records in each file.

    Raises
    ------
    DataError
        If the archive cannot be read, lacks a file, or holds anything unexpected: another name, a link, or a file of
        another size.
    """
    sizes = {f"{FOLDER}/{file}": images * RECORD for file in FILES}
    notes, seen = {f"{FOLDER}/{note}" for note in NOTES}, set()
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r|gz") as members:
            for member in members:
                path = member.name.removeprefix("./")
                if path in seen or not (member.isdir() and path == FOLDER or member.isreg() and (path in sizes or path in notes)):
                    raise DataError(f"{name} holds {member.name!r}, which does not belong there; fetch it again")
                seen.add(path)
                if path in notes and member.size > LONGEST_NOTE or path in sizes and member.size != sizes[path]:
                    expected = sizes.get(path, f"at most {LONGEST_NOTE}")
                    raise DataError(f"{name}: {path} has {member.size} bytes; expected {expected}")
                content = members.extractfile(member) if path in sizes else None
                if content is not None:
                    yield path.removeprefix(f"{FOLDER}/"), content.read()
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        raise DataError(f"{name} cannot be unpacked: {error}; fetch it again") from error
    if missing := sorted(sizes.keys() - seen):
        raise DataError(f"{name} lacks {', '.join(missing)}; fetch it again")


def _contents(folder: Path, size: int) -> Iterator[tuple[str, bytes]]:
    for name in FILES:
        with reading(folder / name), open_regular(folder / name) as file:
            content = file.read(size)
        yield name, content


def _dataset(name: str, where: str, images: int, files: Iterable[tuple[str, bytes]]) -> Dataset:
    """Copy the records of the six files into arrays, file by file, so that memory holds only one copy of the pixels."""
    x, y = np.empty((len(FILES) * images, PIXELS), dtype=np.uint8), np.empty(len(FILES) * images, dtype=np.int64)
    for file, content in files:
        if len(content) != images * RECORD:
            raise DataError(f"{where}: {file} ends after {len(content)} of {images * RECORD} bytes")
        records = np.frombuffer(content, dtype=np.uint8).reshape(images, RECORD)
        part = slice(FILES.index(file) * images, (FILES.index(file) + 1) * images)
        y[part] = records[:, 0]
        if (largest := y[part].max()) >= CLASSES:
            raise DataError(f"{where}: {file} holds the label {largest}; expected 0 to {CLASSES - 1}")
        planes = records[:, 1:].reshape(images, CHANNELS, SIDE, SIDE)
        x[part].reshape(images, SIDE, SIDE, CHANNELS)[...] = planes.transpose(0, 2, 3, 1)
    train = (len(FILES) - 1) * images
    return Dataset(name, x[:train], y[:train], x[train:], y[train:], (SIDE, SIDE, CHANNELS), CLASSES)
