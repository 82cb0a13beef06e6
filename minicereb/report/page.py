"""Pages of text, tables, pictures and commands, as one HTML file or as Markdown; the tables of studies as Markdown."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from minicereb.errors import InputError
from minicereb.files import atomic_write

REPORT, REPORT_TEXT = "report.html", "report.md"  # default names of a page
MEDIA = {".svg": "image/svg+xml", ".png": "image/png"}
SYMBOLS = {"pass": "✓", "warn": "!", "fail": "✗", "not tested": "–"}  # so that colour is not the only signal
NUMBER = re.compile(r"[-+±]?[\d.,]+(e[-+]\d+)?( %)?( \(.*\)| to [-+]?[\d.,]+)?|-|")
WIDE = 40  # characters; a longer cell counts as a sentence


class Verdict(str):
    """A verdict of the checklist as a table cell, shown with a symbol and a colour."""

    @property
    def symbol(self) -> str:
        """The symbol in front of the word."""
        return SYMBOLS.get(self, "?")

    @property
    def style(self) -> str:
        """The name of the style in the HTML page."""
        return self.replace(" ", "-") if self in SYMBOLS else "not-tested"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Command:
    """A command line."""

    text: str
    kind: str = "command"


@dataclass(frozen=True)
class Table:
    """A table; cells are text, or :class:`Verdict`."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    kind: str = "table"

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds only numbers, which are aligned right."""
        return [all(NUMBER.fullmatch(row[place]) for row in self.rows) for place in range(len(self.head))]

    @property
    def styles(self) -> list[str]:
        """The style of each column: ``right`` for numbers, ``wide`` for sentences, or none."""
        longest = [max((len(row[place]) for row in self.rows), default=0) for place in range(len(self.head))]
        return ["right" if right else "wide" if most >= WIDE else "" for right, most in zip(self.numeric, longest, strict=True)]


@dataclass(frozen=True)
class Picture:
    """A figure: the content of an SVG or PNG file, the file's name without extension, and the extension."""

    name: str
    content: bytes
    ending: str
    caption: str
    kind: str = "picture"

    @property
    def address(self) -> str:
        """The picture as a data URL, so that a page needs no other file."""
        return f"data:{MEDIA[self.ending]};base64,{base64.b64encode(self.content).decode()}"


Block = Text | Command | Table | Picture


@dataclass(frozen=True)
class Section:
    """A heading and the blocks under it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """A title, a sentence below it, and sections; empty sections are left out."""

    title: str
    lead: str
    sections: Sequence[Section]

    @property
    def filled(self) -> list[Section]:
        """The sections that are not empty."""
        return [section for section in self.sections if section.blocks]


def html(page: Page) -> str:
    """Return a page as one self-contained HTML document, without scripts, other files or a network."""
    return filled_in("minicereb.report", "page.html.j2", page=page)


def filled_in(package: str, template: str, script: str = "", **values: Any) -> str:
    """Fill in a template file of a package. A script becomes part of the page, whose security policy allows it by its hash."""
    from jinja2 import Environment, StrictUndefined  # slow to import, and most commands write no page

    if script:
        values["script"] = (resources.files(package) / script).read_text(encoding="utf-8")
        digest = hashlib.sha256(values["script"].encode()).digest()
        values["script_hash"] = "sha256-" + base64.b64encode(digest).decode()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = (resources.files(package) / template).read_text(encoding="utf-8")
    return environment.from_string(source).render(values)


def markdown(page: Page, pictures: dict[int, str]) -> str:
    """Return a page as Markdown, given the files of its pictures by number; a picture without a file is only a caption."""
    lines, number = [f"# {plain(page.title)}", "", plain(page.lead), ""], 0
    for section in page.filled:
        lines += [f"## {plain(section.title)}", ""]
        for block in section.blocks:
            if isinstance(block, Picture):
                shown = [f"![{plain(block.caption)}]({pictures[number]})", ""] if number in pictures else []
                lines += [*shown, plain(block.caption), ""]
                number += 1
            else:
                lines += [*_lines(block), ""]
    return "\n".join(lines)


def _lines(block: Any) -> Iterator[str]:
    if isinstance(block, Table):
        yield _row(block.head)
        yield "|" + "|".join("---:" if right else "---" for right in block.numeric) + "|"
        yield from map(_row, block.rows)
    elif isinstance(block, Command):
        yield "```sh"
        yield block.text.replace("`", "'")
        yield "```"
    else:
        yield plain(block.text)


def _row(cells: Sequence[str]) -> str:
    shown = [f"{cell.symbol} {cell}" if isinstance(cell, Verdict) else cell for cell in cells]
    return "| " + " | ".join(plain(cell).replace("|", "\\|") for cell in shown) + " |"


def plain(text: str) -> str:
    """Return text on one line, with the markup of Markdown escaped."""
    return re.sub(r"([\\`*_\[\]])", r"\\\1", " ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")


def write(page: Page, path: Path) -> list[Path]:
    """Write a page as HTML to `path`, and next to it as Markdown with its pictures; return the paths in this order.

    An :class:`InputError` is raised if a Markdown file with this name exists without a page next to it, because such a file
    does not belong to a report.
    """
    text = path.with_suffix(".md")
    if text.exists() and not path.exists():
        raise InputError("out", str(path), f"another name: {text} exists already, and does not belong to a report")
    pictures = [block for section in page.filled for block in section.blocks if isinstance(block, Picture)]
    places = [path.with_name(f"{path.stem}-{picture.name}{picture.ending}") for picture in pictures]
    contents = [html(page).encode(), markdown(page, {n: place.name for n, place in enumerate(places)}).encode()]
    written = [path, text, *places]
    for place, content in zip(written, [*contents, *(picture.content for picture in pictures)], strict=True):
        with atomic_write(place) as file:
            file.write(content)
    return written


# -- table.md of a study: tables and paragraphs, which are read again from folders of earlier versions -------------------------

RULE = re.compile(r"\|?[\s:|-]*-[\s:|-]*")


def write_blocks(blocks: Iterable[Table | Text]) -> str:
    """Return tables and paragraphs as the Markdown of ``table.md``, which :func:`read_blocks` reads."""

    def text(block: Table | Text) -> str:
        if isinstance(block, Text):
            return block.text
        return "\n".join(f"| {' | '.join(cells)} |" for cells in (block.head, ["---"] * len(block.head), *block.rows))

    return "\n\n".join(map(text, blocks))


def read_blocks(source: str) -> list[Table | Text]:
    """Return the tables and paragraphs of a text in order.

    A table is a row of cells between pipes, a line of dashes, and further rows, which are padded or cut to the length of
    the first row.
    """
    blocks: list[Table | Text] = []
    for part in re.split(r"\n\s*\n", source.strip()):
        lines = part.splitlines()
        if len(lines) >= 2 and "|" in lines[0] and "|" in lines[1] and RULE.fullmatch(lines[1].strip()):
            head = _cells(lines[0])
            rows = [(_cells(line) + [""] * len(head))[: len(head)] for line in lines[2:]]
            blocks.append(Table(head, rows))
        elif part.strip():
            blocks.append(Text(" ".join(part.split())))
    return blocks


def _cells(line: str) -> list[str]:
    inside = re.sub(r"(?<!\\)\|$", "", line.strip().removeprefix("|"))
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inside)]
