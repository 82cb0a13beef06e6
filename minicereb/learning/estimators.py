"""Estimators of the derivative of a noisy network's mean loss: one interface, with each estimator a function of given noise.

An estimator gives the *credit* of every neuron: an unbiased estimate of the derivative with respect to its signal v, for
each replication of the noise. The rest is as everywhere in the project: the derivative with respect to a weight is
pre-synaptic activity times credit; with respect to the input it is the first layer's credit sent back through its weights.

==============  ================================================================================
plain           loss × score of the neuron's own noise (the paper's Eq. 5, 6)
baseline        the same with the mean loss of the other replications subtracted
antithetic      the same over pairs of opposite noise
sobol           the same over scrambled Sobol points
rao-blackwell   the score replaced by its mean given whether the neuron fires (threshold neurons)
flip            density at threshold × difference that firing makes to the loss (threshold neurons)
resample        loss × score with one neuron's noise drawn again at a time, in strata and pairs
exact           the sum over all patterns of a small layer of threshold neurons
backprop        derivatives along the noise (smooth activations and losses only)
==============  ================================================================================
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minicereb.backend import Array, xp_of
from minicereb.calculus.noise import conditional_score
from minicereb.calculus.replicated import ReplicatedLoss
from minicereb.errors import require
from minicereb.learning.credit import Credit, Estimator, GradientEstimate, LastLayer, collect
from minicereb.learning.exact import Exact
from minicereb.learning.noise import Antithetic, Design, Independent, Sobol
from minicereb.models.noisy import NoisyLayer, NoisyNetwork, Trace

PAIRS = 2  # of nodes at which a neuron's own noise is drawn again
LossWith = Callable[[Array], Array]  # the loss with one neuron of a layer responding differently, for each neuron


def _check_last_layer(network: NoisyNetwork, loss: ReplicatedLoss, estimator: str) -> None:
    """Require a last layer with a derivative: a smooth loss, or a 0-1 loss averaged over noise on plain outputs."""
    last = network.layers[-1]
    if loss.smooth:
        smooth = last.activation is None or last.activation.smooth
        require(smooth, "estimator", estimator, "plain, baseline, antithetic or sobol for outputs with such an activation")
    else:
        plain = last.law is not None and last.activation is None
        require(plain, "estimator", estimator, "output noise, and no output activation, for a loss without derivative")


def _check_noise(network: NoisyNetwork, estimator: str, hidden_only: bool) -> None:
    """Require noise in every layer, or at least in every hidden one."""
    layers = network.layers[:-1] if hidden_only else network.layers
    noisy = all(layer.law is not None for layer in layers)
    where = "every hidden layer" if hidden_only else "every layer, the outputs included, unless their derivative is used"
    require(noisy, "estimator", estimator, f"noise in {where}, for this estimator")


def _check_threshold(network: NoisyNetwork, estimator: str) -> None:
    """Require threshold neurons in every hidden layer."""
    for activation in (layer.activation for layer in network.layers[:-1]):
        name = activation.name if activation else "none"
        others = "resample, plain, baseline, antithetic, sobol" + (" or backprop" if activation and activation.smooth else "")
        expected = f"--activation threshold, or an estimator of {others}"
        require(name == "threshold", "estimator", f"{estimator} with {name} neurons", expected)


@dataclass(frozen=True)
class ScoreFunction(Estimator):
    """Loss × score ``[G5]`` ``[G6]``: a neuron's credit is ``(L - b) s(e) / σ``.

    Parameters
    ----------
    name : str
    design : Design
        How the noise is drawn.
    baseline : bool
        Whether the mean loss of the other groups of replications is subtracted ``[M-LOO]``.
    conditional : bool
        Whether the score of threshold neurons is replaced by its mean given whether they fire ``[M-RB]``.
    derivative_last : bool
        Whether the last layer's credit is a derivative instead (pathwise; for the 0-1 loss after averaging over output noise).
    """

    name: str = "plain"
    design: Design = Independent()
    baseline: bool = False
    conditional: bool = False
    derivative_last: bool = False

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if it does not apply."""
        if self.conditional:
            _check_threshold(network, self.name)
        if self.derivative_last:
            _check_last_layer(network, loss, self.name)
        _check_noise(network, self.name, hidden_only=self.derivative_last)

    def on(
        self, network: NoisyNetwork, loss: ReplicatedLoss, x_t: Array, labels: Array, noise: Any, scales: bool
    ) -> GradientEstimate:
        """Return the estimate from given noise."""
        trace = network.run(x_t, noise)
        last = LastLayer(network.layers[-1], loss)
        nodes = last.nodes(trace.noise[-1], labels) if self.derivative_last else None
        value = last.value_in(trace, nodes, labels)
        weight = value - self.design.others(value) if self.baseline else value
        scored = network.layers[:-1] if self.derivative_last else network.layers
        credits = [self._credit(layer, trace, number, weight) for number, layer in enumerate(scored)]
        if self.derivative_last:
            credits.append(last.credit(trace, nodes, labels))
        return collect(network, trace, value, credits, scales)

    def _credit(self, layer: NoisyLayer, trace: Trace, number: int, weight: Array) -> Credit:
        law, e = layer.law, trace.noise[number]
        assert law is not None
        assert e is not None
        if self.conditional and layer.activation is not None and layer.activation.name == "threshold":
            a = trace.drives[number] / layer.scale
            return Credit(conditional_score(law, trace.responses[number], a), weight, layer.scale, -a)
        return Credit(law.score(e), weight, layer.scale, e, len(e))


class OneByOne(Estimator):
    """Estimators that change one hidden neuron at a time, all other noise held fixed, and rerun the later layers.

    The last layer's credit is the derivative of the loss.
    """

    columns_per_sample = 32
    threshold_only = False

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if it does not apply."""
        if self.threshold_only:
            _check_threshold(network, self.name)
        _check_last_layer(network, loss, self.name)
        _check_noise(network, self.name, hidden_only=True)

    def on(
        self, network: NoisyNetwork, loss: ReplicatedLoss, x_t: Array, labels: Array, noise: Any, scales: bool
    ) -> GradientEstimate:
        """Return the estimate from given noise."""
        trace = network.run(x_t, noise)
        last = LastLayer(network.layers[-1], loss)
        nodes = last.nodes(trace.noise[-1], labels)
        value = last.value_in(trace, nodes, labels)
        credits = []
        for number in range(len(network.layers) - 1):
            loss_with = functools.partial(_loss_with, network, last, trace, number, nodes, labels)
            credits.append(self._credit(network.layers[number], trace, number, value, loss_with, scales))
        credits.append(last.credit(trace, nodes, labels))
        return collect(network, trace, value, credits, scales)

    def _credit(self, layer: NoisyLayer, trace: Trace, number: int, value: Array, loss_with: LossWith, scales: bool) -> Credit:
        raise NotImplementedError


class Flip(OneByOne):
    """``f(u/σ)/σ · (L(h=1) - L(h=0))`` for every threshold neuron, all other noise held fixed ``[M-FLIP]``."""

    name = "flip"
    threshold_only = True

    def _credit(self, layer: NoisyLayer, trace: Trace, number: int, value: Array, loss_with: LossWith, scales: bool) -> Credit:
        fires = trace.responses[number]
        flipped = loss_with(1 - fires)
        a = trace.drives[number] / layer.scale
        assert layer.law is not None
        return Credit((flipped - value) * (1 - 2 * fires) * layer.law.density(a), None, layer.scale, -a)


class Resample(OneByOne):
    """The score function with one neuron's noise redrawn at a time, all other noise held fixed ``[M-RESAMPLE]``.

    ``mean_q L(e_q) s(e_q) / σ`` over nodes e_q in pairs ±, one pair in each of PAIRS strata of the neuron's noise distribution,
    placed by its own noise: the effect of the other neurons' noise on the loss cancels in the difference of a pair. For any
    activation.
    """

    name = "resample"

    def _credit(self, layer: NoisyLayer, trace: Trace, number: int, value: Array, loss_with: LossWith, scales: bool) -> Credit:
        e, u, law = trace.noise[number], trace.drives[number], layer.law
        assert law is not None
        assert e is not None
        edge = e.dtype.type(1e-6)
        place = law.distribution(e)

        def loss_at(noise: Array | float) -> Array:
            return loss_with(layer.respond(u + noise * layer.scale))

        still: Any = loss_at(0 * e) if scales else None
        values, moved = 0, 0
        for stratum in range(PAIRS):
            q = law.quantile(xp_of(e).clip((stratum + place) / e.dtype.type(2 * PAIRS), edge, 0.5))
            above, below, score = loss_at(-q), loss_at(q), law.score(-q)
            values = values + (above - below) * score
            if scales:
                moved = moved + ((above + below - 2 * still) * (-q * score - 1)).sum(axis=0)
        return Credit(values / (2 * PAIRS), None, layer.scale, None, by_density=moved / (2 * PAIRS))


def _loss_with(
    network: NoisyNetwork, last: LastLayer, trace: Trace, number: int, nodes: Array | None, labels: Array, response: Array
) -> Array:
    """Loss with one neuron of layer `number` responding differently, for each neuron: shape (neurons, images, replications).

    `response`, of the same shape, is each neuron's changed response; all noise stays the same.
    """
    xp = xp_of(labels)
    was = trace.responses[number]
    neurons, images, replications = was.shape

    def joined(array: Array) -> Array:
        """Merge neurons and images into one axis."""
        return array.reshape(len(array), neurons * images, replications)

    layer = network.layers[number + 1]
    drive = trace.drives[number + 1][:, None] + layer.weight[:, :, None, None] * (response - was)
    for later in range(number + 1, len(network.layers) - 1):
        drive += (trace.noise[later] * layer.scale)[:, None]
        response, layer = layer.respond(drive), network.layers[later + 1]
        drive = layer.drive(joined(response)).reshape(-1, neurons, images, replications)
    all_nodes, e = None, trace.noise[-1]
    if nodes is not None:
        all_nodes = joined(xp.broadcast_to(nodes[:, None], (len(nodes), *was.shape)))
    elif e is not None:
        drive += (e * layer.scale)[:, None]
    return last.value(joined(drive), all_nodes, xp.concatenate([labels] * neurons)).reshape(was.shape)


class Backprop(Estimator):
    """Backpropagation ``[G3]`` along given noise, or without any: the smooth special case, and the control."""

    name = "backprop"

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if it does not apply."""
        expected = "resample, plain, baseline, antithetic, sobol or flip for a loss without derivative"
        require(loss.smooth, "estimator", self.name, expected)
        for activation in (layer.activation for layer in network.layers if layer.activation is not None):
            require(activation.smooth, "estimator", self.name, f"another estimator: {activation.name} neurons have no derivative")

    def on(
        self, network: NoisyNetwork, loss: ReplicatedLoss, x_t: Array, labels: Array, noise: Any, scales: bool
    ) -> GradientEstimate:
        """Return the estimate from given noise."""
        trace = network.run(x_t, noise)
        value = loss.value(trace.outputs, labels)
        d_response = loss.derivative(trace.outputs, labels)
        credits: list[Credit] = []
        for number in reversed(range(len(network.layers))):
            layer = network.layers[number]
            d_v = d_response * layer.slope(trace.signals[number])
            credits.append(Credit(d_v, None, None, trace.noise[number]))
            if number:
                d_response = layer.weight.T @ d_v.reshape(len(d_v), -1)
                d_response = d_response.reshape(len(d_response), *d_v.shape[1:])
        return collect(network, trace, value, credits[::-1], scales)


ESTIMATORS: dict[str, Estimator] = {
    "plain": ScoreFunction(),
    "baseline": ScoreFunction("baseline", baseline=True),
    "antithetic": ScoreFunction("antithetic", Antithetic(), baseline=True),
    "sobol": ScoreFunction("sobol", Sobol(), baseline=True),
    "rao-blackwell": ScoreFunction("rao-blackwell", baseline=True, conditional=True),
    "flip": Flip(),
    "resample": Resample(),
    "exact": Exact(),
    "backprop": Backprop(),
}
