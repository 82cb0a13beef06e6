"""The random choice of the units to change, in a convolution or a layer with time steps ``[M-PROBE]``."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minicereb.backend import Array, xp_of
from minicereb.compiled import compiled
from minicereb.models.noisy import Noise

PROBES = 64  # units that are changed per image and replication


class Probing(NamedTuple):
    """Noise and, for layers of which only some units are changed, the random numbers that choose them: (images, replications)."""

    noise: Noise
    places: tuple[Array | None, ...]


class DrawnUnits(NamedTuple):
    """The units of a layer that were drawn for each run.

    Attributes
    ----------
    units : array of int, shape (runs, draws)
    times : array of float, same shape
        Expected number of times that each unit is drawn, above 0.
    """

    units: Array
    times: Array

    def of(self, values: Array) -> Array:
        """Return the values of the drawn units, (runs, draws), given the values of all units, (units, images, replications)."""
        return _columns(values)[self.units, xp_of(values).arange(len(self.units))[:, None]]

    def scatter(self, found: Array, shape: tuple[int, ...]) -> Array:
        """Return unbiased estimates of the values of all units, given the values of the drawn units.

        The estimates have the shape (units, images, replications), and the given values the shape (runs, draws).
        """
        xp, runs = xp_of(found), len(found)
        places = self.units * runs + xp.arange(runs)[:, None]
        total = xp.bincount(places.ravel(), (found / self.times).ravel(), shape[0] * runs)
        return total.astype(found.dtype).reshape(shape)


def draw_units(chance: Array, places: Array, draws: int) -> DrawnUnits:
    """Draw units for each run by systematic sampling, with probabilities proportional to `chance` ``[M-PROBE]``.

    Parameters
    ----------
    chance : array, shape (units, images, replications)
        Weights of the units in the draw, at least 0; a unit of weight 0 is not drawn unless all weights are 0.
    places : array, shape (images or 1, replications), values from 0 to 1
        Random start of the equally spaced points, as a fraction of their spacing.
    draws : int

    References
    ----------
    Madow (1949), On the theory of systematic sampling, II.
    """
    xp, units = xp_of(chance), len(chance)
    one_pass = compiled(draw_units_loop, chance)
    if one_pass is not None:
        start = xp.broadcast_to(places, chance.shape[1:]).astype(xp.float64).ravel()
        found, times = xp.zeros((len(start), draws), dtype=xp.int64), xp.ones((len(start), draws), dtype=chance.dtype)
        sums = xp.zeros((3, len(start)), dtype=xp.float64)
        one_pass(_columns(chance), start, found, times, *sums, xp.zeros(len(start), dtype=xp.int64))
        return DrawnUnits(found, times)
    sums = xp.cumsum(_columns(chance).T, axis=1, dtype=xp.float64)
    runs, total = len(sums), sums[:, -1:]
    share = sums / xp.where(total > 0, total, 1.0)
    share[:, -1] = 1.0
    share += xp.arange(runs, dtype=xp.float64)[:, None]
    start = xp.broadcast_to(places, chance.shape[1:]).reshape(-1, 1).astype(xp.float64)
    points = (xp.arange(draws, dtype=xp.float64) + start) / draws + xp.arange(runs, dtype=xp.float64)[:, None]
    found = xp.searchsorted(share.ravel(), points.ravel(), side="right").reshape(runs, draws)
    found = xp.clip(found - units * xp.arange(runs)[:, None], 0, units - 1)
    own = _columns(chance)[found, xp.arange(runs)[:, None]].astype(xp.float64)
    times = xp.where(own > 0, draws * own / xp.where(total > 0, total, 1.0), 1.0)
    return DrawnUnits(found, times.astype(chance.dtype))


def draw_units_loop(
    chance: Array, start: Array, units: Array, times: Array, total: Array, passed: Array, point: Array, drawn: Array
) -> None:
    """Draw as :func:`draw_units` does: walk over the units, and draw a unit whenever the running sum passes the next point.

    Parameters
    ----------
    chance : array, shape (units, runs)
    start : array of float64, shape (runs,)
    units : array of int64, shape (runs, draws)
        Overwritten.
    times : array, same shape
        Array of ones, overwritten where a unit's chance is not 0.
    total, passed, point, drawn : array, shape (runs,)
        Working memory, filled with zeros: three arrays of float64 and one of int64.
    """
    runs, draws = units.shape
    for unit in range(len(chance)):
        for run in range(runs):
            total[run] += chance[unit, run]
    for run in range(runs):
        point[run] = start[run] / draws * total[run]
    for unit in range(len(chance)):
        for run in range(runs):
            passed[run] += chance[unit, run]
            while passed[run] > point[run] and drawn[run] < draws:
                units[run, drawn[run]] = unit
                times[run, drawn[run]] = draws * np.float64(chance[unit, run]) / total[run]
                drawn[run] += 1
                point[run] = (drawn[run] + start[run]) / draws * total[run]
    for run in range(runs):
        for draw in range(drawn[run], draws):  # all chances are 0, or the last point is the whole sum but for rounding
            units[run, draw] = len(chance) - 1
            if chance[len(chance) - 1, run] > 0:
                times[run, draw] = draws * np.float64(chance[len(chance) - 1, run]) / total[run]


def _columns(array: Array) -> Array:
    """Return an array of shape (units, images, replications) as columns: (units, runs)."""
    return array.reshape(len(array), -1)
