"""The score of logistic noise.

ln f = ln F + ln(1 - F) - ln σ. The slope of F is f = F(1 - F)/σ, so that of ln f is ((1 - F) - F)/σ, and the score
(2F - 1)/σ = tanh(r/(2σ))/σ, which never overflows.
"""

import numpy as np


def score(r, scale):
    """Return -f'(r)/f(r)."""
    return np.tanh(r / (2 * scale)) / scale
