"""From stored images to what a network computes with, where they live: on the CPU or the GPU."""

from __future__ import annotations

from minicereb.backend import Array, xp_of
from minicereb.errors import require
from minicereb.parallel import blocks

BLOCK = 1000  # images that are pooled at once: their sums are small, however many images there are


def to_unit(rows: Array) -> Array:
    """Turn stored images into numbers in [0, 1].

    Parameters
    ----------
    rows : array of uint8, or of float in [0, 1]
        Images, any shape. uint8 means pixel / 255.

    Returns
    -------
    array of float32
        The shape of `rows`: pixel * (1/255) for uint8 (0 and 255 become exactly 0 and 1), otherwise `rows` as float32,
        without a copy where it is that already.
    """
    xp = xp_of(rows)
    if rows.dtype == xp.uint8:
        return rows.astype(xp.float32) * xp.float32(1 / 255)
    return rows.astype(xp.float32, copy=False)


def pool_2x2(rows: Array, image_shape: tuple[int, ...]) -> Array:
    """Halve the height and the width of images: every 2x2 block of pixels becomes its mean.

    Parameters
    ----------
    rows : array of uint8, shape (images, height * width)
        Grey images as rows.
    image_shape : tuple of int
        (height, width), both even.

    Returns
    -------
    array of uint8, shape (images, height / 2 * width / 2)
        Means rounded to the nearest whole number, halves up: floor((a + b + c + d + 2) / 4), in integers throughout.

    Raises
    ------
    InputError
        If the rows are not uint8, or not images of this shape, or the height or the width is odd.
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
