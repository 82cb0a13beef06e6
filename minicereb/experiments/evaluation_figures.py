"""Figures of an evaluation: accuracy over ε between its bounds, sizes of gradients, the nearest misclassified images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

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
    drawn = (lambda: accuracy_figure(record), lambda: gradients_figure(record), lambda: nearest_figure(folder, dataset))
    for path, draw in zip(paths, drawn, strict=True):
        figure = None if path.exists() else draw()
        if figure is not None:
            save_figure(figure, path)
    return [str(path) for path in paths if path.exists()]


def accuracy_figure(record: Record) -> Figure:
    """Draw accuracy over ε: attacked, certified, and what is left when everything nearer counts."""
    return curves([("", _accuracy(record))], "ε", "share of the images", from_zero=True, marked=False)


def gradients_figure(record: Record) -> Figure | None:
    """Draw the sizes of the input gradients, by objective; None if none can be shown."""
    norms = _norms(record)
    labels = "share of the images", "L2 norm of the input gradient"
    return curves([("", norms)], *labels, logarithmic_values=True) if norms else None


def _accuracy(record: Record) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Lines over ε. What is attacked at one ε bounds all larger ones, what is certified all smaller ones: hence the steps."""
    epsilons = np.array([entry["epsilon"] for entry in record["epsilons"]], dtype=np.float64)
    edges = np.repeat(epsilons, 2)
    attacked, certified = ([entry[side] for entry in record["epsilons"]] for side in ("attacked", "certified"))
    upper = np.repeat(np.array([record["clean_accuracy"], *attacked], dtype=np.float64), 2)
    lines = {
        "nothing nearer found": tuple(np.array(record["curve"][name], dtype=np.float64) for name in ("epsilon", "attacked")),
        "attacked": (np.concatenate([[0.0], edges]), upper[:-1]),
    }
    if certified[0] is not None:
        lines["certified"] = (np.concatenate([[0.0], edges])[:-1], np.repeat(np.array(certified, dtype=np.float64), 2))
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


def nearest_figure(folder: Path, dataset: Dataset) -> Figure | None:
    """Draw the nearest misclassified image of the first few test images; None if there are none, or they are no images."""
    if len(dataset.image_shape) < 2:
        return None
    outcomes = read_outcomes(block_paths(folder)[0])
    chosen = np.flatnonzero(outcomes.clean & np.isfinite(outcomes.distance))[:PICTURES]
    if len(chosen) == 0:
        return None
    shape = (-1, *dataset.image_shape)
    clean, found = to_unit(dataset.x_test[outcomes.ids[chosen]]).reshape(shape), outcomes.nearest[chosen].reshape(shape)
    largest = np.maximum(np.abs(found - clean).max(axis=tuple(range(1, clean.ndim)), keepdims=True), np.float32(1e-6))
    rows = [
        ("as it is", clean, [f"{label}" for label in outcomes.labels[chosen]]),
        ("misclassified", found, [f"ε = {distance:.3f}" for distance in outcomes.distance[chosen]]),
        ("change, stretched", 0.5 + 0.5 * (found - clean) / largest, [""] * len(chosen)),
    ]
    return image_rows(rows)
