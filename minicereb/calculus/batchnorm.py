"""Batch normalisation: each channel is centred and scaled by its mean and variance, either those of the batch or fixed ones.

The work is done in blocks that fit the cache. NumPy is slow on short rows, so positions and channels are merged into long rows,
and the parameters of a channel, such as its mean, are repeated for each position. With Numba, and a number of channels that is
a multiple of the vector length, the loops at the end of this file process a block in one pass; they sum over positions in a
different order than NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minicereb.backend import Array, xp_of
from minicereb.compiled import Loop, compiled, in_vectors, load, spread, store, vector_length
from minicereb.parallel import cached_blocks, row_blocks, run_lanes, scratch

EPSILON = 1e-5


class BatchNormCache(NamedTuple):
    """The values of a forward pass that the derivatives need.

    Attributes
    ----------
    values : array
        v, the input.
    scale : array, shape (channels,)
        ``γ / √(σ² + ϵ)``.
    deviation : array, shape (channels,)
        ``√(σ² + ϵ)``.
    mean, variance : array, shape (channels,)
        Statistics of this batch; the variance is divided by n, not n - 1.
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
    xp = xp_of(v)
    mean, variance = _moments(v)
    deviation = (variance + variance.dtype.type(EPSILON)) ** 0.5
    scale = gamma / deviation
    h = xp.empty(v.shape, dtype=v.dtype)
    if (loop := _one_pass(normalise_loop, v)) is not None:
        _in_blocks(loop, (v, h), mean, scale, beta)
        return h, BatchNormCache(v, scale, deviation, mean, variance)
    rows, out = _rows(v), _rows(h)
    centre, factor, shift = (_along(numbers, rows) for numbers in (mean, scale, beta))

    def normalise(part: slice) -> None:
        xp.subtract(rows[part], centre, out=out[part])
        out[part] *= factor
        out[part] += shift

    run_lanes(normalise, cached_blocks(rows))
    return h, BatchNormCache(v, scale, deviation, mean, variance)


def _moments(v: Array) -> tuple[Array, Array]:
    """Return the mean and the variance of each channel; the variance is divided by n."""
    xp, rows, channels = xp_of(v), _rows(v), v.shape[-1]
    count = v.dtype.type(v.size // channels)
    if (loop := _one_pass(moments_loop, v)) is not None:
        counts, sums = _in_blocks(loop, (v,), sums=2)
        means, squares = sums[:, 0], sums[:, 1]
        mean = (counts * means).sum(axis=0) / count
        return mean, (squares + counts * (means - mean) ** 2).sum(axis=0) / count
    mean = _sum(rows, channels, lambda part: rows[part]) / count
    centre = _along(mean, rows)

    def squared(part: slice) -> Array:
        deviations = xp.subtract(rows[part], centre, out=_fresh("deviations", rows[part]))
        return xp.multiply(deviations, deviations, out=deviations)

    return mean, _sum(rows, channels, squared) / count


def batch_norm_input_gradient(
    d_h: Array, cache: BatchNormCache, weights: tuple[Array, Array] | None = None, out: Array | None = None
) -> Array:
    """Input gradient of :func:`batch_norm`, including the paths through the batch's mean and variance ``[M-BN-DX]``.

    Parameters
    ----------
    d_h : array, shape of `v`
    cache : BatchNormCache
    weights : tuple of array, optional
        The result of :func:`batch_norm_weight_gradient`, if it is already known.
    out : array, optional
        Array to write into; may be `d_h`.
    """
    xp, rows, values = xp_of(d_h), _rows(d_h), _rows(cache.values)
    d_gamma, d_beta = batch_norm_weight_gradient(d_h, cache) if weights is None else weights
    count = d_h.dtype.type(d_h.size // d_h.shape[-1])
    d_v = xp.empty(d_h.shape, dtype=d_h.dtype) if out is None else out
    by_deviation, by_mean = cache.scale * d_gamma / (cache.deviation * count), cache.scale * d_beta / count
    if (loop := _one_pass(input_gradient_loop, d_h, cache.values, d_v)) is not None:
        _in_blocks(loop, (d_h, cache.values, d_v), cache.mean, cache.scale, by_deviation, by_mean)
        return d_v
    out, centre, factor = _rows(d_v), _along(cache.mean, rows), _along(cache.scale, rows)
    along, shift = _along(by_deviation, rows), _along(by_mean, rows)

    def give_back(part: slice) -> None:
        moved = xp.subtract(values[part], centre, out=_fresh("deviations", rows[part]))
        moved *= along
        moved += shift
        xp.multiply(rows[part], factor, out=out[part])
        out[part] -= moved

    run_lanes(give_back, cached_blocks(rows))
    return d_v


def batch_norm_weight_gradient(d_h: Array, cache: BatchNormCache) -> tuple[Array, Array]:
    """Return the gradients of γ and β, summed over all axes except the channels."""
    xp, rows, values, channels = xp_of(d_h), _rows(d_h), _rows(cache.values), d_h.shape[-1]
    if (loop := _one_pass(weight_gradient_loop, d_h, cache.values)) is not None:
        _, sums = _in_blocks(loop, (d_h, cache.values), cache.mean, sums=2)
        return sums[:, 0].sum(axis=0) / cache.deviation, sums[:, 1].sum(axis=0)
    centre = _along(cache.mean, rows)

    def products(part: slice) -> Array:
        deviations = xp.subtract(values[part], centre, out=_fresh("deviations", rows[part]))
        deviations *= rows[part]
        return deviations

    return _sum(rows, channels, products) / cache.deviation, _sum(rows, channels, lambda part: rows[part])


def frozen_scale(gamma: Array, beta: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Return a and b such that ``h = a v + b`` normalises by fixed statistics; all arrays have the shape (channels,)."""
    scale = gamma / (variance + variance.dtype.type(EPSILON)) ** 0.5
    return scale, beta - mean * scale


def _rows(v: Array) -> Array:
    """Return the values with the last two axes, positions and channels, merged."""
    return v.reshape(-1, v.shape[-2] * v.shape[-1]) if v.ndim > 2 else v


def _along(numbers: Array, rows: Array) -> Array:
    """Repeat the numbers, one for each channel, at every position of a row."""
    return xp_of(numbers).tile(numbers, rows.shape[1] // len(numbers))


def _fresh(slot: str, like: Array) -> Array:
    return scratch(slot, like.shape, like)


def _sum(rows: Array, channels: int, of: Callable[[slice], Array]) -> Array:
    """Call `of` for every block of `rows`; return the sum of the returned arrays over all axes except the channels."""
    xp = xp_of(rows)

    def add(part: slice) -> Array:
        block = of(part)
        return (xp.ones(len(block), dtype=block.dtype) @ block).reshape(-1, channels).sum(axis=0)

    return xp.stack(run_lanes(add, cached_blocks(rows))).sum(axis=0)


def _one_pass(loop: Loop, *arrays: Array) -> Loop | None:
    """Return the compiled loop if there is one for these arrays, otherwise None."""
    return compiled(loop, *arrays) if arrays[0].shape[-1] % vector_length(arrays[0].dtype) == 0 else None


def _in_blocks(loop: Loop, arrays: tuple[Array, ...], *numbers: Array, sums: int = 0) -> tuple[Array, Array]:
    """Call a compiled loop for each block of positions.

    The loop receives the block's part of each array, the `numbers` (arrays with one number per channel) and, if `sums` is above
    0, an array into which it writes `sums` sums per channel.

    Returns
    -------
    counts : array, shape (blocks, 1)
        Number of positions in each block.
    found : array, shape (blocks, sums, channels)
        The sums that the loop wrote.
    """
    channels, dtype = arrays[0].shape[-1], arrays[0].dtype
    rows, constants = [array.reshape(-1, channels) for array in arrays], [in_vectors(each) for each in numbers]
    parts = row_blocks(rows[0])
    found = np.empty((len(parts), sums, channels), dtype=dtype)

    def work(number: int) -> None:
        written = [in_vectors(found[number])] if sums else []
        loop(*(in_vectors(each[parts[number]]) for each in rows), *constants, *written)

    run_lanes(work, list(range(len(parts))))
    return np.array([[part.stop - part.start] for part in parts], dtype=dtype), found


def moments_loop(v: Array, sums: Array) -> None:
    """Write the mean of each channel, and the sum of squared deviations from this mean.

    In these loops the arrays of a block have the shape (positions, vectors of channels, length). Arrays with one number
    per channel have the shape (1, vectors of channels, length), and arrays of sums have the shape (2, vectors of
    channels, length).
    """
    share = v.dtype.type(1 / len(v))
    for vector in range(v.shape[1]):
        total = squares = spread(v.dtype.type(0), load(v, 0, vector))
        for position in range(len(v)):
            total = total + load(v, position, vector)
        mean = share * total
        for position in range(len(v)):
            deviation = load(v, position, vector) - mean
            squares = squares + deviation * deviation
        store(sums, mean, 0, vector)
        store(sums, squares, 1, vector)


def normalise_loop(v: Array, h: Array, mean: Array, scale: Array, shift: Array) -> None:
    """Write ``(v - mean) scale + shift`` to `h`."""
    for position in range(len(v)):
        for vector in range(v.shape[1]):
            deviation = load(v, position, vector) - load(mean, 0, vector)
            store(h, deviation * load(scale, 0, vector) + load(shift, 0, vector), position, vector)


def weight_gradient_loop(d_h: Array, v: Array, mean: Array, sums: Array) -> None:
    """Write the sums of ``d_h (v - mean)`` and of `d_h`."""
    for vector in range(v.shape[1]):
        centre = load(mean, 0, vector)
        products = total = spread(v.dtype.type(0), centre)
        for position in range(len(v)):
            credit = load(d_h, position, vector)
            products = products + credit * (load(v, position, vector) - centre)
            total = total + credit
        store(sums, products, 0, vector)
        store(sums, total, 1, vector)


def input_gradient_loop(d_h: Array, v: Array, d_v: Array, mean: Array, scale: Array, by_deviation: Array, by_mean: Array) -> None:
    """Write ``d_h scale - ((v - mean) by_deviation + by_mean)`` to `d_v`, which may be `d_h`."""
    for position in range(len(v)):
        for vector in range(v.shape[1]):
            moved = (load(v, position, vector) - load(mean, 0, vector)) * load(by_deviation, 0, vector)
            moved = moved + load(by_mean, 0, vector)
            store(d_v, load(d_h, position, vector) * load(scale, 0, vector) - moved, position, vector)
