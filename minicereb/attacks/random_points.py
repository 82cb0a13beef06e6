"""Random points of the ball: a baseline for every other attack."""

from __future__ import annotations

from minicereb.attacks.ball import Ball
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.search import Search
from minicereb.randomness import Draws


def random_points(landscape: Landscape, ball: Ball, draws: Draws, steps: int) -> Search:
    """Yield `steps` points in the ball and the box, alternately a random interior point and a random corner.

    No gradient is used.
    """
    for point in range(steps):
        x = ball.corner(draws, point) if point % 2 else ball.inside(draws, point)
        keep = yield landscape.evaluate(x)
        if keep is not None:
            landscape, ball, draws = landscape.of(keep), ball.of(keep), draws.of(keep)
