"""Exercises about layers: the slope of ReLU, the way back through a sparse projection, windows of an image."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.activations import relu_input_gradient, sigmoid
from minicereb.calculus.convolution import Window, laid_out
from minicereb.calculus.projection import add_project_input_gradient
from minicereb.check.hints import Case, Mistake, Task
from minicereb.exercises.exercise import Exercise

# -- the derivative of ReLU --------------------------------------------------------------------------------------------------


def _relu_case(rng: np.random.Generator, number: int) -> Case:
    batch, units = (5, 7, 4, 6, 5, 4, 6)[number], (3, 4, 6, 8, 5, 4, 6)[number]
    d_h, v = rng.standard_normal((batch, units)), 1.5 * rng.standard_normal((batch, units))
    return Case({"d_h": d_h, "v": v}, {"batch": batch, "units": units})


def _leaky(slope: float) -> Mistake:
    text = f"units that are not active let {slope:g} of the credit through: this is leaky ReLU"
    return Mistake("leaky", text, lambda d_h, v: np.where(v > 0, d_h, slope * d_h))


RELU = Exercise(
    "relu-derivative",
    "Derivative of ReLU",
    ("C1", "M-DX"),
    "relu_input_gradient(d_h, v)",
    "A granule cell answers h = max(v, 0). Given the derivative d_h of some objective by the response, return its derivative by "
    "the pre-activation v. At the kink v = 0 the slope is taken as 0.",
    """
    Parameters
    ----------
    d_h : array of float, any shape
        Derivative of the objective by the response.
    v : array of float, same shape
        Pre-activation.

    Returns
    -------
    array
        Derivative by v: shape and dtype of `d_h`.
    """,
    Task(
        lambda d_h, v: relu_input_gradient(d_h, v > 0),
        (
            Mistake("missing mask", "the mask is missing: the credit passes as if every unit were active", lambda d_h, v: d_h),
            Mistake("mask inverted", "the mask is the wrong way round: credit passes where v is below 0",
                    lambda d_h, v: d_h * (v <= 0)),
            Mistake("not differentiated", "this is the response max(v, 0) itself, not its derivative",
                    lambda d_h, v: np.maximum(v, 0)),
            Mistake("response for slope", "d_h is multiplied by the response max(v, 0) in place of its slope, which is 1 or 0",
                    lambda d_h, v: d_h * np.maximum(v, 0)),
            Mistake("pre-activation for slope", "d_h is multiplied by v in place of the slope, which is 1 or 0",
                    lambda d_h, v: d_h * v),
            Mistake("mask of the credit", "the mask is made of d_h; it belongs to v: active is v > 0",
                    lambda d_h, v: d_h * (d_h > 0)),
            Mistake("mask of the credit too", "negative credit is cut off as well; only v decides what passes",
                    lambda d_h, v: d_h * (v > 0) * (d_h > 0)),
            Mistake("slope of |v|", "the slope is taken as the sign of v: that is |v|, not ReLU", lambda d_h, v: d_h * np.sign(v)),
            Mistake("threshold of 1", "the mask is v > 1; the kink is at 0", lambda d_h, v: d_h * (v > 1)),
            Mistake("threshold of -1", "the mask is v > -1; the kink is at 0", lambda d_h, v: d_h * (v > -1)),
            Mistake("slope of softplus", "the slope is that of softplus, a smooth form of ReLU", lambda d_h, v: d_h * sigmoid(v)),
            Mistake("slope of the sigmoid", "the slope is that of the sigmoid, not of ReLU",
                    lambda d_h, v: d_h * sigmoid(v) * (1 - sigmoid(v))),
            Mistake("slope of tanh", "the slope is that of tanh, not of ReLU", lambda d_h, v: d_h * (1 - np.tanh(v) ** 2)),
            Mistake("clipped", "the slope is 0 above 1 as well: this is a clipped unit", lambda d_h, v: d_h * ((v > 0) & (v < 1))),
            Mistake("0 and 1 by size", "the mask is |v| in some range; it should be v > 0", lambda d_h, v: d_h * (np.abs(v) > 1)),
            *(_leaky(slope) for slope in (0.01, 0.1, 0.2, 0.3, 0.5)),
        ),
    ),
    _relu_case,
    (
        Case({"d_h": np.ones((2, 3)), "v": np.array([[0.0, 1.0, -1.0], [0.0, 2.0, -0.0]])},
             note="at v = 0 the slope is taken as 0: the mask is v > 0, not v >= 0"),
        Case({"d_h": np.ones(4), "v": np.array([1.0, -1.0, 2.0, 3.0])}, note="the shape may be any, also a single axis"),
        Case({"d_h": np.ones(3), "v": np.array([1e-30, 1e30, -1e-30])}, note="it must work for very small and very large v"),
    ),
)

# -- the input gradient of the sparse projection -----------------------------------------------------------------------------


def _projection(weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    d_x = np.zeros((width, d_v.shape[1]), dtype=d_v.dtype)
    contiguous = (np.ascontiguousarray(each) for each in (weights, np.asarray(inputs, dtype=np.int32), d_v))
    if inputs.min() < 0 or inputs.max() >= width:
        raise ValueError("no such input")
    return add_project_input_gradient(*contiguous, d_x)


def _overwritten(weights: Any, inputs: Any, d_v: Any, width: int, add: bool = True) -> Any:
    d_x = np.zeros((width, d_v.shape[1]), dtype=d_v.dtype)
    for synapse in range(weights.shape[1]):
        share = weights[:, synapse, None] * d_v
        d_x[inputs[:, synapse]] = share + (d_x[inputs[:, synapse]] if add else 0)
    return d_x


def _assigned(weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    return _overwritten(weights, inputs, d_v, width, add=False)


def _at_once(weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    d_x = np.zeros((width, d_v.shape[1]), dtype=d_v.dtype)
    d_x[inputs] += weights[:, :, None] * d_v[:, None]
    return d_x


def _counted(weights: Any, inputs: Any, d_v: Any, width: int) -> Any:
    return _projection(weights, inputs, d_v, width) / np.maximum(np.bincount(inputs.ravel(), minlength=width), 1)[:, None]


def _projection_case(rng: np.random.Generator, number: int) -> Case:
    cells, per_cell, width, images = (9, 11, 8, 12, 5, 4, 6)[number], (3, 2, 4, 3, 5, 4, 6)[number], (7, 5, 6, 10, 7, 6, 8)[number], (4, 6, 5, 2, 5, 4, 6)[number]
    inputs = rng.permuted(np.tile(np.arange(width, dtype=np.int32), (cells, 1)), axis=1)[:, :per_cell].copy()
    arguments = {"weights": rng.standard_normal((cells, per_cell)), "inputs": inputs,
                 "d_v": rng.standard_normal((cells, images)), "width": width}
    return Case(arguments, {"cells": cells, "inputs per cell": per_cell, "images": images})


_TWICE = Case(
    {"weights": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), "inputs": np.array([[0, 2, 2], [3, 3, 3]], dtype=np.int32),
     "d_v": np.array([[1.0, -1.0], [2.0, 0.5]]), "width": 5},
    note="a cell may have two synapses from the same input, and both count: d_x[inputs] += … keeps one of them; np.add.at adds all",
)
PROJECTION = Exercise(
    "sparse-projection",
    "Input gradient of the sparse projection",
    ("C1", "M-DX"),
    "projection_input_gradient(weights, inputs, d_v, width)",
    "Each granule cell sees few mossy fibres: v[c] = Σ_j weights[c, j] x[inputs[c, j]]. Given the derivative d_v of an objective by "
    "v, return its derivative by x, d_x = J d_v: every synapse gives its cell's credit, times its weight, back to its own input. "
    "An input that no cell sees gets 0.",
    """
    Parameters
    ----------
    weights : array of float, shape (cells, inputs per cell)
    inputs : array of int32, shape (cells, inputs per cell)
        The number of the mossy fibre that each synapse comes from.
    d_v : array of float, shape (cells, images)
        Derivative by the pre-activation, one column an image.
    width : int
        Number of mossy fibres.

    Returns
    -------
    array, shape (width, images)
        Dtype of `d_v`.
    """,
    Task(
        _projection,
        (
            *(
                Mistake("overwritten", "synapses on one input overwrite each other: = or d_x[inputs] += … keeps the last of them; "
                        "np.add.at adds all", function)
                for function in (_overwritten, _at_once, _assigned)
            ),
            Mistake("only the first synapse", "only the first synapse of each cell counts; all do",
                    lambda weights, inputs, d_v, width: _projection(weights[:, :1], inputs[:, :1], d_v, width)),
            Mistake("only the last synapse", "only the last synapse of each cell counts; all do",
                    lambda weights, inputs, d_v, width: _projection(weights[:, -1:], inputs[:, -1:], d_v, width)),
            Mistake("averaged over synapses", "each input's share is divided by how many synapses it has: a sum belongs there",
                    _counted),
            Mistake("forward again", "this gathers from d_v by the numbers of inputs; the way back scatters to them",
                    lambda weights, inputs, d_v, width: (weights[:, :, None] * d_v[inputs % len(d_v)]).sum(axis=1)),
            Mistake("masked", "credit below 0 is cut off; there is no ReLU in this step",
                    lambda weights, inputs, d_v, width: _projection(weights, inputs, np.maximum(d_v, 0), width)),
        ),
    ),
    _projection_case,
    (_TWICE,),
)

# -- im2col ------------------------------------------------------------------------------------------------------------------


def _windows(x: Any, size: int, stride: int) -> Any:
    if size < 1 or stride < 1:
        raise ValueError("no windows")
    return laid_out(np.ascontiguousarray(x), Window(size, size, stride)).copy()


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
    each = [[x[:, i : i + size, j : j + size].reshape(len(x), -1) for j in range(0, x.shape[2] - size + 1, across)]
            for i in range(0, x.shape[1] - size + 1, down)]
    return np.array(each).transpose(2, 0, 1, 3).reshape(-1, size * size * x.shape[3])


def _fewer(x: Any, size: int, stride: int) -> Any:
    """Windows as if the last place did not exist."""
    each = [[x[:, i : i + size, j : j + size].reshape(len(x), -1) for j in range(0, x.shape[2] - size, stride)]
            for i in range(0, x.shape[1] - size, stride)]
    return np.array(each).transpose(2, 0, 1, 3).reshape(-1, size * size * x.shape[3])


def _padded(x: Any, size: int, stride: int) -> Any:
    edge = size // 2
    return _windows(np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0))), size, stride)


def _windows_case(rng: np.random.Generator, number: int) -> Case:
    batch, height, width, channels = ((2, 5, 8, 3), (3, 7, 6, 2), (4, 9, 5, 3), (2, 6, 7, 4), (5, 5, 5, 5), (4, 4, 4, 4), (6, 6, 6, 6))[number]
    size, stride = (3, 2, 2, 3, 3, 2, 2)[number], (2, 2, 3, 1, 2, 2, 2)[number]
    return Case({"x": rng.standard_normal((batch, height, width, channels)), "size": size, "stride": stride}, {"batch": batch})


WINDOWS = Exercise(
    "im2col",
    "Windows of an image as rows (im2col)",
    ("M-CONV",),
    "windows(x, size, stride)",
    "A convolution is one matrix product once every window of the image is a row. Return these rows: windows of size × size "
    "pixels, the first at the upper left corner, `stride` pixels from one to the next, as many as fit without padding. Rows go "
    "image by image, then down, then across; within a row the pixels go row by row, and the channels of a pixel lie together.",
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
        (
            _in_order("channels first", "within a row channels come first; they lie together pixel by pixel", 0, 1, 2, 5, 3, 4),
            _in_order("pixels by column", "within a row pixels go column by column; they go row by row", 0, 1, 2, 4, 3, 5),
            _in_order("windows by column", "windows go across last; they go down first, then across", 0, 2, 1, 3, 4, 5),
            _in_order("images last", "rows go position by position, the images within; they go image by image", 1, 2, 0, 3, 4, 5),
            _in_order("images last", "rows go across, then down, then over images; images come first", 2, 1, 0, 3, 4, 5),
            _in_order("channels first", "within a row channels come first, and pixels go by column", 0, 1, 2, 5, 4, 3),
            _in_order("windows and pixels by column", "windows and the pixels in them go column by column", 0, 2, 1, 4, 3, 5),
            Mistake("window turned round", "windows are turned round: networks do not turn the kernel",
                    lambda x, size, stride: _flipped(x, size, stride, (1, 2))),
            Mistake("window mirrored", "windows are mirrored left to right", lambda x, size, stride: _flipped(x, size, stride, (2,))),
            Mistake("window upside down", "windows are upside down", lambda x, size, stride: _flipped(x, size, stride, (1,))),
            Mistake("stride down only", "the stride is left out across", lambda x, size, stride: _strided(x, size, stride, 1)),
            Mistake("stride across only", "the stride is left out down", lambda x, size, stride: _strided(x, size, 1, stride)),
            Mistake("stride of the size", "windows are `size` pixels apart; the stride is what counts",
                    lambda x, size, stride: _strided(x, size, size, size)),
            Mistake("last windows missing", "the last windows are missing: positions are (height - size) // stride + 1", _fewer),
            Mistake("padded", "there are zeros around the image; here is no padding", _padded),
            Mistake("channels summed", "the channels are summed; each stays", lambda x, size, stride: _windows(
                x.sum(axis=3, keepdims=True), size, stride)),
        ),
    ),
    _windows_case,
    (
        Case({"x": np.arange(24.0).reshape(1, 4, 6, 1), "size": 1, "stride": 1}, note="a window may be a single pixel"),
        Case({"x": np.arange(48.0).reshape(3, 4, 4, 1), "size": 4, "stride": 3}, note="a window may be the whole image"),
    ),
)
