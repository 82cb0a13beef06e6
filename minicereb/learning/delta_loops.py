"""Numba loops for one step of the delta rule with sparse wiring; they work cell by cell and store no activity.

A cell's activity is computed, used and discarded, then computed again for the gradient, which is cheaper than writing it to
memory and reading it back. :class:`minicereb.learning.plasticity.DeltaRule` does the same in NumPy. The drive ``v`` is
the same in both, bit for bit. LTD means, outputs and gradients are summed in another order and are equal up to rounding.

A batch has at most as many images as a vector of :func:`minicereb.compiled.load_line` has entries. The rows of `x_t` are mossy
fibres; its columns are images, followed by columns of zeros.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.backend import Array
from minicereb.compiled import add_product, load_line, part_of_loop, positive, spread, store, total

TILE = 32  # cells whose activity is held at once, in the fastest cache


@part_of_loop
def _activity(weights: Array, inputs: Array, rest: Array, x_t: Array, cell: Any) -> Array:
    """Return a granule cell's activity ``max(Jᵀx + rest, 0)`` for the images of the batch."""
    u = np.uint64  # spares Numba a test for negative indices
    v = weights[cell, u(0)] * load_line(x_t, inputs[cell, u(0)])
    for synapse in range(1, weights.shape[1]):
        v = v + weights[cell, u(synapse)] * load_line(x_t, inputs[cell, u(synapse)])
    return positive(v + spread(rest[cell], v))


def read_out_loop(
    weights: Array,
    inputs: Array,
    rest: Array,
    mean: Array,
    readout: Array,
    x_t: Array,
    share: Array,
    decay: Any,
    tile: Array,
    out: Array,
) -> None:
    """Update the LTD means of a block of cells ``[C-LTD]``, and add the block's contribution to the outputs ``[C1]`` ``[C2]``.

    The contribution is ``Wᵀ(max(Jᵀx + rest, 0) - μ)``, with the updated mean μ.

    Parameters
    ----------
    weights, inputs : array, shape (cells, inputs_per_cell)
    rest, mean : array, shape (cells,)
        `mean` is changed in place.
    readout : array, shape (cells, classes)
    x_t : array, shape (inputs, length)
    share : array, shape (1, length)
        ``(1 - β) / images`` in the columns of images, 0 in the other columns.
    decay : float
        β.
    tile : array, shape (a few cells, length)
        Overwritten.
    out : array, shape (classes, length)
        Added to.
    """
    u = np.uint64
    cells, classes = readout.shape
    last = classes - 1
    shares = load_line(share, 0)
    for first in range(0, cells, len(tile)):
        count = min(len(tile), cells - first)
        for j in range(count):
            cell = u(first + j)
            h = _activity(weights, inputs, rest, x_t, cell)
            m = mean[cell] * decay + total(h * shares)
            mean[cell] = m
            store(tile, h - spread(m, h), j)
        for c in range(0, classes, 4):  # beyond the last class, the last is computed again, with the same result
            c0, c1, c2, c3 = u(c), u(min(c + 1, last)), u(min(c + 2, last)), u(min(c + 3, last))
            s0, s1, s2, s3 = load_line(out, c0), load_line(out, c1), load_line(out, c2), load_line(out, c3)
            for j in range(count):
                z, cell = load_line(tile, j), u(first + j)
                s0 = add_product(s0, readout[cell, c0], z)
                s1 = add_product(s1, readout[cell, c1], z)
                s2 = add_product(s2, readout[cell, c2], z)
                s3 = add_product(s3, readout[cell, c3], z)
            store(out, s0, c0)
            store(out, s1, c1)
            store(out, s2, c2)
            store(out, s3, c3)


def gradient_loop(
    weights: Array,
    inputs: Array,
    rest: Array,
    mean: Array,
    x_t: Array,
    credit: Array,
    images: int,
    tile: Array,
    gradient: Array,
) -> None:
    """Write the weight gradient ``z eᵀ`` of a block of cells ``[C4]``.

    Parameters
    ----------
    weights, inputs, rest, mean, x_t, tile
        The same arrays as for :func:`read_out_loop`, which must be called first, so that `mean` is already updated.
    credit : array, shape (images, length)
        Each row holds the error of one image, divided by the number of images. The columns after the last class are zeros.
    images : int
    gradient : array, shape (cells, length)
        Overwritten row by row, from first to last. So the rows may overlap in memory: a row may begin right after the last
        class of the row before.
    """
    u = np.uint64
    cells = len(weights)
    for first in range(0, cells, len(tile)):
        count = min(len(tile), cells - first)
        for j in range(count):
            cell = u(first + j)
            h = _activity(weights, inputs, rest, x_t, cell)
            store(tile, h - spread(mean[cell], h), j)
        for j in range(0, count, 2):
            one, other = u(j), u(min(j + 1, count - 1))  # the last of an odd number is computed twice
            e = load_line(credit, 0)
            a, b = tile[one, u(0)] * e, tile[other, u(0)] * e
            for i in range(1, images):
                e = load_line(credit, i)
                a = add_product(a, tile[one, u(i)], e)
                b = add_product(b, tile[other, u(i)], e)
            store(gradient, a, u(first) + one)
            store(gradient, b, u(first) + other)
