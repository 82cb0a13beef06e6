"""Check a file that someone else wrote: it runs in its own process for a limited time, and our process judges its answers.

The submission's process receives arguments and returns answers. The right answers and the diagnosis stay in our process, so a
submission cannot forge its result. The submission has no terminal, its output is discarded, memory and file sizes are
limited, and it works in its own empty folder. Processes that a submission leaves running are ended with the submission.
This is not a sandbox: the code has the permissions of the user.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from minicereb.diagnosis.calls import CallResult, Elsewhere
from minicereb.diagnosis.hints import Case, Diagnosis, Hint
from minicereb.errors import DataError, require
from minicereb.exercises.definition import Exercise
from minicereb.exercises.messages import Ended, Interference, Message, Reply, receive, request, type_named
from minicereb.paths import read_bytes

MEMORY = 4 << 30  # bytes of address space, if the system has such a limit
FILE = 64 << 20  # bytes of each file that it writes
SECONDS_TO_END = 2.0  # time to end for a process that has closed its connection
MARK = "MINICEREB_SUBMISSION"  # a variable in the environment of every process that a submission starts


class Report(NamedTuple):
    """The result of a check; `printed` is the number of characters printed, None if the process ended or did not answer."""

    verdict: Diagnosis
    printed: int | None
    seconds: float


class Submitted(Elsewhere):
    """The function of a submission, which runs in the submission's own process; `limit` is the total waiting time in seconds."""

    def __init__(self, connection: socket.socket, limit: float):
        self._connection, self._left = connection, limit
        self.printed: int | None = None

    def started(self) -> tuple[Hint, ...]:
        """Wait until the file has been read, and return hints about what is wrong with the file itself."""
        return self._exchange(b"")[1].hints

    def try_on(self, case: Case, parts: int) -> CallResult:
        """Request the function's answer for a case."""
        message, trial = self._exchange(request(case, parts))
        if trial.answer is None and not trial.hints:
            raise Interference("no answer")
        return trial

    def _exchange(self, asked: bytes) -> tuple[Message, CallResult]:
        began = time.monotonic()
        until = began + self._left
        self.printed = None
        try:
            self._connection.settimeout(max(1e-3, self._left))
            try:
                self._connection.sendall(asked)
            except ConnectionError as error:
                raise Ended from error
            message = receive(self._connection, Reply, until)
        finally:
            self._left -= time.monotonic() - began
        self.printed = message.head["printed"]
        hints = tuple(Hint(printable(code, 100), printable(text, 1000)) for code, text in message.head["hints"][:20])
        dtype, arrays = message.head["dtype"], message.arrays
        if len(arrays) > 1 or (dtype is None) != (not arrays) or any(array.dtype.str != "<f8" for array in arrays):
            raise Interference("an answer of a type other than the one announced")
        return message, CallResult(arrays[0] if arrays else None, None if dtype is None else type_named(dtype), hints)


def check_file(exercise: Exercise, path: str | os.PathLike, limit: float = 20.0) -> Report:
    """Run a submission, a Python file, in a separate process, and judge its answers in this process.

    The submission may take `limit` seconds, including the start of Python. It raises :class:`DataError` if there is no such file.
    """
    path = Path(path)
    require(0 < limit < float("inf"), "limit", limit, "seconds above 0")
    if not path.is_file():
        raise DataError(f"{path} is not a file; minicereb exercise start {exercise.name} writes one to fill in")
    began = time.monotonic()
    with _running(exercise, path) as (process, connection):
        submitted = Submitted(connection, limit)
        try:
            wrong = submitted.started()
            verdict = Diagnosis(False, wrong) if wrong else exercise.check(submitted)
        except TimeoutError:
            verdict = _unanswered("too slow", f"it did not end within {limit:g} s: an endless loop, or far too slow")
        except Ended:
            verdict = _unanswered("exits", f"it ended its process before it was checked ({_how_it_ended(process)})")
        except Interference as error:
            verdict = _unanswered("interferes", f"it interferes with its check: its process sent {printable(str(error), 200)}")
    return Report(verdict, submitted.printed, time.monotonic() - began)


def printable(text: str, length: int) -> str:
    """Return the beginning of a text, with blanks instead of unprintable characters, which could control a terminal."""
    return "".join(character if character.isprintable() else " " for character in text[:length])


def _unanswered(code: str, text: str) -> Diagnosis:
    return Diagnosis(False, (Hint(code, text),))


@contextlib.contextmanager
def _running(exercise: Exercise, path: Path) -> Iterator[tuple[subprocess.Popen, socket.socket]]:
    """Run a submission's process in a new folder; yield process and connection, then end the process and all that it started."""
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    mark = uuid.uuid4().hex
    environment = {**os.environ, **threads, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1", MARK: mark}
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryDirectory(prefix="minicereb-", ignore_cleanup_errors=True) as folder, ours, theirs:
        how: dict[str, Any] = {name: subprocess.DEVNULL for name in ("stdin", "stdout", "stderr")}
        shared = not hasattr(os, "fork")  # Windows, where a socket is handed over as bytes
        how |= {"stdin": subprocess.PIPE} if shared else {"pass_fds": (theirs.fileno(),)}
        command = [sys.executable, "-m", "minicereb.exercises.child", exercise.function, str(path.resolve())]
        command.append("shared" if shared else str(theirs.fileno()))
        process = subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **how)
        try:
            if process.stdin is not None:
                with process.stdin as stream:
                    stream.write(theirs.share(process.pid))  # type: ignore[attr-defined]
            theirs.close()
            yield process, ours
        finally:
            _end(process, mark)


def _end(process: subprocess.Popen, mark: str) -> None:
    """End a process, its group, and processes that have left the group but still have the mark."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # the group has the number of the process
    process.kill()
    for _ in range(10):  # processes that start meanwhile are found in the next round
        if not _kill_marked(f"{MARK}={mark}".encode()):
            break
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(SECONDS_TO_END)


def _kill_marked(mark: bytes) -> int:
    """Kill every process with this mark in its environment (visible on Linux only), and return the number of processes."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError, DataError):
            if mark in read_bytes(path).split(b"\0"):
                os.kill(int(path.parent.name), signal.SIGKILL)
                count += 1
    return count


def _how_it_ended(process: subprocess.Popen) -> str:
    """Describe how a process that closed its connection ended, without reaping it, because its ID must not be reused yet."""
    if not hasattr(os, "waitid"):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return f"exit code {process.wait(SECONDS_TO_END)}"
        return "it only closed its connection"
    until = time.monotonic() + SECONDS_TO_END
    while time.monotonic() < until:
        found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None:
            if found.si_code == os.CLD_EXITED:
                return f"exit code {found.si_status}"
            names = {each.value: each.name for each in signal.Signals}  # not every signal has a name in Python
            return f"signal {names.get(found.si_status, found.si_status)}"
        time.sleep(0.01)
    return "it only closed its connection"
