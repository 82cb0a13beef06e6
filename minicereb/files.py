"""Files that appear completely or not at all: atomic writing, hashing, locking, npz and JSON without pickle."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from minicereb.documents import not_for_json
from minicereb.errors import DataError, InUseError, MinicerebError
from minicereb.paths import check_replaceable, open_regular, reason, temporary_path

# Error numbers when another process holds the lock of a file; the last two are from Windows.
HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)
# Exceptions raised when reading a damaged file of arrays.
DAMAGES = (
    *(OSError, EOFError, ValueError, TypeError, KeyError, RuntimeError, MemoryError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError),  # the last is from NumPy's reading of a header
)
UNSUSPICIOUS, TIGHTEST = 1 << 30, 200  # largest content of a compressed npz: this many bytes, or this many times its own size


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` for writing, and rename it to `path` if the block ends without an error.

    If the disk is full, the folder is read-only, or the block raises an exception, `path` is left unchanged. A pipe or a device
    at this path is never replaced. If `durable` is false, the call does not wait for the disk, and the file may be empty after a
    power failure.
    """
    path = Path(path)
    temporary = temporary_path(path)
    try:
        check_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "x+b") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise MinicerebError(f"cannot write {path}: {reason(error)}; nothing was changed") from error
    finally:
        with contextlib.suppress(OSError, ValueError):  # the folder may not exist
            temporary.unlink()


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Create a temporary folder beside `path`, and rename it to `path` if the block ends without an error.

    `path` may be an empty folder. A folder that is not empty is left unchanged, and so is `path` after any error.
    """
    path = Path(os.path.abspath(path))
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        if path.is_dir():
            path.rmdir()
        os.replace(temporary, path)
    except OSError as error:
        raise MinicerebError(f"cannot write {path}: {reason(error)}; nothing was changed") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sha256_file(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a regular file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_arrays(*arrays: np.ndarray) -> str:
    """Return the SHA-256 of the arrays' types, shapes and values, in hexadecimal."""
    digest = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


def canonical_json(value: Any) -> str:
    """Return JSON text that is equal for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def write_json(path: str | os.PathLike, value: Any, durable: bool = True) -> None:
    """Write `value` as readable JSON, atomically; see :func:`atomic_write` for `durable`.

    A :class:`MinicerebError` names a value that JSON cannot represent: a non-finite number, or a lone surrogate.
    """
    try:
        text = (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()
    except ValueError as error:
        raise MinicerebError(f"cannot write {path}: {not_for_json(value) or error}; nothing was changed") from error
    with atomic_write(path, durable) as file:
        file.write(text)


class _Entry(zipfile.ZipInfo):
    """An uncompressed zip entry whose header is the same for every version of Python and every operating system.

    Python 3.10 and 3.11 write different headers for an entry that may exceed 4 GiB, and on Windows the header names the system.
    In this class every field has the value that Python 3.11.4 and later write on Linux.
    """

    def __init__(self, name: str):
        super().__init__(name, (1980, 1, 1, 0, 0, 0))
        self.create_system, self.create_version, self.extract_version = 3, 45, 45  # Unix; ZIP64 needs version 4.5
        self.external_attr = 0o600 << 16

    def FileHeader(self, zip64: bool | None = None) -> bytes:  # noqa: N802, the name that zipfile calls
        """Return the local header, always with the sizes in a ZIP64 extra field (APPNOTE 6.3.10, sections 4.3.7 and 4.5.3)."""
        name = self.filename.encode()
        flags = 0 if self.filename.isascii() else 0x800  # the name is UTF-8
        year, month, day = self.date_time[:3]
        date = (year - 1980) << 9 | month << 5 | day
        fixed = struct.pack("<4s5H3L2H", b"PK\3\4", 45, flags, 0, 0, date, self.CRC, 2**32 - 1, 2**32 - 1, len(name), 20)
        return fixed + name + struct.pack("<2H2Q", 1, 16, self.file_size, self.compress_size)


def write_npz(path: str | os.PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as an uncompressed npz, atomically.

    Equal arrays (names, order, types, shapes, values) give equal bytes in every version of Python and NumPy, on every operating
    system and for every memory layout.
    """
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(_Entry(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array, order="C"), allow_pickle=False)


# Type and shape of an array in an npz; the type "U" is text. A name in a shape stands for any length, the same wherever it
# occurs; "..." at the end of a shape stands for any further axes.
Declared = tuple[Any, tuple[int | str, ...]]
Arrays = Mapping[str, Declared]


def like(arrays: Mapping[str, Any]) -> dict[str, Declared]:
    """Return the types and shapes of arrays."""
    return {name: (array.dtype, array.shape) for name, array in arrays.items()}


def read_npz(path: str | os.PathLike, arrays: Arrays | None = None, optional: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file, keyed by name.

    Parameters
    ----------
    path : path
    arrays : mapping, optional
        The arrays that the file must hold; only these are read. By default all arrays are read.
    optional : collection of str
        Names of arrays that may be missing.

    Raises
    ------
    DataError
        If the file is truncated, altered, holds objects, or lacks an array. Headers are compared with the file's size before an
        array is created.
    """
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            _check_sums(archive, file, os.fstat(file.fileno()).st_size)
            entries = _entries(archive)
            if arrays is not None:
                _check_declared({name: entry[1:] for name, entry in entries.items()}, arrays, optional)
                entries = {name: entry for name, entry in entries.items() if name in arrays}
            return {name: _read_array(archive, info) for name, (info, _, _) in entries.items()}
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except DAMAGES as error:
        raise DataError(f"{path} is damaged or is not the expected npz file ({error})") from error


def _entries(archive: zipfile.ZipFile) -> dict[str, tuple[zipfile.ZipInfo, np.dtype, tuple[int, ...]]]:
    """Return the entry, type and shape of each array in an archive, keyed by name; raise ValueError for any other entry."""
    entries = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name == info.filename or name in entries:
            raise ValueError(f"{info.filename!r} is not an array, or occurs twice")
        try:
            with archive.open(info) as entry:
                dtype, shape = npy_header(entry, info.file_size)
        except ValueError as error:
            raise ValueError(f"{name} is not an array: {error}") from error
        entries[name] = info, dtype, shape
    return entries


def npy_header(file: IO[bytes], size: int) -> tuple[np.dtype, tuple[int, ...]]:
    """Read the header of an npy file of `size` bytes; raise ValueError unless it describes exactly that size."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"the header has version {version}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # warned about for headers that Python 2 wrote
        shape, _, dtype = readers[version](file)
    if dtype.hasobject or dtype.names is not None or any(length < 0 for length in shape):
        raise ValueError(f"it holds {dtype} of shape {shape}")
    if file.tell() + math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"its header claims {dtype} of shape {shape}, which do not fill its {size:,} bytes")
    return dtype, shape


def _check_declared(found: Mapping[str, tuple[np.dtype, tuple[int, ...]]], arrays: Arrays, optional: Collection[str]) -> None:
    """Raise ValueError for an array that is missing, or has another type or shape than declared."""
    lengths: dict[str, int] = {}
    for name, (dtype, shape) in arrays.items():
        if name not in found:
            if name in optional:
                continue
            raise ValueError(f"the array {name} is missing")
        its_dtype, its_shape = found[name]
        of_type = its_dtype.kind == "U" if dtype == "U" else its_dtype == np.dtype(dtype)
        first = shape[:-1] if shape[-1:] == ("...",) else shape
        of_shape = len(first) == len(its_shape[: len(first)]) and (first != shape or len(shape) == len(its_shape))
        of_shape = of_shape and all(
            (lengths.setdefault(expected, length) if isinstance(expected, str) else expected) == length
            for expected, length in zip(first, its_shape, strict=False)
        )
        if not of_type or not of_shape:
            expected_shape = "(" + ", ".join(str(lengths.get(length, length)) for length in shape) + ")"  # type: ignore[arg-type]
            raise ValueError(f"the array {name} is {its_dtype} {its_shape}; expected {dtype} {expected_shape}")


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as entry:
        array = np.lib.format.read_array(entry, allow_pickle=False)
    if array.dtype.kind == "U":  # NumPy does not check that these are valid characters
        codes = np.frombuffer(array.astype(array.dtype.newbyteorder("=")).tobytes(), dtype=np.uint32)
        if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any():
            raise ValueError(f"the array {info.filename.removesuffix('.npy')} contains invalid characters")
    return array


def _check_sums(archive: zipfile.ZipFile, file: IO[bytes], size: int) -> None:
    """Verify all checksums, and that no entry is missing, before any header is read. Neither NumPy nor zipfile does so."""
    infos = archive.infolist()
    if sum(info.compress_size for info in infos) > size:
        raise ValueError("its entries overlap")
    if sum(info.file_size for info in infos) > max(UNSUSPICIOUS, TIGHTEST * size):
        raise ValueError("its compression ratio is too high for data")
    if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in infos):
        raise ValueError("it is compressed in a way that NumPy does not use")
    if broken := archive.testzip():
        raise zipfile.BadZipFile(f"bad checksum of {broken}")
    file.seek(-22, os.SEEK_END)
    end = file.read()
    if end[:4] == b"PK\5\6" and int.from_bytes(end[10:12], "little") != len(archive.infolist()):
        raise zipfile.BadZipFile("entries are missing")


@contextlib.contextmanager
def folder_lock(folder: str | os.PathLike) -> Iterator[None]:
    """Lock a folder for one process through the file ``.lock`` in it, and remove half-written files of killed processes."""
    with file_lock(Path(folder) / ".lock", str(folder)):
        for path in Path(folder).iterdir():
            if _is_half_written(path):
                path.unlink(missing_ok=True)
        yield


def contents(folder: Path) -> list[Path]:
    """Return the paths in a folder, except its lock and half-written files of killed processes."""
    return [path for path in folder.iterdir() if path.name != ".lock" and not _is_half_written(path)] if folder.exists() else []


def _is_half_written(path: Path) -> bool:
    """Return whether a file's name was generated by :func:`atomic_write`."""
    return path.name.startswith(".") and path.name.endswith(".part") and path.is_file()


@contextlib.contextmanager
def file_lock(path: str | os.PathLike, what: str) -> Iterator[None]:
    """Lock `path`, an empty file, for one process; the operating system releases the lock even if that process is killed.

    It raises :class:`InUseError` if another process holds the lock, and :class:`MinicerebError` if the file cannot be locked.
    `what` is the name of the locked thing in the message of an :class:`InUseError`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or (path.exists() and not path.is_file()):  # locking it would create or change a file elsewhere
        raise DataError(f"{path} is not a regular file; remove it")
    with open(path, "a+b", opener=_not_through_links) as file:
        try:
            _lock(file)
        except OSError as error:
            if error.errno not in HELD:
                raise MinicerebError(f"cannot lock {path}: {reason(error)}; its file system must support locks") from error
            raise InUseError(f"{what} is in use by another process") from error
        yield


def _not_through_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def is_locked(path: str | os.PathLike) -> bool:
    """Return whether a process holds the lock of :func:`file_lock` on `path`."""
    try:
        file = open_regular(path, follow=False)
    except PermissionError:
        return True
    except OSError:
        return False
    with file:
        try:
            _lock(file)
        except OSError:
            return True
    return False


def _lock(file: IO[bytes]) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
