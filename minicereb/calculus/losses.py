"""Losses and attack objectives: each returns its value per image and its derivative by the network's outputs.

Training descends one of them (the cerebellum the first, the perceptron the second), an attack ascends any: they are the same
functions. Labels are class numbers; where the
formula needs targets, they are one-hot.
"""

from __future__ import annotations

from minicereb.backend import Array, xp_of


def one_hot(labels: Array, like: Array) -> Array:
    """Targets: 1 at the label, 0 elsewhere, with the shape (batch, classes) and dtype of `like`."""
    xp = xp_of(like)
    return (labels[:, None] == xp.arange(like.shape[1], dtype=labels.dtype)).astype(like.dtype)


def squared_error(outputs: Array, labels: Array) -> tuple[Array, Array]:
    """``l = ½‖ŷ - y‖²`` and its derivative, the climbing fibre's error ``e = ŷ - y`` ``[C3]``.

    Parameters
    ----------
    outputs : array of float, shape (batch, classes)
        ŷ.
    labels : array of int, shape (batch,)
        The class whose one-hot code is y.

    Returns
    -------
    value : array, shape (batch,)
    d_outputs : array, shape (batch, classes)
        Of each image's own value: no mean over the batch is taken.
    """
    error = outputs - one_hot(labels, outputs)
    return 0.5 * (error * error).sum(axis=1), error


def cross_entropy(outputs: Array, labels: Array) -> tuple[Array, Array]:
    """``l = log Σ_j exp(z_j) - z_y`` and its derivative ``softmax(z) - y`` ``[M-CE]``; shapes as :func:`squared_error`.

    The largest output is subtracted first, so that no exponential overflows.
    """
    xp = xp_of(outputs)
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    exponentials = xp.exp(shifted)
    total = exponentials.sum(axis=1, keepdims=True)
    target = one_hot(labels, outputs)
    value = xp.log(total[:, 0]) - (shifted * target).sum(axis=1)
    return value, exponentials / total - target


def margin(outputs: Array, labels: Array) -> tuple[Array, Array]:
    """``l = max_{j≠y} z_j - z_y``, positive just when the image is misclassified, and its derivative ``[M-MARGIN]``.

    Shapes as :func:`squared_error`. Where several wrong classes are largest, the first counts.
    """
    xp = xp_of(outputs)
    target = one_hot(labels, outputs)
    wrong = xp.where(target > 0, outputs.dtype.type(-xp.inf), outputs)
    rival = one_hot(wrong.argmax(axis=1), outputs)
    d_outputs = rival - target
    return (outputs * d_outputs).sum(axis=1), d_outputs
