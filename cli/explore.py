"""``minicereb explore``: a page that shows attacks on a model step by step."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Any

import click

from minicereb.cli.options import (
    NEW_FILE,
    RESULTS,
    check_html,
    execution_options,
    from_options,
    moved_data,
    number,
    remark_on_size,
    setting_options,
)
from minicereb.cli.output import Answer, as_json, finish
from minicereb.experiments.runs import dataset_of, load_model, read_run
from minicereb.explore.attack_story import Exploration
from minicereb.explore.writer import explore as explored
from minicereb.files import atomic_write
from minicereb.paths import check_file

PAGE = "explore.html"


@click.command()
@click.argument("run", type=RESULTS)
@setting_options(
    Exploration,
    epsilons={
        "default": None,
        "type": number,
        "multiple": True,
        "usual": ", ".join(f"{epsilon:g}" for epsilon in Exploration.epsilons),
    },
)
@click.option("--out", type=NEW_FILE, help="Path of the page, ending in .html.  [default: RUN/explore.html]")
@click.option("--open", "opened", is_flag=True, help="Open the page in the browser.")
@moved_data
@execution_options
@as_json
def explore(run: Path, out: Path | None, opened: bool, dataset: str | None, **options: Any) -> Answer:
    """Write a page that shows attacks on the model in the run folder RUN step by step.

    On the page you choose an image, an objective and a method, and drag ε. Two more tabs show the eyelid and the pole. The page
    is one HTML file that needs neither a server nor a network. Everything that it shows is computed beforehand.
    """
    options["epsilons"] = tuple(sorted(set(options["epsilons"]))) or Exploration.epsilons
    settings: Exploration = from_options(Exploration, options)
    for epsilon in settings.epsilons:
        remark_on_size("epsilon", epsilon)
    out = out or run / PAGE
    check_html("out", out)
    trained = read_run(run)
    check_file(out)
    data = dataset_of(trained, dataset)
    page = finish(explored(trained.config, load_model(trained, data), data, settings)).encode()
    with atomic_write(out) as file:
        file.write(page)
    if opened:
        webbrowser.open(out.resolve().as_uri())
    return Answer({"run": run, "page": out, "bytes": len(page)}, f"{out} ({len(page) / 1e6:.1f} MB)")
