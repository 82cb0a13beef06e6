"""Records of experiments in files, each with its settings.

A file is named by the first 16 digits of the hash of its settings. The file is accepted only if its settings have that hash,
so a renamed, copied or edited file cannot be mistaken for another record.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from minicereb.documents import Mismatch, Share, check, read_json
from minicereb.errors import DataError, MinicerebError
from minicereb.experiments.identity import config_hash, differences, from_json, hashes, to_json
from minicereb.files import write_json

AGAIN = "delete it to do the experiment again"

Record = dict[str, Any]
Interval = tuple[Share, Share]


def shape(**fields: Any) -> Any:
    """Return the shape of an object with these fields (see :mod:`minicereb.documents`)."""
    return TypedDict("Shape", fields)  # type: ignore[misc, operator]


def require_length(values: Sequence[Any], length: int, *path: str | int) -> None:
    """Raise :class:`~minicereb.documents.Mismatch` unless a list at this path in a record has this length."""
    if len(values) != length:
        error = Mismatch(list(values), f"a list of {length}")
        for key in reversed(path):
            error.within(key)
        raise error


class _Optional(TypedDict, total=False):
    hash: str  # files from before 0.2 lack both fields
    models: list[str]


class _RecordFile(_Optional):
    config: dict[str, Any]
    record: dict[str, Any]


class Kept(NamedTuple):
    """A stored record with its settings."""

    config: Any
    hash: str  # hash of the settings, perhaps under an earlier revision of the program
    models: tuple[str, ...] | None  # SHA-256 of the record's models, in the order of `trainings`; None in files older than 0.2
    record: Record


def write_record(path: Path, config: Any, record: Record, models: Sequence[str] = ()) -> None:
    """Write the record of an experiment with its settings and the SHA-256 of its models."""
    write_json(path, {"config": to_json(config), "hash": config_hash(config), "models": list(models), "record": record})


def read_kept(path: Path) -> Kept:
    """Read a stored record; raise :class:`DataError` if the file is damaged or its name does not fit its settings."""
    try:
        stored = read_json(path, _RecordFile)
    except DataError as error:
        raise DataError(f"{error}; {AGAIN}") from error
    try:
        config = from_json(stored["config"])
        check_record(config, stored["record"])
    except (MinicerebError, Mismatch) as error:
        raise DataError(f"{path}: {error}; {AGAIN}") from error
    key = next((each for each in hashes(config) if each.startswith(path.stem)), None)
    if key is None or stored.get("hash", key) != key:
        raise DataError(f"{path} holds the record of settings that do not fit its name; {AGAIN}")
    models = stored.get("models")
    return Kept(config, key, None if models is None else tuple(models), stored["record"])


def read_record(path: Path, config: Any) -> Kept:
    """Read the record of these settings; raise :class:`DataError` if the file holds anything else."""
    kept = read_kept(path)
    if kept.hash != config_hash(config):
        what = "; ".join(differences(config, kept.config)) or "another revision of the program"
        raise DataError(f"{path} holds the record of other settings ({what}); {AGAIN}")
    return kept


def check_record(config: Any, record: Record) -> None:
    """Raise :class:`~minicereb.documents.Mismatch` unless a record fits its kind of experiment and these settings."""
    try:
        check(record, config.record_shape)
        config.check_record(record)
    except Mismatch as error:
        raise error.within("record") from None
