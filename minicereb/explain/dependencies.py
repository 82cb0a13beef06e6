"""The dependencies between the steps of an explanation, and a small map of them with arrows."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from minicereb.explain.steps import Step
from minicereb.report.circuit import element

Arrows = dict[int, dict[int, str]]
RADIUS, BELOW, HIGHEST = 15, 40, 64  # radius of a node; space below the nodes; height of the highest arcs above them


def arrows(steps: Sequence[Step]) -> Arrows:
    """Return the earlier steps on which each step depends.

    Returns
    -------
    dict
        Maps the index of a step to the indices of the earlier steps that it uses, each with the symbol of its result. Names that
        no earlier step provides are left out.
    """
    given: dict[tuple[str, str], int] = {}
    found: Arrows = {}
    for number, step in enumerate(steps):
        at = [given.get((step.part, name), given.get(("", name))) for name in step.uses]
        found[number] = {place: steps[place].gives[name] for place, name in zip(at, step.uses, strict=True) if place is not None}
        given.update({(step.part, name): number for name in step.gives})
    return found


def dependency_map(steps: Sequence[Step], found: Arrows, now: int, part: str, spacing: int) -> str:
    """Draw the steps of one part, and the first step, as numbered circles with arrows between them.

    Parameters
    ----------
    steps : sequence of Step
    found : dict
        The result of :func:`arrows`.
    now : int
        Index of the step to mark. The steps that it uses are marked too, with the arrows from them.
    part : str
        The part of the explanation to draw.
    spacing : int
        Distance between neighbouring circles. If it is below 60, only the marked steps are labelled with their symbols.

    Returns
    -------
    str
        An SVG element, whose circles are links to ``#step-1`` and so on.
    """
    shown = [number for number, step in enumerate(steps) if step.part in ("", part)]
    place = {number: spacing // 2 + 5 + spacing * n for n, number in enumerate(shown)}
    lines, nodes = [], []
    level = RADIUS + 8 + round(0.75 * max((_rise(place[b] - place[a], spacing) for b in shown for a in found[b]), default=0))
    for number in shown:
        for source in found[number]:
            style = "arrow used" if number == now else "arrow next" if source == now else "arrow"
            lines.append((style, _arrow(place[source], place[number], level, spacing)))
        style = "node now" if number == now else "node used" if number in found[now] else "node"
        circle = element("circle", cx=place[number], cy=level, r=RADIUS)
        label = element("text", str(number + 1), x=place[number], y=level + 5)
        if steps[number].symbol and (spacing >= 60 or style != "node"):
            label += element("text", steps[number].symbol, x=place[number], y=level + 34, class_="symbol")
        title = element("title", f"{number + 1}. {escape(steps[number].title)}")
        nodes.append(element("a", title + circle + label, href=f"#step-{number + 1}", class_=style))
    lines.sort(key=lambda each: len(each[0]))  # marked lines are drawn above the others
    drawn = [element("path", d=path, class_=style) for style, path in lines]
    width = spacing * len(shown) + 10
    size = {"viewBox": f"0 0 {width} {level + BELOW}", "style": f"max-width: {width / 16:g}rem"}
    return element("svg", "".join(drawn + nodes), role="group", aria_label="What depends on what", **size)


def _rise(length: int, spacing: int) -> int:
    """Return how far the control points of an arc are above the nodes; 0 for a line between neighbours."""
    return 0 if length == spacing else min(HIGHEST, 6 + 8 * (length // spacing))


def _arrow(begin: int, end: int, level: int, spacing: int) -> str:
    """Return the path of an arrow between two nodes: a line between neighbours, otherwise an arc above the nodes in between."""
    if end - begin == spacing:
        return f"M{begin + RADIUS} {level}H{end - RADIUS - 2}m-6 -4l6 4l-6 4"
    edge = level - RADIUS
    top = edge - _rise(end - begin, spacing)
    return f"M{begin + 5} {edge + 1}C{begin + 13} {top} {end - 13} {top} {end - 5} {edge - 1}m-7 -4l7 4l0 -8"
