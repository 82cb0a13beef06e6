"""The pessimistic rule: the worst activity of each synapse times the error at the worst outputs, averaged over the batch."""

import numpy as np


def pessimistic_gradient(low, high, ltd_mean, readout, targets):
    """Return the part of the weight change that comes from the worst activity."""
    true = targets[:, None, :] > 0
    z = np.where((readout > 0) == true, low[:, :, None], high[:, :, None]) - ltd_mean[:, None]
    error = (z * readout).sum(axis=1) - targets
    error = np.where(targets > 0, np.minimum(error, 0), np.maximum(error, 0))
    return np.einsum("nij,nj->ij", z, error) / len(low)
