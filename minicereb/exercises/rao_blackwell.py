"""The exercise about Rao and Blackwell: the score, given whether the neuron fires."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.noise import Gaussian, Laplace, Logistic, conditional_score
from minicereb.diagnosis.hints import Case, Mistake, Task
from minicereb.exercises.definition import Exercise, mistakes

GAUSSIAN, LOGISTIC, LAPLACE = Gaussian(), Logistic(), Laplace()


def _rao(fires: Any, drive: Any, scale: float) -> Any:
    return conditional_score(GAUSSIAN, fires, drive / scale) / scale


def _rao_steps(at: Any, fires: Any, drive: Any, scale: float) -> Any:
    """The same, step by step."""
    a = at("a", drive / scale)
    p, f = at("p", GAUSSIAN.distribution(a)), at("f", GAUSSIAN.density(a))
    return at("h - p", fires - p) * f / at("p(1 - p)", p * at("1 - p", 1 - p)) / scale


def _parts(drive: Any, scale: float) -> tuple[Any, Any]:
    a = drive / scale
    return GAUSSIAN.distribution(a), GAUSSIAN.density(a)


def _made_of(code: str, text: str, formula: Any) -> Mistake:
    """The conditional score as a formula of h, p = F(a), f(a) and σ."""
    return Mistake(code, text, lambda fires, drive, scale: formula(fires, *_parts(drive, scale), scale))


def _rao_case(rng: np.random.Generator, number: int) -> Case:
    neurons, replications = (4, 6, 3, 5, 5, 4, 6)[number], (7, 5, 8, 9, 5, 4, 6)[number]
    scale = (0.7, 1.6, 2.3, 0.4, 0.7, 1.6, 2.3)[number]
    drive = scale * rng.standard_normal((neurons, replications))
    fires = (drive + scale * rng.standard_normal((neurons, replications)) > 0).astype(np.float64)
    return Case({"fires": fires, "drive": drive, "scale": scale}, {"replications": replications})


_MISTAKES = mistakes(
    ("1/scale left out", "the factor 1/σ is missing: this is the score of e, not of r", lambda h, u, s: s * _rao(h, u, s)),
    ("drive not divided", "a is u/σ; the drive is not divided by σ", lambda h, u, s: _rao(h, u * s, s)),
    ("scale left out", "σ is left out altogether", lambda h, u, s: _rao(h, u, 1.0)),
    (
        "wrong when silent",
        "where the neuron is silent the sign is missing: there it is -f/(1 - p)",
        lambda h, u, s: np.abs(_rao(h, u, s)),
    ),
    _made_of("p(1 - p) left out", "the divisor p(1 - p) is missing", lambda h, p, f, s: (h - p) * f / s),
    _made_of("f left out", "the density f(a) is missing", lambda h, p, f, s: (h - p) / (p * (1 - p)) / s),
    _made_of("only h - p", "this is (h - p)/σ; f(a)/(p(1 - p)) is missing", lambda h, p, f, s: (h - p) / s),
    _made_of("divided by p only", "it is divided by p; p(1 - p) belongs there", lambda h, p, f, s: (h - p) * f / p / s),
    _made_of(
        "divided by 1 - p only", "it is divided by 1 - p; p(1 - p) belongs there", lambda h, p, f, s: (h - p) * f / (1 - p) / s
    ),
    _made_of(
        "root of p(1 - p)",
        "it is divided by √(p(1 - p)); p(1 - p) belongs there",
        lambda h, p, f, s: (h - p) * f / np.sqrt(p * (1 - p)) / s,
    ),
    _made_of("p(1 - p) squared", "it is divided by p(1 - p) twice", lambda h, p, f, s: (h - p) * f / (p * (1 - p)) ** 2 / s),
    _made_of(
        "multiplied by p(1 - p)", "it is multiplied by p(1 - p); it is divided", lambda h, p, f, s: (h - p) * f * p * (1 - p) / s
    ),
    _made_of("p² for p(1 - p)", "p² stands where p(1 - p) belongs", lambda h, p, f, s: (h - p) * f / p**2 / s),
    _made_of(
        "1 - h for h",
        "h and 1 - h are swapped: the neuron fires where h is 1",
        lambda h, p, f, s: (1 - h - p) * f / (p * (1 - p)) / s,
    ),
    _made_of(
        "the same F for both",
        "F(a) is divided by in both cases; where the neuron is silent it is 1 - F(a)",
        lambda h, p, f, s: (2 * h - 1) * f / p / s,
    ),
    _made_of("F and 1 - F swapped", "F(a) and 1 - F(a) are swapped", lambda h, p, f, s: np.where(h > 0, f / (1 - p), -f / p) / s),
    _made_of("as if it fired", "this is f/F as if every neuron fired", lambda h, p, f, s: f / p / s),
    _made_of("only where it fires", "neurons that are silent get 0; they have a score too", lambda h, p, f, s: h * f / p / s),
    _made_of(
        "only where it is silent", "neurons that fire get 0; they have a score too", lambda h, p, f, s: (h - 1) * f / (1 - p) / s
    ),
    _made_of("not conditional", "this is the unconditional slope of p", lambda h, p, f, s: f / s),
    _made_of("h left out", "h is left out: the mean of the score over h is 0", lambda h, p, f, s: 0 * h),
    _made_of("h + p", "p is added to h; it is subtracted", lambda h, p, f, s: (h + p) * f / (p * (1 - p)) / s),
    _made_of("p left out", "p is not subtracted from h", lambda h, p, f, s: h * f / (p * (1 - p)) / s),
    ("density of u", "the density is that of u, divided by σ once more", lambda h, u, s: _rao(h, u, s) / s),
    ("normal constant left out", "1/√(2π) is missing in the density", lambda h, u, s: _rao(h, u, s) * (2 * np.pi) ** 0.5),
    (
        "half left out in the exponent",
        "the density is exp(-a²/2)/√(2π); the half is missing",
        lambda h, u, s: _rao(h, u, s) * np.exp(-0.5 * (u / s) ** 2),
    ),
    (
        "logistic law",
        "this is for logistic noise; here it is Gaussian",
        lambda h, u, s: conditional_score(LOGISTIC, h, u / s) / s,
    ),
    ("Laplace law", "this is for Laplace noise; here it is Gaussian", lambda h, u, s: conditional_score(LAPLACE, h, u / s) / s),
    ("drive for noise", "u/σ² is the score of the drive; the noise's mean score is asked for", lambda h, u, s: u / s**2),
    ("sign of the drive", "a has the wrong sign", lambda h, u, s: _rao(h, -u, s)),
)


RAO_BLACKWELL = Exercise(
    "rao-blackwell",
    "Rao-Blackwell: the score, given whether the neuron fires",
    ("G6", "M-RB"),
    "conditional_score(fires, drive, scale)",
    "A threshold neuron fires if u + r > 0, with Gaussian noise r = σe. What happens later depends on r only through whether it "
    "fires, so the score may be replaced by its mean given that: less variance, the same mean. Return E[s(r) | h], the score of "
    "r itself, hence 1/σ times that of e, which the equation gives with the standard normal f and F at a = u/σ. "
    "scipy.special.ndtr is F. It must be finite where p rounds to 0 or 1.",
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
    Task(
        _rao,
        _MISTAKES,
        steps=_rao_steps,
    ),
    _rao_case,
    (
        Case(
            {"fires": np.array([1.0, 0.0, 1.0, 0.0]), "drive": np.array([-20.0, 20.0, 30.0, -30.0]), "scale": 0.5},
            note="where p rounds to 0 or 1 it must stay right: f/F by scipy.special.erfcx or log_ndtr, not a division by 0",
        ),
    ),
)
