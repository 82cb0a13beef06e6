"""``minicereb report``: a page about a study, a run or an evaluation."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import click

from minicereb.cli.options import RESULTS, NewFile, check_html, moved_data
from minicereb.cli.output import Answer, as_json, json_wanted
from minicereb.errors import require
from minicereb.paths import check_file
from minicereb.report.page import REPORT, markdown, write
from minicereb.studies.report import report_on


@click.command()
@click.argument("folder", metavar="DIR", type=RESULTS)
@click.option("--out", type=NewFile(), help="File of the page, .html.  [default: DIR/report.html]")
@click.option("--print", "printed", is_flag=True, help="Print the page as Markdown, without its figures; write nothing.")
@click.option("--open", "opened", is_flag=True, help="Open the page in the browser.")
@moved_data
@as_json
def report(folder: Path, out: Path | None, printed: bool, opened: bool, dataset: str | None) -> Answer | None:
    """Write a page about DIR, the folder of a study, a run or an evaluation: one HTML file, and Markdown beside it.

    The HTML file needs nothing else: no network, no script, every figure within.
    """
    if printed:
        require(out is None and not opened and not json_wanted(), "print", printed, "given without --out, --open and --json")
        click.echo(markdown(report_on(folder, dataset), {}))
        return None
    out = out or folder / REPORT
    check_html("out", out)
    check_file(out)
    page, text, *figures = write(report_on(folder, dataset), out)
    if opened:
        webbrowser.open(page.resolve().as_uri())
    return Answer({"report": str(page), "markdown": str(text), "figures": [str(path) for path in figures]}, f"{page}\n{text}")
