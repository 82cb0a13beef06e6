"""The 8x8 digits that come with scikit-learn: small enough to begin with."""

from __future__ import annotations

import numpy as np

from minicereb.datasets.dataset import Dataset
from minicereb.errors import MinicerebError, install_command
from minicereb.randomness import generator

TEST_IMAGES = 360  # of 1797


def load() -> Dataset:
    """Load scikit-learn's digits.

    The grey levels 0 to 16 become round(255 * level / 16), with halves rounded up, so that a value v of type uint8 stands
    for v / 255 here too; the error of a pixel is at most 1/510. A fixed permutation, independent of settings and seeds,
    puts 1,437 images into the training set and 360 into the test set.

    Returns
    -------
    Dataset
        uint8 rows (1437, 64) and (360, 64), labels int64.

    Raises
    ------
    MinicerebError
        If scikit-learn is not installed.

    References
    ----------
    Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        command = install_command("scikit-learn")
        raise MinicerebError(f"dataset digits needs scikit-learn, which is not installed: {command}") from error
    levels, labels = load_digits(return_X_y=True)
    rows = ((levels.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)
    order = np.argsort(generator(0, "digits split").random(len(rows)), kind="stable")
    train, test = order[TEST_IMAGES:], order[:TEST_IMAGES]
    labels = labels.astype(np.int64)
    return Dataset("digits", rows[train], labels[train], rows[test], labels[test], (8, 8), 10)
