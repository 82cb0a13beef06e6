"""The source of an attack's input gradient, and the landscape of an objective around some images."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from minicereb.attacks.ball import Ball
from minicereb.attacks.classifier import Guarded, guarded, unguarded
from minicereb.attacks.objectives import Objective, TargetedObjective, pairs, towards
from minicereb.backend import Array, to_numpy, xp_of
from minicereb.calculus.activations import Activation, sigmoid
from minicereb.calculus.cerebellum import mossy
from minicereb.calculus.noise import Logistic, draw_noise
from minicereb.calculus.replicated import OfRows
from minicereb.errors import InputError, NoGradientError, require
from minicereb.learning.credit import Estimator
from minicereb.learning.glr import estimator_named
from minicereb.learning.noise import Address
from minicereb.models.noisy import Noise, NoisyLayer, NoisyNetwork
from minicereb.models.sequential import Sequential
from minicereb.parallel import blocks, images_per_block

PAIRS = 16  # pairs of nodes for a slope without a closed form


class Point(NamedTuple):
    """A point of a search, shape (images, inputs), with the model's outputs and the value of the objective there."""

    x: Array
    outputs: Array
    value: Array


class Source:
    """The source of an objective's gradient: here the model's own analytic gradient; subclasses obtain it in other ways.

    An objective maps outputs and labels to a value and its derivative. Images `x` and gradients have the shape (images, inputs),
    labels the shape (images,).
    """

    def of(self, images: Array) -> Source:
        """Return the source for some of the images."""
        return self

    def evaluate(self, model: Any, objective: Objective, x: Array, labels: Array) -> Point:
        """Return outputs and objective at `x`, without a gradient."""
        outputs, _ = model.forward(x)
        return Point(x, outputs, objective(outputs, labels)[0])

    def __call__(self, model: Any, objective: Objective, x: Array, labels: Array) -> tuple[Point, Array]:
        """Return the point and the input gradient; raise :class:`InputError` if the gradient does not have the shape of `x`."""
        outputs, cache = model.forward(x)
        value, d_outputs = objective(outputs, labels)
        gradient = model.input_gradient(d_outputs, cache)
        require(gradient.shape == x.shape, "model", f"an input gradient of shape {gradient.shape}", f"one of shape {x.shape}")
        return Point(x, outputs, value), gradient


exact = Source()


@dataclass(frozen=True)
class MeanGradient(Source):
    """Gradient of the mean objective of a noisy network, computed by an estimator.

    The noise (`draws` replications from `seed`) is the same for all images and all steps of a search, so that the search
    ascends one fixed average.
    """

    estimator: Estimator
    draws: int
    seed: int

    def __call__(self, model: Any, objective: Objective, x: Array, labels: Array) -> tuple[Point, Array]:
        """Return the point evaluated by `model`, and the estimate of the mean objective's gradient."""
        network, xp, loss = noisy_network(model, self.estimator.name), xp_of(x), OfRows(objective)
        noise = self.estimator.draw(network, x, 1, self.draws, Address(self.seed, (), "attack noise"))
        credits = []
        for part in blocks(max(1, len(x)), images_per_block(self._bytes_per_image(network, x.itemsize))):
            columns = xp.ascontiguousarray(x[part].T)
            credits.append(self.estimator.on(network, loss, columns, labels[part], noise, False).first_credit)
        return self.evaluate(model, objective, x, labels), network.layers[0].input_gradient(xp.concatenate(credits))

    def _bytes_per_image(self, network: NoisyNetwork, itemsize: int) -> int:
        """Return the number of bytes needed per image.

        Each draw needs four numbers for each neuron and, if the estimator runs the later layers once per neuron, for each pair
        of neurons in two layers.
        """
        widths, numbers = network.widths, sum(network.widths)
        if self.estimator.columns_per_sample > 1:
            numbers += max((one * later for number, one in enumerate(widths) for later in widths[number + 1 :]), default=0)
        return 4 * itemsize * self.draws * numbers


def noisy_network(model: Any, gradient: str) -> NoisyNetwork:
    """Return a classifier's noisy network: the classifier itself, or the network whose runs the classifier averages.

    Raise :class:`InputError` if the classifier has no noisy network.
    """
    model = unguarded(model)
    network = getattr(model, "network", model)
    if not isinstance(network, NoisyNetwork):
        raise InputError("gradient", gradient, "analytic: only networks with noise have a mean over noise")
    return network


@dataclass(frozen=True)
class MeanOfCalls(Source):
    """Expectation over a classifier's own randomness: outputs, objective and gradient are means over several calls.

    The search ascends the mean objective. Every call draws fresh noise. So the points that a search finds can be tested
    with noise that the search has not used.

    References
    ----------
    Athalye, Engstrom, Ilyas and Kwok (2018), arXiv:1707.07397 (expectation over transformation); Athalye, Carlini and Wagner
    (2018), arXiv:1802.00420, for randomised defences.
    """

    calls: int

    def evaluate(self, model: Any, objective: Objective, x: Array, labels: Array) -> Point:
        """Return the mean outputs and the mean objective at `x`."""
        points = (exact.evaluate(model, objective, x, labels) for _ in range(self.calls))
        outputs, value = _total((point.outputs, point.value) for point in points)
        return Point(x, outputs / self.calls, value / self.calls)

    def __call__(self, model: Any, objective: Objective, x: Array, labels: Array) -> tuple[Point, Array]:
        """Return the result of :meth:`evaluate` and the mean input gradient."""
        points = (exact(model, objective, x, labels) for _ in range(self.calls))
        outputs, value, gradient = _total((point.outputs, point.value, gradient) for point, gradient in points)
        return Point(x, outputs / self.calls, value / self.calls), gradient / self.calls


def _total(rows: Iterable[tuple[Array, ...]]) -> list[Array]:
    """Return the elementwise sums of tuples of arrays."""
    return functools.reduce(lambda sums, row: [one + more for one, more in zip(sums, row, strict=True)], map(list, rows))


@dataclass(frozen=True, eq=False)
class PassedBack(Source):
    """Gradient of a noisy network whose noise is held fixed, passed back through each activation with the slope of
    :func:`mean_slope`.

    This gradient is meant for networks with thresholds or other activations that have no derivative. The gradient is
    biased, since the slope of a mean response is not the slope of the mean objective.

    Parameters
    ----------
    noise : tuple of array or None, optional
        Noise of unit scale for each layer, with the shape (outputs, images, 1), or (outputs, 1, 1) if all images share it. If
        None, there is no noise.
    """

    noise: Noise | None = None

    def of(self, images: Array) -> Source:
        """Return the source for some of the images."""
        if self.noise is None:
            return self
        return PassedBack(tuple(e if e is None or e.shape[1] == 1 else e[:, images] for e in self.noise))

    def __call__(self, model: Any, objective: Objective, x: Array, labels: Array) -> tuple[Point, Array]:
        """Return the point evaluated by `model`, and the gradient at this noise."""
        network = noisy_network(model, "straight-through" if self.noise is None else "frozen")
        outputs, signals = (network if self.noise is None else network.at(self.noise)).forward(x)
        d_outputs = objective(outputs, labels)[1]
        for layer, v in zip(reversed(network.layers), reversed(signals), strict=True):
            d_outputs = layer.input_gradient(layer.signal_gradient_in_rows(d_outputs, v, mean_slope(layer, v)))
        return self.evaluate(model, objective, x, labels), d_outputs


def mean_slope(layer: NoisyLayer, v: Array) -> Array | float:
    """Return the slope that multiplies a derivative on its way back through a layer's activation ``[M-STRAIGHT]``.

    The slope is ``φ'(v)`` where that exists. Otherwise it is the slope of the mean response over the layer's noise (logistic
    with scale 1 if the layer has none): ``f(v/σ)/σ`` for a threshold, where f is the density of the noise and σ its
    scale, and a sum over 16 pairs of quadrature nodes for other activations. Signals `v` and slopes have the same shape.
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


def binary_stage(model: Any) -> tuple[float, Any] | None:
    """Return the threshold θ of a model's binary first stage ``[M-FIBRES]`` and the classifier that takes the fibres' activity
    as its input; None if the model has no such stage.

    A binary first stage is recognised by two attributes of the model or of its first layer: ``fires_above``, which is θ,
    and ``of_fibres``, the classifier that takes the fibres' activity as its input.
    """
    model = unguarded(model)
    first, *others = model.layers if isinstance(model, Sequential) else (model,)
    fires_above, circuit = getattr(first, "fires_above", None), getattr(first, "of_fibres", None)
    if not isinstance(fires_above, float) or circuit is None:
        return None
    return fires_above, Sequential((circuit, *others)) if others else guarded(circuit)


@dataclass(frozen=True, eq=False)
class PastThreshold(Source):
    """Gradient passed through the threshold of a binary first stage, although the derivative of the threshold is zero.

    Parameters
    ----------
    near : array of bool, shape (images, inputs), optional
        Pixels that can cross θ; for all other pixels the gradient is 0. By default, all pixels are assumed to be able to cross
        θ.
    width : float, optional
        Width of the sigmoid that replaces the threshold: ``σ(2^{t/10} 2(x - θ)/width)`` at the t-th gradient. The sigmoid gets
        steeper with t, up to 64 times its initial steepness. The gradient is computed at the activity that results from this
        sigmoid. Without a width, the derivative of the threshold is taken as 1 (straight-through).
    taken : iterator of int
        t.

    References
    ----------
    Bengio, Léonard and Courville (2013), arXiv:1308.3432 (straight-through); Athalye, Carlini and Wagner (2018),
    arXiv:1802.00420, for defences without a gradient.
    """

    near: Array | None = None
    width: float | None = None
    taken: Iterator[int] = field(default_factory=itertools.count)

    def of(self, images: Array) -> Source:
        """Return the source for some of the images."""
        return self if self.near is None else replace(self, near=self.near[images])

    def __call__(self, model: Any, objective: Objective, x: Array, labels: Array) -> tuple[Point, Array]:
        """Return the point evaluated by `model`, and the gradient passed through the threshold."""
        fires_above, circuit = binary_stage(model) or (0.0, model)  # checked by source_named
        if self.width is None:
            fibres, slope = mossy(x, fires_above), x.dtype.type(1)
        else:
            steepness = 2 / self.width * min(2 ** (next(self.taken) / 10), 64)
            fibres = sigmoid(x - x.dtype.type(fires_above), steepness)
            slope = 4 * fibres * (1 - fibres)
        outputs, cache = circuit.forward(fibres)
        value, d_outputs = objective(outputs, labels)
        gradient = circuit.input_gradient(d_outputs, cache) * slope
        point = Point(x, outputs, value) if self.width is None else self.evaluate(model, objective, x, labels)
        return point, gradient if self.near is None else gradient * self.near


def frozen_noise(network: NoisyNetwork, seed: int, ids: Array | None) -> Noise:
    """Draw noise for :class:`PassedBack` that depends on seed and image index; if `ids` is None, all images share one draw."""
    like, laws = network.layers[0].weight, [layer.law for layer in network.layers]
    shapes = [(width, 1, 1) for width in network.widths]
    numbers = [()] if ids is None else [(int(number),) for number in to_numpy(ids)]
    each = [draw_noise(like, laws, shapes, seed, "frozen noise", number) for number in numbers]
    return tuple(None if parts[0] is None else xp_of(like).concatenate(parts, axis=1) for parts in zip(*each, strict=True))


def fitting_estimator(network: NoisyNetwork) -> str:
    """Return the name of a low-variance estimator that fits the network, for the gradient of the mean over noise.

    The estimator is ``"backprop"`` if all activations are smooth, and otherwise one that changes one neuron at a time
    (``"flip"`` or ``"resample"``). In a recurrent network, changing one neuron at a time would reach only a few of the units. So
    the estimator is then ``"surrogate"``, which is biased, for threshold neurons, and ``"antithetic"`` for other neurons.
    """
    activations = [layer.activation for layer in network.layers if layer.activation is not None]
    if all(activation.smooth for activation in activations):
        return "backprop"
    threshold = all(activation.name == "threshold" for activation in activations)
    if any(getattr(layer, "recurrent", None) is not None for layer in network.layers):
        return "surrogate" if threshold else "antithetic"
    return "flip" if threshold else "resample"


def source_named(name: str, model: Any, draws: int, seed: int, ids: Array | None = None, ball: Ball | None = None) -> Source:
    """Return the source of the gradient for an attack on `model`.

    Parameters
    ----------
    name : str
        Name of the source. ``"analytic"`` is the model's own gradient. ``"straight-through"`` is the gradient of a noisy
        network without its noise, with substitute slopes where derivatives are missing; for a model with a binary first stage,
        it is the gradient with the slope 1 for the threshold. ``"relaxed"`` is the gradient through a soft first stage that
        gets steeper. ``"frozen"`` is the gradient of a network whose noise is held fixed. ``"eot"`` is the mean of the gradient
        over `draws` calls of a user's randomised classifier. A name in :data:`minicereb.learning.estimators.LEARNED_BY` is an
        estimate of the gradient of the mean over noise.
    model : classifier
    draws, seed : int
        Number of replications of the noise for an estimator, or of calls for ``"eot"``; and the seed of the noise.
    ids : array of int64, shape (images,), optional
        Indices of the images, on which frozen noise depends; if `ids` is None, all images share one draw.
    ball : Ball, optional
        The ball of the attack: a gradient passed through a threshold is nonzero only for pixels that can cross the
        threshold within this ball.

    Raises
    ------
    InputError
        If the model has no such gradient; the message names one that it has.
    NoGradientError
        If a user's model has no gradient at all.
    """
    own = callable(getattr(unguarded(model), "input_gradient", None))
    if name in ("analytic", "eot") and isinstance(model, Guarded) and not own:
        raise NoGradientError("model: it has no input_gradient; attacks that need none are square and random")
    if name == "eot":
        require(
            isinstance(model, Guarded), "gradient", name, "analytic: a model of this project gives the same outputs at every call"
        )
        return MeanOfCalls(draws)
    stage = binary_stage(model)
    if name == "relaxed" or (name == "straight-through" and stage is not None):
        if stage is None:
            raise InputError("gradient", name, "analytic: only models with a threshold on the pixels can be relaxed")
        near = None if ball is None else abs(ball.x - ball.x.dtype.type(stage[0])) <= ball.epsilon
        width = min(max(ball.epsilon if ball is not None else 1.0, 1e-3), 1.0) if name == "relaxed" else None
        return PastThreshold(near, width)
    if name == "analytic":
        expected = "straight-through or relaxed: this model has a threshold on the pixels, whose derivative is zero"
        require(stage is None, "gradient", name, expected)
        for layer in getattr(model, "layers", ()):
            activation = getattr(layer, "activation", None)
            if isinstance(activation, Activation) and not activation.smooth:
                raise InputError("gradient", name, f"{fitting_estimator(model)}: {activation.name} neurons have no derivative")
        require(own, "gradient", name, "backprop, flip or resample: a mean over noise has no derivative of its own")
        return exact
    if name == "straight-through":
        noisy_network(model, name)
        return PassedBack()
    if name == "frozen":
        network = noisy_network(model, name)
        noisy = any(layer.law is not None for layer in network.layers)
        require(noisy, "gradient", name, "straight-through: this network has no noise to hold fixed")
        return PassedBack(frozen_noise(network, seed, ids))
    estimator = estimator_named(name, "derivative")
    estimator.check(noisy_network(model, name), OfRows())
    estimator.design.check(draws, estimator.baseline)
    return MeanGradient(estimator, draws, seed)


@dataclass(frozen=True)
class Landscape:
    """An objective as a function of the images, for a search to ascend.

    Parameters
    ----------
    model : classifier
    objective : callable
        Maps outputs, labels and, if there are any, targets to a value and its derivative.
    labels : array of int, shape (images,)
    source : Source
    targets : array of int, shape (images,), optional
        The target class of each image.
    """

    model: Any
    objective: Objective | TargetedObjective
    labels: Array
    source: Source = exact
    targets: Array | None = None

    def of(self, images: Array) -> Landscape:
        """Return the landscape of some of the images."""
        targets = None if self.targets is None else self.targets[images]
        return replace(self, labels=self.labels[images], source=self.source.of(images), targets=targets)

    def evaluate(self, x: Array) -> Point:
        """Return outputs and objective at `x`, without a gradient."""
        return self.source.evaluate(self.model, *self._untargeted(x))

    def value_and_gradient(self, x: Array) -> tuple[Point, Array]:
        """Return outputs, objective and input gradient at `x`."""
        return self.source(self.model, *self._untargeted(x))

    def value_of(self, outputs: Array) -> Array:
        """Return the objective for given outputs, shape (images,)."""
        objective, _, labels = self._untargeted(outputs)
        return objective(outputs, labels)[0]

    def wrong(self, point: Point) -> Array:
        """Return which images are misclassified at a point, array of bool."""
        return point.outputs.argmax(axis=1) != self.labels

    def _untargeted(self, x: Array) -> tuple[Objective, Array, Array]:
        """Return an untargeted objective, `x`, and labels; if there are targets, the labels include them (:func:`pairs`)."""
        if self.targets is None:
            return self.objective, x, self.labels  # type: ignore[return-value]
        return towards(self.objective), x, pairs(self.labels, self.targets)  # type: ignore[arg-type]
