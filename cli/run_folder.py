"""``minicereb show`` and ``minicereb export``: the content of a run folder, as text, JSON or arrays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from minicereb.cli.options import NEW_FILE, RESULTS, moved_data
from minicereb.cli.output import Answer, as_json, json_wanted, print_json_rows
from minicereb.documents import table
from minicereb.experiments.architectures import CerebellumModel, exported_arrays
from minicereb.experiments.configs import describe
from minicereb.experiments.identity import to_json
from minicereb.experiments.runs import Run, dataset_of, learned_arrays, load_model, read_run
from minicereb.files import write_npz
from minicereb.interchange.onnx_writer import write_onnx

LAST = 100  # number of epochs shown
COLUMNS = {
    "epoch": "epoch",
    "loss": "loss",
    "accuracy while learning": "train_accuracy",
    "validation loss": "validation_loss",
    "validation accuracy": "validation_accuracy",
}


@click.command()
@click.argument("run", type=RESULTS)
@as_json
def show(run: Path) -> Answer | None:
    """Show the settings, the learning curve and the accuracy of the run folder RUN."""
    found = read_run(run)
    if json_wanted():
        document = {"run": run, "config": to_json(found.config), "metrics": None, "manifest": found.manifest}
        print_json_rows(document, "metrics", found.rows())
        return None
    return Answer(None, "\n".join(_lines(found)))


def _lines(run: Run) -> Iterator[str]:
    settings = to_json(run.config)
    settings["encoder"] = None if run.config.encoder is None else describe(run.config.encoder)
    for name, value in {**settings.pop("model"), **settings}.items():
        if name != "kind":
            yield f"{name.replace('_', '-'):18} {value['name'] if name == 'data' else _nested(value)}"
    epochs = run.epochs()
    metrics = list(run.rows(range(epochs - LAST, epochs)))
    if metrics:
        yield "\nwhen attacked:" if settings["adversary"] else ""
        if epochs > LAST:
            yield f"the last {LAST} of {epochs:,} epochs (all of them: --json)"
        shown = {head: key for head, key in COLUMNS.items() if any(each.get(key) is not None for each in metrics)}
        yield table(shown, ([_value(each.get(key)) for key in shown.values()] for each in metrics))
    yield ""
    if run.result is None:
        yield "not complete: give the training command again to continue"
        return
    yield (
        f"test accuracy {run.result['test_accuracy']:.2%}, training accuracy {run.result['train_accuracy']:.2%}, "
        f"model of epoch {run.result['epoch']}, {run.result['seconds']:.1f} s"
    )
    if run.warning:
        yield f"warning: {run.warning}"


def _nested(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name.replace('_', '-')} {part}" for name, part in value.items() if name != "kind")


def _value(value: float | None) -> float | str | None:
    return f"{value:.4f}" if isinstance(value, float) else value


@click.command()
@click.argument("run", type=RESULTS)
@click.argument("file", type=NEW_FILE)
@moved_data
@as_json
def export(run: Path, file: Path, dataset: str | None) -> Answer:
    """Write every array of the model in RUN to FILE (npz), under the names in docs/formats.md.

    If FILE ends in .onnx, write the network as ONNX instead.
    """
    found = read_run(run)
    if file.suffix == ".onnx":
        images = dataset_of(found, dataset)
        operators = write_onnx(load_model(found, images), images.inputs, file)
        return Answer({"run": run, "file": file, "operators": operators}, "\n".join(operators))
    if dataset is None and not isinstance(found.config.model, CerebellumModel):
        arrays = learned_arrays(found)  # the image size is needed only to draw a wiring
    else:
        arrays = exported_arrays(load_model(found, dataset_of(found, dataset)))
    write_npz(file, arrays)
    written = {name: {"dtype": str(array.dtype), "shape": array.shape} for name, array in arrays.items()}
    rows = [(name, array.dtype, " x ".join(map(str, array.shape))) for name, array in arrays.items()]
    return Answer({"run": run, "file": file, "arrays": written}, table(("array", "dtype", "shape"), rows))
