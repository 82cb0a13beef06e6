"""An explanation as a page for a projector: one screen per step, in a single file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from minicereb.calculus.equations import equation
from minicereb.explain import render
from minicereb.explain.dependencies import Arrows, arrows, dependency_map
from minicereb.explain.steps import Step
from minicereb.report.mathml import mathml
from minicereb.report.page import Table, filled_in

WIDE, NARROW = 84, 34  # distances in the map on a wide and on a narrow screen


def html(title: str, lead: str, steps: Sequence[Step]) -> str:
    """Return an explanation as one HTML document, which needs no other files and no network.

    Each step is a screen with its equation, its pictures, a map of its dependencies, and its tables, which are collapsed.
    """
    found = arrows(steps)
    screens = [_screen(steps, found, number) for number in range(len(steps))]
    return filled_in("minicereb.explain", "screens.html.j2", "screens.js", title=title, lead=lead, screens=screens)


def _screen(steps: Sequence[Step], found: Arrows, number: int) -> dict[str, Any]:
    step, after = steps[number], [later for later, used in found.items() if number in used]
    written = equation(step.tag) if step.tag else None
    return {
        "title": step.title,
        "part": step.part,
        "tag": step.tag,
        "formula": [] if written is None else mathml(written.latex),
        "plain": step.formula,
        "symbols": "" if written is None else re.sub(r"_(\w)", r"<sub>\1</sub>", escape(written.symbols)),
        "words": step.words,
        "shapes": render.shapes(step),
        "drawings": [drawing.html() for drawing in step.drawings],
        "maps": list(_maps(steps, found, number)),
        "uses": [(source + 1, name) for source, name in found[number].items()],
        "after": [later + 1 for later in after],
        "tables": [(f"{caption[0].upper()}{caption[1:]}", Table(head, rows)) for caption, head, rows in render.tables(step)],
    }


def _maps(steps: Sequence[Step], found: Arrows, number: int) -> Iterator[tuple[str, str]]:
    """Yield the map of a step's part (for the step of the image, of every part), for a wide and for a narrow screen."""
    for part in dict.fromkeys(step.part for step in steps if step.part):
        if steps[number].part in ("", part):
            yield dependency_map(steps, found, number, part, WIDE), dependency_map(steps, found, number, part, NARROW)
