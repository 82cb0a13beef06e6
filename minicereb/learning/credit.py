"""Estimated credits for every neuron, and the resulting gradients of weights, biases and noise scales."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from minicereb.backend import Array, xp_of
from minicereb.calculus.replicated import ReplicatedLoss, error_probability, error_probability_gradient
from minicereb.errors import require
from minicereb.learning.noise import Design
from minicereb.models.noisy import NoisyLayer, NoisyNetwork, Trace


class Credit(NamedTuple):
    """Estimated derivative of the loss with respect to the signals of a layer: ``values * weight / divisor``.

    Attributes
    ----------
    values : array, shape (outputs, images, replications)
        A score, or the derivative itself.
    weight : array, shape (images, replications), or None
        Factor of the values: for a score, the loss minus its baseline.
    divisor : array, shape (1,), or None
        The noise scale σ, if the values are for noise of unit scale.
    motion : array
        ``∂v/∂σ``: the noise e, or ``-u/σ`` if the noise was averaged out.
    changing_density : int
        Number of neurons whose score itself depends on σ: all of the layer for the score function, else 0.
    by_density : array, shape (images, replications), or None
        Instead of the last two: the derivative with respect to σ itself, before the division.
    """

    values: Array
    weight: Array | None
    divisor: Array | None
    motion: Array | None
    changing_density: int = 0
    by_density: Array | None = None

    def by_image(self) -> Array:
        """Return the mean over replications, shape (images, outputs)."""
        xp = xp_of(self.values)
        if self.weight is None:
            mean = self.values.mean(axis=2).T
        else:
            mean = xp.matmul(self.values.transpose(1, 0, 2), self.weight[:, :, None])[:, :, 0] / self.weight.shape[1]
        return mean if self.divisor is None else mean / self.divisor

    def rows(self) -> Array:
        """Return the credit for each image and replication, shape (images · replications, outputs)."""
        factor = self.weight
        if self.divisor is not None:
            factor = (1 if factor is None else factor) / self.divisor
        credit = self.values if factor is None else self.values * factor
        return credit.reshape(len(credit), -1).T

    def by_scale(self) -> Array:
        """Return the derivative with respect to σ, mean over replications and summed over images."""
        moved = self.by_density
        if moved is None:
            moved = (self.values * self.motion).sum(axis=0) - self.changing_density
        if self.weight is not None:
            moved = moved * self.weight
        total = moved.mean(axis=1).sum()
        return total if self.divisor is None else total / self.divisor[0]


class Piece(NamedTuple):
    """An estimate for some images.

    Attributes
    ----------
    loss : array, shape (images,)
        Mean over replications.
    first_credit : array, shape (images, outputs)
        Credit of the first layer, averaged over replications.
    gradients : list of dict
        Gradients of weight and bias for every layer after the first, and of the scale for every layer if requested: means over
        replications, sums over images.
    """

    loss: Array
    first_credit: Array
    gradients: list[dict[str, Array]]


class Estimator(Protocol):
    """An unbiased estimator of the gradients of a noisy network's mean loss."""

    @property
    def name(self) -> str:
        """Its name in the table of estimators."""

    @property
    def design(self) -> Design:
        """How its noise is drawn."""

    @property
    def baseline(self) -> bool:
        """Whether it subtracts the mean loss of other replications, and so needs several."""

    @property
    def columns_per_sample(self) -> int:
        """Runs of the later layers per sample, for the size of blocks."""

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError`, naming estimators that apply, if this one does not."""

    def on(self, network: NoisyNetwork, loss: ReplicatedLoss, x_t: Array, labels: Array, noise: Any, scales: bool) -> Piece:
        """Return the estimate from given noise for images in columns, shape (inputs, images)."""


def collect(network: NoisyNetwork, trace: Trace, loss: Array, credits: list[Credit], scales: bool) -> Piece:
    """Turn the credits of all layers into gradients."""
    gradients: list[dict[str, Array]] = []
    for number, (layer, credit) in enumerate(zip(network.layers, credits, strict=True)):
        gradient = {}
        if number:
            x = trace.inputs[number]
            replications = x.shape[2]
            gradient = layer.weight_gradient(credit.rows(), x.reshape(len(x), -1).T)
            gradient = {name: total / replications for name, total in gradient.items()}
        if scales and layer.law is not None:
            gradient["scale"] = credit.by_scale().reshape(1)
        gradients.append(gradient)
    return Piece(loss.mean(axis=1), credits[0].by_image(), gradients)


class LastLayer(NamedTuple):
    """The last layer of a network with its loss, in a form that has a derivative.

    A smooth loss is evaluated at the noisy outputs; the 0-1 loss is averaged over their noise.
    """

    layer: NoisyLayer
    loss: ReplicatedLoss

    def value(self, signals: Array, nodes: Array | None, labels: Array) -> Array:
        """Return the loss for these signals; with nodes, the signals are without noise and the loss is averaged over it."""
        if nodes is not None:
            assert self.layer.law is not None
            return error_probability(signals, labels, self.layer.law, self.layer.scale, nodes)
        return self.loss.value(self.layer.respond(signals), labels)

    def value_in(self, trace: Trace, nodes: Array | None, labels: Array) -> Array:
        """Return the loss of a run, or with nodes its mean over the last layer's noise."""
        return self.loss.value(trace.outputs, labels) if nodes is None else self.value(trace.drives[-1], nodes, labels)

    def nodes(self, noise: Array | None, labels: Array) -> Array | None:
        """The noise on each label's own output; given it, the 0-1 loss is averaged over the noise on the others."""
        return None if self.loss.smooth or noise is None else noise[labels, xp_of(noise).arange(len(labels))][None]

    def credit(self, trace: Trace, nodes: Array | None, labels: Array) -> Credit:
        """Return the gradient of :meth:`value_in` in the layer's signals."""
        drive, signal, noise = trace.drives[-1], trace.signals[-1], trace.noise[-1]
        if nodes is None:
            derivative = self.loss.derivative(trace.outputs, labels) * self.layer.slope(signal)
            return Credit(derivative, None, None, noise)
        assert self.layer.law is not None
        derivative = error_probability_gradient(drive, labels, self.layer.law, self.layer.scale, nodes)
        return Credit(derivative, None, None, -drive / self.layer.scale)


def check_last_layer(network: NoisyNetwork, loss: ReplicatedLoss, estimator: str) -> None:
    """The last layer must have a derivative: a smooth loss, or a 0-1 loss averaged over noise on plain outputs."""
    last = network.layers[-1]
    if loss.smooth:
        smooth = last.activation is None or last.activation.smooth
        require(smooth, "estimator", estimator, "plain, baseline, antithetic or sobol for outputs with such an activation")
    else:
        plain = last.law is not None and last.activation is None
        require(plain, "estimator", estimator, "used with output noise and no output activation for a loss without derivative")


def check_noise(network: NoisyNetwork, estimator: str, hidden_only: bool) -> None:
    """There must be noise in every layer, or at least in every hidden one."""
    layers = network.layers[:-1] if hidden_only else network.layers
    noisy = all(layer.law is not None for layer in layers)
    where = "every hidden layer" if hidden_only else "every layer, the outputs included, unless their derivative is used"
    require(noisy, "estimator", estimator, f"used with noise in {where}")


def check_threshold(network: NoisyNetwork, estimator: str) -> None:
    """Every hidden layer must consist of threshold neurons."""
    for activation in (layer.activation for layer in network.layers[:-1]):
        name = activation.name if activation else "none"
        others = "resample, plain, baseline, antithetic, sobol" + (" or backprop" if activation and activation.smooth else "")
        expected = f"--activation threshold, or an estimator of {others}"
        require(name == "threshold", "estimator", f"{estimator} with {name} neurons", expected)
