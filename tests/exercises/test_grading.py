"""Points, totals and feedback for a class."""

import csv
import importlib
import json
import os
import re
from pathlib import Path

import pytest
from commands import invoke, refused
from handed_in import LONG, RIGHT, hand_in

from minicereb.errors import MinicerebError
from minicereb.exercises.course import EXERCISES
from minicereb.exercises.feedback import feedback_files
from minicereb.exercises.grading import Student, total

SOLUTIONS = Path(__file__).parents[2] / "docs" / "solutions"
RELU = (SOLUTIONS / "relu_derivative.py").read_text(encoding="utf-8")
WRONG = RIGHT.replace("sign", "tanh")
ALL = sum(exercise.points for exercise in EXERCISES.values())


def grade(folder, *options):
    result = invoke("exercise", "grade", folder, "--limit", LONG, "--json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def written(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


@pytest.fixture
def a_class(tmp_path):
    """Ann has two right answers, Bob a wrong one, Cat a file that belongs to no exercise."""
    folder = tmp_path / "class"
    hand_in(folder, "ann", RIGHT)
    hand_in(folder, "ann", RELU, "relu_derivative.py")
    hand_in(folder, "bob", WRONG)
    hand_in(folder, "cat", RIGHT, "my_fgsm.py")
    return folder


def test_every_exercise_declares_points_which_the_list_shows():
    assert all(exercise.points >= 1 for exercise in EXERCISES.values())
    listed = json.loads(invoke("exercise", "list", "--json").stdout)["exercises"]
    assert {each["name"]: each["points"] for each in listed} == {name: each.points for name, each in EXERCISES.items()}
    assert len({each.points for each in EXERCISES.values()}) > 1


def test_points_are_counted_for_each_student(a_class, tmp_path):
    fgsm, relu = EXERCISES["fgsm"].points, EXERCISES["relu-derivative"].points
    document = grade(a_class, "--csv", tmp_path / "class.csv")
    totals = [(row["student"], row["right"], row["handed_in"], row["points"], row["of"]) for row in document["students"]]
    assert totals == [("ann", 2, 2, fgsm + relu, ALL), ("bob", 0, 1, 0, ALL), ("cat", 0, 0, 0, ALL)]
    assert [(row["points"], row["of"]) for row in document["submissions"]] == [(relu, relu), (fgsm, fgsm), (0, fgsm)]
    with open(tmp_path / "class.csv", encoding="utf-8", newline="") as file:
        rows = [(row["student"], row["points"], row["total"]) for row in csv.DictReader(file)]
    assert rows == [("ann", f"{relu}", f"{fgsm + relu}"), ("ann", f"{fgsm}", f"{fgsm + relu}"), ("bob", "0", "0")]
    shown = invoke("exercise", "grade", a_class, "--limit", LONG).stdout
    assert f"{fgsm + relu} of {ALL}" in shown


def test_a_course_sets_what_counts_and_how_much(a_class, tmp_path):
    (tmp_path / "points.json").write_text('{"fgsm": 2.5, "im2col": 4}')
    document = grade(a_class, "--points", tmp_path / "points.json", "--feedback", tmp_path / "feedback")
    assert [(row["student"], row["points"], row["of"]) for row in document["students"]] == [
        ("ann", 2.5, 6.5),
        ("bob", 0, 6.5),
        ("cat", 0, 6.5),
    ]
    assert [(row["exercise"], row["points"], row["of"]) for row in document["submissions"]][0] == ("relu-derivative", 0, 0)
    ann = written(tmp_path / "feedback")["ann.md"]
    assert "2.5 of 6.5 points. 2 right, 0 not right yet, 1 not handed in." in ann
    assert "| relu-derivative | Derivative of ReLU | right | does not count |" in ann
    assert "delta-rule" not in ann


def test_sums_of_decimal_fractions_are_not_shown_with_their_rounding_errors():
    assert total([0.1, 0.2]) == 0.3
    assert repr(total([1, 2])) == "3"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "does not exist"),
        ("[1]", "expected an object"),
        ("{}", "names no exercise"),
        ('{"fgms": 1}', "'fgms' is not an exercise; did you mean 'fgsm'"),
        ('{"fgsm": "1"}', "fgsm is '1'; expected a number"),
        ('{"fgsm": -1}', "fgsm is -1; expected a number from 0 to 1000"),
        ('{"fgsm": NaN}', "not a finite number"),
        ('{"fgsm": 1, "fgsm": 2}', "twice"),
        ('{"fgsm": 1', "not a readable JSON document"),
    ],
)
def test_points_that_make_no_sense_are_refused_in_one_line(content, told, a_class, tmp_path, monkeypatch):
    monkeypatch.setattr("minicereb.cli.exercise.graded_in_order", lambda *_: pytest.fail("it has begun"))
    if content is not None:
        (tmp_path / "points.json").write_text(content)
    assert told in refused("exercise", "grade", a_class, "--points", tmp_path / "points.json")


def test_every_student_gets_a_file_with_hints_and_without_solutions(a_class, tmp_path):
    folder = tmp_path / "feedback"
    folder.mkdir()
    (folder / "mine.txt").write_text("notes")
    (folder / "bob.md").write_text("of last week")
    document = grade(a_class, "--feedback", folder)
    assert {row["student"]: row["feedback"] for row in document["students"]} == {
        name: str(folder / f"{name}.md") for name in ("ann", "bob", "cat")
    }
    files = written(folder)
    assert set(files) == {"ann.md", "bob.md", "cat.md", "mine.txt"}
    assert files["mine.txt"] == "notes"
    fgsm = EXERCISES["fgsm"]
    assert files["ann.md"].startswith("# Feedback for ann\n")
    assert f"| fgsm | {fgsm.title} | right | {fgsm.points} of {fgsm.points} |" in files["ann.md"]
    assert f"## {fgsm.title}" not in files["ann.md"]
    bob = files["bob.md"]
    assert f"0 of {ALL} points. 0 right, 1 not right yet, {len(EXERCISES) - 1} not handed in." in bob
    assert f"| fgsm | {fgsm.title} | not right yet | 0 of {fgsm.points} |" in bob
    assert "squashed: tanh is used instead of the sign" in bob
    assert "minicereb exercise check fgsm.py" in bob
    assert "my\\_fgsm.py" in files["cat.md"]
    code = [line.strip() for path in SOLUTIONS.glob("*.py") for line in path.read_text(encoding="utf-8").splitlines()]
    solved = {line for line in code if line.startswith("return ")}
    assert len(solved) >= len(EXERCISES)
    assert not [line for line in solved for text in files.values() if line.removeprefix("return ") in text]
    assert written(folder) == files
    grade(a_class, "--feedback", folder)
    assert written(folder) == files  # the same submissions, the same words


def test_what_a_student_writes_is_shown_as_it_is(tmp_path):
    said = "<b>bold</b> | `code` [link](http://a)"
    hand_in(tmp_path / "class", "ann", f"def fgsm(x, gradient, epsilon):\n    raise ValueError({said!r})\n")
    grade(tmp_path / "class", "--feedback", tmp_path / "feedback")
    text = written(tmp_path / "feedback")["ann.md"]
    assert "&lt;b>bold&lt;/b> | \\`code\\` \\[link\\](http://a)" in text


def test_students_of_one_name_do_not_overwrite_each_other(tmp_path):
    """A class's own folder may hold the submissions of a student of its name; the others differ in capitals only."""
    folder = tmp_path / "ann"
    hand_in(folder, ".", RIGHT)
    for student, source in (("ann", WRONG), ("ANN", RIGHT), ("Ann-2", WRONG)):
        hand_in(folder, student, source)
    rows = grade(folder, "--feedback", tmp_path / "feedback")["students"]
    files = [Path(row["feedback"]) for row in rows]
    assert len({path.name.casefold() for path in files}) == len(rows) == len(os.listdir(tmp_path / "feedback")) == 4
    for row, path in zip(rows, files, strict=True):
        assert path.read_text(encoding="utf-8").startswith(f"# Feedback for {row['student']}\n\n{row['points']} of ")


@pytest.mark.parametrize("name", ["a/b\\c:d", "..", "con|?*<>", "n" * 300, "é" * 200, "", "\udcff", " . "])
def test_any_name_gives_a_file_in_the_folder(name, tmp_path):
    names = (name, name)
    name = name.encode(errors="backslashreplace").decode()
    one, other = feedback_files(tmp_path, [Student(name, Path(place), [], []) for place in "ab"]).values()
    assert (one.parent, other.parent, one.suffix) == (tmp_path, tmp_path, ".md")
    assert one != other
    for path in (one, other):
        path.write_text("")
    assert len(os.listdir(tmp_path)) == len(names)


def test_a_place_that_cannot_be_written_is_told_before_the_work(a_class, tmp_path, monkeypatch):
    monkeypatch.setattr("minicereb.cli.exercise.graded_in_order", lambda *_: pytest.fail("it has begun"))
    (tmp_path / "feedback" / "bob.md").mkdir(parents=True)
    assert "cannot write" in refused("exercise", "grade", a_class, "--feedback", tmp_path / "feedback")
    assert os.listdir(tmp_path / "feedback") == ["bob.md"]
    (tmp_path / "file").touch()
    assert "is a file" in refused("exercise", "grade", a_class, "--feedback", tmp_path / "file")


def test_a_full_disk_costs_no_other_file_nor_the_table(a_class, tmp_path, monkeypatch):
    module = importlib.import_module("minicereb.exercises.feedback")
    write = module.atomic_write

    def full(path):
        if path.name == "ann.md":
            raise MinicerebError(f"cannot write {path}: no space left on the device; nothing was changed")
        return write(path)

    monkeypatch.setattr(module, "atomic_write", full)
    result = invoke("exercise", "grade", a_class, "--limit", LONG, "--feedback", tmp_path / "feedback")
    assert (result.exit_code, "bob" in result.stdout, "no space left" in result.stderr) == (2, True, True)
    assert sorted(os.listdir(tmp_path / "feedback")) == ["bob.md", "cat.md"]


def test_an_interrupted_class_has_files_only_of_students_who_were_checked_whole(a_class, tmp_path, monkeypatch):
    def interrupted(found, limit):
        for number, each in enumerate(graded(found, limit)):
            if number == 1:
                raise KeyboardInterrupt
            yield each

    graded = importlib.import_module("minicereb.exercises.grading").grade
    monkeypatch.setattr("minicereb.cli.exercise.graded_in_order", interrupted)
    places = ("--csv", tmp_path / "class.csv", "--feedback", tmp_path / "feedback")
    assert invoke("exercise", "grade", a_class, "--limit", LONG, *places).exit_code == 130
    assert "ann.md" not in os.listdir(tmp_path / "feedback")
    with open(tmp_path / "class.csv", encoding="utf-8", newline="") as file:
        assert [(row["student"], row["right"], row["total"]) for row in csv.DictReader(file)] == [("ann", "True", "")]


def test_the_page_of_exercises_gives_their_points():
    page = (SOLUTIONS.parent / "exercises.md").read_text(encoding="utf-8")
    rows = [re.fullmatch(r"\| `([a-z0-9-]+)` \| .* \| (\d+) \|", line) for line in page.splitlines()]
    assert {row[1]: int(row[2]) for row in rows if row} == {name: exercise.points for name, exercise in EXERCISES.items()}
