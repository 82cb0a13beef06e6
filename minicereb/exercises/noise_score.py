"""The exercise about the score of a law of noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.noise import Logistic, StudentT
from minicereb.diagnosis.hints import Case, Task
from minicereb.exercises.definition import Exercise, mistakes

LOGISTIC = Logistic()


def _score(r: Any, scale: float) -> Any:
    return LOGISTIC.score(r / scale) / scale


def _score_steps(at: Any, r: Any, scale: float) -> Any:
    """The same, step by step."""
    distribution = at("F", LOGISTIC.distribution(at("r/σ", r / scale)))
    return at("2F - 1", 2 * distribution - 1) / scale


def _score_case(rng: np.random.Generator, number: int) -> Case:
    neurons, replications = (4, 6, 3, 5, 5, 4, 6)[number], (7, 5, 8, 9, 5, 4, 6)[number]
    scale = (0.7, 1.6, 2.3, 0.4, 0.7, 1.6, 2.3)[number]
    return Case({"r": 2 * scale * rng.standard_normal((neurons, replications)), "scale": scale}, {"replications": replications})


def _density(r: Any, scale: float) -> Any:
    return LOGISTIC.density(r / scale) / scale


_MISTAKES = mistakes(
    ("sign", "the sign is wrong: this is the slope of ln f; the score is that of -ln f", lambda r, s: -_score(r, s)),
    ("1/scale left out", "a factor 1/σ is missing: the slope is by r, not by r/σ", lambda r, s: LOGISTIC.score(r / s)),
    ("scale left out", "σ is left out altogether", lambda r, s: LOGISTIC.score(r)),
    ("r not divided", "r is not divided by σ within", lambda r, s: LOGISTIC.score(r) / s),
    ("1/2 left out", "the tanh is of r/(2σ)", lambda r, s: np.tanh(r / s) / s),
    ("twice the half", "the tanh is of r/(2σ), not of r/(4σ)", lambda r, s: np.tanh(r / (4 * s)) / s),
    ("r multiplied", "r is multiplied by σ; it is divided", lambda r, s: LOGISTIC.score(r * s) / s),
    ("density", "this is the density f, not the slope of -ln f", _density),
    ("density", "this is the density without its 1/σ, not the slope of -ln f", lambda r, s: LOGISTIC.density(r / s)),
    ("logarithm", "this is -ln f itself; its slope is asked for", lambda r, s: -np.log(_density(r, s))),
    ("logarithm", "this is ln f itself; the slope of -ln f is asked for", lambda r, s: np.log(_density(r, s))),
    ("not divided by f", "this is -f'; divide by f", lambda r, s: _score(r, s) * _density(r, s)),
    ("not divided by f", "this is f'; divide by f and take the other sign", lambda r, s: -_score(r, s) * _density(r, s)),
    ("distribution", "this is the distribution F; the score is (2F - 1)/σ", lambda r, s: LOGISTIC.distribution(r / s)),
    ("distribution", "this is F/σ; the score is (2F - 1)/σ", lambda r, s: LOGISTIC.distribution(r / s) / s),
    ("slope of ln F", "this is the slope of ln F; the score is that of -ln f", lambda r, s: LOGISTIC.distribution(-r / s) / s),
    ("slope of -ln F", "this is the slope of -ln F; the score is that of -ln f", lambda r, s: -LOGISTIC.distribution(-r / s) / s),
    (
        "1 - F for 1 - 2F",
        "this is (1 - 2F) with the 2 on the wrong term: the score is (2F - 1)/σ",
        lambda r, s: (2 - LOGISTIC.distribution(r / s)) / s,
    ),
    ("half", "this is (F - ½)/σ, half of the score", lambda r, s: 0.5 * _score(r, s)),
    ("Gaussian", "r/σ² is the score of the Gaussian; the noise is logistic", lambda r, s: r / s**2),
    ("Gaussian", "r/σ is the score of Gaussian noise of unit scale; the noise is logistic", lambda r, s: r / s),
    ("Laplace", "sign(r)/σ is the score of Laplace noise; the noise is logistic", lambda r, s: np.sign(r) / s),
    (
        "Student",
        "this is the score of Student's t with 3 degrees of freedom; the noise is logistic",
        lambda r, s: StudentT(3).score(r / s) / s,
    ),
    ("second derivative", "this is the slope of the score", lambda r, s: 2 * LOGISTIC.density(r / s) / s**2),
    (
        "sech² for tanh",
        "the slope of tanh is taken; the score is tanh(r/(2σ))/σ",
        lambda r, s: (1 - np.tanh(r / (2 * s)) ** 2) / s,
    ),
    ("sinh for tanh", "sinh is not tanh", lambda r, s: np.sinh(r / (2 * s)) / s),
    ("arctan for tanh", "arctan is not tanh", lambda r, s: np.arctan(r / (2 * s)) / s),
    ("Fisher information", "this is the square of the score", lambda r, s: _score(r, s) ** 2),
    (
        "standard deviation for scale",
        "σ is taken for the standard deviation; it is the scale of the law",
        lambda r, s: _score(r, s * 3**0.5 / np.pi),
    ),
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
    Task(
        _score,
        _MISTAKES,
        steps=_score_steps,
    ),
    _score_case,
    (
        Case({"r": np.array([0.0, 1e-3, -1e-3]), "scale": 2.0}, note="the score of r = 0 is 0, and near it small"),
        Case(
            {"r": np.array([-3000.0, 3000.0, -1e5, 1e5]), "scale": 0.5},
            note="for large r the score goes to ±1/σ; exp overflows there, tanh does not",
        ),
    ),
)
