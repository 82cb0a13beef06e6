"""Figures of an evaluation: bounds on the accuracy against ε, sizes of gradients, and nearest misclassified images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.errors import DataError
from minicereb.experiments.evaluation.folder import FIGURES, block_paths, read_outcomes
from minicereb.experiments.records import Record
from minicereb.report.figures import conclude, curves, image_rows, save_figure
from minicereb.report.formats import short_percent, strength
from minicereb.robustness.catalogue import attack_named, attack_names
from minicereb.robustness.gradient_statistics import QUANTILES
from minicereb.robustness.optional import attempt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = 8


def draw_evaluation(folder: Path, record: Record, dataset: Dataset) -> list[str]:
    """Draw the missing figures of an evaluation, where possible, into its folder; return the paths of all its figures."""
    paths = [folder / name for name in FIGURES]
    drawn = (lambda: accuracy_figure(record), lambda: gradients_figure(record), lambda: nearest_figure(folder, dataset))
    for path, draw in zip(paths, drawn, strict=True):
        figure = None if path.exists() else attempt(draw)[0]
        if figure is not None:
            save_figure(figure, path)
    return [str(path) for path in paths if path.exists()]


def seeks_nearest(record: Record) -> bool:
    """Return whether an attack of the evaluation searched for the nearest misclassified images."""
    return any(attack_named(name).smallest for name in record["epsilons"][0]["by_attack"] if name in attack_names())


def accuracy_figure(record: Record) -> Figure:
    """Draw the measured accuracies against ε with their intervals, and the clean accuracy at ε = 0.

    Only a search for the nearest misclassified image measures the accuracy between the given ε; other attacks use the full ε.
    The curve of a search for the nearest image begins at the smallest ε.
    """
    entries = record["epsilons"]
    epsilons = np.array([entry["epsilon"] for entry in entries], dtype=np.float64)

    def measured(side: str) -> np.ndarray:
        return np.array([[entry[side], *entry[f"{side}_interval"]] for entry in entries], dtype=np.float64).T

    lines: dict[str, tuple[np.ndarray, ...]] = {}
    grid, left = (np.array(record["curve"][name], dtype=np.float64) for name in ("epsilon", "attacked"))
    between = grid >= epsilons[0]
    if seeks_nearest(record) and between.sum() > 1:
        lines["nothing nearer found"] = grid[between], left[between]
    above, clean = epsilons > 0, np.full((3, 1), record["clean_accuracy"], dtype=np.float64)
    attacked = np.concatenate((clean, measured("attacked")[:, above]), axis=1)
    lines["attacked"] = (np.concatenate(([0.0], epsilons[above])), *attacked)
    if entries[0]["certified"] is not None:
        lines["certified"] = (epsilons, *measured("certified"))
    return curves(
        [("", lines)], "ε", "share of the images", from_zero=True, points=("attacked", "certified"), conclusion=_bounds(entries)
    )


def _bounds(entries: Sequence[Record]) -> str:
    """State the accuracy at the largest ε at which it is above 0; if it is 0 at every ε, state it at the smallest ε."""
    entry = max((each for each in entries if each["attacked"] > 0), key=lambda each: each["epsilon"], default=entries[0])
    certified = entry["certified"]
    proved = "" if certified is None else f"; {short_percent(certified)}% are certified"
    return f"At ε = {strength(entry['epsilon'])} no attack breaks {short_percent(entry['attacked'])}% of the images{proved}."


def gradients_figure(record: Record) -> Figure | None:
    """Draw the cumulative distributions of the input gradients' norms, one per objective; return None if all norms are zero."""
    lines = {}
    for check in record["epsilons"][0]["checklist"]:
        for objective, found in check["detail"].items() if check["name"] == "gradients-there" else ():
            norms = np.array([norm or np.nan for norm in found["norm_quantiles"]], dtype=np.float64)
            if np.isfinite(norms).any():
                lines[objective] = (np.array(QUANTILES, dtype=np.float64), norms)
    labels = "share of the images", "L2 norm of the input gradient"
    return curves([("", lines)], *labels, logarithmic_values=True) if lines else None


def nearest_figure(folder: Path, dataset: Dataset) -> Figure | None:
    """Draw the nearest misclassified image found for each of the first test images; None if there is nothing to draw."""
    paths = block_paths(folder)
    if not paths or len(dataset.image_shape) < 2 or dataset.image_shape[2:] not in ((), (1,), (3,), (4,)):
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
        ("original", clean, [f"{label}" for label in outcomes.labels[chosen]]),
        ("misclassified", found, [f"ε = {distance:.3f}" for distance in outcomes.distance[chosen]]),
        ("change, scaled", 0.5 + 0.5 * (found - clean) / largest, [""] * len(chosen)),
    ]
    distances = outcomes.distance[chosen]
    return conclude(image_rows(rows), f"Misclassified at distances from {distances.min():.3f} to {distances.max():.3f}.")
