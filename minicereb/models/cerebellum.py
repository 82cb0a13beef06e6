"""The simulated cerebellum: mossy fibres, granule cells, Purkinje cells ``[C1]`` ``[C2]``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from minicereb.backend import Array, to_device, xp_of
from minicereb.calculus.activations import relu, relu_input_gradient
from minicereb.calculus.cerebellum import mossy
from minicereb.inputs import check_credit, check_rows
from minicereb.models.first_layer import FirstLayer
from minicereb.models.wiring import Wiring
from minicereb.parallel import cell_blocks, scratch, sum_lanes
from minicereb.randomness import generator


class CerebellumCache(NamedTuple):
    """What the input gradient needs from a forward pass: which granule cells are `active`, array of bool (cells, images)."""

    active: Array


@dataclass(frozen=True, eq=False)
class CerebellarNetwork:
    """``ŷ = Wᵀ(max(Jᵀx, 0) - μ)``, computed a block of granule cells at a time.

    Parameters
    ----------
    wiring : Wiring
        J, fixed.
    ltd_mean : array, shape (cells,)
        μ of ``[C-LTD]``: the mean activity that long-term depression subtracts; zeros without LTD.
    readout : array, shape (cells, classes)
        W, the synapses from parallel fibres to Purkinje cells: the only ones that learn.
    fires_above : float, optional
        θ of ``[M-FIBRES]``, for mossy fibres that fire or are silent; by default they are graded.
    """

    wiring: Wiring
    ltd_mean: Array
    readout: Array
    fires_above: float | None = None

    @property
    def bytes_per_image(self) -> int:
        """Memory per additional image in a forward pass and its input gradient."""
        return self.wiring.cells + 64 * self.wiring.width

    def forward(self, x: Array) -> tuple[Array, CerebellumCache]:
        """Purkinje outputs.

        z is never formed: ``Wᵀ(h - μ) = Wᵀh - Wᵀμ``.

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
            If `x` has another width than the wiring, or is not an array of floats.
        """
        check_rows(x, self.wiring.width)
        xp = xp_of(x)
        x_t = self.wiring.columns(mossy(x, self.fires_above))
        images = len(x)
        active = xp.empty((self.wiring.cells, images), dtype=bool)
        parts = cell_blocks(x, self.wiring.cells, images)

        def add_outputs(part: slice, total: Array, fresh: bool) -> None:
            granule = self.wiring.project(part, x_t, scratch("granule", (part.stop - part.start, images), x))
            relu(granule, out=granule)
            xp.greater(granule, 0, out=active[part])
            # Unlike @, dot releases the lock for other threads even when its result is small.
            share = xp.dot(granule.T, self.readout[part])
            share -= xp.dot(self.ltd_mean[part], self.readout[part])
            total[...] = share if fresh else total + share

        outputs = sum_lanes(add_outputs, parts, (images, self.readout.shape[1]), self.readout)
        return outputs, CerebellumCache(active)

    @property
    def first_layer(self) -> FirstLayer:
        """The projection, and the readout of what it drives."""
        return FirstLayer(self.wiring, self.readout, -(self.ltd_mean @ self.readout), fires_above=self.fires_above)

    @property
    def of_fibres(self) -> CerebellarNetwork:
        """The circuit without its threshold: its input is the activity of the mossy fibres."""
        return replace(self, fires_above=None)

    def input_gradient(self, d_outputs: Array, cache: CerebellumCache) -> Array:
        """Gradient of the pixels: :meth:`fibre_gradient` ``[M-DX]``, or 0 where fibres fire at a threshold, which is flat."""
        gradient = self.fibre_gradient(d_outputs, cache)
        return gradient if self.fires_above is None else xp_of(gradient).zeros_like(gradient)

    def fibre_gradient(self, d_outputs: Array, cache: CerebellumCache) -> Array:
        """Gradient of the mossy fibres ``[M-DX]``; passed straight through a threshold, it shows where an attack could go.

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
        check_credit(d_outputs, (cache.active.shape[1], self.readout.shape[1]))
        xp = xp_of(d_outputs)
        images = len(d_outputs)
        credit = xp.ascontiguousarray(d_outputs.T)
        parts = cell_blocks(d_outputs, self.wiring.cells, images)
        by_rows = self.wiring.matrix is not None  # a matrix product can write the transpose

        def add_gradient(part: slice, total: Array, fresh: bool) -> None:
            d_granule = scratch("granule", (part.stop - part.start, images), credit)
            xp.matmul(self.readout[part], credit, out=d_granule)
            d_v = relu_input_gradient(d_granule, cache.active[part], out=d_granule)
            self.wiring.add_input_gradient(part, d_v, total.T if by_rows else total, fresh)

        shape = (self.wiring.width, images)
        total = sum_lanes(add_gradient, parts, shape[::-1] if by_rows else shape, self.readout)
        return total if by_rows else xp.ascontiguousarray(total.T)


def initial_cerebellum(wiring: Wiring, classes: int, seed: int, fires_above: float | None = None) -> CerebellarNetwork:
    """Return an untrained cerebellum: μ = 0 and readout weights drawn from N(0, 1/m), as in the authors' code."""
    cells = wiring.cells
    readout = generator(seed, "readout").standard_normal((cells, classes), dtype=np.float32)
    readout *= np.float32(cells**-0.5)
    return CerebellarNetwork(wiring, to_device(np.zeros(cells, dtype=np.float32)), to_device(readout), fires_above)
