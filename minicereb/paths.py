"""Paths: which files may be read, and where results may be written.

A folder may come from someone else. So only regular files in such a folder are read, without ever waiting for a pipe or a
device, and no result is written through a symbolic link inside it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO

from minicereb.errors import DataError, MinicerebError

PIECE = 1 << 20  # bytes read from a file at once
NOWHERE = "is a symbolic link that leads nowhere; remove it"
LONGEST_NAME = 255  # largest number of bytes of a file name on common file systems


def open_regular(path: str | os.PathLike, follow: bool = True) -> BufferedReader:
    """Open a regular file for reading; unless `follow`, `path` itself must not be a symbolic link.

    It raises OSError for anything else (a folder, a pipe, a socket, a device), without waiting for a writer.
    """
    # checked before opening, because opening a device may have effects
    _require_regular(os.stat(path, follow_symlinks=follow), path)
    flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
    descriptor = os.open(path, flags | (0 if follow else getattr(os, "O_NOFOLLOW", 0)))
    try:
        _require_regular(os.fstat(descriptor), path)  # it may have been replaced in the meantime
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _require_regular(status: os.stat_result, path: str | os.PathLike) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))


def read_at_most(file: IO[bytes], most: int) -> bytes:
    """Return up to `most` bytes of a file, in pieces: ``file.read(most)`` would allocate all that memory up front."""
    pieces = []
    while most > 0 and (piece := file.read(min(most, PIECE))):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


@contextlib.contextmanager
def reading(path: str | os.PathLike) -> Iterator[None]:
    """Turn the exceptions of reading a file, compressed or not, into a :class:`DataError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path} {NOWHERE if os.path.islink(path) else 'does not exist'}") from error
    except (EOFError, zlib.error) as error:
        raise DataError(f"{path} is truncated or altered ({error})") from error
    except OSError as error:  # gzip's errors are OSErrors too
        raise DataError(f"{path} cannot be read: {reason(error)}") from error


def read_bytes(path: str | os.PathLike, largest: int | None = None) -> bytes:
    """Return the content of a regular file; raise :class:`DataError` if it cannot be read or has more than `largest` bytes."""
    with reading(path), open_regular(path) as file:
        content = file.read() if largest is None else read_at_most(file, largest + 1)
    if largest is not None and len(content) > largest:
        raise DataError(f"{path} has more than {largest:,} bytes")
    return content


def read_text(path: str | os.PathLike) -> str:
    """Return the text of a regular file in UTF-8; raise :class:`DataError` if it cannot be read."""
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text") from error


def refuse_dangling(path: str | os.PathLike) -> None:
    """Raise :class:`DataError` for a dangling symbolic link, which must not count as a missing file."""
    if os.path.islink(path) and not os.path.exists(path):
        raise DataError(f"{path} {NOWHERE}")


def beneath(folder: str | os.PathLike, *parts: str) -> Path:
    """Return a path inside a results folder; raise :class:`DataError` if any of its `parts` is a symbolic link."""
    path = Path(folder)
    for part in parts:
        path /= part
        if path.is_symlink():
            raise DataError(f"{path} is a symbolic link, and results are not written through one; remove it")
    return path


def check_replaceable(path: str | os.PathLike) -> None:
    """Raise OSError for a folder, pipe or device at `path`, which a new file would replace."""
    with contextlib.suppress(FileNotFoundError):
        _require_regular(os.stat(path), path)


def check_file(path: str | os.PathLike) -> None:
    """Raise :class:`MinicerebError` unless a file can be written at `path`. It is called before the work begins."""
    path = Path(path)
    try:
        check_replaceable(path)
        _check_name(path)
        _try(_nearest_folder(path.absolute().parent))
    except (OSError, ValueError) as error:
        raise MinicerebError(f"cannot write {path}: {reason(error)}") from error


def check_folder(path: str | os.PathLike) -> None:
    """Raise :class:`MinicerebError` unless files can be written into the folder `path`, which need not exist."""
    path = Path(path)
    try:
        _check_name(path)
        _try(_nearest_folder(path.absolute()))
    except (OSError, ValueError) as error:
        raise MinicerebError(f"cannot write into {path}: {reason(error)}") from error


def _check_name(path: Path) -> None:
    """Raise OSError for a path in which a name is too long or a file stands in place of a folder."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        if any(len(os.fsencode(name)) > LONGEST_NAME for name in path.parts):  # also for folders that do not exist yet
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)) from None


def _nearest_folder(path: Path) -> Path:
    """Return the folder `path`, or the nearest existing folder above it."""
    return next((each for each in (path, *path.parents) if os.path.lexists(each)), path)


def _try(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder):
        pass


def temporary_path(path: Path) -> Path:
    """Return a new name beside `path`, ``.NAME.12345678.part`` with random digits; a long NAME is shortened."""
    room = LONGEST_NAME - len("..12345678.part")
    return path.parent / f".{os.fsencode(path.name)[:room].decode('utf-8', 'ignore')}.{os.urandom(4).hex()}.part"


def reason(error: OSError | ValueError) -> str:
    """Return the reason why a file could not be read or written, worded to follow a colon."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space left on the device"
    return (getattr(error, "strerror", None) or str(error)).lower()
