"""Losses of noisy outputs: one value per image and replication of its noise.

Outputs have the shape (classes, images, replications), classes first, so that sums over classes run over contiguous memory.
There is one label per image.
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
        """Return the loss, shape (images, replications), given outputs (classes, images, replications) and labels (images,)."""

    def derivative(self, outputs: Array, labels: Array) -> Array:
        """Return the gradient of the loss, with the shape of the outputs."""


def _of_label(outputs: Array, labels: Array) -> Array:
    """Return the output of each image's own class, shape (images, replications)."""
    return outputs[labels, xp_of(outputs).arange(len(labels))]


def _targets(outputs: Array, labels: Array) -> Array:
    """Return one-hot targets, shape (classes, images, 1)."""
    classes = xp_of(outputs).arange(len(outputs), dtype=labels.dtype)
    return (classes[:, None] == labels[None, :]).astype(outputs.dtype)[:, :, None]


@dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy ``L = log Σ_j exp(z_j) - z_y`` ``[M-CE]``, called L_c in the paper."""

    smooth = True

    def value(self, outputs: Array, labels: Array) -> Array:
        """Return the loss; shapes are as in :class:`ReplicatedLoss`."""
        xp = xp_of(outputs)
        largest = outputs.max(axis=0)
        exponentials = outputs - largest
        loss = xp.exp(exponentials, out=exponentials).sum(axis=0)
        xp.log(loss, out=loss)
        loss += largest
        loss -= _of_label(outputs, labels)
        return loss

    def derivative(self, outputs: Array, labels: Array) -> Array:
        """Return ``softmax(z) - y``."""
        softmax = probabilities(outputs)
        softmax -= _targets(outputs, labels)
        return softmax


@dataclass(frozen=True)
class ZeroOne:
    """0-1 loss: 0 if no output exceeds the output of the label, otherwise 1 ``[G-ZEROONE]``.

    The formula in the paper is inverted; the paper's text says that the loss is 0 for a correct prediction.
    """

    smooth = False

    def value(self, outputs: Array, labels: Array) -> Array:
        """Return the loss; shapes are as in :class:`ReplicatedLoss`."""
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
        Takes outputs, shape (rows, classes), and labels, shape (rows,); returns the values, shape (rows,), and the derivative.
    """

    function: Callable[[Array, Array], tuple[Array, Array]] = cross_entropy
    smooth = True

    def _at(self, outputs: Array, labels: Array) -> tuple[Array, Array]:
        rows = xp_of(outputs).ascontiguousarray(outputs.reshape(len(outputs), -1).T)
        return self.function(rows, labels.repeat(outputs.shape[2]))

    def value(self, outputs: Array, labels: Array) -> Array:
        """Return the loss; shapes are as in :class:`ReplicatedLoss`."""
        return self._at(outputs, labels)[0].reshape(outputs.shape[1:])

    def derivative(self, outputs: Array, labels: Array) -> Array:
        """Return the gradient, with the shape of `outputs`."""
        return self._at(outputs, labels)[1].T.reshape(outputs.shape)


LOSSES: dict[str, type[CrossEntropy] | type[ZeroOne]] = {"cross-entropy": CrossEntropy, "zero-one": ZeroOne}


def loss_named(name: str) -> CrossEntropy | ZeroOne:
    """Return the loss with this name; raise :class:`InputError` if no loss has this name."""
    return choose("loss", name, LOSSES)()


def probabilities(outputs: Array) -> Array:
    """Return the softmax over the first axis."""
    xp = xp_of(outputs)
    softmax = outputs - outputs.max(axis=0)
    xp.exp(softmax, out=softmax)
    softmax /= softmax.sum(axis=0)
    return softmax


def error_probability(outputs: Array, labels: Array, law: Law, scale: Array, nodes: Array, weights: Array | None = None) -> Array:
    """Mean 0-1 loss over independent noise on the outputs ``[M-ZEROONE]``.

    The loss is ``1 - mean_q ∏_{j≠y} F((z_y - z_j)/σ + t_q)``. It contains a product because, given the noise σt on the label's
    output, the other outputs stay below this output independently of each other. If the nodes t are drawn from the noise
    distribution, the mean over them is unbiased for any number of nodes; with quadrature nodes it is the integral over t.

    Parameters
    ----------
    outputs : array, shape (classes, images, replications)
        Without their noise.
    labels : array of int, shape (images,)
    law : Law
    scale : array, shape (1,)
        σ.
    nodes : array, shape (nodes, images, replications)
        The nodes t, in a shape that can be broadcast to this one.
    weights : array, shape (nodes,), optional
        Quadrature weights; by default, all nodes have the same weight.

    Returns
    -------
    array, shape (images, replications)
    """
    return 1 - _ahead(outputs, labels, law, scale, nodes, weights)[1].sum(axis=0)


def error_probability_gradient(
    outputs: Array, labels: Array, law: Law, scale: Array, nodes: Array, weights: Array | None = None
) -> Array:
    """Return the gradient of :func:`error_probability`, with the shape of the outputs."""
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
