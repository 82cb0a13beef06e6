"""Two-dimensional convolution as matrix products over windows, with its input, weight and bias gradients.

Images are (batch, height, width, channels), so that a row of a window is contiguous in memory. Only the windows of a few images
are copied at a time. If `minimal` is true, :mod:`minicereb.calculus.winograd` and :mod:`minicereb.calculus.direct` are used
where they are faster. Their results differ by rounding errors. The certificates' bounds on rounding errors do not cover minimal
filtering.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minicereb.backend import Array, xp_of
from minicereb.calculus import direct
from minicereb.calculus.winograd import applies, winograd, winograd_weight_gradient
from minicereb.calculus.winograd4 import applies as winograd4_applies
from minicereb.calculus.winograd4 import winograd4, winograd4_weight_gradient
from minicereb.compiled import compiled
from minicereb.errors import InputError
from minicereb.parallel import blocks, run_lanes, scratch, sum_lanes, threads_if

SHORT, FEW = 32, 1 << 14  # a loop copies windows with at most SHORT numbers in a row and at least FEW numbers in all
POSITIONS = 1024  # windows copied at once: enough for a fast matrix product, few enough for the cache
THREADS_FROM = 1 << 23  # multiply-adds; less takes longer on several threads than on one


class Window(NamedTuple):
    """How a kernel moves over an image.

    Attributes
    ----------
    height, width : int
        Size of the kernel, in pixels.
    stride : int
        Distance between neighbouring windows, in pixels.
    padding : int
        Rows and columns of zeros around the image.
    """

    height: int
    width: int
    stride: int = 1
    padding: int = 0

    def positions(self, height: int, width: int) -> tuple[int, int]:
        """Return the number of windows along each side of an image; raise :class:`InputError` if no window fits."""
        if self.stride < 1 or self.padding < 0:
            raise InputError("stride, padding", (self.stride, self.padding), "a stride of at least 1, a padding of at least 0")
        down, across = height + 2 * self.padding - self.height, width + 2 * self.padding - self.width
        if down < 0 or across < 0:
            expected = f"at least {self.height} x {self.width} pixels for the kernel, with padding {self.padding}"
            raise InputError("image", f"{height} x {width}", expected)
        return down // self.stride + 1, across // self.stride + 1


def convolution(x: Array, weight: Array, bias: Array, stride: int = 1, padding: int = 0, minimal: bool = False) -> Array:
    """Convolution without flipping the kernel: ``v[p, o] = Σ_q θ[o, q] x[s p + q - padding] + b[o]`` ``[M-CONV]``.

    Parameters
    ----------
    x : array, shape (batch, height, width, channels)
    weight : array, shape (outputs, kernel height, kernel width, channels)
    bias : array, shape (outputs,)
    stride, padding : int
    minimal : bool
        Whether to allow faster methods that round differently: minimal filtering and, with Numba, loops for images with few
        channels.

    Returns
    -------
    array, shape (batch, height of the output, width of the output, outputs)
    """
    return _seen(x, weight, bias, Window(weight.shape[1], weight.shape[2], stride, padding), minimal)


def _seen(x: Array, weight: Array, bias: Array | None, window: Window, minimal: bool) -> Array:
    if x.ndim != 4 or x.shape[3] != weight.shape[3]:
        raise InputError("x", f"shape {x.shape}", f"shape (images, height, width, {weight.shape[3]}): channels come last")
    xp, outputs, sides = xp_of(x), len(weight), window.positions(*x.shape[1:3])
    if minimal and applies(*window, x.shape, outputs):
        return (winograd4 if winograd4_applies(x, outputs) else winograd)(x, weight, bias)
    v = xp.empty((len(x), *sides, outputs), dtype=x.dtype)
    if minimal and direct.applies(x, weight[0].size, outputs):
        run_lanes(
            lambda part: direct.direct(_padded(x[part], window.padding), weight, bias, window.stride, v[part]),
            _parts(len(x), sides, direct.POSITIONS),
        )
        return v
    matrix = weight.reshape(outputs, -1)
    along = None if bias is None else xp.tile(bias, sides[1])  # tiled, because NumPy is slow at adding a short row many times

    def respond(part: slice) -> None:
        xp.matmul(unfold_windows(x[part], window), matrix.T, out=v[part].reshape(-1, outputs))
        if along is not None:
            v[part].reshape(-1, len(along))[...] += along

    with threads_if(v.size * matrix.shape[1] >= THREADS_FROM):
        run_lanes(respond, _parts(len(x), sides))
    return v


def convolution_input_gradient(
    d_v: Array, weight: Array, sides: tuple[int, int], stride: int = 1, padding: int = 0, minimal: bool = False
) -> Array:
    """Derivative with respect to the input: each output sends its credit back to its window through the kernel ``[M-CONV-DX]``.

    Parameters
    ----------
    d_v : array, shape of the output
    weight, stride, padding, minimal
        As for :func:`convolution`.
    sides : tuple of int
        Height and width of the input.

    Returns
    -------
    array, shape (batch, height, width, channels)
    """
    xp, window = xp_of(d_v), Window(weight.shape[1], weight.shape[2], stride, padding)
    _check_seen(d_v, window.positions(*sides), len(weight))
    if stride == 1 and window.height == window.width > padding:  # then it is a convolution with the rotated kernel
        turned = xp.ascontiguousarray(weight[:, ::-1, ::-1].transpose(3, 1, 2, 0))
        return _seen(d_v, turned, None, window._replace(padding=window.height - 1 - padding), minimal)
    d_x = xp.empty((len(d_v), *sides, weight.shape[3]), dtype=d_v.dtype)
    matrix = weight.reshape(len(weight), -1)

    def give_back(part: slice) -> None:
        credit = d_v[part].reshape(-1, len(weight))
        d_windows = xp.matmul(credit, matrix, out=scratch("windows", (len(credit), matrix.shape[1]), credit))
        d_x[part] = _overlaid(d_windows, d_x[part].shape, d_v.shape[1:3], window)

    with threads_if(d_v.size * matrix.shape[1] >= THREADS_FROM):
        run_lanes(give_back, _parts(len(d_v), d_v.shape[1:3]))
    return d_x


def convolution_weight_gradient(
    d_v: Array, x: Array, kernel: tuple[int, int], stride: int = 1, padding: int = 0, minimal: bool = False
) -> tuple[Array, Array]:
    """Gradients of weight and bias, summed over batch and positions: credit times the contents of the window ``[M-CONV-DW]``.

    Parameters
    ----------
    d_v : array, shape of the output
    x, stride, padding, minimal
        As for :func:`convolution`.
    kernel : tuple of int
        Height and width.

    Returns
    -------
    d_weight : array, shape (outputs, kernel height, kernel width, channels)
    d_bias : array, shape (outputs,)
    """
    window, outputs, channels = Window(*kernel, stride, padding), d_v.shape[3], x.shape[3]
    _check_seen(d_v, window.positions(*x.shape[1:3]), outputs, len(x))

    def add(part: slice, total: Array, fresh: bool) -> None:
        share = total if fresh else scratch("share", total.shape, total)
        xp_of(x).dot(d_v[part].reshape(-1, outputs).T, unfold_windows(x[part], window), out=share)
        if not fresh:
            total += share

    def credit(part: slice) -> Array:
        rows = d_v[part].reshape(-1, outputs)
        return xp_of(x).ones(len(rows), dtype=rows.dtype) @ rows

    parts = _parts(len(x), d_v.shape[1:3])
    with threads_if(d_v.size * window.height * window.width * channels >= THREADS_FROM):
        d_bias = xp_of(x).stack(run_lanes(credit, parts)).sum(axis=0)
        if minimal and applies(*window, x.shape, outputs):
            return (winograd4_weight_gradient if winograd4_applies(x, outputs) else winograd_weight_gradient)(d_v, x), d_bias
        if minimal and direct.applies(x, window.height * window.width * channels, outputs):
            return _direct_weight_gradient(np.ascontiguousarray(d_v), x, window), d_bias
        d_weight = sum_lanes(add, parts, (outputs, window.height * window.width * channels), x)
        return d_weight.reshape(outputs, window.height, window.width, channels), d_bias


def _direct_weight_gradient(d_v: Array, x: Array, window: Window) -> Array:
    outputs, channels = d_v.shape[3], x.shape[3]

    def add(part: slice, total: Array, fresh: bool) -> None:
        if fresh:
            total[...] = 0
        direct.direct_weight_gradient(d_v[part], _padded(x[part], window.padding), window.height, window.stride, total)

    parts = _parts(len(x), d_v.shape[1:3], direct.POSITIONS)
    total = sum_lanes(add, parts, (window.height * window.width * channels, outputs), x)
    return np.ascontiguousarray(total.T).reshape(outputs, window.height, window.width, channels)


def _check_seen(d_v: Array, positions: tuple[int, int], outputs: int, images: int | None = None) -> None:
    shape = (len(d_v) if images is None else images, *positions, outputs)
    if d_v.shape != shape:
        raise InputError("d_v", f"shape {d_v.shape}", f"shape {shape}, that of the outputs")


def unfold_windows(x: Array, window: Window) -> Array:
    """Copy each window of some images into a row (im2col), in memory that this thread's next call overwrites.

    Returns
    -------
    array, shape (batch · positions, kernel height · kernel width · channels)
    """
    batch, height, width, channels = x.shape
    down, across = window.positions(height, width)
    padded, stride = _padded(x, window.padding), window.stride
    rows = scratch("windows", (batch * down * across, window.height * window.width * channels), x)
    loop = compiled(copy_windows_loop, padded, rows, least=FEW) if window.width * channels <= SHORT else None
    if loop is not None:
        loop(
            padded.reshape(batch, len(padded[0]), -1),
            window.height,
            window.width * channels,
            stride * channels,
            stride,
            across,
            rows,
        )
        return rows
    image, row, pixel, number = padded.strides
    shape = batch, down, across, window.height, window.width * channels  # a row of a window is contiguous
    steps = image, stride * row, stride * pixel, row, number
    rows.reshape(shape)[...] = xp_of(x).lib.stride_tricks.as_strided(padded, shape, steps)
    return rows


def copy_windows_loop(images: Array, height: int, length: int, step: int, stride: int, across: int, rows: Array) -> None:
    """Copy the windows for :func:`unfold_windows` entry by entry, which is faster if the rows of a window are short.

    Parameters
    ----------
    images : array, shape (batch, rows, columns · channels)
    height, length : int
        Number of rows in a window, and number of entries in each row.
    step : int
        Distance between horizontally neighbouring windows, in array entries.
    stride : int
        Distance between vertically neighbouring windows, in rows.
    across : int
        Number of windows side by side.
    rows : array, shape (windows, numbers of a window)
        Overwritten.
    """
    u = np.uint64
    down = len(rows) // (len(images) * across)
    for number in range(len(images)):
        for i in range(down):
            for j in range(across):
                place = (number * down + i) * across + j
                for k in range(height):
                    for m in range(length):
                        rows[u(place), u(k * length + m)] = images[u(number), u(i * stride + k), u(j * step + m)]


def _padded(x: Array, padding: int) -> Array:
    """Return images padded with zeros, in this thread's scratch memory."""
    if padding == 0:
        return xp_of(x).ascontiguousarray(x)
    batch, height, width, channels = x.shape
    shape = batch, height + 2 * padding, width + 2 * padding, channels
    padded = scratch("padded", (batch, int(np.prod(shape[1:]))), x).reshape(shape)
    padded[...] = 0
    padded[:, padding:-padding, padding:-padding] = x
    return padded


def _overlaid(d_windows: Array, shape: tuple[int, ...], positions: tuple[int, int], window: Window) -> Array:
    """Return the adjoint of :func:`unfold_windows`: each row is added to the places from which it would be copied."""
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


def _parts(batch: int, sides: tuple[int, int], together: int | None = None) -> list[slice]:
    return list(blocks(batch, (together or POSITIONS) // max(1, sides[0] * sides[1])))
