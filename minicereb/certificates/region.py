"""The images from which an attack may choose, and the minimum of a linear function over them."""

from __future__ import annotations

from dataclasses import dataclass

from minicereb.backend import Array, xp_of
from minicereb.errors import require
from minicereb.inputs import check_images

DUAL_STEPS = 12
SLACK = 2.0**-40  # relative allowance for the rounding of sums over corners of the box


@dataclass(frozen=True, eq=False)
class Region:
    """The images within ε of given images, in the box [0, 1].

    Parameters
    ----------
    x : array of float64, shape (inputs, images)
        The given images, with pixels in [0, 1].
    centre, radius : array of float64, same shape
        Centre and radius of the smallest box around the region.
    epsilon : float or None
        Radius of the ball in L2; None in L∞, where the box is the region.
    """

    x: Array
    centre: Array
    radius: Array
    epsilon: float | None

    @staticmethod
    def around(x: Array, epsilon: float, norm: str) -> Region:
        """Return the region around images `x`, shape (images, inputs).

        Raise :class:`InputError` if a pixel is outside [0, 1].
        """
        require(0 <= epsilon < float("inf"), "epsilon", epsilon, "a number of at least 0")
        check_images(x)
        xp = xp_of(x)
        x_t = xp.ascontiguousarray(x.T.astype(xp.float64))
        low, high = xp.maximum(x_t - epsilon, 0.0), xp.minimum(x_t + epsilon, 1.0)
        return Region(x_t, 0.5 * (low + high), 0.5 * (high - low), None if norm == "linf" else epsilon)

    def only(self, images: slice) -> Region:
        """Return the region around some of the images."""
        return Region(self.x[:, images], self.centre[:, images], self.radius[:, images], self.epsilon)

    def fired(self, threshold: float) -> Region:
        """Return the smallest box around the activity of mossy fibres that fire above `threshold` ``[M-FIBRES]``."""
        low, high = self.centre - self.radius - SLACK > threshold, self.centre + self.radius + SLACK > threshold
        fires, low, high = (fibres.astype(self.x.dtype) for fibres in (self.x > threshold, low, high))
        return Region(fires, 0.5 * (low + high), 0.5 * (high - low), None)

    def least(self, a: Array) -> Array:
        """Return a lower bound on ``a·x`` over the region, (functions, images), for `a` of shape (inputs, functions, images).

        The bound is exact in L∞ ``[M-LINEAR]``. In L2 it is the best of three bounds: over the ball alone, over the box
        alone, and the dual bound over both together ``[M-DUAL]``.
        """
        xp = xp_of(a)
        box = (a * self.centre[:, None]).sum(axis=0) - (abs(a) * self.radius[:, None]).sum(axis=0)
        if self.epsilon is None:
            return box
        ball = (a * self.x[:, None]).sum(axis=0) - self.epsilon * xp.sqrt((a * a).sum(axis=0))
        return xp.maximum(xp.maximum(box, ball), self._dual(a))

    def _dual(self, a: Array) -> Array:
        """Return ``a·x + max_λ min_d (a·d + ½λ(‖d‖² - ε²))`` for d in its box.

        Any λ > 0 gives a lower bound, and bisection finds the best λ.
        """
        xp = xp_of(a)
        epsilon = max(self.epsilon or 0.0, 1e-12)
        low, high = (self.centre - self.radius - self.x)[:, None], (self.centre + self.radius - self.x)[:, None]
        most = xp.sqrt((a * a).sum(axis=0)) / epsilon + 1e-100
        small, large = most * 1e-6, most

        def step(penalty: Array) -> Array:
            return xp.minimum(xp.maximum(-a / penalty, low), high)

        for _ in range(DUAL_STEPS):
            middle = xp.sqrt(small * large)
            outside = (step(middle) ** 2).sum(axis=0) > epsilon * epsilon
            small, large = xp.where(outside, middle, small), xp.where(outside, large, middle)
        d = step(large)
        return (a * (self.x[:, None] + d)).sum(axis=0) + 0.5 * large * ((d * d).sum(axis=0) - epsilon * epsilon)
