"""Figures of an evaluation: accuracy over ε between its bounds, sizes of gradients, the nearest misclassified images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.experiments.evaluation import FIGURES, block_paths, read_outcomes
from minicereb.experiments.laboratory import Record
from minicereb.report.figures import curves, image_rows, save_figure
from minicereb.robustness.gradients import QUANTILES

PICTURES = 8


def draw_evaluation(folder: Path, record: Record, dataset: Dataset) -> list[str]:
    """Draw the figures of an evaluation into its folder, unless they are there, and return their paths."""
    paths = [folder / name for name in FIGURES]
    if not paths[0].exists():
        save_figure(curves([("", _accuracy(record))], "ε", "share of the images", from_zero=True), paths[0])
    norms = _norms(record)
    if norms and not paths[1].exists():
        save_figure(
            curves([("", norms)], "share of the images", "L2 norm of the input gradient", logarithmic_values=True), paths[1]
        )
    if len(dataset.image_shape) >= 2 and not paths[2].exists():
        _draw_nearest(folder, dataset, paths[2])
    return [str(path) for path in paths if path.exists()]


def _accuracy(record: Record) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    epsilons = np.array([entry["epsilon"] for entry in record["epsilons"]], dtype=np.float64)
    lines = {
        "nothing nearer found": tuple(np.array(record["curve"][name], dtype=np.float64) for name in ("epsilon", "attacked")),
        "attacked": (epsilons, np.array([entry["attacked"] for entry in record["epsilons"]], dtype=np.float64)),
    }
    if record["epsilons"][0]["certified"] is not None:
        lines["certified"] = (epsilons, np.array([entry["certified"] for entry in record["epsilons"]], dtype=np.float64))
    return lines  # type: ignore[return-value]


def _norms(record: Record) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Norms over the share of the images that have at most these, by objective; zeros cannot be shown."""
    lines = {}
    for check in record["epsilons"][0]["checklist"]:
        for objective, found in check["detail"].items() if check["name"] == "gradients-there" else ():
            norms = np.array([norm or np.nan for norm in found["norm_quantiles"]], dtype=np.float64)
            if np.isfinite(norms).any():
                lines[objective] = (np.array(QUANTILES, dtype=np.float64), norms)
    return lines


def _draw_nearest(folder: Path, dataset: Dataset, path: Path) -> None:
    outcomes = read_outcomes(block_paths(folder)[0])
    chosen = np.flatnonzero(outcomes.clean & np.isfinite(outcomes.distance))[:PICTURES]
    if len(chosen) == 0:
        return
    shape = (-1, *dataset.image_shape)
    clean, found = to_unit(dataset.x_test[outcomes.ids[chosen]]).reshape(shape), outcomes.nearest[chosen].reshape(shape)
    largest = np.maximum(np.abs(found - clean).max(axis=tuple(range(1, clean.ndim)), keepdims=True), np.float32(1e-6))
    rows = [
        ("as it is", clean, [f"{label}" for label in outcomes.labels[chosen]]),
        ("misclassified", found, [f"ε = {distance:.3f}" for distance in outcomes.distance[chosen]]),
        ("change, stretched", 0.5 + 0.5 * (found - clean) / largest, [""] * len(chosen)),
    ]
    save_figure(image_rows(rows), path)
