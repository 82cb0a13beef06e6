"""Every equation of the project, read from equations.txt: its tag, formula, LaTeX, symbols and source."""

from __future__ import annotations

from importlib import resources
from typing import NamedTuple


class Equation(NamedTuple):
    """An equation, as listed in equations.txt."""

    tag: str
    formula: str
    latex: str
    symbols: str
    source: str


def _read() -> tuple[Equation, ...]:
    """Return the equations of equations.txt.

    Blocks of five lines are separated by empty lines; the first block explains the format.
    """
    text = resources.files("minicereb.calculus").joinpath("equations.txt").read_text(encoding="utf-8")
    return tuple(Equation(*block.strip().splitlines()) for block in text.split("\n\n")[1:])


EQUATIONS = _read()


def equation(tag: str) -> Equation:
    """Return the equation with this tag; raise KeyError if no equation has it."""
    return {entry.tag: entry for entry in EQUATIONS}[tag]
