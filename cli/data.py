"""``minicereb data``: list, fetch, verify and import data sets."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from minicereb.cli.main import Group
from minicereb.cli.options import PATH
from minicereb.cli.output import Answer, as_json, table
from minicereb.datasets import download, registry, store


@click.group(cls=Group)
def data() -> None:
    """List, fetch, verify and import data sets."""


@data.command("list")
@as_json
def list_datasets() -> Answer:
    """List the data sets that have a name."""
    rows = registry.describe()
    listed = table(
        ("name", "images", "size", "what", "licence", "where"),
        [
            (
                row.name,
                f"{row.training:,} + {row.test:,}",
                "x".join(map(str, row.image_shape)),
                row.title,
                row.licence,
                row.source,
            )
            for row in rows
        ],
    )
    own = (
        "Any path to an .npz file with x_train, y_train, x_test, y_test, to a .csv file, to IDX files like MNIST's, or to a\n"
        "folder with the six files of CIFAR-10's binary version, is a data set too."
    )
    document = {"datasets": [asdict(row) for row in rows], "places": [str(place) for place in store.places()]}
    return Answer(document, f"{listed}\n{own}")


@data.command()
@click.argument("name")
@as_json
def fetch(name: str) -> Answer:
    """Download the data set NAME and check its content."""
    return _reported(download.fetch(name))


@data.command()
@click.argument("name", required=False)
@as_json
def verify(name: str | None) -> Answer:
    """Check the files of NAME, or of every data set that can be downloaded; exit with 1 if any is missing or damaged."""
    reports = [report for each in ([name] if name else store.downloads()) for report in store.verify(each)]
    return _reported(reports)._replace(ok=all(report.state == "ok" for report in reports))


@data.command("import")
@click.argument("files", nargs=-1, required=True, type=PATH)
@as_json
def import_(files: tuple[Path, ...]) -> Answer:
    """Copy FILES fetched by hand, also from folders and zip files; a file is known by its content, not by its name."""
    return _reported(store.import_files(files))


def _reported(reports: list[store.FileReport]) -> Answer:
    files = [
        {
            "dataset": report.file.dataset,
            "file": report.file.name,
            "state": report.state,
            "path": None if report.path is None else str(report.path),
            "detail": report.detail,
            "sha256": report.file.sha256,
        }
        for report in reports
    ]
    rows = [(f"{each.file.dataset}/{each.file.name}", each.state, str(each.path or "-"), each.detail) for each in reports]
    document = {"ok": all(report.state == "ok" for report in reports), "files": files}
    return Answer(document, table(("file", "state", "where", "detail"), rows))
