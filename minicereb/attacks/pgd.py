"""Steps along the gradient: one step (FGSM), many steps with projections (PGD), and many with momentum."""

from __future__ import annotations

from minicereb.attacks.ball import Ball
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.search import Search
from minicereb.backend import Array, xp_of


def fgsm(landscape: Landscape, ball: Ball) -> Search:
    """Yield the one point of the fast gradient sign method ``[M-FGSM]``: ``clip(x + ε sign(∂l/∂x), 0, 1)``.

    In L2 the point is ``clip(x + ε g/‖g‖, 0, 1)`` ``[M-L2]``. The arguments are as for :func:`pgd`.

    References
    ----------
    Goodfellow, Shlens and Szegedy (2015), arXiv:1412.6572.
    """
    _, gradient = landscape.value_and_gradient(ball.x)
    yield landscape.evaluate(ball.project(ball.x + ball.epsilon * ball.ascent(gradient)))


def pgd(landscape: Landscape, ball: Ball, start: Array, steps: int, step_size: float) -> Search:
    """Yield the points of projected gradient descent ``[M-PGD]``: the start, then one after each step.

    Parameters
    ----------
    landscape : Landscape
        The objective to ascend.
    ball : Ball
        Ball around the clean images.
    start : array, shape (images, inputs)
        Starting points, which are projected onto the ball and the box.
    steps : int
        Number of steps.
    step_size : float
        The step size α, for pixel values from 0 to 1: how far each pixel moves in L∞, or the whole image in L2.

    References
    ----------
    Madry, Makelov, Schmidt, Tsipras and Vladu (2018), arXiv:1706.06083.
    """
    step_size = float(step_size)
    here = ball.project(start)
    for _ in range(steps):
        point, gradient = landscape.value_and_gradient(here)
        keep = yield point
        if keep is not None:
            landscape, ball, here, gradient = landscape.of(keep), ball.of(keep), here[keep], gradient[keep]
        here = here + step_size * ball.ascent(gradient)
        ball.project(here, out=here)
    yield landscape.evaluate(here)


def momentum(
    landscape: Landscape, ball: Ball, start: Array, steps: int, step_size: float, decay: float, nesterov: bool = False
) -> Search:
    """Yield the points of a search with momentum ``[M-MI]``: the points where the gradient is evaluated, then the last one.

    Each step has the direction of a sum of past gradients.

    Parameters
    ----------
    landscape, ball, start, steps, step_size
        As for :func:`pgd`. Steps go along the sign of the sum in L∞, along the sum itself in L2.
    decay : float
        μ, from 0 to 1: the factor applied to the sum before a gradient is added. With 0 the search visits the same points as PGD.
    nesterov : bool
        Whether the gradient is evaluated at the look-ahead point, where the sum alone would lead, instead of at the current
        point.

    References
    ----------
    Dong et al. (2018), arXiv:1710.06081, Algorithm 1 (MI-FGSM, μ = 1). If `nesterov` is true: Lin et al. (2020),
    arXiv:1908.06281, Eq. 6 and 7 (NI-FGSM). The papers divide a gradient by its L1 norm; here, as in the code of NI-FGSM, it is
    divided by its mean absolute value in L∞, and by its length in L2. In L∞ the choice of this divisor does not change the
    points of MI-FGSM.
    The look-ahead point is projected onto ball and box, so that it is a valid point of the search.
    """
    step_size, decay = float(step_size), float(decay)
    here = ball.project(start)
    total = xp_of(here).zeros_like(here)
    for _ in range(steps):
        at = ball.project(here + (step_size * decay) * total) if nesterov else here
        point, gradient = landscape.value_and_gradient(at)
        keep = yield point
        if keep is not None:
            landscape, ball, here, gradient, total = landscape.of(keep), ball.of(keep), here[keep], gradient[keep], total[keep]
        total *= decay
        total += ball.normalized(gradient)
        here = here + step_size * ball.ascent(total)
        ball.project(here, out=here)
    yield landscape.evaluate(here)
