"""The exercise on the score of a noise distribution."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.noise import Logistic, StudentT
from minicereb.diagnosis.hints import Task
from minicereb.exercises.definition import Exercise, mistakes

LOGISTIC = Logistic()
F = LOGISTIC.distribution


def _score(r: Any, scale: float) -> Any:
    return LOGISTIC.score(r / scale) / scale


def _score_steps(at: Any, r: Any, scale: float) -> Any:
    distribution = at("F", F(at("r/σ", r / scale)))
    return at("2F - 1", 2 * distribution - 1) / scale


def _density(r: Any, scale: float) -> Any:
    return LOGISTIC.density(r / scale) / scale


_MISTAKES = mistakes(
    ("sign", "the sign is wrong: this is the slope of ln f; the score is that of -ln f", lambda r, s: -_score(r, s)),
    ("1/scale left out", "a factor 1/σ is missing: the slope is by r, not by r/σ", lambda r, s: LOGISTIC.score(r / s)),
    ("scale left out", "σ is left out altogether", lambda r, s: LOGISTIC.score(r)),
    ("r not divided", "r should be divided by σ first", lambda r, s: LOGISTIC.score(r) / s),
    ("1/2 left out", "this has tanh(r/σ); it should be tanh(r/(2σ))", lambda r, s: np.tanh(r / s) / s),
    ("twice the half", "this has tanh(r/(4σ)); it should be tanh(r/(2σ))", lambda r, s: np.tanh(r / (4 * s)) / s),
    ("r multiplied", "r is multiplied by σ; it should be divided", lambda r, s: LOGISTIC.score(r * s) / s),
    ("density", "this is the density f, not the slope of -ln f", _density),
    ("density", "this is the density without its factor 1/σ, not the slope of -ln f", lambda r, s: LOGISTIC.density(r / s)),
    ("logarithm", "this is -ln f itself, not its slope", lambda r, s: -np.log(_density(r, s))),
    ("logarithm", "this is ln f itself, not the slope of -ln f", lambda r, s: np.log(_density(r, s))),
    ("not divided by f", "this is -f'; divide by f", lambda r, s: _score(r, s) * _density(r, s)),
    ("not divided by f", "this is f'; divide by -f", lambda r, s: -_score(r, s) * _density(r, s)),
    ("distribution", "this is the distribution F; the score is (2F - 1)/σ", lambda r, s: F(r / s)),
    ("distribution", "this is F/σ; the score is (2F - 1)/σ", lambda r, s: F(r / s) / s),
    ("slope of ln F", "this is the slope of ln F; the score is that of -ln f", lambda r, s: F(-r / s) / s),
    ("slope of -ln F", "this is the slope of -ln F; the score is that of -ln f", lambda r, s: -F(-r / s) / s),
    ("1 - F for 1 - 2F", "this is (2 - F)/σ; the score is (2F - 1)/σ", lambda r, s: (2 - F(r / s)) / s),
    ("half", "this is (F - ½)/σ, half of the score", lambda r, s: 0.5 * _score(r, s)),
    ("Gaussian", "r/σ² is the score of Gaussian noise; the noise is logistic", lambda r, s: r / s**2),
    ("Gaussian", "r/σ is a score of Gaussian noise; the noise is logistic", lambda r, s: r / s),
    ("Laplace", "sign(r)/σ is the score of Laplace noise; the noise is logistic", lambda r, s: np.sign(r) / s),
    ("Student", "this is the score of Student's t (3 degrees of freedom)", lambda r, s: StudentT(3).score(r / s) / s),
    ("second derivative", "this is the slope of the score", lambda r, s: 2 * LOGISTIC.density(r / s) / s**2),
    ("sech² for tanh", "this is the slope of tanh, not tanh", lambda r, s: (1 - np.tanh(r / (2 * s)) ** 2) / s),
    ("sinh for tanh", "sinh is used instead of tanh", lambda r, s: np.sinh(r / (2 * s)) / s),
    ("arctan for tanh", "arctan is used instead of tanh", lambda r, s: np.arctan(r / (2 * s)) / s),
    ("Fisher information", "this is the square of the score", lambda r, s: _score(r, s) ** 2),
    ("standard deviation for scale", "σ is the scale, not the standard deviation", lambda r, s: _score(r, s * 3**0.5 / np.pi)),
)

SCORE = Exercise(
    "noise-score",
    "The score of logistic noise",
    ("G5",),
    "score(r, scale)",
    "The likelihood-ratio method needs the score of a neuron's noise, s(r) = -f'(r)/f(r), the slope of -ln f. Here the noise is "
    "logistic with scale σ: f(r) = F(r)(1 - F(r))/σ with F(r) = 1/(1 + exp(-r/σ)). Work out the derivative by hand and return "
    "s(r). It must be finite for any r.",
    """
    Parameters
    ----------
    r : array of float, any shape
        Noise.
    scale : float
        σ, above 0.

    Returns
    -------
    array
        Shape and dtype of `r`.
    """,
    Task(_score, _MISTAKES, steps=_score_steps),
    lambda rng, neurons, replications, scale: (2 * scale * rng.standard_normal((neurons, replications)), scale),
    {"neurons": (4, 6, 3, 5), "replications": (7, 5, 8, 9)},
    {"scale": (0.7, 1.6, 2.3, 0.4)},
    {
        "the score of r = 0 is 0, and near it the score is small": (np.array([0.0, 1e-3, -1e-3]), 2.0),
        "for large r the score approaches ±1/σ; exp overflows there, tanh does not": (np.array([-3e3, 3e3, -1e5, 1e5]), 0.5),
    },
)
