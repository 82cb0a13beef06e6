"""Pages: one file that needs nothing else, in which nothing that was read is taken for markup; tables read back from Markdown."""

import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from minicereb.errors import InputError
from minicereb.report.figures import curves, save_figure, svg
from minicereb.report.page import Command, Page, Picture, Section, Table, Text, Verdict, html, read_blocks, write

HOSTILE = """<script>alert("1")</script> ' onload='x' | {{ 7 * 7 }} ![x](http://example.org/x.png) `a`"""
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Read(HTMLParser):
    """What a page holds: its tags with attributes, its text; whether every tag is closed in its turn."""

    def __init__(self, document):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(document)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def drawing():
    line = (np.arange(3, dtype=np.float64), np.ones(3, dtype=np.float64))
    return curves([("", {"a": line, "b": line})], "ε", "share")


def page(text="nothing"):
    return Page(
        text,
        text,
        [
            Section(text, [Text(text), Table((text, "n"), [[text, "1.0 (0.5 to 2.0)"], [Verdict("fail"), "-"]]), Command(text)]),
            Section("empty", []),
            Section("figure", [Picture("line", svg(drawing()), ".svg", text)]),
        ],
    )


def test_a_page_refers_to_nothing_outside_itself():
    read = Read(html(page()))
    addresses = [value for _, attributes in read.tags for name, value in attributes.items() if name in ("src", "href", "srcset")]
    assert len(addresses) == 1
    assert addresses[0].startswith("data:image/svg+xml;base64,")
    assert base64.b64decode(addresses[0].split(",")[1]) == svg(drawing())
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in read.tags}
    assert "url(" not in html(page())
    assert "@import" not in html(page())
    assert "http" not in html(page()).replace("http-equiv", "")


def test_what_was_read_is_not_taken_for_markup():
    harmless, hostile = Read(html(page())), Read(html(page(HOSTILE)))
    one, other = ([(tag, sorted({*attributes} - {"class"})) for tag, attributes in read.tags] for read in (harmless, hostile))
    assert one == other
    assert HOSTILE in hostile.text
    assert "49" not in hostile.text


def test_what_was_read_is_not_taken_for_markup_in_markdown_either(tmp_path):
    write(page(HOSTILE), tmp_path / "page.html")
    text = (tmp_path / "page.md").read_text()
    outside = text.split("```")
    assert "<script" not in outside[0] + outside[2]
    assert "![x](" not in outside[0] + outside[2]
    assert "\n| " in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {3}


def test_equal_pages_have_equal_bytes_and_files_beside(tmp_path):
    for name in ("one", "two"):
        written = write(page(), tmp_path / name / "page.html")
    assert [path.name for path in written] == ["page.html", "page.md", "page-line.svg"]
    assert [path.read_bytes() for path in written] == [(tmp_path / "one" / path.name).read_bytes() for path in written]
    assert "](page-line.svg)" in written[1].read_text()


def test_text_of_somebody_else_is_not_written_over(tmp_path):
    (tmp_path / "table.md").write_text("mine")
    with pytest.raises(InputError, match="table.md exists already"):
        write(page(), tmp_path / "table.html")
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]
    for _ in range(2):
        write(page(), tmp_path / "page.html")


def test_numbers_stand_right_verdicts_have_a_symbol_and_empty_sections_are_left_out():
    read = Read(html(page()))
    assert read.text.count("1.0 (0.5 to 2.0)") == 1
    assert {attributes.get("class") for tag, attributes in read.tags if tag == "td"} == {None, "right"}
    assert "✗" in read.text
    assert "empty" not in read.text


def test_a_box_scrolls_and_not_the_page():
    document = html(page())
    assert ".box { overflow-x: auto;" in document
    read = Read(document)
    boxes = [attributes for tag, attributes in read.tags if attributes.get("class") == "box"]
    assert len(boxes) == [tag for tag, _ in read.tags].count("table") == 1
    assert boxes[0]["tabindex"] == "0"
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in read.tags
    assert "@page { size: A4;" in document


def test_a_figure_is_kept_as_png_and_svg_with_the_same_bytes_each_time(tmp_path):
    for name in ("one", "two"):
        save_figure(drawing(), tmp_path / f"{name}.png")
    for ending in ("png", "svg"):
        assert (tmp_path / f"one.{ending}").read_bytes() == (tmp_path / f"two.{ending}").read_bytes()
    assert b"<dc:date>" not in (tmp_path / "one.svg").read_bytes()


def test_tables_and_paragraphs_are_read():
    source = "| a | b\\|c |\n|---|--:|\n| 1 | 2 |\n| 3 |\n\nSome | text\nin two lines.\n\n\n|no|table|\n"
    assert read_blocks(source) == [
        Table(["a", "b|c"], [["1", "2"], ["3", ""]]),
        Text("Some | text in two lines."),
        Text("|no|table|"),
    ]
    assert read_blocks("  \n") == []


def test_a_table_that_was_written_is_read_back(tmp_path):
    table = Table(["model", "a|b"], [["x", "1.0"], ["y", "-"]])
    write(Page("t", "l", [Section("s", [table])]), tmp_path / "page.html")
    assert table in read_blocks((tmp_path / "page.md").read_text())


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
MEASURE = """<script>onload = () => { document.body.dataset.hidden =
[...document.querySelectorAll(".box")].map(box => box.scrollWidth - box.clientWidth) }</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here to lay out a page")
@pytest.mark.parametrize("study", ["masking", "optimum", "savings"])  # the widest tables that were printed
def test_no_column_is_hidden_at_1366_pixels(study, tmp_path):
    report = Path(__file__).parents[2] / "docs" / "results" / study / "report.md"
    tables = [block for block in read_blocks(report.read_text(encoding="utf-8")) if isinstance(block, Table)]
    document = html(Page(study, "Tables.", [Section("Tables", tables)]))
    document = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", document).replace("</body>", MEASURE)
    (tmp_path / "page.html").write_text(document, encoding="utf-8")
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1366,900", "--virtual-time-budget=2000")
    command = [CHROMIUM, *options, f"--user-data-dir={tmp_path}", "--dump-dom", (tmp_path / "page.html").as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    hidden = re.search(r'data-hidden="([^"]*)"', shown)[1].split(",")
    assert len(hidden) == len(tables)
    assert {*hidden} == {"0"}
