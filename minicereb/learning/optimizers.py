"""Optimisers: how a gradient changes the weights.

All optimisers work elementwise, so blocks of weights can be updated separately. Optimisers change the weights and their own
state in place and use the gradient as scratch memory; only one step in 64 allocates memory. With ``total_steps`` the learning
rate falls to 0 over that many steps; otherwise it is constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicereb.backend import Array, xp_of
from minicereb.compiled import compiled
from minicereb.errors import InputError, choose, require

State = dict[str, Array]
Number = Any  # a NumPy number


def rate_at(step: int, learning_rate: float, total_steps: int | None) -> float:
    """Return the learning rate of a step.

    Parameters
    ----------
    step : int
        t, from 1.
    learning_rate : float
        η: the learning rate or, if `total_steps` is given, its peak.
    total_steps : int or None
        Number T of steps. The rate is ``η_t = ½ η (1 + cos(π (t - 1)/T)) min(1, 20 t/T)`` up to step T, and then 0
        ``[M-COSINE]``. It rises over the first twentieth of the steps, because large steps can do lasting harm before the
        optimiser knows the size of the gradients: a network with 0-1 loss may never predict some class again. If None, the rate
        is η at every step.
    """
    if total_steps is None:
        return learning_rate
    if step > total_steps:
        return 0.0
    return 0.5 * learning_rate * (1 + math.cos(math.pi * (step - 1) / total_steps)) * min(1.0, 20 * step / total_steps)


def forget_tiny(average: Array, step: int, below: float = 1e-30) -> None:
    """At every 64th step, set entries of a moving average that are smaller than `below` to zero, in place.

    The average of a value that has become zero, such as the activity of a cell whose pixels are dark in almost every image,
    decays into subnormal numbers below 1e-38. Processors are a hundred times slower with these, and learning MNIST would take
    twice as long. Setting such averages to zero changes no weight by more than its last digit.
    """
    if step % 64 == 0:
        average[abs(average) < below] = 0


@dataclass(frozen=True)
class SGD:
    """Gradient descent, ``W = W - η g`` ``[M-SGD]``."""

    learning_rate: float
    total_steps: int | None = None

    def state(self, weights: Array) -> State:
        """Return the initial state, which is empty."""
        return {}

    def update(self, weights: Array, gradient: Array, state: State, step: int, scratch: Array) -> None:
        """Change `weights` and `state` in place; `gradient` and `scratch`, of the same shape, are overwritten."""
        gradient *= rate_at(step, self.learning_rate, self.total_steps)
        weights -= gradient


@dataclass(frozen=True)
class Momentum:
    """Gradient descent with momentum, ``V = ρV + g``, ``W = W - η V`` ``[M-MOMENTUM]``."""

    learning_rate: float
    decay: float = 0.9
    total_steps: int | None = None

    def state(self, weights: Array) -> State:
        """Return the initial state, V = 0."""
        return {"velocity": xp_of(weights).zeros_like(weights)}

    def update(self, weights: Array, gradient: Array, state: State, step: int, scratch: Array) -> None:
        """Change `weights` and `state` in place; `gradient` and `scratch`, of the same shape, are overwritten."""
        velocity = state["velocity"]
        velocity *= self.decay
        velocity += gradient
        xp_of(weights).multiply(velocity, rate_at(step, self.learning_rate, self.total_steps), out=scratch)
        weights -= scratch
        forget_tiny(velocity, step)


@dataclass(frozen=True)
class RMSprop:
    """``V = ρV + (1 - ρ)g²``, ``W = W - η g / (√V + ϵ)`` ``[M-RMSPROP]``.

    Instead of V, the state holds ``S = V / (1 - ρ)``. Then ``η g / (√V + ϵ) = η' g / (√S + ϵ')`` with constants η' and ϵ',
    which saves one pass over the weights.
    """

    learning_rate: float
    decay: float = 0.99
    epsilon: float = 1e-8
    total_steps: int | None = None

    def state(self, weights: Array) -> State:
        """Return the initial state, S = 0."""
        return {"square_sum": xp_of(weights).zeros_like(weights)}

    def update(self, weights: Array, gradient: Array, state: State, step: int, scratch: Array) -> None:
        """Change `weights` and `state` in place; `gradient` and `scratch`, of the same shape, are overwritten."""
        xp, square_sum, scale = xp_of(weights), state["square_sum"], (1 - self.decay) ** -0.5
        constants = self.decay, scale * self.epsilon, scale * rate_at(step, self.learning_rate, self.total_steps)
        forget_tiny(square_sum, step)
        one_pass = compiled(_rmsprop, weights, gradient, square_sum)
        if one_pass is not None:
            shapes = weights.shape, gradient.shape, square_sum.shape
            if not shapes[0] == shapes[1] == shapes[2]:
                raise InputError("gradient", f"shapes {shapes}", "weights, gradient and state of one shape")
            one_pass(weights.reshape(-1), gradient.reshape(-1), square_sum.reshape(-1), *map(weights.dtype.type, constants))
            return
        decay, epsilon, rate = constants
        xp.multiply(gradient, gradient, out=scratch)
        square_sum *= decay
        square_sum += scratch
        xp.sqrt(square_sum, out=scratch)
        scratch += epsilon
        gradient /= scratch
        gradient *= rate
        weights -= gradient


def _rmsprop(weights: Array, gradient: Array, square_sum: Array, decay: Number, epsilon: Number, rate: Number) -> None:
    """Do the update of :meth:`RMSprop.update` entry by entry, with the same operations in the same order."""
    for i in range(len(weights)):
        square_sum[i] = square_sum[i] * decay + gradient[i] * gradient[i]
        weights[i] -= gradient[i] / (np.sqrt(square_sum[i]) + epsilon) * rate


@dataclass(frozen=True)
class Adam:
    """Adam ``[M-ADAM]``, with the bias correction of both moments."""

    learning_rate: float
    decay_mean: float = 0.9
    decay_square: float = 0.999
    epsilon: float = 1e-8
    total_steps: int | None = None

    def state(self, weights: Array) -> State:
        """Return the initial state, M = 0 and V = 0."""
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
        gradient *= rate_at(step, self.learning_rate, self.total_steps) / (1 - self.decay_mean**step)
        weights -= gradient
        forget_tiny(mean, step)
        forget_tiny(square, step)


def add_penalty(gradient: Array, weight: Array, l2: float, l1: float) -> None:
    """Add the gradient of the penalty ``½ l2 Σθ² + l1 Σ|θ|`` to `gradient`, in place ``[M-PENALTY]``.

    At θ = 0, the derivative of ``|θ|`` is taken as 0.
    """
    if l2:
        gradient += l2 * weight
    if l1:
        gradient += l1 * xp_of(weight).sign(weight)


Optimizer = SGD | Momentum | RMSprop | Adam
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"rmsprop": RMSprop, "adam": Adam, "sgd": SGD, "momentum": Momentum}
SCHEDULES = ("constant", "cosine")


def make_optimizer(name: str, learning_rate: float, total_steps: int | None = None) -> Optimizer:
    """Return the optimiser with this name and its usual constants; raise :class:`InputError` for an invalid setting."""
    make = choose("optimizer", name, OPTIMIZERS)
    require(0 < learning_rate < float("inf"), "learning-rate", learning_rate, "a positive number")
    require(total_steps is None or total_steps >= 1, "total-steps", total_steps, "a whole number of at least 1")
    return make(learning_rate, total_steps=total_steps)
