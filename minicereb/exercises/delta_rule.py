"""The exercise about the delta rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.cerebellum import loss, readout_gradient
from minicereb.diagnosis.hints import Case, Task
from minicereb.exercises.definition import Exercise, mistakes, mistakes_of


def _delta(h: Any, ltd_mean: Any, outputs: Any, targets: Any) -> Any:
    return readout_gradient(h, ltd_mean, loss(outputs, targets)[1])


def _delta_steps(at: Any, h: Any, ltd_mean: Any, outputs: Any, targets: Any) -> Any:
    """The same, step by step."""
    z, e = at("z", h - ltd_mean), at("e", outputs - targets)
    return at("the product", z.T @ e) / len(h)


def _rule(activity: Any, error: Any) -> Any:
    """The delta rule with other ingredients than z and e."""
    return lambda h, ltd_mean, outputs, targets: activity(h, ltd_mean).T @ error(outputs, targets) / len(h)


def _softmax(outputs: Any) -> Any:
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _wrong_only(outputs: Any, targets: Any) -> Any:
    return (outputs - targets) * (outputs.argmax(axis=1) != targets.argmax(axis=1))[:, None]


_ACTIVITIES = mistakes(
    ("times the mean", "h is multiplied by the LTD mean, which is subtracted", lambda h, m: h * m),
    ("over the mean", "h is divided by the LTD mean, which is subtracted", lambda h, m: h / m),
    ("missing mean", "the LTD mean is not subtracted: z = h - μ, and this takes h", lambda h, m: h),
    ("batch mean", "the mean of this batch is subtracted in place of the LTD mean", lambda h, m: h - h.mean(axis=0)),
    ("centred twice", "the batch's mean is subtracted after the LTD mean", lambda h, m: h - m - h.mean(axis=0)),
    (
        "mean by image",
        "each image's mean over cells is subtracted; μ is a mean for each cell",
        lambda h, m: h - h.mean(axis=1, keepdims=True),
    ),
    ("mean of all", "one mean of all numbers is subtracted; μ is a mean for each cell", lambda h, m: h - h.mean()),
    ("mean of the mean", "the mean of μ is subtracted from all cells", lambda h, m: h - m.mean()),
    ("z rectified", "z is cut off at 0; it may be below", lambda h, m: np.maximum(h - m, 0)),
    ("z masked", "z is 0 where the cell is silent; there it is -μ", lambda h, m: (h - m) * (h > 0)),
    ("activity as 0 and 1", "only whether a cell is active counts; its size does too", lambda h, m: (h > 0) - m),
)
_ERRORS = mistakes(
    ("squared error", "the error is squared: this is the loss, not its derivative", lambda o, t: (o - t) ** 2),
    ("squared error", "this is the loss ½e², not its derivative e", lambda o, t: 0.5 * (o - t) ** 2),
    ("sign of the error", "only the sign of the error counts; its size does too", lambda o, t: np.sign(o - t)),
    ("absolute error", "the error's sign is lost", lambda o, t: np.abs(o - t)),
    ("softmax", "softmax(ŷ) - y is the error of the cross-entropy; here it is ŷ - y", lambda o, t: _softmax(o) - t),
    ("only wrong images", "only images that are taken for another class are learned from; all are", _wrong_only),
    ("only the label's output", "only the label's own output learns; all do", lambda o, t: (o - t) * t),
    ("only the other outputs", "the label's own output does not learn", lambda o, t: (o - t) * (1 - t)),
    (
        "slope of the sigmoid",
        "the error is multiplied by a sigmoid's slope; the outputs are linear",
        lambda o, t: (o - t) * o * (1 - o),
    ),
    (
        "answers for outputs",
        "the class that was chosen is taken in place of the outputs",
        lambda o, t: np.eye(o.shape[1], dtype=np.float64)[o.argmax(axis=1)] - t,
    ),
    ("targets left out", "the targets are left out: Hebb's rule, not the delta rule", lambda o, t: o),
    ("outputs left out", "the outputs are left out: Hebb's rule with a teacher", lambda o, t: t),
    (
        "sum of the error",
        "the error is summed over the classes",
        lambda o, t: np.broadcast_to((o - t).sum(axis=1, keepdims=True), o.shape),
    ),
    (
        "normalised error",
        "the error is divided by its length",
        lambda o, t: (o - t) / np.linalg.norm(o - t, axis=1, keepdims=True),
    ),
)


def _delta_case(rng: np.random.Generator, number: int) -> Case:
    batch, cells, classes = (5, 7, 9, 6, 5, 4, 6)[number], (6, 3, 8, 5, 5, 4, 6)[number], (3, 4, 2, 4, 5, 4, 6)[number]
    h = np.maximum(rng.standard_normal((batch, cells)), 0)
    outputs, targets = rng.standard_normal((batch, classes)), np.eye(classes, dtype=np.float64)[rng.integers(0, classes, batch)]
    arguments = {"h": h, "ltd_mean": rng.random(cells), "outputs": outputs, "targets": targets}
    return Case(arguments, {"batch": batch, "classes": classes, "cells": cells})


_MISTAKES = mistakes(
    (
        "averages multiplied",
        "the mean activity is multiplied by the mean error; the mean is of the products",
        lambda h, m, o, t: np.outer((h - m).mean(axis=0), (o - t).mean(axis=0)),
    ),
    (
        "not transposed",
        "z @ e multiplies rows with columns that do not belong together: zᵀ e sums over the batch",
        lambda h, m, o, t: (h - m) @ (o - t) / len(h),
    ),
    (
        "wrong factor transposed",
        "z @ eᵀ sums over the wrong axis: zᵀ e sums over the batch",
        lambda h, m, o, t: (h - m) @ (o - t).T / len(h),
    ),
    (
        "elements multiplied",
        "z and e are multiplied element by element: zᵀ e is a matrix product",
        lambda h, m, o, t: (h - m) * (o - t) / len(h),
    ),
    (
        "mean along the wrong axis",
        "μ is subtracted along the batch; it belongs to the cells",
        lambda h, m, o, t: (h - m[:, None]).T @ (o - t) / len(h),
    ),
    *mistakes_of(_rule, (lambda h, m: h - m, lambda o, t: o - t), _ACTIVITIES, _ERRORS),
)


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
        _MISTAKES,
        steps=_delta_steps,
    ),
    _delta_case,
    (
        Case(
            {
                "h": np.array([[1.0, 0.0, 2.0]]),
                "ltd_mean": np.array([0.5, 0.5, 1.0]),
                "outputs": np.array([[0.3, -0.2]]),
                "targets": np.array([[1.0, 0.0]]),
            },
            note="a batch may hold a single image",
        ),
    ),
)
