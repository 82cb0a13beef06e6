"""``minicereb exercise``: small tasks with a statement, a stub and a check."""

from __future__ import annotations

import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import click

from minicereb.cli.main import Group
from minicereb.cli.options import NEW_FILE, NEW_FOLDER, PATH
from minicereb.cli.output import Answer, as_json, shown
from minicereb.documents import table
from minicereb.errors import InputError, MinicerebError
from minicereb.exercises.course import EXERCISES, exercise_named
from minicereb.exercises.feedback import feedback_files, write_feedback
from minicereb.exercises.grading import Graded, encodable, read_points, standings, submissions, total, usual_points, write_csv
from minicereb.exercises.grading import grade as graded_in_order
from minicereb.exercises.submission import check_file
from minicereb.files import atomic_write
from minicereb.paths import check_file as check_place

limit_option = click.option("--limit", default=20.0, show_default=True, metavar="SECONDS", help="Time limit per submission.")


@click.group(cls=Group)
def exercise() -> None:
    """List, start, check and grade exercises."""


@exercise.command("list")
@as_json
def list_exercises() -> Answer:
    """List the exercises, in the order of a course."""
    listed, rows = [], []
    for each in EXERCISES.values():
        about = {"name": each.name, "title": each.title, "equations": each.tags, "function": each.function}
        listed.append({**about, "file": each.file_name, "points": each.points})
        rows.append((each.name, each.title, " ".join(each.tags), each.file_name, each.points))
    return Answer({"exercises": listed}, table(("name", "what", "equations", "file", "points"), rows))


@exercise.command()
@click.argument("name")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), default=".", help="Folder.  [default: this one]")
@as_json
def start(name: str, to: Path) -> Answer:
    """Write the file of the exercise NAME for you to complete, and print the task."""
    chosen = exercise_named(name)
    path = to / chosen.file_name
    if path.exists():
        raise InputError("to", str(to), f"a folder without {chosen.file_name}: what is there is not replaced")
    with atomic_write(path) as file:
        file.write(chosen.stub().encode())
    lines = [f"{chosen.title}\n", f"{textwrap.fill(chosen.statement, 100)}\n"]
    lines += [textwrap.fill(line, 100, initial_indent="    ", subsequent_indent="      ") for line in chosen.equations()]
    lines.append(f"\nWrite {chosen.signature} in {path}, then: minicereb exercise check {path}")
    return Answer({"exercise": chosen.name, "file": path, "function": chosen.function}, "\n".join(lines))


@exercise.command()
@click.argument("file", type=PATH)
@click.option("--exercise", "name", help="Name of the exercise.  [default: the name of the file]")
@limit_option
@as_json
def check(file: Path, name: str | None, limit: float) -> Answer:
    """Check FILE in a separate process and name its mistake; exit with 1 if the answer is wrong."""
    chosen = exercise_named(file.name if name is None else name)
    report = check_file(chosen, file, limit)
    verdict = report.verdict
    lines = [f"{chosen.title}: {'right' if verdict.right else 'not right yet'}"]
    for hint in verdict.hints:
        lines.append(textwrap.fill(f"{hint.code}: {hint.text}", 100, initial_indent="  ", subsequent_indent="    "))
    if verdict.example:
        lines.append(f"  for example {verdict.example}")
    if report.printed:
        lines.append(f"  (it printed {report.printed:,} characters, which are not shown)")
    hints = [{"hint": hint.code, "text": hint.text} for hint in verdict.hints]
    document = {"exercise": chosen.name, "file": file, "right": verdict.right, "hints": hints, "example": verdict.example}
    return Answer(document | {"printed": report.printed, "seconds": round(report.seconds, 3)}, "\n".join(lines), verdict.right)


@exercise.command()
@click.argument("folder", type=PATH)
@limit_option
@click.option("--csv", "csv_file", type=NEW_FILE, help="Also write the table to this file.")
@click.option(
    "--points",
    "points_file",
    type=PATH,
    help="JSON file with the exercises that count and their points.  [default: all exercises]",
)
@click.option("--feedback", "feedback_folder", type=NEW_FOLDER, help="Also write a file for each student into this folder.")
@as_json
def grade(folder: Path, limit: float, csv_file: Path | None, points_file: Path | None, feedback_folder: Path | None) -> Answer:
    """Check a class's submissions: FOLDER has one folder per student, and each file is checked in a separate process."""
    points = usual_points() if points_file is None else read_points(points_file)
    students, others = submissions(folder, points)
    files = {} if feedback_folder is None else feedback_files(feedback_folder, students)
    for file in files.values():
        check_place(file)
    found = [each for student in students for each in student.submissions]
    names = [encodable(str(path)) for path in others]
    done: list[Graded] = []
    unwritten = None
    try:
        for each in shown(graded_in_order(found, limit), lambda each: f"{len(done) + 1} of {len(found)} checked"):
            done.append(each)
    finally:  # even after an error or Ctrl-C: the table has the results so far
        complete = standings(students, done)
        writes = [] if csv_file is None else [partial(write_csv, csv_file, done, complete)]
        writes += [partial(write_feedback, files[each.student.folder], each, points) for each in complete if files]
        for write in writes:
            try:
                write()
            except MinicerebError as error:
                unwritten = unwritten or error
    rows = [each.row() | {"of": total(points.values()), "feedback": files.get(each.student.folder)} for each in complete]
    document = {"submissions": [each.row() for each in done], "students": rows, "others": names}
    lines = [_of_submissions(done), "", _of_students(rows)]
    lines += [f"{name} is not the file of any exercise and was not checked" for name in names]
    return Answer(document, "\n".join(lines), error=unwritten)


def _of_submissions(done: list[Graded]) -> str:
    """Return a table of the submissions."""
    rows = []
    for each in done:
        (student, exercise, _, worth), (verdict, printed, _) = each
        hint = verdict.hints[0].code if verdict.hints else ""
        remark = f", printed {printed:,} characters" if printed else ""
        right, points = "right" if verdict.right else "wrong", f"{each.points:g} of {worth:g}"
        rows.append((student, exercise.name, right, points, hint + remark))
    return table(("student", "exercise", "", "points", "hint"), rows)


def _of_students(rows: list[dict[str, Any]]) -> str:
    """Return a table of the students' points."""
    counts = [(row["student"], row["right"], row["handed_in"], f"{row['points']:g} of {row['of']:g}") for row in rows]
    return table(("student", "right", "handed in", "points"), counts)
