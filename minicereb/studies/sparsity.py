"""How many inputs should a granule cell have? From one to all, at a fixed budget of synapses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Train
from minicereb.report.figures import Curves, curves
from minicereb.studies.protocol import as_printed, robustness_study
from minicereb.studies.tables import (
    SAYS_PGD,
    UNDER_ALL,
    Models,
    over_epsilon,
    over_epsilon_figure,
    share_of,
    training_of,
    under_pgd,
)

CLASSES = 10
NATURAL, ALL_INPUTS = 4, 784
# Per scale: synapses m(k + 2c), inputs per cell, epochs.
SIZES = {
    "smoke": (8_000, (1, 4, ALL_INPUTS), 1),
    "course": (480_000, (1, 2, 4, 10, 20, 50, 100, 200, 400, ALL_INPUTS), 3),
    "paper": (4_800_000, (1, 2, 4, 10, 20, 50, 100, 200, 400, ALL_INPUTS), 10),
}


def trainings(data: Data, scale: str, seed: int) -> list[Train]:
    """Return a training for each number of inputs per cell, with as many cells as the budget of synapses allows."""
    synapses, inputs, epochs = SIZES[scale]
    cells = [round(synapses / (k + 2 * CLASSES)) for k in inputs]
    wirings = [("full", m, None) if k == ALL_INPUTS else ("random", m, k) for k, m in zip(inputs, cells, strict=True)]
    return [as_printed(CerebellumModel(*wiring), data, epochs, seed) for wiring in wirings]


def inputs_of(train: Train) -> int:
    """Return the number of inputs per granule cell."""
    return train.model.inputs_per_cell or ALL_INPUTS  # type: ignore[union-attr]


def _figures(models: Models) -> Mapping[str, Figure]:
    """Draw accuracy over k at each ε, and over ε for each k."""
    panels = [
        (SAYS_PGD, _over_inputs(models, over_epsilon(models, under_pgd))),
        (UNDER_ALL, _over_inputs(models, over_epsilon(models))),
    ]
    over_k = curves(panels, "inputs per granule cell, k", share_of(models), from_zero=True, logarithmic=True)
    return {"sparsity-over-k": over_k, "sparsity": over_epsilon_figure(models, graded=True)}


def _over_inputs(models: Models, lines: Curves) -> Curves:
    """Turn lines over ε, one per k, into lines over k, one per ε."""
    inputs = np.array([inputs_of(training_of(model)) for model in models.values()], dtype=np.float64)
    epsilons = next(iter(lines.values()))[0]
    return {
        "clean" if epsilon == 0 else f"ε = {epsilon:g}": (inputs, np.array([line[1][e] for line in lines.values()]))
        for e, epsilon in enumerate(epsilons)
    }


SPARSITY = robustness_study(
    "sparsity",
    "Is sparse wiring, few inputs for each of many granule cells, more robust than denser wiring with as many synapses?",
    lambda data, scale, seed: [trainings(data, scale, seed)],
    lambda train: f"k = {inputs_of(train)}, {train.model.cells:,} cells",  # type: ignore[union-attr]
    reference=lambda train: inputs_of(train) == NATURAL,
    figures=_figures,
    expectation="It asks whether sparse wiring with k = 4, the biological value, is an advantage, and whether near-optimal.",
    captions={
        "sparsity-over-k": (
            "Share of the evaluated test images over the number of inputs per granule cell, at a fixed budget of synapses "
            "m(k + 20), by ε (L∞, pixels in 0 to 1). Left: accuracy under the paper's PGD on the squared error; right: robust "
            "accuracy under all attacks. Points are measurements, joined by lines; the intervals are in the tables."
        ),
        "sparsity": "By number of inputs per granule cell.",
    },
    inputs=ALL_INPUTS,
)
