"""The process of a submission, ``python -m minicereb.exercises.child FUNCTION FILE CONNECTION``, calls a function on request.

The process receives arguments and sends answers; it never receives the right answers or the verdict.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minicereb.diagnosis.calls import try_on
from minicereb.diagnosis.hints import Hint
from minicereb.exercises.messages import LARGEST_BODY, Ended, Request, case_of, packed, receive
from minicereb.exercises.submission import FILE, MEMORY
from minicereb.paths import read_bytes


class Counted(io.TextIOBase):
    """A stream that only counts the characters written."""

    def __init__(self) -> None:
        self.count = 0

    def writable(self) -> bool:
        """Return True, because text may be written."""
        return True

    def write(self, text: str) -> int:
        """Count the characters and discard them."""
        self.count += len(text)
        return len(text)


def main(function_name: str, path: str, connection: str) -> None:
    """Read the submission at `path`, report what is wrong with the file, then call its function for every request."""
    _limit()
    printed = Counted()
    with _connected(connection) as there, contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):

        def send(answer: np.ndarray | None, dtype: Any, hints: tuple[Hint, ...]) -> None:
            if answer is not None and answer.nbytes > LARGEST_BODY:
                hints = (Hint("wrong shape", f"it returns an array of shape {answer.shape}, far too large"),)
                answer = None
            head = {"dtype": None if answer is None else dtype.str, "printed": printed.count}
            shown = [[hint.code[:100], hint.text[:1000].encode(errors="replace").decode()] for hint in hints[:20]]
            there.sendall(packed({**head, "hints": shown}, [] if answer is None else [answer]))

        function, hints = read_submission(function_name, Path(path))
        send(None, None, hints)
        with contextlib.suppress(Ended):
            while True:
                asked = receive(there, Request)
                send(*try_on(function, case_of(asked), asked.head["parts"]))  # type: ignore[arg-type]
    os._exit(0)  # do not wait for threads and exit handlers of the submission


def read_submission(name: str, path: Path) -> tuple[Callable[..., Any] | None, tuple[Hint, ...]]:
    """Run a file and return the function that it defines, or hints about what is wrong; an exception becomes a hint."""
    names: dict[str, Any] = {"__name__": "submission", "__file__": str(path)}
    try:
        exec(compile(read_bytes(path), str(path), "exec"), names)
    except SyntaxError as error:
        return _wrong("no Python", f"line {error.lineno} is not valid Python: {error.msg}")
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except SystemExit:
        return _wrong("exits", "it ends the program while it is read; it should only define the function")
    except BaseException as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f" in line {lines[-1]}" if lines else ""
        return _wrong("crash", f"reading it raises {type(error).__name__}{where}: {' '.join(str(error).split())[:300]}")
    function = names.get(name)
    if function is None:
        return _wrong("no function", f"it defines no function {name}")
    if not callable(function):
        return _wrong("no function", f"{name} is not a function, but {type(function).__name__}")
    return function, ()


def _wrong(code: str, text: str) -> tuple[None, tuple[Hint, ...]]:
    return None, (Hint(code, text),)


def _connected(connection: str) -> socket.socket:
    if connection == "shared":  # on Windows, a socket is passed as bytes
        return socket.fromshare(sys.stdin.buffer.read())  # type: ignore[attr-defined]
    return socket.socket(fileno=int(connection))


def _limit() -> None:
    """Limit the memory and the size of files, where the system supports it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for what, size in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, FILE), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (size, size))


if __name__ == "__main__":
    main(*sys.argv[1:])
