"""Backpropagation through a noisy network whose noise is held fixed, also with a surrogate for the threshold's derivative."""

from __future__ import annotations

from typing import Any

from minicereb.backend import Array, xp_of
from minicereb.calculus.replicated import ReplicatedLoss
from minicereb.errors import require
from minicereb.learning.credit import Credit, Estimator, GradientEstimate, collect
from minicereb.learning.history import NO_HISTORY, History
from minicereb.models.noisy import NoisyLayer, NoisyNetwork


class Backprop(Estimator):
    """Backpropagation ``[G3]`` with the noise held fixed, or without noise: a control for networks with smooth activations.

    In recurrent and spiking layers it is backpropagation through time ``[M-BPTT]``.
    """

    name = "backprop"

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if the estimator does not apply."""
        expected = "resample, plain, baseline, antithetic, sobol or flip for a loss without a derivative"
        require(loss.smooth, "estimator", self.name, expected)
        for activation in (layer.activation for layer in network.layers if layer.activation is not None):
            others = (
                "surrogate, flip, rao-blackwell or antithetic" if activation.name == "threshold" else "resample or antithetic"
            )
            require(activation.smooth, "estimator", self.name, f"{others}: {activation.name} neurons have no derivative")

    def _slope(self, layer: NoisyLayer, v: Array) -> Array | float:
        """Return φ'(v)."""
        return layer.slope(v)

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
        """Return the estimate for this noise."""
        trace = network.run(x_t, noise)
        value = loss.value(trace.outputs, labels)
        d_response = loss.derivative(trace.outputs, labels)
        credits: list[Credit] = []
        for number in reversed(range(len(network.layers))):
            layer = network.layers[number]
            v = trace.signals[number]
            d_v = layer.signal_gradient(d_response, v, self._slope(layer, v))
            credits.append(Credit(d_v, None, None, trace.noise[number]))
            if number:
                d_response = layer.send_back(d_v)
        return collect(network, trace.inputs, trace.signals, value, credits[::-1], scales, history.weights)


class Surrogate(Backprop):
    """Backpropagation with the noise held fixed and a surrogate for the derivative of the threshold: a control.

    The derivative of the threshold is 0, except at the step, where it does not exist. It is replaced by the slope
    ``1 / (2σ (1 + |v|/σ)²)`` ``[M-SURROGATE]``, so the result is biased. Without noise, σ is 1.

    References
    ----------
    Zenke and Ganguli (2018), SuperSpike; Neftci, Mostafa and Zenke (2019), Surrogate gradient learning in spiking networks.
    """

    name = "surrogate"

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if the estimator does not apply."""
        require(loss.smooth, "estimator", self.name, "rao-blackwell, antithetic or baseline for a loss without a derivative")
        for activation in (layer.activation for layer in network.layers if layer.activation is not None):
            expected = "backprop, or --activation threshold" if activation.smooth else "--activation threshold"
            require(activation.name == "threshold", "estimator", f"{self.name} with {activation.name} neurons", expected)

    def _slope(self, layer: NoisyLayer, v: Array) -> Array | float:
        """Return the surrogate slope at v, or 1 for outputs without an activation."""
        if layer.activation is None:
            return 1.0
        scale = layer.scale if layer.law is not None else xp_of(v).ones_like(layer.scale)
        return surrogate_slope(v / scale) / scale


def surrogate_slope(a: Array) -> Array:
    """Return a surrogate for the derivative of a threshold: ``1 / (2 (1 + |a|)²)``, whose integral is 1 ``[M-SURROGATE]``."""
    near = 1 + abs(a)
    return 0.5 / (near * near)
