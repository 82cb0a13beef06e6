"""Grade the submissions of a class, each in its own process, and write a table with points."""

from __future__ import annotations

import csv
import io
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Annotated, NamedTuple

from minicereb.backend import execution
from minicereb.diagnosis.hints import Diagnosis, Hint
from minicereb.documents import Range, read_json
from minicereb.errors import DataError, did_you_mean, require
from minicereb.exercises.course import EXERCISES
from minicereb.exercises.definition import Exercise
from minicereb.exercises.submission import Report, check_file, printable
from minicereb.files import atomic_write

LARGEST = 1 << 20  # largest size of a submission, in bytes
LARGEST_POINTS = 1 << 16  # largest size of a file of points, in bytes
COLUMNS = ("student", "exercise", "right", "hint", "text", "printed", "seconds", "file", "points", "of")
Points = Mapping[str, float]  # maps the name of each exercise that counts to the points for a right answer
Worth = Annotated[float, Range(0, 1000)]


class Submission(NamedTuple):
    """A file that a student handed in, and the points for a right answer, which are 0 if the exercise does not count."""

    student: str
    exercise: Exercise
    path: Path
    worth: float


class Student(NamedTuple):
    """The name and path of a student's folder, the submissions in the folder, and its Python files that belong to no exercise."""

    name: str
    folder: Path
    submissions: list[Submission]
    others: list[Path]


class Graded(NamedTuple):
    """A submission and its report."""

    submission: Submission
    report: Report

    @property
    def points(self) -> float:
        """The points that the submission earns."""
        return self.submission.worth if self.report.verdict.right else 0

    def row(self) -> dict[str, object]:
        """Return the values of the columns :data:`COLUMNS`, keyed by name."""
        (student, exercise, path, worth), (verdict, printed, seconds) = self
        code, text = verdict.hints[0] if verdict.hints else (None, None)
        values = (student, exercise.name, verdict.right, code, text, printed, round(seconds, 3), encodable(str(path)))
        return dict(zip(COLUMNS, (*values, self.points, worth), strict=True))


class Standing(NamedTuple):
    """A student and the reports on all the submissions."""

    student: Student
    graded: list[Graded]

    @property
    def right(self) -> int:
        """The number of right answers."""
        return sum(each.report.verdict.right for each in self.graded)

    @property
    def points(self) -> float:
        """The student's points."""
        return total(each.points for each in self.graded)

    def row(self) -> dict[str, object]:
        """Return the student's name and folder, how many answers are right, how many were handed in, and the points."""
        student, folder = self.student.name, encodable(str(self.student.folder))
        counts = {"right": self.right, "handed_in": len(self.graded), "points": self.points}
        return {"student": student, "folder": folder, **counts}


def usual_points() -> Points:
    """Return the usual points for each exercise, as the exercise declares them."""
    return {name: exercise.points for name, exercise in EXERCISES.items()}


def read_points(path: str | os.PathLike) -> Points:
    """Return the points of a course from a JSON file: an object with a number from 0 to 1000 for each exercise that counts.

    It raises :class:`DataError` if the file does not hold an object of this form, or if the object is empty or names an exercise
    that does not exist.
    """
    points = read_json(path, dict[str, Worth], LARGEST_POINTS)
    for name in points:
        if name not in EXERCISES:
            suggestion = did_you_mean(name, EXERCISES) or "; expected names as in minicereb exercise list"
            raise DataError(f"{path}: {name!r} is not an exercise{suggestion}")
    if not points:
        raise DataError(f"{path} names no exercise; expected at least one with its points")
    return {name: points[name] for name in EXERCISES if name in points}


def total(points: Iterable[float]) -> float:
    """Return a sum of points without the rounding errors of decimal fractions; an integer if all points are integers."""
    return round(sum(points), 9)


def encodable(name: str) -> str:
    """Return a file's name, escaping undecodable bytes and control characters."""
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in name)
    return shown.encode(errors="backslashreplace").decode()


def submissions(folder: str | os.PathLike, points: Points) -> tuple[list[Student], list[Path]]:
    """Find the students of a class with their submissions, and all Python files that belong to no exercise.

    The folder has one folder per student, with files named by ``minicereb exercise start``. Files directly in the class
    folder belong to one student, named like the folder. Folders without Python files are ignored. It raises
    :class:`DataError` if there is no submission.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of submissions")
    owners = {folder: encodable(folder.resolve().name)}
    owners |= {path: encodable(path.name) for path in sorted(folder.iterdir()) if path.is_dir()}
    by_file = {exercise.file_name: exercise for exercise in EXERCISES.values()}
    found = []
    for place, name in owners.items():
        files = [(exercise, place / file) for file, exercise in by_file.items() if os.path.lexists(place / file)]
        handed_in = [Submission(name, exercise, path, points.get(exercise.name, 0)) for exercise, path in files]
        others = [path for path in sorted(place.glob("*.py")) if path.name not in by_file]
        found.append(Student(name, place, handed_in, others))
    if not any(student.submissions for student in found):
        raise DataError(f"{folder} holds no submission: a folder for each student, with files such as {next(iter(by_file))}")
    students = [each for each in found if each.submissions or (each.others and each.folder != folder)]
    return students, [path for student in found for path in student.others]


def grade(found: list[Submission], limit: float) -> Iterator[Graded]:
    """Check submissions in parallel, and yield them in order; `limit` is the time for each submission in seconds."""
    require(0 < limit < float("inf"), "limit", limit, "seconds above 0")
    with ThreadPoolExecutor(execution().threads) as pool:
        try:
            reports = pool.map(lambda each: _report(each, limit), found)
            yield from map(Graded, found, reports)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _report(submission: Submission, limit: float) -> Report:
    """Return the report on a submission. If the submission cannot be checked, the report says why."""
    began = time.monotonic()
    try:
        status = os.lstat(submission.path)  # a link might lead to someone else's solution
        if not stat.S_ISREG(status.st_mode):
            return _not_checked("it is not a regular file; hand in the file itself", began)
        if status.st_size > LARGEST:
            return _not_checked(f"it has {status.st_size:,} bytes; more than {LARGEST:,} are not read", began)
        return check_file(submission.exercise, submission.path, limit)
    except Exception as error:  # the other submissions are still graded
        return _not_checked(f"it could not be checked: {type(error).__name__}: {printable(str(error), 300)}", began)


def _not_checked(why: str, began: float) -> Report:
    return Report(Diagnosis(False, (Hint("not checked", why),)), 0, time.monotonic() - began)


def standings(students: Iterable[Student], graded: Iterable[Graded]) -> list[Standing]:
    """Return the standings of those students whose submissions have all been checked, given the reports in order."""
    reports = iter(graded)
    found = [Standing(student, list(islice(reports, len(student.submissions)))) for student in students]
    return [each for each in found if len(each.graded) == len(each.student.submissions)]


def write_csv(path: str | os.PathLike, graded: Iterable[Graded], complete: Iterable[Standing]) -> None:
    """Write a header and a line for each submission as CSV in UTF-8.

    The last column, equal in all lines of a student, is the sum of the student's points. The column is empty for students who
    are not in `complete`, because some of their submissions have not been checked.
    """
    totals = {each.student.folder: each.points for each in complete}
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, (*COLUMNS, "total"))
    table.writeheader()
    for each in graded:
        row = {**each.row(), "total": totals.get(each.submission.path.parent)}
        table.writerow({name: _harmless(value) for name, value in row.items()})
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def _harmless(value: object) -> object:
    """Return the value in a form that spreadsheets do not interpret as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
