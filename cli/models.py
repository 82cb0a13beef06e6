"""``minicereb models``: trained models that have a name."""

from __future__ import annotations

from pathlib import Path

import click

from minicereb.cli.group import Group
from minicereb.cli.options import as_json, execution_options
from minicereb.cli.output import StatusLine, print_json, print_table
from minicereb.datasets.store import CHECKOUT
from minicereb.errors import require
from minicereb.experiments import pretrained, verified


@click.group(cls=Group)
def models() -> None:
    """List, fetch and verify trained models."""


@models.command("list")
@as_json
def list_models(as_json: bool) -> None:
    """List the trained models that have a name."""
    entries = pretrained.models().values()
    places = {entry.name: pretrained.found(entry) for entry in entries}
    if as_json:
        rows = [
            {
                "name": entry.name,
                "title": entry.title,
                "test_accuracy": entry.test_accuracy,
                "bytes": entry.model.bytes,
                "sha256": entry.model.sha256,
                "hash": entry.hash,
                "shipped": entry.shipped,
                "command": entry.command,
                "folder": None if places[entry.name] is None else str(places[entry.name]),
            }
            for entry in entries
        ]
        print_json({"models": rows})
        return
    cells = [
        (
            entry.name,
            entry.title,
            f"{entry.test_accuracy:.2%}",
            f"{entry.model.bytes / 1000:,.0f} kB",
            entry.model.sha256[:12],
            "yes" if entry.shipped else "no",
            str(places[entry.name] or "-"),
        )
        for entry in entries
    ]
    print_table(("name", "what", "test", "size", "sha256", "ships", "here"), cells)
    for entry in entries:
        if not entry.shipped:
            click.echo(f"{entry.name} is rebuilt by: {entry.command}")


@models.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="Run folder.  [default: runs/NAME]")
@as_json
def fetch(name: str, out: Path | None, as_json: bool) -> None:
    """Make the run folder of the model NAME, for show, attack, evaluate, report and export."""
    entry = pretrained.model_named(name)
    run = pretrained.fetch(name, out or pretrained.RUNS / name)
    if as_json:
        print_json({"run": str(run.folder), "name": name, "test_accuracy": entry.test_accuracy})
        return
    click.echo(f"{run.folder}: {entry.title}, test accuracy {entry.test_accuracy:.2%}, learned from {run.config.data.name}")


@models.command()
@click.argument("chosen", metavar="[NAME or RUN]...", nargs=-1)
@execution_options
@as_json
@click.pass_context
def verify(context: click.Context, chosen: tuple[str, ...], as_json: bool) -> None:
    """Compare models with the list, by NAME or as run folder, or all that ship or are in runs/.

    Files by SHA-256 and, where the data are here, wiring and test accuracy. Exit with 1 if any is not what it should be, or one
    that was asked for is not here.
    """
    line, reports = StatusLine(), []
    line.update("verifying")
    for report in verified.verify(chosen):
        reports.append(report)
        line.update(f"verified {report.name}")
    line.close()
    good = ("ok", "rebuilt") if chosen else ("ok", "rebuilt", "missing")
    ok = all(report.state in good for report in reports)
    if as_json:
        rows = [
            {
                "name": report.name,
                "folder": None if report.folder is None else str(report.folder),
                "state": report.state,
                "detail": report.detail,
                "test_accuracy": report.test_accuracy,
            }
            for report in reports
        ]
        print_json({"ok": ok, "models": rows})
    else:
        cells = [(report.name, str(report.folder or "-"), report.state, report.detail) for report in reports]
        print_table(("model", "where", "state", "detail"), cells)
    if not ok:
        context.exit(1)


@models.command(hidden=True)
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What it is called.")
@click.option("--title", required=True, help="What it is, in a few words.")
@click.option("--listed", is_flag=True, help="Keep only its command and hash.")
def add(run: Path, name: str, title: str, listed: bool) -> None:
    """Put the complete run RUN on the list of this checkout, in place of any other NAME."""
    root = CHECKOUT / "minicereb" / "pretrained"
    require((CHECKOUT / "setup.cfg").is_file(), "name", name, "given in a checkout of minicereb, where the list is made")
    entry = pretrained.add(run, name, title, not listed, root)
    click.echo(f"{root / 'registry.json'}: {entry.name}, {entry.title}, {entry.test_accuracy:.2%}; {entry.command}")
