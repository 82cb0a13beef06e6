"""MNIST: 70,000 handwritten digits, at 28x28 pixels, and at 14x14 pixels as in the likelihood-ratio paper."""

from __future__ import annotations

import numpy as np

from minicereb.datasets import idx, store
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import pool_2x2
from minicereb.randomness import generator


def load() -> Dataset:
    """Load MNIST from the files on this machine.

    Returns
    -------
    Dataset
        uint8 rows (60000, 784) and (10000, 784), labels int64.

    Raises
    ------
    DataError
        If a file is missing, truncated or altered: its SHA-256 is compared each time. The message says what to do.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner (1998), Proceedings of the IEEE 86(11).
    """
    arrays = {file.name: idx.parse(store.read(file), file.name) for file in store.download_of("mnist").files}
    x_train, x_test = arrays["train-images-idx3-ubyte"], arrays["t10k-images-idx3-ubyte"]
    y_train, y_test = (arrays[f"{split}-labels-idx1-ubyte"].astype(np.int64) for split in ("train", "t10k"))
    return Dataset("mnist", x_train.reshape(len(x_train), -1), y_train, x_test.reshape(len(x_test), -1), y_test, (28, 28), 10)


def mnist14() -> Dataset:
    """Load MNIST's 70,000 images at 14x14 pixels, newly split 6:4 into training and test images.

    The training and test images, in the order of the files, are combined and reduced by
    :func:`~minicereb.datasets.transforms.pool_2x2`. A fixed permutation, independent of settings and seeds, puts 42,000
    images into the training set and 28,000 into the test set.

    Returns
    -------
    Dataset
        uint8 rows (42000, 196) and (28000, 196), labels int64.

    Raises
    ------
    DataError
        If a file of MNIST is missing, truncated or altered, as for :func:`load`.

    Notes
    -----
    The paper mentions 10,000 images in total, but an epoch of 1,680 iterations with 25 images each has 42,000 images, which
    is 6/10 of 70,000. The paper does not say how the images were resized or split: the pooling and the permutation are our
    choices. The test images differ from the test images of ``"mnist"``: 23,967 of the 28,000 are training images of ``"mnist"``,
    so a network trained on one of the two data sets must not be tested on the other.

    References
    ----------
    Xiao, Peng, Hong and Ke (2019), Training Artificial Neural Networks by Generalized Likelihood Ratio Method, section 3.1.
    """
    original = load()
    rows = np.concatenate([pool_2x2(x, original.image_shape) for x in (original.x_train, original.x_test)])
    labels = np.concatenate((original.y_train, original.y_test))
    order = generator(0, "mnist14 split").permutation(len(rows))
    train, test = np.split(order, [len(rows) * 6 // 10])
    return Dataset("mnist14", rows[train], labels[train], rows[test], labels[test], (14, 14), 10)
