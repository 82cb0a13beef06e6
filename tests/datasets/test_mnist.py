"""MNIST's file format, and the real files where they are."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minicereb.datasets import idx, mnist, store
from minicereb.errors import DataError


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4, min_side=0, max_side=5)))
def test_idx_round_trip(array):
    read = idx.parse(idx_bytes(array), "a file")
    assert read.dtype == np.uint8
    assert np.array_equal(read, array)
    assert not read.flags.writeable


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3, max_side=4)), st.data())
def test_a_truncated_idx_is_an_error(array, data):
    content = idx_bytes(array)
    with pytest.raises(DataError, match="a file"):
        idx.parse(content[: data.draw(st.integers(0, len(content) - 1))], "a file")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x1f\x8b\x08\x00",
        bytes((0, 0, 0x0F, 1)) + struct.pack(">I", 0),  # no type of element
        idx_bytes(np.zeros((2, 3), dtype=np.uint8)) + b"more",
        bytes((0, 0, 8, 255)) + b"\xff" * 1020,  # 255 dimensions of 2**32 - 1
    ],
)
def test_another_content_is_an_error(content):
    with pytest.raises(DataError, match="a file"):
        idx.parse(content, "a file")


def test_missing_mnist_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "places", lambda: [tmp_path])
    with pytest.raises(DataError) as error:
        mnist.load()
    message = str(error.value)
    assert "\n" not in message
    for way in ("minicereb data fetch mnist", "minicereb data import", "MINICEREB_DATA", "--dataset strokes"):
        assert way in message


def test_real_mnist():
    if any(store.find(file) is None for file in store.download_of("mnist").files):
        pytest.skip("MNIST is not on this machine: minicereb data fetch mnist, or set MINICEREB_DATA")
    data = mnist.load()
    assert data.x_train.shape == (60_000, 784)
    assert data.x_test.shape == (10_000, 784)
    assert data.x_train.dtype == np.uint8
    assert data.y_train.dtype == np.int64
    assert data.image_shape == (28, 28)
    assert data.classes == 10
    assert list(data.y_train[:5]) == [5, 0, 4, 1, 9]
    assert list(data.y_test[:5]) == [7, 2, 1, 0, 4]
    assert list(np.bincount(data.y_test)) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert abs(data.x_train.mean() / 255 - 0.1307) < 1e-4  # the mean that every tutorial subtracts
