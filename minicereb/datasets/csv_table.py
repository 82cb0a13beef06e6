"""A user's own images in CSV files with one line per image, its label and its pixels, like Kaggle's MNIST."""

from __future__ import annotations

import gzip
import itertools
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicereb.datasets.dataset import Dataset
from minicereb.datasets.idx import is_emnist
from minicereb.datasets.own import own_dataset, say
from minicereb.errors import DataError
from minicereb.paths import reading
from minicereb.randomness import generator

ENDINGS = (".csv", ".csv.gz")
LABELS = ("label", "labels", "class", "target", "digit", "y")  # accepted names of the column of labels
NUMBERS = ("", "id", "index", "imageid", "unnamed: 0")  # names of columns that only number the lines
LINES = 1000  # lines read at once
TEST_SHARE = 6  # without a test file, one image in six is a test image
SMALLEST_SIDE = 4  # smallest side of a row that counts as an image; shorter rows are a table


class CsvRows(NamedTuple):
    """A file's pixels in parts (uint8 if a part has only whole numbers up to 255, else float32), and its labels, if any."""

    pixels: list[np.ndarray]
    labels: np.ndarray | None


def load(path: str | os.PathLike) -> Dataset:
    """Load a data set from a CSV file of training images, and a CSV file of test images if there is one.

    Parameters
    ----------
    path : path
        A path that ends in ``.csv`` or ``.csv.gz``. The first line may name the columns: ``label`` (or ``class``,
        ``target``, ``digit``, ``y``) holds the labels, and ``id`` and ``index`` are ignored. Without names the label is
        the first column. The test images come from the file in the same folder whose name has "test" instead of "train",
        if there is such a file and it has labels. Otherwise a fixed permutation chooses one image in six as a test image.

    Returns
    -------
    Dataset
        Pixels are levels from 0 to 255 if any of them is greater than 1, otherwise numbers in [0, 1]. Rows whose length is
        a square number, at least 16, become square images.

    Raises
    ------
    DataError
        If the file is not such a table; the message names the line.
    """
    table = _read(Path(path), None)
    tables, width = [table], table.pixels[0].shape[1]
    beside = Path(path).with_name(re.sub("train(?!.*train)", "test", Path(path).name, flags=re.IGNORECASE))
    if beside.name != Path(path).name and beside.is_file():
        other = _read(beside, width)
        if other.labels is not None:
            tables.append(other)
    parts = [part for each in tables for part in each.pixels]
    levels = all(part.dtype == np.uint8 for part in parts) and max(int(part.max()) for part in parts) > 1
    images = [np.concatenate(each.pixels).astype(np.uint8 if levels else np.float32, copy=False) for each in tables]
    labels = [each.labels for each in tables if each.labels is not None]
    if len(tables) == 1:
        order = generator(0, "csv split").permutation(len(images[0]))
        test = np.sort(order[: len(order) // TEST_SHARE])
        train = np.sort(order[len(test) :])
        images, labels = [images[0][train], images[0][test]], [labels[0][train], labels[0][test]]
        say(
            f"{path}: there is no file of labelled test images beside it; {len(test):,} of {len(order):,} images are the test set"
        )
    side = math.isqrt(width)
    if side * side == width and side >= SMALLEST_SIDE:
        images = [each.reshape(-1, side, side) for each in images]
        if is_emnist(Path(path).name):
            images = [each.transpose(0, 2, 1) for each in images]
            say(f"{path}: EMNIST's images are turned upright")
    arrays = (images[0], labels[0], images[1], labels[1])
    return own_dataset(str(path), arrays, None, ("pixels", "labels", "test pixels", "test labels"))


def _read(path: Path, pixels: int | None) -> CsvRows:
    """Read a file; a file with exactly `pixels` columns has no labels."""
    if not path.exists():
        raise DataError(f"{path} does not exist")
    if not path.is_file():
        raise DataError(f"{path} cannot be read: it is not a regular file")
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with reading(path), opened(path, "rt", encoding="utf-8-sig") as file:
            return _parsed(path, (line for line in file if line.strip()), pixels)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8 ({error.reason})") from error


def _parsed(path: Path, lines: Iterator[str], pixels: int | None) -> CsvRows:
    first = next(lines, "")
    names = [name.strip().strip('"').strip().lower() for name in first.split(",")]
    if len(names) < 2:
        raise DataError(f"{path}: its first line has no comma; expected a label and pixels, comma-separated")
    left_out: list[int] = []
    if all(map(_is_number, names)):
        label, lines = (None if pixels == len(names) else 0), itertools.chain((first,), lines)
    else:
        label = next((names.index(name) for name in LABELS if name in names), None)
        left_out = [number for number, name in enumerate(names) if name in NUMBERS]
        if label is None and pixels is None:
            raise DataError(f"{path}: its first line names no column of labels; expected one of {', '.join(LABELS)}")
    kept = [number for number in range(len(names)) if number != label and number not in left_out]
    parts, labels, done = [], [], 0
    while chunk := list(itertools.islice(lines, LINES)):
        try:
            numbers = np.loadtxt(chunk, dtype=np.float32, delimiter=",", comments=None, quotechar='"', ndmin=2)
        except ValueError as error:
            reason = str(error).partition(";")[0]
            raise DataError(f"{path}: only the first {done} lines consist of numbers ({reason})") from error
        if numbers.shape[1] != len(names):
            raise DataError(f"{path}: after {done} lines there are {numbers.shape[1]} columns instead of {len(names)}")
        row = numbers[:, kept]
        whole = bool(((row >= 0) & (row <= 255) & (np.floor(row) == row)).all())
        parts.append(row.astype(np.uint8) if whole else row)
        labels.append(numbers[:, label] if label is not None else numbers[:, :0])
        done += len(chunk)
    if not parts or not kept:
        raise DataError(f"{path} holds no images; expected a label and pixels in each line")
    return CsvRows(parts, None if label is None else np.concatenate(labels))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
