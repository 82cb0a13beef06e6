"""How tables and figures write what is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def strength(epsilon: float) -> str:
    """Write an ε as it was meant: ``0.1``, or ``8/255`` where it is so many of a pixel's 255 levels and no short number."""
    short, halves = f"{epsilon:g}", 510 * epsilon
    if len(short) <= 5 or abs(halves - round(halves)) > 1e-6:
        return short
    return f"{round(halves) / 2:g}/255"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
