"""What an attack ascends. The choice decides what an evaluation can see: ascending the squared error rewards raising any output,
the true one included, and a model can look robust to it that the margin breaks at once."""

from __future__ import annotations

from collections.abc import Callable

from minicereb.backend import Array
from minicereb.calculus.losses import cross_entropy, margin, squared_error
from minicereb.errors import InputError

Objective = Callable[[Array, Array], tuple[Array, Array]]

OBJECTIVES: dict[str, Objective] = {"mse": squared_error, "cross-entropy": cross_entropy, "margin": margin}


def objective_named(name: str) -> Objective:
    """Return the function of this name, from outputs and labels to value and derivative (:mod:`minicereb.calculus.losses`)."""
    if name not in OBJECTIVES:
        raise InputError("objective", name, ", ".join(OBJECTIVES))
    return OBJECTIVES[name]
