"""Feedback for each student of a class as a Markdown file: what is right, what is not, hints and points."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path

from minicereb.exercises.course import EXERCISES
from minicereb.exercises.grading import Graded, Points, Standing, Student, encodable, total
from minicereb.files import atomic_write
from minicereb.report.page import Block, Command, Page, Section, Table, Text, markdown

LONGEST = 200  # largest number of bytes of a student's name in a file name


def feedback_files(folder: str | os.PathLike, students: Sequence[Student]) -> dict[Path, Path]:
    """Return, for each student's folder, the path of a file in `folder` that is named after the student.

    Characters that not every system allows in names are replaced. If a name is already taken, even with different capital
    letters, a number is appended.
    """
    taken: set[str] = set()
    return {student.folder: Path(folder) / f"{_free(student.name, taken)}.md" for student in students}


def _free(name: str, taken: set[str]) -> str:
    """Return a name, with a number appended if it is taken already, and add it to `taken`."""
    allowed = re.sub(r'[<>:"/\\|?*]', "_", unicodedata.normalize("NFC", name))
    plain = allowed.encode()[:LONGEST].decode(errors="ignore").strip(". ")
    numbered = (f"{plain or 'student'}{number}" for number in chain([""], (f"-{number}" for number in count(2))))
    found = next(each for each in numbered if each.casefold() not in taken)
    taken.add(found.casefold())
    return found


def write_feedback(path: str | os.PathLike, standing: Standing, points: Points) -> None:
    """Write the feedback for a student, atomically; `points` says how much each exercise counts."""
    with atomic_write(path) as file:
        file.write(markdown(feedback(standing, points), {}).encode())


def feedback(standing: Standing, points: Points) -> Page:
    """Return the feedback for a student: points, hints about what is not right yet, and what was not handed in.

    It contains no solution.
    """
    student, graded = standing
    wrong = [each for each in graded if not each.report.verdict.right]
    missing = points.keys() - {each.submission.exercise.name for each in graded}
    counts = f"{standing.right} right, {len(wrong)} not right yet, {len(missing)} not handed in"
    lead = f"{standing.points:g} of {total(points.values()):g} points. {counts}."
    sections = [Section("Exercises", [_overview(graded, points)])]
    sections += [Section(each.submission.exercise.title, list(_hints(each))) for each in wrong]
    if missing:
        again = Text("To begin an exercise that you have not handed in, with its name from the table:")
        sections.append(Section("Not handed in", [again, Command("minicereb exercise start NAME")]))
    if student.others:
        names = ", ".join(encodable(path.name) for path in student.others)
        sections.append(Section("Not checked", [Text(f"{names}: not a file of an exercise. Keep the name that its stub has.")]))
    return Page(f"Feedback for {student.name}", lead, sections)


def _overview(graded: Sequence[Graded], points: Points) -> Table:
    """Return a table of the exercises that count or were handed in."""
    by_name = {each.submission.exercise.name: each for each in graded}
    rows = []
    for name, exercise in EXERCISES.items():
        found = by_name.get(name)
        if found or name in points:
            result = "not handed in" if found is None else "right" if found.report.verdict.right else "not right yet"
            earned = f"{found.points if found else 0:g} of {points[name]:g}" if name in points else "does not count"
            rows.append((name, exercise.title, result, earned))
    return Table(("exercise", "task", "result", "points"), rows)


def _hints(graded: Graded) -> Iterator[Block]:
    """Yield the hints about an answer that is not right."""
    (_, exercise, path, _), (verdict, printed, _) = graded
    yield Text(f"{path.name}, function {exercise.signature}:")
    for hint in verdict.hints:
        yield Text(f"{hint.code}: {hint.text}")
    if verdict.example:
        yield Text(f"For example {verdict.example}.")
    if printed:
        yield Text(f"It printed {printed:,} characters, which are not shown.")
    yield from map(Text, exercise.equations())
    yield Command(f"minicereb exercise check {path.name}")
