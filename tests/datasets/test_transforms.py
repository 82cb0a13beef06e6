"""From bytes to what a network computes with."""

import numpy as np
import pytest

from minicereb.datasets.transforms import to_unit


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
