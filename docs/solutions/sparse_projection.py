"""The backward pass through the sparse projection; np.add.at counts every synapse, even two on the same input."""

import numpy as np


def projection_input_gradient(weights, inputs, d_v, width):
    """Return the derivative with respect to the mossy fibres."""
    d_x = np.zeros((width, d_v.shape[1]), dtype=d_v.dtype)
    np.add.at(d_x, inputs, weights[:, :, None] * d_v[:, None, :])
    return d_x
