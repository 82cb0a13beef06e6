"""Augmentation: images that are shifted and mirrored anew in every epoch."""

from __future__ import annotations

from minicereb.backend import Array, xp_of
from minicereb.errors import require
from minicereb.randomness import uniform

PADDING = 4  # pixels on every side


def crop_and_flip(rows: Array, image_shape: tuple[int, ...], seed: int, epoch: int, ids: Array) -> Array:
    """Put each image in the middle of zeros, cut one of its own size out of that, and mirror half of them left to right.

    Parameters
    ----------
    rows : array, shape (images, inputs)
        Images as rows, of any type.
    image_shape : tuple of int
        (height, width) or (height, width, channels).
    seed, epoch : int
        Address of the draws.
    ids : array of int64, shape (images,)
        Each image's number in its data set: what happens to an image does not depend on the others. On the device of `rows`.

    Returns
    -------
    array, shape and type of `rows`
        Down and across the image is shifted by -4 to 4 pixels, each equally likely; with probability 1/2 it is then mirrored.

    Raises
    ------
    InputError
        If the rows are no images.
    """
    require(len(image_shape) in (2, 3), "augment", image_shape, "a data set of images: rows of numbers cannot be shifted")
    xp, count, (height, width, channels) = xp_of(rows), len(rows), (*image_shape, 1)[:3]
    draws = (uniform(xp, seed, "augmentation", (epoch,), ids, 3) * xp.float32(2**24)).astype(xp.int64)
    corners = (draws[:, :2] * (2 * PADDING + 1)) >> 24  # whole numbers throughout: equal on every device
    mirrored = draws[:, 2:] >= 2**23
    padded = xp.zeros((count, height + 2 * PADDING, width + 2 * PADDING, channels), dtype=rows.dtype)
    padded[:, PADDING : PADDING + height, PADDING : PADDING + width] = rows.reshape(count, height, width, channels)
    down, across = xp.arange(height, dtype=xp.int64), xp.arange(width, dtype=xp.int64)
    down = corners[:, :1] + down
    across = corners[:, 1:] + xp.where(mirrored, width - 1 - across, across)
    images = xp.arange(count, dtype=xp.int64)
    return padded[images[:, None, None], down[:, :, None], across[:, None, :]].reshape(rows.shape)
