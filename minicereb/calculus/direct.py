"""Convolution of images with few channels by Numba loops that do not copy the windows.

With three channels a window of 3 × 3 pixels has 27 numbers, and copying them takes longer than multiplying them.
:mod:`minicereb.calculus.convolution` contains the NumPy version. The loops here add in a different order. On processors with
fused multiply-add, they round only once when they add a product.
"""

from __future__ import annotations

import numpy as np

from minicereb.backend import Array
from minicereb.compiled import add_product, compiled, in_vectors, load, machine_code, store, vector_length

NUMBERS = 64  # numbers in a window; with more, matrix products are faster
POSITIONS = 8192  # positions per call: enough that the call itself costs little


def applies(x: Array, numbers: int, outputs: int) -> bool:
    """Return whether this method is faster: Numba is in use, windows have few entries, and the outputs fill whole vectors."""
    fits = numbers <= NUMBERS and outputs % vector_length(x.dtype) == 0
    return fits and None not in (compiled(responses_loop, x), compiled(weight_gradient_loop, x))


def direct(images: Array, weight: Array, bias: Array | None, stride: int, v: Array) -> None:
    """Write the convolution's responses to some images into `v` ``[M-CONV]``.

    Parameters
    ----------
    images : array, shape (batch, rows, columns, channels)
        Images, padded with zeros.
    weight : array, shape (outputs, kernel height, kernel width, channels)
    bias : array, shape (outputs,), or None
    stride : int
    v : array, shape (batch, height, width, outputs)
        Written to.
    """
    outputs, rows, _, channels = weight.shape
    kernel = np.ascontiguousarray(weight.reshape(outputs, -1).T)
    shift = np.zeros(outputs, dtype=v.dtype) if bias is None else bias
    lines = images.reshape(*images.shape[:2], -1)
    loop = machine_code(responses_loop)
    loop(lines, in_vectors(kernel), in_vectors(shift), rows, stride, channels, v.shape[2], in_vectors(v))


def direct_weight_gradient(d_v: Array, images: Array, rows: int, stride: int, total: Array) -> None:
    """Add the gradient of the weight, summed over some images, to `total` ``[M-CONV-DW]``.

    Parameters
    ----------
    d_v : array, shape (batch, height, width, outputs)
    images : array, shape (batch, rows, columns, channels)
        Images, padded with zeros.
    rows : int
        Height of the kernel.
    stride : int
    total : array, shape (kernel height · kernel width · channels, outputs)
    """
    lines, loop = images.reshape(*images.shape[:2], -1), machine_code(weight_gradient_loop)
    loop(in_vectors(d_v), lines, rows, stride, images.shape[3], d_v.shape[2], in_vectors(total))


def responses_loop(
    images: Array, weight: Array, bias: Array, rows: int, stride: int, channels: int, width: int, v: Array
) -> None:
    """Write the responses to all windows, two neighbouring windows at a time.

    Parameters
    ----------
    images : array, shape (batch, rows, columns · channels)
    weight : array, shape (rows of the kernel · numbers in a row, vectors of outputs, length)
    bias : array, shape (1, vectors of outputs, length)
    rows : int
        Height of the kernel.
    stride, channels : int
    width : int
        Of the output.
    v : array, shape (batch · height · width, vectors of outputs, length)
    """
    height, step, taps = len(v) // (len(images) * width), stride * channels, len(weight) // rows
    for line in range(len(images) * height):
        image, top = line // height, line % height * stride
        for column in range(0, width, 2):
            neighbour = min(column + 1, width - 1)  # the last of an odd number is computed twice
            for vector in range(v.shape[1]):
                a = b = load(bias, 0, vector)
                for row in range(rows):
                    pixels = images[image, top + row]
                    for tap in range(taps):
                        w = load(weight, taps * row + tap, vector)
                        a = add_product(a, pixels[step * column + tap], w)
                        b = add_product(b, pixels[step * neighbour + tap], w)
                store(v, a, width * line + column, vector)
                store(v, b, width * line + neighbour, vector)


def weight_gradient_loop(d_v: Array, images: Array, rows: int, stride: int, channels: int, width: int, total: Array) -> None:
    """Add the weight gradient to `total`, one row of the output after another, for two weights at a time.

    Parameters
    ----------
    d_v : array, shape (batch · height · width, vectors of outputs, length)
    images, rows, stride, channels, width
        As for :func:`responses_loop`.
    total : array, shape (rows of the kernel · numbers in a row, vectors of outputs, length)
    """
    height, step, taps = len(d_v) // (len(images) * width), stride * channels, len(total) // rows
    for line in range(len(images) * height):
        image, top = line // height, line % height * stride
        for row in range(rows):
            pixels = images[image, top + row]
            for tap in range(0, taps, 2):
                other = min(tap + 1, taps - 1)  # the last of an odd number is computed twice
                for vector in range(d_v.shape[1]):
                    a, b = load(total, taps * row + tap, vector), load(total, taps * row + other, vector)
                    for column in range(width):
                        credit = load(d_v, width * line + column, vector)
                        a = add_product(a, pixels[step * column + tap], credit)
                        b = add_product(b, pixels[step * column + other], credit)
                    store(total, a, taps * row + tap, vector)
                    store(total, b, taps * row + other, vector)
