"""``minicereb explain``: one image through the model of a run, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from minicereb.attacks.settings import Attack
from minicereb.cli.options import RESULTS, NewFile, check_html, moved_data, remark_on_size, setting_options
from minicereb.cli.output import Answer, as_json
from minicereb.experiments.configs import describe
from minicereb.experiments.runs import dataset_of, load_model, read_run
from minicereb.explain import WHAT, Shown, explanation, pixel_number
from minicereb.explain.render import page, text
from minicereb.files import atomic_write
from minicereb.report.page import html


@click.command()
@click.argument("run", type=RESULTS)
@click.option("--image", type=int, default=0, show_default=True, help="Number of the test image.")
@click.option("--what", type=click.Choice(WHAT), help="Learning from the image, or an attack on it.  [default: both]")
@click.option(
    "--cell", "cells", type=int, multiple=True, help="Granule cell or hidden neuron to show; several times for several."
)
@click.option("--class", "classes", type=int, multiple=True, help="Class to show.")
@click.option("--pixel", "pixels", multiple=True, help="Pixel to show: its number, or ROW,COLUMN.")
@setting_options(Attack, "objective", "epsilon", objective="margin", epsilon=0.1)
@click.option("--html", "html_file", type=NewFile(), help="Write a page with figures to this file instead.")
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
    if html_file is not None:
        title = f"Image {image} through {describe(trained.config)}"
        written = html(page(title, f"Test image {image} of {data.name}; run {run.name}. Numbers are in float64.", steps))
        with atomic_write(html_file) as file:
            file.write(written.encode())
    printed = "\n".join(line for number, step in enumerate(steps, 1) for line in text(number, step)).rstrip()
    document = {"run": str(run), "image": image, "what": what, "steps": [step.as_json() for step in steps]}
    return Answer(document, printed if html_file is None else str(html_file))
