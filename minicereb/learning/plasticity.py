"""Learning at the Purkinje cells: each weight changes by pre-synaptic activity times the climbing fibre's error ``[C4]``.

A synapse needs only its own granule cell's activity and its own Purkinje cell's error. This locality also makes learning fast:
any thread can update a block of cells on its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from minicereb.backend import Array, xp_of
from minicereb.calculus.activations import relu
from minicereb.calculus.cerebellum import mossy
from minicereb.calculus.losses import DESCENDED, squared_error
from minicereb.compiled import Loop, compiled, line_length
from minicereb.errors import InputError
from minicereb.inputs import as_labels, check_count, check_rows
from minicereb.learning.delta_loops import TILE, gradient_loop, read_out_loop
from minicereb.learning.optimizers import Optimizer, forget_tiny
from minicereb.learning.rules import Rule, delta
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.parallel import aligned, cell_blocks, run_lanes, scratch

# Granule cells do not learn, so with a dense J their responses to several batches are computed in one product with this many
# columns.
COLUMNS_AHEAD = 128
TINY_ACTIVITY = 1e-15  # smaller LTD means are set to 0, because their squared product with the error would be subnormal


class Learned(NamedTuple):
    """Loss and outputs of one batch, before its update.

    Attributes
    ----------
    loss : array, shape (batch,)
        Loss of each image: ``½‖ŷ - y‖²``, or another loss that the rule descends.
    outputs : array, shape (batch, classes)
        ŷ.
    """

    loss: Array
    outputs: Array


class DeltaRule:
    """Learns the readout of a cerebellum, and its LTD mean, in place.

    Parameters
    ----------
    cerebellum : CerebellarNetwork
        The network, whose ``readout`` and ``ltd_mean`` are changed in place.
    optimizer : SGD, Momentum, RMSprop or Adam
        Turns the product of activity and error into the weight change.
    batch_size : int
        Number of images that a step averages over.
    ltd_decay : float or None
        The decay factor β of ``[C-LTD]``; None leaves ``ltd_mean`` unchanged.
    error : callable
        ``error(outputs, labels) -> (loss, error)``: the signal that the climbing fibres carry, by default
        :func:`minicereb.calculus.losses.squared_error`. The labels may be of any kind that this function accepts, one per row.
    rule : callable
        ``rule(z, error, readout) -> gradient``: how activity and error change the weights, by default
        :func:`minicereb.learning.rules.delta`, which documents the arguments.

    Notes
    -----
    The activity of a batch is stored as the matrix ``[h | μ | 0]``, one row per cell. With the mean as one more column, the
    centred product ``z eᵀ = h eᵀ - μ (Σe)ᵀ`` and the outputs ``Wᵀz = Wᵀh - Wᵀμ`` are one matrix product each, and z is never
    formed. Zero columns pad the matrix to a multiple of four columns, which speeds up the products.

    Results equal the results of the formulas in :mod:`minicereb.calculus.cerebellum`, up to the order of summation. The
    computation is fused because the activity of a block of cells fits a core's cache, while the activity of all cells does not.

    With Numba, sparse wiring and batches of a few images, no activity is stored (:mod:`minicereb.learning.delta_loops`).
    """

    def __init__(
        self,
        cerebellum: CerebellarNetwork,
        optimizer: Optimizer,
        batch_size: int,
        ltd_decay: float | None,
        error: Callable[[Array, Array], tuple[Array, Array]] = squared_error,
        rule: Rule = delta,
    ):
        self.error, self.rule = error, rule
        self.model, self.optimizer, self.batch_size, self.ltd_decay = cerebellum, optimizer, batch_size, ltd_decay
        self.columns = 2 if batch_size == 1 else (batch_size + 4) // 4 * 4
        cells = cerebellum.wiring.cells
        self.batches_ahead = max(1, COLUMNS_AHEAD // self.columns) if cerebellum.wiring.matrix is not None else 1
        self.state = optimizer.state(cerebellum.readout)
        self.steps = 0
        self.parts = cell_blocks(cerebellum.readout, cells, max(self.columns, cerebellum.readout.shape[1]))

    @cached_property
    def activity(self) -> Array:
        """Memory for the granule cells' responses to the next batches."""
        readout, cells = self.model.readout, self.model.wiring.cells
        return xp_of(readout).empty(cells * self.batches_ahead * self.columns, dtype=readout.dtype)

    def arrays(self) -> dict[str, Array]:
        """Return the arrays that learning changes in place, keyed by name."""
        return {"readout": self.model.readout, "ltd_mean": self.model.ltd_mean, **self.state}

    def loss_of(self, outputs: Array, labels: Array) -> Array:
        """Return the loss of each row, shape (rows,), for these outputs."""
        return self.error(outputs, labels)[0]

    def learn(self, x: Array, labels: Array) -> Iterator[Learned]:
        """Learn from one batch after another, and yield the result of each.

        Parameters
        ----------
        x : array of float, shape (images, inputs)
        labels : array of int, shape (images,)

        Raises
        ------
        InputError
            If `x` does not have the wiring's width, or a label is not one of the classes.
        """
        check_rows(x, self.model.wiring.width)
        if self.error in DESCENDED.values():
            labels = as_labels(labels, len(x), self.model.readout.shape[1], wait=False)
        else:
            check_count(labels, len(x), "labels")
        x, group = mossy(x, self.model.fires_above), self.batches_ahead * self.batch_size
        loops = self._loops(x)
        if loops is not None:
            for start in range(0, len(x), group):
                yield self._learn_compiled(x[start : start + group], labels[start : start + group], *loops)
            return
        for start in range(0, len(x), group):
            yield from self._learn_group(x[start : start + group], labels[start : start + group])

    def _learn_group(self, x: Array, labels: Array) -> Iterator[Learned]:
        """Learn from several batches, computing the granule cells' responses to them together."""
        xp, size = xp_of(x), self.batch_size
        count = -(-len(x) // size)
        padded = xp.zeros((x.shape[1], count, self.columns), dtype=x.dtype)
        for batch in range(count):
            rows = x[batch * size : (batch + 1) * size]
            padded[:, batch, : len(rows)] = rows.T
        x_t = padded.reshape(x.shape[1], count * self.columns)
        ahead = self.activity[: count * self.columns * self.model.wiring.cells].reshape(-1, count * self.columns)
        if count > 1:
            run_lanes(lambda part: self._respond(part, x_t, ahead), cell_blocks(ahead, len(ahead), x_t.shape[1]))
        for batch in range(count):
            activity = ahead[:, batch * self.columns : (batch + 1) * self.columns]
            yield self._learn_batch(activity, labels[batch * size : (batch + 1) * size], x_t if count == 1 else None)

    def _loops(self, x: Array) -> tuple[Loop, Loop] | None:
        """Return the compiled loops of :mod:`minicereb.learning.delta_loops`, or None if NumPy must be used instead."""
        wiring, readout = self.model.wiring, self.model.readout
        arrays = wiring.weights, wiring.at_rest, self.model.ltd_mean, readout
        if wiring.inputs is None or wiring.matrix is not None or any(array.dtype != x.dtype for array in arrays):
            return None
        length = line_length(x.dtype)
        if self.rule is not delta or not length // 4 <= self.batch_size <= length or readout.shape[1] > length:
            return None
        loops = [compiled(loop, wiring.inputs, *arrays) for loop in (read_out_loop, gradient_loop)]
        return None if loops[0] is None or loops[1] is None else (loops[0], loops[1])

    def _learn_compiled(self, x: Array, labels: Array, read_out_loop: Loop, gradient_loop: Loop) -> Learned:
        """Make one step with the compiled loops, which store no activity."""
        model, images, classes = self.model, len(x), self.model.readout.shape[1]
        assert model.wiring.inputs is not None
        synapses = model.wiring.weights, model.wiring.inputs, model.wiring.at_rest, model.ltd_mean
        dtype, length = model.readout.dtype, line_length(x.dtype)
        x_t, share, credit = (_zeros((rows, length), dtype) for rows in (x.shape[1], 1, images))
        x_t[:, :images] = x.T
        decay = 1 if self.ltd_decay is None else self.ltd_decay
        share[:, :images] = (1 - decay) / images

        def read_out(part: slice) -> Array:
            out, tile = _zeros((classes, length), dtype), scratch("tile", (TILE, length), x)
            arrays = (*(array[part] for array in synapses), model.readout[part])
            read_out_loop(*arrays, x_t, share, dtype.type(decay), tile, out)
            if self.ltd_decay is not None:
                forget_tiny(model.ltd_mean[part], self.steps + 1, TINY_ACTIVITY)
            return out

        sums, *others = run_lanes(read_out, self.parts)
        for other in others:
            sums += other
        outputs = np.ascontiguousarray(sums[:, :images].T)
        loss, error = self.error(outputs, labels)
        credit[:, :classes] = error / images
        self.steps += 1

        def change(part: slice) -> None:
            weights, tile = model.readout[part], scratch("tile", (TILE, length), x)
            numbers = scratch("gradient", (1, weights.size + length), weights)[0]
            rows = np.lib.stride_tricks.as_strided(numbers, (len(weights), length), (classes * dtype.itemsize, dtype.itemsize))
            gradient_loop(*(array[part] for array in synapses), x_t, credit, images, tile, rows)
            gradient = numbers[: weights.size].reshape(weights.shape)
            state = {name: array[part] for name, array in self.state.items()}
            self.optimizer.update(weights, gradient, state, self.steps, scratch("update", weights.shape, weights))

        run_lanes(change, self.parts)
        return Learned(loss, outputs)

    def learn_known(self, activity: Array, labels: Array) -> Learned:
        """Learn from one batch with given granule activity, which can be reused because granule cells do not learn.

        Parameters
        ----------
        activity : array, shape (cells, columns)
            One column of responses for each image of the batch, followed by columns of zeros. The LTD mean is written into the
            first column of zeros.
        labels : array, shape (rows,)
            Labels of the batch; at most ``columns - 1`` of them.
        """
        shape = (self.model.wiring.cells, self.columns)
        if activity.shape != shape:
            raise InputError("activity", f"shape {activity.shape}", f"shape {shape}: a row for each cell")
        if not 1 <= len(labels) < self.columns:
            raise InputError("labels", f"{len(labels)} of them", f"from 1 to {self.columns - 1}")
        return self._learn_batch(activity, labels, None)

    def _respond(self, part: slice, x_t: Array, ahead: Array) -> None:
        granule = self.model.wiring.project(part, x_t, ahead[part])
        relu(granule, out=granule)

    def _learn_batch(self, activity: Array, labels: Array, x_t: Array | None) -> Learned:
        """Make one step.

        If `x_t` is given, the responses of each block of granule cells are computed just before they are used, so that they are
        still in the cache.
        """
        xp, dtype = xp_of(labels), self.model.readout.dtype
        images, readout, mean = len(labels), self.model.readout, self.model.ltd_mean
        batch_mean = xp.zeros(self.columns, dtype=dtype)
        batch_mean[:images] = (1 - (self.ltd_decay or 0)) / images

        def read_out(part: slice) -> Array:
            if x_t is not None:
                self._respond(part, x_t, activity)
            granule = activity[part]
            if self.ltd_decay is not None:  # [C-LTD]; z uses the updated mean
                mean[part] *= self.ltd_decay
                mean[part] += xp.dot(granule, batch_mean)
                forget_tiny(mean[part], self.steps + 1, TINY_ACTIVITY)
            granule[:, images] = mean[part]
            return xp.dot(granule.T, readout[part])  # unlike @, dot lets other threads run even if the result is small

        sums, *others = run_lanes(read_out, self.parts)
        for other in others:
            sums += other
        outputs = sums[:images] - sums[images]
        loss, error = self.error(outputs, labels)

        credit = xp.zeros((self.columns, readout.shape[1]), dtype=dtype)
        credit[:images] = error / images
        if self.rule is delta:
            credit[images] = -credit[:images].sum(axis=0)
        self.steps += 1

        def change(part: slice) -> None:
            weights = readout[part]
            if self.rule is delta:
                gradient = xp.matmul(activity[part], credit, out=scratch("gradient", weights.shape, weights))  # [C4]
            else:
                z = activity[part] - mean[part, None]
                z[:, images:] = 0
                gradient = self.rule(z, credit, weights)
            state = {name: array[part] for name, array in self.state.items()}
            self.optimizer.update(weights, gradient, state, self.steps, scratch("update", weights.shape, weights))

        run_lanes(change, self.parts)
        return Learned(loss, outputs)


def _zeros(shape: tuple[int, int], dtype: Any) -> Array:
    """Return an array of zeros that begins at the start of a cache line."""
    array = aligned(shape, dtype)
    array[...] = 0
    return array
