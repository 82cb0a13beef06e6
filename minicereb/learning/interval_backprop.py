"""Backpropagation through interval bounds: a perceptron learns from the worst outputs that the bounds allow within ε."""

from __future__ import annotations

from typing import Any

from minicereb.backend import Array, xp_of
from minicereb.calculus.intervals import interval_dense, interval_dense_gradients, interval_relu, interval_relu_gradients
from minicereb.calculus.losses import one_hot
from minicereb.errors import require
from minicereb.learning.backprop import Backpropagation
from minicereb.learning.optimizers import Optimizer
from minicereb.learning.pessimistic import reached
from minicereb.models.layers import Dense
from minicereb.models.sequential import Sequential


class IntervalBackpropagation(Backpropagation):
    """Trains a perceptron on images and on interval bounds of its outputs within ε of each image ``[M-IBP-BP]``.

    Parameters
    ----------
    network : Sequential
        A network of dense layers and rectified units only.
    optimizer, batch_size, l2, l1, loss
        As for :class:`~minicereb.learning.backprop.Backpropagation`.
    epsilon : float
        The bound ε in L∞, at least 0, which grows linearly from 0 over the first half of the updates.
    pessimism : float
        λ, from 0 to 1: the weight of the worst outputs in the loss.
    total_steps : int
        Number of updates in training.

    References
    ----------
    Gowal et al. (2018), On the effectiveness of interval bound propagation for training verifiably robust models,
    arXiv:1810.12715, Eq. 12, with a constant weight λ.
    """

    def __init__(
        self,
        network: Sequential,
        optimizer: Optimizer,
        batch_size: int,
        *,
        epsilon: float,
        pessimism: float,
        total_steps: int,
        **settings: Any,
    ):
        require(0 <= epsilon < float("inf"), "epsilon", epsilon, "a number of at least 0")
        require(0 <= pessimism <= 1, "pessimism", pessimism, "a share from 0 to 1")
        super().__init__(network, optimizer, batch_size, **settings)
        self.epsilon, self.pessimism, self.total_steps = epsilon, pessimism, total_steps

    def worst(self, x: Array, labels: Array, epsilon: float) -> tuple[Array, list[tuple[Array, Array]]]:
        """Return the worst outputs that the bounds allow for these labels, and the bounds of each layer's input.

        The label's output is at its lower bound, and all others are at their upper bounds. The box is clipped to [0, 1].
        """
        xp = xp_of(x)
        low, high = xp.maximum(x - x.dtype.type(epsilon), 0), xp.minimum(x + x.dtype.type(epsilon), 1)
        half = x.dtype.type(0.5)
        box, received = (half * (low + high), half * (high - low)), []
        for layer in self.model.layers:
            received.append(box)
            box = interval_dense(*box, layer.weight, layer.bias) if isinstance(layer, Dense) else interval_relu(*box)
        return box[0] + self.side(labels, box[0]) * box[1], received

    @staticmethod
    def side(labels: Array, outputs: Array) -> Array:
        """Return -1 for the label's output and +1 for all others, shape (batch, classes)."""
        return 1 - 2 * one_hot(labels, outputs)

    def hits(self, x: Array, labels: Array, block: int = 0) -> Array:
        """Return which images these bounds prove to be classified correctly within the full ε, as an array of bool."""
        return self.worst(x, labels, self.epsilon)[0].argmax(axis=1) == labels

    def _loss_and_gradients(self, x: Array, labels: Array) -> tuple[Array, Array, list[dict[str, Array]]]:
        share = x.dtype.type(self.pessimism)
        loss, outputs, gradients = super()._loss_and_gradients(x, labels)
        worst, received = self.worst(x, labels, reached(self.epsilon, self.steps, self.total_steps))
        worst_loss, d_worst = self.loss(worst, labels)
        d_centre = d_worst * (share / len(x))
        d_radius = d_centre * self.side(labels, worst)
        found: list[dict[str, Array]] = []
        for layer, box in zip(reversed(self.model.layers), reversed(received), strict=True):
            if isinstance(layer, Dense):
                d_weight, d_bias, d_centre, d_radius = interval_dense_gradients(d_centre, d_radius, *box, layer.weight)
                found.append({"weight": d_weight, "bias": d_bias})
            else:
                d_centre, d_radius = interval_relu_gradients(d_centre, d_radius, *box)
        for plain, pessimistic in zip(gradients, reversed(found), strict=True):
            for name, array in plain.items():
                array *= 1 - share
                array += pessimistic[name]
        return (1 - share) * loss + share * worst_loss, outputs, gradients
