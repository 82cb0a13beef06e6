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
from minicereb.compiled import Loop, compiled, part_of_loop, positive
from minicereb.models.first_layer import FirstLayer
from minicereb.parallel import run_lanes, shares
from minicereb.randomness import Draws

TOGETHER = 12  # outputs that are summed in one pass: enough for ten classes


def square_loop(
    starts: Array | None,
    cells: Array | None,
    weights: Array | None,
    matrix: Array | None,
    readout: Array,
    windows: Array,
    line: int,
    fires_above: Array | None,
    classes: int,
    stop: bool,
    corners: Array,
    raised: Array,
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
    share: Array,
    more: Array,
    reached: Array,
    places: Array,
    news: Array,
    amounts: Array,
    near: Array,
    moved: Array,
    found: Array,
) -> None:
    """Take each image through its queries from number `begin` on, changing x, v, outputs, value, wrong and begin in place.

    Parameters
    ----------
    starts, cells, weights : array or None
        The projection, as a CSR matrix with a row per input; None if the projection is dense. For None, Numba does not
        compile the code under ``if starts is not None``.
    matrix : array, shape (inputs, cells), or None
        The projection if it is dense.
    readout : array, shape (cells, dozens, 12)
        The readout W, padded with columns of zeros to a multiple of twelve.
    windows : array of int, shape (queries, 2)
        Height and width of the window at each query.
    line : int
        Inputs in a row of pixels.
    fires_above : array of float, shape (1,), or None
        The threshold θ; None if the inputs are graded.
    classes : int
    stop : bool
        Whether the queries of an image end at its first misclassified point.
    corners : array of int, shape (images, queries)
        The first input in each window.
    raised : array of bool, shape (images, queries, channels)
        Whether the inputs in the window go to the upper ends of their ranges.
    low, high, x : array, shape (images, inputs)
        Lower and upper ends of the ball, and the current images.
    labels, targets : array of int, shape (images,)
        A target of -1 stands for the likeliest wrong class.
    begin, value, wrong : array, shape (images,)
        Next query, objective, and whether the image is misclassified.
    v, outputs : array, shape (images, cells) and (images, columns)
    share, more, reached, places, news, amounts, near, moved, found : array
        Arrays from :func:`_memory` in which the loop works; Numba would take longer to compile a loop that makes its own
        arrays.
    """
    for image in range(len(x)):
        row, drive = x[image], v[image]
        for query in range(begin[image], len(windows)):
            window, corner, up = windows[query], corners[image, query], raised[image, query]
            changes = _propose(window, line, corner, up, low[image], high[image], row, fires_above, places, news, amounts)
            synapses = len(share)
            if matrix is not None:
                _spread_by_matrix(changes, places, amounts, matrix, share)
            if starts is not None:
                synapses = _spread_by_synapse(changes, places, amounts, starts, cells, weights, share, near)
            sweep = 2 * synapses > len(share)
            if sweep:
                count = _activity_changes(drive, share, reached, more)
            elif starts is not None:
                count = _activity_changes_nearby(near, synapses, drive, share, moved, reached, more)
            _changed_outputs(count, reached, more, readout, outputs[image], found)
            missed, objective = _judged(found, classes, labels[image], targets[image])
            taken = objective > value[image] or (stop and missed)
            if taken:
                for change in range(changes):
                    row[places[change]] = news[change]
                for column in range(len(found)):
                    outputs[image, column] = found[column]
                value[image], wrong[image] = objective, missed
            if taken and sweep:
                for cell in range(len(share)):
                    drive[cell] += share[cell]
            elif taken and starts is not None:
                for synapse in range(synapses):
                    drive[near[synapse]] += moved[synapse]
            if sweep:
                share[:] = 0
            begin[image] = query + 1
            if stop and missed:
                break


@part_of_loop
def _propose(
    window: Array,
    line: int,
    corner: int,
    raised: Array,
    low: Array,
    high: Array,
    x: Array,
    fires_above: Array | None,
    places: Array,
    news: Array,
    amounts: Array,
) -> int:
    """Write the inputs that a query changes, their new values and the changes of their signals; return the number of inputs."""
    signal, changes = amounts.dtype.type, 0
    for opposite in range(2):  # an image that already has the ends that were drawn gets the opposite ones
        for row in range(window[0]):
            for column in range(window[1]):
                for channel in range(len(raised)):
                    i = corner + row * line + column * len(raised) + channel
                    new = high[i] if raised[channel] == (opposite == 0) else low[i]
                    if new != x[i]:
                        places[changes], news[changes] = i, new
                        if fires_above is not None:
                            amounts[changes] = signal(new > fires_above[0]) - signal(x[i] > fires_above[0])
                        else:
                            amounts[changes] = new - x[i]
                        changes += 1
        if changes > 0:
            break
    return changes


@part_of_loop
def _spread_by_matrix(changes: int, places: Array, amounts: Array, matrix: Array, share: Array) -> None:
    """Add to `share` the change of every cell's pre-activation that follows from the changes of the inputs."""
    for change in range(changes):
        i, amount = places[change], amounts[change]
        for cell in range(len(share)):
            share[cell] += matrix[i, cell] * amount


@part_of_loop
def _spread_by_synapse(
    changes: int, places: Array, amounts: Array, starts: Array, cells: Array, weights: Array, share: Array, near: Array
) -> int:
    """Do the same as :func:`_spread_by_matrix`, only for the cells that the inputs reach.

    Write these cells to `near`, once for each synapse, and return the number of synapses.
    """
    unsigned, synapses = np.uint64, 0  # unsigned indices spare Numba a test for negative ones
    for change in range(changes):
        amount = amounts[change]
        for synapse in range(starts[places[change]], starts[places[change] + 1]):
            cell = cells[synapse]
            share[unsigned(cell)] += weights[synapse] * amount
            near[unsigned(synapses)] = cell
            synapses += 1
    return synapses


@part_of_loop
def _activity_changes(drive: Array, share: Array, reached: Array, more: Array) -> int:
    """Write the cells whose activity changes and the size of each change; return the number of cells.

    The loop over cells has no branch, which would be mispredicted too often.
    """
    zero, count = share.dtype.type(0), 0
    for cell in range(len(share)):
        more[cell] = positive(drive[cell] + share[cell]) - positive(drive[cell])
    for cell in range(len(share)):
        gained = more[cell]
        reached[count], more[count] = cell, gained
        count += (gained > zero) | (gained < zero)
    return count


@part_of_loop
def _activity_changes_nearby(
    near: Array, synapses: int, drive: Array, share: Array, moved: Array, reached: Array, more: Array
) -> int:
    """Do the same as :func:`_activity_changes`, only for cells that the inputs reach; move `share` to `moved`, by synapse."""
    unsigned, zero, count = np.uint64, share.dtype.type(0), 0
    for synapse in range(synapses):
        cell = unsigned(near[synapse])
        gained = positive(drive[cell] + share[cell]) - positive(drive[cell])
        moved[synapse], share[cell] = share[cell], zero  # a cell that has several of these synapses counts once
        reached[unsigned(count)], more[unsigned(count)] = near[synapse], gained
        count += (gained > zero) | (gained < zero)
    return count


@part_of_loop
def _changed_outputs(count: int, reached: Array, more: Array, readout: Array, outputs: Array, found: Array) -> None:
    """Write the outputs after the changes of activity, twelve at a time, so that their sums stay in registers."""
    unsigned, zero = np.uint64, found.dtype.type(0)
    for dozen in range(readout.shape[1]):
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = s9 = s10 = s11 = zero
        for place in range(count):
            weights, gained = readout[unsigned(reached[place]), unsigned(dozen)], more[place]
            s0 += gained * weights[0]
            s1 += gained * weights[1]
            s2 += gained * weights[2]
            s3 += gained * weights[3]
            s4 += gained * weights[4]
            s5 += gained * weights[5]
            s6 += gained * weights[6]
            s7 += gained * weights[7]
            s8 += gained * weights[8]
            s9 += gained * weights[9]
            s10 += gained * weights[10]
            s11 += gained * weights[11]
        sums = (s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11)
        for k in range(12):
            found[12 * dozen + k] = outputs[12 * dozen + k] + sums[k]


@part_of_loop
def _judged(found: Array, classes: int, label: int, target: int) -> tuple[bool, Any]:
    """Return whether the outputs are misclassified, and the margin; a target of -1 stands for the likeliest wrong class."""
    rival = -1
    for k in range(classes):
        if k != label and (rival < 0 or found[k] > found[rival]):
            rival = k
    missed = found[rival] > found[label] or (found[rival] == found[label] and rival < label)
    return missed, found[rival if target < 0 else target] - found[label]


class _Run:
    """The images of a search by :func:`square_loop`."""

    def __init__(self, landscape: Landscape, layer: FirstLayer, start: Point, ball: LinfBall, stop: bool):
        self.landscape, self.layer, self.ball, self.stop = landscape, layer, ball, stop
        readout, wiring, kind = layer.readout, layer.wiring, start.x.dtype
        assert readout is not None  # checked by loop_for
        self.classes, self.readout = readout.shape[1], _padded(readout).reshape(len(readout), -1, TOGETHER)
        if wiring.matrix is None:
            csr = wiring.by_input()
            self.projection, self.synapses = (csr.indptr, csr.indices, csr.data, None), len(csr.data)
        else:
            self.projection, self.synapses = (None, None, None, wiring.transposed()), 0
        self.fires_above = None if layer.fires_above is None else np.array([layer.fires_above], dtype=kind)
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
        sides, (height, width, channels) = np.array(windows, dtype=np.int64), shape
        free = (np.array((height, width), dtype=np.int64) - sides + 1).astype(uniform.dtype)
        top, left = (uniform[:, :, :2] * free).astype(np.int64).transpose(2, 0, 1)
        corners, raised = (top * width + left) * channels, uniform[:, :, 2:] < 0.5
        labels, targets = self.landscape.labels.astype(np.int64), self.landscape.targets
        targets = np.full(len(labels), -1, dtype=np.int64) if targets is None else targets.astype(np.int64)
        begin = np.where(self.confirmed & self.stop, len(sides), 0)
        shared = (*self.projection, self.readout, sides, width * channels, self.fires_above, self.classes, self.stop)

        def go_on(part: slice) -> None:
            rows = corners, raised, self.ball.low, self.ball.high, labels, targets, begin
            state = self.x, self.v, self.outputs, self.value, self.wrong
            loop(*shared, *(array[part] for array in (*rows, *state)), *_memory(self.x, self.v, self.outputs, self.synapses))

        while (begin < len(sides)).any():
            run_lanes(go_on, shares(self.x))
            self._confirm()
            begin[self.confirmed & self.stop] = len(sides)
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
    layer and a readout of its rectified cells. The loop does not support yielding each point that it tries, nor, with targets,
    yielding the best point.
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


def _memory(x: Array, v: Array, outputs: Array, synapses: int) -> tuple[Array, ...]:
    """Return the arrays in which :func:`square_loop` works.

    The arrays hold, in this order: the change of each cell's pre-activation (initially 0); the changes of activity;
    the cells with these changes; the changed inputs; their new values; the changes of their signals; the cells that the
    changed inputs reach, by synapse; the changes of pre-activation, by synapse; and the outputs after a query.
    """
    inputs, cells, kind = x.shape[1], v.shape[1], v.dtype
    share, more, reached = np.zeros(cells, dtype=kind), np.empty(cells + 1, dtype=kind), np.empty(cells + 1, dtype=np.int32)
    places, news, amounts = np.empty(inputs, dtype=np.int64), np.empty(inputs, dtype=x.dtype), np.empty(inputs, dtype=kind)
    near, moved = np.empty(synapses, dtype=np.int32), np.empty(cells, dtype=kind)
    return share, more, reached, places, news, amounts, near, moved, np.empty_like(outputs[0])
