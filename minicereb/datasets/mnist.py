"""MNIST: 70,000 handwritten digits."""

from __future__ import annotations

import numpy as np

from minicereb.datasets import idx, store
from minicereb.datasets.dataset import Dataset


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
