"""MNIST: 70,000 handwritten digits."""

from __future__ import annotations

import numpy as np

from minicereb.datasets import idx, store
from minicereb.datasets.dataset import Dataset
from minicereb.errors import DataError

_UNSIGNED_BYTES = 0x08  # the only type of element that MNIST's files use


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
    arrays = {file.name: parse_idx(store.read(file), file.name) for file in store.download_of("mnist").files}
    x_train, x_test = arrays["train-images-idx3-ubyte"], arrays["t10k-images-idx3-ubyte"]
    y_train, y_test = (arrays[f"{split}-labels-idx1-ubyte"].astype(np.int64) for split in ("train", "t10k"))
    return Dataset("mnist", x_train.reshape(len(x_train), -1), y_train, x_test.reshape(len(x_test), -1), y_test, (28, 28), 10)


def parse_idx(content: bytes, name: str) -> np.ndarray:
    """Read the content of an IDX file of bytes.

    Parameters
    ----------
    content : bytes
        Two zero bytes, the type of the elements (8: unsigned byte), the number of dimensions, each dimension as a big-endian
        32-bit integer, and the elements, last dimension fastest.
    name : str
        What to call it in an error.

    Returns
    -------
    array of uint8
        A read-only view of `content`.

    Raises
    ------
    DataError
        If `content` is not an IDX file of bytes, or not of the length that its dimensions call for.
    """
    if len(content) < 4 or content[:3] != bytes((0, 0, _UNSIGNED_BYTES)):
        raise DataError(f"{name} is not an IDX file of unsigned bytes (it begins with {content[:4].hex(' ') or 'nothing'})")
    return idx.parse(content, name)
