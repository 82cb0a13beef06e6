"""Estimators of every neuron's credit, and the resulting gradients of weights, biases and noise scales."""

from __future__ import annotations

from typing import Any, NamedTuple

from minicereb.backend import Array, xp_of
from minicereb.calculus.likelihood_ratio import shared_weight_gradient
from minicereb.calculus.replicated import ReplicatedLoss, error_probability, error_probability_gradient
from minicereb.errors import InputError
from minicereb.learning.history import NO_HISTORY, History
from minicereb.learning.noise import Address, Design, Independent
from minicereb.models.noisy import NoisyLayer, NoisyNetwork, Trace
from minicereb.models.noisy_time import NoisyTime


class Credit(NamedTuple):
    """Estimated derivative of the loss with respect to the signals of a layer: ``values * weight / divisor``.

    Attributes
    ----------
    values : array, shape (outputs, images, replications)
        A score, or the derivative itself.
    weight : array, shape (images, replications), or None
        Factor of the values: the loss minus its baseline, if the values are scores.
    divisor : array, shape (1,), or None
        The noise scale σ, if the values were computed as if σ were 1 and so must be divided by it.
    motion : array
        ``∂v/∂σ``: the noise e, or ``-u/σ`` if the noise was averaged out.
    changing_density : int
        Number of neurons whose signal has a density with the factor 1/σ. This factor contributes -1 per neuron to the
        derivative with respect to σ. All neurons of the layer if the values are scores of the noise, otherwise 0.
    by_density : array, shape (images, replications), or None
        Derivative of the loss with respect to σ, before division by `divisor`. If given, it replaces `motion` and
        `changing_density`.
    """

    values: Array
    weight: Array | None
    divisor: Array | None
    motion: Array | None
    changing_density: int = 0
    by_density: Array | None = None

    def times(self, factors: Array) -> Credit:
        """Return the credit with each image's values multiplied by the image's factor; `factors` has shape (images,)."""
        if self.weight is not None:
            return self._replace(weight=self.weight * factors[:, None])
        return self._replace(weight=xp_of(self.values).broadcast_to(factors[:, None], self.values.shape[1:]))

    def by_image(self) -> Array:
        """Return the mean over replications, shape (images, outputs)."""
        xp = xp_of(self.values)
        if self.weight is None:
            mean = (self.values[:, :, 0] if self.values.shape[2] == 1 else self.values.mean(axis=2)).T
        else:
            mean = xp.matmul(self.values.transpose(1, 0, 2), self.weight[:, :, None])[:, :, 0] / self.weight.shape[1]
        return mean if self.divisor is None else mean / self.divisor

    def each(self) -> Array:
        """Return the credit for each image and replication, shape (outputs, images, replications)."""
        factor = self.weight
        if self.divisor is not None:
            factor = (1 if factor is None else factor) / self.divisor
        return self.values if factor is None else self.values * factor

    def rows(self) -> Array:
        """Return the credit for each image and replication, shape (images · replications, outputs)."""
        return self.each().reshape(len(self.values), -1).T

    def by_scale(self) -> Array:
        """Return the derivative with respect to σ, averaged over replications and summed over images."""
        moved = self.by_density
        if moved is None:
            moved = (self.values * self.motion).sum(axis=0) - self.changing_density
        if self.weight is not None:
            moved = moved * self.weight
        total = moved.mean(axis=1).sum()
        return total if self.divisor is None else total / self.divisor[0]


class GradientEstimate(NamedTuple):
    """An unbiased estimate of a noisy network's mean loss and of its derivatives.

    Attributes
    ----------
    loss : array, shape (images,)
        Mean over replications.
    first_credit : array, shape (images, outputs of the first layer)
        Derivative of each image's loss with respect to its first-layer signals.
    gradients : list of dict
        For each layer, the gradients of the mean loss with respect to weight, bias and, if requested, noise scale. Estimators
        return sums over the images, without the first layer's weight and bias. :func:`minicereb.learning.glr.estimate` returns
        means over the images, for all layers.
    """

    loss: Array
    first_credit: Array
    gradients: list[dict[str, Array]]


class Estimator:
    """An unbiased estimator of the gradients of a noisy network's mean loss; subclasses define :meth:`check` and :meth:`on`.

    Attributes
    ----------
    name : str
        The estimator's name in the table of estimators.
    design : Design
        How the noise is drawn.
    baseline : bool
        Whether the estimator subtracts the mean loss of other replications, which requires at least two replications.
    columns_per_sample : int
        Number of runs of the later layers per sample; the block size depends on it.
    """

    name: str
    design: Design = Independent()
    baseline: bool = False
    columns_per_sample = 1

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if this estimator does not apply; the message names estimators that do."""
        raise NotImplementedError

    def draw(self, network: NoisyNetwork, like: Array, images: int, replications: int, at: Address) -> Any:
        """Draw the noise that :meth:`on` needs, with the array library and dtype of `like`."""
        return self.design.draw(like, [layer.law for layer in network.layers], network.widths, images, replications, at)

    def numbers_per_sample(self, network: NoisyNetwork) -> int:
        """Return the number of values to store per image and replication, which determines the block size."""
        return sum(network.widths) * self.columns_per_sample

    def with_learned_baseline(self) -> Estimator:
        """Return this estimator with a baseline learned in earlier steps; raise :class:`InputError` if it has no baseline."""
        name, expected = f"learned with the estimator {self.name}", "mean: this estimator multiplies no score with the loss"
        raise InputError("baseline", name, expected)

    def check_allocation(self) -> None:
        """Raise :class:`InputError` if this estimator cannot give images different numbers of replications."""

    def on(
        self,
        network: NoisyNetwork,
        loss: ReplicatedLoss,
        x_t: Array,
        labels: Array,
        noise: Any,
        scales: bool,
        history: History = NO_HISTORY,
    ) -> GradientEstimate:
        """Return the estimate for this noise; the images are the columns of `x_t`, shape (inputs, images)."""
        raise NotImplementedError


def collect(
    network: NoisyNetwork,
    inputs: list[Array],
    signals: list[Array],
    loss: Array,
    credits: list[Credit],
    scales: bool,
    weights: Array | None = None,
) -> GradientEstimate:
    """Return the gradients that follow from the credits of all layers.

    A layer's `inputs` have a single replication if all replications share them. If `weights`, shape (images,), are given, each
    image's credit is multiplied by the image's weight.
    """
    if weights is not None:
        credits = [credit.times(weights) for credit in credits]
    gradients: list[dict[str, Array]] = []
    first = credits[0]
    for number, (layer, credit, x) in enumerate(zip(network.layers, credits, inputs, strict=True)):
        gradient = {}
        if isinstance(layer, NoisyTime):
            first = Credit(layer.carried(credit.each(), signals[number]), None, None, None)
            replications = first.values.shape[2]
            gradient = {name: d / replications for name, d in layer.recurrent_gradient(first.values, signals[number]).items()}
        elif number and x.shape[2] < credit.values.shape[2]:
            gradient = layer.weight_gradient(credit.by_image(), x[:, :, 0].T)
        elif number:
            rows = x.reshape(len(x), -1).T
            gradient = shared_weight_gradient(credit.rows(), rows, layer.weight_gradient, x.shape[2])
        if scales and layer.law is not None:
            gradient["scale"] = credit.by_scale().reshape(1)
        gradients.append(gradient)
    return GradientEstimate(loss.mean(axis=1), first.by_image(), gradients)


class LastLayer(NamedTuple):
    """The last layer of a network together with its loss, in a form that has a derivative.

    A smooth loss is evaluated at the noisy outputs; the 0-1 loss is averaged over the output noise.
    """

    layer: NoisyLayer
    loss: ReplicatedLoss

    def value(self, signals: Array, nodes: Array | None, labels: Array) -> Array:
        """Return the loss for these signals. If `nodes` are given, the signals are noiseless, and the loss is averaged over the
        output noise.
        """
        if nodes is not None:
            assert self.layer.law is not None
            return error_probability(signals, labels, self.layer.law, self.layer.scale, nodes)
        return self.loss.value(self.layer.respond(signals), labels)

    def value_in(self, trace: Trace, nodes: Array | None, labels: Array) -> Array:
        """Return the loss of a noisy run or, if `nodes` are given, its mean over the last layer's noise."""
        return self.loss.value(trace.outputs, labels) if nodes is None else self.value(trace.drives[-1], nodes, labels)

    def nodes(self, noise: Array | None, labels: Array) -> Array | None:
        """Return, for the 0-1 loss, the noise on the output of each image's label; the loss is averaged over the other outputs'
        noise.
        """
        return None if self.loss.smooth or noise is None else noise[labels, xp_of(noise).arange(len(labels))][None]

    def credit(self, trace: Trace, nodes: Array | None, labels: Array) -> Credit:
        """Return the gradient of :meth:`value_in` with respect to the layer's signals."""
        drive, signal, noise = trace.drives[-1], trace.signals[-1], trace.noise[-1]
        if nodes is None:
            derivative = self.loss.derivative(trace.outputs, labels) * self.layer.slope(signal)
            return Credit(derivative, None, None, noise)
        assert self.layer.law is not None
        derivative = error_probability_gradient(drive, labels, self.layer.law, self.layer.scale, nodes)
        return Credit(derivative, None, None, -drive / self.layer.scale)
