"""Does a wider granule layer resist more? Full wiring of growing width, without LTD."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Experiment
from minicereb.studies.comparisons import comparison_table
from minicereb.studies.protocol import EXPECTED, as_printed, compared, examined, published
from minicereb.studies.study import Results, Study
from minicereb.studies.tables import OVER_EPSILON, bracket_table, draw_over_epsilon, grouped, paper_table

CELLS = {
    "smoke": (100, 200),
    "course": (500, 1_000, 2_000, 5_000, 10_000),
    "paper": (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000),
}
EPOCHS = {"smoke": 1, "course": 3, "paper": 10}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Every width, learned as the paper prints it, each compared with the narrowest."""
    models = [CerebellumModel("full", cells, ltd=False) for cells in CELLS[scale]]
    trains = [as_printed(model, data, EPOCHS[scale], seed) for model, seed in product(models, seeds)]
    return [*(each for train in trains for each in examined(train, scale, train.seed)), *compared(trains, scale)]


def table(results: Results) -> str:
    """What the paper's attacks say of each width, and what is left and certified."""
    found = grouped(results, lambda train: f"{train.model.cells:,} cells")  # type: ignore[union-attr]
    return "\n".join([*paper_table(found), *bracket_table(found), comparison_table(results)])


def figures(results: Results, out: Path) -> None:
    """Draw accuracy over ε by width, as the paper's plan has it."""
    found = grouped(results, lambda train: f"{train.model.cells:,} cells")  # type: ignore[union-attr]
    draw_over_epsilon(found, out / "width.png", graded=True)


WIDTH = Study(
    "width",
    "Does a cerebellum become more robust as its granule layer becomes wider?",
    {"smoke": "strokes", "course": "mnist", "paper": "mnist"},
    plan,
    table,
    figures,
    published=published,
    expectation=EXPECTED + "It expects robustness to increase with width, and asks how much.",
    captions={"width": "Full wiring without LTD, by number of granule cells. " + OVER_EPSILON},
)
