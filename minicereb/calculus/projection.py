"""The granule layer's fixed projection ``v = Jᵀx``, sparse or full, and its transpose, for any block of cells.

Cells are rows and images are columns, so that a block of cells is a contiguous view. The weights never learn: there is no
weight gradient here.
"""

from __future__ import annotations

import numpy as np

from minicereb.backend import Array, add_sparse_transpose_product, check_synapses, sparse_product, xp_of
from minicereb.calculus.activations import relu
from minicereb.compiled import compiled
from minicereb.errors import InputError
from minicereb.parallel import scratch


def project(weights: Array, inputs: Array | None, x_t: Array, out: Array, width: int | None = None) -> Array:
    """Pre-activation of a block of granule cells, ``v = Jᵀx`` of ``[C1]``.

    Parameters
    ----------
    weights : array, shape (cells, inputs_per_cell)
        J, one row per cell: the transpose of the paper's d × m matrix.
    inputs : array of int32, shape (cells, inputs_per_cell), or None
        Index of each weight's mossy fibre; None if every cell receives all fibres in order.
    x_t : array, shape (inputs, images)
        Mossy fibre activity, one column per image.
    out : array, shape (cells, images)
        Overwritten and returned.
    width : int, optional
        Known upper bound of `inputs` (see :func:`minicereb.backend.sparse_product`).
    """
    if inputs is None:
        _check_full(weights, x_t)
        return xp_of(out).matmul(weights, x_t, out=out)
    one_pass = compiled(_project, weights, inputs, x_t, out)
    if one_pass is None:
        return sparse_product(weights, inputs, x_t, out, width)
    check_synapses(weights, inputs, x_t, out, width)
    one_pass(weights, inputs, x_t, out)
    return out


def _check_full(weights: Array, x_t: Array) -> None:
    if x_t.shape[0] != weights.shape[1]:
        raise InputError("columns", f"{x_t.shape[0]} inputs", f"{weights.shape[1]}, the number that the wiring has")


def _project(weights: Array, inputs: Array, x_t: Array, out: Array) -> None:
    """Compute :func:`project` for sparse wiring, four images at a time, adding in the same order as the plain product.

    With unsigned indices, Numba need not test for negative ones. The indices are not checked here, because
    :func:`~minicereb.backend.check_synapses` has already done so.
    """
    unsigned, zero = np.uint64, out.dtype.type(0)
    fours = x_t.shape[1] // 4 * 4
    for cell in range(len(weights)):
        for start in range(unsigned(0), unsigned(fours), unsigned(4)):
            i = unsigned(start)  # without Numba it is an int, whose sum with such a number is a float in NumPy 1
            a = b = c = d = zero
            for synapse in range(weights.shape[1]):
                weight, row = weights[cell, synapse], unsigned(inputs[cell, synapse])
                a += weight * x_t[row, i]
                b += weight * x_t[row, i + unsigned(1)]
                c += weight * x_t[row, i + unsigned(2)]
                d += weight * x_t[row, i + unsigned(3)]
            out[cell, i], out[cell, i + unsigned(1)], out[cell, i + unsigned(2)], out[cell, i + unsigned(3)] = a, b, c, d
        for i in range(fours, x_t.shape[1]):
            a = zero
            for synapse in range(weights.shape[1]):
                a += weights[cell, synapse] * x_t[unsigned(inputs[cell, synapse]), i]
            out[cell, i] = a


def bound_activity(drive: Array, reach: Array) -> None:
    """Replace the drives v and r of ``[M-BOX]`` by the sum ``u + l`` and the difference ``u - l`` of the bounds, in place."""
    xp = xp_of(drive)
    high = relu(xp.add(drive, reach, out=scratch("high", drive.shape, drive)))
    low = relu(xp.subtract(drive, reach, out=reach), out=reach)
    xp.add(high, low, out=drive)
    xp.subtract(high, low, out=reach)


def bounds_loop(weights: Array, inputs: Array, rest: Array, centre: Array, radius: Array, drive: Array, reach: Array) -> None:
    """Write the sum ``u + l`` and the difference ``u - l`` of the cells' bounds ``[M-BOX]``, for sparse wiring.

    The centre is projected by the weights, and the radius by their absolute values; the drive at rest is added to the centre.
    """
    zero = drive.dtype.type(0)
    for cell in range(len(weights)):
        v, r = drive[cell], reach[cell]
        v[:] = zero
        r[:] = zero
        for synapse in range(weights.shape[1]):
            weight, row = weights[cell, synapse], inputs[cell, synapse]
            size, c, s = abs(weight), centre[row], radius[row]
            for i in range(len(v)):
                v[i] += weight * c[i]
                r[i] += size * s[i]
        for i in range(len(v)):
            middle = v[i] + rest[cell]
            high, low = middle + r[i], middle - r[i]
            high = high if high > zero else zero
            low = low if low > zero else zero
            v[i], r[i] = high + low, high - low


def add_project_input_gradient(
    weights: Array, inputs: Array | None, d_v: Array, d_x_t: Array, fresh: bool = False, width: int | None = None
) -> Array:
    """Add the block's contribution ``J d_v`` to the gradient with respect to the mossy fibres, and return this gradient.

    Parameters
    ----------
    weights, inputs, width
        As for :func:`project`.
    d_v : array, shape (cells, images)
        Derivative of the objective with respect to the block's pre-activation.
    d_x_t : array, shape (inputs, images)
        Accumulated in place. With full wiring this may be the transpose of a contiguous array.
    fresh : bool
        Whether `d_x_t` is uninitialised and must be overwritten.
    """
    if inputs is None:
        _check_full(weights, d_x_t)
        share = d_x_t if fresh else scratch("share", d_x_t.shape[::-1], d_x_t).T
        xp_of(d_v).matmul(d_v.T, weights, out=share.T)
        if not fresh:
            d_x_t += share
        return d_x_t
    if fresh:
        d_x_t[...] = 0
    return add_sparse_transpose_product(weights, inputs, d_v, d_x_t, width)
