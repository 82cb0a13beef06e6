"""``minicereb export``: a model's arrays for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from minicereb import datasets
from minicereb.experiments.models import exported_arrays
from minicereb.experiments.runs import load_model, read_run
from minicereb.files import write_npz


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
def export(run: Path, file: Path) -> None:
    """Write every array of the model in RUN to FILE (npz), by the names in docs/formats.md."""
    found = read_run(run)
    arrays = exported_arrays(load_model(found, datasets.load(found.config.data.name)))
    write_npz(file, arrays)
    for name, array in arrays.items():
        click.echo(f"{name:20} {str(array.dtype):8} {' x '.join(map(str, array.shape))}")
