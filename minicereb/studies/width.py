"""Is a wider granule layer more robust, with or without long-term depression? The wiring is full, and its width grows."""

from __future__ import annotations

from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Train
from minicereb.studies.protocol import as_printed, robustness_study
from minicereb.studies.tables import over_epsilon_figure, training_of

CELLS = {
    "smoke": (100, 200),
    "course": (500, 1_000, 2_000, 5_000, 10_000),
    "paper": (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000),
}
EPOCHS = {"smoke": 1, "course": 3, "paper": 10}


def _trained(cells: int, ltd: bool, data: Data, scale: str, seed: int) -> Train:
    return as_printed(CerebellumModel("full", cells, ltd=ltd), data, EPOCHS[scale], seed)


WIDTH = robustness_study(
    "width",
    "Does a cerebellum become more robust as its granule layer becomes wider?",
    lambda *settings: [[_trained(cells, False, *settings) for cells in CELLS[settings[1]]]],
    lambda train: f"{train.model.cells:,} cells",  # type: ignore[union-attr]
    expectation="It expects robustness to increase with width, and asks how much.",
    captions={"width": "Full wiring without LTD, by number of granule cells."},
)
LTD = robustness_study(
    "ltd",
    "Does long-term depression, a moving average that centres the granule cells' activity, make a cerebellum more robust?",
    lambda *settings: [[_trained(cells, ltd, *settings) for ltd in (False, True)] for cells in CELLS[settings[1]]],
    lambda train: f"{train.model.cells:,} cells, {'LTD' if train.model.ltd else 'no LTD'}",  # type: ignore[union-attr]
    figures=lambda models: {
        "ltd": over_epsilon_figure({n: m for n, m in models.items() if training_of(m).model.ltd}, graded=True)  # type: ignore
    },
    expectation="It asks whether long-term depression improves robustness.",
    captions={"ltd": "Full wiring with LTD, by number of granule cells."},
)
