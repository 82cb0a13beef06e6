"""How many inputs should a granule cell have? From one to all, at a fixed budget of synapses."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Experiment, Train
from minicereb.report.figures import curves, save_figure
from minicereb.studies.comparisons import comparison_table
from minicereb.studies.protocol import EXPECTED, as_printed, compared, examined, published
from minicereb.studies.study import Results, Study
from minicereb.studies.tables import (
    OVER_EPSILON,
    Found,
    bracket_table,
    draw_over_epsilon,
    grouped,
    over_epsilon,
    paper_table,
    share_of,
    under_mse_over_epsilon,
)

CLASSES = 10
NATURAL, ALL_INPUTS = 4, 784
# Per scale: synapses m(k + 2c), inputs per cell, epochs.
SIZES = {
    "smoke": (8_000, (1, 4, ALL_INPUTS), 1),
    "course": (480_000, (1, 2, 4, 10, 20, 50, 100, 200, 400, ALL_INPUTS), 3),
    "paper": (4_800_000, (1, 2, 4, 10, 20, 50, 100, 200, 400, ALL_INPUTS), 10),
}


def models(scale: str) -> list[CerebellumModel]:
    """Every number of inputs, with as many cells as the budget of synapses allows."""
    synapses, inputs, _ = SIZES[scale]
    cells = [round(synapses / (k + 2 * CLASSES)) for k in inputs]
    return [
        CerebellumModel("full", m) if k == ALL_INPUTS else CerebellumModel("random", m, k)
        for k, m in zip(inputs, cells, strict=True)
    ]


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Every number of inputs, with LTD, learned as the paper prints it, each compared with four, as in the animal."""
    trains = [as_printed(model, data, SIZES[scale][2], seed) for model, seed in product(models(scale), seeds)]
    natural = [train for train in trains if inputs_of(train) == NATURAL]
    others = [train for train in trains if inputs_of(train) != NATURAL]
    return [*(each for train in trains for each in examined(train, scale, train.seed)), *compared([*natural, *others], scale)]


def inputs_of(train: Train) -> int:
    """Inputs of a granule cell."""
    return train.model.inputs_per_cell or ALL_INPUTS  # type: ignore[union-attr]


def _named(train: Train) -> str:
    return f"k = {inputs_of(train)}, {train.model.cells:,} cells"  # type: ignore[union-attr]


def table(results: Results) -> str:
    """What the paper's attacks say of each number of inputs, and what is left and certified."""
    found = grouped(results, _named)
    return "\n".join([*paper_table(found), *bracket_table(found), comparison_table(results)])


def figures(results: Results, out: Path) -> None:
    """Draw accuracy over k at each ε, and over ε by k."""
    found = grouped(results, _named)
    panels = [("PGD on the squared error says", _over_inputs(found, False)), ("left by all attacks", _over_inputs(found, True))]
    labels = "inputs per granule cell, k", share_of(found)
    save_figure(curves(panels, *labels, from_zero=True, logarithmic=True), out / "sparsity-over-k.png")
    draw_over_epsilon(found, out / "sparsity.png", graded=True)


def _over_inputs(found: list[Found], all_attacks: bool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Lines over k: the test accuracy, and what is left at each ε."""
    inputs = np.array([inputs_of(each.train) for each in found], dtype=np.float64)
    over = (over_epsilon if all_attacks else under_mse_over_epsilon)(found)
    epsilons = next(iter(over.values()))[0]
    return {
        "clean" if epsilon == 0 else f"ε = {epsilon:g}": (inputs, np.array([shares[e] for _, shares in over.values()]))
        for e, epsilon in enumerate(epsilons)
    }


SPARSITY = Study(
    "sparsity",
    "Does sparse wiring, few inputs for each of many granule cells, resist more than denser wiring of as many synapses?",
    {"smoke": "strokes", "course": "mnist", "paper": "mnist"},
    plan,
    table,
    figures,
    published=published,
    inputs=ALL_INPUTS,
    expectation=EXPECTED
    + "It asks whether sparse wiring, k = 4 as in the animal, is an advantage, and whether k = 4 is near-optimal.",
    captions={
        "sparsity-over-k": (
            "Share of the evaluated test images over the number of inputs of a granule cell, at a fixed budget of synapses "
            "m(k + 20), by ε (L∞, pixels in 0 to 1); left as the paper's PGD on the squared error reports it, right what is left "
            "by all attacks. Marks are measured, lines join them; the intervals are in the tables."
        ),
        "sparsity": "By number of inputs of a granule cell. " + OVER_EPSILON,
    },
)
