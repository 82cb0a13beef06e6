"""Random points of the ball: what any attack that learns something about the model must beat."""

from __future__ import annotations

from minicereb.attacks.ball import Ball
from minicereb.attacks.draws import Draws
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.search import Search


def random_points(landscape: Landscape, ball: Ball, draws: Draws, steps: int) -> Search:
    """Yield `steps` points of ball and box, in turn from inside and from its corners.

    Parameters
    ----------
    landscape : Landscape
        Its gradient is not looked at.
    ball : Ball
        Around clean images. Inside: uniform in L∞; in L2 uniform in the ball, then brought into the box. A corner changes every
        pixel by as much as any.
    draws : Draws
        Of these images.
    steps : int
    """
    for point in range(steps):
        x = ball.corner(draws, point) if point % 2 else ball.inside(draws, point)
        keep = yield landscape.evaluate(x)
        if keep is not None:
            landscape, ball, draws = landscape.of(keep), ball.of(keep), draws.of(keep)
