"""Numba loops for passes through a sparse cerebellum; they store no activity, and process one vector of images at a time.

A cell's activity is computed, read out and discarded while it is in the processor's registers or its fastest cache. The
backward pass computes it again, which is cheaper than storing it for every image.
:class:`minicereb.models.cerebellum.CerebellarNetwork` computes the same passes in NumPy. The drive ``v`` is equal in both, bit
for bit, so the same cells are active. Outputs and gradients are summed in a different order and are equal up to rounding.

Images are columns, in slabs of :func:`minicereb.compiled.vector_length` images: arrays have the shape (slabs, rows, length).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.backend import Array
from minicereb.compiled import add_product, load, part_of_loop, positive, spread, store, vector_length, where_positive
from minicereb.parallel import aligned

TILE = 32  # cells whose activity is held at once, for one slab: 4 KiB, which fits the fastest cache
SLABS = 2  # slabs that share a pass over wiring and readout: with 784 inputs, all that they read and write fits a fast cache


def in_slabs(rows: Array) -> Array:
    """Return images, shape (images, numbers), as slabs, shape (slabs, numbers, length); the last slab is padded with zeros."""
    length = vector_length(rows.dtype)
    slabs = aligned((-(-len(rows) // length), rows.shape[1], length), rows.dtype)
    for slab, part in zip(slabs, range(0, len(rows), length), strict=True):
        some = rows[part : part + length]
        slab[:, : len(some)] = some.T
        slab[:, len(some) :] = 0
    return slabs


def from_slabs(slabs: Array, images: int) -> Array:
    """Return slabs, shape (slabs, numbers, length), as images, shape (images, numbers)."""
    rows, length = np.empty((images, slabs.shape[1]), dtype=slabs.dtype), slabs.shape[2]
    for slab, part in zip(slabs, range(0, images, length), strict=True):
        some = rows[part : part + length]
        some[...] = slab[:, : len(some)].T
    return rows


@part_of_loop
def _drive(weights: Array, inputs: Array, rest: Array, x: Array, slab: Any, cell: Any) -> Array:
    """Return the drive of a cell, ``v = Jᵀx + rest``, for the images of a slab."""
    u = np.uint64  # spares Numba a test for negative indices
    v = weights[cell, u(0)] * load(x, slab, inputs[cell, u(0)])
    for synapse in range(1, weights.shape[1]):
        v = v + weights[cell, u(synapse)] * load(x, slab, inputs[cell, u(synapse)])
    return v + spread(rest[cell], v)


def read_out_loop(
    weights: Array, inputs: Array, rest: Array, mean: Array, readout: Array, x: Array, tile: Array, out: Array
) -> None:
    """Add the contribution of a block of cells to the outputs, ``Wᵀ(max(Jᵀx + rest, 0) - μ)`` ``[C1]`` ``[C2]``.

    Parameters
    ----------
    weights, inputs : array, shape (cells, inputs_per_cell)
    rest, mean : array, shape (cells,)
    readout : array, shape (cells, classes)
    x : array, shape (slabs, inputs, length)
    tile : array, shape (a few cells, length)
        Overwritten.
    out : array, shape (slabs, classes, length)
        Added to.
    """
    u = np.uint64
    cells, classes = readout.shape
    for first in range(0, cells, len(tile)):
        count = min(len(tile), cells - first)
        for slab in range(len(x)):
            for j in range(count):
                cell = u(first + j)
                v = _drive(weights, inputs, rest, x, slab, cell)
                store(tile, positive(v) - spread(mean[cell], v), j)
            for c in range(0, classes, 2):
                one, other = u(c), u(min(c + 1, classes - 1))  # the last of an odd number is computed twice
                z = load(tile, 0)
                a = b = z - z
                for j in range(count):
                    z, cell = load(tile, j), u(first + j)
                    a = add_product(a, readout[cell, one], z)
                    b = add_product(b, readout[cell, other], z)
                a, b = load(out, slab, one) + a, load(out, slab, other) + b
                store(out, a, slab, one)
                store(out, b, slab, other)


def pass_back_loop(
    weights: Array, inputs: Array, rest: Array, readout: Array, x: Array, credit: Array, tile: Array, d_x: Array
) -> None:
    """Add the contribution of a block of cells to the gradient with respect to the mossy fibres ``[M-DX]``.

    The contribution is ``J((W d) ⊙ [v > 0])``.

    Parameters
    ----------
    weights, inputs, rest, readout, x, tile
        As for :func:`read_out_loop`.
    credit : array, shape (slabs, classes, length)
        d: derivative of the objective with respect to the outputs.
    d_x : array, shape (slabs, inputs, length)
        Added to.
    """
    u = np.uint64
    cells, classes = readout.shape
    for first in range(0, cells, len(tile)):
        count = min(len(tile), cells - first)
        for slab in range(len(x)):
            for j in range(0, count, 2):
                k = min(j + 1, count - 1)  # the last of an odd number is computed twice
                one, other = u(first + j), u(first + k)
                d = load(credit, slab, 0)
                a = b = d - d
                for c in range(classes):
                    d = load(credit, slab, c)
                    a = add_product(a, readout[one, u(c)], d)
                    b = add_product(b, readout[other, u(c)], d)
                store(tile, a, j)
                store(tile, b, k)
            for j in range(count):
                cell = u(first + j)
                d_v = where_positive(_drive(weights, inputs, rest, x, slab, cell), load(tile, j))
                for synapse in range(weights.shape[1]):
                    row = inputs[cell, u(synapse)]
                    store(d_x, add_product(load(d_x, slab, row), weights[cell, u(synapse)], d_v), slab, row)
