"""Options that several commands share."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from minicereb import backend
from minicereb.errors import require
from minicereb.paths import check_file, check_folder

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")

# What the commands that need the data of a run take where the data moved; see minicereb.experiments.runs.dataset_of.
moved_data = click.option(
    "--dataset",
    metavar="PLACE",
    help="Where the run's data are now, if they moved: a name, an .npz file or a folder. The content must be the same.",
)


class Number(click.ParamType):
    """A number, or one divided by another: 0.1 or 8/255."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        if isinstance(value, float):
            return value
        try:
            above, divided, below = str(value).partition("/")
            return float(above) / (float(below) if divided else 1.0)
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is not a number, or one divided by another as in 8/255.", param, ctx)


def remark_on_size(setting: str, value: float | None, norm: str = "linf", inputs: int = 1) -> None:
    """Say on standard error that a change is larger than any two images can differ, as 8 is where 8/255 was meant.

    Parameters
    ----------
    setting : str
        Name of the option.
    value : float or None
        What was given, if anything.
    norm : {"linf", "l2"}
        How changes are measured.
    inputs : int
        Pixels of an image.
    """
    largest = 1.0 if norm == "linf" else math.sqrt(inputs)
    if value is not None and largest < value < math.inf:
        whole = "the whole range of a pixel" if norm == "linf" else f"the largest distance between images of {inputs:,} pixels"
        meant = f"; did you mean {value:g}/255?" if value <= 255 * largest else ""
        click.echo(f"note: {setting} {value:g} is larger than {largest:.4g}, {whole} (pixels are from 0 to 1){meant}", err=True)


class NewFile(click.Path):
    """A file to be written: not one that a run is made of, and in a place where it can be. Both are told before the work."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        from minicereb.experiments.runs import is_own_file  # slow to import, and few commands need it

        path: Any = super().convert(value, param, ctx)
        if is_own_file(path):
            self.fail(f"{str(path)!r} belongs to a run, which would be lost; give another file.", param, ctx)
        check_file(path)
        return path


class NewFolder(click.Path):
    """A folder that files are to be written into, new or not; that this cannot be is told before the work."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        path: Any = super().convert(value, param, ctx)
        require(not os.path.isfile(path), "out" if param is None else str(param.name), str(path), "a folder")
        check_folder(path)
        return path


def execution_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--device``, ``--threads`` and ``--memory``, and put them in force before the command runs."""

    @click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
    @click.option("--threads", type=int, help="Worker threads on the CPU.  [default: all cores]")
    @click.option("--memory", help="Budget for arrays that grow with a block of images.  [default: 512MiB]")
    @functools.wraps(command)
    def configured(*args: Any, device: str, threads: int | None, memory: str | None, **kwargs: Any) -> Any:
        backend.configure(device=device, threads=threads, memory=memory)
        return command(*args, **kwargs)

    return configured
