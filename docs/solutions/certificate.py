"""Interval bounds of a layer: the centre goes through W, the radius through |W|, then ReLU."""

import numpy as np


def layer_bounds(weight, bias, low, high):
    """Return bounds of the responses."""
    centre, radius = (low + high) / 2, (high - low) / 2
    middle, width = centre @ weight.T + bias, radius @ np.abs(weight).T
    return np.maximum(middle - width, 0), np.maximum(middle + width, 0)
