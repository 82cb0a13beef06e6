"""Fetch data sets from their mirrors."""

from __future__ import annotations

import io
import sys
import time
import zlib
from typing import Any
from urllib.parse import urlsplit

from minicereb.datasets.store import DataFile, FileReport, content_of, download_of, examine, find, place_file, place_of, sha256
from minicereb.errors import DataError, MinicerebError
from minicereb.paths import check_file

ROUNDS = 3  # number of times that each mirror is tried
TIMEOUT = (5, 30)  # a mirror counts as dead after this many seconds without a connection, or without receiving a byte


class Bounded(io.BytesIO):
    """A buffer in memory that takes at most `limit` bytes."""

    def __init__(self, limit: int):
        super().__init__()
        self.limit = limit

    def write(self, content: Any) -> int:
        """Append `content`; raise :class:`DataError` if that exceeds the limit."""
        if self.tell() + len(content) > self.limit:
            raise DataError("it sent more bytes than the file has")
        return super().write(content)


class DownloadProgress:
    """A progress line on a terminal: how much of a file has arrived. The class has the methods that pooch calls."""

    def __init__(self, label: str):
        self.label, self.total, self.done, self.shown, self.closed = label, 0, 0, 0, False
        sys.stderr.write(label)
        sys.stderr.flush()

    def update(self, count: int) -> None:
        """Count `count` more bytes."""
        self.done += count
        percent = min(100, 100 * self.done // self.total) if self.total else 0
        if percent != self.shown:
            sys.stderr.write(f"\r{self.label} {percent:3d} %")
            sys.stderr.flush()
            self.shown = percent

    def reset(self) -> None:
        """Count from zero again."""
        self.done = 0

    def close(self) -> None:
        """End the progress line; further calls do nothing."""
        sys.stderr.write("" if self.closed else "\n")
        self.closed = True


def fetch(name: str, backoff: float = 1.0) -> list[FileReport]:
    """Fetch the files of a data set that are missing or damaged.

    Complete files are kept if a later file fails, so that the next call continues from there; an interrupted download leaves no
    file.

    Parameters
    ----------
    name : str
        A data set of the registry.
    backoff : float
        Seconds to wait before the mirrors are tried again; the wait is doubled after each try.

    Returns
    -------
    list of FileReport
        The path and origin of each file.

    Raises
    ------
    InputError
        If `name` is not a data set that can be downloaded.
    MinicerebError
        If no mirror gave the right content; the message says how each of them failed.
    """
    reports = []
    for file in download_of(name).files:
        path = find(file)
        present = path is not None and examine(file, path)[0].state == "ok"
        reports.append(FileReport(file, "ok", path, "already here") if present else _fetch_file(file, backoff))
    return reports


def _fetch_file(file: DataFile, backoff: float) -> FileReport:
    failures: dict[str, str] = {}
    check_file(place_of(file))
    for attempt in range(ROUNDS):
        if attempt:
            time.sleep(backoff * 2 ** (attempt - 1))
        for mirror in file.mirrors:
            try:
                content = _download(file, mirror)
            except (OSError, DataError) as error:  # requests' errors are OSErrors
                failures[mirror] = _reason(error)
            else:
                return place_file(file, content, f"fetched from {mirror}")
    reasons = "; ".join(f"{mirror}: {reason}" for mirror, reason in failures.items())
    raise MinicerebError(
        f"{file.name} could not be fetched ({reasons}): check the network, or fetch it by hand and run "
        "'minicereb data import FILE', or train offline with '--dataset strokes'"
    )


def _reason(error: Exception) -> str:
    """Return a short description of an error, because the messages of the package ``requests`` are long."""
    if isinstance(error, DataError):
        return str(error)
    response = getattr(error, "response", None)
    return type(error).__name__ if response is None else f"HTTP status {response.status_code}"


def _download(file: DataFile, mirror: str) -> bytes:
    """Return the checked content from one mirror; raise OSError or :class:`DataError` if that fails."""
    import pooch

    progress = DownloadProgress(f"{file.name} from {urlsplit(mirror).netloc}") if sys.stderr.isatty() else None
    received = Bounded(file.bytes + file.bytes // 50 + (1 << 16))  # gzip may add a little
    try:
        pooch.HTTPDownloader(progressbar=progress, chunk_size=1 << 16, timeout=TIMEOUT)(mirror, received, None)
    finally:
        if progress:
            progress.close()
    received.seek(0)
    try:
        content = content_of(file, received)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"the content cannot be decompressed ({error})") from error
    if sha256(content) != file.sha256:
        raise DataError("the content has another SHA-256")
    return content
