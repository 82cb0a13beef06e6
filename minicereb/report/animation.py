"""Animations as GIF files."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from matplotlib.animation import PillowWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from minicereb.errors import require
from minicereb.files import atomic_write
from minicereb.paths import read_bytes


def check_animation(path: Path) -> None:
    """Raise :class:`minicereb.errors.InputError` unless the name is that of a GIF file."""
    require(path.suffix.lower() == ".gif", "animate", str(path), "a file whose name ends in .gif")


def save_animation(figure: Figure, frames: Iterable[object], path: Path, rate: int = 10) -> None:
    """Write a GIF with one frame for each element of `frames`, atomically.

    Parameters
    ----------
    figure : Figure
    frames : iterable
        Changes the figure before it yields; what it yields is ignored. At least one element.
    path : Path
        Ends in ``.gif``.
    rate : int
        Frames per second.
    """
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
