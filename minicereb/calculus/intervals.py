"""Interval arithmetic for dense layers and rectified units, with its derivatives; an interval is a centre and a radius."""

from __future__ import annotations

from minicereb.backend import Array, xp_of


def interval_dense(centre: Array, radius: Array, weight: Array, bias: Array) -> tuple[Array, Array]:
    """Bound an affine map of a box: centre ``c Wᵀ + b`` and radius ``r |W|ᵀ`` of its outputs ``[M-IBP]``.

    Parameters
    ----------
    centre, radius : array of float, shape (batch, inputs)
        Centre and radius of the box; no radius is negative.
    weight : array of float, shape (outputs, inputs)
    bias : array of float, shape (outputs,)

    Returns
    -------
    centre, radius : array of float, shape (batch, outputs)
    """
    return centre @ weight.T + bias, radius @ abs(weight).T


def interval_dense_gradients(
    d_centre: Array, d_radius: Array, centre: Array, radius: Array, weight: Array
) -> tuple[Array, Array, Array, Array]:
    """Backpropagate through :func:`interval_dense`, given the derivatives with respect to its results ``[M-IBP-BP]``.

    Returns
    -------
    d_weight : array of float, shape (outputs, inputs)
        Summed over the batch; the derivative of ``|W|`` at 0 is taken as 0.
    d_bias : array of float, shape (outputs,)
    d_centre, d_radius : array of float, shape (batch, inputs)
    """
    xp = xp_of(weight)
    d_weight = xp.dot(d_centre.T, centre) + xp.sign(weight) * xp.dot(d_radius.T, radius)
    return d_weight, d_centre.sum(axis=0), d_centre @ weight, d_radius @ abs(weight)


def interval_relu(centre: Array, radius: Array) -> tuple[Array, Array]:
    """Bound ``max(v, 0)`` for v in a box; all arrays have the same shape ``[M-IBP]``."""
    xp = xp_of(centre)
    high, low = xp.maximum(centre + radius, 0), xp.maximum(centre - radius, 0)
    half = centre.dtype.type(0.5)
    return half * (high + low), half * (high - low)


def interval_relu_gradients(d_centre: Array, d_radius: Array, centre: Array, radius: Array) -> tuple[Array, Array]:
    """Backpropagate through :func:`interval_relu`, given the derivatives with respect to its results ``[M-IBP-BP]``."""
    half = d_centre.dtype.type(0.5)
    d_high = half * (d_centre + d_radius) * (centre + radius > 0)
    d_low = half * (d_centre - d_radius) * (centre - radius > 0)
    return d_high + d_low, d_high - d_low
