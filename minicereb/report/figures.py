"""Figures in one style, colour-blind safe and readable in print; animations as GIF files.

matplotlib is imported only where something is drawn, because the import takes half a second and most commands draw
nothing.
"""

from __future__ import annotations

import io
import tempfile
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minicereb.errors import require
from minicereb.files import atomic_write
from minicereb.paths import read_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito (2008): distinguishable with every kind of colour vision.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG and as SVG next to it, each atomically; equal figures give equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    for place, content in ((Path(path), buffer.getvalue()), (Path(path).with_suffix(".svg"), svg(figure))):
        with atomic_write(place) as file:
            file.write(content)


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG, with text as outlines, so that it looks the same everywhere; equal figures give equal bytes.

    The text that :func:`conclude` wrote above the figure is also the title of the SVG document.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer, title = io.BytesIO(), " ".join(figure.get_suptitle().split())
    with rc_context({"svg.hashsalt": "minicereb", "svg.fonttype": "path"}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None} | ({"Title": title} if title else {}))
    return buffer.getvalue()


def conclude(figure: Figure, conclusion: str) -> Figure:
    """Write a conclusion above a figure, in as many lines as needed, and return the figure."""
    if conclusion:
        width = int(11.5 * figure.get_figwidth())  # characters
        figure.suptitle(textwrap.fill(conclusion, width), x=0.01, ha="left", fontsize=10, fontweight="bold")
    return figure


def captioned(figure: Figure, caption: str) -> str:
    """Return a figure's caption, preceded by the text that :func:`conclude` wrote above the figure."""
    return " ".join([*figure.get_suptitle().split(), caption])


def blank_figure(width: float, height: float, dpi: int = 120, **settings: Any) -> Figure:
    """Return a figure of this size in inches, without axes."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=dpi, **settings)


def panels_of(width: float, height: float, rows: int = 1, columns: int = 1, **shared: Any) -> tuple[Figure, np.ndarray]:
    """Return a figure of this size in inches, and its axes as an array (rows, columns), without top and right borders."""
    figure = blank_figure(width, height, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **shared)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, grid


def grouped_bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[float]],
    intervals: Mapping[str, Sequence[tuple[float, float]]],
    label: str,
) -> Figure:
    """Draw grouped bars, one colour per series: a number and its interval per group, in percent."""
    figure, ((axes,),) = panels_of(8, 4)
    width = 0.8 / len(series)
    for number, (name, values) in enumerate(series.items()):
        bounds = np.array(intervals[name], dtype=np.float64)
        errors = np.abs(np.array([np.asarray(values) - bounds[:, 0], bounds[:, 1] - np.asarray(values)], dtype=np.float64))
        places = np.arange(len(groups), dtype=np.float64) + (number - (len(series) - 1) / 2) * width
        axes.bar(
            places, values, width * 0.92, yerr=errors, capsize=2, color=COLOURS[number], label=name, error_kw={"linewidth": 0.8}
        )
    axes.set_xticks(range(len(groups)), groups)
    axes.set_ylim(0, 102)
    axes.set_ylabel(label)
    axes.legend(frameon=False, ncols=len(series), loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def image_rows(rows: Sequence[tuple[str, np.ndarray, Sequence[str]]]) -> Figure:
    """Draw rows of images; each row has a name, images in [0, 1] of shape (images, height, width), and captions."""
    columns = max(len(images) for _, images, _ in rows)
    figure = blank_figure(1.1 * columns + 0.8, 1.35 * len(rows), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, images, captions) in zip(grid, rows, strict=True):
        for axes, image, caption in zip(line, images, captions, strict=False):
            axes.imshow(image, cmap="gray", vmin=0, vmax=1)
            axes.set_title(caption, fontsize=8, pad=2)
        for axes in line:
            axes.set_xticks([])
            axes.set_yticks([])
        line[0].set_ylabel(name, fontsize=8)
    return figure


Curves = Mapping[str, tuple[np.ndarray, ...]]


def curves(
    panels: Sequence[tuple[str, Curves]],
    horizontal: str,
    vertical: str,
    from_zero: bool = False,
    logarithmic: bool = False,
    logarithmic_values: bool = False,
    marked: bool = True,
    graded: bool = False,
    points: Collection[str] = (),
    conclusion: str = "",
) -> Figure:
    """Draw lines in panels side by side with a common scale.

    The names of the lines are at their right ends if there is space, otherwise in a legend. If the lines of all panels have
    the same names, the names are written only once.

    Parameters
    ----------
    panels : sequence of (title, lines)
        `lines` maps each name to the horizontal values, the vertical values and, if there are intervals, their lower and
        upper bounds. NaN interrupts a line.
    horizontal, vertical : str
        Labels of the axes.
    from_zero : bool
        Whether the vertical axis begins at 0.
    logarithmic, logarithmic_values : bool
        Whether the horizontal axis, or the vertical axis, is logarithmic.
    marked : bool
        Whether the points of lines with at most 30 points are marked.
    graded : bool
        Whether colours go from dark to light, for lines ordered by one quantity; with more than six lines they always do.
    points : collection of str
        Names of lines that are drawn as points only, since nothing is known between the points.
    conclusion : str
        A statement of what the figure shows, written above the figure; compute it from the numbers that are drawn.
    """
    from matplotlib.ticker import MaxNLocator

    together = len(panels) > 1 and len({tuple(lines) for _, lines in panels}) == 1 and len(panels[0][1]) > 1
    figure, (row,) = panels_of(1 + 3.2 * len(panels) + 1.4 * together, 3.2 + 0.4 * bool(conclusion), 1, len(panels), sharey=True)
    for axes, (title, lines) in zip(row, panels, strict=True):
        for colour, (name, (x, y, *bounds)) in zip(_colours(len(lines), graded), lines.items(), strict=True):
            marker = "o" if marked and len(x) <= 30 else None
            bare = name in points
            shown: dict[str, Any] = {"linestyle": "none" if bare else "-", "marker": "o" if bare else marker}
            axes.plot(x, y, color=colour, label=name, linewidth=1.4, markersize=5 if bare else 3, **shown)
            if bounds:
                axes.vlines(x, *bounds, color=colour, linewidth=0.8)
        if logarithmic:
            _logarithmic_x(axes)
        elif all(np.issubdtype(x.dtype, np.integer) for x, *_ in lines.values()):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(horizontal)
    row[0].set_ylabel(vertical)
    if logarithmic_values:
        row[0].set_yscale("log")
    if from_zero:
        row[0].set_ylim(bottom=0)
    _name_lines(figure, row, together)
    return conclude(figure, conclusion)


# As shares of a panel's height or width: distance between two names; largest distance of a name from its line; where lines must
# end.
BETWEEN, FARTHEST, AT_THE_END = 0.065, 0.22, 0.03
APART = (0.12, 0.05)  # least distance of two names, horizontally and vertically


class _Name(NamedTuple):
    """A point of a line, and the position of its name, both as fractions of the panel's width and height."""

    point: tuple[float, float]
    place: tuple[float, float]


def _name_lines(figure: Figure, row: np.ndarray, together: bool) -> None:
    """Write the names of lines beside them, once if all panels have the same names; if there is no space, draw a legend."""
    if together:
        found = [(quality, n, names) for n, axes in enumerate(row) for quality, names in _placed(axes)]
        if found:
            _, n, names = min(found, key=lambda each: each[:2])
            _write_names(row[n], names)
        else:
            figure.legend(*row[0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right center")
        return
    for axes in row:
        ways = _placed(axes)
        if ways:
            _write_names(axes, min(ways, key=lambda each: each[0])[1])
        elif len(axes.lines) > 1:
            axes.legend(frameon=False, fontsize=8 if len(axes.lines) <= len(COLOURS) else 6)


def _placed(axes: Axes) -> list[tuple[int, list[_Name]]]:
    """Return possible positions of the names, each set with a rank (0 is best); an empty list if there is no space."""
    axes.get_xlim(), axes.get_ylim()  # updates the limits
    to_axes = axes.transData + axes.transAxes.inverted()
    shapes = [np.array(line.get_data(), dtype=np.float64) for line in axes.lines]
    shapes = [to_axes.transform(shape[:, np.isfinite(shape).all(axis=0)].T) for shape in shapes]
    if len(shapes) < 2 or not all(map(len, shapes)):
        return []
    found: list[tuple[int, list[_Name]]] = []
    ends = np.array([shape[-1] for shape in shapes], dtype=np.float64)
    heights = _apart(ends[:, 1])
    if np.ptp(ends[:, 0]) <= AT_THE_END and np.abs(heights - ends[:, 1]).max() <= FARTHEST:
        gaps = np.diff(np.sort(ends[:, 1]))
        right = ends[:, 0].max() + 0.04
        names = [_Name((x, y), (right, height)) for (x, y), height in zip(ends.tolist(), heights.tolist(), strict=True)]
        found.append((0 if gaps.min() >= BETWEEN / 3 else 2, names))
    tops = np.array([shape[shape[:, 1].argmax()] for shape in shapes], dtype=np.float64)
    apart = np.abs(tops[:, None] - tops[None]) >= APART
    if (apart.any(axis=2) | np.eye(len(tops), dtype=bool)).all():
        found.append((1, [_Name((x, y), (x, y + 0.01)) for x, y in tops.tolist()]))
    return found


def _apart(wanted: np.ndarray) -> np.ndarray:
    """Return heights as close as possible to the wanted ones, in the same order, at least ``BETWEEN`` apart."""
    order = np.lexsort((-np.arange(len(wanted)), wanted))  # of equal heights, the first is the highest
    steps = BETWEEN * np.arange(len(wanted), dtype=np.float64)
    groups: list[tuple[float, int]] = []  # mean and number of heights that form a group, minus their steps
    for height in (wanted[order] - steps).tolist():
        mean, count = height, 1
        while groups and groups[-1][0] > mean:
            before, more = groups.pop()
            mean, count = (mean * count + before * more) / (count + more), count + more
        groups.append((mean, count))
    heights = np.repeat([mean for mean, _ in groups], [count for _, count in groups]) + steps
    heights += max(0.0, 0.02 - float(heights[0]))  # not below the panel
    placed = np.empty_like(heights)
    placed[order] = heights
    return placed


def _write_names(axes: Axes, names: list[_Name]) -> None:
    for line, (point, place) in zip(axes.lines, names, strict=True):
        beside = place[0] != point[0]
        far = beside and abs(place[1] - point[1]) > BETWEEN / 4
        arrow = {"arrowstyle": "-", "color": line.get_color(), "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3, "relpos": (0, 0.5)}
        axes.annotate(
            str(line.get_label()),
            point,
            place,
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=line.get_color(),
            fontsize=8,
            va="center" if beside else "bottom",
            ha="left" if beside else "center",
            arrowprops=arrow if far else None,
            annotation_clip=False,
        )


def _colours(number: int, graded: bool) -> Sequence[Any]:
    if number <= len(COLOURS) and not graded:
        return COLOURS[:number]
    return shades(np.linspace(0, 0.88, number, dtype=np.float64))


def shades(places: np.ndarray) -> list[Any]:
    """Return colours from dark (0) to light (1)."""
    from matplotlib import colormaps

    return [colormaps["cividis"](place) for place in places]


def _logarithmic_x(axes: Axes) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())


MARKERS = "osDv^P<>"


def points(
    panels: Sequence[tuple[str, Mapping[str, tuple[float, float]]]], horizontal: str, vertical: str, conclusion: str = ""
) -> Figure:
    """Draw at most eight named points in each panel, two panels in a row, all on the same logarithmic scales.

    Along the dotted line through a panel's first point, the product of the two values is constant. `conclusion` is written
    above the figure.
    """
    from matplotlib.ticker import NullLocator

    rows = -(-len(panels) // 2)
    figure, grid = panels_of(9.6, 1 + 2.2 * rows, rows, 2, sharex=True, sharey=True)
    across = np.array([place[0] for _, named in panels for place in named.values()], dtype=np.float64)
    ends = np.array([across.min() / 1.5, across.max() * 1.5], dtype=np.float64)
    for axes, (title, named) in zip(grid.flat, panels, strict=False):
        x, y = next(iter(named.values()))
        axes.plot(ends, x * y / ends, color="0.6", linestyle=":", linewidth=1)
        for number, (name, (x, y)) in enumerate(named.items()):
            axes.plot([x], [y], MARKERS[number], color=COLOURS[number % len(COLOURS)], markersize=6, label=name)
        _logarithmic_x(axes)
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_title(title, fontsize=9)
    figure.supxlabel(horizontal, fontsize=9)
    figure.supylabel(vertical, fontsize=9)
    figure.legend(*grid.flat[0].get_legend_handles_labels(), frameon=False, fontsize=8, loc="outside right center")
    return conclude(figure, conclusion)


def check_animation(path: Path) -> None:
    """Raise :class:`minicereb.errors.InputError` unless the file name ends in ``.gif``."""
    require(path.suffix.lower() == ".gif", "animate", str(path), "a file whose name ends in .gif")


def save_animation(figure: Figure, frames: Iterable[object], path: Path, rate: int = 10) -> None:
    """Write a GIF atomically, at `rate` frames per second; a frame is added whenever `frames` changes the figure and yields."""
    from matplotlib.animation import PillowWriter
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    check_animation(path)
    FigureCanvasAgg(figure)
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "animation.gif"
        writer = PillowWriter(fps=rate)
        with writer.saving(figure, str(drawn), dpi=figure.dpi):
            for _ in frames:
                writer.grab_frame()
        with atomic_write(path) as file:
            file.write(read_bytes(drawn))
