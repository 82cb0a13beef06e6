"""Losses of noisy outputs: one value per image and replication of its noise.

Outputs are (classes, images, replications), classes first, so that sums over classes run over contiguous memory. There is one
label per image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from minicereb.backend import Array, xp_of
from minicereb.calculus.losses import cross_entropy
from minicereb.calculus.noise import Law
from minicereb.errors import InputError, choose


class ReplicatedLoss(Protocol):
    """A loss of noisy outputs."""

    smooth: bool  # whether `derivative` exists

    def value(self, outputs: Array, labels: Array) -> Array:
        """Loss (images, replications), given outputs (classes, images, replications) and labels (images,)."""

    def derivative(self, outputs: Array, labels: Array) -> Array:
        """Gradient of the value, with the shape of the outputs."""


def _of_label(outputs: Array, labels: Array) -> Array:
    """Output of each image's own class, shape (images, replications)."""
    return outputs[labels, xp_of(outputs).arange(len(labels))]


def _targets(outputs: Array, labels: Array) -> Array:
    """One-hot targets, shape (classes, images, 1)."""
    classes = xp_of(outputs).arange(len(outputs), dtype=labels.dtype)
    return (classes[:, None] == labels[None, :]).astype(outputs.dtype)[:, :, None]


@dataclass(frozen=True)
class CrossEntropy:
    """``L = log Σ_j exp(z_j) - z_y`` ``[M-CE]``, the paper's L_c."""

    smooth = True

    def value(self, outputs: Array, labels: Array) -> Array:
        """Shapes as in :class:`ReplicatedLoss`."""
        xp = xp_of(outputs)
        largest = outputs.max(axis=0)
        exponentials = outputs - largest
        loss = xp.exp(exponentials, out=exponentials).sum(axis=0)
        xp.log(loss, out=loss)
        loss += largest
        loss -= _of_label(outputs, labels)
        return loss

    def derivative(self, outputs: Array, labels: Array) -> Array:
        """``softmax(z) - y``."""
        softmax = probabilities(outputs)
        softmax -= _targets(outputs, labels)
        return softmax


@dataclass(frozen=True)
class ZeroOne:
    """``L = 0`` if no other output exceeds the label's, else 1 ``[G-ZEROONE]``.

    The formula in the paper is inverted; the paper's text says that the loss is 0 for a correct prediction.
    """

    smooth = False

    def value(self, outputs: Array, labels: Array) -> Array:
        """Shapes as in :class:`ReplicatedLoss`."""
        return (_of_label(outputs, labels) < outputs.max(axis=0)).astype(outputs.dtype)

    def derivative(self, outputs: Array, labels: Array) -> Array:
        """Raise :class:`InputError`: this loss has no derivative."""
        raise InputError("loss", "zero-one", "cross-entropy where a derivative of the loss is needed")


@dataclass(frozen=True)
class OfRows:
    """A loss of :mod:`minicereb.calculus.losses`, or an attack's objective, applied to noisy outputs.

    Parameters
    ----------
    function : callable
        Maps outputs (rows, classes) and labels (rows,) to value (rows,) and derivative.
    """

    function: Callable[[Array, Array], tuple[Array, Array]] = cross_entropy
    smooth = True

    def _at(self, outputs: Array, labels: Array) -> tuple[Array, Array]:
        rows = xp_of(outputs).ascontiguousarray(outputs.reshape(len(outputs), -1).T)
        return self.function(rows, labels.repeat(outputs.shape[2]))

    def value(self, outputs: Array, labels: Array) -> Array:
        """Shapes as in :class:`ReplicatedLoss`."""
        return self._at(outputs, labels)[0].reshape(outputs.shape[1:])

    def derivative(self, outputs: Array, labels: Array) -> Array:
        """Shape of `outputs`."""
        return self._at(outputs, labels)[1].T.reshape(outputs.shape)


LOSSES: dict[str, type[CrossEntropy] | type[ZeroOne]] = {"cross-entropy": CrossEntropy, "zero-one": ZeroOne}


def loss_named(name: str) -> CrossEntropy | ZeroOne:
    """Return the loss of this name; raise :class:`InputError` if there is none."""
    return choose("loss", name, LOSSES)()


def probabilities(outputs: Array) -> Array:
    """Softmax over the first axis."""
    xp = xp_of(outputs)
    softmax = outputs - outputs.max(axis=0)
    xp.exp(softmax, out=softmax)
    softmax /= softmax.sum(axis=0)
    return softmax


def error_probability(outputs: Array, labels: Array, law: Law, scale: Array, nodes: Array, weights: Array | None = None) -> Array:
    """Mean 0-1 loss over independent noise on the outputs ``[M-ZEROONE]``.

    ``1 - mean_q ∏_{j≠y} F((z_y - z_j)/σ + t_q)``: given the noise σt on the label's own output, the other outputs stay below it
    independently of each other. If the nodes t are drawn from the noise, the mean over them is unbiased for any number of nodes;
    with quadrature nodes it is the integral over t.

    Parameters
    ----------
    outputs : array, shape (classes, images, replications)
        Without their noise.
    labels : array of int, shape (images,)
    law : Law
    scale : array, shape (1,)
        σ.
    nodes : array, shape (nodes, images, replications)
        The nodes t, in this shape or in one that can be broadcast to it.
    weights : array, shape (nodes,), optional
        Quadrature weights; by default all nodes weigh the same.

    Returns
    -------
    array, shape (images, replications)
    """
    return 1 - _ahead(outputs, labels, law, scale, nodes, weights)[1].sum(axis=0)


def error_probability_gradient(
    outputs: Array, labels: Array, law: Law, scale: Array, nodes: Array, weights: Array | None = None
) -> Array:
    """Gradient of :func:`error_probability`, with the shape of the outputs."""
    others = 1 - _targets(outputs, labels)
    lead, ahead = _ahead(outputs, labels, law, scale, nodes, weights)
    derivative = (ahead * law.density_ratio(lead)).sum(axis=1) * others / scale
    return derivative - (1 - others) * derivative.sum(axis=0)


def _ahead(outputs: Array, labels: Array, law: Law, scale: Array, nodes: Array, weights: Array | None) -> tuple[Array, Array]:
    """Return the label's lead over each class, (classes, nodes, ...), and the weighted probability that the label leads."""
    xp = xp_of(outputs)
    lead = ((_of_label(outputs, labels) - outputs) / scale)[:, None] + nodes
    below = law.distribution(lead)
    below[labels, :, xp.arange(len(labels))] = 1
    share = 1 / len(nodes) if weights is None else weights[:, None, None]
    return lead, below.prod(axis=0) * share
