"""Updates of a linear layer, and of the readout of its rectified cells, after a few inputs have changed.

Images are rows: x is (images, inputs), the layer's pre-activation v is (images, cells), and a projection is (inputs, cells).
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from minicereb.backend import Array, add_rows
from minicereb.calculus.activations import relu


def differences(x: Array, now: Array) -> tuple[Array, Array, Array]:
    """Return the nonzero entries of ``x - now`` as a CSR matrix: row starts, columns (both int32), and differences."""
    differs = x != now
    places = np.flatnonzero(differs)
    starts = np.zeros(len(x) + 1, dtype=np.int32)
    np.cumsum(np.count_nonzero(differs, axis=1), out=starts[1:])
    return starts, (places % x.shape[1]).astype(np.int32), x.ravel()[places] - now.ravel()[places]


def add_changes(projection: Array, x: Array, now: Array, v: Array) -> None:
    """Update the pre-activation of a dense layer after the images have changed from `now` to `x`.

    Parameters
    ----------
    projection : array, shape (inputs, cells)
    x, now : array, shape (images, inputs)
        The images; `x` and `now` differ in few places.
    v : array, shape (images, cells)
        Changed in place.
    """
    add_rows(*differences(x, now), projection, v)


def changed_outputs(projection: csr_array, readout: Array, x: Array, now: Array, v: Array, outputs: Array) -> Array:
    """Return the outputs for images `x`, given the outputs for images `now`, by computing only the cells whose inputs differ.

    Parameters
    ----------
    projection : csr_array, shape (inputs, cells)
    readout : array, shape (cells, classes)
    x, now : array, shape (images, inputs)
        The images; `x` and `now` differ in few places.
    v : array, shape (images, cells)
        Pre-activation for the images `now`; not modified.
    outputs : array, shape (images, classes)
        Outputs for the images `now`; not modified.
    """
    changes, rows = _reached(projection, x, now)
    before = v[rows, changes.indices]
    changes.data = relu(before + changes.data) - relu(before)
    return outputs + changes @ readout


def add_sparse_changes(projection: csr_array, x: Array, now: Array, v: Array, where: Array) -> None:
    """Update the pre-activation in place for the images, selected by `where` (array of bool), that change from `now` to `x`.

    The other arguments are as for :func:`changed_outputs`.
    """
    images = np.flatnonzero(where)
    changes, rows = _reached(projection, x[images], now[images])
    v[images[rows], changes.indices] += changes.data


def _reached(projection: csr_array, x: Array, now: Array) -> tuple[csr_array, Array]:
    """Return the nonzero changes of the pre-activation, and the row of each change."""
    starts, inputs, amounts = differences(x, now)
    changes = csr_array((amounts, inputs, starts), shape=x.shape) @ projection
    return changes, np.repeat(np.arange(len(x)), np.diff(changes.indptr))
