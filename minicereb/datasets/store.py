"""Where downloaded data lie, and whether they are what they should be.

Whatever its name or compression, a file is known by the SHA-256 of its decompressed content, an archive by that of its own bytes.
The data sets that can be downloaded, with their files and mirrors, are listed in ``data/registry.json``.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import importlib.resources
import io
import json
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from minicereb.errors import DataError, InputError
from minicereb.files import atomic_write

CHECKOUT = Path(__file__).parents[2]  # the folder of the project, unless minicereb was installed


@dataclass(frozen=True)
class DataFile:
    """A file that can be downloaded: its size and SHA-256 when decompressed, and the addresses that offer it as gzip.

    An archive, which holds several files, is kept as it comes: size and SHA-256 are those of the archive.
    """

    dataset: str
    name: str
    bytes: int
    sha256: str
    mirrors: tuple[str, ...]
    archive: bool = False


@dataclass(frozen=True)
class Download:
    """A data set that can be downloaded."""

    name: str
    title: str
    licence: str
    source: str
    files: tuple[DataFile, ...]


@dataclass(frozen=True)
class FileReport:
    """What was found of a file.

    Parameters
    ----------
    file : DataFile
        What was looked for.
    state : {"ok", "missing", "truncated", "altered", "unreadable"}
        Truncated: it ends too early. Altered: the content differs in another way.
    path : Path or None
        Where it lies; None if it is missing.
    detail : str
        What exactly is wrong, or how it came here; may be empty.
    """

    file: DataFile
    state: Literal["ok", "missing", "truncated", "altered", "unreadable"]
    path: Path | None = None
    detail: str = ""


@functools.cache
def downloads() -> dict[str, Download]:
    """Return the data sets that can be downloaded, by name."""
    try:
        text = (importlib.resources.files("minicereb") / "data" / "registry.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        text = (CHECKOUT / "data" / "registry.json").read_text(encoding="utf-8")
    return parse_registry(json.loads(text))


def parse_registry(entries: dict) -> dict[str, Download]:
    """Return the data sets that the content of a ``registry.json`` describes, by name."""
    return {
        name: Download(
            name,
            entry["title"],
            entry["licence"],
            entry["source"],
            tuple(DataFile(name, **(file | {"mirrors": tuple(file["mirrors"])})) for file in entry["files"]),
        )
        for name, entry in entries.items()
    }


def download_of(name: str) -> Download:
    """Return the entry of one data set; :class:`InputError` if it is not one that can be downloaded."""
    if name not in downloads():
        raise InputError("dataset", name, f"one that can be downloaded: {', '.join(downloads())}")
    return downloads()[name]


def places() -> list[Path]:
    """Return the folders that may hold data, in the order in which they are searched.

    They are ``$MINICEREB_DATA`` if it is set, ``data/`` if minicereb runs from a checkout, and the user's cache. What is fetched
    or imported goes to the first.
    """
    found = []
    if chosen := os.environ.get("MINICEREB_DATA"):
        found.append(Path(chosen).expanduser())
    if (CHECKOUT / "data" / "registry.json").is_file():
        found.append(CHECKOUT / "data")
    return [*found, user_cache()]


def user_cache() -> Path:
    """Return the folder in which this operating system wants the user's caches to be."""
    import pooch

    return Path(pooch.os_cache("minicereb"))


def find(file: DataFile) -> Path | None:
    """Return where a file lies, plain or as gzip, or None; its content is not looked at."""
    names = (file.name,) if file.archive else (file.name, f"{file.name}.gz")
    for place in places():
        for folder in (place / file.dataset, place):
            for path in (folder / name for name in names):
                if os.path.isfile(path):  # unlike Path.is_file, quiet about a folder that may not be entered
                    return path
    return None


def read(file: DataFile) -> bytes:
    """Return the content of a file after checking it.

    Raises
    ------
    DataError
        If the file is missing or is not what it should be; the message says what to do.
    """
    path = find(file)
    if path is None:
        raise DataError(
            f"{file.dataset} is not on this machine ({file.name} is missing): run 'minicereb data fetch {file.dataset}', "
            "or 'minicereb data import FILES', or set MINICEREB_DATA to its folder, or train offline with '--dataset strokes'"
        )
    report, content = examine(file, path)
    if report.state != "ok":
        raise DataError(
            f"{path} is {report.state} ({report.detail}): run 'minicereb data fetch {file.dataset}', "
            "or 'minicereb data import FILES', or remove the file"
        )
    return content


def examine(file: DataFile, path: Path) -> tuple[FileReport, bytes]:
    """Compare what lies at `path` with what should be there; the content is empty unless it is the right one."""
    try:
        with open(path, "rb") as stored:
            content = content_of(file, stored)
    except EOFError:
        return FileReport(file, "truncated", path, "the compressed file ends too early"), b""
    except (gzip.BadGzipFile, zlib.error) as error:
        return FileReport(file, "altered", path, f"it cannot be decompressed: {error}"), b""
    except OSError as error:
        return FileReport(file, "unreadable", path, error.strerror or str(error)), b""
    if len(content) < file.bytes:
        return FileReport(file, "truncated", path, f"{len(content)} of {file.bytes} bytes"), b""
    if len(content) > file.bytes:
        return FileReport(file, "altered", path, f"more than {file.bytes} bytes"), b""
    if sha256(content) != file.sha256:
        return FileReport(file, "altered", path, f"its SHA-256 is not {file.sha256}"), b""
    return FileReport(file, "ok", path), content


def content_of(file: DataFile, stored: IO[bytes]) -> bytes:
    """Return what is known by size and SHA-256, but not more than one byte too many; raises what :func:`decompressed` does."""
    return stored.read(file.bytes + 1) if file.archive else decompressed(stored, limit=file.bytes)


def decompressed(file: IO[bytes], limit: int) -> bytes:
    """Return a file's content, unpacked if it is gzip, but not more than one byte beyond `limit`.

    Raises
    ------
    EOFError, gzip.BadGzipFile, zlib.error, OSError
        If the compressed file is truncated or altered, or cannot be read.
    """
    is_gzip = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gzip.GzipFile(fileobj=file).read(limit + 1) if is_gzip else file.read(limit + 1)


def sha256(content: bytes) -> str:
    """SHA-256 of `content`, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def verify(name: str) -> list[FileReport]:
    """Check every file of a data set; :class:`InputError` if it is not one that can be downloaded."""
    reports = []
    for file in download_of(name).files:
        path = find(file)
        reports.append(FileReport(file, "missing") if path is None else examine(file, path)[0])
    return reports


def place_file(file: DataFile, content: bytes, detail: str) -> FileReport:
    """Put checked content where :func:`find` looks first; the file appears whole or not at all."""
    path = places()[0] / file.dataset / file.name
    with atomic_write(path) as output:
        output.write(content)
    return FileReport(file, "ok", path, detail)


def import_files(paths: Iterable[str | os.PathLike]) -> list[FileReport]:
    """Take over files that were fetched by hand.

    Parameters
    ----------
    paths : iterable of path
        Files, plain or gzip, under any name, or folders, of which everything that is known is taken.

    Returns
    -------
    list of FileReport
        Where each file went. Nothing is placed unless every path is good.

    Raises
    ------
    DataError
        If a path does not exist, a file is none of those in the registry, or a folder holds none of them.
    """
    known = {file.sha256: file for download in downloads().values() for file in download.files}
    taken: dict[DataFile, tuple[Path, bytes]] = {}
    for path in map(Path, paths):
        found = _known_files_of_folder(path, known) if path.is_dir() else [_known_file(path, known)]
        if not found:
            raise DataError(f"folder {path} holds no known file; expected {_expected(known)}")
        taken.update((file, (source, content)) for file, source, content in found)
    return [place_file(file, content, f"imported from {source}") for file, (source, content) in taken.items()]


def _known_files_of_folder(folder: Path, known: dict[str, DataFile]) -> list[tuple[DataFile, Path, bytes]]:
    found = []
    for path in sorted(folder.iterdir()):
        with contextlib.suppress(DataError):  # whatever else lies in the folder
            found.append(_known_file(path, known))
    return found


def _known_file(path: Path, known: dict[str, DataFile]) -> tuple[DataFile, Path, bytes]:
    try:
        limit = max(file.bytes for file in known.values())
        with open(path, "rb") as source:
            content = source.read(limit + 1)
        if sha256(content) not in known:
            content = decompressed(io.BytesIO(content), limit)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is truncated or altered ({error}); fetch it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if (digest := sha256(content)) not in known:
        raise DataError(f"{path} is not a known file (SHA-256 of its decompressed content {digest}); expected {_expected(known)}")
    return known[digest], path, content


def _expected(known: dict[str, DataFile]) -> str:
    return ", ".join(f"{file.name} ({digest})" for digest, file in known.items())
