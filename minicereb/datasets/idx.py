"""A user's own images in IDX files, the format of MNIST, Fashion-MNIST, KMNIST, EMNIST and QMNIST."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicereb.datasets.dataset import Dataset
from minicereb.datasets.own import own_dataset, say
from minicereb.datasets.store import decompressed
from minicereb.errors import DataError
from minicereb.paths import open_regular, reading

TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}  # by the third byte of a file
LONGEST = 1 << 32  # largest size of a decompressed file, in bytes
NAME = re.compile(r"(?P<set>.*?)(?P<split>train|t10k|test)-(?P<what>images|labels)[-.]idx\d-\w+?(\.gz)?", re.IGNORECASE)
PARTS = (("train", "images"), ("train", "labels"), ("test", "images"), ("test", "labels"))


class Part(NamedTuple):
    """The information in an IDX file's name: data set and folder, split, and whether the file holds images or labels."""

    of: tuple[Path, str]
    split: str
    what: str


def load(path: str | os.PathLike) -> Dataset:
    """Load a data set from four IDX files, plain or gzip.

    Parameters
    ----------
    path : path
        One of the four files, such as ``emnist-letters-train-images-idx3-ubyte.gz``; the other three are found beside it by
        their names. The path may also be a folder that holds a single set, directly or in a subfolder ``raw`` as torchvision
        makes it.

    Returns
    -------
    Dataset
        As returned by :func:`~minicereb.datasets.own.own_dataset`. EMNIST's images, which are stored transposed, are turned
        upright, and its letters are numbered from 0 instead of 1. Of QMNIST's labels only the class is used.

    Raises
    ------
    DataError
        If a file is missing or damaged, or the folder holds several sets.

    References
    ----------
    Cohen, Afshar, Tapson and van Schaik (2017), EMNIST, arXiv:1702.05373. Yadav and Bottou (2019), QMNIST, arXiv:1905.10498.
    """
    given = Path(path)
    sets = found_in(given if given.is_dir() else given.parent)
    if given.is_dir():
        whole = [each for each, files in sets.items() if len(files) == len(PARTS)]
        if len(whole) != 1:
            which = "; ".join(str(files[PARTS[0]]) for files in sets.values() if PARTS[0] in files)
            number = "several sets" if whole else "no complete set"
            raise DataError(
                f"{path} holds {number} of IDX files; give the path of one's training images: {which or 'none is here'}"
            )
        of = whole[0]
    else:
        part = part_of(given)
        if part is None or not given.is_file():
            raise DataError(f"{path} does not exist" if part else f"{path} is not named like an IDX file of images or labels")
        of = part.of
    if missing := [f"{split} {what}" for split, what in PARTS if (split, what) not in sets[of]]:
        raise DataError(f"{path}: the IDX files of {', '.join(missing)} are not beside it")
    files = [sets[of][part] for part in PARTS]
    arrays = [parse(_content(file), str(file)) for file in files]
    name = of[1].lower()
    if name.startswith("qmnist"):  # a label is the class and seven numbers about the writer
        arrays[1::2] = [labels[:, 0] if labels.ndim == 2 else labels for labels in arrays[1::2]]
    shift = 0
    if is_emnist(name) and all(images.ndim == 3 for images in arrays[::2]):
        arrays[::2] = [images.transpose(0, 2, 1) for images in arrays[::2]]
        shift = int("letters" in name and min(labels.min(initial=1) for labels in arrays[1::2]) == 1)
        say(f"{path}: EMNIST's images are turned upright{', and labels 1, 2, ... are read as 0, 1, ...' if shift else ''}")
    return own_dataset(str(path), arrays, None, [file.name for file in files], shift)


def is_emnist(name: str) -> bool:
    """Return whether a file with this name belongs to EMNIST, whose images are stored transposed."""
    return name.lower().startswith("emnist")


def part_of(path: Path) -> Part | None:
    """Return the information in a file's name, or None if it is not the name of an IDX file of images or labels."""
    named = NAME.fullmatch(path.name)
    if named is None:
        return None
    split = "train" if named["split"].lower() == "train" else "test"
    return Part((path.parent, named["set"]), split, named["what"].lower())


def found_in(folder: Path) -> dict[tuple[Path, str], dict[tuple[str, str], Path]]:
    """Return the IDX files in a folder, in ``raw`` within it and in ``*/raw``, by data set, then by split and content."""
    found: dict[tuple[Path, str], dict[tuple[str, str], Path]] = {}
    for place in (folder, folder / "raw", *sorted(folder.glob("*/raw"))):
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            part = part_of(path)
            if part is not None and path.is_file():
                found.setdefault(part.of, {}).setdefault((part.split, part.what), path)  # a plain file is preferred to .gz
    return found


def parse(content: bytes, name: str) -> np.ndarray:
    """Read the content of an IDX file.

    Parameters
    ----------
    content : bytes
        The content consists of two zero bytes, the type of the elements (8: unsigned byte; 9, 11, 12: signed integers of
        1, 2 and 4 bytes; 13, 14: floats of 4 and 8), the number of dimensions, each dimension as a big-endian 32-bit
        integer, and the elements, big-endian, last dimension fastest.
    name : str
        Name of the file in error messages.

    Returns
    -------
    array
        A read-only view of `content`.

    Raises
    ------
    DataError
        If `content` is not an IDX file, or its length does not fit its dimensions.
    """
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in TYPES:
        raise DataError(f"{name} is not an IDX file (it begins with {content[:4].hex(' ') or 'nothing'})")
    header, dtype = 4 + 4 * content[3], np.dtype(TYPES[content[2]])
    if len(content) < header:
        raise DataError(f"{name} ends within its header")
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, header, 4))
    expected = header + math.prod(shape) * dtype.itemsize
    if len(content) != expected:
        raise DataError(f"{name} has {len(content)} bytes; by its header, for shape {shape}, it should have {expected}")
    try:
        return np.frombuffer(content, dtype=dtype, offset=header).reshape(shape)
    except ValueError as error:  # more dimensions or larger sizes than NumPy supports
        raise DataError(f"{name} has a shape that cannot be used ({len(shape)} dimensions)") from error


def _content(path: Path) -> bytes:
    with reading(path), open_regular(path) as file:
        content = decompressed(file, LONGEST)
    if len(content) > LONGEST:
        raise DataError(f"{path} has more than {LONGEST} bytes")
    return content
