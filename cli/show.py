"""``minicereb show``: what is in a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from minicereb.cli.options import as_json
from minicereb.cli.output import print_json_rows, print_table
from minicereb.experiments.configs import describe
from minicereb.experiments.identity import to_json
from minicereb.experiments.runs import read_run

LAST = 100  # epochs that are shown


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@as_json
def show(run: Path, as_json: bool) -> None:
    """Show the settings, the learning curve and the accuracy of the run folder RUN."""
    found = read_run(run)
    settings = to_json(found.config)
    if as_json:
        document = {"run": str(run), "config": settings, "metrics": None, "manifest": found.manifest}
        print_json_rows(document, "metrics", found.rows())
        return
    epochs = found.epochs()
    metrics = list(found.rows(range(epochs - LAST, epochs)))
    model = settings.pop("model")
    settings["encoder"] = None if found.config.encoder is None else describe(found.config.encoder)
    for name, value in {**model, **settings}.items():
        if name != "kind":
            click.echo(f"{name.replace('_', '-'):18} {value['name'] if name == 'data' else _nested(value)}")
    if metrics:
        click.echo("\nwhen attacked:" if settings["adversary"] else "")
        if epochs > LAST:
            click.echo(f"the last {LAST} of {epochs:,} epochs (all of them: --json)")
        columns = {
            "epoch": "epoch",
            "loss": "loss",
            "accuracy while learning": "train_accuracy",
            "validation loss": "validation_loss",
            "validation accuracy": "validation_accuracy",
        }
        shown = {head: [m.get(key) for m in metrics] for head, key in columns.items()}
        shown = {head: values for head, values in shown.items() if any(value is not None for value in values)}
        print_table(tuple(shown), [tuple(map(_value, row)) for row in zip(*shown.values(), strict=True)])
    click.echo()
    if found.result is None:
        click.echo("not complete: the training command, given again, goes on")
    else:
        click.echo(
            f"test accuracy {found.result['test_accuracy']:.2%}, training accuracy {found.result['train_accuracy']:.2%}, "
            f"model of epoch {found.result['epoch']}, {found.result['seconds']:.1f} s"
        )
        if found.warning:
            click.echo(f"warning: {found.warning}")


def _nested(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name.replace('_', '-')} {part}" for name, part in value.items() if name != "kind")


def _value(value: float | None) -> str:
    return "-" if value is None else str(value) if isinstance(value, int) else f"{value:.4f}"
