"""Layers: frozen dataclasses of arrays whose methods call the functions of :mod:`minicereb.calculus`.

A layer has ``forward(x) -> (output, cache)`` and ``input_gradient(d_output, cache)``; a layer that learns by backpropagation
also has ``parameters`` and ``weight_gradient(d_output, cache)``, two dictionaries with the same keys. Layers of convolutional
networks are in :mod:`minicereb.models.convolutional`.
"""

from __future__ import annotations

from dataclasses import dataclass

from minicereb.backend import Array, xp_of
from minicereb.calculus.activations import relu, relu_input_gradient
from minicereb.calculus.dense import dense, dense_input_gradient, dense_weight_gradient
from minicereb.inputs import check_credit, check_rows
from minicereb.parallel import cached_blocks, run_lanes


@dataclass(frozen=True, eq=False)
class Dense:
    """Affine map; `weight` has the shape (outputs, inputs), and `bias` the shape (outputs,)."""

    weight: Array
    bias: Array

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return ``x weightᵀ + bias``, shape (batch, outputs), and x."""
        check_rows(x, self.weight.shape[1])
        return dense(x, self.weight, self.bias), x

    def input_gradient(self, d_v: Array, x: Array) -> Array:
        """Return the derivative with respect to x, shape (batch, inputs)."""
        check_credit(d_v, (len(x), len(self.weight)))
        return dense_input_gradient(d_v, self.weight)

    def weight_gradient(self, d_v: Array, x: Array) -> dict[str, Array]:
        """Return the gradients of weight and bias, summed over the batch."""
        d_weight, d_bias = dense_weight_gradient(d_v, x)
        return {"weight": d_weight, "bias": d_bias}

    @property
    def parameters(self) -> dict[str, Array]:
        """The arrays that are learned, keyed by name."""
        return {"weight": self.weight, "bias": self.bias}


@dataclass(frozen=True)
class ReLU:
    """Rectified linear units."""

    def forward(self, v: Array) -> tuple[Array, Array]:
        """Return ``max(v, 0)`` and which units are active."""
        return relu(v), v > 0

    def input_gradient(self, d_h: Array, active: Array) -> Array:
        """Return ``d_h`` where the unit was active, else 0."""
        check_credit(d_h, active.shape)
        return relu_input_gradient(d_h, active)

    def while_learning(self, seed: int, number: int, *numbers: int) -> ReLU | ReLULearning:
        """Return a layer that overwrites its input, except for the first layer, whose input belongs to the caller."""
        return ReLULearning() if number > 0 else self


@dataclass(frozen=True)
class ReLULearning:
    """Rectified linear units that overwrite their input, because nothing else needs it in training."""

    def forward(self, v: Array) -> tuple[Array, Array]:
        """Return ``max(v, 0)``, written to `v`, and which units are active."""
        active = xp_of(v).empty(v.shape, dtype=bool)

        def rectify(part: slice) -> None:
            xp_of(v).greater(v[part], 0, out=active[part])
            relu(v[part], out=v[part])

        run_lanes(rectify, cached_blocks(v))
        return v, active

    def input_gradient(self, d_h: Array, active: Array) -> Array:
        """Return the derivative with respect to v, written to `d_h`."""
        run_lanes(lambda part: relu_input_gradient(d_h[part], active[part], out=d_h[part]), cached_blocks(d_h))
        return d_h
