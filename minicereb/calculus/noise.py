"""Distributions of neuronal noise: density, distribution function, score and Fisher information, all at unit scale.

A neuron's noise is ``r = σe``: σ is the *scale* of the distribution (its standard deviation only for the Gaussian), and e has
unit scale. All distributions are symmetric, so a threshold neuron driven by u fires with probability ``P(u + σe > 0) = F(u/σ)``.

Noise is computed from uniform variates in [-1, 1] that are never 0; the method ``uniforms`` returns how many of them are
needed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from minicereb.backend import Array, special_of, xp_of
from minicereb.errors import choose, require
from minicereb.parallel import pass_blocks, scratch
from minicereb.randomness import signed_uniform

LARGEST_POWER = 80.0  # exp of it, and the square of its root, are finite in float32


@dataclass(frozen=True)
class Gaussian:
    """Gaussian noise with density ``f(e) = exp(-e²/2) / √(2π)``; its standard deviation at unit scale is 1."""

    name = "gaussian"
    fisher = 1.0  # E[s(e)²]
    standard_deviation = 1.0

    def uniforms(self, count: int) -> int:
        """Return the number of uniform variates needed for `count` draws."""
        return count + count % 2

    def draw(self, uniform: Array, count: int) -> Array:
        """Return `count` independent draws of unit scale, computed in place by the Box-Muller method (1958)."""
        xp, half = xp_of(uniform), len(uniform) // 2
        for block in pass_blocks(uniform[:half]):
            radius, angle = uniform[:half][block], uniform[half:][block]
            xp.abs(radius, out=radius)
            xp.log(radius, out=radius)
            radius *= uniform.dtype.type(-2)
            xp.sqrt(radius, out=radius)
            angle *= uniform.dtype.type(math.pi)
            cosine = xp.cos(angle, out=scratch("cosine", (1, len(angle)), uniform)[0])
            xp.sin(angle, out=angle)
            angle *= radius
            radius *= cosine
        return uniform[:count]

    def score(self, e: Array) -> Array:
        """Return the score ``s(e) = -f'(e)/f(e) = e``, which is `e` itself, not a copy."""
        return e

    def density(self, e: Array) -> Array:
        """Return the density ``f(e)``."""
        return xp_of(e).exp(-0.5 * e * e) * e.dtype.type((2 * math.pi) ** -0.5)

    def distribution(self, e: Array) -> Array:
        """Return the distribution function ``F(e)``."""
        return special_of(e).ndtr(e)

    def quantile(self, q: Array) -> Array:
        """Return the quantile ``F⁻¹(q)`` for q in (0, 1)."""
        return special_of(q).ndtri(q)

    def density_ratio(self, e: Array) -> Array:
        """Return ``f(e)/F(e) = √(2/π) / erfcx(-e/√2)``, which is accurate even where F underflows."""
        return e.dtype.type((2 / math.pi) ** 0.5) / special_of(e).erfcx(e * e.dtype.type(-(0.5**0.5)))


@dataclass(frozen=True)
class Laplace:
    """Laplace noise with density ``f(e) = exp(-|e|) / 2``; its standard deviation at unit scale is √2."""

    name = "laplace"
    fisher = 1.0
    standard_deviation = 2**0.5

    def uniforms(self, count: int) -> int:
        """Return the number of uniform variates needed for `count` draws."""
        return count

    def draw(self, uniform: Array, count: int) -> Array:
        """Return `count` independent draws of unit scale: an exponential variable with a random sign."""
        xp = xp_of(uniform)
        return -xp.sign(uniform) * xp.log(xp.abs(uniform))

    def score(self, e: Array) -> Array:
        """Return the score ``s(e) = sign(e)``."""
        return xp_of(e).sign(e)

    def density(self, e: Array) -> Array:
        """Return the density ``f(e)``."""
        xp = xp_of(e)
        return xp.exp(-xp.abs(e)) * e.dtype.type(0.5)

    def distribution(self, e: Array) -> Array:
        """Return the distribution function ``F(e)``."""
        xp = xp_of(e)
        tail = self.density(e)
        return xp.where(e < 0, tail, 1 - tail)

    def quantile(self, q: Array) -> Array:
        """Return the quantile ``F⁻¹(q)`` for q in (0, 1)."""
        xp = xp_of(q)
        return -xp.sign(q - 0.5) * xp.log(2 * xp.minimum(q, 1 - q))

    def density_ratio(self, e: Array) -> Array:
        """Return ``f(e)/F(e)``, which is 1 for e < 0."""
        xp = xp_of(e)
        tail = self.density(e)
        return xp.where(e < 0, e.dtype.type(1), tail / (1 - tail))


@dataclass(frozen=True)
class Logistic:
    """Logistic noise with distribution function ``F(e) = 1/(1 + exp(-e))``; its standard deviation at unit scale is π/√3.

    The density is ``f(e) = F(e)(1 - F(e))``.
    """

    name = "logistic"
    fisher = 1 / 3
    standard_deviation = math.pi / 3**0.5

    def uniforms(self, count: int) -> int:
        """Return the number of uniform variates needed for `count` draws."""
        return count

    def draw(self, uniform: Array, count: int) -> Array:
        """Return `count` independent draws of unit scale: ``±ln((1-q)/q)``, where ``q = |uniform|/2`` is the tail probability."""
        xp = xp_of(uniform)
        twice = xp.abs(uniform)
        return xp.sign(uniform) * xp.log((2 - twice) / twice)

    def score(self, e: Array) -> Array:
        """Return the score ``s(e) = tanh(e/2)``."""
        return xp_of(e).tanh(e * e.dtype.type(0.5))

    def density(self, e: Array) -> Array:
        """Return the density ``f(e)``."""
        expit = special_of(e).expit
        return expit(e) * expit(-e)

    def distribution(self, e: Array) -> Array:
        """Return the distribution function ``F(e)``."""
        return special_of(e).expit(e)

    def quantile(self, q: Array) -> Array:
        """Return the quantile ``F⁻¹(q)`` for q in (0, 1)."""
        return special_of(q).logit(q)

    def density_ratio(self, e: Array) -> Array:
        """Return ``f(e)/F(e) = 1 - F(e)``."""
        return special_of(e).expit(-e)


@dataclass(frozen=True)
class StudentT:
    """Student's t noise with ν degrees of freedom, whose density is proportional to ``(1 + e²/ν)^(-(ν+1)/2)``.

    Parameters
    ----------
    degrees : float
        Degrees of freedom ν, from 0.5 to 1000. The standard deviation at unit scale is √(ν/(ν-2)) if ν > 2, and infinite for
        smaller ν.
    """

    degrees: float = 3.0
    name = "student-t"

    def __post_init__(self) -> None:
        require(0.5 <= self.degrees <= 1000, "noise-degrees", self.degrees, "a number from 0.5 to 1000 (beyond, take gaussian)")

    @property
    def fisher(self) -> float:
        """``E[s(e)²] = (ν+1)/(ν+3)``."""
        return (self.degrees + 1) / (self.degrees + 3)

    @property
    def standard_deviation(self) -> float:
        """Standard deviation at unit scale; infinite for ν up to 2."""
        return (self.degrees / (self.degrees - 2)) ** 0.5 if self.degrees > 2 else float("inf")

    def uniforms(self, count: int) -> int:
        """Return the number of uniform variates needed for `count` draws."""
        return 2 * count

    def draw(self, uniform: Array, count: int) -> Array:
        """Return `count` independent draws of unit scale, by the polar method (Bailey, 1994)."""
        xp = xp_of(uniform)
        power = xp.minimum(xp.log(xp.abs(uniform[:count])) * (-2 / self.degrees), LARGEST_POWER)
        square = self.degrees * xp.expm1(power)
        return xp.cos(uniform[count:] * uniform.dtype.type(math.pi)) * xp.sqrt(square)

    def score(self, e: Array) -> Array:
        """Return the score ``s(e) = (ν+1)e/(ν + e²)``."""
        return (self.degrees + 1) * e / (self.degrees + e * e)

    def density(self, e: Array) -> Array:
        """Return the density ``f(e)``."""
        nu = self.degrees
        height = math.exp(math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)) / (nu * math.pi) ** 0.5
        return height * (1 + e * e / nu) ** (-(nu + 1) / 2)

    def distribution(self, e: Array) -> Array:
        """Return ``F(e)`` from the incomplete beta function, in whichever of its two forms loses no digits."""
        xp, half = xp_of(e), e.dtype.type(0.5)
        nu, half_nu = (e.dtype.type(number) for number in (self.degrees, self.degrees / 2))  # typed: NumPy 1 would widen them
        square = e * e
        near = square < 1
        share = xp.where(near, square, nu) / (nu + square)
        part = special_of(e).betainc(xp.where(near, half, half_nu), xp.where(near, half_nu, half), share)
        tail = half * xp.where(near, 1 - part, part)
        return xp.where(e < 0, tail, 1 - tail)

    def quantile(self, q: Array) -> Array:
        """Return the quantile ``F⁻¹(q)`` for q in (0, 1)."""
        xp, half = xp_of(q), q.dtype.type(0.5)
        nu, half_nu = (q.dtype.type(number) for number in (self.degrees, self.degrees / 2))
        inside = xp.abs(2 * q - 1)
        near = inside < half
        share = xp.where(near, inside, 2 * xp.minimum(q, 1 - q))
        part = special_of(q).betaincinv(xp.where(near, half, half_nu), xp.where(near, half_nu, half), share)
        return xp.sign(q - half) * xp.sqrt(nu * xp.where(near, part, 1 - part) / xp.where(near, 1 - part, part))

    def density_ratio(self, e: Array) -> Array:
        """Return ``f(e)/F(e)``; where F underflows, return ``|s(e)|``, which is within a few percent of the ratio."""
        xp, least = xp_of(e), e.dtype.type(1e-37)
        below = self.distribution(e)
        return xp.where(below > least, self.density(e) / xp.maximum(below, least), xp.abs(self.score(e)))


Law = Gaussian | Laplace | Logistic | StudentT
LAWS: dict[str, type[Law]] = {law.name: law for law in (Gaussian, Laplace, Logistic, StudentT)}


def law_named(name: str, degrees: float | None = None) -> Law:
    """Return the distribution with this name; `degrees` (3 by default) apply only to Student's t."""
    law = choose("noise", name, LAWS)
    if law is StudentT and degrees is not None:
        return StudentT(degrees)
    require(degrees is None, "noise-degrees", degrees, f"no value: only {StudentT.name} noise has degrees of freedom")
    return law()


def draw_noise(
    like: Array, laws: Sequence[Law | None], shapes: Sequence[tuple[int, ...]], seed: int, stream: str, numbers: tuple[int, ...]
) -> tuple[Array | None, ...]:
    """Draw independent noise of unit scale for several layers from one random generator.

    The generator is determined by `seed`, `stream` and `numbers` (see :mod:`minicereb.randomness`). For each layer, `laws` has
    the distribution (None for no noise), and `shapes` has the shape of the noise. The array library and the dtype are the same as
    for `like`.
    """
    counts = [math.prod(shape) for shape in shapes]
    takes = [0 if law is None else law.uniforms(count) for law, count in zip(laws, counts, strict=True)]
    uniform = signed_uniform(like, seed, stream, numbers, sum(takes))
    noise: list[Array | None] = []
    end = 0
    for law, shape, count, take in zip(laws, shapes, counts, takes, strict=True):
        end += take
        noise.append(None if law is None else law.draw(uniform[end - take : end], count).reshape(shape))
    return tuple(noise)


def conditional_score(law: Law, fires: Array, a: Array) -> Array:
    """Mean score of a threshold neuron's noise, given whether it fires: ``E[s(e) | h] = ±f(a)/F(±a)`` ``[M-RB]``.

    Parameters
    ----------
    law : Law
    fires : array of float, values 0 and 1
        h.
    a : array, broadcasting against `fires`
        Drive divided by noise scale, a = u/σ: the neuron fires with probability F(a).

    Returns
    -------
    array
        The score of noise of unit scale; divided by σ, it is the score of r = σe. It equals ``(h - p) f(a) / (p(1 - p))`` with
        p = F(a), but is accurate even where p rounds to 0 or 1.
    """
    sign = 2 * fires - 1
    return sign * law.density_ratio(sign * a)
