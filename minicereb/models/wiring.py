"""The wiring: which mossy fibres reach which granule cell, and how strongly. The wiring is drawn once and never learned."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from minicereb.backend import Array, check_indices, check_synapses, to_device, to_numpy, xp_of
from minicereb.calculus.projection import add_project_input_gradient, bound_activity, bounds_loop, project
from minicereb.compiled import compiled
from minicereb.errors import InputError, require
from minicereb.files import sha256_arrays
from minicereb.parallel import blocks
from minicereb.randomness import generator

KINDS = ("full", "random", "local")
MATRIX_SHARE = 1 / 8  # if cells receive at least this share of all inputs, a dense matrix product is faster than a sparse one


@dataclass(frozen=True, eq=False)
class Wiring:
    """The projection J of ``[C1]``; every granule cell has the same number of inputs.

    Parameters
    ----------
    weights : array of float, shape (cells, inputs_per_cell)
    inputs : array of int32, shape (cells, inputs_per_cell), or None
        Indices of the mossy fibres, ascending in each row; None if every cell receives all of them in order (full wiring).
    width : int
        Number of mossy fibres, d.
    rest : array of float, shape (cells,), optional
        Drive of each cell when all its inputs are silent; 0 by default.

    Raises
    ------
    InputError
        If shapes do not fit, or the index of a mossy fibre is out of range or not in order.

    Notes
    -----
    Sparse products do not check the indices in `inputs`. So the indices are checked here, once, and on the CPU the wiring keeps
    a read-only copy of them.
    """

    weights: Array
    inputs: Array | None
    width: int
    rest: Array | None = None

    def __post_init__(self) -> None:
        weights, inputs, width = self.weights, self.inputs, self.width
        require(1 <= width < 1 << 31, "width", width, f"a number of mossy fibres from 1 to {(1 << 31) - 1:,}")
        require(weights.ndim == 2 and weights.size > 0, "weights", f"shape {weights.shape}", "shape (cells, inputs per cell)")
        rest = "none" if self.rest is None else f"shape {self.rest.shape}"
        require(self.rest is None or self.rest.shape == weights.shape[:1], "rest", rest, f"shape {weights.shape[:1]}")
        if inputs is None:
            require(weights.shape[1] == width, "weights", f"shape {weights.shape}", f"{width} columns, a weight for each input")
            return
        require(inputs.shape == weights.shape, "inputs", f"shape {inputs.shape}", f"shape {weights.shape}, that of the weights")
        if isinstance(inputs, np.ndarray):
            inputs = np.array(inputs, order="C")  # a copy of our own, which no view elsewhere can change
            inputs.flags.writeable = False
            object.__setattr__(self, "inputs", inputs)
        check_indices(inputs, width)
        ascending = bool((inputs[:, 1:] >= inputs[:, :-1]).all())
        require(ascending, "inputs", "numbers that are not in order", "the inputs of each cell in ascending order")

    @property
    def cells(self) -> int:
        """Number of granule cells, m."""
        return len(self.weights)

    @cached_property
    def matrix(self) -> Array | None:
        """J as a dense matrix (cells × inputs), or None if cells have so few inputs that a matrix would be slower."""
        if self.inputs is None:
            return self.weights
        if self.weights.shape[1] < MATRIX_SHARE * self.width:
            return None
        xp = xp_of(self.weights)
        matrix, every = xp.zeros((self.cells, self.width), dtype=self.weights.dtype), xp.arange(self.cells, dtype=xp.int64)
        for inputs, weights in zip(self.inputs.T, self.weights.T, strict=True):  # one after another:
            matrix[every, inputs] += weights  # two synapses of a cell may come from the same mossy fibre
        return matrix

    @cached_property
    def sizes(self) -> Wiring:
        """The same wiring with the weights' absolute values, |J|, and no drive at rest."""
        return Wiring(abs(self.weights), self.inputs, self.width)

    @cached_property
    def by_fibre(self) -> list[tuple[Array, Array]]:
        """For each mossy fibre, the cells that it reaches (int64, in order) and the weights (float64)."""
        projection, found = self.by_input(), []
        for part in map(slice, projection.indptr[:-1], projection.indptr[1:]):
            # Two synapses from one fibre onto the same cell are merged.
            reached, places = np.unique(projection.indices[part], return_inverse=True)
            total = np.bincount(places, projection.data[part], len(reached)).astype(np.float64)
            found.append((to_device(reached.astype(np.int64)), to_device(total)))
        return found

    def transposed(self) -> Array:
        """Return the transpose of :attr:`matrix` as a contiguous array, (inputs, cells); the matrix must not be None."""
        assert self.matrix is not None
        return xp_of(self.matrix).ascontiguousarray(self.matrix.T)

    def by_input(self) -> csr_array:
        """Return the transpose of J as a host CSR matrix, (inputs, cells), which lists the synapses of each mossy fibre."""
        weights, fibres, _ = self.csr()
        order = np.argsort(fibres, kind="stable")
        starts = np.searchsorted(fibres[order], np.arange(self.width + 1))
        cells = order // self.weights.shape[1]
        return csr_array((weights[order], cells.astype(np.int32), starts.astype(np.int32)), shape=(self.width, self.cells))

    @property
    def nbytes(self) -> int:
        """Number of bytes of the weights, the indices of the inputs, the matrix and the drive at rest."""
        kept = {id(array): array.nbytes for array in (self.weights, self.inputs, self.matrix, self.rest) if array is not None}
        return sum(kept.values())

    def project(self, part: slice, x_t: Array, out: Array) -> Array:
        """Return the drive of the cells in `part`, including the drive at rest; see
        :func:`minicereb.calculus.projection.project`.
        """
        drive = project(*self._synapses(part), x_t, out, self.width)
        if self.rest is not None:
            drive += self.rest[part, None]
        return drive

    def project_bounds(self, part: slice, centre: Array, radius: Array, total: Array, spread: Array) -> None:
        """Bound the activity of the cells in `part` for mossy fibres in a box ``[M-BOX]``.

        Parameters
        ----------
        part : slice
        centre, radius : array, shape (inputs, images)
            Of the box.
        total, spread : array, shape (cells, images)
            Arrays that are overwritten by ``u + l`` and ``u - l``.
        """
        rest = self.at_rest
        if self.matrix is None and self.inputs is not None:
            arrays = self.weights[part], self.inputs[part], rest[part], centre, radius, total, spread
            one_pass = compiled(bounds_loop, *arrays)
            if one_pass is not None:
                check_synapses(*arrays[:2], centre, total, self.width)
                check_synapses(*arrays[:2], radius, spread, self.width)
                one_pass(*arrays)
                return
        self.project(part, centre, total)
        self.sizes.project(part, radius, spread)
        bound_activity(total, spread)

    @cached_property
    def at_rest(self) -> Array:
        """Drive of each cell when all its inputs are silent, shape (cells,)."""
        return xp_of(self.weights).zeros(self.cells, dtype=self.weights.dtype) if self.rest is None else self.rest

    def columns(self, x: Array) -> Array:
        """Return images as the columns that :meth:`project` takes; the columns are contiguous only for sparse products."""
        return xp_of(x).ascontiguousarray(x.T) if self.matrix is None else x.T

    def add_input_gradient(self, part: slice, d_v: Array, d_x_t: Array, fresh: bool = False) -> Array:
        """Add the cells' contribution to `d_x_t`, the gradient with respect to the mossy fibres.

        If `fresh` is true, overwrite `d_x_t` instead.
        """
        return add_project_input_gradient(*self._synapses(part), d_v, d_x_t, fresh, self.width)

    def _synapses(self, part: slice) -> tuple[Array, Array | None]:
        """Return the weights and inputs of some cells, in the form that makes products faster."""
        if self.matrix is not None:
            return self.matrix[part], None
        return self.weights[part], None if self.inputs is None else self.inputs[part]

    def csr(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return data, indices and row starts of J as a host CSR matrix (cells × inputs)."""
        cells, per_cell = self.weights.shape
        every = np.arange(self.width, dtype=np.int32)
        indices = np.tile(every, cells) if self.inputs is None else to_numpy(self.inputs).ravel()
        return to_numpy(self.weights).ravel(), indices, np.arange(0, cells * per_cell + 1, per_cell, dtype=np.int64)

    def sha256(self) -> str:
        """Return a hash of the wiring, with which the wiring of a stored model is verified."""
        inputs = np.empty(0, dtype=np.int32) if self.inputs is None else to_numpy(self.inputs)
        return sha256_arrays(to_numpy(self.weights), inputs, *(() if self.rest is None else (to_numpy(self.rest),)))


def draw_wiring(
    kind: str,
    cells: int,
    image_shape: tuple[int, ...],
    inputs_per_cell: int | None,
    seed: int,
    *,
    replacement: bool = False,
    patch: bool = False,
    field: int | None = None,
    codons: float | None = None,
) -> Wiring:
    """Draw a wiring ``[C-J]``: inputs according to the kind, with independent weights from N(0, 1/k), or codons ``[M-CODON]``.

    Parameters
    ----------
    kind : {"full", "random", "local"}
        ``full``: every cell receives all d inputs. ``random``: k distinct inputs, every set of k equally likely.
        ``local``: k neighbouring inputs, every position equally likely.
    cells : int
        Number m of granule cells, at least 1.
    image_shape : tuple of int
        (height, width), (height, width, channels) or (inputs,); d is their product.
    inputs_per_cell : int or None
        Number k of inputs per cell, from 1 to d; ignored by ``full``.
    seed : int
        Equal settings and seeds give equal wirings.
    replacement : bool
        ``random`` only: draw the k inputs with replacement, as the authors' code does. A mossy fibre that is drawn twice makes
        two synapses.
    patch : bool
        ``local`` only: use a rectangle of k pixels in one channel, as close to a square as possible, instead of k consecutive
        inputs.
    field : int, optional
        ``local`` only: draw k distinct pixels from a square with this side, in one channel.
    codons : float, optional
        Each input excites its cell with this probability (its weight is then 1), and otherwise inhibits it (-1). The drive at
        rest is chosen so that the cell fires only if all exciting inputs fire and no inhibiting input does.

    Returns
    -------
    Wiring
        float32 on the configured device.

    Raises
    ------
    InputError
        If a setting is out of range, or if the images do not fit it.
    """
    width = int(np.prod(image_shape))
    require(kind in KINDS, "wiring", kind, ", ".join(KINDS))
    require(cells >= 1, "cells", cells, "a whole number of at least 1")
    if kind == "full":
        inputs, per_cell = None, width
    else:
        expected = f"a whole number from 1 to the {width} inputs"
        if inputs_per_cell is None or not 1 <= inputs_per_cell <= width:
            raise InputError("inputs-per-cell", inputs_per_cell, expected)
        per_cell = inputs_per_cell
        rng = generator(seed, "wiring inputs")
        if kind == "local":
            if field is not None:
                inputs = _fields(rng, cells, image_shape, per_cell, field)
            else:
                inputs = _patches(rng, cells, image_shape, per_cell) if patch else _windows(rng, cells, width, per_cell)
        elif replacement:
            inputs = rng.integers(0, width, (cells, per_cell), dtype=np.int32)
        else:
            inputs = _distinct(rng, cells, width, per_cell)
        inputs.sort(axis=1)
    rng, rest = generator(seed, "wiring weights"), None
    if codons is None:
        weights = rng.standard_normal((cells, per_cell), dtype=np.float32)
        weights *= np.float32(per_cell**-0.5)
    else:
        weights = np.where(rng.random((cells, per_cell)) < codons, np.float32(1), np.float32(-1))
        rest = to_device(1 - np.maximum(weights, 0).sum(axis=1))
    return Wiring(to_device(weights), None if inputs is None else to_device(inputs), width, rest)


def _distinct(rng: np.random.Generator, cells: int, width: int, count: int) -> np.ndarray:
    """Draw, for each cell, a set of distinct inputs, all sets being equally likely (Floyd's algorithm, vectorised over cells)."""
    chosen = np.empty((cells, count), dtype=np.int32)
    for column, last in enumerate(range(width - count, width)):
        candidate = rng.integers(0, last, cells, dtype=np.int32, endpoint=True)
        taken = np.zeros(cells, dtype=bool)
        for part in blocks(column, 16):  # to limit memory for large k
            taken |= (chosen[:, part] == candidate[:, None]).any(axis=1)
        chosen[:, column] = np.where(taken, last, candidate)
    return chosen


def _windows(rng: np.random.Generator, cells: int, width: int, length: int) -> np.ndarray:
    starts = rng.integers(0, width - length, cells, dtype=np.int32, endpoint=True)
    return starts[:, None] + np.arange(length, dtype=np.int32)


def _fields(rng: np.random.Generator, cells: int, image_shape: tuple[int, ...], count: int, side: int) -> np.ndarray:
    rows, columns = _plane(image_shape)
    require(side <= min(rows, columns), "field", side, f"a side of at most {min(rows, columns)} pixels")
    require(count <= side * side, "inputs-per-cell", count, f"at most the {side * side} pixels of the field")
    places = _distinct(rng, cells, side * side, count)
    return _placed(rng, image_shape, side, side, places // side * columns + places % side)


def _plane(image_shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(image_shape) < 2:
        raise InputError("local patch", image_shape, "a data set of images; its rows have no second dimension")
    return image_shape[:2]


def _patches(rng: np.random.Generator, cells: int, image_shape: tuple[int, ...], count: int) -> np.ndarray:
    rows, columns = _plane(image_shape)
    sides = [(side, count // side) for side in range(1, count + 1) if count % side == 0]
    sides = [(height, length) for height, length in sides if height <= rows and length <= columns]
    if not sides:
        raise InputError("inputs-per-cell", count, f"a number that factors into a patch within {rows} × {columns} pixels")
    height, length = min(sides, key=lambda pair: abs(pair[0] - pair[1]))
    offsets = (np.arange(height, dtype=np.int32)[:, None] * columns + np.arange(length, dtype=np.int32)).ravel()
    return _placed(rng, image_shape, height, length, np.broadcast_to(offsets, (cells, count)))


def _placed(rng: np.random.Generator, image_shape: tuple[int, ...], height: int, length: int, offsets: np.ndarray) -> np.ndarray:
    """Return each cell's inputs in a randomly placed rectangle; `offsets` are indices of pixels relative to its upper left
    corner.
    """
    (rows, columns), cells = image_shape[:2], len(offsets)
    channels = image_shape[2] if len(image_shape) == 3 else 1
    top = rng.integers(0, rows - height, cells, dtype=np.int32, endpoint=True)
    left = rng.integers(0, columns - length, cells, dtype=np.int32, endpoint=True)
    channel = rng.integers(0, channels, cells, dtype=np.int32)
    inputs: np.ndarray = ((top * columns + left)[:, None] + offsets) * channels + channel[:, None]
    return inputs
