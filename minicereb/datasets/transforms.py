"""From stored images and labels to what a network computes with; each works where its input lives, on the CPU or the GPU."""

from __future__ import annotations

from minicereb.backend import Array, xp_of


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


def one_hot(labels: Array, classes: int) -> Array:
    """Turn labels into target activities.

    Parameters
    ----------
    labels : array of int64, shape (images,)
        0 to ``classes - 1``.
    classes : int
        Number of classes.

    Returns
    -------
    array of float32, shape (images, classes)
        1 in the column of the label, 0 elsewhere.
    """
    xp = xp_of(labels)
    return (labels[:, None] == xp.arange(classes, dtype=labels.dtype)).astype(xp.float32)
