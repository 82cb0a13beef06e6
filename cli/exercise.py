"""``minicereb exercise``: small tasks with a statement, a stub and a check."""

from __future__ import annotations

import textwrap
from pathlib import Path

import click

from minicereb.cli.group import Group
from minicereb.cli.options import NewFile, as_json
from minicereb.cli.output import StatusLine, print_json, print_table
from minicereb.errors import InputError
from minicereb.exercises.course import EXERCISES, exercise_named
from minicereb.exercises.grading import Graded, encodable, submissions, write_csv
from minicereb.exercises.grading import grade as graded_in_order
from minicereb.exercises.submission import check_file, submission_name
from minicereb.files import atomic_write

limit_option = click.option("--limit", default=20.0, show_default=True, metavar="SECONDS", help="Time for a submission.")


@click.group(cls=Group)
def exercise() -> None:
    """List, start, check and grade exercises."""


@exercise.command("list")
@as_json
def list_exercises(as_json: bool) -> None:
    """List the exercises, in the order of a course."""
    if as_json:
        rows = [
            {
                "name": each.name,
                "title": each.title,
                "equations": list(each.tags),
                "function": each.function,
                "file": each.file_name,
            }
            for each in EXERCISES.values()
        ]
        print_json({"exercises": rows})
        return
    cells = [(each.name, each.title, " ".join(each.tags), each.file_name) for each in EXERCISES.values()]
    print_table(("name", "what", "equations", "file"), cells)


@exercise.command()
@click.argument("name")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), default=".", help="Folder.  [default: this one]")
@as_json
def start(name: str, to: Path, as_json: bool) -> None:
    """Write the file of the exercise NAME, to be filled in, and print what is asked."""
    chosen = exercise_named(name)
    path = to / chosen.file_name
    if path.exists():
        raise InputError("to", str(to), f"a folder without {chosen.file_name}: what is there is not replaced")
    with atomic_write(path) as file:
        file.write(chosen.stub().encode())
    if as_json:
        print_json({"exercise": chosen.name, "file": str(path), "function": chosen.function})
        return
    click.echo(f"{chosen.title}\n\n{textwrap.fill(chosen.statement, 100)}\n")
    for line in chosen.equations():
        click.echo(textwrap.fill(line, 100, initial_indent="    ", subsequent_indent="      "))
    click.echo(f"\nWrite {chosen.signature} in {path}, then: minicereb exercise check {path}")


@exercise.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--exercise", "name", help="Which exercise it is.  [default: by the file's name]")
@limit_option
@as_json
@click.pass_context
def check(context: click.Context, file: Path, name: str | None, limit: float, as_json: bool) -> None:
    """Check FILE in a process of its own, and say what is wrong; exit with 1 if anything is."""
    chosen = submission_name(file, EXERCISES) if name is None else exercise_named(name)
    report = check_file(chosen, file, limit)
    verdict = report.verdict
    if as_json:
        print_json(
            {
                "exercise": chosen.name,
                "file": str(file),
                "right": verdict.right,
                "hints": [{"hint": hint.code, "text": hint.text} for hint in verdict.hints],
                "example": verdict.example,
                "printed": report.printed,
                "seconds": round(report.seconds, 3),
            }
        )
    else:
        click.echo(f"{chosen.title}: {'right' if verdict.right else 'not right yet'}")
        for hint in verdict.hints:
            click.echo(textwrap.fill(f"{hint.code}: {hint.text}", 100, initial_indent="  ", subsequent_indent="    "))
        if verdict.example:
            click.echo(f"  for example {verdict.example}")
        if report.printed:
            click.echo(f"  (it printed {report.printed:,} characters, which are not shown)")
    if not verdict.right:
        context.exit(1)


@exercise.command()
@click.argument("folder", type=click.Path(path_type=Path))
@limit_option
@click.option("--csv", "csv_file", type=NewFile(), help="Also write the table to this file.")
@as_json
def grade(folder: Path, limit: float, csv_file: Path | None, as_json: bool) -> None:
    """Check a class's submissions: a folder in FOLDER for each student, each file in a process of its own."""
    found, others = submissions(folder)
    names = [encodable(str(path)) for path in others]
    line, done = StatusLine(), []
    try:
        for each in graded_in_order(found, limit):
            done.append(each)
            line.update(f"{len(done)} of {len(found)} checked")
        line.close()
        if as_json:
            print_json({"submissions": [each.row() for each in done], "others": names})
            return
        _print_class(done)
        for name in names:
            click.echo(f"{name} is no exercise's file and was not checked")
    finally:
        if csv_file is not None:  # what was checked, whatever came between
            write_csv(csv_file, done)


def _print_class(done: list[Graded]) -> None:
    """A line for each submission, then how many each student has right."""
    cells = []
    for each in done:
        verdict = each.report.verdict
        printed = f", printed {each.report.printed:,} characters" if each.report.printed else ""
        hint = verdict.hints[0].code if verdict.hints else ""
        cells.append(
            (each.submission.student, each.submission.exercise.name, "right" if verdict.right else "wrong", hint + printed)
        )
    print_table(("student", "exercise", "", "hint"), cells)
    click.echo()
    students = dict.fromkeys(each.submission.student for each in done)
    counts = [
        (student, [each.report.verdict.right for each in done if each.submission.student == student]) for student in students
    ]
    print_table(("student", "right", "handed in"), [(name, str(sum(right)), str(len(right))) for name, right in counts])
