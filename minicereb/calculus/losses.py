"""Losses and attack objectives: each returns its value per image and its derivative with respect to the network's outputs.

Training descends a loss and an attack ascends it, and both use the same functions. Labels are class numbers; where a formula
needs targets, they are one-hot. A targeted objective also takes, for each image, the class t that the attack aims at.
"""

from __future__ import annotations

from minicereb.backend import Array, xp_of
from minicereb.calculus.cerebellum import loss, pessimistic_loss
from minicereb.errors import InputError


def one_hot(labels: Array, like: Array) -> Array:
    """Return targets, 1 at the label and 0 elsewhere, with the shape (batch, classes) and dtype of `like`.

    Labels from a user must be checked first (:func:`minicereb.inputs.as_labels`).
    """
    if labels.shape != like.shape[:1]:
        raise InputError("labels", f"shape {labels.shape}", f"shape {like.shape[:1]}, one for each row of outputs")
    xp = xp_of(like)
    return (labels[:, None] == xp.arange(like.shape[1], dtype=labels.dtype)).astype(like.dtype)


def squared_error(outputs: Array, labels: Array) -> tuple[Array, Array]:
    """Squared error ``l = ½‖ŷ - y‖²`` and its derivative, the climbing fibre's error ``e = ŷ - y`` ``[C3]``.

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
        Gradient of each image's own value, not averaged over the batch.
    """
    return loss(outputs, one_hot(labels, outputs))


def pessimistic_squared_error(outputs: Array, labels: Array) -> tuple[Array, Array]:
    """One-sided squared error ``[M-PESSIMISTIC]``; shapes as in :func:`squared_error`."""
    return pessimistic_loss(outputs, one_hot(labels, outputs))


def cross_entropy(outputs: Array, labels: Array) -> tuple[Array, Array]:
    """Cross-entropy ``l = log Σ_j exp(z_j) - z_y`` and its derivative ``softmax(z) - y`` ``[M-CE]``; shapes as in
    :func:`squared_error`.

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
    """Margin ``l = max_{j≠y} z_j - z_y`` and its derivative ``[M-MARGIN]``; positive if and only if the image is misclassified.

    Shapes as in :func:`squared_error`. If several wrong classes tie for the largest output, the first one counts.
    """
    xp = xp_of(outputs)
    target = one_hot(labels, outputs)
    wrong = xp.where(target > 0, outputs.dtype.type(-xp.inf), outputs)
    rival = one_hot(wrong.argmax(axis=1), outputs)
    d_outputs = rival - target
    return (outputs * d_outputs).sum(axis=1), d_outputs


def targeted_margin(outputs: Array, labels: Array, targets: Array) -> tuple[Array, Array]:
    """Targeted margin ``l = z_t - z_y`` and its derivative ``[M-MARGIN-T]``.

    Parameters
    ----------
    outputs : array of float, shape (batch, classes)
    labels, targets : array of int, shape (batch,)
        y and t.

    Returns
    -------
    value : array, shape (batch,)
        The value is positive only if the image is misclassified, though not always as class t.
    d_outputs : array, shape (batch, classes)
    """
    d_outputs = one_hot(targets, outputs) - one_hot(labels, outputs)
    return (outputs * d_outputs).sum(axis=1), d_outputs


def targeted_cross_entropy(outputs: Array, labels: Array, targets: Array) -> tuple[Array, Array]:
    """Targeted cross-entropy ``l = z_t - log Σ_j exp(z_j)`` and its derivative ``[M-CE-T]``; shapes as in
    :func:`targeted_margin`.
    """
    value, d_outputs = cross_entropy(outputs, targets)
    return -value, -d_outputs


DESCENDED = {"cross-entropy": cross_entropy, "mse": squared_error}
TINY = 1e-12  # in the published formulas, to avoid division by zero


def dlr(outputs: Array, labels: Array) -> tuple[Array, Array]:
    """Difference of logits ratio: ``l = (max_{j≠y} z_j - z_y) / (z_π1 - z_π3 + 1e-12)`` ``[M-DLR]``; shapes as in :func:`margin`.

    π orders the outputs from the largest to the smallest. Shifting or scaling the outputs does not change the value. With fewer
    than three classes the loss is the margin.
    """
    if outputs.shape[1] < 3:
        return margin(outputs, labels)
    order = outputs.argsort(axis=1)
    d_spread = one_hot(order[:, -1], outputs) - one_hot(order[:, -3], outputs)
    return _over_spread(*margin(outputs, labels), outputs, d_spread)


def targeted_dlr(outputs: Array, labels: Array, targets: Array) -> tuple[Array, Array]:
    """Targeted DLR: ``l = (z_t - z_y) / (z_π1 - ½(z_π3 + z_π4) + 1e-12)`` ``[M-DLR-T]``; shapes as in :func:`targeted_margin`.

    With fewer than four classes the loss is the targeted margin.
    """
    if outputs.shape[1] < 4:
        return targeted_margin(outputs, labels, targets)
    order = outputs.argsort(axis=1)
    d_spread = one_hot(order[:, -1], outputs) - 0.5 * (one_hot(order[:, -3], outputs) + one_hot(order[:, -4], outputs))
    return _over_spread(*targeted_margin(outputs, labels, targets), outputs, d_spread)


def _over_spread(value: Array, d_value: Array, outputs: Array, d_spread: Array) -> tuple[Array, Array]:
    """Return a value divided by the spread of the outputs, and the derivative of this ratio.

    The spread is linear in the outputs as long as their order stays the same.
    """
    spread = (outputs * d_spread).sum(axis=1) + TINY
    ratio = value / spread
    return ratio, (d_value - ratio[:, None] * d_spread) / spread[:, None]
