"""Figures 2, 5, 6 and 7 of the likelihood-ratio paper, from the results of the study of its tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from minicereb.calculus.activations import ACTIVATIONS, Activation
from minicereb.experiments.kinds.transfer import read_pictures
from minicereb.experiments.laboratory import run_named
from minicereb.experiments.runs import read_run
from minicereb.report.figures import Curves, curves, image_rows
from minicereb.studies.results import Results

JUMPING = ("threshold", "arctan-inverse", "log-absolute", "log-absolute-minus")  # not to be drawn through v = 0


def figures(results: Results) -> Mapping[str, Figure]:
    """Draw the activations, the losses over the epochs and some pairs of images."""
    responses: dict[str, Callable[..., np.ndarray]] = {f"sigmoid, s = {s:g}": Activation("sigmoid", s) for s in (1.0, 2.0, 10.0)}
    responses["threshold"] = ACTIVATIONS["threshold"].response
    further = [(name, _drawn({name: ACTIVATIONS[name].response})) for name in ("absolute", *JUMPING[1:])]
    return {
        "fig2-activations": curves([("", _drawn(responses))], "signal v", "response"),
        "fig7-activations": curves(further, "signal v", "response"),
        "fig5-losses": curves(_losses(results), "epoch", "mean cross-entropy over noise", from_zero=True),
        "fig6-pairs": _pairs(results),
    }


def _drawn(functions: dict[str, Callable[..., np.ndarray]]) -> Curves:
    v = np.linspace(-5, 5, 1001)
    drawn = {name: (v, function(v)) for name, function in functions.items()}
    for name in drawn.keys() & set(JUMPING):
        drawn[name][1][len(v) // 2] = np.nan
    return drawn


def _losses(results: Results) -> list[tuple[str, Curves]]:
    """Return training loss (mean over an epoch, each image before its update) and validation loss (at the end of the epoch)."""
    panels: list[tuple[str, Curves]] = []
    networks = {config.target: record["runs"][0] for config, record in results.where(seed=results[0][0].seed)}
    for train, run in networks.items():
        model = train.model
        likelihood_ratio = model.loss == "cross-entropy" and model.estimator != "backprop" and model.noise_scale == (2.0,)
        if likelihood_ratio and model.activation in ("sigmoid", "threshold"):
            metrics = read_run(run_named(results.folder, run)).metrics()
            epochs = np.array([each["epoch"] for each in metrics])
            losses = {"training": "loss", "validation": "validation_loss"}
            lines = {name: (epochs, _numbers(metrics, key)) for name, key in losses.items()}
            panels.append((f"{model.activation}, {train.optimizer} {train.learning_rate:g}", lines))
    return panels


def _numbers(metrics: list[dict[str, Any]], key: str) -> np.ndarray:
    """Return what was recorded after each epoch, NaN if nothing was."""
    return np.array([np.nan if (value := each.get(key)) is None else value for each in metrics], dtype=np.float64)


def _pairs(results: Results) -> Figure:
    pairs = read_pictures(results.folder, results[0][0])
    answers = [f"seen as {answer}" for answer in pairs["adversarial_substitute"]]
    return image_rows([("original", pairs["x"], [str(y) for y in pairs["y"]]), ("adversarial", pairs["x_adv"], answers)])
