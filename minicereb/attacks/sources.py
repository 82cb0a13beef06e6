"""Where an attack gets its input gradient from, and what it looks at: a model and an objective around some images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from minicereb.attacks.objectives import Objective
from minicereb.backend import Array
from minicereb.errors import require


class Point(NamedTuple):
    """A place that a search visited.

    Attributes
    ----------
    x : array, shape (images, inputs)
    outputs : array, shape (images, classes)
        Of the model, there.
    value : array, shape (images,)
        Of the objective, there.
    """

    x: Array
    outputs: Array
    value: Array


def exact(model: Any, objective: Objective, x: Array, labels: Array) -> tuple[Point, Array]:
    """The model's own analytic gradient.

    Parameters
    ----------
    model : classifier
        Anything with ``forward(x) -> (outputs, cache)`` and ``input_gradient(d_outputs, cache)``.
    objective : callable
        From outputs and labels to value and derivative.
    x : array, shape (images, inputs)
    labels : array of int, shape (images,)

    Returns
    -------
    point : Point
    gradient : array, shape (images, inputs)

    Raises
    ------
    InputError
        If the model's gradient does not have the shape of its input.
    """
    outputs, cache = model.forward(x)
    value, d_outputs = objective(outputs, labels)
    gradient = model.input_gradient(d_outputs, cache)
    require(gradient.shape == x.shape, "model", f"an input gradient of shape {gradient.shape}", f"one of shape {x.shape}")
    return Point(x, outputs, value), gradient


@dataclass(frozen=True)
class Landscape:
    """An objective as a function of the images, for a search to climb.

    Parameters
    ----------
    model : classifier
    objective : callable
    labels : array of int, shape (images,)
    source : callable
        From (model, objective, x, labels) to a point and its input gradient.
    """

    model: Any
    objective: Objective
    labels: Array
    source: Callable[..., tuple[Point, Array]] = exact

    def look(self, x: Array) -> Point:
        """Outputs and objective at `x`, without a gradient."""
        outputs, _ = self.model.forward(x)
        return Point(x, outputs, self.objective(outputs, self.labels)[0])

    def slope(self, x: Array) -> tuple[Point, Array]:
        """Outputs, objective and input gradient at `x`."""
        return self.source(self.model, self.objective, x, self.labels)
