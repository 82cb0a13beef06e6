"""Downloaded files: their places, and checks of their content.

A file is identified by the SHA-256 of its decompressed content, and an archive by the SHA-256 of its bytes; names do not matter.
``data/registry.json`` lists the data sets that can be downloaded, with their files and mirrors.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import importlib.resources
import io
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TypedDict

from minicereb.documents import Count, parse_json
from minicereb.errors import DataError, InputError
from minicereb.files import atomic_write
from minicereb.paths import open_regular, read_at_most, reading

MOST_UNPACKED = 1 << 30  # largest number of bytes read from one zip
# Exceptions raised by reading a zip or one of its members: damage, a password, an unknown compression.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError)
CHECKOUT = Path(__file__).parents[2]  # the folder of the project, unless minicereb was installed


class DataFile(NamedTuple):
    """A file that can be downloaded, plain or compressed by gzip: its mirrors, and its size and SHA-256 when decompressed.

    An archive, which holds several files, is stored unchanged: size and SHA-256 refer to the archive itself.
    """

    dataset: str
    name: str
    bytes: int
    sha256: str
    mirrors: tuple[str, ...]
    archive: bool = False


class Download(NamedTuple):
    """A data set that can be downloaded."""

    name: str
    title: str
    licence: str
    source: str
    files: tuple[DataFile, ...]


class FileReport(NamedTuple):
    """The state of a file on this machine; `detail` says what is wrong with it or where it came from.

    Truncated: the file ends too early. Altered: the file's content differs in another way.
    """

    file: DataFile
    state: Literal["ok", "missing", "truncated", "altered", "unreadable"]
    path: Path | None = None
    detail: str = ""


@functools.cache
def downloads() -> dict[str, Download]:
    """Return the data sets that can be downloaded, keyed by name."""
    try:
        text = (importlib.resources.files("minicereb") / "data" / "registry.json").read_bytes()
    except FileNotFoundError:
        text = (CHECKOUT / "data" / "registry.json").read_bytes()
    return parse_registry(parse_json(text, _Registry, "data/registry.json"))


class _Named(TypedDict):
    name: str
    bytes: Count
    sha256: str
    mirrors: list[str]


class _File(_Named, total=False):
    archive: bool


class _Entry(TypedDict):
    title: str
    licence: str
    source: str
    files: list[_File]


_Registry = dict[str, _Entry]


def parse_registry(entries: dict[str, _Entry]) -> dict[str, Download]:
    """Return the data sets that the content of a ``registry.json`` describes, keyed by name."""
    return {
        name: Download(
            name, entry["title"], entry["licence"], entry["source"], tuple(_data_file(name, file) for file in entry["files"])
        )
        for name, entry in entries.items()
    }


def _data_file(dataset: str, file: _File) -> DataFile:
    return DataFile(dataset, file["name"], file["bytes"], file["sha256"], tuple(file["mirrors"]), file.get("archive", False))


def download_of(name: str) -> Download:
    """Return the entry of one data set; raise :class:`InputError` if the data set cannot be downloaded."""
    if name not in downloads():
        raise InputError("dataset", name, f"one that can be downloaded: {', '.join(downloads())}")
    return downloads()[name]


def places() -> list[Path]:
    """Return the folders in which files are looked for, in this order; new files go to the first of them.

    These places are the folder in the environment variable ``MINICEREB_DATA``, ``data`` in a checkout, and the user's cache.
    """
    found = []
    if chosen := os.environ.get("MINICEREB_DATA"):
        found.append(Path(chosen).expanduser())
    if (CHECKOUT / "data" / "registry.json").is_file():
        found.append(CHECKOUT / "data")
    return [*found, user_cache()]


def user_cache() -> Path:
    """Return the user's cache folder on this operating system."""
    import pooch

    return Path(pooch.os_cache("minicereb"))


def find(file: DataFile) -> Path | None:
    """Return the path of a file, plain or compressed by gzip, or None if it is missing. Its content is not checked.

    In each place the file may be in the folder itself, in a folder with the data set's name, or in torchvision's
    ``MNIST/raw``. The file may have its usual name or the name that Kaggle gives it (such as ``train-images.idx3-ubyte``).
    """
    for place in places():
        upper = file.dataset.upper()  # as torchvision calls its folder
        for folder in (place / file.dataset, place, place / upper, place / upper / "raw", place / "raw"):
            for path in (folder / name for name in _names(file)):
                if os.path.isfile(path):  # unlike Path.is_file, raises no error for a folder without permission
                    return path
    return None


def _names(file: DataFile) -> tuple[str, ...]:
    """Return the names under which a file may be found."""
    if file.archive:
        return (file.name,)
    kaggle = re.sub(r"-(?=idx\d-)", ".", file.name)
    return tuple(f"{name}{ending}" for name in dict.fromkeys((file.name, kaggle)) for ending in ("", ".gz"))


def read(file: DataFile) -> bytes:
    """Return the content of a file after checking it.

    Raises
    ------
    DataError
        If the file is missing or altered; the message says what to do.
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
    """Compare the file at `path` with the registry; return the content if it is right, otherwise empty bytes."""
    try:
        with open_regular(path) as stored:
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
    """Return a file's content, decompressed unless it is an archive; read at most one byte more than the file should have."""
    return read_at_most(stored, file.bytes + 1) if file.archive else decompressed(stored, limit=file.bytes)


def decompressed(file: IO[bytes], limit: int) -> bytes:
    """Return a file's content, decompressed if it is gzip; read at most one byte more than `limit`.

    Raises
    ------
    EOFError, OSError, zlib.error
        If the compressed file is truncated or altered, or cannot be read.
    """
    is_gzip = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    unpacked: Any = gzip.GzipFile(fileobj=file) if is_gzip else file
    return read_at_most(unpacked, limit + 1)


def sha256(content: bytes) -> str:
    """Return the SHA-256 of `content`, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def verify(name: str) -> list[FileReport]:
    """Check every file of a data set; raise :class:`InputError` if the data set cannot be downloaded."""
    reports = []
    for file in download_of(name).files:
        path = find(file)
        reports.append(FileReport(file, "missing") if path is None else examine(file, path)[0])
    return reports


def place_of(file: DataFile) -> Path:
    """Return the place for a file that is fetched or imported."""
    return places()[0] / file.dataset / file.name


def place_file(file: DataFile, content: bytes, detail: str) -> FileReport:
    """Write checked content to the first place where :func:`find` looks; the file appears completely or not at all."""
    path = place_of(file)
    with atomic_write(path) as output:
        output.write(content)
    return FileReport(file, "ok", path, detail)


def import_files(paths: Iterable[str | os.PathLike]) -> list[FileReport]:
    """Copy files that were downloaded by hand to the first of :func:`places`.

    Parameters
    ----------
    paths : iterable of path
        Files, plain or gzip, under any name; or folders and zip files, from which every known file is taken. Subfolders,
        and zip files in any of the folders, are searched too. Nothing is unpacked onto the disk.

    Returns
    -------
    list of FileReport
        Where each file went. Nothing is placed unless every path is good.

    Raises
    ------
    DataError
        If a path does not exist, a file is not in the registry, or a folder or zip file holds no known file.
    """
    known = {file.sha256: file for download in downloads().values() for file in download.files}
    taken: dict[DataFile, tuple[str, bytes]] = {}
    for path in map(Path, paths):
        found = _known_in_folder(path, known) if path.is_dir() else _known_in_file(path, known)
        taken.update((file, (source, content)) for file, source, content in found)
    return [place_file(file, content, f"imported from {source}") for file, (source, content) in taken.items()]


Known = tuple[DataFile, str, bytes]  # a file of the registry, where it was found, and its content


def _known_in_folder(folder: Path, known: dict[str, DataFile]) -> list[Known]:
    found: list[Known] = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for path in (Path(parent, name) for name in sorted(names)):
            with contextlib.suppress(DataError):  # other files in the folder are ignored
                if not os.path.isfile(path):
                    continue
                if zipfile.is_zipfile(path):
                    found += _known_in_zip(path, known)
                elif _plausible(path.stat().st_size, open_regular(path), known):
                    found += _known_in_file(path, known)
    if not found:
        raise DataError(f"folder {folder} holds no known file; expected {_expected(known)}")
    return found


def _known_in_file(path: Path, known: dict[str, DataFile]) -> list[Known]:
    """Identify a file or, if it is a zip, its members."""
    with reading(path), open_regular(path) as source:
        content, digest = _identified(source, known)
    if digest in known:
        return [(known[digest], str(path), content)]
    if zipfile.is_zipfile(path):
        return _known_in_zip(path, known)
    raise DataError(f"{path} is not a known file (SHA-256 of its decompressed content {digest}); expected {_expected(known)}")


def _known_in_zip(path: Path, known: dict[str, DataFile]) -> list[Known]:
    """Identify the members of a zip one at a time; of each, read no more bytes than the largest known file has."""
    found: list[Known] = []
    unread, budget = "", MOST_UNPACKED
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                try:
                    if not _plausible(member.file_size, archive.open(member), known):
                        continue
                    if (budget := budget - member.file_size) < 0:
                        raise DataError(
                            f"{path} holds too many bytes that could be known files; unpack it, and import the folder"
                        )
                    with archive.open(member) as source:
                        content, digest = _identified(source, known)
                except _UNREADABLE as error:  # another member may still be what is wanted
                    unread = f" ({member.filename} cannot be read: {error})"
                    continue
                if digest in known:
                    found.append((known[digest], f"{path}, {member.filename}", content))
    except _UNREADABLE as error:
        raise DataError(f"{path} is truncated or altered ({error}); fetch it again") from error
    if not found:
        raise DataError(f"zip file {path} holds no known file{unread}; expected {_expected(known)}")
    return found


def _plausible(size: int, stored: IO[bytes], known: dict[str, DataFile]) -> bool:
    """Close a file, and return whether it may be a known one: it has a known length, or is gzip and not much longer."""
    lengths = [file.bytes for file in known.values()]
    with stored:
        return size in lengths or (size <= max(lengths) * 1.02 + (1 << 16) and stored.read(2) == b"\x1f\x8b")


def _identified(source: IO[bytes], known: dict[str, DataFile]) -> tuple[bytes, str]:
    """Return the content of a file and its SHA-256.

    A compressed file is decompressed, unless the compressed file itself is known.
    """
    limit = max(file.bytes for file in known.values())
    content = source.read(limit + 1)
    if (digest := sha256(content)) not in known:
        content = decompressed(io.BytesIO(content), limit)
        digest = sha256(content)
    return content, digest


def _expected(known: dict[str, DataFile]) -> str:
    return ", ".join(f"{file.name} ({digest})" for digest, file in known.items())
