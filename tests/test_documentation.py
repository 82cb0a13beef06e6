"""The table of contents beside every page: what stands in it, by which names, and what does not."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from minicereb.robustness.catalogue import ATTACKS
from minicereb.studies.report import title

DOCS = Path(__file__).parents[1] / "docs"
TEACHERS = {"lessons/instructors", "lessons/grading"}


def text(page):
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def children(page):
    """Pages in the tables of contents that stand on a page, as Sphinx finds them."""
    folder, found = (DOCS / page).parent, []
    for block in re.findall(r"^```\{toctree\}\n(.*?)^```$", text(page), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line and not line.startswith(":"):
                matches = sorted(folder.glob(f"{line}.md"))
                assert matches, f"{page}: nothing is {line}"
                found += [path.relative_to(DOCS).with_suffix("").as_posix() for path in matches]
    return [each for each in dict.fromkeys(found) if each != page]


def tree(page="index"):
    """Every page that the table of contents leads to."""
    for child in children(page):
        yield child
        yield from tree(child)


def heading(page):
    return re.search(r"^# (.+)$", text(page), re.MULTILINE)[1]


def test_pages_that_stand_side_by_side_have_different_titles():
    pages = ["index", *tree()]
    assert len(pages) == len(set(pages))
    for page in pages:
        counts = Counter(heading(child) for child in children(page))
        assert [name for name, count in counts.items() if count > 1] == []


def test_results_are_one_entry_with_pages_of_its_own():
    assert [page for page in children("index") if page.startswith("results")] == ["results/README"]
    assert {f"results/{path.parent.name}/report" for path in DOCS.glob("results/*/report.md")} <= set(children("results/README"))


def test_every_page_has_its_place_but_the_answers_which_teachers_reach_by_a_link():
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in DOCS.rglob("*.md")}
    pages = {page for page in pages if not page.startswith(("_build", "solutions"))}
    assert pages - {"index", *tree()} == TEACHERS
    for page in TEACHERS:
        assert text(page).startswith(
            "---\norphan: true\nnosearch: true\n---\n"
        )  # Sphinx does not miss it, and no search finds it
        assert f"]({page}.md)" in text("index")


def test_no_page_leads_students_to_answers_or_solutions():
    for page in tree():  # the front page alone has a door for teachers
        assert not re.search(r"\]\([^)]*(instructors|grading\.md|solutions)", text(page)), page
        assert not (page.startswith(("lessons", "exercises")) and re.search("instructors|solutions/", text(page))), page


@pytest.mark.parametrize("path", sorted(DOCS.glob("results/*/study.json")), ids=lambda path: path.parent.name)
def test_a_report_has_the_title_that_its_study_gives_it(path):
    page = path.with_name("report.md").relative_to(DOCS).with_suffix("").as_posix()
    assert heading(page) == title(json.loads(path.read_text(encoding="utf-8")))


def test_every_attack_of_an_evaluation_is_in_the_table():
    table = [line for line in (DOCS / "robustness.md").read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    named = {name for line in table for name in re.findall(r"`([\w-]+)`", line.split("|")[1])}
    assert set(ATTACKS) <= named


def findings():
    """The rows of the table of results: question, what was found, scale and date."""
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text("results/README").splitlines()]
    return [row for row in rows if len(row) == 3 and not row[0].startswith(("**", "question", "---"))]


def linked(cell):
    """The pages of results that a cell links to."""
    return re.findall(r"\]\(([\w/-]+)\.md\)", cell)


def test_every_page_of_results_is_in_the_table_of_what_was_found():
    pages = {path.relative_to(DOCS / "results").with_suffix("").as_posix() for path in (DOCS / "results").rglob("*.md")}
    assert {page for _, found, _ in findings() for page in linked(found)} == pages - {"README"}


@pytest.mark.parametrize("row", findings(), ids=lambda row: row[0])
def test_a_finding_has_a_date_and_its_numbers_are_on_its_pages(row):
    question, found, when = row
    assert question.endswith("?")
    assert re.search(r"2026-\d\d-\d\d$", when)
    pages = "\n".join(text(f"results/{page}") for page in linked(found))
    printed = [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\.?\d*", pages)]
    said = re.sub(r"\]\([^)]*\)|\b[\d]+/\d+", "", found)
    for number in re.findall(r"\d[\d,]*(?:\.\d+)?", said):
        digits = len(number.partition(".")[2])
        assert any(round(each, digits) == float(number.rstrip(",").replace(",", "")) for each in printed), number
