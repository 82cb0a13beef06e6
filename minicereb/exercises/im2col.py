"""The exercise about windows of an image as rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.convolution import Window, unfold_windows
from minicereb.diagnosis.hints import Case, Mistake, Task
from minicereb.exercises.definition import Exercise, mistakes


def _windows(x: Any, size: int, stride: int) -> Any:
    if size < 1 or stride < 1:
        raise ValueError("no windows")
    return unfold_windows(np.ascontiguousarray(x), Window(size, size, stride)).copy()


def _ordered(x: Any, size: int, stride: int, *order: int) -> Any:
    """The windows as (batch, down, across, row, column, channel), their axes in another order."""
    down, across = Window(size, size, stride).positions(*x.shape[1:3])
    six = _windows(x, size, stride).reshape(len(x), down, across, size, size, x.shape[3])
    rows = [axis for axis in order if axis < 3]
    return np.ascontiguousarray(six.transpose(order)).reshape(int(np.prod([six.shape[axis] for axis in rows])), -1)


def _in_order(code: str, text: str, *order: int) -> Mistake:
    return Mistake(code, text, lambda x, size, stride: _ordered(x, size, stride, *order))


def _flipped(x: Any, size: int, stride: int, axes: tuple[int, ...]) -> Any:
    down, across = Window(size, size, stride).positions(*x.shape[1:3])
    six = _windows(x, size, stride).reshape(len(x) * down * across, size, size, x.shape[3])
    return np.flip(six, axes).reshape(len(six), -1)


def _strided(x: Any, size: int, down: int, across: int) -> Any:
    each = [
        [x[:, i : i + size, j : j + size].reshape(len(x), -1) for j in range(0, x.shape[2] - size + 1, across)]
        for i in range(0, x.shape[1] - size + 1, down)
    ]
    return np.array(each).transpose(2, 0, 1, 3).reshape(-1, size * size * x.shape[3])


def _close_together(x: Any, size: int, stride: int) -> Any:
    down, across = Window(size, size, stride).positions(*x.shape[1:3])
    return _windows(x[:, : down + size - 1, : across + size - 1], size, 1)


def _fewer(x: Any, size: int, stride: int) -> Any:
    """Windows as if the last place did not exist."""
    each = [
        [x[:, i : i + size, j : j + size].reshape(len(x), -1) for j in range(0, x.shape[2] - size, stride)]
        for i in range(0, x.shape[1] - size, stride)
    ]
    return np.array(each).transpose(2, 0, 1, 3).reshape(-1, size * size * x.shape[3])


def _padded(x: Any, size: int, stride: int) -> Any:
    edge = size // 2
    return _windows(np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0))), size, stride)


def _windows_case(rng: np.random.Generator, number: int) -> Case:
    batch, height, width, channels = (
        (2, 5, 8, 3),
        (3, 7, 6, 2),
        (4, 9, 5, 3),
        (2, 6, 7, 4),
        (5, 5, 5, 5),
        (4, 4, 4, 4),
        (6, 6, 6, 6),
    )[number]
    size, stride = (3, 2, 2, 3, 3, 2, 2)[number], (2, 2, 3, 1, 2, 2, 2)[number]
    return Case({"x": rng.standard_normal((batch, height, width, channels)), "size": size, "stride": stride}, {"batch": batch})


_MISTAKES = mistakes(
    _in_order("channels first", "within a row channels come first; they lie together pixel by pixel", 0, 1, 2, 5, 3, 4),
    _in_order("pixels by column", "within a row pixels go column by column; they go row by row", 0, 1, 2, 4, 3, 5),
    _in_order(
        "windows by column",
        "the windows of a column follow each other; those of a row should, and then the next row's",
        0,
        2,
        1,
        3,
        4,
        5,
    ),
    _in_order("images last", "rows go position by position, the images within; they go image by image", 1, 2, 0, 3, 4, 5),
    _in_order("images last", "rows go across, then down, then over images; images come first", 2, 1, 0, 3, 4, 5),
    _in_order("channels first", "within a row channels come first, and pixels go by column", 0, 1, 2, 5, 4, 3),
    _in_order("windows and pixels by column", "windows and the pixels in them go column by column", 0, 2, 1, 4, 3, 5),
    (
        "window turned round",
        "windows are turned round: networks do not turn the kernel",
        lambda x, size, stride: _flipped(x, size, stride, (1, 2)),
    ),
    ("window mirrored", "windows are mirrored left to right", lambda x, size, stride: _flipped(x, size, stride, (2,))),
    ("window upside down", "windows are upside down", lambda x, size, stride: _flipped(x, size, stride, (1,))),
    ("stride down only", "the stride is left out across", lambda x, size, stride: _strided(x, size, stride, 1)),
    ("stride across only", "the stride is left out down", lambda x, size, stride: _strided(x, size, 1, stride)),
    (
        "stride of the size",
        "windows are `size` pixels apart; the stride is what counts",
        lambda x, size, stride: _strided(x, size, size, size),
    ),
    ("last windows missing", "the last windows are missing: positions are (height - size) // stride + 1", _fewer),
    (
        "positions without stride",
        "there are as many windows as there should be, but they are one pixel apart; `stride` pixels are right",
        _close_together,
    ),
    (
        "begins at 1",
        "the first windows are left out: they begin at the upper left corner, at 0",
        lambda x, size, stride: _windows(x[:, 1:, 1:], size, stride),
    ),
    ("padded", "there are zeros around the image; here is no padding", _padded),
    (
        "channels summed",
        "the channels are summed; each stays",
        lambda x, size, stride: _windows(x.sum(axis=3, keepdims=True), size, stride),
    ),
)


WINDOWS = Exercise(
    "im2col",
    "Windows of an image as rows (im2col)",
    ("M-CONV",),
    "windows(x, size, stride)",
    "A convolution is one matrix product once every window of the image is a row. Return these rows: windows of size × size "
    "pixels, the first at the upper left corner, `stride` pixels from one to the next, as many as fit without padding. Rows go "
    "image by image, in each the windows from left to right, then those of the next row down; within a row the pixels go "
    "likewise, and the channels of a pixel lie together.",
    """
    Parameters
    ----------
    x : array of float, shape (batch, height, width, channels)
    size : int
        Side of a window, in pixels.
    stride : int
        Pixels from one window to the next, down and across.

    Returns
    -------
    array, shape (batch · positions down · positions across, size · size · channels)
        Dtype of `x`.
    """,
    Task(
        _windows,
        _MISTAKES,
    ),
    _windows_case,
    (
        Case(
            {"x": np.arange(24, dtype=np.float64).reshape(1, 4, 6, 1), "size": 1, "stride": 1},
            note="a window may be a single pixel",
        ),
        Case(
            {"x": np.arange(48, dtype=np.float64).reshape(3, 4, 4, 1), "size": 4, "stride": 3},
            note="a window may be the whole image",
        ),
    ),
)
