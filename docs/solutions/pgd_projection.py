"""The projection of PGD: into the ball, then into the box; both are cubes, so the order does not matter."""

import numpy as np


def project(z, x, epsilon):
    """Return the nearest point of ball and box."""
    return np.clip(np.clip(z, x - epsilon, x + epsilon), 0, 1)
