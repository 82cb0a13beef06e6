"""The exercise on the likelihood-ratio estimator."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.likelihood_ratio import gaussian_score, likelihood_ratio_gradient
from minicereb.calculus.noise import Gaussian
from minicereb.diagnosis.hints import Task
from minicereb.exercises.definition import Exercise, mistakes, mistakes_of

DENSITY = Gaussian().density


def _glr(losses: Any, x: Any, r: Any, scale: float) -> Any:
    return likelihood_ratio_gradient(losses, gaussian_score(r, scale), x)


def _glr_steps(at: Any, losses: Any, x: Any, r: Any, scale: float) -> Any:
    score = at("the score", r / scale**2)
    return at("the product", at("loss times score", losses[:, None] * score).T @ x) / len(losses)


def _estimate(weight: Any, score: Any) -> Any:
    """The estimator with ingredients other than the losses and the score."""
    return lambda losses, x, r, scale: (weight(losses)[:, None] * score(r, scale)).T @ x / len(losses)


def _weighted(formula: Any) -> Any:
    """The estimator as another formula of loss times score, shape (replications, neurons), and the input."""
    return lambda losses, x, r, scale: formula(losses[:, None] * r / scale**2, x)


_WEIGHTS = mistakes(
    ("baseline", "the median loss is subtracted; no baseline is asked for", lambda L: L - np.median(L)),
    ("baseline", "the largest loss is subtracted; no baseline is asked for", lambda L: L - L.max()),
    ("baseline", "the first loss is subtracted; no baseline is asked for", lambda L: L - L[0]),
    ("softmax of the losses", "the softmax of the losses is used", lambda L: np.exp(L) / np.exp(L).sum()),
    ("exponential of the losses", "the exponential of the losses is used", np.exp),
    ("baseline", "the mean loss is subtracted: no baseline is asked for, and this one is biased", lambda L: L - L.mean()),
    ("baseline", "the mean of the other losses is subtracted", lambda L: L - (L.sum() - L) / (len(L) - 1)),
    ("standardised", "the losses are centred and divided by their standard deviation", lambda L: (L - L.mean()) / L.std()),
    ("smallest subtracted", "the smallest loss is subtracted", lambda L: L - L.min()),
    ("ranks", "the ranks of the losses are used instead of their values", lambda L: L.argsort().argsort() * 1.0),
    ("one loss for all", "the mean loss multiplies every replication: means are multiplied", lambda L: np.full_like(L, L.mean())),
    ("squared losses", "the losses are squared", lambda L: L * L),
    ("logarithm of the losses", "the logarithm of the losses is used", np.log),
    ("largest loss only", "only the replication with the largest loss is used", lambda L: L * (L.max() == L)),
    ("smallest loss only", "only the replication with the smallest loss is used", lambda L: L * (L.min() == L)),
    ("rewards", "1 - L is used: these are losses, not rewards", lambda L: 1 - L),
)
_SCORES = mistakes(
    ("derivative by the scale", "1/σ is subtracted, as in the score by σ; here it is by v", lambda r, s: r / s**2 - 1 / s),
    ("sign of the noise", "only the sign of the noise is used: that is the score of Laplace noise", lambda r, s: np.sign(r) / s),
    ("logistic score", "this is the score of logistic noise", lambda r, s: np.tanh(r / (2 * s)) / s),
    ("density", "the density of the noise is used instead of its score", lambda r, s: DENSITY(r / s) / s),
    ("logarithm of the density", "ln f is used instead of the slope of -ln f", lambda r, s: np.log(DENSITY(r / s) / s)),
    ("squared noise", "the noise is squared: its sign is lost", lambda r, s: r**2 / s**2),
    ("derivative by the scale", "this is the score by σ, r²/σ³ - 1/σ; here it is by v", lambda r, s: r**2 / s**3 - 1 / s),
    ("noise times scale", "the noise is multiplied by σ instead of 1/σ²", lambda r, s: r * s),
    ("score left out", "the score is left out", lambda r, s: np.ones_like(r)),
    ("centred noise", "the mean over the replications is subtracted from the noise", lambda r, s: (r - r.mean(axis=0)) / s**2),
    ("deviation of the sample", "σ is estimated from the noise; it is given", lambda r, s: r / r.var()),
)
_AXES = mistakes(
    (
        "losses along the wrong axis",
        "the losses multiply the neurons; use losses[:, None]",
        lambda L, x, r, s: (L * r / s**2).T @ x / len(L),
    ),
    ("averages multiplied", "three means are multiplied", lambda L, x, r, s: L.mean() * np.outer(r.mean(0), x.mean(0)) / s**2),
    ("signal's noise in x", "the noise is used instead of x", lambda L, x, r, s: (L[:, None] * r / s**2).T @ r / len(L)),
)
_PRODUCTS = mistakes(
    ("not transposed", "r @ x sums over the wrong axis; rᵀ x sums over replications", lambda a, x: a @ x / len(x)),
    ("elements multiplied", "noise and input are multiplied element by element; use every pair", lambda a, x: a * x / len(x)),
    ("averages multiplied", "two means are multiplied; average products instead", lambda a, x: np.outer(a.mean(0), x.mean(0))),
    ("not averaged", "the mean over replications is missing", lambda a, x: a[:, :, None] * x[:, None]),
    ("biases only", "x is left out: this is the derivative by the biases", lambda a, x: a.mean(axis=0)),
    of=_weighted,
)

GLR = Exercise(
    "glr-estimator",
    "The likelihood-ratio estimator",
    ("G5", "G6"),
    "glr_gradient(losses, x, r, scale)",
    "Neurons a have signals v_a = Σ_b θ_ab x_b + r_a with Gaussian noise r of standard deviation σ. In each replication k, noise "
    "was drawn and the loss was L_k. Return the plain estimate of the derivative of the mean loss by the weights θ: the mean "
    "over replications of loss times score times input, with no baseline.",
    """
    Parameters
    ----------
    losses : array of float, shape (replications,)
        L_k.
    x : array of float, shape (replications, inputs)
        Inputs of the neurons in each replication.
    r : array of float, shape (replications, neurons)
        The noise that was drawn.
    scale : float
        σ, above 0.

    Returns
    -------
    array, shape (neurons, inputs)
        Dtype of `x`.
    """,
    Task(
        _glr,
        _AXES + _PRODUCTS + mistakes_of(_estimate, (lambda L: L, lambda r, s: r / s**2), _WEIGHTS, _SCORES),
        steps=_glr_steps,
    ),
    lambda rng, replications, inputs, neurons, scale: (
        0.5 + rng.random(replications),
        rng.standard_normal((replications, inputs)),
        scale * rng.standard_normal((replications, neurons)),
        scale,
    ),
    {"replications": (8, 6, 10, 7), "inputs": (3, 5, 4, 6), "neurons": (4, 2, 6, 3)},
    {"scale": (0.7, 1.6, 2.3, 0.4)},
    {"a single replication is an estimate too": (np.array([2.0]), np.array([[1.0, -1.0]]), np.array([[0.5, 0.2, -0.3]]), 2.0)},
)
