"""Projected gradient descent with momentum ``[M-MI]``: the direction of a step is that of a sum of past gradients."""

from __future__ import annotations

from minicereb.attacks.ball import Ball
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.search import Search
from minicereb.backend import Array, xp_of


def momentum(
    landscape: Landscape, ball: Ball, start: Array, steps: int, step_size: float, decay: float, nesterov: bool = False
) -> Search:
    """Yield the points at which the gradient is taken, then the last point.

    Parameters
    ----------
    landscape, ball, start, steps, step_size
        As for :func:`minicereb.attacks.pgd.pgd`. Steps go along the sign of the sum in L∞, along the sum itself in L2.
    decay : float
        μ, from 0 to 1: the factor of the sum before a gradient is added. With 0 the points are those of PGD.
    nesterov : bool
        Whether the gradient is taken ahead, where the sum alone would lead, instead of at the point itself.

    References
    ----------
    Dong et al. (2018), arXiv:1710.06081, Algorithm 1 (MI-FGSM, μ = 1); with `nesterov` Lin et al. (2020), arXiv:1908.06281,
    Eq. 6 and 7 (NI-FGSM). The papers divide a gradient by its L1 norm; here, as in the code of NI-FGSM, it is divided by its mean
    absolute value in L∞, and by its length in L2. In L∞ this factor does not change the points of MI-FGSM. The point ahead is
    projected onto ball and box, so that it counts as a point visited.
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
