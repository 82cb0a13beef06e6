"""The points that an attack may use: a ball around each image, in L∞ or in L2, within the box [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from minicereb.backend import Array, xp_of
from minicereb.randomness import Draws

NORMS = ("linf", "l2")
TINY = 1e-30  # shorter moves count as no move
ROUNDING = 1e-6  # float32 tolerance in L∞, and in L2 for small images; relative to the bound, if that is above 1
PIXEL_ROUNDING = 2.0**-25  # half the distance of two float32 numbers between 1/2 and 1: the rounding of one pixel
SCALE_ROUNDING = 2.0**-22  # relative error of a change that was scaled to length ε: four float32 roundings


def with_rounding(epsilon: float, norm: str, inputs: int) -> float:
    """Return the largest exact distance between an image and a point that float32 arithmetic counts as within ε.

    This distance is ε + 1e-6 max(1, ε) in both norms, with one exception. In L2 the roundings of n pixels (`inputs`), each at
    most 2⁻²⁵, may add up to a length of √n 2⁻²⁵. So in L2 the tolerance added to ε is √n 2⁻²⁵ + 2⁻²² ε if this is
    larger than 1e-6 max(1, ε). For small ε this is the case for images of more than about 1,100 pixels.
    """
    tolerance = ROUNDING * max(1.0, epsilon)
    if norm == "l2":
        tolerance = max(tolerance, PIXEL_ROUNDING * inputs**0.5 + SCALE_ROUNDING * epsilon)
    return epsilon + tolerance


def row_products(one: Array, other: Array) -> Array:
    """Return the inner product of each row of an array with the same row of another, in the first array's dtype.

    The sum is in float64: in float32 a sum of 150,000 products is wrong in its fifth digit, and squares of numbers below 1e-23
    are 0.
    """
    xp = xp_of(one)
    return xp.einsum("ij,ij->i", one, other, dtype=xp.float64).astype(one.dtype)


def row_norms(rows: Array) -> Array:
    """Return the L2 norm of each row, in the rows' dtype; squares are summed in float64."""
    xp = xp_of(rows)
    return xp.sqrt(xp.einsum("ij,ij->i", rows, rows, dtype=xp.float64)).astype(rows.dtype)


def unit_rows(rows: Array, out: Array | None = None) -> Array:
    """Return rows divided by their L2 norm, however small or large they are; a row of zeros stays zero."""
    scaled = scaled_rows(rows, out)
    scaled /= xp_of(rows).maximum(row_norms(scaled), rows.dtype.type(1))[:, None]  # at least 1, unless all are zero
    return scaled


def scaled_rows(rows: Array, out: Array | None = None) -> Array:
    """Return rows divided by their largest absolute value, however small or large; a row of zeros stays zero."""
    xp = xp_of(rows)
    largest = xp.abs(rows).max(axis=1, keepdims=True)
    return xp.divide(rows, xp.where(largest == 0, rows.dtype.type(1), largest), out=out)


def movable(gradient: Array, here: Array) -> Array:
    """Return the gradient at points of the box, set to 0 for pixels that a step along the gradient would move out of the box."""
    held = ((here <= 0) & (gradient < 0)) | ((here >= 1) & (gradient > 0))
    return xp_of(gradient).where(held, gradient.dtype.type(0), gradient)


@dataclass(frozen=True, eq=False)
class LinfBall:
    """The points of the box that differ from the image by at most ε in every pixel.

    Parameters
    ----------
    x : array, shape (images, inputs)
        Centres of the balls, with pixels in [0, 1].
    epsilon : float
    low, high : array, shape (images, inputs)
        Smallest and largest allowed value of each pixel.
    """

    x: Array
    epsilon: float
    low: Array
    high: Array

    norm = "linf"

    def of(self, images: Array | slice) -> LinfBall:
        """Return the balls around some of the images."""
        return replace(self, x=self.x[images], low=self.low[images], high=self.high[images])

    def project(self, z: Array, out: Array | None = None) -> Array:
        """Return the nearest point that lies in both the ball and the box."""
        xp = xp_of(z)
        return xp.minimum(xp.maximum(z, self.low, out=out), self.high, out=out)  # faster than clip between arrays

    def within(self, z: Array, sizes: Array, out: Array | None = None) -> Array:
        """Project points as :meth:`project` does, onto balls of the given `sizes`, shape (images,), around the same images."""
        xp, sizes = xp_of(z), sizes[:, None]
        z = xp.minimum(xp.maximum(z, self.x - sizes, out=out), self.x + sizes, out=out)
        return xp.clip(z, 0, 1, out=out)

    def ascent(self, gradient: Array, out: Array | None = None) -> Array:
        """Return the direction of norm 1 along which a linear function with gradient g rises most: ``sign(g)``."""
        return xp_of(gradient).sign(gradient, out=out)

    def steepness(self, gradient: Array) -> Array:
        """Return how much a linear function rises per unit distance along :meth:`ascent`: array of float64, shape (images,)."""
        xp = xp_of(gradient)
        return xp.abs(gradient).sum(axis=1, dtype=xp.float64)

    def normalized(self, gradient: Array) -> Array:
        """Return gradients divided by their mean absolute value, however small or large they are; zeros stay zero."""
        xp, scaled = xp_of(gradient), scaled_rows(gradient)
        mean = xp.abs(scaled).mean(axis=1, keepdims=True)
        scaled /= xp.where(mean == 0, mean.dtype.type(1), mean)
        return scaled

    def size(self, moves: Array) -> Array:
        """Return the norm of each row."""
        return xp_of(moves).abs(moves).max(axis=1)

    def offsets(self, draws: Draws, *numbers: int) -> Array:
        """Return, for each image, a uniformly random point of the ball of size 1 around 0."""
        return 2 * draws.uniform(self.x.shape[1], *numbers).astype(self.x.dtype) - 1

    def inside(self, draws: Draws, *numbers: int) -> Array:
        """Return, for each image, a uniformly random point in the intersection of its ball and the box."""
        return self.low + draws.uniform(self.x.shape[1], *numbers).astype(self.x.dtype) * (self.high - self.low)

    def corner(self, draws: Draws, *numbers: int) -> Array:
        """Return, for each image, a random corner of the intersection of its ball and the box."""
        return xp_of(self.x).where(draws.uniform(self.x.shape[1], *numbers) < 0.5, self.low, self.high)


@dataclass(frozen=True, eq=False)
class L2Ball:
    """The points of the box at a Euclidean distance of at most ε from the image ``[M-L2]``.

    Parameters and methods are as in :class:`LinfBall`.
    """

    x: Array
    epsilon: float

    norm = "l2"

    def of(self, images: Array | slice) -> L2Ball:
        """Return the balls around some of the images."""
        return replace(self, x=self.x[images])

    def project(self, z: Array, out: Array | None = None) -> Array:
        """Project a point onto the ball, then onto the box; the second projection can only move the point towards the centre."""
        return self.within(z, self.epsilon, out)

    def within(self, z: Array, sizes: Array | float, out: Array | None = None) -> Array:
        """Project points as :meth:`project` does, onto balls of the given `sizes`, shape (images,), around the same images."""
        xp = xp_of(z)
        move = xp.subtract(z, self.x, out=out)
        move *= xp.minimum(sizes / xp.maximum(row_norms(move), TINY), move.dtype.type(1))[:, None]
        move += self.x
        return xp.clip(move, 0, 1, out=move)

    def ascent(self, gradient: Array, out: Array | None = None) -> Array:
        """Return the direction of norm 1 along which a linear function with gradient g rises most: ``g/‖g‖``, or 0 if g is 0."""
        return unit_rows(gradient, out)

    def steepness(self, gradient: Array) -> Array:
        """Return how much a linear function rises per unit distance along :meth:`ascent`: array of float64, shape (images,)."""
        xp = xp_of(gradient)
        return xp.sqrt(xp.einsum("ij,ij->i", gradient, gradient, dtype=xp.float64))

    def normalized(self, gradient: Array) -> Array:
        """Return gradients divided by their L2 norm, however small or large they are; zeros stay zero."""
        return unit_rows(gradient)

    def size(self, moves: Array) -> Array:
        """Return the norm of each row."""
        return row_norms(moves)

    def offsets(self, draws: Draws, *numbers: int) -> Array:
        """Return, for each image, a uniformly random point of the ball of size 1 around 0.

        Each point is a Gaussian direction (by the Box-Muller transform) times ``u^{1/inputs}``, where u is uniform in [0,
        1).
        """
        xp, inputs = xp_of(self.x), self.x.shape[1]
        half = (inputs + 1) // 2
        uniform = draws.uniform(2 * half + 1, *numbers).astype(self.x.dtype)
        radius = xp.sqrt(-2 * xp.log(1 - uniform[:, :half]))
        angle = (2 * math.pi) * uniform[:, half : 2 * half]
        direction = unit_rows(xp.concatenate((radius * xp.cos(angle), radius * xp.sin(angle)), axis=1)[:, :inputs])
        return direction * uniform[:, -1:] ** (1 / inputs)

    def inside(self, draws: Draws, *numbers: int) -> Array:
        """Return, for each image, a random point that is uniform in the ball and then projected onto the box."""
        return self.project(self.x + self.epsilon * self.offsets(draws, *numbers))

    def corner(self, draws: Draws, *numbers: int) -> Array:
        """Return, for each image, a random point: every pixel moves up or down by the same amount, as far as the box permits."""
        inputs = self.x.shape[1]
        up = (draws.uniform(inputs, *numbers) < 0.5).astype(self.x.dtype)
        return self.project(self.x + (2 * up - 1) * (self.epsilon / inputs**0.5))


Ball = LinfBall | L2Ball


def whole_box(norm: str, inputs: int) -> float:
    """Return the smallest ε whose ball contains the whole box for any image: 1 in L∞, √inputs in L2."""
    return 1.0 if norm == "linf" else inputs**0.5


def ball_around(x: Array, epsilon: float, norm: str) -> Ball:
    """Return the balls of size `epsilon` around images `x`, shape (images, inputs)."""
    epsilon = float(epsilon)
    if norm == "l2":
        return L2Ball(x, epsilon)
    xp = xp_of(x)
    return LinfBall(x, epsilon, xp.maximum(x - epsilon, 0), xp.minimum(x + epsilon, 1))
