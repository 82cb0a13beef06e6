"""The exercise on the pessimistic rule: the weight change that follows from the worst activity within ε."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.cerebellum import pessimistic_gradient, pessimistic_loss, worst_outputs
from minicereb.diagnosis.hints import Task
from minicereb.exercises.definition import Exercise, mistakes, mistakes_of


def _gradient(low: Any, high: Any, ltd_mean: Any, readout: Any, targets: Any) -> Any:
    _, error = pessimistic_loss(worst_outputs(low, high, ltd_mean, readout, targets), targets)
    return pessimistic_gradient(low, high, ltd_mean, error, readout, targets)


def _worst(low: Any, high: Any, mean: Any, readout: Any, targets: Any) -> Any:
    """Return the worst activity of every synapse, shape (batch, cells, classes)."""
    return _ends(low, high, (readout > 0) == (targets[:, None] > 0)) - mean[:, None]


def _ends(low: Any, high: Any, least: Any) -> Any:
    return np.where(least, low[:, :, None], high[:, :, None])


def _error(worst: Any, targets: Any) -> Any:
    error = worst - targets
    return np.where(targets > 0, np.minimum(error, 0), np.maximum(error, 0))


def _steps(at: Any, low: Any, high: Any, mean: Any, readout: Any, targets: Any) -> Any:
    activity = at("the worst activity", _ends(low, high, (readout > 0) == (targets[:, None] > 0)) - mean[:, None])
    outputs = at("the worst outputs", (activity * readout).sum(axis=1))
    error = at("the error", _error(outputs, targets))
    return at("the product", (activity * error[:, None]).sum(axis=0)) / len(low)


def _rule(activity: Any, error: Any) -> Any:
    """Return a known mistake: the rule with a wrong worst activity, or with a wrong error at the worst outputs."""

    def gradient(low: Any, high: Any, mean: Any, readout: Any, targets: Any) -> Any:
        seen = activity(low, high, mean, readout, targets)
        return (seen * error((seen * readout).sum(axis=1), targets)[:, None]).sum(axis=0) / len(low)

    return gradient


def _seen(least: Any) -> Any:
    """Return a wrong worst activity, which chooses between l and u by another condition."""
    return lambda low, high, m, w, y: _ends(low, high, least(w, y[:, None])) - m[:, None]


def _same(of: Any) -> Any:
    """Return a wrong worst activity, which is the same for every synapse of a cell."""
    return lambda low, high, m, w, y: np.repeat(of(low, high, m)[:, :, None], w.shape[1], axis=2)


def _plain_error(low: Any, high: Any, mean: Any, readout: Any, targets: Any) -> Any:
    """A known mistake: the error is computed at the middle of the bounds instead of at the worst outputs."""
    error = _error((0.5 * (low + high) - mean) @ readout, targets)
    return (_worst(low, high, mean, readout, targets) * error[:, None]).sum(axis=0) / len(low)


def _plain_activity(low: Any, high: Any, mean: Any, readout: Any, targets: Any) -> Any:
    """A known mistake: the error is multiplied by the middle of the bounds instead of by the worst activity."""
    error = _error((_worst(low, high, mean, readout, targets) * readout).sum(axis=1), targets)
    return (0.5 * (low + high) - mean).T @ error / len(low)


def _draw(rng: np.random.Generator, batch: int, cells: int, classes: int) -> tuple[Any, ...]:
    low = np.maximum(rng.standard_normal((batch, cells)), 0)
    high = low + np.maximum(rng.standard_normal((batch, cells)), 0)
    targets = np.eye(classes, dtype=np.float64)[rng.integers(0, classes, batch)]
    return low, high, rng.random(cells), 0.5 * rng.standard_normal((cells, classes)), targets


_LEASTS = mistakes(
    ("best for worst", "l and u are swapped: this is the best activity, not the worst", lambda w, y: (w > 0) != (y > 0)),
    ("sign left out", "the weight's sign is left out: the true class gets l, the others u", lambda w, y: (w > 100) | (y > 0)),
    ("class left out", "the class is left out: u where W > 0 is worst only for others", lambda w, y: (w <= 0) & (y > -1)),
    ("class left out", "the class is left out: l where W > 0 is worst only for the true class", lambda w, y: (w > 0) & (y > -1)),
    of=_seen,
)
_ACTIVITIES = mistakes(
    ("middle of the bounds", "the middle of the bounds is used instead of an end", lambda low, high, m: 0.5 * (low + high) - m),
    ("lower bound only", "every synapse gets l; one of them may get u", lambda low, high, m: low - m),
    ("upper bound only", "every synapse gets u; one of them may get l", lambda low, high, m: high - m),
    ("half the distance only", "the middle of the bounds is left out", lambda low, high, m: 0.5 * (high - low)),
    of=_same,
) + mistakes(
    ("missing mean", "the LTD mean is not subtracted from the bounds", lambda low, high, m, w, y: _worst(low, high, 0 * m, w, y)),
    (
        "whole distance",
        "the middle moves by u - l; half of it reaches an end",
        lambda low, high, m, w, y: 2 * _worst(low, high, m, w, y) - (0.5 * (low + high) - m)[:, :, None],
    ),
)
_ERRORS = mistakes(
    ("not clipped", "the error is not clipped: an output beyond its target has none", lambda o, y: o - y),
    ("only the true class clipped", "the others err only above 0", lambda o, y: np.where(y > 0, np.minimum(o - y, 0), o - y)),
    ("only the others clipped", "the true class errs only below 1", lambda o, y: np.where(y > 0, o - y, np.maximum(o, 0))),
    ("clipped on the wrong side", "errors are kept on the wrong side of the target", lambda o, y: o - y - _error(o, y)),
    ("sign of the error", "only the sign of the error is used; its size matters too", lambda o, y: np.sign(_error(o, y))),
    ("squared error", "the error is squared: this is the loss, not its derivative", lambda o, y: _error(o, y) ** 2),
    ("true class only", "only the true class learns; all should", lambda o, y: _error(o, y) * y),
    ("other classes only", "the true class does not learn", lambda o, y: _error(o, y) * (1 - y)),
    ("targets left out", "the targets are left out of the error", lambda o, y: _error(o + y, y)),
)  # fmt: skip
_OTHERS = mistakes(
    ("error of the middle", "the error is that of the bounds' middle; it should be that of the worst outputs", _plain_error),
    ("activity of the middle", "the error is multiplied by the middle of the bounds, not by the worst activity", _plain_activity),
)

PESSIMISM = Exercise(
    "pessimistic-rule",
    "The pessimistic rule",
    ("M-WORST", "M-PESSIMISTIC"),
    "pessimistic_gradient(low, high, ltd_mean, readout, targets)",
    "Within ε of an image a granule cell's activity is somewhere between l and u. Each synapse learns from whichever end is "
    "worse given the sign of its weight: for the true class this is l where W > 0 and u elsewhere; for the other classes it is "
    "the reverse. z̃ is that end minus μ. The outputs at the worst activity are ŵ_j = Σ_i W_ij z̃_ij. Their error is one-sided: "
    "ẽ = min(ŵ - 1, 0) for the true class and ẽ = max(ŵ, 0) for the others. Return the change z̃_ij ẽ_j, averaged over the "
    "batch: the rule for λ = 1.",
    {
        "low, high : array of float, shape (batch, cells)": "l and u of the granule cells.",
        "ltd_mean : array of float, shape (cells,)": "μ, which long-term depression subtracts.",
        "readout : array of float, shape (cells, classes)": "W.",
        "targets : array of float, shape (batch, classes)": "The one-hot y.",
    },
    ("array, shape (cells, classes)", "Dtype of `low`."),
    Task(_gradient, _OTHERS + mistakes_of(_rule, (_worst, _error), _LEASTS + _ACTIVITIES, _ERRORS), steps=_steps),
    _draw,
    {"batch": (5, 7, 9, 6), "cells": (6, 3, 8, 5), "classes": (3, 4, 2, 4)},
    special={
        "where l and u are equal, the activity is known: nothing depends on the weight's sign": (
            [[1.0, 0.5]], [[1.0, 0.5]], [0.2, 0.1], [[1.0, -1.0], [-2.0, 0.5]], [[1.0, 0.0]],
        ),
        "a synapse of weight 0 counts as negative": (
            [[1.0, 0.0]], [[2.0, 1.0]], [0.0, 0.0], [[0.0, 1.0], [0.5, 0.0]], [[1.0, 0.0]],
        ),
    },
    points=3,
)  # fmt: skip
