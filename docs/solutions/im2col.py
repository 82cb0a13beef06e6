"""Windows of an image as rows."""

import numpy as np


def windows(x, size, stride):
    """Return every window as a row."""
    batch, height, width, channels = x.shape
    down, across = (height - size) // stride + 1, (width - size) // stride + 1
    rows = np.empty((batch, down, across, size, size, channels), dtype=x.dtype)
    for i in range(down):
        for j in range(across):
            top, left = i * stride, j * stride
            rows[:, i, j] = x[:, top : top + size, left : left + size]
    return rows.reshape(batch * down * across, -1)
