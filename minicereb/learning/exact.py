"""The exact mean loss of one small layer of threshold neurons, and its derivatives, as sums over all of its patterns."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.backend import Array, xp_of
from minicereb.calculus.replicated import ReplicatedLoss, error_probability, error_probability_gradient
from minicereb.errors import InputError, require
from minicereb.learning.credit import Estimator, GradientEstimate
from minicereb.learning.history import NO_HISTORY, History
from minicereb.learning.noise import NoNoise
from minicereb.models.noisy import NoisyNetwork
from minicereb.parallel import blocks

MOST_NEURONS = 20
PATTERNS = 1 << 12  # patterns in a block


class Exact(Estimator):
    """``E[L] = Σ_h P(h) L(h)`` over all 2^H patterns h of a layer, ``P(h) = ∏_a F(u_a/σ)^h_a F(-u_a/σ)^(1-h_a)`` ``[M-EXACT]``.

    The sum needs one hidden layer of at most 20 threshold neurons. For a smooth loss the outputs have no noise. For the 0-1
    loss the outputs have noise, and the loss is averaged over it by a quadrature with 64 nodes. The sum is computed in float64,
    and no noise is drawn.
    """

    name = "exact"
    design = NoNoise()

    def check(self, network: NoisyNetwork, loss: ReplicatedLoss) -> None:
        """Raise :class:`InputError` if the sum cannot be computed."""
        hidden, last = network.layers[0], network.layers[-1]
        small = len(network.layers) == 2 and network.is_dense and hidden.units <= MOST_NEURONS
        threshold = hidden.activation is not None and hidden.activation.name == "threshold" and hidden.law is not None
        expected = (
            f"one hidden layer of at most {MOST_NEURONS} noisy threshold neurons for it, no convolutions, or flip or antithetic"
        )
        require(small and threshold, "estimator", self.name, expected)
        require(last.activation is None, "estimator", self.name, "no output activation for this estimator")
        outputs = "no output noise (--no-output-noise)" if loss.smooth else "output noise, for a loss without a derivative"
        require((last.law is None) == loss.smooth, "estimator", self.name, f"{outputs}, for this estimator")

    def check_allocation(self) -> None:
        """Always raise :class:`InputError`, because an exact rule has no replications to allocate."""
        raise InputError("allocation", "scatter with the estimator exact", "equal: this estimator draws no noise")

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
        """Return the exact result for images in columns, shape (inputs, images); `noise` and `history` are ignored."""
        xp, hidden, last = xp_of(x_t), network.layers[0], network.layers[-1]
        images, neurons, classes = x_t.shape[1], len(hidden.bias), len(last.bias)
        law = hidden.law
        assert law is not None
        u = hidden.drive(x_t[:, :, None])[:, :, 0].astype(xp.float64)
        a = u / hidden.scale.astype(xp.float64)
        log_on, log_off = (xp.log(xp.maximum(law.distribution(side), 1e-300)) for side in (a, -a))
        shapes = (images, (neurons, images), (classes, neurons), classes, 1)
        value, by_h, d_weight, d_bias, d_scale = (xp.zeros(shape, dtype=xp.float64) for shape in shapes)
        distinct = xp.unique(labels)  # labels, or pairs of label and target
        for block in blocks(1 << neurons, PATTERNS):
            h = _patterns(xp, block, neurons)
            probability = xp.exp(h @ log_on + (1 - h) @ log_off)  # (patterns, images)
            drive = last.weight.astype(xp.float64) @ h.T + last.bias.astype(xp.float64)[:, None]
            for number in range(len(distinct)):
                label = distinct[number : number + 1]
                chosen = xp.flatnonzero(labels == label)
                losses, d_drive = _last_layer(network, loss, drive, label)
                weighted = probability[:, chosen] * losses[:, None]
                value[chosen] += weighted.sum(axis=0)
                for_h = law.density_ratio(a[:, chosen]), law.density_ratio(-a[:, chosen])
                by_h[:, chosen] += (h.T @ weighted) * for_h[0] - ((1 - h).T @ weighted) * for_h[1]
                credit = d_drive * probability[:, chosen].sum(axis=1)
                d_weight += credit @ h
                d_bias += credit.sum(axis=1)
                if last.law is not None:
                    d_scale -= (credit * drive).sum() / last.scale.astype(xp.float64)
        by_h /= hidden.scale.astype(xp.float64)
        gradients = [{}, {"weight": d_weight, "bias": d_bias}]
        if scales:
            gradients[0]["scale"] = -(by_h * a).sum().reshape(1)
            if last.law is not None:
                gradients[1]["scale"] = d_scale
        dtype = x_t.dtype
        cast = [{name: array.astype(dtype) for name, array in layer.items()} for layer in gradients]
        return GradientEstimate(value.astype(dtype), by_h.T.astype(dtype), cast)


def _patterns(xp: Any, block: slice, neurons: int) -> Array:
    """Return the patterns with these indices as an array of zeros and ones, shape (patterns, neurons)."""
    numbers = xp.arange(block.start, block.stop, dtype=xp.int64)
    return ((numbers[:, None] >> xp.arange(neurons, dtype=xp.int64)) & 1).astype(xp.float64)


def _last_layer(network: NoisyNetwork, loss: ReplicatedLoss, drive: Array, label: Array) -> tuple[Array, Array]:
    """Return each pattern's loss, and the gradient with respect to the last layer's drive, for images with the same label and
    target.
    """
    xp, last = xp_of(drive), network.layers[-1]
    outputs = drive[:, None, :]
    if loss.smooth:
        return loss.value(outputs, label)[0], loss.derivative(outputs, label)[:, 0]
    assert last.law is not None
    places, weights = np.polynomial.legendre.leggauss(64)
    nodes = last.law.quantile(xp.asarray((places + 1) / 2))[:, None, None]
    given = (outputs, label, last.law, last.scale.astype(xp.float64), nodes, xp.asarray(weights / 2))
    return error_probability(*given)[0], error_probability_gradient(*given)[:, 0]
