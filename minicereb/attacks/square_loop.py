"""Square in L∞ on the margin as one compiled loop, many queries of an image at a time, on what its linear first layer keeps.

It makes the proposals of :func:`minicereb.attacks.square.square`, from the same draws, and computes what they change as
:mod:`minicereb.attacks.nearby` does. Sums are taken in another order, so an objective may differ by rounding, and where two are
equal but for that, the search may take the other. Points between those that are better are not yielded.
"""

from __future__ import annotations

import numpy as np

from minicereb.attacks.ball import LinfBall
from minicereb.attacks.gradients import Landscape, Point
from minicereb.attacks.nearby import REFRESHED, fitting_layer
from minicereb.attacks.search import Search
from minicereb.backend import Array
from minicereb.calculus.losses import margin, targeted_margin
from minicereb.compiled import Loop, compiled
from minicereb.models.first_layer import FirstLayer
from minicereb.parallel import run_lanes, shares
from minicereb.randomness import Draws

TOGETHER = 12  # outputs whose sums are taken in one pass: of ten classes all


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
    """Take each image through its queries from number `begin` on, and change x, v, outputs, value, wrong and begin in place.

    Parameters
    ----------
    starts, cells, weights : array
        The projection by input, a CSR matrix; empty if it is dense.
    matrix : array, shape (inputs, cells)
        The projection if it is dense; else without rows.
    readout : array, shape (cells, columns)
        With columns of zeros up to a multiple of twelve.
    tall, wide : array of int, shape (queries,)
        Sides of the window.
    shape : array of int
        Height, width and channels of the images.
    fires_above : array of float
        θ; empty if inputs are graded.
    classes : int
    stop : bool
        Whether an image is done at the first point where it is misclassified.
    uniform : array, shape (images, queries, 2 + channels)
    low, high, x : array, shape (images, inputs)
        Ends of the ball, and current images.
    labels, targets : array of int, shape (images,)
        A target of -1 is the likeliest wrong class.
    begin, value, wrong : array, shape (images,)
        Next query, objective, and whether the image is misclassified.
    v, outputs : array, shape (images, cells) and (images, columns)
    """
    unsigned, zero, kind = np.uint64, v.dtype.type(0), uniform.dtype.type
    height, width, channels = shape[0], shape[1], shape[2]
    dense = len(matrix) > 0
    share, more = np.zeros(v.shape[1], dtype=v.dtype), np.empty(v.shape[1] + 1, dtype=v.dtype)
    reached = np.empty(v.shape[1] + 1, dtype=np.int32)
    places, news = np.empty(x.shape[1], dtype=np.int64), np.empty(x.shape[1], dtype=x.dtype)
    amounts, found = np.empty(x.shape[1], dtype=v.dtype), np.empty(readout.shape[1], dtype=v.dtype)
    for image in range(len(x)):
        drive, label, target = v[image], labels[image], targets[image]
        for query in range(begin[image], len(tall)):
            drawn = uniform[image, query]
            top = np.int64(drawn[0] * kind(height - tall[query] + 1))
            left = np.int64(drawn[1] * kind(width - wide[query] + 1))
            same = True
            for row in range(top, top + tall[query]):
                for i in range((row * width + left) * channels, (row * width + left + wide[query]) * channels):
                    new = high[image, i] if drawn[2 + i % channels] < 0.5 else low[image, i]
                    same = same and new == x[image, i]
            changes, touched = 0, 0
            for row in range(top, top + tall[query]):
                for i in range((row * width + left) * channels, (row * width + left + wide[query]) * channels):
                    new = high[image, i] if (drawn[2 + i % channels] < 0.5) != same else low[image, i]
                    now = x[image, i]
                    if new != now:
                        places[changes], news[changes] = i, new
                        if len(fires_above) > 0:
                            amounts[changes] = v.dtype.type(new > fires_above[0]) - v.dtype.type(now > fires_above[0])
                        else:
                            amounts[changes] = new - now
                        changes += 1
                        touched += 0 if dense else starts[i + 1] - starts[i]
            # The cells whose activity changes, without a branch for each: it would be mispredicted too often.
            count, sweep = 0, dense or 2 * touched > len(share)
            for change in range(changes):
                i, amount = places[change], amounts[change]
                if dense:
                    for cell in range(len(share)):
                        share[cell] += matrix[i, cell] * amount
                else:
                    for synapse in range(starts[i], starts[i + 1]):
                        share[unsigned(cells[synapse])] += weights[synapse] * amount
            if sweep:
                for cell in range(len(share)):
                    more[cell] = max(drive[cell] + share[cell], zero) - max(drive[cell], zero)
                for cell in range(len(share)):
                    gained = more[cell]
                    reached[count], more[count] = cell, gained
                    count += (gained > zero) | (gained < zero)
            else:
                for change in range(changes):
                    for synapse in range(starts[places[change]], starts[places[change] + 1]):
                        cell = unsigned(cells[synapse])
                        gained = max(drive[cell] + share[cell], zero) - max(drive[cell], zero)
                        share[cell] = zero  # a cell with another of these synapses counts once
                        reached[unsigned(count)], more[unsigned(count)] = cells[synapse], gained
                        count += (gained > zero) | (gained < zero)
            for start in range(0, readout.shape[1], 12):  # twelve sums in registers
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
                    found[start + k] = outputs[image, start + k] + sums[k]
            rival = -1
            for k in range(classes):
                if k != label and (rival < 0 or found[k] > found[rival]):
                    rival = k
            missed = found[rival] > found[label] or (found[rival] == found[label] and rival < label)
            objective = found[rival if target < 0 else target] - found[label]
            taken = objective > value[image] or (stop and missed)
            if taken:
                for change in range(changes):
                    x[image, places[change]] = news[change]
                for k in range(readout.shape[1]):
                    outputs[image, k] = found[k]
                value[image], wrong[image] = objective, missed
            if taken and not sweep:
                for change in range(changes):
                    for synapse in range(starts[places[change]], starts[places[change] + 1]):
                        share[unsigned(cells[synapse])] += weights[synapse] * amounts[change]
                for change in range(changes):
                    for synapse in range(starts[places[change]], starts[places[change] + 1]):
                        cell = unsigned(cells[synapse])
                        drive[cell] += share[cell]
                        share[cell] = zero
            elif taken:
                for cell in range(len(share)):
                    drive[cell] += share[cell]
            if sweep:
                share[:] = zero
            begin[image] = query + 1
            if stop and missed:
                break


class _Run:
    """The images of a search by :func:`square_loop`."""

    def __init__(self, landscape: Landscape, layer: FirstLayer, start: Point, ball: LinfBall, stop: bool):
        self.landscape, self.layer, self.ball, self.stop = landscape, layer, ball, stop
        readout, wiring, kind = layer.readout, layer.wiring, start.x.dtype
        assert readout is not None  # since loop_for
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
        """Compute pre-activation, outputs and objective of the current images anew."""
        self.v = self.layer.drive(self.layer.activity(self.x))
        outputs = self.layer.outputs(self.v)
        self.value, self.outputs = self.landscape.value_of(outputs), _padded(outputs)

    def take(self, loop: Loop, uniform: Array, windows: list[tuple[int, int]], shape: tuple[int, int, int]) -> Point:
        """Take the images through the next queries; return the current points, all that are misclassified confirmed."""
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
        """Judge by a whole pass what counts as misclassified for the first time."""
        claimed = np.flatnonzero(self.wrong & ~self.confirmed)
        if len(claimed):
            landscape = self.landscape.of(claimed)
            whole = landscape.evaluate(self.x[claimed])
            self.wrong[claimed] = self.confirmed[claimed] = landscape.wrong(whole)
            self.value[claimed], self.outputs[claimed, : self.classes] = whole.value, whole.outputs


def loop_for(landscape: Landscape, ball: LinfBall, points: str) -> tuple[FirstLayer, Loop] | None:
    """Return first layer and compiled loop for a search, or None if it must go query by query.

    It must for another objective than the margin, for a model other than a linear first layer and a readout of its rectified
    cells, for a small one, on a GPU, without Numba, or if every point counts; and, with targets, if the best point counts.
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
    """Yield the current points after every :data:`~minicereb.attacks.nearby.REFRESHED` queries, the first of them `start`.

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
        Whether an image is done once it is misclassified.
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
    """Return a copy with columns of zeros up to a multiple of twelve."""
    padded = np.zeros((len(columns), -(-columns.shape[1] // TOGETHER) * TOGETHER), dtype=columns.dtype)
    padded[:, : columns.shape[1]] = columns
    return padded
