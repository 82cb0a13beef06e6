"""A channel without content: centred, and not scaled to infinity."""

import numpy as np
import pytest

from minicereb.datasets.dataset import Dataset


@pytest.mark.parametrize("value", [0, 13, 77, 255])
def test_a_constant_channel_is_centred_and_not_scaled(value):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (1_500, 4, 2), dtype=np.uint8)
    pixels[:, :, 1] = value
    rows, labels = pixels.reshape(1_500, 8), np.zeros(1_500, dtype=np.int64)
    mean, deviation = Dataset("mine", rows, labels, rows[:1], labels[:1], (2, 2, 2), 2).channel_statistics
    assert np.allclose(mean, [pixels[:, :, 0].mean() / 255, value / 255], rtol=1e-6)
    assert np.allclose(deviation, [pixels[:, :, 0].std() / 255, 1], rtol=1e-5)
