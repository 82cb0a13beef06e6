"""Steps, numbers and tables as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from minicereb.explain.steps import CONFIDENCE, Derivative, EstimatedMean, Step

WIDTH = 100  # characters per line of prose
INDENT = "   "
DERIVATIVES = ("derivative", "by hand", "finite difference", "off by", "")
ESTIMATES = ("estimate of", "replications", "mean", "±", "expected", "±", "")


def shown(value: Any, digits: int = 6) -> str:
    """Format a float with `digits` significant digits; return other values as text."""
    return f"{value + 0.0:.{digits}g}" if isinstance(value, float) else str(value)


def tables(step: Step) -> Iterator[tuple[str, Sequence[str], list[list[str]]]]:
    """Yield the caption, the headings and the cells of every table of a step."""
    for rows in step.numbers:
        yield rows.caption, rows.head, [[shown(cell) for cell in row] for row in rows.rows]
    if step.derivatives:
        yield "derivatives, beside finite differences", DERIVATIVES, [_derivative_row(each) for each in step.derivatives]
    if step.estimates:
        caption = f"means with intervals of {CONFIDENCE:.1%}, and their expected values: {step.estimates[0].by}"
        yield caption, ESTIMATES, [_estimate_row(each) for each in step.estimates]


def _derivative_row(each: Derivative) -> list[str]:
    remark = {
        "agrees": "",
        "kink": f"a kink: {each.left:.6g} to the left, {each.right:.6g} to the right; {each.kink}",
        "rounding": f"the difference is exact to ±{each.rounding:.0e} only",
        "differs": "THEY DIFFER",
    }
    return [each.of, shown(each.value, 10), shown(each.difference, 10), f"{each.error:.0e}", remark[each.verdict]]


def _estimate_row(each: EstimatedMean) -> list[str]:
    numbers = [shown(value) for value in (each.mean, each.half, each.reference, each.reference_half)]
    return [each.of, str(each.replications), *numbers, each.verdict]


def shapes(step: Step) -> str:
    """Return the shapes of a step's arrays as text."""
    return ", ".join(f"{name} {' × '.join(map(str, shape))}" for name, shape in step.shapes.items())


def text(number: int, step: Step) -> Iterator[str]:
    """Yield the lines of a step for a terminal."""
    yield f"{number}. {step.title}"
    if step.tag:
        yield f"{INDENT}[{step.tag}]  {step.formula}"
    if step.shapes:
        yield f"{INDENT}shapes: {shapes(step)}"
    yield from textwrap.wrap(step.words, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)
    for caption, head, rows in tables(step):
        yield ""
        yield f"{INDENT}{caption}:"
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for row in (head, *rows):
            cells = [cell.rjust(w) if 0 < n < 6 else cell.ljust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))]
            yield f"{INDENT}  {'  '.join(cells)}".rstrip()
    yield ""
