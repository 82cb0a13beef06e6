"""Where an attack gets its input gradient from, and what it looks at: a model and an objective around some images."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from minicereb.attacks.classifier import Guarded, unguarded
from minicereb.attacks.objectives import Objective, TargetedObjective, pairs, towards
from minicereb.backend import Array, to_numpy, xp_of
from minicereb.calculus.activations import Activation
from minicereb.calculus.noise import Logistic, draw_noise
from minicereb.calculus.replicated import OfRows
from minicereb.errors import InputError, NoGradientError, require
from minicereb.learning.credit import Estimator
from minicereb.learning.glr import estimator_named
from minicereb.learning.noise import Address
from minicereb.models.noisy import Noise, NoisyLayer, NoisyNetwork
from minicereb.parallel import blocks, images_per_block


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


PAIRS = 16  # of nodes for a slope that is not known in closed form
Source = Callable[[Any, Objective, Array, Array], tuple[Point, Array]]


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
        network, xp, loss = noisy_network(model, self.estimator.name), xp_of(x), OfRows(objective)
        laws, at = [layer.law for layer in network.layers], Address(self.seed, (), "attack noise")
        noise = self.estimator.design.draw(x, laws, network.widths, 1, self.draws, at)
        credits = []
        for part in blocks(max(1, len(x)), images_per_block(self._bytes_per_image(network, x.itemsize))):
            columns = xp.ascontiguousarray(x[part].T)
            credits.append(self.estimator.on(network, loss, columns, labels[part], noise, False).first_credit)
        outputs, _ = model.forward(x)
        gradient = network.layers[0].input_gradient(xp.concatenate(credits))
        return Point(x, outputs, objective(outputs, labels)[0]), gradient

    def _bytes_per_image(self, network: NoisyNetwork, itemsize: int) -> int:
        """Memory that one image takes: four numbers a draw for each neuron, or for what each does to each of a later layer."""
        widths, numbers = network.widths, sum(network.widths)
        if self.estimator.columns_per_sample > 1:
            numbers += max((one * later for number, one in enumerate(widths) for later in widths[number + 1 :]), default=0)
        return 4 * itemsize * self.draws * numbers


def noisy_network(model: Any, gradient: str) -> NoisyNetwork:
    """Return the network of a noisy classifier (itself, or what it averages); :class:`InputError` for any other."""
    model = unguarded(model)
    network = getattr(model, "network", model)
    if not isinstance(network, NoisyNetwork):
        raise InputError("gradient", gradient, "analytic: only networks with noise have a mean over it")
    return network


def mean_slope(layer: NoisyLayer, v: Array) -> Array | float:
    """Slope to pass a derivative back through a layer's activation ``[M-STRAIGHT]``.

    Parameters
    ----------
    layer : NoisyLayer
    v : array
        Signals.

    Returns
    -------
    array, shape of `v`
        ``φ'(v)`` where it exists. Else the slope of the response's mean over the layer's noise, logistic of scale 1 if it has
        none: for a threshold ``f(v/σ)/σ``, for others by a sum over 16 pairs of nodes, one in each part of the law.
    """
    activation = layer.activation
    if activation is None or activation.smooth:
        return layer.slope(v)
    law, scale = (layer.law, layer.scale) if layer.law is not None else (Logistic(), v.dtype.type(1))
    if activation.name == "threshold":
        return law.density(v / scale) / scale
    xp = xp_of(v)
    nodes = law.quantile((xp.arange(PAIRS, dtype=v.dtype) + (PAIRS + 0.5)) / (2 * PAIRS))
    slope = xp.zeros_like(v)
    for e, score in zip(nodes, law.score(nodes), strict=True):
        slope += (activation(v + e * scale) - activation(v - e * scale)) * score
    return slope / (2 * PAIRS * scale)


def straight_through(model: Any, objective: Objective, x: Array, labels: Array) -> tuple[Point, Array]:
    """Gradient of a network without its noise, passed back through every activation by :func:`mean_slope`.

    For networks with thresholds or other activations that have no derivative; biased, since the slope of a mean response is not
    that of the mean objective. Arguments as for :func:`exact`; the point is as `model` sees it.
    """
    network = noisy_network(model, "straight-through")
    outputs, signals = network.forward(x)
    gradient = _passed_back(network, objective(outputs, labels)[1], signals)
    if model is not network:
        outputs, _ = model.forward(x)
    return Point(x, outputs, objective(outputs, labels)[0]), gradient


@dataclass(frozen=True)
class MeanOfCalls:
    """Expectation over a classifier's own randomness: outputs, objective and gradient are means over several calls.

    The mean objective is climbed. Every call draws anew, so that a result can be judged by calls that the search has not seen.

    Parameters
    ----------
    calls : int

    References
    ----------
    Athalye, Engstrom, Ilyas and Kwok (2018), arXiv:1707.07397 (expectation over transformation); Athalye, Carlini and Wagner
    (2018), arXiv:1802.00420, for randomised defences.
    """

    calls: int

    def evaluate(self, model: Any, objective: Objective, x: Array, labels: Array) -> Point:
        """Return the mean outputs and the mean objective at `x`."""
        outputs, value = _total(self._one_look(model, objective, x, labels) for _ in range(self.calls))
        return Point(x, outputs / self.calls, value / self.calls)

    def __call__(self, model: Any, objective: Objective, x: Array, labels: Array) -> tuple[Point, Array]:
        """Return what :meth:`evaluate` does, and the mean of the input gradients."""
        points = (exact(model, objective, x, labels) for _ in range(self.calls))
        outputs, value, gradient = _total((point.outputs, point.value, gradient) for point, gradient in points)
        return Point(x, outputs / self.calls, value / self.calls), gradient / self.calls

    def _one_look(self, model: Any, objective: Objective, x: Array, labels: Array) -> tuple[Array, Array]:
        outputs, _ = model.forward(x)
        return outputs, objective(outputs, labels)[0]


def _total(rows: Iterable[tuple[Array, ...]]) -> list[Array]:
    """Add up tuples of arrays, place by place."""
    return functools.reduce(lambda sums, row: [one + more for one, more in zip(sums, row, strict=True)], map(list, rows))


@dataclass(frozen=True, eq=False)
class Frozen:
    """Gradient of a noisy network with one draw of the noise held fixed, through the slopes of :func:`mean_slope`.

    Parameters
    ----------
    noise : tuple of array or None
        Of unit scale, (outputs, images, 1) for each layer; with one image for all of them.
    """

    noise: Noise

    def of(self, images: Array) -> Frozen:
        """The source for some of the images."""
        return Frozen(tuple(e if e is None or e.shape[1] == 1 else e[:, images] for e in self.noise))

    def __call__(self, model: Any, objective: Objective, x: Array, labels: Array) -> tuple[Point, Array]:
        """Return the point as `model` sees it, and the gradient at this noise."""
        network = noisy_network(model, "frozen")
        outputs, signals = network.at(self.noise).forward(x)
        gradient = _passed_back(network, objective(outputs, labels)[1], signals)
        outputs, _ = model.forward(x)
        return Point(x, outputs, objective(outputs, labels)[0]), gradient


def frozen_noise(network: NoisyNetwork, seed: int, ids: Array | None) -> Noise:
    """Draw noise for :class:`Frozen`: an image's depends on seed and number alone; without numbers all images share one draw."""
    like, laws = network.layers[0].weight, [layer.law for layer in network.layers]
    shapes = [(width, 1, 1) for width in network.widths]
    numbers = [()] if ids is None else [(int(number),) for number in to_numpy(ids)]
    each = [draw_noise(like, laws, shapes, seed, "frozen noise", number) for number in numbers]
    return tuple(None if parts[0] is None else xp_of(like).concatenate(parts, axis=1) for parts in zip(*each, strict=True))


def _passed_back(network: NoisyNetwork, d_outputs: Array, signals: list[Array]) -> Array:
    for layer, v in zip(reversed(network.layers), reversed(signals), strict=True):
        d_outputs = layer.input_gradient(d_outputs * mean_slope(layer, v))
    return d_outputs


def source_named(name: str, model: Any, draws: int, seed: int, ids: Array | None = None) -> Source:
    """Return where an attack on `model` gets its gradient from.

    Parameters
    ----------
    name : str
        ``"analytic"``: the model's own; ``"straight-through"``: that of a network without noise, through slopes that its
        activations need not have; ``"frozen"``: that of a network whose noise is held fixed; ``"eot"``: the mean of the model's
        own over `draws` calls, for a user's classifier that answers at random; or one of
        :data:`minicereb.learning.estimators.ESTIMATORS`, for the mean over noise.
    model : classifier
    draws, seed : int
        Replications of the noise for an estimator (calls for ``"eot"``), and the seed of the noise.
    ids : array of int64, shape (images,), optional
        Numbers of the images, by which frozen noise is drawn; without them all share one draw.

    Raises
    ------
    InputError
        If the model has no such gradient; the message names one that it has.
    NoGradientError
        If the model is a user's, and has none at all.
    """
    own = callable(getattr(unguarded(model), "input_gradient", None))
    if name in ("analytic", "eot") and isinstance(model, Guarded) and not own:
        raise NoGradientError("model: it has no input_gradient; attacks that need none are square and random")
    if name == "eot":
        require(isinstance(model, Guarded), "gradient", name, "analytic: a model of this project answers the same at every call")
        return MeanOfCalls(draws)
    if name == "analytic":
        for layer in getattr(model, "layers", ()):
            activation = getattr(layer, "activation", None)
            if isinstance(activation, Activation) and not activation.smooth:
                fitting = "flip" if activation.name == "threshold" else "resample"
                raise InputError("gradient", name, f"{fitting}: {activation.name} neurons have no derivative")
        require(own, "gradient", name, "backprop, flip or resample: what averages over noise has no derivative of its own")
        return exact
    if name == "straight-through":
        noisy_network(model, name)
        return straight_through
    if name == "frozen":
        network = noisy_network(model, name)
        noisy = any(layer.law is not None for layer in network.layers)
        require(noisy, "gradient", name, "straight-through: this network has no noise to hold fixed")
        return Frozen(frozen_noise(network, seed, ids))
    estimator = estimator_named(name, "derivative")
    estimator.check(noisy_network(model, name), OfRows())
    estimator.design.check(draws, estimator.baseline)
    return MeanGradient(estimator, draws, seed)


@dataclass(frozen=True)
class Landscape:
    """An objective as a function of the images, for a search to climb.

    Parameters
    ----------
    model : classifier
    objective : callable
        From outputs and labels, and from targets as well if there are any, to value and derivative.
    labels : array of int, shape (images,)
    source : callable
        From model, objective, x and labels to a point and its input gradient.
    targets : array of int, shape (images,), optional
        The class that each image is to be taken for.
    """

    model: Any
    objective: Objective | TargetedObjective
    labels: Array
    source: Source = exact
    targets: Array | None = None

    def of(self, images: Array) -> Landscape:
        """The landscape of some of the images."""
        source = self.source.of(images) if isinstance(self.source, Frozen) else self.source
        targets = None if self.targets is None else self.targets[images]
        return replace(self, labels=self.labels[images], source=source, targets=targets)

    def evaluate(self, x: Array) -> Point:
        """Outputs and objective at `x`, without a gradient."""
        objective, labels = self._judged()
        if isinstance(self.source, MeanOfCalls):
            return self.source.evaluate(self.model, objective, x, labels)
        outputs, _ = self.model.forward(x)
        return Point(x, outputs, objective(outputs, labels)[0])

    def value_and_gradient(self, x: Array) -> tuple[Point, Array]:
        """Outputs, objective and input gradient at `x`."""
        objective, labels = self._judged()
        return self.source(self.model, objective, x, labels)

    def wrong(self, point: Point) -> Array:
        """Which images are misclassified at a point, array of bool."""
        return point.outputs.argmax(axis=1) != self.labels

    def _judged(self) -> tuple[Objective, Array]:
        """The objective, and what it takes for labels."""
        if self.targets is None:
            return self.objective, self.labels  # type: ignore[return-value]
        return towards(self.objective), pairs(self.labels, self.targets)  # type: ignore[arg-type]
