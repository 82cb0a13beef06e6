"""Digits drawn by the program: a data set that needs neither files nor a network.

A digit consists of a few strokes through control points. For every image the points move a little, and the digit is scaled,
slanted, rotated, shifted, and drawn with a pen of random width. The drawing uses only uniform random numbers, + - * / and
square roots, which IEEE 754 rounds the same way everywhere. So equal settings give equal bytes on every machine, and a
run on these images can be identified by its settings.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import pool_2x2
from minicereb.errors import require
from minicereb.parallel import blocks, run_lanes
from minicereb.randomness import generator

BLOCK = 250  # images that share a generator
PIECES = 24  # straight pieces that approximate the curves of one digit
POINTS = 8  # largest number of control points of a style

# Lengths are in units of the image's side, so that the same digits can be drawn at any size.
HEIGHT, WIDTH = 0.68, 0.50  # size of the box in which the styles are given
JITTER = 0.08  # largest shift of a control point, relative to the box
SCALE = 0.13
SLANT = 0.36
TURN = 0.11  # tangent of half the angle
SHIFT = 0.03
RADIUS = (0.028, 0.066)
EDGE = (0.035, 0.075)
PRESSURE = (0.85, 1.0)
GRAIN = 0.2


class Style(NamedTuple):
    """One way to write a digit.

    Attributes
    ----------
    digit : int
    strokes : str
        Indices of the points in the order in which the pen visits them; a space lifts the pen. A stroke is a smooth curve,
        closed if it ends where it began. A point that two strokes share is a corner, and moves only once.
    points : tuple of (float, float)
        Control points, x to the right and y down, in the unit square.
    """

    digit: int
    strokes: str
    points: tuple[tuple[float, float], ...]


STYLES = (
    Style(0, "0123450", ((0.5, 0.0), (0.06, 0.26), (0.06, 0.74), (0.5, 1.0), (0.94, 0.74), (0.94, 0.26))),
    Style(0, "0123456", ((0.7, 0.05), (0.2, 0.15), (0.06, 0.66), (0.5, 1.0), (0.94, 0.6), (0.8, 0.1), (0.42, 0.02))),
    Style(1, "0123", ((0.5, 0.0), (0.5, 0.33), (0.5, 0.67), (0.5, 1.0))),
    Style(1, "01 123", ((0.25, 0.22), (0.55, 0.0), (0.54, 0.5), (0.53, 1.0))),
    Style(1, "01 123 435", ((0.25, 0.22), (0.52, 0.0), (0.52, 0.5), (0.52, 1.0), (0.2, 1.0), (0.85, 1.0))),
    Style(2, "01234 456", ((0.06, 0.25), (0.42, 0.0), (0.86, 0.2), (0.62, 0.58), (0.05, 1.0), (0.5, 0.97), (1.0, 0.98))),
    Style(2, "01234567", ((0.1, 0.2), (0.5, 0.0), (0.85, 0.25), (0.55, 0.7), (0.12, 0.98), (0.1, 0.78), (0.4, 0.82), (1.0, 1.0))),
    Style(3, "0123 3456", ((0.1, 0.12), (0.52, 0.0), (0.86, 0.22), (0.38, 0.47), (0.92, 0.72), (0.5, 1.0), (0.04, 0.86))),
    Style(3, "012 23 3456", ((0.08, 0.02), (0.45, 0.0), (0.88, 0.02), (0.42, 0.4), (0.92, 0.68), (0.55, 1.0), (0.05, 0.88))),
    Style(4, "01 123 456", ((0.18, 0.0), (0.1, 0.5), (0.5, 0.56), (0.95, 0.52), (0.8, 0.0), (0.76, 0.5), (0.72, 1.0))),
    Style(4, "012 234 056", ((0.7, 0.0), (0.35, 0.35), (0.0, 0.68), (0.5, 0.68), (1.0, 0.66), (0.7, 0.5), (0.7, 1.0))),
    Style(5, "01 12 23456", ((0.92, 0.02), (0.25, 0.04), (0.18, 0.45), (0.6, 0.38), (0.94, 0.68), (0.55, 1.0), (0.04, 0.9))),
    Style(5, "0123456", ((0.95, 0.0), (0.55, 0.05), (0.3, 0.2), (0.4, 0.45), (0.8, 0.6), (0.7, 0.93), (0.1, 0.95))),
    Style(6, "0123456", ((0.75, 0.0), (0.3, 0.25), (0.06, 0.68), (0.4, 1.0), (0.86, 0.78), (0.56, 0.52), (0.12, 0.72))),
    Style(6, "0123456", ((0.4, 0.0), (0.15, 0.35), (0.08, 0.75), (0.5, 1.0), (0.92, 0.78), (0.6, 0.56), (0.16, 0.7))),
    Style(7, "012 234", ((0.04, 0.04), (0.5, 0.04), (0.95, 0.02), (0.6, 0.5), (0.38, 1.0))),
    Style(7, "012 234 56", ((0.04, 0.08), (0.5, 0.02), (0.92, 0.06), (0.65, 0.5), (0.4, 1.0), (0.25, 0.52), (0.85, 0.48))),
    Style(8, "012304560", ((0.5, 0.46), (0.14, 0.2), (0.5, 0.0), (0.86, 0.2), (0.06, 0.76), (0.5, 1.0), (0.94, 0.76))),
    Style(8, "0123456 630", ((0.85, 0.15), (0.45, 0.0), (0.15, 0.22), (0.5, 0.48), (0.9, 0.76), (0.5, 1.0), (0.1, 0.76))),
    Style(9, "01234 0456", ((0.86, 0.2), (0.46, 0.0), (0.1, 0.24), (0.42, 0.48), (0.84, 0.3), (0.82, 0.65), (0.76, 1.0))),
    Style(9, "01230 0456", ((0.88, 0.16), (0.5, 0.0), (0.1, 0.24), (0.45, 0.5), (0.82, 0.5), (0.55, 0.95), (0.15, 0.95))),
)


class Hand(NamedTuple):
    """The random properties of a block's handwriting (see :func:`load`); arrays of float32 whose first axis is the image."""

    jitter: np.ndarray
    scale: np.ndarray
    slant: np.ndarray
    turn: np.ndarray
    shift: np.ndarray
    radius: np.ndarray
    edge: np.ndarray


def load(train: int = 6000, test: int = 1000, size: int = 28, seed: int = 0) -> Dataset:
    """Draw the data set.

    Parameters
    ----------
    train, test : int
        Number of training and of test images, at least 1. Image i does not depend on the number of images.
    size : int
        Height and width in pixels, 8 to 256.
    seed : int
        Seed of the data, at least 0; it is not the experiment's seed.

    Returns
    -------
    Dataset
        uint8 rows (images, size * size), labels int64, ten classes.

    Raises
    ------
    InputError
        If a setting is out of range.

    Notes
    -----
    Every ten consecutive images contain each digit once, in random order. The following quantities are drawn
    independently for each image, where U(a, b) is uniform from a to b; the unit of length is the side of the image.

    - a style: each of the digit's ways of writing is equally likely;
    - jitter of each control point: on each axis the sum of two U(-0.08, 0.08). Here the units are the width and the height of the
      box in which the styles are given (0.50 by 0.68). The moved points are then shifted so that their bounding box is centred;
    - scale: 1 + U(-0.13, 0.13), drawn separately for width and height;
    - slant: x grows by U(-0.36, 0.36) for each unit of height;
    - rotation: twice the arctangent of U(-0.11, 0.11), at most 12.6 degrees in either direction;
    - position: the centre of the image + U(-0.03, 0.03) on each axis;
    - pen: a radius of U(0.028, 0.066);
    - blur: ink fades out linearly over a width of U(0.035, 0.075), but over at least one pixel;
    - pressure: the brightness of the ink, U(0.85, 1);
    - grain: each pixel is multiplied by a separate draw from U(0.8, 1); paper stays black.

    After 6,000 training images, a least-squares readout of the pixels recognises 86.8 % of new images, and a readout of 5,000
    random ReLU cells 98.6 % (measured on 4,000 images with seed 0; tests check that both stay in a range).
    """
    x_train, y_train = draw("train", train, size, seed)
    x_test, y_test = draw("test", test, size, seed)
    return Dataset("strokes", x_train, y_train, x_test, y_test, (size, size), 10)


def strokes14(train: int = 6000, test: int = 1000, seed: int = 0) -> Dataset:
    """Draw the strokes at 28x28 pixels and pool them to 14x14: a substitute for ``"mnist14"`` that needs no files.

    Parameters
    ----------
    train, test, seed : int
        As for :func:`load`; equal values give the same drawings in the same split.

    Returns
    -------
    Dataset
        uint8 rows (images, 196), labels int64, ten classes.

    Raises
    ------
    InputError
        If a setting is out of range.
    """
    drawn = load(train, test, size=28, seed=seed)
    x_train, x_test = (pool_2x2(x, drawn.image_shape) for x in (drawn.x_train, drawn.x_test))
    return replace(drawn, name="strokes14", x_train=x_train, x_test=x_test, image_shape=(14, 14))


def draw(split: str, images: int, size: int = 28, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw the first images of one split.

    Parameters
    ----------
    split : {"train", "test"}
        Name of the endless sequence of images to draw from; error messages use it as the name of the setting.
    images, size, seed : int
        As for :func:`load`.

    Returns
    -------
    rows : array of uint8, shape (images, size * size)
    labels : array of int64, shape (images,)

    Raises
    ------
    InputError
        If a setting is out of range.
    """
    require(images >= 1, split, images, "a whole number of at least 1")
    require(8 <= size <= 256, "size", size, "8 to 256 pixels")
    require(seed >= 0, "seed", seed, "a whole number of at least 0")
    rows = np.empty((images, size * size), dtype=np.uint8)
    labels = np.empty(images, dtype=np.int64)

    def draw_into(part: slice) -> None:
        wanted = part.stop - part.start
        ink, digits = _draw_block(seed, split, part.start // BLOCK, size)
        rows[part], labels[part] = ink[:wanted], digits[:wanted]

    run_lanes(draw_into, list(blocks(images, BLOCK)))
    return rows, labels


def _draw_block(seed: int, split: str, block: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the BLOCK images of one generator; return them as rows of uint8, with their labels."""
    rng = generator(seed, f"strokes {split}", block)
    labels = np.argsort(rng.random((BLOCK // 10, 10)), axis=1, kind="stable").ravel()
    choice = rng.random(BLOCK)
    hand, pressure = _draw_hand(rng), _uniform(rng, *PRESSURE)
    grain = _uniform(rng, 1 - GRAIN, 1, size, size)  # drawn last, because it is the only draw that depends on the size
    ink = np.zeros((BLOCK, size, size), dtype=np.float32)
    for digit in range(10):
        styles = [style for style in STYLES if style.digit == digit]
        for number, style in enumerate(styles):
            chosen = np.flatnonzero((labels == digit) & (np.floor(choice * len(styles)) == number))
            ink[chosen] = _write(style, Hand(*(field[chosen] for field in hand)), size)
    ink *= grain
    ink *= 255 * pressure[:, None, None]
    return np.rint(ink, out=ink).astype(np.uint8).reshape(BLOCK, size * size), labels


def _draw_hand(rng: np.random.Generator) -> Hand:
    def around_zero(extent: float, *shape: int) -> np.ndarray:
        return _uniform(rng, -extent, extent, *shape)

    return Hand(
        jitter=around_zero(JITTER, POINTS, 2) + around_zero(JITTER, POINTS, 2),
        scale=1 + around_zero(SCALE, 2),
        slant=around_zero(SLANT, 1),
        turn=around_zero(TURN, 1),
        shift=around_zero(SHIFT, 2),
        radius=_uniform(rng, *RADIUS, 1, 1),
        edge=_uniform(rng, *EDGE, 1, 1),
    )


def _uniform(rng: np.random.Generator, low: float, high: float, *shape: int) -> np.ndarray:
    draws = rng.random((BLOCK, *shape), dtype=np.float32)
    return np.float32(low) + np.float32(high - low) * draws


def _write(style: Style, hand: Hand, size: int) -> np.ndarray:
    """Return the ink in [0, 1], float32 (images, size, size), of one style in several handwritings."""
    points = _place(style, hand)
    starts, ends = (
        sum(weights[:, None, point, None] * points[None, :, point] for point in range(len(style.points)))
        for weights in _pen_path(style)
    )
    edge = np.maximum(hand.edge, np.float32(1 / size))
    ink = (hand.radius - _distance_to_pieces(starts, ends, size)) / edge + np.float32(0.5)
    return np.clip(ink, 0, 1, out=ink)


def _place(style: Style, hand: Hand) -> np.ndarray:
    """Return the control points on the image, float32 (images, points, 2)."""
    points = np.array(style.points, dtype=np.float32) + hand.jitter[:, : len(style.points)]
    points -= (points.min(axis=1, keepdims=True) + points.max(axis=1, keepdims=True)) / 2
    x = points[..., 0] * hand.scale[:, :1] * np.float32(WIDTH)
    y = points[..., 1] * hand.scale[:, 1:] * np.float32(HEIGHT)
    x -= hand.slant * y
    t = hand.turn  # the tangent of half the angle gives its sine and cosine without a library's sin and cos
    cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    return np.stack((cosine * x - sine * y, sine * x + cosine * y), axis=2) + (np.float32(0.5) + hand.shift[:, None])


@functools.cache
def _pen_path(style: Style) -> np.ndarray:
    """Return the weights of the control points at both ends of every straight piece, float32 (2, pieces, points)."""
    strokes = style.strokes.split()
    per_span = PIECES // sum(len(stroke) - 1 for stroke in strokes)
    paths = [_spline([int(point) for point in stroke], len(style.points), per_span) for stroke in strokes]
    return np.concatenate([np.stack((path[:-1], path[1:])) for path in paths], axis=1)


def _spline(visits: list[int], points: int, per_span: int) -> np.ndarray:
    """Return the weights of the control points along one stroke, a uniform Catmull-Rom spline: float32 (positions, points)."""
    knots = np.eye(points, dtype=np.float32)[visits]
    closed = visits[0] == visits[-1]
    before = knots[-2] if closed else 2 * knots[0] - knots[1]
    after = knots[1] if closed else 2 * knots[-1] - knots[-2]
    knots = np.concatenate((before[None], knots, after[None]))
    t = (np.arange(per_span, dtype=np.float32) / np.float32(per_span))[:, None]
    spans = [
        (2 * p1 + t * ((p2 - p0) + t * ((2 * p0 - 5 * p1 + 4 * p2 - p3) + t * (3 * p1 - p0 - 3 * p2 + p3)))) / 2
        for p0, p1, p2, p3 in zip(knots, knots[1:], knots[2:], knots[3:], strict=False)
    ]
    return np.concatenate((*spans, knots[-2:-1]))


def _distance_to_pieces(starts: np.ndarray, ends: np.ndarray, size: int) -> np.ndarray:
    """Return the distance from every pixel's centre to the nearest piece, float32 (images, size, size).

    `starts` and `ends` have the shape (pieces, images, 2). The distance from a piece has two parts: one across the piece,
    and one along it, beyond its ends.
    """
    centres = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    nearest = np.full((starts.shape[1], size, size), np.inf, dtype=np.float32)
    beyond, across = np.empty_like(nearest), np.empty_like(nearest)
    for start, end in zip(starts, ends, strict=True):
        middle, step = (start + end) / 2, end - start
        length = np.sqrt((step * step).sum(axis=1, keepdims=True))
        is_point = length == 0
        step[:, :1] += is_point  # for a single point, any direction will do
        along_x, along_y = (step / (length + is_point)).T[:, :, None]
        x, y = centres - middle[:, :1], centres - middle[:, 1:]
        np.subtract((x * along_y)[:, None, :], (y * along_x)[:, :, None], out=across)
        np.add((x * along_x)[:, None, :], (y * along_y)[:, :, None], out=beyond)
        np.abs(beyond, out=beyond)
        beyond -= (length / 2)[:, :, None]
        np.maximum(beyond, 0, out=beyond)
        beyond *= beyond
        across *= across
        beyond += across
        np.minimum(nearest, beyond, out=nearest)
    return np.sqrt(nearest, out=nearest)
