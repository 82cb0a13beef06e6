"""Trained models by name: small ones ship with minicereb, larger ones are rebuilt by the command that the list names.

``minicereb/pretrained/registry.json`` lists them with the SHA-256 of their files; beside it lies a folder for each that ships, a
complete run.
"""

from __future__ import annotations

import functools
import importlib.resources
import re
import shlex
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from minicereb.datasets.dataset import Dataset
from minicereb.datasets.store import sha256
from minicereb.documents import Count, Share, parse_json, read_json
from minicereb.errors import DataError, MinicerebError, RunError, require
from minicereb.experiments.identity import from_json
from minicereb.experiments.runs import ConfigFile, Run, belongs, dataset_of, is_whole, load_model, read_run, require_whole
from minicereb.files import atomic_folder, atomic_write, sha256_file, write_json
from minicereb.paths import read_bytes

SHIPPED = 1_000_000  # bytes: the largest model.npz that ships
RUNS = Path("runs")  # where a model is fetched to and looked for, under its name
_FILES = ("config.json", "manifest.json", "metrics.jsonl", "model.npz")
_EXECUTION = ("--threads", "--device", "--memory")


@dataclass(frozen=True)
class ModelFile:
    """A file of a run: its name, size and SHA-256."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Pretrained:
    """A model that the list names.

    Parameters
    ----------
    name, title : str
        What it is called, and what it is in a few words.
    command : str
        The training that makes it.
    hash : str
        Of the settings of that training, as in its ``config.json``.
    test_accuracy : float
    shipped : bool
    files : tuple of ModelFile
        ``model.npz``, and where it ships all others of the run.
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
        """The file of what was learned."""
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
    """Return the models that have a name."""
    text = (_package() / "registry.json").read_bytes()
    return parse_models(parse_json(text, _Registry, "minicereb/pretrained/registry.json"))


def _package() -> Any:  # a Traversable: a folder, or a place in an archive
    return importlib.resources.files("minicereb") / "pretrained"


def parse_models(entries: dict[str, Any]) -> dict[str, Pretrained]:
    """Return the models that the content of a ``registry.json`` describes, by name."""
    return {
        name: Pretrained(name, **{**entry, "files": tuple(ModelFile(**file) for file in entry["files"])})
        for name, entry in entries.items()
    }


def model_named(name: str) -> Pretrained:
    """Return the entry of one model; :class:`InputError` if there is none of this name."""
    require(name in models(), "model", name, f"one of {', '.join(models())}")
    return models()[name]


def found(entry: Pretrained) -> Path | None:
    """Return the folder of a model under ``runs/``, or None if it is not there, not complete, or another run."""
    folder = RUNS / entry.name
    try:
        run = read_run(folder)
    except MinicerebError:
        return None
    return folder if run.hash == entry.hash and run.result is not None else None


def fetch(name: str, folder: str | Path) -> Run:
    """Make the run folder of a model that ships; nothing is done if it is there already.

    Raises
    ------
    InputError
        If there is no model of this name.
    RunError
        If the model does not ship, or the folder holds anything else.
    DataError
        If what shipped is damaged.
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
        What it was trained on, if that is loaded already.

    Raises
    ------
    InputError, RunError
        If there is no model of this name, or it does not ship.
    DataError
        If its data are not here, `dataset` is other data, or what shipped is damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = fetch(name, Path(folder) / name)
        return load_model(run, dataset_of(run) if dataset is None else dataset)


def _shipped(entry: Pretrained, file: ModelFile) -> bytes:
    """Content of a file that ships, after checking it."""
    what = f"minicereb/pretrained/{entry.name}/{file.name}"
    try:
        content = (_package() / entry.name / file.name).read_bytes()
    except (OSError, KeyError) as error:  # KeyError: not in the archive
        raise DataError(f"{what} is missing: install minicereb again") from error
    if sha256(content) != file.sha256:
        raise DataError(f"{what} is altered, its SHA-256 is not {file.sha256}: install minicereb again")
    return content


def add(folder: str | Path, name: str, title: str, shipped: bool, root: Path) -> Pretrained:
    """Put a complete run on the list, in place of any other of this name: how the list is made.

    The manifest that ships has no paths: the training command is that of the list.

    Parameters
    ----------
    folder : path
        Of the run.
    name, title : str
    shipped : bool
        Whether the run is copied beside the list, or only its command and hash are kept.
    root : Path
        Folder of ``registry.json``; in a checkout ``minicereb/pretrained``.

    Raises
    ------
    RunError, DataError
        If the run is not complete, or its model was altered.
    InputError
        If the name has other signs than letters, digits and hyphens, or the model is too large to ship.
    """
    require(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) is not None, "name", name, "small letters, digits and hyphens")
    run = read_run(folder)
    if run.result is None:
        raise RunError(f"{run.folder} is not complete: run its training command again to finish it")
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
    entry = Pretrained(name, title, shlex.join(command), run.hash, run.result["test_accuracy"], shipped, files)
    path = root / "registry.json"
    entries = read_json(path, _Registry) if path.exists() else {}
    entries[name] = {key: value for key, value in asdict(entry).items() if key != "name"}
    write_json(path, entries)
    return entry


def _command(arguments: list[str], name: str) -> list[str]:
    """The training command that anyone may give: into ``runs/NAME``, without what does not count."""
    command, rest = ["minicereb"], iter(arguments[1:])
    for argument in rest:
        option, _, value = argument.partition("=")
        if option in ("--out", *_EXECUTION):
            if not value:
                next(rest)
        elif option != "--json":
            command.append(argument)
    return [*command, "--out", f"runs/{name}"]
