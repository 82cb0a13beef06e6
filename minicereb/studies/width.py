"""Is a wider granule layer more robust? Full wiring of growing width, without LTD."""

from __future__ import annotations

from minicereb.experiments.architectures import CerebellumModel
from minicereb.studies.protocol import as_printed, robustness_study

CELLS = {
    "smoke": (100, 200),
    "course": (500, 1_000, 2_000, 5_000, 10_000),
    "paper": (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000),
}
EPOCHS = {"smoke": 1, "course": 3, "paper": 10}

WIDTH = robustness_study(
    "width",
    "Does a cerebellum become more robust as its granule layer becomes wider?",
    lambda data, scale, seed: [
        [as_printed(CerebellumModel("full", cells, ltd=False), data, EPOCHS[scale], seed) for cells in CELLS[scale]]
    ],
    lambda train: f"{train.model.cells:,} cells",  # type: ignore[union-attr]
    expectation="It expects robustness to increase with width, and asks how much.",
    captions={"width": "Full wiring without LTD, by number of granule cells."},
)
