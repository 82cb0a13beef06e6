"""Does long-term depression make a cerebellum more robust? Every width of the study ``width`` without it and with it."""

from __future__ import annotations

from minicereb.experiments.architectures import CerebellumModel
from minicereb.studies.protocol import as_printed, robustness_study
from minicereb.studies.tables import over_epsilon_figure, training_of
from minicereb.studies.width import CELLS, EPOCHS

LTD = robustness_study(
    "ltd",
    "Does long-term depression, a moving average that centres the granule cells' activity, make a cerebellum more robust?",
    lambda data, scale, seed: [
        [as_printed(CerebellumModel("full", cells, ltd=ltd), data, EPOCHS[scale], seed) for ltd in (False, True)]
        for cells in CELLS[scale]
    ],
    lambda train: f"{train.model.cells:,} cells, {'LTD' if train.model.ltd else 'no LTD'}",  # type: ignore[union-attr]
    figures=lambda models: {
        "ltd": over_epsilon_figure({n: m for n, m in models.items() if training_of(m).model.ltd}, graded=True)  # type: ignore
    },
    expectation="It asks whether long-term depression improves robustness.",
    captions={"ltd": "Full wiring with LTD, by number of granule cells."},
)
