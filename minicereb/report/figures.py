"""Figures, with one style for all: colour-blind safe, readable in print."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from minicereb.files import atomic_write

# Okabe and Ito (2008): distinguishable with every kind of colour vision.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG, atomically; equal figures give equal bytes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def grouped_bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[float]],
    intervals: Mapping[str, Sequence[tuple[float, float]]],
    label: str,
) -> Figure:
    """Draw bars in groups, one colour a series, with intervals.

    Parameters
    ----------
    groups : sequence of str
        Names under the groups.
    series : dict
        For each series a number per group, in percent.
    intervals : dict
        For each series and group the lower and upper bound, in percent.
    label : str
        What the vertical axis shows.
    """
    figure = Figure(figsize=(8, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
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
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=len(series), loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def image_rows(rows: Sequence[tuple[str, np.ndarray, Sequence[str]]]) -> Figure:
    """Draw rows of images in [0, 1], each row with a name and each image with a caption.

    Parameters
    ----------
    rows : sequence of (name, images of shape (images, height, width), captions)
    """
    columns = max(len(images) for _, images, _ in rows)
    figure = Figure(figsize=(1.1 * columns + 0.8, 1.35 * len(rows)), dpi=120, layout="constrained")
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
