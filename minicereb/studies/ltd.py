"""Does long-term depression make a cerebellum more robust? Every width of the study of widths with it and without."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Experiment, Train
from minicereb.studies.comparisons import comparison_table
from minicereb.studies.protocol import EXPECTED, as_printed, compared, examined, published
from minicereb.studies.study import Results, Study
from minicereb.studies.tables import OVER_EPSILON, bracket_table, draw_over_epsilon, grouped, paper_table
from minicereb.studies.width import CELLS, EPOCHS


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Each width with LTD and without, compared; those without are the study of widths."""
    experiments: list[Experiment] = []
    for cells in CELLS[scale]:
        models = [CerebellumModel("full", cells, ltd=ltd) for ltd in (False, True)]
        trains = [as_printed(model, data, EPOCHS[scale], seed) for model, seed in product(models, seeds)]
        experiments += [each for train in trains for each in examined(train, scale, train.seed)] + compared(trains, scale)
    return experiments


def _named(train: Train) -> str:
    return f"{train.model.cells:,} cells, {'LTD' if train.model.ltd else 'no LTD'}"  # type: ignore[union-attr]


def table(results: Results) -> str:
    """What the paper's attacks say of each width with LTD and without, and what is left and certified."""
    found = grouped(results, _named)
    return "\n".join([*paper_table(found), *bracket_table(found), comparison_table(results)])


def figures(results: Results, out: Path) -> None:
    """Draw accuracy over ε by width, with LTD; what it is without is in the study of widths."""
    found = [each for each in grouped(results, _named) if each.train.model.ltd]  # type: ignore[union-attr]
    draw_over_epsilon(found, out / "ltd.png", graded=True)


LTD = Study(
    "ltd",
    "Does long-term depression, a moving average that centres the granule cells' activity, make a cerebellum more robust?",
    {"smoke": "strokes", "course": "mnist", "paper": "mnist"},
    plan,
    table,
    figures,
    published=published,
    expectation=EXPECTED + "It asks whether long-term depression improves robustness.",
    captions={"ltd": "Full wiring with LTD, by number of granule cells. " + OVER_EPSILON},
)
