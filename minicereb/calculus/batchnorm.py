"""Batch normalisation: each channel centred and scaled by its own mean and variance, of the batch or fixed."""

from __future__ import annotations

from typing import NamedTuple

from minicereb.backend import Array, xp_of

EPSILON = 1e-5


class BatchNormCache(NamedTuple):
    """What the derivatives need.

    Attributes
    ----------
    normalised : array, shape of the input
        ``(v - μ) / √(σ² + ϵ)``.
    scale : array, shape (channels,)
        ``γ / √(σ² + ϵ)``.
    mean, variance : array, shape (channels,)
        Of this batch, the variance with n in its denominator.
    """

    normalised: Array
    scale: Array
    mean: Array
    variance: Array


def batch_norm(v: Array, gamma: Array, beta: Array) -> tuple[Array, BatchNormCache]:
    """Normalise by the batch's own statistics, ``h = γ (v - μ) / √(σ² + ϵ) + β`` ``[M-BN]``.

    Parameters
    ----------
    v : array, shape (..., channels)
        At least two values a channel.
    gamma, beta : array, shape (channels,)

    Returns
    -------
    h : array, shape of `v`
    cache : BatchNormCache
    """
    xp, axes = xp_of(v), tuple(range(v.ndim - 1))
    mean = v.mean(axis=axes)
    normalised = v - mean
    variance = xp.square(normalised).mean(axis=axes)
    deviation = (variance + variance.dtype.type(EPSILON)) ** 0.5
    normalised /= deviation
    return normalised * gamma + beta, BatchNormCache(normalised, gamma / deviation, mean, variance)


def batch_norm_input_gradient(d_h: Array, cache: BatchNormCache) -> Array:
    """Derivative of :func:`batch_norm` by `v`, through the batch's mean and variance too ``[M-BN-DX]``."""
    axes = tuple(range(d_h.ndim - 1))
    d_v = d_h - d_h.mean(axis=axes)
    d_v -= cache.normalised * (d_h * cache.normalised).mean(axis=axes)
    d_v *= cache.scale
    return d_v


def batch_norm_weight_gradient(d_h: Array, normalised: Array) -> tuple[Array, Array]:
    """Derivatives by γ and β, summed over everything but the channels."""
    axes = tuple(range(d_h.ndim - 1))
    return (d_h * normalised).sum(axis=axes), d_h.sum(axis=axes)


def frozen_scale(gamma: Array, beta: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Return a and b of ``h = a v + b``, to which normalisation by fixed statistics comes; its derivative by v is a.

    Parameters
    ----------
    gamma, beta, mean, variance : array, shape (channels,)

    Returns
    -------
    tuple of array, shape (channels,)
    """
    scale = gamma / (variance + variance.dtype.type(EPSILON)) ** 0.5
    return scale, beta - mean * scale
