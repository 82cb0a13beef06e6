"""Batch normalisation: each channel is centred and scaled by its mean and variance, of the batch or fixed.

The work is done in blocks that fit the cache, on rows of positions × channels: NumPy is slow on short rows, so a channel's number
is repeated for each position.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from minicereb.backend import Array, xp_of
from minicereb.parallel import cached_blocks, run_lanes, scratch

EPSILON = 1e-5


class BatchNormCache(NamedTuple):
    """What the derivatives need from a forward pass.

    Attributes
    ----------
    values : array
        v, the input.
    scale : array, shape (channels,)
        ``γ / √(σ² + ϵ)``.
    deviation : array, shape (channels,)
        ``√(σ² + ϵ)``.
    mean, variance : array, shape (channels,)
        Statistics of this batch; the variance has n in its denominator.
    """

    values: Array
    scale: Array
    deviation: Array
    mean: Array
    variance: Array


def batch_norm(v: Array, gamma: Array, beta: Array) -> tuple[Array, BatchNormCache]:
    """Normalise by the batch's own statistics, ``h = γ (v - μ) / √(σ² + ϵ) + β`` ``[M-BN]``.

    Parameters
    ----------
    v : array, shape (..., channels)
        At least two values per channel.
    gamma, beta : array, shape (channels,)

    Returns
    -------
    h : array, shape of `v`
    cache : BatchNormCache
    """
    xp, rows, channels = xp_of(v), _rows(v), v.shape[-1]
    count = v.dtype.type(v.size // channels)
    mean = _sum(rows, channels, lambda part: rows[part]) / count
    centre = _along(mean, rows)

    def squares(part: slice) -> Array:
        deviations = xp.subtract(rows[part], centre, out=_fresh("deviations", rows[part]))
        return xp.multiply(deviations, deviations, out=deviations)

    variance = _sum(rows, channels, squares) / count
    deviation = (variance + variance.dtype.type(EPSILON)) ** 0.5
    scale = gamma / deviation
    h = xp.empty(v.shape, dtype=v.dtype)
    out, factor, shift = _rows(h), _along(scale, rows), _along(beta, rows)

    def normalise(part: slice) -> None:
        xp.subtract(rows[part], centre, out=out[part])
        out[part] *= factor
        out[part] += shift

    run_lanes(normalise, cached_blocks(rows))
    return h, BatchNormCache(v, scale, deviation, mean, variance)


def batch_norm_input_gradient(
    d_h: Array, cache: BatchNormCache, weights: tuple[Array, Array] | None = None, out: Array | None = None
) -> Array:
    """Input gradient of :func:`batch_norm`, through the batch's mean and variance too ``[M-BN-DX]``.

    Parameters
    ----------
    d_h : array, shape of `v`
    cache : BatchNormCache
    weights : tuple of array, optional
        The result of :func:`batch_norm_weight_gradient`, if it is already known.
    out : array, optional
        Where to write; may be `d_h`.
    """
    xp, rows, values = xp_of(d_h), _rows(d_h), _rows(cache.values)
    d_gamma, d_beta = batch_norm_weight_gradient(d_h, cache) if weights is None else weights
    count = d_h.dtype.type(d_h.size // d_h.shape[-1])
    d_v = xp.empty(d_h.shape, dtype=d_h.dtype) if out is None else out
    out, centre, factor = _rows(d_v), _along(cache.mean, rows), _along(cache.scale, rows)
    along, shift = _along(cache.scale * d_gamma / (cache.deviation * count), rows), _along(cache.scale * d_beta / count, rows)

    def give_back(part: slice) -> None:
        moved = xp.subtract(values[part], centre, out=_fresh("deviations", rows[part]))
        moved *= along
        moved += shift
        xp.multiply(rows[part], factor, out=out[part])
        out[part] -= moved

    run_lanes(give_back, cached_blocks(rows))
    return d_v


def batch_norm_weight_gradient(d_h: Array, cache: BatchNormCache) -> tuple[Array, Array]:
    """Gradients of γ and β, summed over everything but the channels."""
    xp, rows, values, channels = xp_of(d_h), _rows(d_h), _rows(cache.values), d_h.shape[-1]
    centre = _along(cache.mean, rows)

    def products(part: slice) -> Array:
        deviations = xp.subtract(values[part], centre, out=_fresh("deviations", rows[part]))
        deviations *= rows[part]
        return deviations

    return _sum(rows, channels, products) / cache.deviation, _sum(rows, channels, lambda part: rows[part])


def frozen_scale(gamma: Array, beta: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Return a and b of ``h = a v + b``, the equivalent of normalisation by fixed statistics; all of shape (channels,)."""
    scale = gamma / (variance + variance.dtype.type(EPSILON)) ** 0.5
    return scale, beta - mean * scale


def _rows(v: Array) -> Array:
    """The values with the last two axes, positions and channels, merged."""
    return v.reshape(-1, v.shape[-2] * v.shape[-1]) if v.ndim > 2 else v


def _along(numbers: Array, rows: Array) -> Array:
    """Repeat a number for each channel along the positions of a row."""
    return xp_of(numbers).tile(numbers, rows.shape[1] // len(numbers))


def _fresh(slot: str, like: Array) -> Array:
    return scratch(slot, like.shape, like)


def _sum(rows: Array, channels: int, of: Callable[[slice], Array]) -> Array:
    """Sum the results of `of` for each block over everything but the channels, in the order of the blocks."""
    xp = xp_of(rows)

    def add(part: slice) -> Array:
        block = of(part)
        return (xp.ones(len(block), dtype=block.dtype) @ block).reshape(-1, channels).sum(axis=0)

    return xp.stack(run_lanes(add, cached_blocks(rows))).sum(axis=0)
