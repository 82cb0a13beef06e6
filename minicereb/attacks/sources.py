"""Where an attack gets its input gradient from, and what it looks at: a model and an objective around some images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from minicereb.attacks.objectives import Objective
from minicereb.backend import Array, xp_of
from minicereb.calculus.activations import Activation
from minicereb.calculus.noise import draw_noise
from minicereb.calculus.replicated import OfRows
from minicereb.errors import InputError, require
from minicereb.learning.credit import Estimator
from minicereb.learning.glr import estimator_named
from minicereb.models.noisy import NoisyNetwork


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
class MeanGradient:
    """Gradient of the mean objective of a noisy network, by an estimator that needs no derivative of its activations.

    Every image meets the same noise, at every step of a search: what is climbed is one fixed average.

    Parameters
    ----------
    estimator : Estimator
        Of :mod:`minicereb.learning.estimators`.
    draws : int
        Replications of the noise.
    seed : int
        Of the noise.
    """

    estimator: Estimator
    draws: int
    seed: int

    def __call__(self, model: Any, objective: Objective, x: Array, labels: Array) -> tuple[Point, Array]:
        """Return the point as `model` sees it, and the estimate of the mean objective's gradient there."""
        network, xp = noisy_network(model), xp_of(x)
        laws, shapes = [layer.law for layer in network.layers], [(width, 1, self.draws) for width in network.widths]
        noise = draw_noise(x, laws, shapes, self.seed, "attack noise", ())
        found = self.estimator.on(network, OfRows(objective), xp.ascontiguousarray(x.T), labels, noise, False)
        outputs, _ = model.forward(x)
        return Point(x, outputs, objective(outputs, labels)[0]), network.layers[0].input_gradient(found.first_credit)


def noisy_network(model: Any) -> NoisyNetwork:
    """Return the network of a noisy classifier (itself, or what it averages); :class:`InputError` for any other."""
    network = getattr(model, "network", model)
    if not isinstance(network, NoisyNetwork):
        raise InputError("gradient", "by an estimator", "analytic: only networks with noise have a mean over it")
    return network


def source_named(name: str, model: Any, draws: int, seed: int) -> Callable[..., tuple[Point, Array]]:
    """Return where an attack on `model` gets its gradient from.

    Parameters
    ----------
    name : str
        ``"analytic"``: the model's own; or one of :data:`minicereb.learning.estimators.ESTIMATORS`, for the mean over noise.
    model : classifier
    draws, seed : int
        Replications of the noise for an estimator, and their seed.

    Raises
    ------
    InputError
        If the model has no such gradient; the message names one that it has.
    """
    if name == "analytic":
        for layer in getattr(model, "layers", ()):
            activation = getattr(layer, "activation", None)
            if isinstance(activation, Activation) and not activation.smooth:
                fitting = "flip" if activation.name == "threshold" else "resample"
                raise InputError("gradient", name, f"{fitting}: {activation.name} neurons have no derivative")
        return exact
    estimator = estimator_named(name, "derivative")
    estimator.check(noisy_network(model), OfRows())
    estimator.design.check(draws, estimator.baseline)
    return MeanGradient(estimator, draws, seed)


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
