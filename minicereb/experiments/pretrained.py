"""Trained models by name: small ones ship with minicereb, larger ones are rebuilt by a command.

``minicereb/pretrained/registry.json`` lists them with their commands and the SHA-256 of their files. Beside it is a folder for
each model that ships: a complete run.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
import shlex
import tempfile
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from minicereb import datasets
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.store import sha256
from minicereb.documents import Count, Share, parse_json, read_json
from minicereb.errors import DataError, InputError, MinicerebError, RunError, require
from minicereb.experiments.identity import from_json
from minicereb.experiments.runs import (
    ConfigFile,
    Run,
    belongs,
    dataset_of,
    is_whole,
    load_model,
    read_run,
    require_complete,
    require_whole,
)
from minicereb.files import atomic_folder, atomic_write, sha256_file, write_json
from minicereb.learning.training import accuracy
from minicereb.paths import read_bytes

SHIPPED = 1_000_000  # bytes: the largest model.npz that ships
RUNS = Path("runs")  # where a model is fetched to and looked for, under its name
_FILES = ("config.json", "manifest.json", "metrics.jsonl", "model.npz")
_EXECUTION = ("--threads", "--device", "--memory")
TOLERANCE = 1e-3  # of a test accuracy, which may be rounded differently on another machine


@dataclass(frozen=True)
class ModelFile:
    """A file of a run: its name, size and SHA-256."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Pretrained:
    """A model of the registry.

    Attributes
    ----------
    name, title : str
        Its name, and a few words about it.
    command : str
        The training that makes it.
    hash : str
        That of the training's settings, as in its ``config.json``.
    test_accuracy : float
    shipped : bool
    files : tuple of ModelFile
        ``model.npz``, and all other files of the run if it ships.
    """

    name: str
    title: str
    command: str
    hash: str
    test_accuracy: float
    shipped: bool
    files: tuple[ModelFile, ...]

    @property
    def model(self) -> ModelFile:
        """``model.npz``."""
        return next(file for file in self.files if file.name == "model.npz")


class _File(TypedDict):
    name: str
    bytes: Count
    sha256: str


class _Entry(TypedDict):
    title: str
    command: str
    hash: str
    test_accuracy: Share
    shipped: bool
    files: list[_File]


_Registry = dict[str, _Entry]


@functools.cache
def models() -> dict[str, Pretrained]:
    """Return the registry's models by name."""
    text = (_package() / "registry.json").read_bytes()
    return parse_models(parse_json(text, _Registry, "minicereb/pretrained/registry.json"))


def _package() -> Any:  # a Traversable: a folder, or a place in an archive
    return importlib.resources.files("minicereb") / "pretrained"


def parse_models(entries: dict[str, Any]) -> dict[str, Pretrained]:
    """Return the models in the content of a ``registry.json``, by name."""
    return {
        name: Pretrained(name, **{**entry, "files": tuple(ModelFile(**file) for file in entry["files"])})
        for name, entry in entries.items()
    }


def model_named(name: str) -> Pretrained:
    """Return the entry of one model; :class:`InputError` if there is none of this name."""
    require(name in models(), "model", name, f"one of {', '.join(models())}")
    return models()[name]


def found(entry: Pretrained, damaged: bool = False) -> Path | None:
    """Return the folder of a model under ``runs/``, None if it is missing, incomplete, another run or, by default, damaged."""
    folder = RUNS / entry.name
    try:
        run = read_run(folder)
    except DataError:
        return folder if damaged else None
    except MinicerebError:
        return None
    return folder if run.hash == entry.hash and run.result is not None else None


def fetch(name: str, folder: str | Path) -> Run:
    """Make the run folder of a model that ships, unless it is there already.

    Raises
    ------
    InputError
        If there is no model of this name.
    RunError
        If the model does not ship, or the folder holds anything else.
    DataError
        If the files that ship are damaged.
    """
    entry, folder = model_named(name), Path(folder)
    if not entry.shipped:
        size = f"{entry.model.bytes / 1e6:.1f} MB"
        raise RunError(f"{name} does not ship with minicereb ({size}); rebuild it with: {entry.command}")
    contents = {file.name: _shipped(entry, file) for file in entry.files}
    stored = parse_json(contents["config.json"], ConfigFile, f"minicereb/pretrained/{name}/config.json")
    if not belongs(from_json(stored["config"]), folder):
        with atomic_folder(folder) as part:
            for file, content in contents.items():
                with atomic_write(part / file) as output:
                    output.write(content)
    run = read_run(folder)
    if run.result is None:
        raise RunError(f"{folder} holds the same training, not complete: run its command again, or choose another --out")
    if not is_whole(run):
        raise RunError(f"{folder} holds the same run, altered (its model.npz): remove it, or choose another --out")
    return run


def pretrained(name: str, dataset: Dataset | None = None) -> Any:
    """Return a trained model that ships, on the configured device.

    Parameters
    ----------
    name : str
        One of :func:`models`.
    dataset : Dataset, optional
        The data set it was trained on, if it is loaded already.

    Raises
    ------
    InputError, RunError
        If there is no model of this name, or it does not ship.
    DataError
        If its data are not here, `dataset` is another, or the files that ship are damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = fetch(name, Path(folder) / name)
        return load_model(run, dataset_of(run) if dataset is None else dataset)


def _shipped(entry: Pretrained, file: ModelFile) -> bytes:
    """Read and check a file that ships."""
    what = f"minicereb/pretrained/{entry.name}/{file.name}"
    try:
        content = (_package() / entry.name / file.name).read_bytes()
    except (OSError, KeyError) as error:  # KeyError: not in the archive
        raise DataError(f"{what} is missing: install minicereb again") from error
    if sha256(content) != file.sha256:
        raise DataError(f"{what} is altered, its SHA-256 is not {file.sha256}: install minicereb again")
    return content


def add(folder: str | Path, name: str, title: str, shipped: bool, root: Path) -> Pretrained:
    """Add a complete run to the registry, replacing any model of this name.

    The manifest that ships has no paths: its training command is that of the registry.

    Parameters
    ----------
    folder : path
        The run.
    name, title : str
    shipped : bool
        Whether the run is copied beside the registry, or only listed with its command and hash.
    root : Path
        The folder of ``registry.json``; in a checkout ``minicereb/pretrained``.

    Raises
    ------
    RunError, DataError
        If the run is not complete, or its model was altered.
    InputError
        If the name has other characters than letters, digits and hyphens, or the model is too large to ship.
    """
    require(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) is not None, "name", name, "small letters, digits and hyphens")
    run = read_run(folder)
    require_complete(run)
    require_whole(run)
    size = (run.folder / "model.npz").stat().st_size
    require(not shipped or size <= SHIPPED, "shipped", f"{size:,} bytes", f"at most {SHIPPED:,} bytes of model.npz, or --listed")
    command = _command(run.manifest["command"], name)
    manifest = {**run.manifest, "command": command}
    manifest["machine"] = {**manifest["machine"], "system": manifest["machine"]["system"].partition("-")[0]}
    place = root / name if shipped else run.folder
    if shipped:
        for file in _FILES:
            if file != "manifest.json" and (run.folder / file).exists():
                with atomic_write(place / file) as output:
                    output.write(read_bytes(run.folder / file))
        write_json(place / "manifest.json", manifest)
    kept = [place / file for file in (_FILES if shipped else ("model.npz",)) if (place / file).exists()]
    files = tuple(ModelFile(path.name, path.stat().st_size, sha256_file(path)) for path in kept)
    entry = Pretrained(name, title, shlex.join(command), run.hash, run.manifest["result"]["test_accuracy"], shipped, files)
    path = root / "registry.json"
    entries = read_json(path, _Registry) if path.exists() else {}
    entries[name] = {key: value for key, value in asdict(entry).items() if key != "name"}
    write_json(path, entries)
    return entry


def _command(arguments: list[str], name: str) -> list[str]:
    """Return the training command into ``runs/NAME``, without options that do not change the result."""
    command, rest = ["minicereb"], iter(arguments[1:])
    for argument in rest:
        option, _, value = argument.partition("=")
        if option in ("--out", *_EXECUTION):
            if not value:
                next(rest)
        elif option != "--json":
            command.append(argument)
    return [*command, "--out", f"runs/{name}"]


# -- verifying ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ModelReport:
    """The result of verifying a model.

    Attributes
    ----------
    name : str
    folder : Path or None
        The run that was verified; None for the files that ship.
    state : {"ok", "rebuilt", "altered", "missing", "wrong"}
        Rebuilt: a training with these settings that came to other bytes, as it may on another machine. Altered: a file has
        changed. Wrong: the wiring or the accuracy differs. Missing: the model does not ship and is not here, or not complete.
    detail : str
        What exactly was found.
    test_accuracy : float or None
        As computed here; None without the data, or if a file is damaged.
    """

    name: str
    folder: Path | None
    state: Literal["ok", "rebuilt", "altered", "missing", "wrong"]
    detail: str
    test_accuracy: float | None = None


def verify(chosen: Sequence[str] = ()) -> Generator[ModelReport, None, None]:
    """Verify named models against the registry: the SHA-256 of the files that ship and of those in ``runs/``.

    If the data are here too, the wiring is drawn again and compared bit by bit, and the test accuracy is computed again.

    Parameters
    ----------
    chosen : sequence of str
        Names, or folders of runs; empty for all.

    Yields
    ------
    ModelReport
        For the files that ship and for each folder.

    Raises
    ------
    InputError
        Before anything is verified, if one is neither a name nor the folder of a listed model.
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
    """Return entries, each with the folder of a run, or with None for the files that ship or if the model is missing."""
    if name in models():
        entry = models()[name]
        folder = found(entry, damaged=True)
        here: list[tuple[Pretrained, Path | None]] = [] if folder is None else [(entry, folder)]
        return here if here and not entry.shipped else [(entry, None), *here]
    listed = {entry.hash: entry for entry in models().values()}
    entry_of = listed.get(read_run(name).hash) if (Path(name) / "config.json").is_file() else None
    if entry_of is None:
        raise InputError("model", name, f"one of {', '.join(models())}, or the folder of one")
    return [(entry_of, Path(name))]


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
    """Verify what the model of an undamaged run computes, if its data are here."""
    same = run.manifest["model_sha256"] == entry.model.sha256
    detail = "" if same else "trained again with other bits; "
    name = run.config.data.name
    if name not in known:
        with suppress(MinicerebError):
            known[name] = datasets.load(name)
    data = known.setdefault(name, None)
    if data is None:
        return ModelReport(entry.name, folder, "ok" if same else "rebuilt", f"{detail}files only: {name} is not here")
    try:
        model = load_model(run, data)
    except DataError as error:
        return ModelReport(entry.name, folder, "wrong", str(error))
    share, expected = accuracy(model, data.x_test, data.y_test), run.manifest["result"]["test_accuracy"]
    detail += f"{share:.2%} on {len(data.x_test):,} test images"
    if abs(share - expected) > TOLERANCE:
        return ModelReport(entry.name, folder, "wrong", f"{detail}, not {expected:.2%}", share)
    wiring = ", wiring drawn again" if hasattr(model, "wiring") else ""
    return ModelReport(entry.name, folder, "ok" if same else "rebuilt", f"{detail}{wiring}", share)
