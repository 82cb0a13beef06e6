"""The fast gradient sign method ``[M-FGSM]``: one step, from the clean image to the edge of the ball."""

from __future__ import annotations

from collections.abc import Iterator

from minicereb.attacks.sources import Landscape, Point
from minicereb.backend import Array, xp_of


def fgsm(landscape: Landscape, x: Array, epsilon: float) -> Iterator[Point]:
    """Yield the one point ``clip(x + ε sign(∂l/∂x), 0, 1)``.

    Parameters
    ----------
    landscape : Landscape
        The objective to climb.
    x : array, shape (images, inputs)
        Clean images in [0, 1].
    epsilon : float
        Bound in L∞.

    References
    ----------
    Goodfellow, Shlens and Szegedy (2015), arXiv:1412.6572.
    """
    xp = xp_of(x)
    _, gradient = landscape.slope(x)
    yield landscape.look(xp.clip(x + epsilon * xp.sign(gradient), 0, 1))
