"""The exercise on im2col: the windows of an image as rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.convolution import Window, unfold_windows
from minicereb.diagnosis.hints import Task
from minicereb.exercises.definition import Exercise, mistakes


def _windows(x: Any, size: int, stride: int) -> Any:
    if size < 1 or stride < 1:
        raise ValueError("no windows")
    return unfold_windows(np.ascontiguousarray(x), Window(size, size, stride)).copy()


def _ordered(order: tuple[int, ...]) -> Any:
    """Return a known mistake: windows whose axes (batch, down, across, row, column, channel) are in another order."""

    def windows(x: Any, size: int, stride: int) -> Any:
        down, across = Window(size, size, stride).positions(*x.shape[1:3])
        six = _windows(x, size, stride).reshape(len(x), down, across, size, size, x.shape[3])
        return np.ascontiguousarray(six.transpose(order)).reshape(len(x) * down * across, -1)

    return windows


def _flipped(axes: tuple[int, ...]) -> Any:
    def windows(x: Any, size: int, stride: int) -> Any:
        rows = _windows(x, size, stride)
        return np.flip(rows.reshape(len(rows), size, size, x.shape[3]), axes).reshape(len(rows), -1)

    return windows


def _strided(x: Any, size: int, down: int, across: int, last: int = 1) -> Any:
    """A known mistake: windows with two different strides. If `last` is 0, the windows at the last position are missing."""
    each = [
        [x[:, i : i + size, j : j + size].reshape(len(x), -1) for j in range(0, x.shape[2] - size + last, across)]
        for i in range(0, x.shape[1] - size + last, down)
    ]
    return np.array(each).transpose(2, 0, 1, 3).reshape(-1, size * size * x.shape[3])


def _close_together(x: Any, size: int, stride: int) -> Any:
    down, across = Window(size, size, stride).positions(*x.shape[1:3])
    return _windows(x[:, : down + size - 1, : across + size - 1], size, 1)


def _padded(x: Any, size: int, stride: int) -> Any:
    edge = size // 2
    return _windows(np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0))), size, stride)


_ORDERS = mistakes(
    ("channels first", "within a row the channels come first; those of one pixel should lie together", (0, 1, 2, 5, 3, 4)),
    ("pixels by column", "within a row the pixels go column by column; they should go row by row", (0, 1, 2, 4, 3, 5)),
    ("windows by column", "the windows go column by column; they should go row by row", (0, 2, 1, 3, 4, 5)),
    ("images last", "rows go position by position, then image by image; images should come first", (1, 2, 0, 3, 4, 5)),
    ("images last", "rows go across, then down, then image by image; images should come first", (2, 1, 0, 3, 4, 5)),
    ("channels first", "within a row the channels come first, and the pixels go column by column", (0, 1, 2, 5, 4, 3)),
    ("windows and pixels by column", "the windows and the pixels in them go column by column", (0, 2, 1, 4, 3, 5)),
    of=_ordered,
)
_FLIPS = mistakes(
    ("window turned round", "the windows are rotated by 180°: networks do not rotate the kernel", (1, 2)),
    ("window mirrored", "the windows are mirrored left to right", (2,)),
    ("window upside down", "the windows are upside down", (1,)),
    of=_flipped,
)
_PLACES = mistakes(
    ("stride down only", "the stride is used down only, not across", lambda x, size, stride: _strided(x, size, stride, 1)),
    ("stride across only", "the stride is used across only, not down", lambda x, size, stride: _strided(x, size, 1, stride)),
    ("stride of the size", "windows are `size` pixels apart", lambda x, size, stride: _strided(x, size, size, size)),
    ("last windows missing", "there are (height - size) // stride + 1 positions", lambda x, n, k: _strided(x, n, k, k, 0)),
    ("positions without stride", "the number of windows is right, but they are one pixel apart, not `stride`", _close_together),
    ("begins at 1", "the windows start at pixel 1; they should start at 0", lambda x, *given: _windows(x[:, 1:, 1:], *given)),
    ("padded", "the image is padded with zeros; here there is no padding", _padded),
    ("channels summed", "the channels are summed", lambda x, *given: _windows(x.sum(axis=3, keepdims=True), *given)),
)

WINDOWS = Exercise(
    "im2col",
    "Windows of an image as rows (im2col)",
    ("M-CONV",),
    "windows(x, size, stride)",
    "If every window of the image is a row of a matrix, a convolution is one matrix product. Return these rows. Windows have "
    "size × size pixels; the first is at the upper left corner, the distance from one to the next is `stride` pixels, and there "
    "are as many as fit without padding. The rows are ordered image by image; within an image, windows go from left to right, "
    "then from top to bottom. Within a row, pixels are in the same order, and the channels of a pixel are adjacent.",
    {
        "x : array of float, shape (batch, height, width, channels)": "",
        "size : int": "Side of a window, in pixels.",
        "stride : int": "Pixels from one window to the next, down and across.",
    },
    ("array, shape (batch · positions down · positions across, size · size · channels)", "Dtype of `x`."),
    Task(_windows, _ORDERS + _FLIPS + _PLACES),
    lambda rng, batch, height, width, channels, size, stride: (
        rng.standard_normal((batch, height, width, channels)),
        size,
        stride,
    ),
    {"batch": (2, 3, 4, 2), "height": (5, 7, 9, 6), "width": (8, 6, 5, 7), "channels": (3, 2, 3, 4)},
    {"size": (3, 2, 2, 3), "stride": (2, 2, 3, 1, 2, 2, 2)},
    {
        "a window may be a single pixel": (np.arange(24, dtype=np.float64).reshape(1, 4, 6, 1), 1, 1),
        "a window may be the whole image": (np.arange(48, dtype=np.float64).reshape(3, 4, 4, 1), 4, 3),
    },
    points=3,
)
