"""Square ``[M-SQUARE]``: random search with square patches, which needs only the outputs of the model."""

from __future__ import annotations

import math

import numpy as np

from minicereb.attacks.ball import Ball, LinfBall, row_norms
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.nearby import Nearby, nearby
from minicereb.attacks.search import Search
from minicereb.attacks.square_loop import loop_for, search_by_loop
from minicereb.backend import Array, to_device, xp_of
from minicereb.randomness import Ahead, Draws

FIRST_SHARE = 0.8  # p: share of the pixels in the first square
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # queries, out of SCALE, after which p is halved
SCALE = 10_000
TILES = 5  # tiles along the shorter side of an image, for the first point in L2


def square(
    landscape: Landscape,
    ball: Ball,
    draws: Draws,
    steps: int,
    image_shape: tuple[int, ...] | None = None,
    rescale: bool = True,
    points: str = "every",
) -> Search:
    """Yield the query points: a start, then the best point so far with one window changed.

    Parameters
    ----------
    landscape : Landscape
        The objective to ascend; its gradient is not used.
    ball : Ball
        Ball around the clean images.
    draws : Draws
        Random numbers for these images.
    steps : int
        Number of points, or queries; the paper uses 5,000.
    image_shape : tuple of int, optional
        (height, width) or (height, width, channels) of the images; by default an image is a single row of pixels.
    rescale : bool
        Whether the schedule of p, the share of the image that a window covers, is stretched or shortened to the available
        queries, as published. Otherwise p falls at the published query counts, as in the standard ensemble: p is then
        0.8/128 after 5,000 queries, instead of 0.8/512.
    points : {"every", "best", "first"}
        Which of the points are needed. Unless this is ``"every"``, the search may yield only the best point of every few hundred
        queries. With ``"first"``, an image stays at its first misclassified point.

    References
    ----------
    Andriushchenko, Croce, Flammarion and Hein (2020), arXiv:1912.00049: Algorithm 2 for L∞, from vertical stripes, and
    Algorithm 3 for L2, from tiles. The share p is 0.8 at first, as in the standard ensemble. It is halved after
    each number of queries in :data:`HALVINGS`; these numbers are for a total of 10,000 queries. Unlike in the
    authors' code, a window may also touch the last row and the last column.
    """
    shape = height, width, channels = three_sides(image_shape, ball.x.shape[1])
    start, propose, drawn = (_stripes, _signs, 2) if ball.norm == "linf" else (_tiles, _moved_energy, 5)
    windows = [
        window_at(query / (steps if rescale else SCALE), height, width, odd=ball.norm == "l2") for query in range(1, steps)
    ]
    begin = start(ball, draws, shape)
    if isinstance(ball, LinfBall) and (found := loop_for(landscape, ball, points)) is not None:
        first = landscape.evaluate(begin)
        yield from search_by_loop(landscape, ball, draws, first, *found, windows, shape, stop=points == "first")
        return
    around = nearby if ball.norm == "linf" else Nearby  # in L2 a projection moves every changed pixel a little
    here, ahead = around(landscape, begin), Ahead(draws, drawn + channels, range(1, steps))
    point = here.point
    for window in windows:
        keep = yield point
        if keep is not None:
            ball = ball.of(keep)
            here.of(keep)
            ahead.of(keep)
        point = here.evaluate(propose(ball, ahead.uniform(), here.x, shape, window))
        here.move(point.value > here.value)
    yield point


def three_sides(image_shape: tuple[int, ...] | None, inputs: int) -> tuple[int, int, int]:
    """Return height, width and channels of an image; without a shape the image counts as a single row of pixels."""
    if image_shape is None or len(image_shape) == 1:
        return 1, inputs, 1
    height, width, channels = (*image_shape, 1)[:3]
    return height, width, channels


def window_at(progress: float, height: int, width: int, odd: bool = False) -> tuple[int, int]:
    """Return the window's height and width; `progress`, from 0 to 1, is the fraction of the queries that have been made.

    The window is a square of area p h w if that fits the image, whose `height` and `width` are h and w. If `odd` is true, each
    side is rounded up to an odd number of at least 3, as published for L2.
    """
    area = FIRST_SHARE * height * width / 2 ** sum(progress * SCALE > queries for queries in HALVINGS)
    side = max(round(math.sqrt(area)), 1)
    tall, wide = min(side, height), min(side, width)
    if tall < side:
        wide = min(round(area / tall), width)
    elif wide < side:
        tall = min(round(area / wide), height)
    if odd:
        tall, wide = (min(max(side | 1, 3), most - (most + 1) % 2) for side, most in ((tall, height), (wide, width)))
    return tall, wide


def _places(uniform: Array, window: tuple[int, int], shape: tuple[int, int, int]) -> Array:
    """Return the indices of the inputs in a random window of each image, shape (images, pixels, channels).

    `uniform` chooses the row and the column of the window.
    """
    xp, (tall, wide), (height, width, channels) = xp_of(uniform), window, shape
    rows, columns = (
        (uniform[:, axis] * (most - side + 1)).astype(xp.int64)
        for axis, (most, side) in enumerate(((height, tall), (width, wide)))
    )
    inside = (xp.arange(tall, dtype=xp.int64)[:, None] * width + xp.arange(wide, dtype=xp.int64)).ravel()
    pixels = (rows * width + columns)[:, None] + inside
    return pixels[:, :, None] * channels + xp.arange(channels, dtype=xp.int64)


def _random_signs(uniform: Array, like: Array) -> Array:
    return 2 * (uniform < 0.5).astype(like.dtype) - 1


def _stripes(ball: Ball, draws: Draws, shape: tuple[int, int, int]) -> Array:
    """Return the start in L∞: each column of each channel is at a random end of its range."""
    xp, (height, width, channels) = xp_of(ball.x), shape
    signs = _random_signs(draws.uniform(width * channels, 0), ball.x)
    return ball.project(ball.x + ball.epsilon * xp.tile(signs, (1, height)))


def _signs(ball: Ball, uniform: Array, best: Array, shape: tuple[int, int, int], window: tuple[int, int]) -> Array:
    """Return the next point in L∞: each channel of a random window goes to a random end of its range.

    If this changes nothing, all channels go to the other end.
    """
    xp, channels = xp_of(best), shape[2]
    places = _places(uniform, window, shape).reshape(len(best), -1)
    rows = xp.arange(len(best), dtype=xp.int64)[:, None]
    signs = xp.tile(_random_signs(uniform[:, 2:], best), (1, places.shape[1] // channels))
    now, x = best[rows, places], ball.x[rows, places]
    low, high = xp.maximum(x - ball.epsilon, 0), xp.minimum(x + ball.epsilon, 1)
    new = xp.where(signs > 0, high, low)
    same = (new == now).all(axis=1)
    new = xp.where((signs > 0) ^ same[:, None], high, low)
    proposed = best.copy()
    proposed[rows, places] = new
    return proposed


def _tiles(ball: Ball, draws: Draws, shape: tuple[int, int, int]) -> Array:
    """Return the start in L2: a grid of bumps with random signs, scaled to the size of the ball."""
    xp, (height, width, channels) = xp_of(ball.x), shape
    tall, wide = max(height // TILES, 1), max(width // TILES, 1)
    down, across = height // tall, width // wide
    signs = _random_signs(draws.uniform(down * across * channels, 0), ball.x).reshape(-1, down, across, channels)
    grid = xp.zeros((len(ball.x), *shape), dtype=ball.x.dtype)
    shown = signs.repeat(tall, axis=1).repeat(wide, axis=2)
    pattern = np.tile(bump(tall, wide), (down, across)).astype(np.dtype(ball.x.dtype))
    top, left = (height - down * tall) // 2, (width - across * wide) // 2
    grid[:, top : top + down * tall, left : left + across * wide] = shown * _on_device(pattern, ball.x)[:, :, None]
    return ball.project(ball.x + ball.epsilon * ball.ascent(grid.reshape(ball.x.shape)))


def _moved_energy(ball: Ball, uniform: Array, best: Array, shape: tuple[int, int, int], window: tuple[int, int]) -> Array:
    """Return the next point in L2: the change in two random windows is undone, and the first window gets a new pattern.

    The squared norm of the pattern is the part of ε² that was unused before, plus the part that the undone change sets free.
    """
    xp, channels = xp_of(best), shape[2]
    first, second = (_places(uniform[:, 2 * number :], window, shape) for number in (0, 1))
    rows = xp.arange(len(best), dtype=xp.int64)[:, None, None]
    change = best - ball.x
    old = change[rows, first]
    unused = xp.maximum(ball.epsilon**2 - row_norms(change) ** 2, 0)
    before = _energy(change, channels)
    change[rows, first] = 0
    change[rows, second] = 0
    freed = xp.maximum(before - _energy(change, channels), 0).astype(best.dtype)
    shape_of_it = _turned(bump(*window), uniform[:, 4], best).reshape(len(best), -1, 1)
    new = shape_of_it * _random_signs(uniform[:, 5:], best)[:, None, :] + _unit(old)
    change[rows, first] = _unit(new) * xp.sqrt(freed + unused[:, None] / channels)[:, None, :]
    change += ball.x
    return ball.project(change)


def _energy(change: Array, channels: int) -> Array:
    """Return the sum of squares, (images, channels), in float64."""
    xp = xp_of(change)
    return (change * change).reshape(len(change), -1, channels).sum(axis=1, dtype=xp.float64)


def _unit(windows: Array) -> Array:
    """Return every channel of every window divided by its norm; zeros stay zero."""
    xp = xp_of(windows)
    norms = xp.sqrt((windows * windows).sum(axis=1, keepdims=True, dtype=xp.float64))
    return windows / xp.maximum(norms, 1e-12).astype(windows.dtype)


def _turned(pattern: np.ndarray, uniform: Array, like: Array) -> Array:
    """Return the pattern, (images, height, width); a square pattern is transposed for about half of the images."""
    xp, there = xp_of(like), _on_device(pattern.astype(np.dtype(like.dtype)), like)
    if pattern.shape[0] != pattern.shape[1]:
        return xp.broadcast_to(there, (len(uniform), *pattern.shape))
    return xp.where((uniform < 0.5)[:, None, None], there, there.T)


def _on_device(array: np.ndarray, like: Array) -> Array:
    return to_device(array, "cpu" if isinstance(like, np.ndarray) else "cuda")


def bump(height: int, width: int) -> np.ndarray:
    """Return a hill beside a hollow, with norm 1 overall: each is a sum of concentric rectangles, the n-th of height 1/n²."""
    if width == 1:
        both = _hill(height, 1)
    else:
        left = width // 2
        both = np.concatenate((_hill(height, left), -_hill(height, width - left)), axis=1)
    return np.asarray(both / np.sqrt((both * both).sum()))


def _hill(height: int, width: int) -> np.ndarray:
    # The number of each pixel's rectangle, counted from the middle; the outermost contains all pixels.
    across, down = (abs(np.arange(side, dtype=np.float64) - side // 2) for side in (width, height))
    ring = np.maximum(across[None, :], down[:, None]).astype(np.int64)
    heights: np.ndarray = 1.0 / np.arange(1, ring.max() + 2, dtype=np.float64) ** 2
    return np.asarray(heights[::-1].cumsum()[::-1][ring])
