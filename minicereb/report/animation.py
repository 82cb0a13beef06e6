"""Moving pictures: GIF files, written whole or not at all."""

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
    """Write a GIF with one picture of `figure` for each element of `frames`.

    Parameters
    ----------
    figure : Figure
    frames : iterable
        Drawing goes on in the figure while it is gone through; what it yields plays no part. At least one.
    path : Path
        Ends in ``.gif``.
    rate : int
        Pictures a second.
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
