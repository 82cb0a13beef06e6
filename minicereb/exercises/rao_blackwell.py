"""The exercise on Rao-Blackwellisation: the score, given whether the neuron fires."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.noise import Gaussian, Laplace, Logistic, conditional_score
from minicereb.diagnosis.hints import Task
from minicereb.exercises.definition import Exercise, mistakes

GAUSSIAN, LOGISTIC, LAPLACE = Gaussian(), Logistic(), Laplace()


def _rao(fires: Any, drive: Any, scale: float) -> Any:
    return conditional_score(GAUSSIAN, fires, drive / scale) / scale


def _rao_steps(at: Any, fires: Any, drive: Any, scale: float) -> Any:
    a = at("a", drive / scale)
    p, f = at("p", GAUSSIAN.distribution(a)), at("f", GAUSSIAN.density(a))
    return at("h - p", fires - p) * f / at("p(1 - p)", p * at("1 - p", 1 - p)) / scale


def _over_scale(formula: Any) -> Any:
    """The conditional score as 1/σ times a formula of h, p = F(a) and f(a)."""
    return lambda h, u, s: formula(h, GAUSSIAN.distribution(u / s), GAUSSIAN.density(u / s)) / s


def _draw(rng: np.random.Generator, neurons: int, replications: int, scale: float) -> tuple[Any, ...]:
    drive = scale * rng.standard_normal((neurons, replications))
    fires = (drive + scale * rng.standard_normal((neurons, replications)) > 0).astype(np.float64)
    return fires, drive, scale


_MISTAKES = mistakes(
    ("1/scale left out", "the factor 1/σ is missing: this is the score of e, not of r", lambda h, u, s: s * _rao(h, u, s)),
    ("drive not divided", "a is u/σ; the drive is not divided by σ", lambda h, u, s: _rao(h, u * s, s)),
    ("scale left out", "σ is left out altogether", lambda h, u, s: _rao(h, u, 1.0)),
    ("wrong when silent", "the score of a silent neuron is -f/(1 - p): its sign is missing", lambda h, u, s: abs(_rao(h, u, s))),
)
_FORMULAS = mistakes(
    ("p(1 - p) left out", "the divisor p(1 - p) is missing", lambda h, p, f: (h - p) * f),
    ("f left out", "the density f(a) is missing", lambda h, p, f: (h - p) / (p * (1 - p))),
    ("only h - p", "this is (h - p)/σ; f(a)/(p(1 - p)) is missing", lambda h, p, f: h - p),
    ("divided by p only", "the divisor is p instead of p(1 - p)", lambda h, p, f: (h - p) * f / p),
    ("divided by 1 - p only", "the divisor is 1 - p instead of p(1 - p)", lambda h, p, f: (h - p) * f / (1 - p)),
    ("root of p(1 - p)", "the divisor is √(p(1 - p)) instead of p(1 - p)", lambda h, p, f: (h - p) * f / np.sqrt(p * (1 - p))),
    ("p(1 - p) squared", "it is divided by p(1 - p) twice", lambda h, p, f: (h - p) * f / (p * (1 - p)) ** 2),
    ("multiplied by p(1 - p)", "it is multiplied by p(1 - p); divide by it", lambda h, p, f: (h - p) * f * p * (1 - p)),
    ("p² for p(1 - p)", "the divisor is p² instead of p(1 - p)", lambda h, p, f: (h - p) * f / p**2),
    ("1 - h for h", "h and 1 - h are swapped: the neuron fires where h is 1", lambda h, p, f: (1 - h - p) * f / (p * (1 - p))),
    ("the same F for both", "the divisor of a silent neuron is F(a) instead of 1 - F(a)", lambda h, p, f: (2 * h - 1) * f / p),
    ("F and 1 - F swapped", "F(a) and 1 - F(a) are swapped", lambda h, p, f: np.where(h > 0, f / (1 - p), -f / p)),
    ("as if it fired", "this is f/F, as if every neuron fired", lambda h, p, f: f / p),
    ("only where it fires", "silent neurons get 0; they have a score too", lambda h, p, f: h * f / p),
    ("only where it is silent", "neurons that fire get 0; they have a score too", lambda h, p, f: (h - 1) * f / (1 - p)),
    ("not conditional", "this is the unconditional slope of p", lambda h, p, f: f),
    ("h left out", "h is left out: the mean of the score over h is 0", lambda h, p, f: 0 * h),
    ("h + p", "p is added to h instead of subtracted", lambda h, p, f: (h + p) * f / (p * (1 - p))),
    ("p left out", "p is not subtracted from h", lambda h, p, f: h * f / (p * (1 - p))),
    of=_over_scale,
)
_OTHERS = mistakes(
    ("density of u", "the density is that of u, which has another factor 1/σ", lambda h, u, s: _rao(h, u, s) / s),
    ("normal constant left out", "1/√(2π) is missing in the density", lambda h, u, s: _rao(h, u, s) * (2 * np.pi) ** 0.5),
    ("half left out in the exponent", "a factor ½ is missing", lambda h, u, s: _rao(h, u, s) * np.exp(-0.5 * (u / s) ** 2)),
    ("logistic law", "the noise is Gaussian, not logistic", lambda h, u, s: conditional_score(LOGISTIC, h, u / s) / s),
    ("Laplace law", "the noise is Gaussian, not Laplace", lambda h, u, s: conditional_score(LAPLACE, h, u / s) / s),
    ("drive for noise", "u/σ² is the score of the drive, not the mean score of the noise", lambda h, u, s: u / s**2),
    ("sign of the drive", "a has the wrong sign", lambda h, u, s: _rao(h, -u, s)),
)

RAO_BLACKWELL = Exercise(
    "rao-blackwell",
    "Rao-Blackwell: the score, given whether the neuron fires",
    ("G6", "M-RB"),
    "conditional_score(fires, drive, scale)",
    "A threshold neuron fires if u + r > 0, with Gaussian noise r = σe. Everything after it depends on r only through whether it "
    "fires, so the score may be replaced by its mean given that: the variance is smaller, the mean is the same. Return "
    "E[s(r) | h], the score of r itself: 1/σ times that of e, which the equation gives with the standard normal f and F at "
    "a = u/σ. F is scipy.special.ndtr. The result must be finite where p rounds to 0 or 1.",
    """
    Parameters
    ----------
    fires : array of float, values 0 and 1, any shape
        h.
    drive : array of float, same shape
        u, the signal without its noise.
    scale : float
        σ, above 0.

    Returns
    -------
    array
        Shape and dtype of `drive`.
    """,
    Task(_rao, _MISTAKES + _FORMULAS + _OTHERS, steps=_rao_steps),
    _draw,
    {"neurons": (4, 6, 3, 5), "replications": (7, 5, 8, 9)},
    {"scale": (0.7, 1.6, 2.3, 0.4)},
    {
        "it must be right where p rounds to 0 or 1: compute f/F with scipy.special.erfcx or log_ndtr, without dividing by 0": (
            np.array([1.0, 0.0, 1.0, 0.0]),
            np.array([-20.0, 20.0, 30.0, -30.0]),
            0.5,
        )
    },
)
