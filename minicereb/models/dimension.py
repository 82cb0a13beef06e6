"""Inner products of the granule layer's activity between images, from which the activity's dimension is computed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from minicereb.backend import Array, to_numpy, xp_of
from minicereb.calculus.activations import relu, threshold
from minicereb.errors import require
from minicereb.inputs import check_count, check_rows
from minicereb.models.wiring import Wiring
from minicereb.parallel import blocks, cell_blocks, run_lanes

CELLS = 2048  # cells computed at once: enough for products at full speed with any number of images
TILE = 256  # images in a tile of the products


class GranuleGram(NamedTuple):
    """Result of :func:`granule_gram`.

    Attributes
    ----------
    products : array of float64, shape (images, images), on the host
        ``G_pq = Σ_i h_i(x_p) h_i(x_q)``, symmetric.
    active : float
        Fraction of (cell, image) pairs with h > 0.
    """

    products: np.ndarray
    active: float


def granule_gram(wiring: Wiring, x: Array, thresholds: Array | None = None) -> GranuleGram:
    """Return the inner products of the granule layer's activity between all pairs of images.

    The full activity matrix is never stored: 2,048 cells are computed at a time, so memory is needed for their activity and for
    the inner products only. Blocks and tiles have a fixed size, so results do not depend on threads or memory. Products are
    computed in the dtype of `x` and summed over blocks in float64.

    Parameters
    ----------
    wiring : Wiring
    x : array of float, shape (images, inputs)
    thresholds : array, shape (cells,), optional
        If given, a cell's activity is 1 above its threshold, else 0 ``[G-THRESHOLD]``; by default it is ``max(v, 0)`` ``[C1]``.
    """
    check_rows(x, wiring.width)
    if thresholds is not None:
        check_count(thresholds, wiring.cells, "thresholds", "cell")
    xp, images = xp_of(x), len(x)
    x_t = xp.ascontiguousarray(x.T)
    products = xp.zeros((images, images), dtype=xp.float64)
    held = xp.empty((min(CELLS, wiring.cells), images), dtype=x.dtype)
    tiles = list(blocks(images, TILE))
    active = 0
    for chunk in blocks(wiring.cells, CELLS):
        activity = held[: chunk.stop - chunk.start]

        def respond(part: slice, activity: Array = activity, first: int = chunk.start) -> int:
            cells, h = slice(first + part.start, first + part.stop), activity[part]
            wiring.project(cells, x_t, h)
            if thresholds is None:
                relu(h, out=h)
            else:
                h -= thresholds[cells, None]
                threshold(h, out=h)
            return int(xp.count_nonzero(h))

        def multiply(tile: slice, activity: Array = activity) -> None:
            share = xp.dot(activity[:, tile].T, activity[:, tile.start :])
            products[tile, tile.start :] += share.astype(xp.float64)

        active += sum(run_lanes(respond, cell_blocks(x, len(activity), images)))
        run_lanes(multiply, tiles[::2] + tiles[1::2])  # the first tiles are the longest, so threads share them
    for tile in tiles:
        products[tile.stop :, tile] = products[tile, tile.stop :].T
    return GranuleGram(to_numpy(products), active / (wiring.cells * images))


def with_equal_weights(wiring: Wiring) -> Wiring:
    """Return the wiring with the weight ``1/√k`` at every synapse."""
    weights = xp_of(wiring.weights).full_like(wiring.weights, wiring.weights.shape[1] ** -0.5)
    return replace(wiring, weights=weights)


def normal_thresholds(wiring: Wiring, level: float) -> Array:
    """Return each cell's threshold ``-Φ⁻¹(f) ‖w_i‖``, which its drive exceeds with probability f for standard normal inputs.

    Parameters
    ----------
    wiring : Wiring
        A wiring in which no cell has the same input twice.
    level : float
        The coding level f, above 0 and below 1.

    Returns
    -------
    array, shape (cells,)
    """
    require(0 < level < 1, "level", level, "a share above 0 and below 1")
    xp, weights = xp_of(wiring.weights), wiring.weights
    return xp.sqrt(xp.square(weights).sum(axis=1)) * weights.dtype.type(-ndtri(level))


def drawn_thresholds(wiring: Wiring, x: Array, level: float) -> Array:
    """Return a threshold for each cell, which its drive exceeds for the fraction f of the images.

    If many drives are equal, a threshold may be exceeded for fewer images.

    Parameters
    ----------
    wiring : Wiring
    x : array of float, shape (images, inputs)
        Images that determine the thresholds. They should not be the images whose activity is then studied; otherwise the activity
        for one image would depend on the other images.
    level : float
        The coding level f, above 0 and below 1.

    Returns
    -------
    array, shape (cells,)
    """
    require(0 < level < 1, "level", level, "a share above 0 and below 1")
    check_rows(x, wiring.width)
    require(len(x) >= 1, "images", len(x), "at least one")
    xp = xp_of(x)
    x_t = xp.ascontiguousarray(x.T)
    place = max(0, math.ceil(round((1 - level) * len(x), 6)) - 1)
    thresholds = xp.empty(wiring.cells, dtype=x.dtype)

    def find(part: slice) -> None:
        drive = wiring.project(part, x_t, xp.empty((part.stop - part.start, len(x)), dtype=x.dtype))
        thresholds[part] = xp.partition(drive, place, axis=1)[:, place]

    run_lanes(find, cell_blocks(x, wiring.cells, len(x)))
    return thresholds
