"""``minicereb data``: list, fetch, verify and import data sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from minicereb.cli.group import Group
from minicereb.cli.output import print_json, print_table
from minicereb.datasets import download, registry, store

_as_json: Callable = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group(cls=Group)
def data() -> None:
    """List, fetch, verify and import data sets."""


@data.command("list")
@_as_json
def list_datasets(as_json: bool) -> None:
    """List the data sets that have a name."""
    rows = registry.describe()
    if as_json:
        print_json({"datasets": [dataclasses.asdict(row) for row in rows], "places": [str(place) for place in store.places()]})
        return
    cells = [
        (row.name, f"{row.training:,} + {row.test:,}", "x".join(map(str, row.image_shape)), row.title, row.licence, row.source)
        for row in rows
    ]
    print_table(("name", "images", "size", "what", "licence", "where"), cells)
    click.echo(
        "Any path to an .npz file with x_train, y_train, x_test, y_test, to a .csv file, to IDX files like MNIST's, or to a"
    )
    click.echo("folder with the six files of CIFAR-10's binary version, is a data set too.")


@data.command()
@click.argument("name")
@_as_json
def fetch(name: str, as_json: bool) -> None:
    """Download the data set NAME and check its content."""
    _print_reports(download.fetch(name), as_json)


@data.command()
@click.argument("name", required=False)
@_as_json
@click.pass_context
def verify(context: click.Context, name: str | None, as_json: bool) -> None:
    """Check the files of NAME, or of every data set that can be downloaded; exit with 1 if any is missing or damaged."""
    reports = [report for each in ([name] if name else store.downloads()) for report in store.verify(each)]
    _print_reports(reports, as_json)
    if any(report.state != "ok" for report in reports):
        context.exit(1)


@data.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@_as_json
def import_(files: tuple[Path, ...], as_json: bool) -> None:
    """Take over FILES fetched by hand, also from folders and zip files; a file is known by its content, not by its name."""
    _print_reports(store.import_files(files), as_json)


def _print_reports(reports: list[store.FileReport], as_json: bool) -> None:
    if as_json:
        print_json({"ok": all(report.state == "ok" for report in reports), "files": [_report_fields(each) for each in reports]})
        return
    cells = [(f"{each.file.dataset}/{each.file.name}", each.state, str(each.path or "-"), each.detail) for each in reports]
    print_table(("file", "state", "where", "detail"), cells)


def _report_fields(report: store.FileReport) -> dict[str, Any]:
    return {
        "dataset": report.file.dataset,
        "file": report.file.name,
        "state": report.state,
        "path": None if report.path is None else str(report.path),
        "detail": report.detail,
        "sha256": report.file.sha256,
    }
