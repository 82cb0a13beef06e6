"""``minicereb export``: a model's arrays for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from minicereb.cli.options import RESULTS, NewFile, moved_data
from minicereb.cli.output import Answer, as_json, table
from minicereb.experiments.architectures import CerebellumModel, exported_arrays
from minicereb.experiments.runs import dataset_of, learned_arrays, load_model, read_run
from minicereb.files import write_npz
from minicereb.interchange.onnx_writer import write_onnx


@click.command()
@click.argument("run", type=RESULTS)
@click.argument("file", type=NewFile())
@moved_data
@as_json
def export(run: Path, file: Path, dataset: str | None) -> Answer:
    """Write every array of the model in RUN to FILE (npz), by the names in docs/formats.md.

    If FILE ends in .onnx, write the network as ONNX instead.
    """
    found = read_run(run)
    if file.suffix == ".onnx":
        images = dataset_of(found, dataset)
        operators = write_onnx(load_model(found, images), images.inputs, file)
        return Answer({"run": str(run), "file": str(file), "operators": operators}, "\n".join(operators))
    if dataset is None and not isinstance(found.config.model, CerebellumModel):
        arrays = learned_arrays(found)  # only a wiring is drawn, for the size of the images
    else:
        arrays = exported_arrays(load_model(found, dataset_of(found, dataset)))
    write_npz(file, arrays)
    written = {name: {"dtype": str(array.dtype), "shape": list(array.shape)} for name, array in arrays.items()}
    rows = [(name, str(array.dtype), " x ".join(map(str, array.shape))) for name, array in arrays.items()]
    return Answer({"run": str(run), "file": str(file), "arrays": written}, table(("array", "dtype", "shape"), rows))
