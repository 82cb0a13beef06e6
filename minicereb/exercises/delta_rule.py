"""The exercise on the delta rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.cerebellum import loss, readout_gradient
from minicereb.diagnosis.hints import Task
from minicereb.exercises.definition import Exercise, mistakes, mistakes_of


def _delta(h: Any, ltd_mean: Any, outputs: Any, targets: Any) -> Any:
    return readout_gradient(h, ltd_mean, loss(outputs, targets)[1])


def _delta_steps(at: Any, h: Any, ltd_mean: Any, outputs: Any, targets: Any) -> Any:
    z, e = at("z", h - ltd_mean), at("e", outputs - targets)
    return at("the product", z.T @ e) / len(h)


def _rule(activity: Any, error: Any) -> Any:
    """The delta rule with ingredients other than z and e."""
    return lambda h, ltd_mean, outputs, targets: activity(h, ltd_mean).T @ error(outputs, targets) / len(h)


def _softmax(outputs: Any) -> Any:
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _wrong_only(outputs: Any, targets: Any) -> Any:
    return (outputs - targets) * (outputs.argmax(axis=1) != targets.argmax(axis=1))[:, None]


def _draw(rng: np.random.Generator, batch: int, classes: int, cells: int) -> tuple[Any, ...]:
    h = np.maximum(rng.standard_normal((batch, cells)), 0)
    outputs, targets = rng.standard_normal((batch, classes)), np.eye(classes, dtype=np.float64)[rng.integers(0, classes, batch)]
    return h, rng.random(cells), outputs, targets


_ACTIVITIES = mistakes(
    ("times the mean", "h is multiplied by the LTD mean, which should be subtracted", lambda h, m: h * m),
    ("over the mean", "h is divided by the LTD mean, which should be subtracted", lambda h, m: h / m),
    ("missing mean", "the LTD mean is not subtracted: h is used instead of z = h - μ", lambda h, m: h),
    ("batch mean", "the mean of this batch is subtracted instead of the LTD mean", lambda h, m: h - h.mean(axis=0)),
    ("centred twice", "the batch's mean is subtracted as well as the LTD mean", lambda h, m: h - m - h.mean(axis=0)),
    ("mean by image", "each image's mean is subtracted; μ has a mean per cell", lambda h, m: h - h.mean(axis=1, keepdims=True)),
    ("mean of all", "the mean of all numbers is subtracted; μ has a mean per cell", lambda h, m: h - h.mean()),
    ("mean of the mean", "the mean of μ is subtracted from all cells", lambda h, m: h - m.mean()),
    ("z rectified", "negative values of z are set to 0; they should stay", lambda h, m: np.maximum(h - m, 0)),
    ("z masked", "z is 0 where the cell is silent; it should be -μ there", lambda h, m: (h - m) * (h > 0)),
    ("activity as 0 and 1", "only whether a cell is active is used; how active matters too", lambda h, m: (h > 0) - m),
)
_ERRORS = mistakes(
    ("squared error", "the error is squared: this is the loss, not its derivative", lambda o, t: (o - t) ** 2),
    ("squared error", "this is the loss ½e², not its derivative e", lambda o, t: 0.5 * (o - t) ** 2),
    ("sign of the error", "only the sign of the error is used; its size matters too", lambda o, t: np.sign(o - t)),
    ("absolute error", "the sign of the error is lost", lambda o, t: np.abs(o - t)),
    ("softmax", "softmax(ŷ) - y is the error of the cross-entropy; here it is ŷ - y", lambda o, t: _softmax(o) - t),
    ("only wrong images", "only misclassified images are learned from; all should be", _wrong_only),
    ("only the label's output", "only the output of the label learns; all should", lambda o, t: (o - t) * t),
    ("only the other outputs", "the output of the label does not learn", lambda o, t: (o - t) * (1 - t)),
    ("slope of the sigmoid", "the error is multiplied by the slope of a sigmoid", lambda o, t: (o - t) * o * (1 - o)),
    ("answers for outputs", "the chosen class is used instead of the outputs", lambda o, t: (o == o.max(1, keepdims=True)) - t),
    ("targets left out", "the targets are left out: this is Hebb's rule, not the delta rule", lambda o, t: o),
    ("outputs left out", "the outputs are left out: this is Hebb's rule with a teacher", lambda o, t: t),
    ("normalised error", "the error is divided by its norm", lambda o, t: (o - t) / np.linalg.norm(o - t, axis=1, keepdims=True)),
    ("sum of the error", "the error is summed over the classes", lambda o, t: 0 * o + (o - t).sum(axis=1, keepdims=True)),
)
_MISTAKES = mistakes(
    (
        "averages multiplied",
        "the mean activity is multiplied by the mean error",
        lambda h, m, o, t: np.outer((h - m).mean(0), (o - t).mean(0)),
    ),
    ("not transposed", "z @ e sums over the cells; zᵀ e sums over the batch", lambda h, m, o, t: (h - m) @ (o - t) / len(h)),
    ("wrong factor transposed", "z @ eᵀ is used instead of zᵀ e", lambda h, m, o, t: (h - m) @ (o - t).T / len(h)),
    ("elements multiplied", "z e is used instead of the matrix product zᵀ e", lambda h, m, o, t: (h - m) * (o - t) / len(h)),
    ("mean along the wrong axis", "μ is subtracted along the batch", lambda h, m, o, t: (h - m[:, None]).T @ (o - t) / len(h)),
)

DELTA = Exercise(
    "delta-rule",
    "The delta rule",
    ("C2", "C3", "C4"),
    "readout_gradient(h, ltd_mean, outputs, targets)",
    "The synapse from a granule cell to a Purkinje cell changes by the granule cell's activity z = h - μ times the Purkinje "
    "cell's error e = ŷ - y. Return the derivative of the loss ½‖ŷ - y‖², averaged over the batch, by the readout weights W.",
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
        _MISTAKES + mistakes_of(_rule, (lambda h, m: h - m, lambda o, t: o - t), _ACTIVITIES, _ERRORS),
        steps=_delta_steps,
    ),
    _draw,
    {"batch": (5, 7, 9, 6), "classes": (3, 4, 2, 4), "cells": (6, 3, 8, 5)},
    special={
        "a batch may have a single image": (
            np.array([[1.0, 0.0, 2.0]]),
            np.array([0.5, 0.5, 1.0]),
            np.array([[0.3, -0.2]]),
            np.array([[1.0, 0.0]]),
        )
    },
)
