"""``minicereb report``: a page about a study, a run or an evaluation."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from minicereb.cli.options import as_json, moved_data
from minicereb.cli.output import print_json
from minicereb.errors import InputError
from minicereb.experiments.reports import report_on
from minicereb.report.page import REPORT, write


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="File of the page, .html.  [default: DIR/report.html]")
@click.option("--open", "opened", is_flag=True, help="Open the page in the browser.")
@moved_data
@as_json
def report(folder: Path, out: Path | None, opened: bool, dataset: str | None, as_json: bool) -> None:
    """Write a page about DIR, the folder of a study, a run or an evaluation: one HTML file, and Markdown beside it.

    The HTML file needs nothing else: no network, no script, every figure within.
    """
    out = out or folder / REPORT
    if out.suffix.lower() not in (".html", ".htm") or out.is_dir():
        raise InputError("out", str(out), "a file that ends in .html")
    page, text, *figures = write(report_on(folder, dataset), out)
    if as_json:
        print_json({"report": str(page), "markdown": str(text), "figures": [str(path) for path in figures]})
    else:
        click.echo(f"{page}\n{text}")
    if opened:
        webbrowser.open(page.resolve().as_uri())
