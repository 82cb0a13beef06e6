"""Whether trained models that have a name are what the list says: their files, their wiring, their accuracy."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minicereb import datasets
from minicereb.datasets.dataset import Dataset
from minicereb.errors import DataError, InputError, MinicerebError
from minicereb.experiments.pretrained import RUNS, Pretrained, fetch, found, models
from minicereb.experiments.runs import Run, is_whole, load_model, read_run
from minicereb.learning.training import accuracy

TOLERANCE = 1e-3  # of a test accuracy: arithmetic may round otherwise on another machine


@dataclass(frozen=True)
class ModelReport:
    """What was found of a model.

    Parameters
    ----------
    name : str
    folder : Path or None
        The run that was looked at; None for what ships.
    state : {"ok", "rebuilt", "altered", "missing", "wrong"}
        Rebuilt: a training with these settings that came to other bytes, as it may on another machine. Altered: a file is not
        what it was. Wrong: the wiring or the accuracy is not. Missing: it does not ship and is not here, or not complete.
    detail : str
        What exactly was found.
    test_accuracy : float or None
        As it came out here; None where the data are not here or the files are not whole.
    """

    name: str
    folder: Path | None
    state: Literal["ok", "rebuilt", "altered", "missing", "wrong"]
    detail: str
    test_accuracy: float | None = None


def verify(chosen: Sequence[str] = ()) -> Generator[ModelReport, None, None]:
    """Compare models with the list: the SHA-256 of what ships and of what is in ``runs/``.

    Where the data are here too, the wiring is drawn again and compared bit by bit, and the test accuracy with the one listed.

    Parameters
    ----------
    chosen : sequence of str
        Names, or folders of runs; empty for all.

    Yields
    ------
    ModelReport
        For what ships and for each folder.

    Raises
    ------
    InputError
        Before anything is compared, if one is neither a name nor the folder of a listed model.
    """
    places = [place for each in chosen or models() for place in _places(each)]
    known: dict[str, Dataset | None] = {}
    for entry, folder in places:
        if folder is not None:
            yield _verify_run(entry, folder, known)
        elif entry.shipped:
            yield _verify_shipped(entry, known)
        else:
            yield ModelReport(entry.name, None, "missing", f"not in {RUNS / entry.name}; rebuild it with: {entry.command}")


def _places(name: str) -> list[tuple[Pretrained, Path | None]]:
    """What is to be compared: an entry with the folder of its run, or with None for what ships, or for what is not here."""
    if name in models():
        entry = models()[name]
        folder = found(entry) or _damaged(entry)
        here: list[tuple[Pretrained, Path | None]] = [] if folder is None else [(entry, folder)]
        return here if here and not entry.shipped else [(entry, None), *here]
    listed = {entry.hash: entry for entry in models().values()}
    entry_of = listed.get(read_run(name).hash) if (Path(name) / "config.json").is_file() else None
    if entry_of is None:
        raise InputError("model", name, f"one of {', '.join(models())}, or the folder of one")
    return [(entry_of, Path(name))]


def _damaged(entry: Pretrained) -> Path | None:
    """The folder of a model if there is a run in it that cannot be read: something in it was altered."""
    folder = RUNS / entry.name
    try:
        read_run(folder)
    except DataError:
        return folder
    except MinicerebError:
        pass
    return None


def _verify_shipped(entry: Pretrained, known: dict[str, Dataset | None]) -> ModelReport:
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = fetch(entry.name, Path(folder) / entry.name)
        except DataError as error:
            return ModelReport(entry.name, None, "altered", str(error))
        return _compute(entry, run, None, known)


def _verify_run(entry: Pretrained, folder: Path, known: dict[str, Dataset | None]) -> ModelReport:
    try:
        run = read_run(folder)
    except DataError as error:
        return ModelReport(entry.name, folder, "altered", str(error))
    if run.result is None:
        return ModelReport(entry.name, folder, "missing", f"its training is not complete; {entry.command}")
    if not is_whole(run):
        return ModelReport(entry.name, folder, "altered", "the SHA-256 of model.npz is not the one in manifest.json")
    return _compute(entry, run, folder, known)


def _compute(entry: Pretrained, run: Run, folder: Path | None, known: dict[str, Dataset | None]) -> ModelReport:
    """Say what a whole run computes, where its data are here."""
    same = run.manifest["model_sha256"] == entry.model.sha256
    said = "" if same else "learned again with other bits; "
    name = run.config.data.name
    if name not in known:
        with contextlib.suppress(MinicerebError):
            known[name] = datasets.load(name)
    data = known.setdefault(name, None)
    if data is None:
        return ModelReport(entry.name, folder, "ok" if same else "rebuilt", f"{said}files only: {name} is not here")
    try:
        model = load_model(run, data)
    except DataError as error:
        return ModelReport(entry.name, folder, "wrong", str(error))
    share, expected = accuracy(model, data.x_test, data.y_test), run.manifest["result"]["test_accuracy"]
    said += f"{share:.2%} on {len(data.x_test):,} test images"
    if abs(share - expected) > TOLERANCE:
        return ModelReport(entry.name, folder, "wrong", f"{said}, not {expected:.2%}", share)
    wiring = ", wiring drawn again" if hasattr(model, "wiring") else ""
    return ModelReport(entry.name, folder, "ok" if same else "rebuilt", f"{said}{wiring}", share)
