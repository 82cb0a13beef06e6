"""The digits at 14x14 pixels, as the paper on the generalized likelihood ratio method uses them."""

from __future__ import annotations

import dataclasses

import numpy as np

from minicereb.datasets import mnist, strokes
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import pool_2x2
from minicereb.randomness import generator


def mnist14() -> Dataset:
    """Load MNIST's 70,000 images at 14x14 pixels, split anew 6:4.

    The images of training and test, in the order of the files, are pooled (:func:`~minicereb.datasets.transforms.pool_2x2`). A
    fixed permutation puts 42,000 of them into training and 28,000 into the test; no setting or seed changes it.

    Returns
    -------
    Dataset
        uint8 rows (42000, 196) and (28000, 196), labels int64.

    Raises
    ------
    DataError
        If a file of MNIST is missing, truncated or altered, as for :func:`minicereb.datasets.mnist.load`.

    Notes
    -----
    The paper speaks of 10,000 images in total, but its 1,680 iterations of 25 images to an epoch are 6/10 of 70,000. It does not
    say how the images were resized nor which went where: pooling and permutation are ours. The test images are not those of
    ``"mnist"``: 23,967 of the 28,000 are among its training images, so a network trained on one set is not to be tested on the
    other.

    References
    ----------
    Xiao, Peng, Hong and Ke (2019), Training Artificial Neural Networks by Generalized Likelihood Ratio Method, section 3.1.
    """
    original = mnist.load()
    rows = np.concatenate([pool_2x2(x, original.image_shape) for x in (original.x_train, original.x_test)])
    labels = np.concatenate((original.y_train, original.y_test))
    order = generator(0, "mnist14 split").permutation(len(rows))
    train, test = np.split(order, [len(rows) * 6 // 10])
    return Dataset("mnist14", rows[train], labels[train], rows[test], labels[test], (14, 14), 10)


def strokes14(train: int = 6000, test: int = 1000, seed: int = 0) -> Dataset:
    """Draw the strokes at 28x28 pixels and pool them to 14x14: what stands in for ``"mnist14"`` without its files.

    Parameters
    ----------
    train, test, seed : int
        As for :func:`minicereb.datasets.strokes.load`; training and test are the same drawings as there.

    Returns
    -------
    Dataset
        uint8 rows (images, 196), labels int64, ten classes.

    Raises
    ------
    InputError
        If a setting is out of range.
    """
    drawn = strokes.load(train, test, size=28, seed=seed)
    x_train, x_test = (pool_2x2(x, drawn.image_shape) for x in (drawn.x_train, drawn.x_test))
    return dataclasses.replace(drawn, name="strokes14", x_train=x_train, x_test=x_test, image_shape=(14, 14))
