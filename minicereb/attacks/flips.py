"""Searches over the only pixels that matter to a binary first stage: those that can cross its threshold ``[M-FIBRES]``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from minicereb.attacks.ball import Ball, LinfBall
from minicereb.attacks.gradients import Landscape, binary_stage, exact
from minicereb.attacks.nearby import nearby
from minicereb.attacks.search import Search, put_rows
from minicereb.attacks.square import SCALE, three_sides, window_at
from minicereb.backend import Array, to_device, to_numpy, xp_of
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.parallel import blocks, images_per_block
from minicereb.randomness import Draws, generator

PATIENCE = 5  # consecutive steps without improvement after which a beam search ends


class Flippable(NamedTuple):
    """The flips of fibres that are possible in some images.

    Attributes
    ----------
    fires : array of bool, shape (images, inputs)
        The fibres that fire for the clean image.
    to : array, same shape
        Pixel values just on the other side of θ: θ itself, at which a fibre is silent, or the next larger number.
    price : array of float64, same shape
        Cost of a flip, paid from the `budget`: in L∞ zero or infinite, in L2 the square of the pixel's change.
    budget : float
        Budget for flips: 0 in L∞; ε² in L2, minus an allowance for the rounding of sums.
    """

    fires: Array
    to: Array
    price: Array
    budget: float

    def of(self, images: Array) -> Flippable:
        """Return the possible flips in some of the images."""
        return Flippable(self.fires[images], self.to[images], self.price[images], self.budget)

    def affordable(self, flipped: Array) -> Array:
        """Return the flips (array of bool) that the budget allows if the flips are made in order."""
        xp = xp_of(flipped)
        return flipped & (xp.where(flipped, self.price, 0.0).cumsum(axis=1) <= self.budget)


def flippable(ball: Ball, fires_above: float) -> Flippable:
    """Return the possible flips within a ball; as for every attack, the ball's limits are rounded to float32."""
    xp, kind = xp_of(ball.x), np.dtype(ball.x.dtype).type
    silent = kind(fires_above)
    fires = ball.x > silent
    to = xp.where(fires, silent, np.nextafter(silent, kind(1)))
    if isinstance(ball, LinfBall):
        return Flippable(fires, to, xp.where((ball.low <= to) & (to <= ball.high), 0.0, np.inf), 0.0)
    return Flippable(fires, to, (to.astype(xp.float64) - ball.x.astype(xp.float64)) ** 2, ball.epsilon**2 * (1 - 1e-9))


def _stage(landscape: Landscape) -> tuple[float, Any]:
    stage = binary_stage(landscape.model)
    assert stage is not None  # checked by minicereb.attacks.run
    return stage


class _Circuit:
    """The state of a cerebellum in float64; for a flip, only the granule cells that receive the flipped fibre are computed."""

    def __init__(self, model: CerebellarNetwork, fires: Array):
        xp = xp_of(fires)
        self.synapses, self.readout = model.wiring.by_fibre, model.readout.astype(xp.float64)
        self.drive = xp.zeros((model.wiring.cells, len(fires)), dtype=xp.float64)
        self.outputs = xp.tile(-(model.ltd_mean.astype(xp.float64) @ self.readout), (len(fires), 1))
        for fibre in np.flatnonzero(to_numpy(fires.any(axis=0))).tolist():  # start with all silent and flip one after the other
            rows = xp.flatnonzero(fires[:, fibre])
            self.flip(fibre, rows, xp.ones(len(rows), dtype=xp.float64), keep=True)

    def of(self, rows: Array) -> None:
        self.drive, self.outputs = self.drive[:, rows], self.outputs[rows]

    def flip(self, fibre: int, rows: Array, change: Array, keep: bool) -> Array:
        """Return the outputs of some rows after a change of a fibre's activity, which is permanent if `keep` is true."""
        (cells, weights), xp = self.synapses[fibre], xp_of(rows)
        at = (cells[:, None], rows[None, :])
        before = self.drive[at]
        after = before + weights[:, None] * change
        outputs = self.outputs[rows] + (xp.maximum(after, 0) - xp.maximum(before, 0)).T @ self.readout[cells]
        if keep:
            self.drive[at], self.outputs[rows] = after, outputs
        return outputs


class _Asked:
    """The state for any other classifier that takes the fibres' activity as its input.

    The classifier is called again for each flip.
    """

    def __init__(self, model: Any, fires: Array):
        self.model, self.fibres = model, fires.astype(np.float32)

    def of(self, rows: Array) -> None:
        self.fibres = self.fibres[rows]

    def flip(self, fibre: int, rows: Array, change: Array, keep: bool) -> Array:
        fibres = self.fibres[rows]
        fibres[:, fibre] += change.astype(np.float32)
        if keep:
            self.fibres[rows] = fibres
            return fibres
        parts = blocks(len(rows), images_per_block(getattr(self.model, "bytes_per_image", 0) + 4 * fibres.shape[1]))
        return xp_of(fibres).concatenate([self.model.forward(fibres[part])[0] for part in parts])


@dataclass
class _Sets:
    """Sets of flips, `width` for each image: one row per set, with the set's objective (-inf for a missing set)."""

    landscape: Landscape
    can: Flippable
    state: Any
    flipped: Array
    value: Array
    width: int = 1

    def values(self, live: Array, back: bool) -> Array:
        """Return each set's objective after each affordable flip and, if `back` is true, after undoing each flip.

        All other entries are -inf.
        """
        xp, images = xp_of(self.value), self._images
        price = self.can.price[images]
        spent = xp.where(self.flipped, price, 0.0).sum(axis=1)[:, None]
        allowed = (~self.flipped & (spent + price <= self.can.budget)) | (self.flipped & back)
        allowed &= (live.repeat(self.width) & (self.value > -np.inf))[:, None]
        values = xp.full(allowed.shape, -np.inf, dtype=self.value.dtype)
        fibres, rows = xp.nonzero(allowed.T)  # in the order of the fibres
        if len(rows) == 0:
            return values
        ends = to_numpy(allowed.sum(axis=0)).cumsum()
        outputs = []
        for fibre in np.flatnonzero(np.diff(ends, prepend=0)).tolist():
            these = rows[(ends[fibre - 1] if fibre else 0) : ends[fibre]]
            outputs.append(self.state.flip(fibre, these, self._change(these, fibre), keep=False))
        objective = replace(self.landscape, source=exact).of(images[rows])
        values[rows, fibres] = objective.value_of(xp.concatenate(outputs).astype(values.dtype))
        return values

    def step(self, values: Array, width: int, keys: Array) -> None:
        """Replace the sets of each image by the `width` best distinct sets that are one flip away from them."""
        xp, (sets, inputs) = xp_of(values), values.shape
        count = sets // self.width
        every, flat = xp.arange(count, dtype=xp.int64), values.reshape(count, -1)
        after = ((self.flipped * keys).sum(axis=1)[:, None] + keys).reshape(count, -1) if width > 1 else None
        chosen, value = [], []
        for _ in range(width):
            place = flat.argmax(axis=1)
            chosen.append(place)
            value.append(flat[every, place])
            if after is not None:
                flat = xp.where(after == after[every, place][:, None], flat.dtype.type(-np.inf), flat)
        place, value = (xp.stack(each, axis=1) for each in (chosen, value))
        self._choose((every[:, None] * self.width + place // inputs).ravel(), width)
        self.value, fibres = value.ravel(), (place % inputs).ravel()
        made = xp.flatnonzero(self.value > -np.inf)
        for fibre in np.unique(to_numpy(fibres[made])).tolist():
            rows = made[fibres[made] == fibre]
            self.state.flip(fibre, rows, self._change(rows, fibre), keep=True)
        self.flipped[made, fibres[made]] ^= True

    def of(self, images: Array) -> None:
        """Continue with some of the images."""
        xp = xp_of(images)
        rows = (images[:, None] * self.width + xp.arange(self.width, dtype=xp.int64)).ravel()
        self._choose(rows, self.width)
        self.value = self.value[rows]
        self.landscape, self.can = self.landscape.of(images), self.can.of(images)

    def _choose(self, rows: Array, width: int) -> None:
        self.state.of(rows)
        self.flipped, self.width = self.flipped[rows], width

    @property
    def _images(self) -> Array:
        xp = xp_of(self.value)
        return xp.arange(len(self.value), dtype=xp.int64) // self.width

    def _change(self, rows: Array, fibre: int) -> Array:
        xp = xp_of(rows)
        return 1 - 2 * (self.flipped[rows, fibre] ^ self.can.fires[rows // self.width, fibre]).astype(xp.float64)


def beam(landscape: Landscape, ball: Ball, draws: Draws, steps: int, width: int = 1) -> Search:
    """Yield the best image after each step: sets of flips grow first; then single flips improve the best set.

    A step tries every further flip of each set and keeps the `width` best sets of an image; with a width of 1 this is a greedy
    search. The first part ends after five consecutive steps without improvement. The second part repeatedly makes the
    best single change, which flips a pixel or undoes a flip, until no change improves the objective. The effect of a
    flip is computed in float64; no gradient is needed.

    Parameters
    ----------
    landscape : Landscape
        The landscape of a model with a binary first stage (:func:`minicereb.attacks.gradients.binary_stage`).
    ball : Ball
        The ball around the clean images.
    draws : Draws
        Random numbers for these images. A restart draws a random point of the ball and begins with the pixels that are flipped
        there.
    steps : int
        Largest number of flips in the first part, and of changes in the second.
    width : int
        Number of sets kept for each image.
    """
    xp, (fires_above, circuit) = xp_of(ball.x), _stage(landscape)
    x, can = ball.x, flippable(ball, fires_above)
    keys = to_device(generator(0, "flips").integers(0, 1 << 62, x.shape[1], dtype=np.int64))
    best = xp.zeros_like(can.fires)
    if draws.numbers[0]:
        best = can.affordable((can.price < np.inf) & ((ball.inside(draws) > x.dtype.type(fires_above)) ^ can.fires))
    point = landscape.evaluate(xp.where(best, can.to, x))
    for back in (False, True):
        patience, state = 1 if back else PATIENCE, (_Circuit if isinstance(circuit, CerebellarNetwork) else _Asked)
        sets = _Sets(landscape, can, state(circuit, can.fires ^ best), best.copy(), point.value)
        value, waited = point.value, xp.zeros(len(x), dtype=xp.int64)
        for _ in range(steps):
            keep = yield point
            if keep is not None:
                sets.of(keep)
                landscape, can, x, best, value, waited = (
                    sets.landscape, sets.can, x[keep], best[keep], value[keep], waited[keep],
                )  # fmt: skip
            sets.step(sets.values(waited < patience, back), 1 if back else width, keys)
            here, every = sets.value.reshape(len(x), -1), xp.arange(len(x), dtype=xp.int64)
            first = here.argmax(axis=1)
            better = here[every, first] > value
            put_rows(best, sets.flipped[every * sets.width + first], better)
            value, waited = xp.where(better, here[every, first], value), xp.where(better, 0, waited + 1)
            point = landscape.evaluate(xp.where(best, can.to, x))
            if not bool((waited < patience).any()):
                break
    yield point


def square_of_flips(
    landscape: Landscape, ball: Ball, draws: Draws, steps: int, image_shape: tuple[int, ...] | None = None, rescale: bool = True
) -> Search:
    """Yield the points of a Square search over fibres: pixels of a random window move to one side of θ if the objective rises.

    The search begins with vertical stripes. Each window contains a randomly chosen flippable pixel. All flippable pixels of the
    window move to the same side of θ: their fibres fall silent if the chosen pixel's fibre fires, and otherwise fire. Arguments
    and sizes of windows are as for :func:`minicereb.attacks.square.square`.
    """
    xp, (height, width, channels) = xp_of(ball.x), three_sides(image_shape, ball.x.shape[1])
    x, can = ball.x, flippable(ball, _stage(landscape)[0])
    place = xp.arange(x.shape[1], dtype=xp.int64) // channels
    down, across = place // width, place % width
    up = xp.tile(draws.uniform(width * channels, 0) < 0.5, (1, height))
    flipped = can.affordable((can.price < np.inf) & (up ^ can.fires))
    here = nearby(landscape, xp.where(flipped, can.to, x))
    point = here.point
    for query in range(1, steps):
        keep = yield point
        if keep is not None:
            can, draws, x, flipped = can.of(keep), draws.of(keep), x[keep], flipped[keep]
            here.of(keep)
        uniform, rows = draws.uniform(x.shape[1] + 2, query), xp.arange(len(x), dtype=xp.int64)
        chosen = (uniform[:, 2:] * (can.price < np.inf)).argmax(axis=1)
        sides = window_at(query / (steps if rescale else SCALE), height, width)
        inside = can.price < np.inf
        for axis, (line, side) in enumerate(zip((down, across), sides, strict=True)):
            begin = line[chosen] - (uniform[:, axis] * side).astype(xp.int64)
            inside &= (line >= begin[:, None]) & (line < (begin + side)[:, None])
        up = ~(can.fires ^ flipped)[rows, chosen]
        proposed = can.affordable(xp.where(inside, can.fires ^ up[:, None], flipped))
        point = here.evaluate(xp.where(proposed, can.to, x))
        better = point.value > here.value
        put_rows(flipped, proposed, better)
        here.move(better)
    yield point
