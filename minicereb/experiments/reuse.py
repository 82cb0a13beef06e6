"""Finds complete runs and records in the folders beside a study's, by hash, so that nothing is computed twice."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from minicereb.errors import MinicerebError
from minicereb.experiments.records import Kept, read_kept
from minicereb.experiments.runs import Run, is_whole, read_run

SECONDS_BETWEEN_LOOKS = 2.0  # between listings of the folders; files in known folders are seen at once
NAMED_BY_HASH = re.compile(r"-([0-9a-f]{12})$")


class Neighbours:
    """The folders beside the study's folder `out`, which are read and never changed.

    They hold ``*/runs/HASH`` and ``*/experiments/HASH.json`` of studies, and ``*-HASH`` of ``minicereb train``. Anything
    incomplete, damaged or read-only there is ignored.
    """

    def __init__(self, out: Path):
        self._out = Path(os.path.abspath(out))
        self._looked = float("-inf")
        self._studies: list[str] = []  # text: a path takes longer to put together than a file to be looked for
        self._named: dict[str, list[str]] = {}
        self._read: dict[str, tuple[tuple[int, ...], Any]] = {}

    def runs(self, key: str) -> Iterator[Run]:
        """Yield the complete runs whose settings have the hash `key`."""
        self._look()
        for folder in (*(f"{study}/runs/{key[:16]}" for study in self._studies), *self._named.get(key[:12], ())):
            run = self.unless_changed(f"{folder}/manifest.json", _sound_run)
            if run is not None and run.hash == key:
                yield run

    def records(self, key: str) -> Iterator[tuple[Path, Kept]]:
        """Yield the records of the experiment with the hash `key`, and where they are kept."""
        self._look()
        for study in self._studies:
            path = f"{study}/experiments/{key[:16]}.json"
            kept = self.kept(path)
            if kept is not None and kept.hash == key:
                yield Path(path), kept

    def record_path(self, key: str) -> Path | None:
        """Return where a record of the experiment with the hash `key` is kept, or None."""
        return next((path for path, _ in self.records(key)), None)

    def kept(self, path: str | Path) -> Kept | None:
        """Return the record in a file, or None if it is missing or damaged."""
        return self.unless_changed(str(path), _sound_record)

    def unless_changed(self, path: str, read: Callable[[Path], Any]) -> Any:
        """Return what `read` makes of a file, cached while the file is unchanged; None if there is no file."""
        try:
            stat = os.stat(path)
        except OSError:
            return None
        state = stat.st_mtime_ns, stat.st_size, stat.st_ino
        if self._read.get(path, ((), None))[0] != state:
            self._read[path] = state, read(Path(path))
        return self._read[path][1]

    def look_again(self) -> None:
        """Forget which folders there were."""
        self._looked = float("-inf")

    def _look(self) -> None:
        """List the folders, unless that was just done."""
        if time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        self._studies, self._named = [], {}
        with suppress(OSError), os.scandir(self._out.parent) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                named = NAMED_BY_HASH.search(entry.name)
                if named:
                    self._named.setdefault(named[1], []).append(entry.path)
                elif entry.name != self._out.name and any(
                    map(os.path.isdir, (f"{entry.path}/runs", f"{entry.path}/experiments"))
                ):
                    self._studies.append(entry.path)
        self._looked = time.monotonic()


def _sound_run(manifest: Path) -> Run | None:
    """Read the run of a manifest if it is complete, unaltered and writable, so that attacks on it can be kept with it."""
    with suppress(MinicerebError, OSError):
        run = read_run(manifest.parent)
        if run.result and os.access(run.folder, os.W_OK) and is_whole(run):
            return run
    return None


def _sound_record(path: Path) -> Kept | None:
    with suppress(MinicerebError):
        return read_kept(path)
    return None
