"""``minicereb data`` and ``minicereb models``: named data sets and trained models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from minicereb.cli.main import Group
from minicereb.cli.options import PATH, execution_options
from minicereb.cli.output import Answer, as_json, shown
from minicereb.datasets import download, registry, store
from minicereb.documents import table
from minicereb.errors import require
from minicereb.experiments import pretrained


@click.group(cls=Group)
def data() -> None:
    """List, fetch, verify and import data sets."""


@data.command("list")
@as_json
def list_datasets() -> Answer:
    """List the named data sets."""
    found = registry.describe()
    rows = [
        (row.name, f"{row.training:,} + {row.test:,}", "x".join(map(str, row.image_shape)), row.title, row.licence, row.source)
        for row in found
    ]
    own = (
        "Instead of a name you can give a path to your own data: an .npz file with x_train, y_train, x_test and y_test, a .csv\n"
        "file, IDX files like MNIST's, or a folder with the six files of CIFAR-10's binary version."
    )
    listed = table(("name", "images", "size", "what", "licence", "where"), rows)
    return Answer({"datasets": [row._asdict() for row in found], "places": store.places()}, f"{listed}\n{own}")


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
    answer = _reported([report for each in ([name] if name else store.downloads()) for report in store.verify(each)])
    return answer._replace(ok=answer.document["ok"])


@data.command("import")
@click.argument("files", nargs=-1, required=True, type=PATH)
@as_json
def import_(files: tuple[Path, ...]) -> Answer:
    """Import FILES that you downloaded; folders and zip files are searched. Files are recognised by content, not by name."""
    return _reported(store.import_files(files))


def _reported(reports: list[store.FileReport]) -> Answer:
    files = [
        {"dataset": file.dataset, "file": file.name, "state": state, "path": path, "detail": detail, "sha256": file.sha256}
        for file, state, path, detail in reports
    ]
    rows = [(f"{file.dataset}/{file.name}", state, path, detail) for file, state, path, detail in reports]
    document = {"ok": all(report.state == "ok" for report in reports), "files": files}
    return Answer(document, table(("file", "state", "where", "detail"), rows))


@click.group(cls=Group)
def models() -> None:
    """List, fetch and verify trained models."""


MODEL_KEYS = ("name", "title", "test_accuracy", "bytes", "sha256", "hash", "shipped", "command", "folder")


@models.command("list")
@as_json
def list_models() -> Answer:
    """List the named trained models."""
    listed, rows, rebuilt = [], [], []
    for entry in pretrained.models().values():
        folder, file = pretrained.found(entry), entry.model
        about = {**asdict(entry), "bytes": file.bytes, "sha256": file.sha256, "folder": folder}
        listed.append({name: about[name] for name in MODEL_KEYS})
        size = f"{file.bytes / 1000:,.0f} kB"
        ships = "yes" if entry.shipped else "no"
        rows.append((entry.name, entry.title, f"{entry.test_accuracy:.2%}", size, file.sha256[:12], ships, folder))
        if not entry.shipped:
            rebuilt.append(f"{entry.name} is rebuilt by: {entry.command}")
    lines = [table(("name", "what", "test", "size", "sha256", "ships", "here"), rows), *rebuilt]
    return Answer({"models": listed}, "\n".join(lines))


@models.command("fetch")
@click.argument("name")
@click.option("--out", type=PATH, help="Run folder.  [default: runs/NAME]")
@as_json
def fetch_model(name: str, out: Path | None) -> Answer:
    """Create the run folder of the model NAME, for show, attack, evaluate, report and export."""
    entry = pretrained.model_named(name)
    run = pretrained.fetch(name, out or pretrained.RUNS / name)
    return Answer(
        {"run": run.folder, "name": name, "test_accuracy": entry.test_accuracy},
        f"{run.folder}: {entry.title}, test accuracy {entry.test_accuracy:.2%}, trained on {run.config.data.name}",
    )


@models.command("verify")
@click.argument("chosen", metavar="[NAME or RUN]...", nargs=-1)
@execution_options
@as_json
def verify_models(chosen: tuple[str, ...]) -> Answer:
    """Verify models, given by NAME or run folder, against the list; by default all that are shipped or in runs/.

    Files are compared by SHA-256. If the data are available, wiring and test accuracy are compared too. Exit with 1 if anything
    differs or a requested model is missing.
    """
    reports = list(shown(pretrained.verify(chosen), lambda report: f"verified {report.name}", "verifying"))
    ok = all(report.state in ("ok", "rebuilt") or (report.state == "missing" and not chosen) for report in reports)
    rows = [(each.name, each.folder, each.state, each.detail) for each in reports]
    document = {"ok": ok, "models": [asdict(each) for each in reports]}
    return Answer(document, table(("model", "where", "state", "detail"), rows), ok)


@models.command(hidden=True)
@click.argument("run", type=PATH)
@click.option("--name", required=True, help="Name of the model.")
@click.option("--title", required=True, help="Short description of the model.")
@click.option("--listed", is_flag=True, help="List the model without its files: only the command and the hashes.")
def add(run: Path, name: str, title: str, listed: bool) -> None:
    """Add the complete run RUN to the list in this checkout, replacing any model of the same NAME."""
    root = store.CHECKOUT / "minicereb" / "pretrained"
    require((store.CHECKOUT / "setup.cfg").is_file(), "name", name, "used in a checkout of minicereb, which contains the list")
    entry = pretrained.add(run, name, title, not listed, root)
    click.echo(f"{root / 'registry.json'}: {entry.name}, {entry.title}, {entry.test_accuracy:.2%}; {entry.command}")
