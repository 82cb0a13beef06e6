"""``minicereb explain`` and ``minicereb report``: one image step by step, and a page about a result folder."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Any

import click

from minicereb.attacks.settings import Attack
from minicereb.cli.options import NEW_FILE, RESULTS, check_html, moved_data, remark_on_size, setting_options
from minicereb.cli.output import Answer, as_json, json_wanted
from minicereb.errors import require
from minicereb.experiments.configs import describe
from minicereb.experiments.runs import dataset_of, load_model, read_run
from minicereb.explain import WHAT, Shown, explanation, pixel_number, render, screens
from minicereb.files import atomic_write
from minicereb.paths import check_file
from minicereb.report import page as pages
from minicereb.studies.report import report_on


@click.command()
@click.argument("run", type=RESULTS)
@click.option("--image", type=int, default=0, show_default=True, help="Index of the test image.")
@click.option(
    "--what", type=click.Choice(WHAT), help="What to show: learning from the image, or an attack on it.  [default: both]"
)
@click.option("--cell", "cells", type=int, multiple=True, help="Granule cell or hidden neuron to show; may be repeated.")
@click.option("--class", "classes", type=int, multiple=True, help="Class to show.")
@click.option("--pixel", "pixels", multiple=True, help="Pixel to show: its index, or ROW,COLUMN.")
@setting_options(Attack, "objective", "epsilon", objective="margin", epsilon=0.1)
@click.option("--html", "html_file", type=NEW_FILE, help="Write a page of pictures for a projector to this file instead.")
@moved_data
@as_json
def explain(run: Path, image: int, what: str | None, html_file: Path | None, dataset: str | None, **options: Any) -> Answer:
    """Show what the model in the run folder RUN does with one image, step by step.

    Every equation appears with its numbers, and every derivative beside a finite difference.
    """
    if html_file is not None:
        check_html("html", html_file)
    remark_on_size("epsilon", options["epsilon"])
    trained = read_run(run)
    data = dataset_of(trained, dataset)
    model = load_model(trained, data)
    pixels = tuple(pixel_number(pixel, data.image_shape) for pixel in options.pop("pixels"))
    steps = list(explanation(trained.config, data, model, image, what, Shown(pixels=pixels, **options)))
    if html_file is None:
        printed = "\n".join(line for number, step in enumerate(steps, 1) for line in render.text(number, step)).rstrip()
    else:
        about = f"Test image {image} of {data.name}; run {run.name}. Numbers are in float64."
        written = screens.html(f"Image {image} through {describe(trained.config)}", about, steps)
        with atomic_write(html_file) as file:
            file.write(written.encode())
        printed = str(html_file)
    return Answer({"run": run, "image": image, "what": what, "steps": [step.as_json() for step in steps]}, printed)


@click.command()
@click.argument("folder", metavar="DIR", type=RESULTS)
@click.option("--out", type=NEW_FILE, help="Path of the page, ending in .html.  [default: DIR/report.html]")
@click.option("--print", "printed", is_flag=True, help="Print the page as Markdown, without its figures; write nothing.")
@click.option("--open", "opened", is_flag=True, help="Open the page in the browser.")
@moved_data
@as_json
def report(folder: Path, out: Path | None, printed: bool, opened: bool, dataset: str | None) -> Answer | None:
    """Write a page about DIR, the folder of a study, a run or an evaluation: one HTML file, and Markdown beside it.

    The HTML file is self-contained: it contains all figures and needs neither network nor scripts.
    """
    if printed:
        require(out is None and not opened and not json_wanted(), "print", printed, "used without --out, --open and --json")
        click.echo(pages.markdown(report_on(folder, dataset), {}))
        return None
    out = out or folder / pages.REPORT
    check_html("out", out)
    check_file(out)
    page, text, *figures = pages.write(report_on(folder, dataset), out)
    if opened:
        webbrowser.open(page.resolve().as_uri())
    return Answer({"report": page, "markdown": text, "figures": figures}, f"{page}\n{text}")
