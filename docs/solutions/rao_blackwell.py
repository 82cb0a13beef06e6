"""Rao-Blackwell: f/F where the neuron fires, -f/(1 - F) where it is silent.

1 - F(a) = F(-a), so both are ±f(±a)/F(±a). Where F underflows, the logarithms of f and F do not.
"""

import numpy as np
from scipy.special import log_ndtr


def conditional_score(fires, drive, scale):
    """Return the mean score of the noise, given whether the neuron fires."""
    sign = 2 * fires - 1
    a = sign * drive / scale
    log_density = -0.5 * a * a - 0.5 * np.log(2 * np.pi)
    return (sign * np.exp(log_density - log_ndtr(a)) / scale).astype(drive.dtype)
