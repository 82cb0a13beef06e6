"""The affine map, with its derivatives with respect to the input, the weights and the bias."""

from __future__ import annotations

from minicereb.backend import Array, xp_of


def dense(x: Array, weight: Array, bias: Array) -> Array:
    """Affine map ``v = x weightᵀ + bias`` ``[M-DENSE]``.

    Parameters
    ----------
    x : array, shape (batch, inputs)
    weight : array, shape (outputs, inputs)
    bias : array, shape (outputs,)

    Returns
    -------
    array, shape (batch, outputs)
    """
    v = x @ weight.T
    v += bias
    return v


def dense_input_gradient(d_v: Array, weight: Array) -> Array:
    """Input gradient of :func:`dense`: ``d_x = d_v weight``, shape (batch, inputs)."""
    return d_v @ weight


def dense_weight_gradient(d_v: Array, x: Array) -> tuple[Array, Array]:
    """Return ``d_weight = d_vᵀ x`` and ``d_bias``, the sum of `d_v`, both summed over the batch.

    The weight gradient is post-synaptic credit times pre-synaptic activity, like every weight change in the project.
    """
    return xp_of(x).dot(d_v.T, x), d_v.sum(axis=0)  # unlike @, dot lets other threads run even if the result is small
