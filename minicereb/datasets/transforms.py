"""Transforms of stored images on the CPU or the GPU: conversion to [0, 1], halving of the size, and augmentation."""

from __future__ import annotations

from minicereb.backend import Array, xp_of
from minicereb.errors import require
from minicereb.parallel import blocks
from minicereb.randomness import uniform

PADDING = 4  # pixels on every side, for augmentation
BLOCK = 1000  # images pooled at once, which bounds the memory for sums


def to_unit(rows: Array) -> Array:
    """Turn stored images into numbers in [0, 1].

    Parameters
    ----------
    rows : array of uint8, or of float in [0, 1], any shape

    Returns
    -------
    array of float32
        For uint8, pixel * (1/255), where 0 and 255 become exactly 0 and 1; otherwise `rows` as float32, which is copied only if
        it has another type.
    """
    xp = xp_of(rows)
    if rows.dtype == xp.uint8:
        return rows.astype(xp.float32) * xp.float32(1 / 255)
    return rows.astype(xp.float32, copy=False)


def pool_2x2(rows: Array, image_shape: tuple[int, ...]) -> Array:
    """Halve the height and width of images: every 2x2 block of pixels becomes its mean.

    Parameters
    ----------
    rows : array of uint8, shape (images, height * width)
        Grey images as rows.
    image_shape : tuple of int
        (height, width), both even.

    Returns
    -------
    array of uint8, shape (images, height / 2 * width / 2)
        Means rounded to the nearest whole number, with halves rounded up: floor((a + b + c + d + 2) / 4), all in integers.

    Raises
    ------
    InputError
        If the rows are not uint8 images of this shape, or a side is odd.
    """
    xp = xp_of(rows)
    require(rows.dtype == xp.uint8, "rows", str(rows.dtype), "images of uint8")
    even = len(image_shape) == 2 and all(side > 0 and side % 2 == 0 for side in image_shape)
    require(even, "image_shape", image_shape, "(height, width), both even")
    height, width = image_shape
    require(rows.ndim == 2 and rows.shape[1] == height * width, "rows", rows.shape, f"shape (images, {height * width})")
    pooled = xp.empty((len(rows), height // 2, width // 2), dtype=xp.uint8)
    for part in blocks(len(rows), BLOCK):
        images = rows[part].reshape(-1, height, width)
        sums = images[:, ::2, ::2].astype(xp.uint16)  # adding views is ten times as fast as sum() over two short axes
        for pixel in (images[:, ::2, 1::2], images[:, 1::2, ::2], images[:, 1::2, 1::2]):
            sums += pixel
        sums += 2
        sums >>= 2
        pooled[part] = sums
    return pooled.reshape(len(rows), height * width // 4)


def crop_and_flip(rows: Array, image_shape: tuple[int, ...], seed: int, epoch: int, ids: Array) -> Array:
    """Shift and mirror images at random: pad each with zeros, crop it to its original size, and mirror half of them.

    Parameters
    ----------
    rows : array, shape (images, inputs)
        Images as rows, of any type.
    image_shape : tuple of int
        (height, width) or (height, width, channels).
    seed, epoch : int
        Seed and epoch of the draws; every epoch has different draws.
    ids : array of int64, shape (images,)
        Each image's index in its data set, on the device of `rows`: the draws for an image do not depend on the others.

    Returns
    -------
    array, shape and type of `rows`
        Each image is shifted down and across by -4 to 4 pixels (every shift is equally likely), then mirrored with
        probability 1/2.

    Raises
    ------
    InputError
        If the rows are not images.
    """
    require(len(image_shape) in (2, 3), "augment", image_shape, "a data set of images: rows of numbers cannot be shifted")
    xp, count, (height, width, channels) = xp_of(rows), len(rows), (*image_shape, 1)[:3]
    draws = (uniform(xp, seed, "augmentation", (epoch,), ids, 3) * xp.float32(2**24)).astype(xp.int64)
    corners = (draws[:, :2] * (2 * PADDING + 1)) >> 24  # only integers, so equal on every device
    mirrored = draws[:, 2:] >= 2**23
    padded = xp.zeros((count, height + 2 * PADDING, width + 2 * PADDING, channels), dtype=rows.dtype)
    padded[:, PADDING : PADDING + height, PADDING : PADDING + width] = rows.reshape(count, height, width, channels)
    down, across = xp.arange(height, dtype=xp.int64), xp.arange(width, dtype=xp.int64)
    down = corners[:, :1] + down
    across = corners[:, 1:] + xp.where(mirrored, width - 1 - across, across)
    images = xp.arange(count, dtype=xp.int64)
    return padded[images[:, None, None], down[:, :, None], across[:, None, :]].reshape(rows.shape)
