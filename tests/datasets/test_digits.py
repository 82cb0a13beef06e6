"""scikit-learn's digits, and life without scikit-learn."""

import sys

import numpy as np
import pytest

from minicereb.datasets import digits
from minicereb.errors import MinicerebError


def test_split_scale_and_labels():
    original = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed").load_digits()
    data = digits.load()
    assert data.x_train.shape == (1437, 64)
    assert data.x_test.shape == (360, 64)
    assert data.x_train.dtype == np.uint8
    assert (data.image_shape, data.classes) == ((8, 8), 10)
    assert np.bincount(data.y_test, minlength=10).min() > 20
    rows = np.concatenate((data.x_train, data.x_test))
    expected = original.data * 255 / 16
    order = np.lexsort(rows.T), np.lexsort(np.floor(expected + 0.5).T)
    assert np.abs(rows[order[0]] - expected[order[1]]).max() <= 0.5
    assert data.sha256 == digits.load().sha256


def test_without_scikit_learn_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MinicerebError, match="pip install .*scikit-learn"):
        digits.load()
