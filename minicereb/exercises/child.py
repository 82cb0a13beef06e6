"""Where a submission runs, ``python -m minicereb.exercises.child NAME FILE ANSWER``: the verdict goes to a file."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from minicereb.check.hints import Hint, Verdict
from minicereb.exercises.catalogue import exercise_named
from minicereb.exercises.exercise import Exercise
from minicereb.exercises.submission import FILE, MEMORY
from minicereb.files import write_json


class Counted(io.TextIOBase):
    """A stream that keeps nothing but how many characters were written."""

    def __init__(self) -> None:
        self.count = 0

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Count, and forget."""
        self.count += len(text)
        return len(text)


def main(name: str, path: str, answer: str) -> None:
    """Check the submission at `path` and write the verdict to `answer`."""
    _limit()
    printed = Counted()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        verdict = verdict_on(exercise_named(name), Path(path))
    found = {
        "right": verdict.right,
        "hints": [list(hint) for hint in verdict.hints],
        "example": verdict.example,
        "printed": printed.count,
    }
    write_json(answer, found, durable=False)
    os._exit(0)  # threads and exit handlers of the submission do not count


def verdict_on(exercise: Exercise, path: Path) -> Verdict:
    """Run a file, and check the function it defines; whatever it raises is told."""
    names: dict[str, Any] = {"__name__": "submission", "__file__": str(path)}
    try:
        source = path.read_bytes()
        exec(compile(source, str(path), "exec"), names)
    except SyntaxError as error:
        return _wrong("no Python", f"line {error.lineno} is no Python: {error.msg}")
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except SystemExit:
        return _wrong("exits", "it ends the program when it is read; it should only define the function")
    except BaseException as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f" in line {lines[-1]}" if lines else ""
        told = " ".join(str(error).split())[:300]
        return _wrong("crash", f"reading it raises {type(error).__name__}{where}: {told}")
    if exercise.function not in names:
        return _wrong("no function", f"it defines no function {exercise.function}")
    return exercise.check(names[exercise.function])


def _wrong(code: str, text: str) -> Verdict:
    return Verdict(False, (Hint(code, text),))


def _limit() -> None:
    """Bound memory and files, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for what, size in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, FILE)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(what, (size, size))


if __name__ == "__main__":
    main(*sys.argv[1:])
