"""Objectives for attacks to ascend.

The choice matters: the squared error rewards raising any output, even the output of the true class. So a model can look robust to
an attack on the squared error although an attack on the margin breaks it easily.
"""

from __future__ import annotations

from collections.abc import Callable

from minicereb.backend import Array, xp_of
from minicereb.calculus import losses
from minicereb.errors import choose

Objective = Callable[[Array, Array], tuple[Array, Array]]
TargetedObjective = Callable[[Array, Array, Array], tuple[Array, Array]]

OBJECTIVES: dict[str, Objective] = {
    "mse": losses.squared_error,
    "cross-entropy": losses.cross_entropy,
    "margin": losses.margin,
    "dlr": losses.dlr,
}
TARGETED: dict[str, TargetedObjective] = {  # functions of outputs, labels and targets
    "cross-entropy": losses.targeted_cross_entropy,
    "margin": losses.targeted_margin,
    "dlr": losses.targeted_dlr,
}


def objective_named(name: str) -> Objective:
    """Return the loss with this name; it maps outputs and labels to value and derivative (:mod:`minicereb.calculus.losses`)."""
    return choose("objective", name, OBJECTIVES)


TARGET_BITS = 32


def towards(objective: TargetedObjective) -> Objective:
    """Turn a targeted objective into a function of outputs and the array that :func:`pairs` makes of labels and targets."""

    def objective_of_pairs(outputs: Array, both: Array) -> tuple[Array, Array]:
        return objective(outputs, both & ((1 << TARGET_BITS) - 1), both >> TARGET_BITS)

    return objective_of_pairs


def pairs(labels: Array, targets: Array) -> Array:
    """Return labels and targets in one array of int64."""
    xp = xp_of(labels)
    return labels.astype(xp.int64) | (targets.astype(xp.int64) << TARGET_BITS)


def likeliest_wrong(outputs: Array, labels: Array, number: int) -> Array:
    """Return the `number` wrong classes with the largest outputs, the largest first: array of int64, shape (images, number)."""
    xp = xp_of(outputs)
    right = labels[:, None] == xp.arange(outputs.shape[1], dtype=labels.dtype)
    return xp.where(right, outputs.dtype.type(-xp.inf), outputs).argsort(axis=1)[:, ::-1][:, :number]
