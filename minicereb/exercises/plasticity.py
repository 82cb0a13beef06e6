"""Exercises about learning in one layer: the delta rule, and the average that long-term depression keeps."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.dense import dense_weight_gradient
from minicereb.check.hints import Case, Mistake, Task
from minicereb.exercises.exercise import Exercise

# -- the delta rule ----------------------------------------------------------------------------------------------------------


def _delta(h: Any, ltd_mean: Any, outputs: Any, targets: Any) -> Any:
    return dense_weight_gradient(outputs - targets, h - ltd_mean)[0].T / len(h)


def _with_error(code: str, text: str, error: Any) -> Mistake:
    """The delta rule with something else in place of the error."""

    def rule(h: Any, ltd_mean: Any, outputs: Any, targets: Any) -> Any:
        return (h - ltd_mean).T @ error(outputs, targets) / len(h)

    return Mistake(code, text, rule)


def _with_activity(code: str, text: str, activity: Any) -> Mistake:
    """The delta rule with something else in place of z."""
    return Mistake(code, text, lambda h, ltd_mean, outputs, targets: activity(h, ltd_mean).T @ (outputs - targets) / len(h))


def _softmax(outputs: Any) -> Any:
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _wrong_only(outputs: Any, targets: Any) -> Any:
    return (outputs - targets) * (outputs.argmax(axis=1) != targets.argmax(axis=1))[:, None]


def _delta_case(rng: np.random.Generator, number: int) -> Case:
    batch, cells, classes = (5, 7, 9, 6, 5, 4, 6)[number], (6, 3, 8, 5, 5, 4, 6)[number], (3, 4, 2, 4, 5, 4, 6)[number]
    h = np.maximum(rng.standard_normal((batch, cells)), 0)
    outputs, targets = rng.standard_normal((batch, classes)), np.eye(classes)[rng.integers(0, classes, batch)]
    arguments = {"h": h, "ltd_mean": rng.random(cells), "outputs": outputs, "targets": targets}
    return Case(arguments, {"batch": batch, "classes": classes, "cells": cells})


DELTA = Exercise(
    "delta-rule",
    "The delta rule",
    ("C2", "C3", "C4"),
    "readout_gradient(h, ltd_mean, outputs, targets)",
    "The synapse from a granule cell to a Purkinje cell changes by its own cell's activity z = h - μ times its Purkinje cell's "
    "error e = ŷ - y. Return the derivative of the mean loss ½‖ŷ - y‖² by the readout weights W, averaged over the batch.",
    """
    Parameters
    ----------
    h : array of float, shape (batch, cells)
        Response of the granule cells.
    ltd_mean : array of float, shape (cells,)
        μ, which long-term depression subtracts.
    outputs, targets : array of float, shape (batch, classes)
        ŷ and the one-hot y.

    Returns
    -------
    array, shape (cells, classes)
        Dtype of `h`.
    """,
    Task(
        _delta,
        (
            Mistake("averages multiplied", "the mean activity is multiplied by the mean error; the mean is of the products",
                    lambda h, m, o, t: np.outer((h - m).mean(axis=0), (o - t).mean(axis=0))),
            Mistake("not transposed", "z @ e multiplies rows with columns that do not belong together: zᵀ e sums over the batch",
                    lambda h, m, o, t: (h - m) @ (o - t) / len(h)),
            Mistake("wrong factor transposed", "z @ eᵀ sums over the wrong axis: zᵀ e sums over the batch",
                    lambda h, m, o, t: (h - m) @ (o - t).T / len(h)),
            Mistake("elements multiplied", "z and e are multiplied element by element: zᵀ e is a matrix product",
                    lambda h, m, o, t: (h - m) * (o - t) / len(h)),
            Mistake("mean along the wrong axis", "μ is subtracted along the batch; it belongs to the cells",
                    lambda h, m, o, t: (h - m[:, None]).T @ (o - t) / len(h)),
            _with_activity("missing mean", "the LTD mean is not subtracted: z = h - μ, and this takes h", lambda h, m: h),
            _with_activity("batch mean", "the mean of this batch is subtracted in place of the LTD mean",
                           lambda h, m: h - h.mean(axis=0)),
            _with_activity("centred twice", "the batch's mean is subtracted after the LTD mean", lambda h, m: h - m - h.mean(axis=0)),
            _with_activity("mean by image", "each image's mean over cells is subtracted; μ is a mean for each cell",
                           lambda h, m: h - h.mean(axis=1, keepdims=True)),
            _with_activity("mean of all", "one mean of all numbers is subtracted; μ is a mean for each cell", lambda h, m: h - h.mean()),
            _with_activity("mean of the mean", "the mean of μ is subtracted from all cells", lambda h, m: h - m.mean()),
            _with_activity("z rectified", "z is cut off at 0; it may be below", lambda h, m: np.maximum(h - m, 0)),
            _with_activity("z masked", "z is 0 where the cell is silent; there it is -μ", lambda h, m: (h - m) * (h > 0)),
            _with_activity("activity as 0 and 1", "only whether a cell is active counts; its size does too",
                           lambda h, m: (h > 0) - m),
            _with_error("squared error", "the error is squared: this is the loss, not its derivative", lambda o, t: (o - t) ** 2),
            _with_error("squared error", "this is the loss ½e², not its derivative e", lambda o, t: 0.5 * (o - t) ** 2),
            _with_error("sign of the error", "only the sign of the error counts; its size does too", lambda o, t: np.sign(o - t)),
            _with_error("absolute error", "the error's sign is lost", lambda o, t: np.abs(o - t)),
            _with_error("softmax", "softmax(ŷ) - y is the error of the cross-entropy; here it is ŷ - y", lambda o, t: _softmax(o) - t),
            _with_error("only wrong images", "only images that are taken for another class are learned from; all are", _wrong_only),
            _with_error("only the label's output", "only the label's own output learns; all do", lambda o, t: (o - t) * t),
            _with_error("only the other outputs", "the label's own output does not learn", lambda o, t: (o - t) * (1 - t)),
            _with_error("slope of the sigmoid", "the error is multiplied by a sigmoid's slope; the outputs are linear",
                        lambda o, t: (o - t) * o * (1 - o)),
            _with_error("answers for outputs", "the class that was chosen is taken in place of the outputs",
                        lambda o, t: np.eye(o.shape[1])[o.argmax(axis=1)] - t),
            _with_error("targets left out", "the targets are left out: Hebb's rule, not the delta rule", lambda o, t: o),
            _with_error("outputs left out", "the outputs are left out: Hebb's rule with a teacher", lambda o, t: t),
            _with_error("sum of the error", "the error is summed over the classes", lambda o, t: np.broadcast_to(
                (o - t).sum(axis=1, keepdims=True), o.shape)),
            _with_error("normalised error", "the error is divided by its length",
                        lambda o, t: (o - t) / np.linalg.norm(o - t, axis=1, keepdims=True)),
        ),
    ),
    _delta_case,
    (
        Case({"h": np.array([[1.0, 0.0, 2.0]]), "ltd_mean": np.array([0.5, 0.5, 1.0]), "outputs": np.array([[0.3, -0.2]]),
              "targets": np.array([[1.0, 0.0]])}, note="a batch may hold a single image"),
    ),
)

# -- the LTD average ---------------------------------------------------------------------------------------------------------


def _ltd(ltd_mean: Any, h: Any, decay: float) -> Any:
    return decay * ltd_mean + (1 - decay) * h.mean(axis=0)


def _one_by_one(ltd_mean: Any, h: Any, decay: float) -> Any:
    for row in h:
        ltd_mean = decay * ltd_mean + (1 - decay) * row
    return ltd_mean


def _moving(code: str, text: str, of: Any) -> Mistake:
    """The average with something else in place of the batch's mean response."""
    return Mistake(code, text, lambda ltd_mean, h, decay: decay * ltd_mean + (1 - decay) * of(h))


def _ltd_case(rng: np.random.Generator, number: int) -> Case:
    batch, cells = (5, 8, 4, 7, 5, 4, 6)[number], (6, 3, 9, 5, 5, 4, 6)[number]
    h = np.maximum(rng.standard_normal((batch, cells)) + 0.3, 0)
    return Case({"ltd_mean": rng.random(cells), "h": h, "decay": (0.9, 0.6, 0.75, 0.99, 0.9, 0.6, 0.75)[number]}, {"batch": batch, "cells": cells})


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
        _ltd,
        (
            Mistake("decay swapped", "β and 1 - β are swapped: β belongs to the old average",
                    lambda m, h, b: (1 - b) * m + b * h.mean(axis=0)),
            Mistake("1 - decay left out", "the factor 1 - β of the new mean is missing", lambda m, h, b: b * m + h.mean(axis=0)),
            Mistake("decay for 1 - decay", "both are multiplied by β; the new mean by 1 - β", lambda m, h, b: b * (m + h.mean(axis=0))),
            Mistake("1 - decay for decay", "both are multiplied by 1 - β; the old average by β",
                    lambda m, h, b: (1 - b) * (m + h.mean(axis=0))),
            Mistake("decay left out", "the old average is not multiplied by β", lambda m, h, b: m + (1 - b) * h.mean(axis=0)),
            Mistake("the old average left out", "the old average is left out", lambda m, h, b: (1 - b) * h.mean(axis=0)),
            Mistake("the batch left out", "the batch's mean is left out", lambda m, h, b: b * m),
            Mistake("not weighted", "old and new are averaged equally, or the decay is left out", lambda m, h, b: (m + h.mean(axis=0)) / 2),
            Mistake("only the batch", "this is the batch's mean alone: nothing is remembered", lambda m, h, b: h.mean(axis=0)),
            Mistake("the old average", "this is the old average: nothing was learned", lambda m, h, b: m.copy()),
            Mistake("subtracted", "the new mean is subtracted; it is added", lambda m, h, b: b * m - (1 - b) * h.mean(axis=0)),
            Mistake("one image after the other", "the average is moved once for each image; it moves once a batch", _one_by_one),
            Mistake("difference from the average", "h - μ is averaged in; h is", lambda m, h, b: b * m + (1 - b) * (h - m).mean(axis=0)),
            Mistake("all images as many", "old and new are averaged by the number of images; β is left out",
                    lambda m, h, b: (m + h.sum(axis=0)) / (len(h) + 1)),
            _moving("summed over the batch", "the responses are summed over the batch; their mean belongs there", lambda h: h.sum(axis=0)),
            _moving("one mean for all", "one mean over batch and cells; each cell has its own", lambda h: h.mean()),
            _moving("wrong axis", "the mean is over the cells; it is over the batch, axis 0", lambda h: h.mean(axis=1)),
            _moving("not averaged over the batch", "the mean over the batch is missing", lambda h: h),
            _moving("median", "this is the median; the mean belongs there", lambda h: np.median(h, axis=0)),
            _moving("largest", "this is the largest response; the mean belongs there", lambda h: h.max(axis=0)),
            _moving("share of active", "this is how often the cell is active; its mean response belongs there",
                    lambda h: (h > 0).mean(axis=0)),
            _moving("mean of the active", "only images in which the cell is active are averaged over; all are",
                    lambda h: h.sum(axis=0) / np.maximum((h > 0).sum(axis=0), 1)),
            _moving("square", "responses are squared before the mean", lambda h: (h * h).mean(axis=0)),
            _moving("only the first image", "only the first image counts", lambda h: h[0]),
            _moving("only the last image", "only the last image counts", lambda h: h[-1]),
            _moving("divided by batch - 1", "the sum is divided by the batch size less 1", lambda h: h.sum(axis=0) / (len(h) - 1)),
            _moving("divided by the cells", "the sum over the batch is divided by the number of cells",
                    lambda h: h.sum(axis=0) / h.shape[1]),
        ),
    ),
    _ltd_case,
    (
        Case({"ltd_mean": np.array([1.0, 2.0]), "h": np.array([[3.0, 0.0]]), "decay": 0.5}, note="a batch may hold a single image"),
        Case({"ltd_mean": np.zeros(3), "h": np.ones((2, 3)), "decay": 0.99}, note="the first average is that of zeros"),
    ),
)
