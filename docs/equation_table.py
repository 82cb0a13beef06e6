"""Writes the table of equations as Markdown; each equation has links to the code that names its tag.

``python docs/equation_table.py`` rewrites docs/equations.md, where links lead to files of the repository. The built documentation
shows line numbers and links to the highlighted source.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from minicereb.calculus.equations import EQUATIONS, equation

HERE = Path(__file__).parent
NAMED = re.compile(r"``\[([A-Z][A-Z0-9-]*)\]``|# \[([A-Z][A-Z0-9-]*)\]")  # in a docstring, beside a line
SYMBOL = re.compile(r"(?![a-z]{3,} )(.+?): (.+)|(\S+) = (.+)")  # a symbol and its meaning or value, in contrast to a sentence
TAGGED = re.compile(r"^```text\n((?:.*    \[[A-Z][A-Z0-9-]*\]\n)+)```$", re.MULTILINE)  # lines of a formula with its tag
HEAD = """# Equations

Each equation has a tag. Tags that begin with C are from the cerebellum paper and tags that begin with G are from the
likelihood-ratio paper; their numbers are the papers' own. Tags that begin with M are ours, or from the literature named below
the equation. The code that computes an equation contains its tag in a docstring or beside the line; you can search a file for,
say, `[C4]`. Parentheses after the meaning of a symbol contain its shape: d is the number of inputs, m the number of granule
cells, and c the number of classes. This page is generated from `minicereb/calculus/equations.txt` by `python
docs/equation_table.py`; a test compares the table with the tags in the code.
"""


class Place(NamedTuple):
    """Where a tag is named: file (from the folder of the package), line, and the function or class around it."""

    file: str
    line: int
    name: str


def places(package: Path) -> dict[str, list[Place]]:
    """Return where each tag is named, the first place of each function or class."""
    found: dict[str, dict[tuple[str, str], Place]] = {}
    for path in sorted(package.rglob("*.py")):
        if path.name != "equations.py":
            text, file = path.read_text(encoding="utf-8"), path.relative_to(package.parent).as_posix()
            spans = list(_spans(ast.parse(text), ""))
            for number, line in enumerate(text.splitlines(), 1):
                for docstring, comment in NAMED.findall(line):
                    inside = [(last - first, name) for first, last, name in spans if first <= number <= last]
                    name = min(inside)[1] if inside else ""
                    found.setdefault(docstring or comment, {}).setdefault((file, name), Place(file, number, name))
    return {tag: list(each.values()) for tag, each in found.items()}


def _spans(node: ast.AST, prefix: str) -> Iterator[tuple[int, int, str]]:
    """Return the first line, last line and qualified name of every public function and class."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.ClassDef)):
            name = f"{prefix}{child.name}"
            yield child.lineno, child.end_lineno or child.lineno, name
            if isinstance(child, ast.ClassDef):
                yield from _spans(child, f"{name}.")


def table(package: Path, link: Callable[[Place], str], display: Callable[[str], str]) -> str:
    """Return the table.

    Parameters
    ----------
    package : Path
        Folder of the package's source.
    link : callable
        Takes a place and returns a Markdown link to it.
    display : callable
        Takes LaTeX and returns the Markdown that shows it.
    """
    named, sections = places(package), []
    for entry in EQUATIONS:
        code = ", ".join(map(link, named.get(entry.tag, []))) or "in the tests only"
        sections.append(
            f"## {entry.tag}\n\n{display(entry.latex)}\n\n{legend(entry.symbols)}\n\n"
            f"Source: {as_text(entry.source)}.\nCode: {code}.\n"
        )
    return HEAD + "\n" + "\n".join(sections)


def legend(symbols: str) -> str:
    """Return the meanings of symbols as a table, followed by the remarks as sentences."""
    rows, remarks = [], []
    for part in symbols.split("; "):
        if found := SYMBOL.match(part):
            symbol, meaning = filter(None, found.groups())
            rows.append(f"| {as_text(symbol)} | {as_text(meaning)} |")
        else:
            remarks.append(as_text(part[0].upper() + part[1:] if re.match(r"[a-z]{2}|a ", part) else part) + ".")
    head = ["| symbol | meaning |", "|---|---|"] if rows else []
    return "\n\n".join(filter(None, ("\n".join([*head, *rows]), " ".join(remarks))))


def typeset(text: str) -> str:
    """Return a page in which each of the lessons' blocks of tagged formulas is in LaTeX."""

    def block(found: re.Match[str]) -> str:
        tags = re.findall(r"    \[(\S+)\]$", found[1], re.MULTILINE)
        return "\n\n".join(as_environment(rf"{equation(tag).latex} \tag*{{[{tag}]}}") for tag in tags)

    return TAGGED.sub(block, text)


def as_block(latex: str) -> str:
    """Return LaTeX in the form that GitHub and GitLab display."""
    return f"```math\n{latex}\n```"


def as_environment(latex: str) -> str:
    """Return LaTeX in the form that the built documentation and notebooks display."""
    return f"\\begin{{equation*}}\n{latex}\n\\end{{equation*}}"


def as_text(formula: str) -> str:
    """Escape characters that Markdown would read as markup."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", formula)


def in_repository(place: Place) -> str:
    """Return a link to the file, and the name to look for in it."""
    within = f", `{place.name}`" if place.name else ""
    return f"[{place.file}](../{place.file}){within}"


def in_documentation(place: Place) -> str:
    """Return the line number, with a link to the highlighted source of the public function or class that contains it."""
    public = []
    for part in place.name.split("."):
        if part.startswith("_"):
            break
        public.append(part)
    page = (
        f"_modules/{place.file.removesuffix('.py').removesuffix('/__init__')}.html{'#' if any(public) else ''}{'.'.join(public)}"
    )
    return f'<a href="{page}"><code>{place.file}:{place.line}</code></a>'


if __name__ == "__main__":
    (HERE / "equations.md").write_text(table(HERE.parent / "minicereb", in_repository, as_block), encoding="utf-8")
