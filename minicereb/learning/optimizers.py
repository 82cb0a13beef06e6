"""Optimisers: how a gradient becomes a change of the weights.

All are element by element, so a block of weights can be updated apart from the others. They write into the weights and into
their own state and use the gradient as scratch: a step allocates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from minicereb.backend import Array, xp_of
from minicereb.errors import InputError, require

State = dict[str, Array]


@dataclass(frozen=True)
class SGD:
    """Gradient descent, ``W = W - η g``."""

    learning_rate: float

    def state(self, weights: Array) -> State:
        """Return the arrays that one array of weights needs, all zero: none."""
        return {}

    def update(self, weights: Array, gradient: Array, state: State, step: int, scratch: Array) -> None:
        """Change `weights` and `state` in place; `gradient` and `scratch`, of the same shape, are overwritten."""
        gradient *= self.learning_rate
        weights -= gradient


@dataclass(frozen=True)
class RMSprop:
    """``V = ρV + (1 - ρ)g²``, ``W = W - η g / (√V + ϵ)`` ``[M-RMSPROP]``.

    Kept is the sum ``S = V / (1 - ρ)``, with which ``η g / (√V + ϵ) = η' g / (√S + ϵ')`` for constants η' and ϵ': one pass
    over the weights less.
    """

    learning_rate: float
    decay: float = 0.99
    epsilon: float = 1e-8

    def state(self, weights: Array) -> State:
        """Return S = 0."""
        return {"square_sum": xp_of(weights).zeros_like(weights)}

    def update(self, weights: Array, gradient: Array, state: State, step: int, scratch: Array) -> None:
        """Change `weights` and `state` in place; `gradient` and `scratch`, of the same shape, are overwritten."""
        xp, square_sum, scale = xp_of(weights), state["square_sum"], (1 - self.decay) ** -0.5
        xp.multiply(gradient, gradient, out=scratch)
        square_sum *= self.decay
        square_sum += scratch
        xp.sqrt(square_sum, out=scratch)
        scratch += scale * self.epsilon
        gradient /= scratch
        gradient *= scale * self.learning_rate
        weights -= gradient


@dataclass(frozen=True)
class Adam:
    """Adam ``[M-ADAM]``, with both moments corrected for their start at zero."""

    learning_rate: float
    decay_mean: float = 0.9
    decay_square: float = 0.999
    epsilon: float = 1e-8

    def state(self, weights: Array) -> State:
        """Return M = 0 and V = 0."""
        xp = xp_of(weights)
        return {"mean": xp.zeros_like(weights), "square": xp.zeros_like(weights)}

    def update(self, weights: Array, gradient: Array, state: State, step: int, scratch: Array) -> None:
        """Change `weights` and `state` in place; `step` counts from 1; `gradient` and `scratch` are overwritten."""
        xp, mean, square = xp_of(weights), state["mean"], state["square"]
        xp.multiply(gradient, gradient, out=scratch)
        scratch *= 1 - self.decay_square
        square *= self.decay_square
        square += scratch
        gradient *= 1 - self.decay_mean
        mean *= self.decay_mean
        mean += gradient
        xp.sqrt(square, out=scratch)
        scratch *= (1 - self.decay_square**step) ** -0.5
        scratch += self.epsilon
        xp.divide(mean, scratch, out=gradient)
        gradient *= self.learning_rate / (1 - self.decay_mean**step)
        weights -= gradient


Optimizer = SGD | RMSprop | Adam
OPTIMIZERS = {"rmsprop": RMSprop, "adam": Adam, "sgd": SGD}


def make_optimizer(name: str, learning_rate: float) -> Optimizer:
    """Return the optimiser of this name with its usual constants; :class:`InputError` for a name or rate that cannot be used."""
    if name not in OPTIMIZERS:
        raise InputError("optimizer", name, ", ".join(OPTIMIZERS))
    require(0 < learning_rate < float("inf"), "learning-rate", learning_rate, "a positive number")
    return OPTIMIZERS[name](learning_rate)  # type: ignore[operator]
