"""Writes two pages for the documentation about a small cerebellum that learned drawn digits: attacks, and one image.

``python docs/explore_page.py FILE.html`` writes the first; building the documentation writes ``explore.html`` and
``one-image.html`` beside ``index.html``.
"""

from __future__ import annotations

import functools
import sys
import tempfile
from pathlib import Path
from typing import Any

from minicereb import datasets
from minicereb.cli.output import finish
from minicereb.datasets import Dataset
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Train, describe
from minicereb.experiments.runs import load_model, read_run, run_training
from minicereb.explain import explanation, screens
from minicereb.explore.attack_story import Exploration
from minicereb.explore.writer import explore
from minicereb.files import atomic_write

CELLS = 4_000
IMAGE = 3


@functools.cache
def trained() -> tuple[Train, Any, Dataset]:
    """Train the cerebellum, and return its settings, the model and the drawn digits."""
    dataset = datasets.load("strokes")
    config = Train(CerebellumModel("random", CELLS, 4), Data(dataset.name, dataset.sha256), 10, 2, 0.5 / CELLS)
    with tempfile.TemporaryDirectory() as folder:
        list(run_training(config, dataset, folder))
        return config, load_model(read_run(folder), dataset), dataset


def write(path: Path) -> None:
    """Train the cerebellum and write the page."""
    config, model, dataset = trained()
    page = finish(explore(config, model, dataset, Exploration()))
    with atomic_write(path) as file:
        file.write(page.encode())


def write_one_image(path: Path) -> None:
    """Train the cerebellum and write the page that follows an image through it."""
    config, model, dataset = trained()
    lead = f"Test image {IMAGE} of {dataset.name}."
    page = screens.html(f"Image {IMAGE} through {describe(config)}", lead, list(explanation(config, dataset, model, IMAGE)))
    with atomic_write(path) as file:
        file.write(page.encode())


if __name__ == "__main__":
    write(Path(sys.argv[1]))
