"""What every lesson has, read without running it: the documentation's build runs the code."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from minicereb.calculus.equations import EQUATIONS
from minicereb.exercises.course import EXERCISES

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "lessons"
LESSONS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("[0-9]*.md"))}
INSTRUCTORS = (FOLDER / "instructors.md").read_text(encoding="utf-8")
SYLLABUS = (FOLDER / "syllabus.md").read_text(encoding="utf-8")
WEEK = re.compile(r"^\| \d+ \| \[(.+)\]\((.+)\.md\) \|.+\|([\d, ]*)\|.+\| (\d+) \|(.*)\|$", re.MULTILINE)
LINES_OF_A_CELL, LINES_OF_A_LESSON, LINES_OF_A_FUNCTION, COLUMNS_OF_A_CELL = 30, 180, 12, 100
LIBRARIES = {"minicereb", "numpy", "IPython", "dataclasses"}
ENGINE = ("calculus", "datasets", "models", "learning", "attacks", "tasks", "robustness", "report")
every_lesson = pytest.mark.parametrize("lesson", LESSONS)


def title(text):
    return re.search(r"^# (.+)$", text, re.MULTILINE)[1]


def cells(text):
    """Sources of the code cells, without their options."""
    found = re.findall(r"^```\{code-cell\} python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(r"\A---\n.*?^---\n", "", cell, flags=re.MULTILINE | re.DOTALL) for cell in found]


def folded(text):
    """Questions and their folded answers, and the source of the cell that checks the answers."""
    section = re.search(r"^## Check yourself\n\n(.*?)(?=^## )", text, re.MULTILINE | re.DOTALL)[1]
    asked = re.findall(r"^<details>\n<summary>(.*?)</summary>\n\n(.*?)\n\n</details>\n\n", section, re.MULTILINE | re.DOTALL)
    (check,) = re.findall(
        r"^```\{code-cell\} python\n---\ntags: \[remove-cell\]\n---\n(.*?)^```$", section, re.MULTILINE | re.DOTALL
    )
    assert len(asked) == section.count("<details>")
    return asked, check


def prose(text):
    """The text without front matter and code."""
    return re.sub(r"^```.*?^```$|\A---\n.*?^---\n", "", text, flags=re.MULTILINE | re.DOTALL)


def imported(source):
    """(module, name) of everything that a source imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)


def public_functions():
    """Names of the functions and classes of the engine."""
    names = set()
    for layer in ENGINE:
        for path in (ROOT / "minicereb" / layer).rglob("*.py"):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                    names.add(node.name)
    return names


def test_there_are_lessons():
    assert len(LESSONS) >= 1


@every_lesson
def test_a_lesson_begins_with_a_question_and_ends_with_exercises_and_what_is_not_known(lesson):
    text = prose(LESSONS[lesson])
    assert re.match(r"\s*# [^\n]+\n\n(> [^\n]+\n)*> [^\n]+\?\n\n", text)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[-3:] == ["Check yourself", "Exercises", "What is not known"]
    assert re.search(r"^## Exercises\n\n1\. ", text, re.MULTILINE)


@every_lesson
def test_a_reader_can_follow_the_code(lesson):
    sources = cells(LESSONS[lesson])
    lengths = [len(source.splitlines()) for source in sources if source != folded(LESSONS[lesson])[1]]
    assert len(sources) == LESSONS[lesson].count("```{code-cell}") >= 3
    assert max(lengths) <= LINES_OF_A_CELL
    assert sum(lengths) <= LINES_OF_A_LESSON
    assert all(len(line) <= COLUMNS_OF_A_CELL for source in sources for line in source.splitlines())
    assert all(len(line) <= 130 for line in LESSONS[lesson].splitlines() if not line.startswith(("    alt:", "|")))


@every_lesson
def test_a_lesson_uses_what_the_package_has_and_does_not_make_it_again(lesson):
    whole = "\n".join(cells(LESSONS[lesson]))
    imports = list(imported(whole))
    assert {module.split(".")[0] for module, _ in imports} <= LIBRARIES
    assert sum(module.startswith("minicereb") for module, _ in imports) >= 3
    for module, name in imports:
        if module.startswith("minicereb"):
            assert hasattr(importlib.import_module(module), name) or importlib.import_module(f"{module}.{name}")
            assert not name.startswith("_")
    functions = [node for node in ast.walk(ast.parse(whole)) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert {function.name for function in functions}.isdisjoint(public_functions())
    assert all(node.end_lineno - node.lineno < LINES_OF_A_FUNCTION for node in functions)
    assert "np.random" not in whole  # draws have addresses


@every_lesson
def test_equations_are_written_as_in_their_table(lesson):
    formulas = {each.tag: each.formula for each in EQUATIONS}
    written = re.findall(r"^```text\n(.*?)\n```$", LESSONS[lesson], re.MULTILINE | re.DOTALL)
    tagged = [line.rsplit("    ", 1) for block in written for line in block.splitlines()]
    assert tagged
    assert all(len(line) == 2 and formulas[line[1].strip("[]")] == line[0] for line in tagged)


@every_lesson
def test_what_cells_print_is_not_repeated_in_prose(lesson):
    assert not re.search(r"\d\.\d{3}|\d\.\d+\s?%", prose(LESSONS[lesson]))


@every_lesson
def test_nothing_follows_a_comment_on_its_line(lesson):  # Markdown would take it for HTML
    assert not re.search(r"--> *\S", LESSONS[lesson])


@every_lesson
def test_self_checks_have_answers_whose_numbers_are_checked(lesson):
    asked, check = folded(LESSONS[lesson])
    assert 3 <= len(asked) <= 5
    assert all(question.endswith("?") and len(answer.split()) >= 3 for question, answer in asked)
    numbers = {number for question, answer in asked for number in re.findall(r"\d+\.\d+", answer)}
    assert numbers <= set(re.findall(r"\d+\.\d+", check))
    assert check.count("assert ") >= 2


@every_lesson
def test_every_figure_says_in_words_what_it_shows(lesson):
    blocks = re.findall(r"^```\{code-cell\} python\n(.*?)^```$", LESSONS[lesson], re.MULTILINE | re.DOTALL)
    for block in blocks:
        assert bool(re.search(r"^(SVG|sliders)\(", block, re.MULTILINE)) == bool(re.search(r"^    alt: \S", block, re.MULTILINE))


@every_lesson
def test_instructors_find_time_prerequisites_notes_and_an_answer_to_every_question(lesson):
    section = re.search(rf"^## {re.escape(title(LESSONS[lesson]))}\n(.*?)(?=^## |\Z)", INSTRUCTORS, re.MULTILINE | re.DOTALL)[1]
    assert re.match(r"\nMinutes: \d+\. Prerequisites: (?:.+\n)?.+\.\n\n\*\*Teaching\.\*\* [^\n]+\n", section)
    asked = [int(number) for number in re.findall(r"^\*\*Question (\d+)\.\*\* ", LESSONS[lesson], re.MULTILINE)]
    assert asked
    assert asked == list(range(1, len(asked) + 1))
    assert [int(number) for number in re.findall(r"^(\d+)\. ", section, re.MULTILINE)] == asked


@every_lesson
def test_the_index_leads_to_lesson_and_notebook(lesson):
    index = (FOLDER / "index.md").read_text(encoding="utf-8")
    assert f"[{title(LESSONS[lesson])}]({lesson}.md)" in index
    assert re.search(rf"\{{nb-download\}}`([a-z ]+<)?{lesson}\.ipynb>?`", index)
    slides = f'<a href="{lesson}-slides.html">slides</a>'
    assert slides in index
    notebook = f"{{nb-download}}`notebook <{lesson}.ipynb>`"
    foot = f"You can also read this lesson as a {notebook}\nor as {slides}. The text is licensed under [CC BY 4.0](LICENSE.md).\n"
    assert LESSONS[lesson].endswith(foot)


@every_lesson
def test_the_exercises_named_exist(lesson):
    named = re.findall(r"`minicereb exercise start ([a-z-]+)`", LESSONS[lesson])
    assert set(named) <= set(EXERCISES)


@every_lesson
def test_the_syllabus_has_each_lesson_with_its_minutes(lesson):
    name, minutes = title(LESSONS[lesson]), {found[1]: (found[0], found[3]) for found in WEEK.findall(SYLLABUS)}
    said = re.search(rf"^## {re.escape(name)}\n\nMinutes: (\d+)\.", INSTRUCTORS, re.MULTILINE)[1]
    assert minutes[lesson] == (name, said)


def test_the_syllabus_adds_up():
    weeks = {int(lesson[:2]): (after, int(minutes), handed_in) for _, lesson, after, minutes, handed_in in WEEK.findall(SYLLABUS)}
    assert list(weeks) == list(range(1, len(LESSONS) + 1))
    points = {}
    for week, (after, _, handed_in) in weeks.items():
        assert all(int(each) < week for each in after.split(",") if each.strip())
        for name, worth in re.findall(r"`([a-z0-9-]+)` \((\d)\)", handed_in):
            assert EXERCISES[name].points == int(worth)
            assert f"minicereb exercise start {name}" in " ".join(LESSONS[list(LESSONS)[week - 1]].split())
            points[name] = week
    assert points.keys() == EXERCISES.keys()
    assert f"{sum(EXERCISES[name].points for name in points)} points in the long course" in SYLLABUS
    short = [int(number) for number in re.findall(r"\[(\d+)\]\(\d\d-", SYLLABUS.partition("## The short course")[2])]
    assert all(int(each) in short for week in short for each in weeks[week][0].split(",") if each.strip())
    total = sum(EXERCISES[name].points for name, week in points.items() if week in short)
    assert f"together {sum(weeks[week][1] for week in short)} minutes and {total} points" in " ".join(SYLLABUS.split())
