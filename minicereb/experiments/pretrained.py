"""Named trained models: small models are shipped with minicereb, and larger ones are rebuilt by a command.

``minicereb/pretrained/registry.json`` lists the models with their commands and the SHA-256 of their files. The folder of
each shipped model, a complete run, is beside this file.
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
from minicereb.experiments import runs
from minicereb.experiments.identity import from_json
from minicereb.experiments.runs import Run, is_whole, load_model, read_run
from minicereb.files import atomic_folder, atomic_write, sha256_file, write_json
from minicereb.learning.training import accuracy
from minicereb.paths import read_bytes

SHIPPED = 1_000_000  # bytes of the largest model.npz that may be shipped
RUNS = Path("runs")  # the folder in which models are rebuilt and found, each in a folder with its name
_FILES = ("config.json", "manifest.json", "metrics.jsonl", "model.npz")
_EXECUTION = ("--threads", "--device", "--memory")
TOLERANCE = 1e-3  # tolerance of a test accuracy, since rounding may differ on another machine


@dataclass(frozen=True)
class ModelFile:
    """A file of a run: its name, size and SHA-256."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Pretrained:
    """A model of the registry."""

    name: str
    title: str
    command: str  # the command that trains it
    hash: str  # hash of the training settings, as in config.json
    test_accuracy: float
    shipped: bool
    files: tuple[ModelFile, ...]  # model.npz and, if the model is shipped, all other files of the run

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
    """Return the models of the registry, keyed by name."""
    entries = parse_json((_package() / "registry.json").read_bytes(), _Registry, "minicereb/pretrained/registry.json")
    return {
        name: Pretrained(name, **{**entry, "files": tuple(ModelFile(**file) for file in entry["files"])})
        for name, entry in entries.items()
    }


def _package() -> Any:  # a Traversable, which may be a folder or a place in an archive
    return importlib.resources.files("minicereb") / "pretrained"


def model_named(name: str) -> Pretrained:
    """Return the entry of one model; raise :class:`InputError` if no model has this name."""
    require(name in models(), "model", name, f"one of {', '.join(models())}")
    return models()[name]


def found(entry: Pretrained, damaged: bool = False) -> Path | None:
    """Return the folder of a model's complete run in ``runs/``, or None; a damaged run is returned only if `damaged`."""
    folder = RUNS / entry.name
    try:
        run = read_run(folder)
    except DataError:
        return folder if damaged else None
    except MinicerebError:
        return None
    return folder if run.hash == entry.hash and run.result is not None else None


def fetch(name: str, folder: str | Path) -> Run:
    """Create the run folder of a shipped model, unless it already exists.

    Raises
    ------
    InputError
        If there is no model with this name.
    RunError
        If the model is not shipped, or the folder already holds something else.
    DataError
        If the shipped files are damaged.
    """
    entry, folder = model_named(name), Path(folder)
    if not entry.shipped:
        size = f"{entry.model.bytes / 1e6:.1f} MB"
        raise RunError(f"{name} is not shipped with minicereb ({size}); rebuild it with: {entry.command}")
    contents = {file.name: _shipped(entry, file) for file in entry.files}
    stored = parse_json(contents["config.json"], runs.ConfigFile, f"minicereb/pretrained/{name}/config.json")
    if not runs.belongs(from_json(stored["config"]), folder):
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
    """Return a shipped trained model, on the configured device.

    Parameters
    ----------
    name : str
        One of :func:`models`.
    dataset : Dataset, optional
        The data set on which the model was trained, if it is already loaded.

    Raises
    ------
    InputError, RunError
        If there is no model with this name, or it is not shipped.
    DataError
        If the model's data are missing, `dataset` is a different data set, or the shipped files are damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = fetch(name, Path(folder) / name)
        return load_model(run, runs.dataset_of(run) if dataset is None else dataset)


def _shipped(entry: Pretrained, file: ModelFile) -> bytes:
    """Read and check a shipped file."""
    what = f"minicereb/pretrained/{entry.name}/{file.name}"
    try:
        content = (_package() / entry.name / file.name).read_bytes()
    except (OSError, KeyError) as error:  # KeyError: not in the archive
        raise DataError(f"{what} is missing: install minicereb again") from error
    if sha256(content) != file.sha256:
        raise DataError(f"{what} is altered, its SHA-256 is not {file.sha256}: install minicereb again")
    return content


def add(folder: str | Path, name: str, title: str, shipped: bool, root: Path) -> Pretrained:
    """Add the complete run in `folder` to the registry, replacing any model with this name.

    If `shipped`, the run is copied to `root`, beside ``registry.json``, and the copied manifest contains no paths.
    Otherwise the model is only listed, with its command and hash.

    Raises
    ------
    RunError, DataError
        If the run is not complete, or its model was altered.
    InputError
        If the name has characters other than letters, digits and hyphens, or the model is too large to be shipped.
    """
    require(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) is not None, "name", name, "small letters, digits and hyphens")
    run = read_run(folder)
    runs.require_complete(run)
    runs.require_whole(run)
    size = (run.folder / "model.npz").stat().st_size
    require(not shipped or size <= SHIPPED, "shipped", f"{size:,} bytes", f"at most {SHIPPED:,} bytes of model.npz, or --listed")
    command, machine = _command(run.manifest["command"], name), run.manifest["machine"]
    place = root / name if shipped else run.folder
    if shipped:
        for file in _FILES:
            if file != "manifest.json" and (run.folder / file).exists():
                with atomic_write(place / file) as output:
                    output.write(read_bytes(run.folder / file))
        machine = {**machine, "system": machine["system"].partition("-")[0]}
        write_json(place / "manifest.json", {**run.manifest, "command": command, "machine": machine})
    kept = [place / file for file in (_FILES if shipped else ("model.npz",)) if (place / file).exists()]
    files = tuple(ModelFile(path.name, path.stat().st_size, sha256_file(path)) for path in kept)
    entry = Pretrained(name, title, shlex.join(command), run.hash, run.manifest["result"]["test_accuracy"], shipped, files)
    path = root / "registry.json"
    entries = read_json(path, _Registry) if path.exists() else {}
    entries[name] = {key: value for key, value in asdict(entry).items() if key != "name"}
    write_json(path, entries)
    return entry


def _command(arguments: list[str], name: str) -> list[str]:
    """Return the command that trains the model in ``runs/NAME``, without options that do not affect the result."""
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

    The states other than "ok" are "rebuilt" (the same training gave different bytes, as it may on another machine),
    "altered" (a file has changed), "wrong" (the wiring or the accuracy differs) and "missing" (the model is not shipped,
    and there is no complete run of it).
    """

    name: str
    folder: Path | None  # the run that was verified; None for the shipped files
    state: Literal["ok", "rebuilt", "altered", "missing", "wrong"]
    detail: str
    test_accuracy: float | None = None  # computed on this machine; None without the data, or if a file is damaged


def verify(chosen: Sequence[str] = ()) -> Generator[ModelReport, None, None]:
    """Verify models against the registry, and yield a report on each folder. Models are given by name or run folder; by default
    all are verified.

    The SHA-256 of each file, shipped or in ``runs/``, is compared with the registry. If the data are available, the wiring is
    drawn again and compared bit by bit, and the test accuracy is recomputed. Before anything is verified, :class:`InputError`
    is raised for anything that is neither a name nor the folder of a listed model.
    """
    places = [place for each in chosen or models() for place in _places(each)]
    known: dict[str, Dataset | None] = {}
    for entry, folder in places:
        if folder is None and not entry.shipped:
            yield ModelReport(entry.name, None, "missing", f"not in {RUNS / entry.name}; rebuild it with: {entry.command}")
            continue
        with tempfile.TemporaryDirectory() as temporary:
            try:
                run = fetch(entry.name, Path(temporary) / entry.name) if folder is None else read_run(folder)
            except DataError as error:
                yield ModelReport(entry.name, folder, "altered", str(error))
                continue
            yield ModelReport(entry.name, folder, *_verified(entry, run, known))


def _places(name: str) -> list[tuple[Pretrained, Path | None]]:
    """Return registry entries, each with the folder of its run, or with None for shipped files and missing models."""
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


def _verified(entry: Pretrained, run: Run, known: dict[str, Dataset | None]) -> tuple[Any, ...]:
    """Return a run's state, details, and test accuracy (None without the data); `known` caches loaded data sets."""
    if run.result is None:
        return "missing", f"its training is not complete; {entry.command}"
    if not is_whole(run):
        return "altered", "the SHA-256 of model.npz is not the one in manifest.json"
    state, detail = (
        ("ok", "") if run.manifest["model_sha256"] == entry.model.sha256 else ("rebuilt", "other bits after training; ")
    )
    name = run.config.data.name
    if name not in known:
        known[name] = None
        with suppress(MinicerebError):
            known[name] = datasets.load(name)
    data = known[name]
    if data is None:
        return state, f"{detail}files only: {name} is not here"
    try:
        model = load_model(run, data)
    except DataError as error:
        return "wrong", str(error)
    share, expected = accuracy(model, data.x_test, data.y_test), run.result["test_accuracy"]
    detail += f"{share:.2%} on {len(data.x_test):,} test images"
    if abs(share - expected) > TOLERANCE:
        return "wrong", f"{detail}, not {expected:.2%}", share
    return state, f"{detail}{', wiring drawn again' if hasattr(model, 'wiring') else ''}", share
