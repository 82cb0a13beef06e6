"""A submission: a file that someone else wrote, read and tried in a process of its own, for a limited time.

The process has no terminal, prints nowhere, may use limited memory and write no large file; what it leaves running is ended with
it. It is not a sandbox: the code runs as the user, and is run only because the user asks for it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from minicereb.check.hints import Hint, Verdict
from minicereb.errors import DataError, InputError, require
from minicereb.exercises.exercise import Exercise
from minicereb.files import read_json

MEMORY = 4 << 30  # bytes of addresses, where the system knows such a limit
FILE = 64 << 20  # bytes of any file it writes
KEPT = ("right", "hints", "example", "printed")


class Report(NamedTuple):
    """What became of a submission.

    Attributes
    ----------
    verdict : Verdict
    printed : int
        Characters that it printed.
    seconds : float
    """

    verdict: Verdict
    printed: int
    seconds: float


def check_file(exercise: Exercise, path: str | os.PathLike, limit: float = 20.0) -> Report:
    """Try a submission in a process of its own.

    Parameters
    ----------
    exercise : Exercise
    path : path
        Of a Python file that defines the exercise's function.
    limit : float
        Seconds, above 0, that it may take, the start of Python included.

    Raises
    ------
    DataError
        If there is no such file.
    """
    path = Path(path)
    require(0 < limit < float("inf"), "limit", limit, "seconds above 0")
    if not path.is_file():
        raise DataError(f"{path} is not a file: minicereb exercise start {exercise.name} writes one to fill in")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="minicereb-", ignore_cleanup_errors=True) as folder:
        answer = Path(folder) / "verdict.json"
        command = [sys.executable, "-m", "minicereb.exercises.child", exercise.name, str(path.resolve()), str(answer)]
        code = _finish(command, folder, limit)
        verdict, printed = _verdict(answer, code, limit)
    return Report(verdict, printed, time.monotonic() - began)


def _finish(command: list[str], folder: str, limit: float) -> int | None:
    """Run a process to its end and return its code; None if its time was up. Whatever it started is ended."""
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {**os.environ, **threads, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
    streams: dict[str, Any] = {name: subprocess.DEVNULL for name in ("stdin", "stdout", "stderr")}
    process = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **streams)
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _end(process)


def _end(process: subprocess.Popen) -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # its group has its number
    else:
        process.kill()
    process.wait()


def _verdict(answer: Path, code: int | None, limit: float) -> tuple[Verdict, int]:
    if code is None:
        text = f"it did not end within {limit:g} s: a loop without end, or much too slow"
        return Verdict(False, (Hint("too slow", text),)), 0
    try:
        found = read_json(answer)
        hints = tuple(Hint(str(one), str(text)) for one, text in found["hints"])
        return Verdict(found["right"] is True, hints, str(found["example"])), int(found["printed"])
    except (DataError, KeyError, TypeError, ValueError):
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return Verdict(False, (Hint("exits", f"it ended its process before it was checked ({how})"),)), 0


def submission_name(path: str | os.PathLike, names: dict[str, Exercise]) -> Exercise:
    """Return the exercise that a file is about, by the file's name; :class:`InputError` if it is none's."""
    stem = Path(path).stem.replace("_", "-")
    if stem not in names:
        files = ", ".join(exercise.file_name for exercise in names.values())
        raise InputError("file", Path(path).name, f"one of {files}, or --exercise NAME with it")
    return names[stem]
