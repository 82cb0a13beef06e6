"""Grade the submissions of a class, each in its own process, as a table."""

from __future__ import annotations

import csv
import io
import os
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from minicereb.backend import execution
from minicereb.diagnosis.hints import Diagnosis, Hint
from minicereb.errors import DataError, require
from minicereb.exercises.course import EXERCISES
from minicereb.exercises.definition import Exercise
from minicereb.exercises.submission import Report, check_file, printable
from minicereb.files import atomic_write

LARGEST = 1 << 20  # bytes of a submission
COLUMNS = ("student", "exercise", "right", "hint", "text", "printed", "seconds", "file")


class Submission(NamedTuple):
    """A file that a student handed in; the folder's name is the student's."""

    student: str
    exercise: Exercise
    path: Path


class Graded(NamedTuple):
    """A submission and its report."""

    submission: Submission
    report: Report

    def row(self) -> dict[str, object]:
        """Return the values of :data:`COLUMNS` by name."""
        (student, exercise, path), (verdict, printed, seconds) = self
        code, text = verdict.hints[0] if verdict.hints else (None, None)
        values = (student, exercise.name, verdict.right, code, text, printed, round(seconds, 3), encodable(str(path)))
        return dict(zip(COLUMNS, values, strict=True))


def encodable(name: str) -> str:
    """Return a file's name, escaping undecodable bytes and control characters."""
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in name)
    return shown.encode(errors="backslashreplace").decode()


def submissions(folder: str | os.PathLike) -> tuple[list[Submission], list[Path]]:
    """Find the submissions of a class, by student and exercise, and the Python files that belong to no exercise.

    The folder has one folder per student, with files named as by ``minicereb exercise start``. Files directly in it belong to one
    student, named like the folder. :class:`DataError` if there is no submission.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of submissions")
    owners = {folder: encodable(folder.resolve().name)}
    owners |= {path: encodable(path.name) for path in sorted(folder.iterdir()) if path.is_dir()}
    by_file = {exercise.file_name: exercise for exercise in EXERCISES.values()}
    found = [
        Submission(student, exercise, place / name)
        for place, student in owners.items()
        for name, exercise in by_file.items()
        if os.path.lexists(place / name)
    ]
    others = [path for place in owners for path in sorted(place.glob("*.py")) if path.name not in by_file]
    if not found:
        raise DataError(f"{folder} holds no submission: a folder for each student, with files such as {next(iter(by_file))}")
    return found, others


def grade(found: list[Submission], limit: float) -> Iterator[Graded]:
    """Check submissions, one per thread at a time, and yield them in order; `limit` is in seconds per submission."""
    require(0 < limit < float("inf"), "limit", limit, "seconds above 0")
    with ThreadPoolExecutor(execution().threads) as pool:
        try:
            reports = pool.map(lambda each: _report(each, limit), found)
            yield from map(Graded, found, reports)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _report(submission: Submission, limit: float) -> Report:
    """The report on a submission; if it cannot be checked, the report says why."""
    began = time.monotonic()
    try:
        status = os.lstat(submission.path)  # a link may lead to somebody else's solution
        if not stat.S_ISREG(status.st_mode):
            return _not_checked("it is not a regular file; hand in the file itself", began)
        if status.st_size > LARGEST:
            return _not_checked(f"it has {status.st_size:,} bytes; more than {LARGEST:,} are not read", began)
        return check_file(submission.exercise, submission.path, limit)
    except Exception as error:  # the other submissions are still graded
        return _not_checked(f"it could not be checked: {type(error).__name__}: {printable(str(error), 300)}", began)


def _not_checked(why: str, began: float) -> Report:
    return Report(Diagnosis(False, (Hint("not checked", why),)), 0, time.monotonic() - began)


def write_csv(path: str | os.PathLike, graded: list[Graded]) -> None:
    """Write a header and a line for each submission as CSV in UTF-8."""
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, COLUMNS)
    table.writeheader()
    table.writerows({name: _harmless(value) for name, value in each.row().items()} for each in graded)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def _harmless(value: object) -> object:
    """Return the value in a form that no spreadsheet reads as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
