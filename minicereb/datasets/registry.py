"""The table of data sets. A new data set is a file with a function that loads it, and a row in :data:`DATASETS`.

Another package adds a data set through an entry point in the group ``minicereb.datasets`` that names a :class:`NamedDataset`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from minicereb import extensions
from minicereb.datasets import cifar10, csv_table, digits, idx, mnist, npz, store, strokes
from minicereb.datasets.dataset import Dataset
from minicereb.errors import DataError, ExtensionError, InputError, did_you_mean, require

GROUP = "minicereb.datasets"


@dataclass(frozen=True)
class NamedDataset:
    """A row of the table of data sets.

    Parameters
    ----------
    load : callable
        Function that takes the `options` and returns a :class:`~minicereb.datasets.dataset.Dataset`.
    training, test : int
        Numbers of images.
    image_shape : tuple of int
    title, licence, source : str
        Content, licence and origin; if empty, they are taken from the `download`.
    options : tuple of str
        Keyword arguments of `load`.
    download : str
        Name of the data set's files in ``data/registry.json``; empty if nothing needs to be downloaded.
    """

    load: Callable[..., Dataset]
    training: int
    test: int
    image_shape: tuple[int, ...]
    title: str = ""
    licence: str = ""
    source: str = ""
    options: tuple[str, ...] = ()
    download: str = ""


DRAWN = ("as minicereb", "drawn")  # licence and source
DATASETS = {
    "mnist": NamedDataset(mnist.load, 60_000, 10_000, (28, 28), download="mnist"),
    "mnist14": NamedDataset(
        mnist.mnist14, 42_000, 28_000, (14, 14), "all of MNIST, 2x2 pixels averaged, split 6:4", download="mnist"
    ),
    "strokes": NamedDataset(
        strokes.load, 6_000, 1_000, (28, 28), "drawn digits, any number and size", *DRAWN, ("train", "test", "size", "seed")
    ),
    "strokes14": NamedDataset(
        strokes.strokes14, 6_000, 1_000, (14, 14), "strokes, 2x2 pixels averaged, any number", *DRAWN, ("train", "test", "seed")
    ),
    "digits": NamedDataset(
        digits.load, 1_437, 360, (8, 8), "8x8 grey images of handwritten digits", "CC BY 4.0 (UCI)", "scikit-learn"
    ),
    "cifar10": NamedDataset(cifar10.load, 50_000, 10_000, (32, 32, 3), download="cifar10"),
}


class Description(NamedTuple):
    """The information that ``minicereb data list`` prints about a data set."""

    name: str
    title: str
    training: int
    test: int
    image_shape: tuple[int, ...]
    licence: str
    source: str


def names() -> tuple[str, ...]:
    """Return the names of all data sets; the data sets of other packages come last."""
    return extensions.names(GROUP, DATASETS)


def accepted() -> str:
    """Return a description of the names and paths that are accepted as a data set."""
    return f"{', '.join(names())}, or the path of an .npz file, a .csv file, IDX files like MNIST's, or a folder {cifar10.FOLDER}"


def entry_named(name: str) -> NamedDataset | None:
    """Return the row of a data set, or None if no data set has this name."""
    if name in DATASETS:
        return DATASETS[name]
    return extensions.load(GROUP, name, NamedDataset) if name in names() else None


def load(name: str, training: bool = True, **options: Any) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name : str
        One of :func:`names`, or the path of an ``.npz``, ``.csv`` or IDX file, of a folder of IDX files, or of a folder with
        the files of CIFAR-10's binary version.
    training : bool
        Whether training images are required; an npz file without them is accepted otherwise.
    **options
        For ``"strokes"``: ``train``, ``test``, ``size``, ``seed`` (see :func:`minicereb.datasets.strokes.load`); for
        ``"strokes14"`` the same without ``size``.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        If there is no such data set or option.
    DataError
        If a file is missing or does not have the right content.
    ExtensionError
        If another package's entry does not load a Dataset.
    """
    name = os.fspath(name)
    entry = entry_named(name)
    for option, value in options.items():
        if entry is None or option not in entry.options:
            taken = " or ".join(
                f"{each}, whose options are {', '.join(row.options)}" for each, row in DATASETS.items() if row.options
            )
            raise InputError(option, value, f"only with dataset {taken}")
    if entry is None:
        return _load_path(name, training)
    data = entry.load(**options)
    if not isinstance(data, Dataset):
        raise ExtensionError(f"{GROUP}: {name!r} loads an object of type {type(data).__name__}; expected Dataset")
    return data if data.name == name else replace(data, name=name)


def _load_path(name: str, training: bool) -> Dataset:
    kind = _kind_of(name)
    if kind in ("npz", "csv") and not os.path.lexists(name):
        raise DataError(f"{name} does not exist{did_you_mean(name, _beside(Path(name)))}")
    if kind == "npz":
        return npz.load(name, training)
    require(kind in _FILES, "dataset", name, accepted())
    return _FILES[kind](name)


_FILES: dict[str, Callable[[str], Dataset]] = {"csv": csv_table.load, "idx": idx.load, "cifar10": cifar10.load_folder}


def _kind_of(path: str) -> str:
    """Return the kind of a user's own data at a path: ``npz``, ``csv``, ``idx``, ``cifar10``, or an empty string."""
    if path.lower().endswith(".npz"):
        return "npz"
    if path.lower().endswith(csv_table.ENDINGS):
        return "csv"
    if idx.part_of(Path(path)) is not None:
        return "idx"
    folder = Path(path)
    if os.path.isdir(path) and not any((folder / name).exists() for name in cifar10.FILES) and idx.found_in(folder):
        return "idx"
    return "cifar10" if os.path.isdir(path) or os.path.basename(path) == cifar10.FOLDER else ""


def _beside(path: Path) -> list[str]:
    """Return the paths of the data files beside `path`, which does not exist itself."""
    try:
        return [str(path.with_name(each)) for each in os.listdir(path.parent) if _kind_of(each) in ("npz", "csv")]
    except OSError:
        return []


def in_layout_of_cifar10(name: str) -> bool:
    """Return whether a data set with this name is CIFAR-10 or a folder in the layout of its files."""
    return name == "cifar10" or (name not in names() and _kind_of(name) not in ("npz", "csv", "idx"))


def describe() -> list[Description]:
    """Return a description of each data set that has a name."""
    rows = []
    for name, entry in extensions.with_extensions(GROUP, DATASETS, NamedDataset).items():
        title, licence, source = entry.title, entry.licence, entry.source
        if entry.download:
            download = store.download_of(entry.download)
            title, licence, source = title or download.title, licence or download.licence, source or _where(download)
        rows.append(Description(name, title, entry.training, entry.test, entry.image_shape, licence, source))
    return rows


def _where(download: store.Download) -> str:
    found = [store.find(file) for file in download.files]
    return str(found[0].parent) if found[0] and all(found) else f"not here: minicereb data fetch {download.name}"
