"""Two-dimensional convolution as matrix products over windows, with its derivatives by the input, the weights and the bias.

Images are (batch, height, width, channels), so that a row of a window lies together in memory. Only the windows of a few images
are laid out at a time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minicereb.backend import Array, blocks, run_lanes, scratch, sum_lanes, xp_of
from minicereb.errors import InputError

POSITIONS = 1024  # whose windows are laid out together: enough for a fast matrix product, few enough for the cache


class Window(NamedTuple):
    """How a kernel goes over an image.

    Attributes
    ----------
    height, width : int
        Of the kernel, in pixels.
    stride : int
        Pixels from one window to the next.
    padding : int
        Rows and columns of zeros around the image.
    """

    height: int
    width: int
    stride: int = 1
    padding: int = 0

    def positions(self, height: int, width: int) -> tuple[int, int]:
        """Windows along each side of an image; :class:`InputError` if there are none."""
        down, across = height + 2 * self.padding - self.height, width + 2 * self.padding - self.width
        if down < 0 or across < 0:
            expected = f"at least {self.height} x {self.width} pixels for the kernel, with padding {self.padding}"
            raise InputError("image", f"{height} x {width}", expected)
        return down // self.stride + 1, across // self.stride + 1


def convolution(x: Array, weight: Array, bias: Array, stride: int = 1, padding: int = 0) -> Array:
    """Convolution as networks have it: ``v[p, o] = Σ_q θ[o, q] x[s p + q - padding] + b[o]`` ``[M-CONV]``.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels)
    weight : array, shape (outputs, kernel height, kernel width, channels)
    bias : array, shape (outputs,)
    stride, padding : int

    Returns
    -------
    array, shape (batch, height of the output, width of the output, outputs)
    """
    window = _window(weight, stride, padding)
    sides = window.positions(*x.shape[1:3])
    v = xp_of(x).empty((len(x), *sides, len(weight)), dtype=x.dtype)
    matrix = weight.reshape(len(weight), -1)

    def respond(part: slice) -> None:
        rows = v[part].reshape(-1, len(weight))
        xp_of(x).matmul(laid_out(x[part], window), matrix.T, out=rows)
        rows += bias

    run_lanes(respond, _parts(len(x), sides))
    return v


def convolution_input_gradient(d_v: Array, weight: Array, sides: tuple[int, int], stride: int = 1, padding: int = 0) -> Array:
    """Derivative by the input: every window gets back its output's credit through the kernel ``[M-CONV-DX]``.

    Parameters
    ----------
    d_v : array, shape (batch, height of the output, width of the output, outputs)
    weight : array, shape (outputs, kernel height, kernel width, channels)
    sides : tuple of int
        Height and width of the input.
    stride, padding : int

    Returns
    -------
    array, shape (batch, height, width, channels)
    """
    xp, window = xp_of(d_v), _window(weight, stride, padding)
    d_x = xp.empty((len(d_v), *sides, weight.shape[3]), dtype=d_v.dtype)
    matrix = weight.reshape(len(weight), -1)

    def give_back(part: slice) -> None:
        credit = d_v[part].reshape(-1, len(weight))
        d_windows = xp.matmul(credit, matrix, out=scratch("windows", (len(credit), matrix.shape[1]), credit))
        d_x[part] = _overlaid(d_windows, d_x[part].shape, d_v.shape[1:3], window)

    run_lanes(give_back, _parts(len(d_v), d_v.shape[1:3]))
    return d_x


def convolution_weight_gradient(
    d_v: Array, x: Array, kernel: tuple[int, int], stride: int = 1, padding: int = 0
) -> tuple[Array, Array]:
    """Derivatives by weight and bias, summed over batch and positions: credit times what the window saw ``[M-CONV-DW]``.

    Parameters
    ----------
    d_v : array, shape (batch, height of the output, width of the output, outputs)
    x : array, shape (batch, height, width, channels)
    kernel : tuple of int
        Height and width.
    stride, padding : int

    Returns
    -------
    d_weight : array, shape (outputs, kernel height, kernel width, channels)
    d_bias : array, shape (outputs,)
    """
    window, outputs, channels = Window(*kernel, stride, padding), d_v.shape[3], x.shape[3]

    def add(lane: list[slice], total: Array) -> None:
        for part in lane:
            total += xp_of(x).dot(d_v[part].reshape(-1, outputs).T, laid_out(x[part], window))

    shape = outputs, window.height * window.width * channels
    d_weight = sum_lanes(add, _parts(len(x), d_v.shape[1:3]), shape, x)
    return d_weight.reshape(outputs, window.height, window.width, channels), d_v.sum(axis=(0, 1, 2))


def _window(weight: Array, stride: int, padding: int) -> Window:
    _, height, width, _ = weight.shape
    return Window(height, width, stride, padding)


def laid_out(x: Array, window: Window) -> Array:
    """Copy every window of some images into a row of its own.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels)
    window : Window

    Returns
    -------
    array, shape (batch · positions, kernel height · kernel width · channels)
        Overwritten by this thread's next call.
    """
    batch, height, width, channels = x.shape
    down, across = window.positions(height, width)
    padded, stride = _padded(x, window.padding), window.stride
    rows = scratch("windows", (batch * down * across, window.height * window.width * channels), x)
    each = rows.reshape(batch, down, across, window.height, window.width, channels)
    for i in range(window.height):
        for j in range(window.width):
            each[:, :, :, i, j] = padded[:, i : i + stride * down : stride, j : j + stride * across : stride]
    return rows


def _padded(x: Array, padding: int) -> Array:
    """Images with zeros around them, in memory of this thread's."""
    if padding == 0:
        return x
    batch, height, width, channels = x.shape
    shape = batch, height + 2 * padding, width + 2 * padding, channels
    padded = scratch("padded", (batch, int(np.prod(shape[1:]))), x).reshape(shape)
    padded[...] = 0
    padded[:, padding:-padding, padding:-padding] = x
    return padded


def _overlaid(d_windows: Array, shape: tuple[int, ...], positions: tuple[int, int], window: Window) -> Array:
    """The adjoint of :func:`laid_out`: rows added to where they were copied from."""
    batch, height, width, channels = shape
    (down, across), stride, padding = positions, window.stride, window.padding
    padded_shape = batch, height + 2 * padding, width + 2 * padding, channels
    total = scratch("overlaid", (batch, int(np.prod(padded_shape[1:]))), d_windows).reshape(padded_shape)
    total[...] = 0
    each = d_windows.reshape(batch, down, across, window.height, window.width, channels)
    for i in range(window.height):
        for j in range(window.width):
            total[:, i : i + stride * down : stride, j : j + stride * across : stride] += each[:, :, :, i, j]
    return total[:, padding : padding + height, padding : padding + width]


def _parts(batch: int, sides: tuple[int, int]) -> list[slice]:
    return list(blocks(batch, max(1, POSITIONS // max(1, sides[0] * sides[1]))))
