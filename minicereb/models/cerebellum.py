"""The simulated cerebellum: mossy fibres, granule cells, Purkinje cells ``[C1]`` ``[C2]``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from minicereb.backend import Array, execution, to_device, xp_of
from minicereb.calculus.activations import relu, relu_input_gradient
from minicereb.calculus.cerebellum import mossy
from minicereb.calculus.fused import SLABS, TILE, from_slabs, in_slabs, pass_back_loop, read_out_loop
from minicereb.compiled import Loop, compiled, machine_code, vector_length
from minicereb.inputs import check_credit, check_rows
from minicereb.models.first_layer import FirstLayer
from minicereb.models.wiring import Wiring
from minicereb.parallel import LANES, blocks, cell_blocks, run_lanes, scratch, sum_lanes
from minicereb.randomness import generator

LEAST_ACTIVITY = 1 << 19  # cells × images; with fewer, NumPy is as fast on one thread
LANE_CELLS = 2_048  # with fewer cells per lane, adding up the lane's gradients takes as long as its cells


class CerebellumCache(NamedTuple):
    """The values of a forward pass that the input gradient needs.

    Attributes
    ----------
    active : array of bool, shape (cells, images), or None
        Which granule cells are active; None after a compiled pass, which stores no activity.
    fibres : array, shape (slabs, inputs, length), or None
        After a compiled pass: the mossy fibres (see :mod:`minicereb.calculus.fused`).
    images : int
        After a compiled pass: the number of images.
    """

    active: Array
    fibres: Array = None
    images: int = 0


@dataclass(frozen=True, eq=False)
class CerebellarNetwork:
    """The cerebellum ``ŷ = Wᵀ(max(Jᵀx, 0) - μ)``, computed one block of granule cells at a time.

    Parameters
    ----------
    wiring : Wiring
        J, fixed.
    ltd_mean : array, shape (cells,)
        μ of ``[C-LTD]``: the mean activity that long-term depression subtracts; zeros without LTD.
    readout : array, shape (cells, classes)
        W, the weights of the synapses from parallel fibres to Purkinje cells, which are the only ones that learn.
    fires_above : float, optional
        The threshold θ of ``[M-FIBRES]``, above which a mossy fibre fires; by default, the fibres are graded.
    """

    wiring: Wiring
    ltd_mean: Array
    readout: Array
    fires_above: float | None = None

    @property
    def bytes_per_image(self) -> int:
        """Bytes of memory per additional image in a forward pass and its input gradient."""
        return self.wiring.cells + 64 * self.wiring.width

    def forward(self, x: Array) -> tuple[Array, CerebellumCache]:
        """Return the outputs of the Purkinje cells.

        z itself is not computed, because ``Wᵀ(h - μ) = Wᵀh - Wᵀμ``.

        Parameters
        ----------
        x : array of float, shape (images, inputs)

        Returns
        -------
        outputs : array, shape (images, classes)
        cache : CerebellumCache

        Raises
        ------
        InputError
            If `x` does not have the wiring's width, or is not an array of floats.
        """
        check_rows(x, self.wiring.width)
        xp, images = xp_of(x), len(x)
        loop = self._loop(read_out_loop, x)
        if loop is not None:
            fibres, wiring = in_slabs(mossy(x, self.fires_above)), self.wiring
            synapses = wiring.weights, wiring.inputs, wiring.at_rest, self.ltd_mean, self.readout
            sums = _over_slabs(loop, synapses, (fibres,), self.readout.shape[1])
            return from_slabs(sums, images), CerebellumCache(None, fibres, images)
        x_t = self.wiring.columns(mossy(x, self.fires_above))
        active = xp.empty((self.wiring.cells, images), dtype=bool)
        parts = cell_blocks(x, self.wiring.cells, images)

        def add_outputs(part: slice, total: Array, fresh: bool) -> None:
            granule = self.wiring.project(part, x_t, scratch("granule", (part.stop - part.start, images), x))
            relu(granule, out=granule)
            xp.greater(granule, 0, out=active[part])
            # Unlike @, dot lets other threads run even if the result is small.
            share = xp.dot(granule.T, self.readout[part])
            share -= xp.dot(self.ltd_mean[part], self.readout[part])
            total[...] = share if fresh else total + share

        outputs = sum_lanes(add_outputs, parts, (images, self.readout.shape[1]), self.readout)
        return outputs, CerebellumCache(active)

    @property
    def first_layer(self) -> FirstLayer:
        """The projection, and the readout of the cells that it drives."""
        return FirstLayer(self.wiring, self.readout, -(self.ltd_mean @ self.readout), fires_above=self.fires_above)

    @property
    def of_fibres(self) -> CerebellarNetwork:
        """The network without its threshold, whose input is the activity of the mossy fibres."""
        return replace(self, fires_above=None)

    def input_gradient(self, d_outputs: Array, cache: CerebellumCache) -> Array:
        """Return the gradient with respect to the pixels: :meth:`fibre_gradient` ``[M-DX]``, or 0 if the fibres have a
        threshold.
        """
        gradient = self.fibre_gradient(d_outputs, cache)
        return gradient if self.fires_above is None else xp_of(gradient).zeros_like(gradient)

    def fibre_gradient(self, d_outputs: Array, cache: CerebellumCache) -> Array:
        """Return the gradient with respect to the mossy fibres ``[M-DX]``.

        Passed straight through a threshold, this gradient can guide an attack.

        Parameters
        ----------
        d_outputs : array, shape (images, classes)
            Derivative of the objective with respect to the outputs.
        cache : CerebellumCache
            Cache of the forward pass.

        Returns
        -------
        array, shape (images, inputs)
        """
        xp, images = xp_of(d_outputs), len(d_outputs)
        if cache.active is None:
            check_credit(d_outputs, (cache.images, self.readout.shape[1]))
            credit = in_slabs(d_outputs.astype(self.readout.dtype, copy=False))
            synapses = self.wiring.weights, self.wiring.inputs, self.wiring.at_rest, self.readout
            sums = _over_slabs(machine_code(pass_back_loop), synapses, (cache.fibres, credit), self.wiring.width)
            return from_slabs(sums, images)
        check_credit(d_outputs, (cache.active.shape[1], self.readout.shape[1]))
        credit = xp.ascontiguousarray(d_outputs.T)
        parts = cell_blocks(d_outputs, self.wiring.cells, images)
        by_rows = self.wiring.matrix is not None  # a matrix product can write the transposed result

        def add_gradient(part: slice, total: Array, fresh: bool) -> None:
            d_granule = scratch("granule", (part.stop - part.start, images), credit)
            xp.matmul(self.readout[part], credit, out=d_granule)
            d_v = relu_input_gradient(d_granule, cache.active[part], out=d_granule)
            self.wiring.add_input_gradient(part, d_v, total.T if by_rows else total, fresh)

        shape = (self.wiring.width, images)
        total = sum_lanes(add_gradient, parts, shape[::-1] if by_rows else shape, self.readout)
        return total if by_rows else xp.ascontiguousarray(total.T)

    def _loop(self, loop: Loop, x: Array) -> Loop | None:
        """Return a compiled loop of :mod:`minicereb.calculus.fused`, or None if NumPy must be used instead."""
        wiring, length = self.wiring, vector_length(x.dtype)
        arrays = wiring.weights, wiring.at_rest, self.ltd_mean, self.readout
        if wiring.inputs is None or wiring.matrix is not None or any(array.dtype != x.dtype for array in arrays):
            return None
        few = len(x) < 3 * length // 4 or len(x) * wiring.cells < LEAST_ACTIVITY
        return None if few else compiled(loop, wiring.inputs, *arrays)


def _over_slabs(loop: Loop, synapses: tuple[Array, ...], slabs: tuple[Array, ...], rows: int) -> Array:
    """Return the sum that `loop` adds up over blocks of cells, shape (slabs, rows, length).

    The sum for an image depends neither on the other images nor on the number of threads. Threads divide the slabs among
    themselves if there are enough slabs, and otherwise the cells.
    """
    cells, first = len(synapses[0]), slabs[0]
    length = first.shape[2]
    lanes = LANES
    while lanes > 1 and cells < lanes * LANE_CELLS:
        lanes //= 2
    shares = list(blocks(cells, -(-cells // lanes)))
    groups = list(blocks(len(first), SLABS))

    def sum_of(group: slice) -> Array:
        some = [array[group] for array in slabs]

        def add(part: slice, total: Array, fresh: bool) -> None:
            if fresh:
                total[...] = 0
            tile = scratch("tile", (TILE, length), first)
            loop(*(array[part] for array in synapses), *some, tile, total.reshape(-1, rows, length))

        return sum_lanes(add, shares, (len(some[0]) * rows, length), first).reshape(-1, rows, length)

    threads = execution().threads
    found = run_lanes(sum_of, groups) if len(groups) % threads == 0 or len(groups) >= 4 * threads else map(sum_of, groups)
    return np.concatenate(list(found))


def initial_cerebellum(wiring: Wiring, classes: int, seed: int, fires_above: float | None = None) -> CerebellarNetwork:
    """Return an untrained cerebellum: μ = 0 and readout weights drawn from N(0, 1/m), as in the authors' code."""
    cells = wiring.cells
    readout = generator(seed, "readout").standard_normal((cells, classes), dtype=np.float32)
    readout *= np.float32(cells**-0.5)
    return CerebellarNetwork(wiring, to_device(np.zeros(cells, dtype=np.float32)), to_device(readout), fires_above)
