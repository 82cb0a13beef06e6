"""From bytes to what a network computes with."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minicereb.backend import to_device, to_numpy
from minicereb.datasets import transforms
from minicereb.datasets.transforms import pool_2x2, to_unit
from minicereb.errors import InputError


def test_every_byte_is_its_share_of_255():
    units = to_unit(np.arange(256, dtype=np.uint8))
    assert units.dtype == np.float32
    assert units[0] == 0
    assert units[255] == 1
    assert np.allclose(units, np.arange(256) / 255, rtol=2e-7, atol=0)
    assert np.array_equal(np.rint(units * 255), np.arange(256))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_pass(dtype):
    rows = np.linspace(0, 1, 6).reshape(2, 3).astype(dtype)
    units = to_unit(rows)
    assert units.dtype == np.float32
    assert np.array_equal(units, rows.astype(np.float32))
    assert (units is rows) == (dtype == np.float32)


def test_only_arrays_are_taken():
    with pytest.raises(TypeError):
        to_unit([0, 1, 2])


def naive_pool(images):
    """Means of 2x2 blocks, one by one, rounded by Python's whole numbers."""
    count, height, width = images.shape
    pooled = np.empty((count, height // 2, width // 2), dtype=np.uint8)
    for image, y, x in np.ndindex(pooled.shape):
        total = sum(int(images[image, 2 * y + i, 2 * x + j]) for i in (0, 1) for j in (0, 1))
        pooled[image, y, x] = total // 4 + (total % 4 >= 2)
    return pooled.reshape(count, height * width // 4)


EVEN = st.integers(1, 4).map(lambda half: 2 * half)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(0, 5), EVEN, EVEN)))
def test_pooling_is_the_mean_of_each_2x2_block(images):
    count, height, width = images.shape
    pooled = pool_2x2(images.reshape(count, height * width), (height, width))
    assert pooled.dtype == np.uint8
    assert np.array_equal(pooled, naive_pool(images))


@pytest.mark.parametrize(
    ("block", "mean"),
    [([0, 0, 0, 1], 0), ([0, 0, 1, 1], 1), ([3, 0, 0, 0], 1), ([2, 2, 3, 3], 3), ([3, 3, 4, 4], 4), ([255] * 4, 255)],
)
def test_halves_are_rounded_up(block, mean):
    assert pool_2x2(np.array([block], dtype=np.uint8), (2, 2)).tolist() == [[mean]]


def test_blocks_do_not_show_in_what_is_pooled(monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (23, 6, 4), dtype=np.uint8)
    monkeypatch.setattr(transforms, "BLOCK", 5)
    assert np.array_equal(pool_2x2(images.reshape(23, -1), (6, 4)), naive_pool(images))


def test_pooling_is_the_same_on_every_device(xp_device):
    images = np.random.default_rng(1).integers(0, 256, (9, 4, 6), dtype=np.uint8)
    pooled = pool_2x2(to_device(images.reshape(9, -1)), (4, 6))
    assert type(pooled) is type(to_device(images))
    assert np.array_equal(to_numpy(pooled), naive_pool(images))


@pytest.mark.parametrize(
    ("rows", "image_shape", "words"),
    [
        (np.zeros((2, 12), dtype=np.uint8), (3, 4), r"image_shape: \(3, 4\).*both even"),
        (np.zeros((2, 12), dtype=np.uint8), (4, 3), r"image_shape: \(4, 3\).*both even"),
        (np.zeros((2, 0), dtype=np.uint8), (0, 2), "image_shape"),
        (np.zeros((2, 12), dtype=np.uint8), (12,), "image_shape"),
        (np.zeros((2, 12), dtype=np.uint8), (2, 2, 3), "image_shape"),
        (np.zeros((2, 12), dtype=np.uint8), (4, 4), r"rows: \(2, 12\).*shape \(images, 16\)"),
        (np.zeros((2, 4, 4), dtype=np.uint8), (4, 4), r"rows: \(2, 4, 4\)"),
        (np.zeros((2, 16), dtype=np.float32), (4, 4), "rows: 'float32'.*uint8"),
    ],
)
def test_what_cannot_be_pooled_is_named(rows, image_shape, words):
    with pytest.raises(InputError, match=words):
        pool_2x2(rows, image_shape)
