"""Data sets by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minicereb.datasets import cifar10, csv_table, digits, idx, mnist, npz, pooled, store, strokes
from minicereb.datasets.dataset import Dataset
from minicereb.errors import DataError, InputError, did_you_mean

_LOADERS = {
    "mnist": mnist.load,
    "mnist14": pooled.mnist14,
    "strokes": strokes.load,
    "strokes14": pooled.strokes14,
    "digits": digits.load,
    "cifar10": cifar10.load,
}
_OPTIONS = {"strokes": ("train", "test", "size", "seed"), "strokes14": ("train", "test", "seed")}


@dataclass(frozen=True)
class Description:
    """A row of the table of data sets: what one is, and where it comes from."""

    name: str
    title: str
    training: int
    test: int
    image_shape: tuple[int, ...]
    licence: str
    source: str


def load(name: str, training: bool = True, **options: Any) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    name : str
        ``"mnist"``, ``"mnist14"``, ``"strokes"``, ``"strokes14"``, ``"digits"``, ``"cifar10"``, the path of a file that ends
        in ``.npz`` or ``.csv``, that of an IDX file or of a folder of them, or that of a folder with the files of CIFAR-10's
        binary version.
    training : bool
        Whether there must be training images; an npz file may lack them where they are not needed.
    **options
        For ``"strokes"`` alone: ``train``, ``test``, ``size``, ``seed`` (see :func:`minicereb.datasets.strokes.load`); for
        ``"strokes14"`` the same without ``size``.

    Returns
    -------
    Dataset

    Raises
    ------
    InputError
        If there is no such data set or option.
    DataError
        If a file is missing or not what it should be.
    """
    for option, value in options.items():
        if option not in _OPTIONS.get(name, ()):
            taken = " or ".join(f"{each}, whose options are {', '.join(known)}" for each, known in _OPTIONS.items())
            raise InputError(option, value, f"only with dataset {taken}")
    if name in _LOADERS:
        return _LOADERS[name](**options)
    kind = _kind_of(os.fspath(name))
    if kind in ("npz", "csv") and not os.path.lexists(name):
        raise DataError(f"{name} does not exist{did_you_mean(os.fspath(name), _beside(Path(name)))}")
    if kind == "npz":
        return npz.load(name, training)
    if kind in _FILES:
        return _FILES[kind](name)
    others = "to a .csv file, or to IDX files like MNIST's"
    raise InputError("dataset", name, f"{', '.join(_LOADERS)}, or a path to an .npz file or to {cifar10.FOLDER}, {others}")


_FILES: dict[str, Callable[[str], Dataset]] = {"csv": csv_table.load, "idx": idx.load, "cifar10": cifar10.load_folder}


def _kind_of(path: str) -> str:
    """What kind of a user's own data lie at a path: ``npz``, ``csv``, ``idx``, ``cifar10``, or nothing that can be told."""
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
    """Paths of the files with data beside one that is not there."""
    try:
        return [str(path.with_name(each)) for each in os.listdir(path.parent) if _kind_of(each) in ("npz", "csv")]
    except OSError:
        return []


def in_layout_of_cifar10(name: str) -> bool:
    """Whether a data set of this name is CIFAR-10 or a folder in the layout of its files."""
    return name == "cifar10" or (name not in _LOADERS and _kind_of(name) not in ("npz", "csv", "idx"))


def describe() -> list[Description]:
    """Return a row for each data set that has a name."""
    mnist, cifar = (store.download_of(name) for name in ("mnist", "cifar10"))
    where, archive = _where(mnist), _where(cifar)
    return [
        Description("mnist", mnist.title, 60_000, 10_000, (28, 28), mnist.licence, where),
        Description("mnist14", "all of MNIST, 2x2 pixels averaged, split 6:4", 42_000, 28_000, (14, 14), mnist.licence, where),
        Description("strokes", "digits from our own pen, any number and size", 6_000, 1_000, (28, 28), "as minicereb", "drawn"),
        Description("strokes14", "strokes, 2x2 pixels averaged, any number", 6_000, 1_000, (14, 14), "as minicereb", "drawn"),
        Description("digits", "8x8 grey images of handwritten digits", 1_437, 360, (8, 8), "CC BY 4.0 (UCI)", "scikit-learn"),
        Description("cifar10", cifar.title, 50_000, 10_000, (32, 32, 3), cifar.licence, archive),
    ]


def _where(download: store.Download) -> str:
    found = [store.find(file) for file in download.files]
    return str(found[0].parent) if found[0] and all(found) else f"not here: minicereb data fetch {download.name}"
