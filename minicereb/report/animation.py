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
    """Write a GIF atomically, with `rate` frames per second: one each time that `frames` has changed the figure and yields."""
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
