"""The fast gradient sign method ``[M-FGSM]``: one step, from the clean image to the edge of the ball."""

from __future__ import annotations

from minicereb.attacks.ball import Ball
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.search import Search


def fgsm(landscape: Landscape, ball: Ball) -> Search:
    """Yield the one point ``clip(x + ε sign(∂l/∂x), 0, 1)``; in L2 ``clip(x + ε g/‖g‖, 0, 1)`` ``[M-L2]``.

    Arguments as for :func:`minicereb.attacks.pgd.pgd`.

    References
    ----------
    Goodfellow, Shlens and Szegedy (2015), arXiv:1412.6572.
    """
    _, gradient = landscape.value_and_gradient(ball.x)
    yield landscape.evaluate(ball.project(ball.x + ball.epsilon * ball.ascent(gradient)))
