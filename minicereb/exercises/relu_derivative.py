"""The exercise on the derivative of ReLU."""

from __future__ import annotations

import numpy as np

from minicereb.calculus.activations import relu_input_gradient, sigmoid
from minicereb.diagnosis.hints import Mistake, Task
from minicereb.exercises.definition import Exercise, mistakes


def _leaky(slope: float) -> Mistake:
    text = f"inactive units let {slope:g} of the credit through: this is leaky ReLU"
    return Mistake("leaky", text, lambda d_h, v: np.where(v > 0, d_h, slope * d_h))


_MISTAKES = mistakes(
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
    "The response of a granule cell is h = max(v, 0). Given the derivative d_h of some objective by the response, return the "
    "derivative by the pre-activation v. At the kink v = 0 the slope is defined as 0.",
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
        Derivative by v, with the shape and dtype of `d_h`.
    """,
    Task(lambda d_h, v: relu_input_gradient(d_h, v > 0), [*_MISTAKES, *map(_leaky, (0.01, 0.1, 0.2, 0.3, 0.5))]),
    lambda rng, batch, units: (rng.standard_normal((batch, units)), 1.5 * rng.standard_normal((batch, units))),
    {"batch": (5, 7, 4, 6), "units": (3, 4, 6, 8)},
    special={
        "at v = 0 the slope is defined as 0: the mask is v > 0, not v >= 0": (
            np.ones((2, 3), dtype=np.float64),
            np.array([[0.0, 1.0, -1.0], [0.0, 2.0, -0.0]]),
        ),
        "arrays may have any shape, also a single axis": (np.ones(4, dtype=np.float64), np.array([1.0, -1.0, 2.0, 3.0])),
        "it must also work for very small and very large v": (np.ones(3, dtype=np.float64), np.array([1e-30, 1e30, -1e-30])),
    },
)
