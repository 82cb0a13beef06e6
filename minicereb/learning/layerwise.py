"""The base class of estimators that treat one layer after another, and functions that check whether a network fits them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from minicereb.backend import Array, xp_of
from minicereb.calculus.replicated import ReplicatedLoss
from minicereb.errors import require
from minicereb.learning.credit import Credit, Estimator, GradientEstimate, LastLayer, collect
from minicereb.learning.history import NO_HISTORY, History
from minicereb.learning.noisy_runs import NoisyRuns, RunsOfLayer, WithOutputs, losses_with_outputs, output_draws
from minicereb.learning.probes import Probing
from minicereb.learning.resampling import redrawn
from minicereb.models.noisy import NoisyNetwork, Trace
from minicereb.models.noisy_time import NoisyTime


@dataclass(frozen=True)
class Layerwise(Estimator):
    """Base class of estimators that compute the credit of one layer at a time, from runs with noise in all layers or only in
    this one.

    Parameters
    ----------
    in_turn : bool
        Whether only one layer at a time has noise. If so, each layer has its own runs, and the layers below are computed once
        per image. The layer's credit is then the derivative of the loss averaged over the layer's own noise, with no noise in
        the other layers ``[M-TURN]``.
    redraw_last : bool
        Whether the last layer's credit is estimated by redrawing the noise of one output at a time ``[M-RESAMPLE]``.
    """

    in_turn: bool = field(default=False, kw_only=True)
    redraw_last: bool = field(default=False, kw_only=True)

    @property
    def derives_last(self) -> bool:
        """Whether the last layer's credit is computed as a derivative of the loss."""
        raise NotImplementedError

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
        inputs, signals, credits, values = [], [], [], []
        for at, places in self.runs(network, loss, x_t, labels, noise, history):
            trace, number = at.runs.trace, at.number
            inputs.append(trace.inputs[number])
            signals.append(trace.signals[number])
            credits.append(self.layer_credit(at, places, scales))
            if self.in_turn or not number:
                values.append(at.runs.value)
        value = xp_of(x_t).stack([each.mean(axis=1) for each in values], axis=1) if self.in_turn else values[0]
        return collect(network, inputs, signals, value, credits, scales, history.weights)

    def runs(
        self, network: NoisyNetwork, loss: ReplicatedLoss, x_t: Array, labels: Array, noise: Any, history: History = NO_HISTORY
    ) -> Iterator[tuple[RunsOfLayer, Array | None]]:
        """Yield, for each layer, the runs that give its credit, and the random numbers that choose its units (None: all are
        changed).
        """
        noise, places = noise if isinstance(noise, Probing) else Probing(noise, (None,) * len(network.layers))
        noise, outputs = noise if isinstance(noise, WithOutputs) else WithOutputs(noise, None)
        last = LastLayer(network.layers[-1], loss)
        quiet = network.run(x_t, None) if self.in_turn else None
        run = None if self.in_turn else self._run(last, network.run(x_t, noise), labels, history.baseline, outputs)
        for number, e in enumerate(noise):
            if quiet is not None:
                run = self._run(last, quiet if e is None else network.run_above(quiet, number, e), labels, history.baseline, None)
            assert run is not None
            yield RunsOfLayer(network, last, run, number), places[number]

    def layer_credit(self, at: RunsOfLayer, places: Array | None, scales: bool) -> Credit:
        """Return the credit of a layer, given its runs as yielded by :meth:`runs`."""
        hidden = at.number < len(at.network.layers) - 1
        return self._credit(at, places, scales) if hidden else self._last_credit(at, scales)

    def _run(self, last: LastLayer, trace: Trace, labels: Array, baseline: Array | None, output_noise: Array | None) -> NoisyRuns:
        if output_noise is not None:
            outputs = output_draws(last, trace.drives[-1], output_noise, labels)
            return NoisyRuns(trace, labels, None, outputs.loss.mean(axis=2), baseline, outputs)
        nodes = last.nodes(trace.noise[-1], labels) if self.derives_last else None
        return NoisyRuns(trace, labels, nodes, last.value_in(trace, nodes, labels), baseline)

    def _last_credit(self, at: RunsOfLayer, scales: bool) -> Credit:
        """Return the credit of the last layer."""
        if self.redraw_last:
            layer, u = at.layer, at.drives

            def losses(nodes: list[Array]) -> list[Array]:
                return losses_with_outputs(at.last, at.runs, [u + e * layer.scale for e in nodes])

            return redrawn(layer, at.noise, losses, scales).credit(layer.scale)
        return at.last.credit(at.runs.trace, at.runs.nodes, at.runs.labels)

    def _credit(self, at: RunsOfLayer, places: Array | None, scales: bool) -> Credit:
        """Return the credit of a hidden layer; `places`, if given, choose the units that are changed."""
        raise NotImplementedError


def check_last_layer(network: NoisyNetwork, loss: ReplicatedLoss, estimator: str) -> None:
    """Raise :class:`InputError` if the loss has no derivative with respect to the last layer's signals.

    The derivative exists in two cases: loss and output activation are smooth, or the 0-1 loss is averaged over noise on outputs
    without an activation.
    """
    last = network.layers[-1]
    if loss.smooth:
        smooth = last.activation is None or last.activation.smooth
        require(smooth, "estimator", estimator, "plain, baseline, antithetic or sobol for outputs with such an activation")
    else:
        plain = last.law is not None and last.activation is None
        require(plain, "estimator", estimator, "output noise, and no output activation, for a loss without a derivative")


def check_noise(network: NoisyNetwork, estimator: str, hidden_only: bool) -> None:
    """Raise :class:`InputError` unless every layer (if `hidden_only` is true, every hidden layer) has noise."""
    layers = network.layers[:-1] if hidden_only else network.layers
    noisy = all(layer.law is not None for layer in layers)
    where = "every hidden layer" if hidden_only else "every layer, outputs included, or --last-layer derivative"
    require(noisy, "estimator", estimator, f"noise in {where}, for this estimator")


def check_threshold(network: NoisyNetwork, estimator: str) -> None:
    """Raise :class:`InputError` unless all hidden neurons are threshold neurons."""
    for activation in (layer.activation for layer in network.layers[:-1]):
        name = activation.name if activation else "none"
        others = "resample, plain, baseline, antithetic, sobol" + (" or backprop" if activation and activation.smooth else "")
        expected = f"--activation threshold, or an estimator of {others}"
        require(name == "threshold", "estimator", f"{estimator} with {name} neurons", expected)


def check_in_turn(network: NoisyNetwork, in_turn: bool) -> None:
    """Raise :class:`InputError` if noise in one layer at a time is requested and a layer is recurrent or spiking."""
    in_time = any(isinstance(layer, NoisyTime) for layer in network.layers)
    require(not (in_turn and in_time), "placement", "in-turn", "all for recurrent and spiking networks")
