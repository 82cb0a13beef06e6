"""The Markdown of ``table.md``: write tables and paragraphs, and read them from folders of earlier versions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from minicereb.report.page import Table, Text

RULE = re.compile(r"\|?[\s:|-]*-[\s:|-]*")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


def write_blocks(blocks: Iterable[Table | Text]) -> str:
    """Return tables and paragraphs as the Markdown of ``table.md``, which :func:`read_blocks` reads."""
    return "\n\n".join("\n".join(markdown(b.head, b.rows)) if isinstance(b, Table) else b.text for b in blocks)


def read_blocks(source: str) -> list[Table | Text]:
    """Return the tables and paragraphs of a text in order.

    A table is a line of cells between pipes, a rule, and further such lines, padded or cut to the length of the first.
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
