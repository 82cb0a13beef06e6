"""The exercises on granule cells and their synapses: ReLU, the delta rule, the LTD average, the sparse projection."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.activations import relu_input_gradient, sigmoid
from minicereb.calculus.cerebellum import loss, ltd_mean, readout_gradient
from minicereb.calculus.projection import add_project_input_gradient
from minicereb.diagnosis.hints import Mistake, Task
from minicereb.exercises.definition import Exercise, mistakes, mistakes_of


def _leaky(slope: float) -> Mistake:
    text = f"inactive units let {slope:g} of the credit through: this is leaky ReLU"
    return Mistake("leaky", text, lambda d_h, v: np.where(v > 0, d_h, slope * d_h))


_RELU_MISTAKES = mistakes(
    ("missing mask", "the mask is missing: the credit passes as if every unit were active", lambda d, v: d),
    ("mask inverted", "the mask is inverted: credit passes where v is below 0", lambda d, v: d * (v <= 0)),
    ("not differentiated", "this is the response max(v, 0) itself, not its derivative", lambda d, v: np.maximum(v, 0)),
    ("response for slope", "d_h is multiplied by max(v, 0), not by its slope, 1 or 0", lambda d, v: d * np.maximum(v, 0)),
    ("pre-activation for slope", "d_h is multiplied by v, not by the slope, 1 or 0", lambda d, v: d * v),
    ("mask of the credit", "the mask depends on d_h; it should depend on v: active is v > 0", lambda d, v: d * (d > 0)),
    ("mask of the credit too", "negative credit is cut off too; only v decides what passes", lambda d, v: d * (v > 0) * (d > 0)),
    ("slope of |v|", "the slope is the sign of v, which is that of |v|, not of ReLU", lambda d, v: d * np.sign(v)),
    ("threshold of 1", "the mask is v > 1; the kink is at 0", lambda d, v: d * (v > 1)),
    ("threshold of -1", "the mask is v > -1; the kink is at 0", lambda d, v: d * (v > -1)),
    ("slope of softplus", "the slope is that of softplus, a smooth form of ReLU", lambda d, v: d * sigmoid(v)),
    ("slope of the sigmoid", "the slope is that of the sigmoid, not of ReLU", lambda d, v: d * sigmoid(v) * (1 - sigmoid(v))),
    ("slope of tanh", "the slope is that of tanh, not of ReLU", lambda d, v: d * (1 - np.tanh(v) ** 2)),
    ("clipped", "the slope is 0 above 1 too: this is a clipped unit", lambda d, v: d * ((v > 0) & (v < 1))),
    ("0 and 1 by size", "the mask depends on |v|; it should be v > 0", lambda d, v: d * (np.abs(v) > 1)),
)

RELU = Exercise(
    "relu-derivative",
    "Derivative of ReLU",
    ("C1", "M-DX"),
    "relu_input_gradient(d_h, v)",
    "The response of a granule cell is h = max(v, 0). Given the derivative d_h of some objective with respect to the "
    "response, return the derivative with respect to the pre-activation v. At the kink v = 0 the slope is defined as 0.",
    {
        "d_h : array of float, any shape": "Derivative of the objective with respect to the response.",
        "v : array of float, same shape": "Pre-activation.",
    },
    ("array", "Derivative with respect to v, with the shape and dtype of `d_h`."),
    Task(lambda d_h, v: relu_input_gradient(d_h, v > 0), [*_RELU_MISTAKES, *map(_leaky, (0.01, 0.1, 0.2, 0.3, 0.5))]),
    lambda rng, batch, units: (rng.standard_normal((batch, units)), 1.5 * rng.standard_normal((batch, units))),
    {"batch": (5, 7, 4, 6), "units": (3, 4, 6, 8)},
    special={
        "at v = 0 the slope is defined as 0: the mask is v > 0, not v >= 0": ([[1, 1, 1]] * 2, [[0, 1, -1], [0, 2, -0.0]]),
        "arrays may have any shape, also a single axis": ([1, 1, 1, 1], [1, -1, 2, 3]),
        "it must also work for very small and very large v": ([1, 1, 1], [1e-30, 1e30, -1e-30]),
    },
    points=1,
)


def _delta(h: Any, ltd_mean: Any, outputs: Any, targets: Any) -> Any:
    return readout_gradient(h, ltd_mean, loss(outputs, targets)[1])


def _delta_steps(at: Any, h: Any, ltd_mean: Any, outputs: Any, targets: Any) -> Any:
    z, e = at("z", h - ltd_mean), at("e", outputs - targets)
    return at("the product", z.T @ e) / len(h)


def _rule(activity: Any, error: Any) -> Any:
    """Return a known mistake: the delta rule with factors other than z and e."""
    return lambda h, ltd_mean, outputs, targets: activity(h, ltd_mean).T @ error(outputs, targets) / len(h)


def _softmax(outputs: Any) -> Any:
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def _wrong_only(outputs: Any, targets: Any) -> Any:
    return (outputs - targets) * (outputs.argmax(axis=1) != targets.argmax(axis=1))[:, None]


def _draw_delta(rng: np.random.Generator, batch: int, classes: int, cells: int) -> tuple[Any, ...]:
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
_DELTA_MISTAKES = mistakes(
    ("averages multiplied", "mean activity times mean error", lambda h, m, o, t: np.outer((h - m).mean(0), (o - t).mean(0))),
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
    "cell's error e = ŷ - y. Return the derivative of the loss ½‖ŷ - y‖², averaged over the batch, for the readout weights W.",
    {
        "h : array of float, shape (batch, cells)": "Response of the granule cells.",
        "ltd_mean : array of float, shape (cells,)": "μ, which long-term depression subtracts.",
        "outputs, targets : array of float, shape (batch, classes)": "ŷ and the one-hot y.",
    },
    ("array, shape (cells, classes)", "Dtype of `h`."),
    Task(
        _delta,
        _DELTA_MISTAKES + mistakes_of(_rule, (lambda h, m: h - m, lambda o, t: o - t), _ACTIVITIES, _ERRORS),
        steps=_delta_steps,
    ),
    _draw_delta,
    {"batch": (5, 7, 9, 6), "classes": (3, 4, 2, 4), "cells": (6, 3, 8, 5)},
    special={"a batch may have a single image": ([[1.0, 0.0, 2.0]], [0.5, 0.5, 1.0], [[0.3, -0.2]], [[1.0, 0.0]])},
    points=2,
)


def _ltd_steps(at: Any, before: Any, h: Any, decay: float) -> Any:
    old, mean = at("the old part", decay * before), at("the batch's mean", h.mean(axis=0))
    return old + at("the new part", (1 - decay) * mean)


def _one_by_one(mean: Any, h: Any, decay: float) -> Any:
    for row in h:
        mean = decay * mean + (1 - decay) * row
    return mean


def _moving(of: Any) -> Any:
    """Return a known mistake: the moving average of something other than the batch's mean response."""
    return lambda mean, h, decay: decay * mean + (1 - decay) * of(h)


def _draw_ltd(rng: np.random.Generator, batch: int, cells: int, decay: float) -> tuple[Any, ...]:
    h = np.maximum(rng.standard_normal((batch, cells)) + 0.3, 0)
    return rng.random(cells), h, decay


_LTD_FORMULAS = mistakes(
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
    ("all images as many", "every image has the same weight: β is left out", lambda m, h, b: (m + h.sum(0)) / (len(h) + 1)),
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
    {
        "ltd_mean : array of float, shape (cells,)": "μ before the batch; it must not be changed.",
        "h : array of float, shape (batch, cells)": "Response of the granule cells.",
        "decay : float": "β, between 0 and 1.",
    },
    ("array, shape (cells,)", "μ after the batch, with the dtype of `h`."),
    Task(ltd_mean, _LTD_FORMULAS + _MEANS, steps=_ltd_steps),
    _draw_ltd,
    {"batch": (5, 8, 4, 7), "cells": (6, 3, 9, 5)},
    {"decay": (0.9, 0.6, 0.75, 0.99)},
    {
        "a batch may have a single image": ([1, 2], [[3, 0]], 0.5),
        "the average starts from zeros": ([0, 0, 0], [[1, 1, 1]] * 2, 0.99),
    },
    points=1,
)


def _projection(weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    d_x = np.zeros((width, d_v.shape[1]), dtype=d_v.dtype)
    if inputs.min() < 0 or inputs.max() >= width or weights.shape != inputs.shape or len(d_v) != len(weights):
        raise ValueError("these arrays do not belong together")  # the engine's product does not check the indices
    numbers = np.ascontiguousarray(inputs, dtype=np.int32)
    return add_project_input_gradient(np.ascontiguousarray(weights), numbers, np.ascontiguousarray(d_v), d_x)


def _projection_steps(at: Any, weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    d_x = np.zeros((width, d_v.shape[1]), dtype=d_v.dtype)
    np.add.at(d_x, inputs, at("the credit of a synapse", weights[:, :, None] * d_v[:, None]))
    return d_x


def _overwritten(weights: Any, inputs: Any, d_v: Any, width: int, add: bool = True) -> Any:
    d_x = np.zeros((width, d_v.shape[1]), dtype=d_v.dtype)
    for synapse in range(weights.shape[1]):
        share = weights[:, synapse, None] * d_v
        d_x[inputs[:, synapse]] = share + (d_x[inputs[:, synapse]] if add else 0)
    return d_x


def _at_once(weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    d_x = np.zeros((width, d_v.shape[1]), dtype=d_v.dtype)
    d_x[inputs] += weights[:, :, None] * d_v[:, None]
    return d_x


def _counted(weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    return _projection(weights, inputs, d_v, width) / np.maximum(np.bincount(inputs.ravel(), minlength=width), 1)[:, None]


def _draw_projection(rng: np.random.Generator, cells: int, inputs_per_cell: int, images: int, width: int) -> tuple[Any, ...]:
    inputs = rng.permuted(np.tile(np.arange(width, dtype=np.int32), (cells, 1)), axis=1)[:, :inputs_per_cell].copy()
    return rng.standard_normal((cells, inputs_per_cell)), inputs, rng.standard_normal((cells, images)), width


_LAST = "synapses with the same input overwrite each other, as with = or d_x[inputs] += …; np.add.at adds them all"
_PROJECTION_MISTAKES = mistakes(
    ("overwritten", _LAST, _overwritten),
    ("overwritten", _LAST, _at_once),
    ("overwritten", _LAST, lambda w, i, d, n: _overwritten(w, i, d, n, add=False)),
    ("only the first synapse", "the others are left out", lambda w, i, d, n: _projection(w[:, :1], i[:, :1], d, n)),
    ("only the last synapse", "the others are left out", lambda w, i, d, n: _projection(w[:, -1:], i[:, -1:], d, n)),
    ("averaged over synapses", "the credit of an input is averaged over its synapses instead of summed", _counted),
    ("forward again", "this gathers from d_v; it should scatter", lambda w, i, d, n: (w[:, :, None] * d[i % len(d)]).sum(axis=1)),
    ("masked", "negative credit is set to 0; this step has no ReLU", lambda w, i, d, n: _projection(w, i, np.maximum(d, 0), n)),
)

PROJECTION = Exercise(
    "sparse-projection",
    "Input gradient of the sparse projection",
    ("C1", "M-DX"),
    "projection_input_gradient(weights, inputs, d_v, width)",
    "Each granule cell receives few mossy fibres: v[c] = Σ_j weights[c, j] x[inputs[c, j]]. Given the derivative d_v of an "
    "objective with respect to v, return the derivative with respect to x, d_x = J d_v: every synapse passes its cell's credit, "
    "times its weight, back to its own input. An input that reaches no cell gets 0.",
    {
        "weights : array of float, shape (cells, inputs per cell)": "",
        "inputs : array of int32, shape (cells, inputs per cell)": "The number of each synapse's mossy fibre.",
        "d_v : array of float, shape (cells, images)": "Derivative with respect to the pre-activation, one column per image.",
        "width : int": "Number of mossy fibres.",
    },
    ("array, shape (width, images)", "Dtype of `d_v`."),
    Task(_projection, _PROJECTION_MISTAKES, steps=_projection_steps),
    _draw_projection,
    {"cells": (9, 11, 8, 12), "inputs_per_cell": (3, 2, 4, 3), "images": (4, 6, 5, 2)},
    {"width": (7, 5, 6, 10, 7, 6, 8)},
    {
        "a cell may have two synapses from the same input, and both count: d_x[inputs] += … keeps one; np.add.at adds all": (
            [[1, 2, 3], [4, 5, 6]],
            np.array([[0, 2, 2], [3, 3, 3]], dtype=np.int32),
            [[1, -1], [2, 0.5]],
            5,
        )
    },
    points=2,
)
