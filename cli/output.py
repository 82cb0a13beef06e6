"""Output of the commands: JSON or text on standard output; progress on standard error, most of it only if that is a terminal."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import unicodedata
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

import click

from minicereb.documents import printable
from minicereb.errors import MinicerebError

Step = TypeVar("Step")
Result = TypeVar("Result")


class Answer(NamedTuple):
    """The output of a command: `document` with ``--json``, otherwise `text`. An `error` is raised after printing.

    Paths in the document are printed as text. The exit code is 1 unless the answer is `ok`.
    """

    document: Any
    text: str
    ok: bool = True
    error: MinicerebError | None = None


def as_json(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``, and print the :class:`Answer` that the command returns.

    A command that returns None has printed its output.
    """

    @click.option("--json", "json_wanted", is_flag=True, help="Print one JSON document.")
    @functools.wraps(command)
    def printed(*args: Any, json_wanted: bool, **kwargs: Any) -> None:
        answer: Answer | None = command(*args, **kwargs)
        if answer is not None:
            click.echo(_json(answer.document) if json_wanted else printable(answer.text))
            if answer.error is not None:
                raise answer.error
            if not answer.ok:
                raise click.exceptions.Exit(1)

    return printed


def json_wanted() -> bool:
    """Return whether the command was given ``--json``."""
    return bool(click.get_current_context().params.get("json_wanted"))


def _json(document: Any) -> str:
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False, default=os.fspath)
    try:
        text.encode()
    except UnicodeEncodeError:  # the text contains a path that is not valid UTF-8
        return json.dumps(document, indent=2, allow_nan=False, default=os.fspath)
    return text


def print_json_rows(document: dict[str, Any], name: str, rows: Iterable[Any]) -> None:
    """Print one JSON document with the list of `rows` under `name`, keeping only one row in memory.

    Nothing is printed before the last row has been read.
    """
    head, tail = _json(document | {name: "\0"}).split('"\\u0000"')
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        file.write(f"{head}[")
        for number, row in enumerate(rows):
            file.write(f"{',' if number else ''}\n    {json.dumps(row, ensure_ascii=False, allow_nan=False)}")
        file.write(f"]{tail}\n")
        file.seek(0)
        while part := file.read(1 << 20):
            click.echo(part, nl=False)


def note(text: str) -> None:
    """Print a note on standard error, if that is a terminal."""
    if sys.stderr.isatty():
        click.echo(text, err=True)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    click.echo(f"warning: {text}", err=True)


def stop_interrupted(folder: Path) -> NoReturn:
    """Print that the command can continue in `folder`, and exit with code 130."""
    click.echo(f"interrupted; {folder} holds the work so far, and the same command continues from there", err=True)
    raise click.exceptions.Exit(130)


def terminal_size() -> os.terminal_size:
    """Return the numbers of columns and lines of the terminal on standard error."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (AttributeError, ValueError, OSError):
        return shutil.get_terminal_size()
    return size if size.columns and size.lines else shutil.get_terminal_size()


def fit(text: str, columns: int) -> str:
    """Shorten a progress line to this number of terminal columns.

    First drop parts (separated by two spaces) from the right, then words of the first part, then letters of its first word.
    """
    body = " ".join(text.splitlines()).strip()
    indent = " " * (len(text) - len(text.lstrip()))
    ends = [len(body), *(gap.start() for gap in reversed(list(re.finditer(" {2,}", body))))]
    words = body[: ends[-1]].split(" ")
    shorter = (
        *(body[:end] for end in ends),
        *(f"{' '.join(words[:count])} …" for count in range(len(words) - 1, 0, -1)),
        *(f"{words[0][:count]}…" for count in range(len(words[0]), -1, -1)),
    )
    return next((indent + each for each in shorter if _columns(indent + each) <= columns), "")


def _columns(text: str) -> int:
    """Return the number of terminal columns that a text takes."""
    marks = sum(unicodedata.combining(character) > 0 for character in text)
    return len(text) - marks + sum(unicodedata.east_asian_width(character) in "WF" for character in text)


class Status:
    """Progress lines on a terminal, each update replacing the last; elsewhere only permanent lines."""

    def __init__(self, every: float = 0.1) -> None:
        self.shown, self.every = sys.stderr.isatty(), every
        self.written, self.last = 0, 0.0

    def due(self) -> bool:
        """Return whether an update is due: on a terminal, if the last one is more than `every` seconds ago."""
        return self.shown and time.monotonic() - self.last > self.every

    def update(self, *lines: str) -> None:
        """Show `lines`, shortened to the terminal, if an update is due."""
        if self.due():
            self.close()
            size = terminal_size()
            lines = tuple(fit(line, size.columns - 1) for line in lines[: size.lines - 1])
            sys.stderr.write("\n".join(lines))
            sys.stderr.flush()
            self.written, self.last = len(lines), time.monotonic()

    def say(self, line: str) -> None:
        """Write a permanent line."""
        self.close()
        self.last = 0.0
        click.echo(line, err=True)

    def close(self) -> None:
        """Clear the progress lines."""
        if self.written:
            sys.stderr.write("\r\x1b[J" if self.written == 1 else f"\x1b[{self.written - 1}F\x1b[J")
            sys.stderr.flush()
        self.written = 0


def clock(seconds: float) -> str:
    """Return minutes and seconds as ``"1:23"``, with hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class Pace:
    """The speed of some work and the time left."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.first = 0

    def describe(self, done: int, total: int) -> str:
        """Return text such as ``"12,345 images/s  1:23 left"`` when `done` of `total` images are done."""
        if self.began is None:
            self.began, self.first = time.monotonic(), done
        rate = (done - self.first) / max(1e-9, time.monotonic() - self.began)
        if rate <= 0:
            return ""
        return f"{rate:,.0f} images/s  {clock((total - done) / rate)} left"


def shown(work: Iterable[Step], describe: Callable[[Step], str], begin: str = "") -> Iterator[Step]:
    """Yield the steps of some work, each after its description has been shown in the status line."""
    line = Status()
    if begin:
        line.update(begin)
    try:
        for step in work:
            line.update(describe(step))
            yield step
    finally:
        line.close()


def finish(work: Generator[Step, None, Result], describe: Callable[[Step], str] = str, folder: Path | None = None) -> Result:
    """Run some work, showing its progress, and return its result.

    On Ctrl-C, work that saves its state in `folder` ends after the current step, and the program exits with code 130.
    """
    line = Status()
    until: AbstractContextManager[list[bool]] = nullcontext([]) if folder is None else interruption()
    with until as interrupted, closing(work):
        try:
            while not interrupted:
                line.update(describe(next(work)))
        except StopIteration as stop:
            return stop.value
        finally:
            line.close()
    assert folder is not None
    stop_interrupted(folder)


@contextmanager
def interruption() -> Iterator[list[bool]]:
    """Yield a list that is empty until Ctrl-C, so that work can stop at a suitable point; a second Ctrl-C stops it at once."""
    pressed: list[bool] = []

    def on_interrupt(signum: int, frame: Any) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(True)

    previous = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, previous)
