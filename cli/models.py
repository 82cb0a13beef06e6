"""``minicereb models``: trained models that have a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from minicereb.cli.main import Group
from minicereb.cli.options import PATH, execution_options
from minicereb.cli.output import Answer, as_json, shown, table
from minicereb.datasets.store import CHECKOUT
from minicereb.errors import require
from minicereb.experiments import pretrained


@click.group(cls=Group)
def models() -> None:
    """List, fetch and verify trained models."""


@models.command("list")
@as_json
def list_models() -> Answer:
    """List the trained models that have a name."""
    listed: list[dict[str, Any]] = []
    for entry in pretrained.models().values():
        folder = pretrained.found(entry)
        listed.append(
            {
                "name": entry.name,
                "title": entry.title,
                "test_accuracy": entry.test_accuracy,
                "bytes": entry.model.bytes,
                "sha256": entry.model.sha256,
                "hash": entry.hash,
                "shipped": entry.shipped,
                "command": entry.command,
                "folder": None if folder is None else str(folder),
            }
        )
    rows = [
        (
            each["name"],
            each["title"],
            f"{each['test_accuracy']:.2%}",
            f"{each['bytes'] / 1000:,.0f} kB",
            each["sha256"][:12],
            "yes" if each["shipped"] else "no",
            each["folder"] or "-",
        )
        for each in listed
    ]
    lines = [table(("name", "what", "test", "size", "sha256", "ships", "here"), rows)]
    lines += [f"{each['name']} is rebuilt by: {each['command']}" for each in listed if not each["shipped"]]
    return Answer({"models": listed}, "\n".join(lines))


@models.command()
@click.argument("name")
@click.option("--out", type=PATH, help="Run folder.  [default: runs/NAME]")
@as_json
def fetch(name: str, out: Path | None) -> Answer:
    """Make the run folder of the model NAME, for show, attack, evaluate, report and export."""
    entry = pretrained.model_named(name)
    run = pretrained.fetch(name, out or pretrained.RUNS / name)
    return Answer(
        {"run": str(run.folder), "name": name, "test_accuracy": entry.test_accuracy},
        f"{run.folder}: {entry.title}, test accuracy {entry.test_accuracy:.2%}, trained on {run.config.data.name}",
    )


@models.command()
@click.argument("chosen", metavar="[NAME or RUN]...", nargs=-1)
@execution_options
@as_json
def verify(chosen: tuple[str, ...]) -> Answer:
    """Compare models with the list, by NAME or as run folder, or all that ship or are in runs/.

    Files are compared by SHA-256 and, where the data are here, wiring and test accuracy too. Exit with 1 if any differs, or if
    one that was asked for is not here.
    """
    reports = list(shown(pretrained.verify(chosen), lambda report: f"verified {report.name}", "verifying"))
    good = ("ok", "rebuilt") if chosen else ("ok", "rebuilt", "missing")
    ok = all(report.state in good for report in reports)
    listed = [
        {
            "name": report.name,
            "folder": None if report.folder is None else str(report.folder),
            "state": report.state,
            "detail": report.detail,
            "test_accuracy": report.test_accuracy,
        }
        for report in reports
    ]
    rows = [(each.name, str(each.folder or "-"), each.state, each.detail) for each in reports]
    return Answer({"ok": ok, "models": listed}, table(("model", "where", "state", "detail"), rows), ok)


@models.command(hidden=True)
@click.argument("run", type=PATH)
@click.option("--name", required=True, help="Name of the model.")
@click.option("--title", required=True, help="Description of the model in a few words.")
@click.option("--listed", is_flag=True, help="Keep only its command and hash.")
def add(run: Path, name: str, title: str, listed: bool) -> None:
    """Put the complete run RUN on the list of this checkout, in place of any other NAME."""
    root = CHECKOUT / "minicereb" / "pretrained"
    require((CHECKOUT / "setup.cfg").is_file(), "name", name, "given in a checkout of minicereb, where the list is made")
    entry = pretrained.add(run, name, title, not listed, root)
    click.echo(f"{root / 'registry.json'}: {entry.name}, {entry.title}, {entry.test_accuracy:.2%}; {entry.command}")
