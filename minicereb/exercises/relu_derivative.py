"""The exercise about the slope of ReLU."""

from __future__ import annotations

import numpy as np

from minicereb.calculus.activations import relu_input_gradient, sigmoid
from minicereb.diagnosis.hints import Case, Mistake, Task
from minicereb.exercises.definition import Exercise, mistakes


def _relu_case(rng: np.random.Generator, number: int) -> Case:
    batch, units = (5, 7, 4, 6, 5, 4, 6)[number], (3, 4, 6, 8, 5, 4, 6)[number]
    d_h, v = rng.standard_normal((batch, units)), 1.5 * rng.standard_normal((batch, units))
    return Case({"d_h": d_h, "v": v}, {"batch": batch, "units": units})


def _leaky(slope: float) -> Mistake:
    text = f"units that are not active let {slope:g} of the credit through: this is leaky ReLU"
    return Mistake("leaky", text, lambda d_h, v: np.where(v > 0, d_h, slope * d_h))


_MISTAKES = mistakes(
    ("missing mask", "the mask is missing: the credit passes as if every unit were active", lambda d_h, v: d_h),
    ("mask inverted", "the mask is the wrong way round: credit passes where v is below 0", lambda d_h, v: d_h * (v <= 0)),
    ("not differentiated", "this is the response max(v, 0) itself, not its derivative", lambda d_h, v: np.maximum(v, 0)),
    (
        "response for slope",
        "d_h is multiplied by the response max(v, 0) in place of its slope, which is 1 or 0",
        lambda d_h, v: d_h * np.maximum(v, 0),
    ),
    ("pre-activation for slope", "d_h is multiplied by v in place of the slope, which is 1 or 0", lambda d_h, v: d_h * v),
    ("mask of the credit", "the mask is made of d_h; it belongs to v: active is v > 0", lambda d_h, v: d_h * (d_h > 0)),
    (
        "mask of the credit too",
        "negative credit is cut off as well; only v decides what passes",
        lambda d_h, v: d_h * (v > 0) * (d_h > 0),
    ),
    ("slope of |v|", "the slope is taken as the sign of v: that is |v|, not ReLU", lambda d_h, v: d_h * np.sign(v)),
    ("threshold of 1", "the mask is v > 1; the kink is at 0", lambda d_h, v: d_h * (v > 1)),
    ("threshold of -1", "the mask is v > -1; the kink is at 0", lambda d_h, v: d_h * (v > -1)),
    ("slope of softplus", "the slope is that of softplus, a smooth form of ReLU", lambda d_h, v: d_h * sigmoid(v)),
    ("slope of the sigmoid", "the slope is that of the sigmoid, not of ReLU", lambda d_h, v: d_h * sigmoid(v) * (1 - sigmoid(v))),
    ("slope of tanh", "the slope is that of tanh, not of ReLU", lambda d_h, v: d_h * (1 - np.tanh(v) ** 2)),
    ("clipped", "the slope is 0 above 1 as well: this is a clipped unit", lambda d_h, v: d_h * ((v > 0) & (v < 1))),
    ("0 and 1 by size", "the mask is |v| in some range; it should be v > 0", lambda d_h, v: d_h * (np.abs(v) > 1)),
    *(_leaky(slope) for slope in (0.01, 0.1, 0.2, 0.3, 0.5)),
)


RELU = Exercise(
    "relu-derivative",
    "Derivative of ReLU",
    ("C1", "M-DX"),
    "relu_input_gradient(d_h, v)",
    "A granule cell answers h = max(v, 0). Given the derivative d_h of some objective by the response, return its derivative by "
    "the pre-activation v. At the kink v = 0 the slope is taken as 0.",
    """
    Parameters
    ----------
    d_h : array of float, any shape
        Derivative of the objective by the response.
    v : array of float, same shape
        Pre-activation.

    Returns
    -------
    array
        Derivative by v: shape and dtype of `d_h`.
    """,
    Task(
        lambda d_h, v: relu_input_gradient(d_h, v > 0),
        _MISTAKES,
    ),
    _relu_case,
    (
        Case(
            {"d_h": np.ones((2, 3), dtype=np.float64), "v": np.array([[0.0, 1.0, -1.0], [0.0, 2.0, -0.0]])},
            note="at v = 0 the slope is taken as 0: the mask is v > 0, not v >= 0",
        ),
        Case(
            {"d_h": np.ones(4, dtype=np.float64), "v": np.array([1.0, -1.0, 2.0, 3.0])},
            note="the shape may be any, also a single axis",
        ),
        Case(
            {"d_h": np.ones(3, dtype=np.float64), "v": np.array([1e-30, 1e30, -1e-30])},
            note="it must work for very small and very large v",
        ),
    ),
)
