"""What commands print: JSON or text on standard output, progress on standard error, mostly only to a terminal."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import sys
import tempfile
import textwrap
import time
import unicodedata
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar

import click

from minicereb.errors import MinicerebError

Step = TypeVar("Step")
Result = TypeVar("Result")


class Answer(NamedTuple):
    """What a command prints: a document with ``--json``, a text without it; and whether all is well.

    An `error` is raised after the printing: what was computed is not lost with it.
    """

    document: Any
    text: str
    ok: bool = True
    error: MinicerebError | None = None


def as_json(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json``, print the :class:`Answer` that the command returns, and exit with 1 unless all is well.

    A command that returns None has printed for itself.
    """

    @click.option("--json", "json_wanted", is_flag=True, help="Print one JSON document.")
    @functools.wraps(command)
    def printed(*args: Any, json_wanted: bool, **kwargs: Any) -> None:
        answer: Answer | None = command(*args, **kwargs)
        if answer is not None:
            click.echo(_json(answer.document) if json_wanted else _encodable(answer.text))
            if answer.error is not None:
                raise answer.error
            if not answer.ok:
                raise click.exceptions.Exit(1)

    return printed


def _encodable(text: str) -> str:
    """Escape what UTF-8 cannot encode: the bytes of a path that are not text."""
    return text.encode(errors="backslashreplace").decode()


def json_wanted() -> bool:
    """Whether the command was given ``--json``."""
    return bool(click.get_current_context().params.get("json_wanted"))


def _json(document: Any) -> str:
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a path whose bytes are not UTF-8
        return json.dumps(document, indent=2, allow_nan=False)
    return text


def print_json_rows(document: dict[str, Any], name: str, rows: Iterable[Any]) -> None:
    """Print one JSON document in which `name` is the list of `rows`, of which only one is in memory at a time.

    Nothing is printed before the last of them could be read.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        for number, (key, value) in enumerate(document.items()):
            file.write(f"{',' if number else '{'}\n  {json.dumps(key)}: ")
            if key != name:
                file.write(textwrap.indent(_json(value), "  ").lstrip())
                continue
            comma = ""
            for row in rows:
                file.write(f"{comma or '['}\n    {json.dumps(row, ensure_ascii=False, allow_nan=False)}")
                comma = ","
            file.write("\n  ]" if comma else "[]")
        file.write("\n}\n")
        file.seek(0)
        while part := file.read(1 << 20):
            click.echo(part, nl=False)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return rows of text in aligned columns."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in lines)


def note(text: str) -> None:
    """Print a remark on standard error, if that is a terminal."""
    if sys.stderr.isatty():
        click.echo(text, err=True)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    click.echo(f"warning: {text}", err=True)


def stop_interrupted(folder: Path) -> NoReturn:
    """Say that the command can continue in `folder`, and exit with code 130."""
    click.echo(f"interrupted; {folder} keeps what is done, and the same command continues from there", err=True)
    raise click.exceptions.Exit(130)


def terminal_size() -> os.terminal_size:
    """Return columns and lines of the terminal on standard error."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (AttributeError, ValueError, OSError):
        return shutil.get_terminal_size()
    return size if size.columns and size.lines else shutil.get_terminal_size()


def fit(text: str, columns: int) -> str:
    """Shorten a line of progress to `columns` of a terminal.

    Parts are separated by two spaces. Whole parts are dropped from the right, then whole words of the first part, for which an
    ellipsis stands. Only a single word that is too long is cut.
    """
    text = " ".join(text.splitlines()).rstrip()
    body = text.lstrip()
    indent = text[: len(text) - len(body)]
    columns -= len(indent)
    while _columns(body) > columns and "  " in body:
        body = body.rpartition("  ")[0].rstrip()
    if _columns(body) <= columns:
        return indent + body
    while _columns(body) > columns - 2 and " " in body:
        body = body.rpartition(" ")[0]
    if _columns(body) <= columns - 2:
        return f"{indent}{body} …"
    while body and _columns(body) > columns - 1:
        body = body[:-1]
    return f"{indent}{body}…" if columns > 0 else ""


def _columns(text: str) -> int:
    """How many columns a terminal takes to show a text."""
    marks = sum(unicodedata.combining(character) > 0 for character in text)
    return len(text) - marks + sum(unicodedata.east_asian_width(character) in "WF" for character in text)


class StatusLine:
    """A line of progress on a terminal, which the next one replaces; elsewhere nothing."""

    def __init__(self) -> None:
        self.shown = sys.stderr.isatty()
        self.last = 0.0

    def update(self, text: str) -> None:
        """Show `text`, shortened to the terminal, at most ten times a second."""
        if self.shown and time.monotonic() - self.last > 0.1:
            sys.stderr.write(f"\r\x1b[K{fit(text, terminal_size().columns - 1)}")
            sys.stderr.flush()
            self.last = time.monotonic()

    def close(self) -> None:
        """Clear the line."""
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


class StatusLines:
    """Lines of progress on a terminal, which the next ones replace; elsewhere only the lines that stay."""

    def __init__(self) -> None:
        self.shown = sys.stderr.isatty()
        self.written, self.last = 0, 0.0

    def due(self) -> bool:
        """Whether the lines should be written again: on a terminal, once a second."""
        return self.shown and time.monotonic() - self.last > 1

    def update(self, lines: Sequence[str]) -> None:
        """Show `lines`, shortened to the terminal, in place of those before."""
        self.close()
        size = terminal_size()
        lines = [fit(line, size.columns - 1) for line in lines[: size.lines - 1]]
        sys.stderr.write("".join(f"{line}\n" for line in lines))
        sys.stderr.flush()
        self.written, self.last = len(lines), time.monotonic()

    def say(self, line: str) -> None:
        """Write a line that stays."""
        self.close()
        self.last = 0.0
        click.echo(line, err=True)

    def close(self) -> None:
        """Clear the lines."""
        if self.written:
            sys.stderr.write(f"\x1b[{self.written}F\x1b[J")
            sys.stderr.flush()
        self.written = 0


def clock(seconds: float) -> str:
    """Return minutes and seconds as ``"1:23"``, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class Pace:
    """The rate of some work and the time left."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.first = 0

    def describe(self, done: int, total: int) -> str:
        """Return ``"12,345 images/s  1:23 left"`` for work that stands at `done` of `total` images."""
        if self.began is None:
            self.began, self.first = time.monotonic(), done
        rate = (done - self.first) / max(1e-9, time.monotonic() - self.began)
        if rate <= 0:
            return ""
        left = int((total - done) / rate)
        return f"{rate:,.0f} images/s  {left // 60}:{left % 60:02d} left"


def shown(work: Iterable[Step], describe: Callable[[Step], str], begin: str = "") -> Iterator[Step]:
    """Yield the steps of some work, each after its description was shown in the status line."""
    line = StatusLine()
    if begin:
        line.update(begin)
    try:
        for step in work:
            line.update(describe(step))
            yield step
    finally:
        line.close()


def finish(work: Generator[Step, None, Result], describe: Callable[[Step], str] = str, folder: Path | None = None) -> Result:
    """Go through some work, showing its progress, and return its result.

    On Ctrl-C work that keeps what is done in `folder` ends after the step, and the program with code 130.
    """
    line = StatusLine()
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
    """Yield a list that is filled at Ctrl-C, so that work can end at a good place; a second Ctrl-C ends it at once."""
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
