"""Square in L∞ on the margin as a compiled loop that takes one image through many queries, for models with a linear first layer.

The loop makes the same proposals as :func:`minicereb.attacks.square.square`, from the same draws, and computes their effects
as :mod:`minicereb.attacks.nearby` does. The loop sums in another order, so an objective may differ by rounding; where two
objectives are equal up to rounding, the search may choose the other one. The loop does not yield every improved point.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.attacks.ball import LinfBall
from minicereb.attacks.gradients import Landscape, Point
from minicereb.attacks.nearby import REFRESHED, fitting_layer
from minicereb.attacks.search import Search
from minicereb.backend import Array
from minicereb.calculus.losses import margin, targeted_margin
from minicereb.compiled import Loop, compiled, part_of_loop
from minicereb.models.first_layer import FirstLayer
from minicereb.parallel import run_lanes, shares
from minicereb.randomness import Draws

TOGETHER = 12  # outputs that are summed in one pass: enough for ten classes


def square_loop(
    starts: Array,
    cells: Array,
    weights: Array,
    matrix: Array,
    readout: Array,
    tall: Array,
    wide: Array,
    shape: Array,
    fires_above: Array,
    classes: int,
    stop: bool,
    uniform: Array,
    low: Array,
    high: Array,
    labels: Array,
    targets: Array,
    begin: Array,
    x: Array,
    v: Array,
    outputs: Array,
    value: Array,
    wrong: Array,
) -> None:
    """Take each image through its queries from number `begin` on, changing x, v, outputs, value, wrong and begin in place.

    Parameters
    ----------
    starts, cells, weights : array
        The projection, as a CSR matrix with a row per input; empty if the projection is dense.
    matrix : array, shape (inputs, cells)
        The projection if it is dense; otherwise an array without rows.
    readout : array, shape (cells, columns)
        The readout W, padded with columns of zeros to a multiple of twelve.
    tall, wide : array of int, shape (queries,)
        Height and width of the window at each query.
    shape : array of int
        Height, width and channels of the images.
    fires_above : array of float
        The threshold θ; empty if the inputs are graded.
    classes : int
    stop : bool
        Whether the queries of an image end at its first misclassified point.
    uniform : array, shape (images, queries, 2 + channels)
    low, high, x : array, shape (images, inputs)
        Lower and upper ends of the ball, and the current images.
    labels, targets : array of int, shape (images,)
        A target of -1 stands for the likeliest wrong class.
    begin, value, wrong : array, shape (images,)
        Next query, objective, and whether the image is misclassified.
    v, outputs : array, shape (images, cells) and (images, columns)
    """
    share, more = np.zeros(v.shape[1], dtype=v.dtype), np.empty(v.shape[1] + 1, dtype=v.dtype)
    reached = np.empty(v.shape[1] + 1, dtype=np.int32)
    places, news = np.empty(x.shape[1], dtype=np.int64), np.empty(x.shape[1], dtype=x.dtype)
    amounts, found = np.empty(x.shape[1], dtype=v.dtype), np.empty(readout.shape[1], dtype=v.dtype)
    dense = len(matrix) > 0
    for image in range(len(x)):
        row, drive = x[image], v[image]
        for query in range(begin[image], len(tall)):
            sides = tall[query], wide[query]
            changes = _propose(uniform[image, query], sides, shape, low[image], high[image], row, places, news)
            touched = _signal_changes(changes, places, news, row, fires_above, starts, amounts)
            if dense:
                _spread_by_matrix(changes, places, amounts, matrix, share)
            else:
                _spread_by_synapse(changes, places, amounts, starts, cells, weights, share)
            sweep = dense or 2 * touched > len(share)
            if sweep:
                count = _activity_changes(drive, share, reached, more)
            else:
                count = _activity_changes_nearby(changes, places, starts, cells, drive, share, reached, more)
            _changed_outputs(count, reached, more, readout, outputs[image], found)
            missed, objective = _judged(found, classes, labels[image], targets[image])
            taken = objective > value[image] or (stop and missed)
            if taken:
                for change in range(changes):
                    row[places[change]] = news[change]
                outputs[image] = found
                value[image], wrong[image] = objective, missed
            if taken and sweep:
                for cell in range(len(share)):
                    drive[cell] += share[cell]
            elif taken:
                _spread_by_synapse(changes, places, amounts, starts, cells, weights, share)
                _move_nearby(changes, places, starts, cells, drive, share)
            if sweep:
                share[:] = 0
            begin[image] = query + 1
            if stop and missed:
                break


@part_of_loop
def _propose(drawn: Array, sides: Any, shape: Array, low: Array, high: Array, x: Array, places: Array, news: Array) -> int:
    """Write the inputs that a query changes and their new values; return the number of these inputs."""
    height, width, channels = shape[0], shape[1], shape[2]
    tall, wide = sides
    kind = drawn.dtype.type
    top, left = np.int64(drawn[0] * kind(height - tall + 1)), np.int64(drawn[1] * kind(width - wide + 1))
    same = True
    for row in range(top, top + tall):
        for i in range((row * width + left) * channels, (row * width + left + wide) * channels):
            same = same and x[i] == (high[i] if drawn[2 + i % channels] < 0.5 else low[i])
    changes = 0
    for row in range(top, top + tall):
        for i in range((row * width + left) * channels, (row * width + left + wide) * channels):
            new = high[i] if (drawn[2 + i % channels] < 0.5) != same else low[i]
            if new != x[i]:
                places[changes], news[changes] = i, new
                changes += 1
    return changes


@part_of_loop
def _signal_changes(changes: int, places: Array, news: Array, x: Array, fires_above: Array, starts: Array, amounts: Array) -> int:
    """Write the change of each input's signal; return the number of synapses that the changed inputs reach in sparse wiring."""
    kind, touched = amounts.dtype.type, 0
    for change in range(changes):
        i, new = places[change], news[change]
        if len(fires_above) > 0:
            amounts[change] = kind(new > fires_above[0]) - kind(x[i] > fires_above[0])
        else:
            amounts[change] = new - x[i]
        if len(starts) > 0:
            touched += starts[i + 1] - starts[i]
    return touched


@part_of_loop
def _spread_by_matrix(changes: int, places: Array, amounts: Array, matrix: Array, share: Array) -> None:
    """Add to `share` the change of every cell's pre-activation that follows from the changes of the inputs."""
    for change in range(changes):
        i, amount = places[change], amounts[change]
        for cell in range(len(share)):
            share[cell] += matrix[i, cell] * amount


@part_of_loop
def _spread_by_synapse(
    changes: int, places: Array, amounts: Array, starts: Array, cells: Array, weights: Array, share: Array
) -> None:
    """Do the same as :func:`_spread_by_matrix`, only for the cells that the inputs reach."""
    unsigned = np.uint64  # spares Numba a test for negative indices
    for change in range(changes):
        amount = amounts[change]
        for synapse in range(starts[places[change]], starts[places[change] + 1]):
            share[unsigned(cells[synapse])] += weights[synapse] * amount


@part_of_loop
def _activity_changes(drive: Array, share: Array, reached: Array, more: Array) -> int:
    """Write the cells whose activity changes and the size of each change; return the number of cells.

    The loop over cells has no branch, which would be mispredicted too often.
    """
    zero, count = share.dtype.type(0), 0
    for cell in range(len(share)):
        more[cell] = max(drive[cell] + share[cell], zero) - max(drive[cell], zero)
    for cell in range(len(share)):
        gained = more[cell]
        reached[count], more[count] = cell, gained
        count += (gained > zero) | (gained < zero)
    return count


@part_of_loop
def _activity_changes_nearby(
    changes: int, places: Array, starts: Array, cells: Array, drive: Array, share: Array, reached: Array, more: Array
) -> int:
    """Do the same as :func:`_activity_changes`, only for the cells that the inputs reach; `share` becomes 0."""
    unsigned, zero, count = np.uint64, share.dtype.type(0), 0
    for change in range(changes):
        for synapse in range(starts[places[change]], starts[places[change] + 1]):
            cell = unsigned(cells[synapse])
            gained = max(drive[cell] + share[cell], zero) - max(drive[cell], zero)
            share[cell] = zero  # a cell that has several of these synapses counts once
            reached[unsigned(count)], more[unsigned(count)] = cells[synapse], gained
            count += (gained > zero) | (gained < zero)
    return count


@part_of_loop
def _changed_outputs(count: int, reached: Array, more: Array, readout: Array, outputs: Array, found: Array) -> None:
    """Write the outputs after the changes of activity, twelve at a time, so that their sums stay in registers."""
    unsigned, zero = np.uint64, found.dtype.type(0)
    for start in range(0, readout.shape[1], 12):
        at = unsigned(start)
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = s10 = s11 = zero
        for place in range(count):
            cell, gained = unsigned(reached[place]), more[place]
            s0 += gained * readout[cell, at]
            s1 += gained * readout[cell, at + unsigned(1)]
            s2 += gained * readout[cell, at + unsigned(2)]
            s3 += gained * readout[cell, at + unsigned(3)]
            s4 += gained * readout[cell, at + unsigned(4)]
            s5 += gained * readout[cell, at + unsigned(5)]
            s6 += gained * readout[cell, at + unsigned(6)]
            s7 += gained * readout[cell, at + unsigned(7)]
            s8 += gained * readout[cell, at + unsigned(8)]
            s9 += gained * readout[cell, at + unsigned(9)]
            s10 += gained * readout[cell, at + unsigned(10)]
            s11 += gained * readout[cell, at + unsigned(11)]
        sums = (s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11)
        for k in range(12):
            found[start + k] = outputs[start + k] + sums[k]


@part_of_loop
def _judged(found: Array, classes: int, label: int, target: int) -> tuple[bool, Any]:
    """Return whether the outputs are misclassified, and the margin; a target of -1 stands for the likeliest wrong class."""
    rival = -1
    for k in range(classes):
        if k != label and (rival < 0 or found[k] > found[rival]):
            rival = k
    missed = found[rival] > found[label] or (found[rival] == found[label] and rival < label)
    return missed, found[rival if target < 0 else target] - found[label]


@part_of_loop
def _move_nearby(changes: int, places: Array, starts: Array, cells: Array, drive: Array, share: Array) -> None:
    """Add `share` to the pre-activation of the cells that the inputs reach; `share` becomes 0."""
    unsigned, zero = np.uint64, share.dtype.type(0)
    for change in range(changes):
        for synapse in range(starts[places[change]], starts[places[change] + 1]):
            cell = unsigned(cells[synapse])
            drive[cell] += share[cell]
            share[cell] = zero


class _Run:
    """The images of a search by :func:`square_loop`."""

    def __init__(self, landscape: Landscape, layer: FirstLayer, start: Point, ball: LinfBall, stop: bool):
        self.landscape, self.layer, self.ball, self.stop = landscape, layer, ball, stop
        readout, wiring, kind = layer.readout, layer.wiring, start.x.dtype
        assert readout is not None  # checked by loop_for
        self.classes, self.readout = readout.shape[1], _padded(readout)
        if wiring.matrix is None:
            csr = wiring.by_input()
            self.projection = csr.indptr, csr.indices, csr.data, np.empty((0, 0), dtype=kind)
        else:
            indices = np.empty(0, dtype=np.int32)
            self.projection = indices, indices, np.empty(0, dtype=kind), wiring.transposed()
        self.fires_above = np.array([] if layer.fires_above is None else [layer.fires_above], dtype=kind)
        self.x, self.value, self.wrong = start.x.copy(), start.value.copy(), landscape.wrong(start)
        self.confirmed = self.wrong.copy()
        self.refresh()

    def of(self, images: Array) -> None:
        """Continue with some of the images."""
        self.landscape, self.ball = self.landscape.of(images), self.ball.of(images)
        for name in ("x", "value", "wrong", "confirmed", "v", "outputs"):
            setattr(self, name, getattr(self, name)[images])

    def refresh(self) -> None:
        """Recompute the pre-activation, outputs and objective of the current images."""
        self.v = self.layer.drive(self.layer.activity(self.x))
        outputs = self.layer.outputs(self.v)
        self.value, self.outputs = self.landscape.value_of(outputs), _padded(outputs)

    def take(self, loop: Loop, uniform: Array, windows: list[tuple[int, int]], shape: tuple[int, int, int]) -> Point:
        """Take the images through the next queries; return the current points, with every misclassification confirmed."""
        tall, wide = np.array(windows, dtype=np.int64).T.copy()
        labels, targets = self.landscape.labels.astype(np.int64), self.landscape.targets
        targets = np.full(len(labels), -1, dtype=np.int64) if targets is None else targets.astype(np.int64)
        begin = np.where(self.confirmed & self.stop, len(tall), 0)
        sizes = np.array(shape, dtype=np.int64)
        shared = (*self.projection, self.readout, tall, wide, sizes, self.fires_above, self.classes, self.stop)

        def go_on(part: slice) -> None:
            rows = uniform, self.ball.low, self.ball.high, labels, targets, begin
            state = self.x, self.v, self.outputs, self.value, self.wrong
            loop(*shared, *(array[part] for array in (*rows, *state)))

        while (begin < len(tall)).any():
            run_lanes(go_on, shares(self.x))
            self._confirm()
            begin[self.confirmed & self.stop] = len(tall)
        return Point(self.x.copy(), self.outputs[:, : self.classes].copy(), self.value.copy())

    def _confirm(self) -> None:
        """Confirm by a full pass the images that were misclassified for the first time."""
        claimed = np.flatnonzero(self.wrong & ~self.confirmed)
        if len(claimed):
            landscape = self.landscape.of(claimed)
            whole = landscape.evaluate(self.x[claimed])
            self.wrong[claimed] = self.confirmed[claimed] = landscape.wrong(whole)
            self.value[claimed], self.outputs[claimed, : self.classes] = whole.value, whole.outputs


def loop_for(landscape: Landscape, ball: LinfBall, points: str) -> tuple[FirstLayer, Loop] | None:
    """Return the first layer and the compiled loop for a search, or None if the search must make one query at a time.

    The compiled loop needs Numba, the CPU, the margin as objective, and a model that is not small and consists of a linear first
    layer and a readout of its rectified cells. The loop cannot yield every point or, with targets, the best point.
    """
    objective = margin if landscape.targets is None else targeted_margin
    if landscape.objective is not objective or points == "every" or (points == "best" and landscape.targets is not None):
        return None
    layer = fitting_layer(landscape, ball.x)
    if layer is None or layer.readout is None:
        return None
    loop = compiled(square_loop, layer.wiring.weights)
    return None if loop is None else (layer, loop)


def search_by_loop(
    landscape: Landscape,
    ball: LinfBall,
    draws: Draws,
    start: Point,
    layer: FirstLayer,
    loop: Loop,
    windows: list[tuple[int, int]],
    shape: tuple[int, int, int],
    stop: bool,
) -> Search:
    """Yield the current points after every :data:`~minicereb.attacks.nearby.REFRESHED` queries, beginning with `start`.

    Parameters
    ----------
    landscape, ball, draws
        As for :func:`minicereb.attacks.square.square`.
    start : Point
    layer, loop
        Of :func:`loop_for`.
    windows : list of (int, int)
        Height and width of the window of each query.
    shape : tuple of int
        Height, width and channels.
    stop : bool
        Whether the queries of an image end once the image is misclassified.
    """
    run, point = _Run(landscape, layer, start, ball, stop), start
    for first in range(0, len(windows), REFRESHED):
        keep = yield point
        if keep is not None:
            draws = draws.of(keep)
            run.of(keep)
        if first:
            run.refresh()
        part = windows[first : first + REFRESHED]
        uniform = draws.each(2 + shape[2], range(first + 1, first + 1 + len(part)))
        point = run.take(loop, np.ascontiguousarray(uniform.swapaxes(0, 1)), part, shape)
    yield point


def _padded(columns: Array) -> Array:
    """Return a copy padded with columns of zeros to a multiple of twelve."""
    padded = np.zeros((len(columns), -(-columns.shape[1] // TOGETHER) * TOGETHER), dtype=columns.dtype)
    padded[:, : columns.shape[1]] = columns
    return padded
