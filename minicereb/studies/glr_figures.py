"""Figures 2, 5, 6 and 7 of the likelihood-ratio paper, from the results of the study of its tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minicereb.calculus.activations import ACTIVATIONS, Activation
from minicereb.experiments.kinds.transfer import read_pictures
from minicereb.experiments.laboratory import run_named
from minicereb.experiments.runs import read_run
from minicereb.report.figures import Curves, curves, image_rows, save_figure
from minicereb.studies.study import Results

JUMPING = ("threshold", "arctan-inverse", "log-absolute", "log-absolute-minus")  # not to be drawn through v = 0


def figures(results: Results, out: Path) -> None:
    """Draw the activations, the losses over the epochs and some pairs of images into the folder of the study."""
    _activations(out)
    _losses(results, out)
    _pairs(results, out)


def _activations(out: Path) -> None:
    threshold = {f"sigmoid, s = {slope:g}": Activation("sigmoid", slope) for slope in (1.0, 2.0, 10.0)}
    save_figure(
        curves([("", _drawn({**threshold, "threshold": ACTIVATIONS["threshold"].response}))], "signal v", "response"),
        out / "fig2-activations.png",
    )
    panels = [(name, _drawn({name: ACTIVATIONS[name].response})) for name in ("absolute", *JUMPING[1:])]
    save_figure(curves(panels, "signal v", "response"), out / "fig7-activations.png")


def _drawn(functions: dict[str, Callable[..., np.ndarray]]) -> Curves:
    v = np.linspace(-5, 5, 1001)
    drawn = {name: (v, function(v)) for name, function in functions.items()}
    for name in drawn.keys() & set(JUMPING):
        drawn[name][1][len(v) // 2] = np.nan
    return drawn


def _losses(results: Results, out: Path) -> None:
    """Training loss is the mean over an epoch, each image before its update; validation loss is taken at the end of the epoch."""
    panels = []
    networks = {config.target: record["runs"][0] for config, record in results if config.seed == results[0][0].seed}
    for train, run in networks.items():
        model = train.model
        likelihood_ratio = model.loss == "cross-entropy" and model.estimator != "backprop" and model.noise_scale == (2.0,)
        if likelihood_ratio and model.activation in ("sigmoid", "threshold"):
            metrics = read_run(run_named(out, run)).metrics()
            epochs = np.array([each["epoch"] for each in metrics])
            losses = {"training": "loss", "validation": "validation_loss"}
            lines = {name: (epochs, _numbers(metrics, key)) for name, key in losses.items()}
            panels.append((f"{model.activation}, {train.optimizer} {train.learning_rate:g}", lines))
    save_figure(curves(panels, "epoch", "mean cross-entropy over noise", from_zero=True), out / "fig5-losses.png")


def _numbers(metrics: list[dict[str, Any]], key: str) -> np.ndarray:
    """What was recorded after each epoch; NaN where nothing was."""
    return np.array([np.nan if (value := each.get(key)) is None else value for each in metrics], dtype=np.float64)


def _pairs(results: Results, out: Path) -> None:
    config, _ = results[0]
    pairs = read_pictures(out, config)
    said = [f"seen as {answer}" for answer in pairs["adversarial_substitute"]]
    rows = [("original", pairs["x"], [str(label) for label in pairs["y"]]), ("adversarial", pairs["x_adv"], said)]
    save_figure(image_rows(rows), out / "fig6-pairs.png")
