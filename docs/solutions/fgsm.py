"""FGSM: a step of size ε along the sign of the gradient, clipped to the box."""

import numpy as np


def fgsm(x, gradient, epsilon):
    """Return the attacked images."""
    return np.clip(x + epsilon * np.sign(gradient), 0, 1)
