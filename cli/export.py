"""``minicereb export``: a model's arrays for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from minicereb.cli.options import NewFile, as_json, moved_data
from minicereb.cli.output import print_json, print_table
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.models import exported_arrays
from minicereb.experiments.runs import dataset_of, learned_arrays, load_model, read_run
from minicereb.files import write_npz


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("file", type=NewFile())
@moved_data
@as_json
def export(run: Path, file: Path, dataset: str | None, as_json: bool) -> None:
    """Write every array of the model in RUN to FILE (npz), by the names in docs/formats.md."""
    found = read_run(run)
    if dataset is None and not isinstance(found.config.model, CerebellumModel):
        arrays = learned_arrays(found)  # only a wiring is drawn, for the size of the images
    else:
        arrays = exported_arrays(load_model(found, dataset_of(found, dataset)))
    write_npz(file, arrays)
    if as_json:
        written = {name: {"dtype": str(array.dtype), "shape": list(array.shape)} for name, array in arrays.items()}
        print_json({"run": str(run), "file": str(file), "arrays": written})
        return
    print_table(
        ("array", "dtype", "shape"),
        [(name, str(array.dtype), " x ".join(map(str, array.shape))) for name, array in arrays.items()],
    )
