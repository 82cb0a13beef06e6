"""The exercise on the average that long-term depression keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.cerebellum import ltd_mean
from minicereb.diagnosis.hints import Task
from minicereb.exercises.definition import Exercise, mistakes


def _ltd_steps(at: Any, before: Any, h: Any, decay: float) -> Any:
    old, mean = at("the old part", decay * before), at("the batch's mean", h.mean(axis=0))
    return old + at("the new part", (1 - decay) * mean)


def _one_by_one(mean: Any, h: Any, decay: float) -> Any:
    for row in h:
        mean = decay * mean + (1 - decay) * row
    return mean


def _moving(of: Any) -> Any:
    """The average with something else instead of the batch's mean response."""
    return lambda mean, h, decay: decay * mean + (1 - decay) * of(h)


def _draw(rng: np.random.Generator, batch: int, cells: int, decay: float) -> tuple[Any, ...]:
    h = np.maximum(rng.standard_normal((batch, cells)) + 0.3, 0)
    return rng.random(cells), h, decay


_FORMULAS = mistakes(
    ("decay swapped", "β and 1 - β are swapped: the old average has the factor β", lambda m, h, b: (1 - b) * m + b * h.mean(0)),
    ("1 - decay left out", "the factor 1 - β of the new mean is missing", lambda m, h, b: b * m + h.mean(0)),
    ("1 + decay", "the new mean has the factor 1 + β; it should be 1 - β", lambda m, h, b: b * m + (1 + b) * h.mean(0)),
    ("divided by 1 + decay", "the weights are β and 1, not β and 1 - β", lambda m, h, b: (b * m + h.mean(0)) / (1 + b)),
    ("decay for 1 - decay", "both have the factor β; the new mean should have 1 - β", lambda m, h, b: b * (m + h.mean(0))),
    ("1 - decay for decay", "both have the factor 1 - β instead of β", lambda m, h, b: (1 - b) * (m + h.mean(0))),
    ("decay left out", "the old average is not multiplied by β", lambda m, h, b: m + (1 - b) * h.mean(0)),
    ("the old average left out", "the old average is left out", lambda m, h, b: (1 - b) * h.mean(0)),
    ("the batch left out", "the mean of the batch is left out", lambda m, h, b: b * m),
    ("not weighted", "old and new have the same weight: β is left out", lambda m, h, b: (m + h.mean(0)) / 2),
    ("only the batch", "this is the mean of the batch alone: nothing is remembered", lambda m, h, b: h.mean(0)),
    ("the old average", "this is the old average: nothing was learned", lambda m, h, b: m.copy()),
    ("subtracted", "the new mean is subtracted; it should be added", lambda m, h, b: b * m - (1 - b) * h.mean(0)),
    ("one image after the other", "the average is updated once per image; it should be once per batch", _one_by_one),
    ("difference from the average", "h - μ is averaged instead of h", lambda m, h, b: b * m + (1 - b) * (h - m).mean(0)),
    ("all images as many", "the weights are the numbers of images; β is left out", lambda m, h, b: (m + h.sum(0)) / (len(h) + 1)),
)
_MEANS = mistakes(
    ("summed over the batch", "the responses are summed over the batch instead of averaged", lambda h: h.sum(0)),
    ("one mean for all", "there is one mean over batch and cells; each cell should have its own", lambda h: h.mean()),
    ("wrong axis", "the mean is over the cells; it should be over the batch, axis 0", lambda h: h.mean(1)),
    ("not averaged over the batch", "the mean over the batch is missing", lambda h: h),
    ("median", "this is the median instead of the mean", lambda h: np.median(h, axis=0)),
    ("smallest", "this is the smallest response instead of the mean", lambda h: h.min(0)),
    ("deviation", "this is the standard deviation instead of the mean", lambda h: h.std(0)),
    ("variance", "this is the variance instead of the mean", lambda h: h.var(0)),
    ("root of the mean square", "this is the root of the mean square instead of the mean", lambda h: (h * h).mean(0) ** 0.5),
    ("mean of both", "the sum over the batch is divided by one image too many", lambda h: h.sum(0) / (len(h) + 1)),
    ("largest", "this is the largest response instead of the mean", lambda h: h.max(0)),
    ("share of active", "this is how often the cell is active, not its mean response", lambda h: (h > 0).mean(0)),
    ("mean of the active", "only images that activate the cell are averaged", lambda h: h.sum(0) / np.maximum((h > 0).sum(0), 1)),
    ("square", "the responses are squared before they are averaged", lambda h: (h * h).mean(0)),
    ("only the first image", "only the first image is used", lambda h: h[0]),
    ("only the last image", "only the last image is used", lambda h: h[-1]),
    ("divided by batch - 1", "the sum is divided by the batch size minus 1", lambda h: h.sum(0) / (len(h) - 1)),
    ("divided by the cells", "the sum is divided by the number of cells", lambda h: h.sum(0) / h.shape[1]),
    of=_moving,
)

LTD = Exercise(
    "ltd-average",
    "The LTD average",
    ("C-LTD",),
    "ltd_average(ltd_mean, h, decay)",
    "Long-term depression keeps a moving average of each granule cell's activity. Return the average after a batch: β times the "
    "average before, plus 1 - β times the cell's mean response over the batch.",
    """
    Parameters
    ----------
    ltd_mean : array of float, shape (cells,)
        μ before the batch; it must not be changed.
    h : array of float, shape (batch, cells)
        Response of the granule cells.
    decay : float
        β, between 0 and 1.

    Returns
    -------
    array, shape (cells,)
        μ after the batch, with the dtype of `h`.
    """,
    Task(ltd_mean, _FORMULAS + _MEANS, steps=_ltd_steps),
    _draw,
    {"batch": (5, 8, 4, 7), "cells": (6, 3, 9, 5)},
    {"decay": (0.9, 0.6, 0.75, 0.99)},
    {
        "a batch may have a single image": (np.array([1.0, 2.0]), np.array([[3.0, 0.0]]), 0.5),
        "the average starts from zeros": (np.zeros(3, dtype=np.float64), np.ones((2, 3), dtype=np.float64), 0.99),
    },
)
