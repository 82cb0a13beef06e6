"""Figures of an evaluation: accuracy over ε between its bounds, sizes of gradients, the nearest misclassified images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.errors import DataError
from minicereb.experiments.evaluation.folder import FIGURES, block_paths, read_outcomes
from minicereb.experiments.laboratory import Record
from minicereb.report.figures import curves, image_rows, save_figure
from minicereb.robustness.catalogue import attack_named, attack_names
from minicereb.robustness.gradient_statistics import QUANTILES
from minicereb.robustness.optional import attempt

PICTURES = 8


def draw_evaluation(folder: Path, record: Record, dataset: Dataset) -> list[str]:
    """Draw the figures of an evaluation into its folder, unless they are there or cannot be drawn, and return their paths."""
    paths = [folder / name for name in FIGURES]
    drawn = (lambda: accuracy_figure(record), lambda: gradients_figure(record), lambda: nearest_figure(folder, dataset))
    for path, draw in zip(paths, drawn, strict=True):
        figure = None if path.exists() else attempt(draw)[0]
        if figure is not None:
            save_figure(figure, path)
    return [str(path) for path in paths if path.exists()]


def accuracy_figure(record: Record) -> Figure:
    """Draw accuracy at every ε that was evaluated; between them only what an attack that looks for the nearest has measured."""
    return curves([("", _accuracy(record))], "ε", "share of the images", from_zero=True, points=("attacked", "certified"))


def gradients_figure(record: Record) -> Figure | None:
    """Draw the sizes of the input gradients, by objective; None if none can be shown."""
    norms = _norms(record)
    labels = "share of the images", "L2 norm of the input gradient"
    return curves([("", norms)], *labels, logarithmic_values=True) if norms else None


def _accuracy(record: Record) -> dict[str, tuple[np.ndarray, ...]]:
    """What was measured at each ε, with its interval, and at 0 the clean accuracy; and the curve where it was measured.

    Attacks other than those that look for the nearest misclassified image go as far as ε lets them, so that below the smallest ε
    nothing was measured: a curve there would be flat, with a cliff at ε. From there on, the nearest image is looked for where one
    of them is among the attacks.
    """
    entries = record["epsilons"]
    epsilons = np.array([entry["epsilon"] for entry in entries], dtype=np.float64)

    def measured(side: str) -> np.ndarray:
        rows = [[entry[side], *entry[f"{side}_interval"]] for entry in entries]
        return np.array(rows, dtype=np.float64).T

    clean = np.full((3, 1), record["clean_accuracy"], dtype=np.float64)
    lines: dict[str, tuple[np.ndarray, ...]] = {}
    grid, left = (np.array(record["curve"][name], dtype=np.float64) for name in ("epsilon", "attacked"))
    between = grid >= epsilons[0]
    if any(attack_named(name).smallest for name in entries[0]["by_attack"] if name in attack_names()) and between.sum() > 1:
        lines["nothing nearer found"] = grid[between], left[between]
    above = epsilons > 0
    attacked = np.concatenate((clean, measured("attacked")[:, above]), axis=1)
    lines["attacked"] = (np.concatenate(([0.0], epsilons[above])), *attacked)
    if entries[0]["certified"] is not None:
        lines["certified"] = (epsilons, *measured("certified"))
    return lines


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
    if len(dataset.image_shape) < 2 or dataset.image_shape[2:] not in ((), (1,), (3,), (4,)):
        return None
    paths = block_paths(folder)
    if not paths:
        return None
    outcomes = read_outcomes(paths[0])
    known = (outcomes.ids >= 0) & (outcomes.ids < len(dataset.x_test))
    if not known.all() or outcomes.nearest.shape[1] != dataset.inputs:
        raise DataError(f"{paths[0]} holds outcomes of other images than {dataset.name} has")
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
