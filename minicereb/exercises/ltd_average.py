"""The exercise about the average that long-term depression keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.cerebellum import ltd_mean
from minicereb.diagnosis.hints import Case, Mistake, Task
from minicereb.exercises.definition import Exercise, mistakes


def _ltd_steps(at: Any, before: Any, h: Any, decay: float) -> Any:
    """The same, step by step."""
    old, mean = at("the old part", decay * before), at("the batch's mean", h.mean(axis=0))
    return old + at("the new part", (1 - decay) * mean)


def _one_by_one(mean: Any, h: Any, decay: float) -> Any:
    for row in h:
        mean = decay * mean + (1 - decay) * row
    return mean


def _moving(code: str, text: str, of: Any) -> Mistake:
    """The average with something else in place of the batch's mean response."""
    return Mistake(code, text, lambda mean, h, decay: decay * mean + (1 - decay) * of(h))


def _ltd_case(rng: np.random.Generator, number: int) -> Case:
    batch, cells = (5, 8, 4, 7, 5, 4, 6)[number], (6, 3, 9, 5, 5, 4, 6)[number]
    h = np.maximum(rng.standard_normal((batch, cells)) + 0.3, 0)
    return Case(
        {"ltd_mean": rng.random(cells), "h": h, "decay": (0.9, 0.6, 0.75, 0.99, 0.9, 0.6, 0.75)[number]},
        {"batch": batch, "cells": cells},
    )


_MISTAKES = mistakes(
    ("decay swapped", "β and 1 - β are swapped: β belongs to the old average", lambda m, h, b: (1 - b) * m + b * h.mean(axis=0)),
    ("1 - decay left out", "the factor 1 - β of the new mean is missing", lambda m, h, b: b * m + h.mean(axis=0)),
    ("1 + decay", "1 + β stands where 1 - β belongs", lambda m, h, b: b * m + (1 + b) * h.mean(axis=0)),
    (
        "divided by 1 + decay",
        "it is a weighted mean with the weights β and 1; they are β and 1 - β",
        lambda m, h, b: (b * m + h.mean(axis=0)) / (1 + b),
    ),
    ("decay for 1 - decay", "both are multiplied by β; the new mean by 1 - β", lambda m, h, b: b * (m + h.mean(axis=0))),
    ("1 - decay for decay", "both are multiplied by 1 - β; the old average by β", lambda m, h, b: (1 - b) * (m + h.mean(axis=0))),
    ("decay left out", "the old average is not multiplied by β", lambda m, h, b: m + (1 - b) * h.mean(axis=0)),
    ("the old average left out", "the old average is left out", lambda m, h, b: (1 - b) * h.mean(axis=0)),
    ("the batch left out", "the batch's mean is left out", lambda m, h, b: b * m),
    ("not weighted", "old and new are averaged equally, or the decay is left out", lambda m, h, b: (m + h.mean(axis=0)) / 2),
    ("only the batch", "this is the batch's mean alone: nothing is remembered", lambda m, h, b: h.mean(axis=0)),
    ("the old average", "this is the old average: nothing was learned", lambda m, h, b: m.copy()),
    ("subtracted", "the new mean is subtracted; it is added", lambda m, h, b: b * m - (1 - b) * h.mean(axis=0)),
    ("one image after the other", "the average is moved once for each image; it moves once a batch", _one_by_one),
    ("difference from the average", "h - μ is averaged in; h is", lambda m, h, b: b * m + (1 - b) * (h - m).mean(axis=0)),
    (
        "all images as many",
        "old and new are averaged by the number of images; β is left out",
        lambda m, h, b: (m + h.sum(axis=0)) / (len(h) + 1),
    ),
    _moving(
        "summed over the batch", "the responses are summed over the batch; their mean belongs there", lambda h: h.sum(axis=0)
    ),
    _moving("one mean for all", "one mean over batch and cells; each cell has its own", lambda h: h.mean()),
    _moving("wrong axis", "the mean is over the cells; it is over the batch, axis 0", lambda h: h.mean(axis=1)),
    _moving("not averaged over the batch", "the mean over the batch is missing", lambda h: h),
    _moving("median", "this is the median; the mean belongs there", lambda h: np.median(h, axis=0)),
    _moving("smallest", "this is the smallest response; the mean belongs there", lambda h: h.min(axis=0)),
    _moving("deviation", "this is the responses' deviation; their mean belongs there", lambda h: h.std(axis=0)),
    _moving("variance", "this is the responses' variance; their mean belongs there", lambda h: h.var(axis=0)),
    _moving(
        "root of the mean square",
        "this is the root of the mean square; the mean belongs there",
        lambda h: (h * h).mean(axis=0) ** 0.5,
    ),
    _moving("mean of both", "the old average is averaged in with the images, once more", lambda h: h.sum(axis=0) / (len(h) + 1)),
    _moving("largest", "this is the largest response; the mean belongs there", lambda h: h.max(axis=0)),
    _moving(
        "share of active", "this is how often the cell is active; its mean response belongs there", lambda h: (h > 0).mean(axis=0)
    ),
    _moving(
        "mean of the active",
        "only images in which the cell is active are averaged over; all are",
        lambda h: h.sum(axis=0) / np.maximum((h > 0).sum(axis=0), 1),
    ),
    _moving("square", "responses are squared before the mean", lambda h: (h * h).mean(axis=0)),
    _moving("only the first image", "only the first image counts", lambda h: h[0]),
    _moving("only the last image", "only the last image counts", lambda h: h[-1]),
    _moving("divided by batch - 1", "the sum is divided by the batch size less 1", lambda h: h.sum(axis=0) / (len(h) - 1)),
    _moving(
        "divided by the cells", "the sum over the batch is divided by the number of cells", lambda h: h.sum(axis=0) / h.shape[1]
    ),
)


LTD = Exercise(
    "ltd-average",
    "The LTD average",
    ("C-LTD",),
    "ltd_average(ltd_mean, h, decay)",
    "Long-term depression keeps a moving average of each granule cell's activity. Return the average after a batch: β times what "
    "it was, plus 1 - β times the cell's mean response over the batch.",
    """
    Parameters
    ----------
    ltd_mean : array of float, shape (cells,)
        μ before the batch; it must stay as it is.
    h : array of float, shape (batch, cells)
        Response of the granule cells.
    decay : float
        β, between 0 and 1.

    Returns
    -------
    array, shape (cells,)
        μ after the batch, with the dtype of `h`.
    """,
    Task(
        ltd_mean,
        _MISTAKES,
        steps=_ltd_steps,
    ),
    _ltd_case,
    (
        Case(
            {"ltd_mean": np.array([1.0, 2.0]), "h": np.array([[3.0, 0.0]]), "decay": 0.5}, note="a batch may hold a single image"
        ),
        Case(
            {"ltd_mean": np.zeros(3, dtype=np.float64), "h": np.ones((2, 3), dtype=np.float64), "decay": 0.99},
            note="the first average is that of zeros",
        ),
    ),
)
