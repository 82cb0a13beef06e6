"""Activations, each with its derivative beside it."""

from __future__ import annotations

from minicereb.backend import Array, xp_of, zeros_for


def relu(v: Array, out: Array | None = None) -> Array:
    """Rectified linear units: ``h = max(v, 0)``, the granule cells' response ``[C1]``.

    Parameters
    ----------
    v : array of float, any shape
        Pre-activation.
    out : array, optional
        Where to write; may be `v`.

    Returns
    -------
    array
        Same shape and dtype.
    """
    return xp_of(v).maximum(v, zeros_for(v), out=out)


def relu_input_gradient(d_h: Array, active: Array, out: Array | None = None) -> Array:
    """Derivative of :func:`relu` applied to `d_h`: ``d_v = d_h * (v > 0)``; 0 at the kink.

    Parameters
    ----------
    d_h : array of float, any shape
        Derivative of the objective by the response.
    active : array of bool, same shape
        ``v > 0``, equally ``relu(v) > 0``.
    """
    return xp_of(d_h).multiply(d_h, active, out=out)
