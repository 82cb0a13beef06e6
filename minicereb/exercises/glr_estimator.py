"""The exercise about the likelihood-ratio estimator."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.likelihood_ratio import gaussian_score, likelihood_ratio_gradient
from minicereb.calculus.noise import Gaussian
from minicereb.diagnosis.hints import Case, Task
from minicereb.exercises.definition import Exercise, mistakes, mistakes_of

GAUSSIAN = Gaussian()


def _glr(losses: Any, x: Any, r: Any, scale: float) -> Any:
    return likelihood_ratio_gradient(losses, gaussian_score(r, scale), x)


def _glr_steps(at: Any, losses: Any, x: Any, r: Any, scale: float) -> Any:
    """The same, step by step."""
    score = at("the score", r / scale**2)
    return at("the product", at("loss times score", losses[:, None] * score).T @ x) / len(losses)


def _estimate(weight: Any, score: Any) -> Any:
    """The estimator with other ingredients than the losses and the score."""
    return lambda losses, x, r, scale: (weight(losses)[:, None] * score(r, scale)).T @ x / len(losses)


def _others(losses: Any) -> Any:
    return losses - (losses.sum() - losses) / (len(losses) - 1)


_WEIGHTS = mistakes(
    ("baseline", "the median loss is subtracted; no baseline is asked for", lambda losses: losses - np.median(losses)),
    ("baseline", "the largest loss is subtracted; no baseline is asked for", lambda losses: losses - losses.max()),
    ("baseline", "the first loss is subtracted; no baseline is asked for", lambda losses: losses - losses[0]),
    ("softmax of the losses", "the losses are put into a softmax", lambda losses: np.exp(losses) / np.exp(losses).sum()),
    ("exponential of the losses", "an exponential of the losses is taken", np.exp),
    (
        "baseline",
        "the mean loss is subtracted, its own replication included: no baseline is asked for, and this one is biased",
        lambda losses: losses - losses.mean(),
    ),
    ("baseline", "the mean loss of the other replications is subtracted: right, but no baseline is asked for", _others),
    (
        "standardised",
        "the losses are centred and divided by their deviation",
        lambda losses: (losses - losses.mean()) / losses.std(),
    ),
    ("smallest subtracted", "the smallest loss is subtracted", lambda losses: losses - losses.min()),
    ("ranks", "the losses' ranks are taken; their values belong there", lambda losses: losses.argsort().argsort() * 1.0),
    (
        "one loss for all",
        "the mean loss multiplies every replication: means are multiplied, where the mean is of the products",
        lambda losses: np.full_like(losses, losses.mean()),
    ),
    ("squared losses", "the losses are squared", lambda losses: losses * losses),
    ("logarithm of the losses", "a logarithm of the losses is taken", np.log),
    ("largest loss only", "only the replication of the largest loss counts", lambda losses: losses * (losses == losses.max())),
    ("smallest loss only", "only the replication of the smallest loss counts", lambda losses: losses * (losses == losses.min())),
    ("rewards", "1 - L is taken: these are losses, not rewards", lambda losses: 1 - losses),
)
_SCORES = mistakes(
    ("derivative by the scale", "1/σ is subtracted, as in the score by σ; here it is by v", lambda r, s: r / s**2 - 1 / s),
    ("sign of the noise", "only the noise's sign is taken: that is the score of Laplace noise", lambda r, s: np.sign(r) / s),
    ("logistic score", "this is the score of logistic noise", lambda r, s: np.tanh(r / (2 * s)) / s),
    ("density", "the noise's density is taken in place of its score", lambda r, s: GAUSSIAN.density(r / s) / s),
    ("logarithm of the density", "ln f is taken in place of its slope", lambda r, s: np.log(GAUSSIAN.density(r / s) / s)),
    ("squared noise", "the noise is squared: its sign is lost", lambda r, s: r**2 / s**2),
    ("derivative by the scale", "this is the score by σ, r²/σ³ - 1/σ; here it is by v", lambda r, s: r**2 / s**3 - 1 / s),
    ("noise times scale", "the noise is multiplied by σ in place of 1/σ²", lambda r, s: r * s),
    ("score left out", "the score is left out", lambda r, s: np.ones_like(r)),
    ("centred noise", "the noise is centred over the replications", lambda r, s: (r - r.mean(axis=0)) / s**2),
    ("deviation of the sample", "σ is estimated from the noise; it is given", lambda r, s: r / r.var()),
)


def _glr_case(rng: np.random.Generator, number: int) -> Case:
    replications, inputs, neurons = (8, 6, 10, 7, 5, 4, 6)[number], (3, 5, 4, 6, 5, 4, 6)[number], (4, 2, 6, 3, 5, 4, 6)[number]
    scale = (0.7, 1.6, 2.3, 0.4, 0.7, 1.6, 2.3)[number]
    arguments = {
        "losses": 0.5 + rng.random(replications),
        "x": rng.standard_normal((replications, inputs)),
        "r": scale * rng.standard_normal((replications, neurons)),
        "scale": scale,
    }
    return Case(arguments, {"replications": replications, "inputs": inputs, "neurons": neurons})


_MISTAKES = mistakes(
    (
        "losses along the wrong axis",
        "the losses multiply the neurons; they belong to the replications: losses[:, None]",
        lambda losses, x, r, scale: (losses * r / scale**2).T @ x / len(losses),
    ),
    (
        "not transposed",
        "r @ x multiplies rows with columns that do not belong together: rᵀ x sums over replications",
        lambda losses, x, r, scale: (losses[:, None] * r / scale**2) @ x / len(losses),
    ),
    (
        "elements multiplied",
        "noise and input are multiplied element by element; every pair belongs there",
        lambda losses, x, r, scale: (losses[:, None] * r / scale**2) * x / len(losses),
    ),
    (
        "averages multiplied",
        "the mean of loss and score is multiplied by the mean input; the mean is of all three's product",
        lambda losses, x, r, scale: np.outer((losses[:, None] * r / scale**2).mean(axis=0), x.mean(axis=0)),
    ),
    (
        "averages multiplied",
        "three means are multiplied; the mean is of the products",
        lambda losses, x, r, scale: losses.mean() * np.outer((r / scale**2).mean(axis=0), x.mean(axis=0)),
    ),
    (
        "signal's noise in x",
        "the noise multiplies itself in place of x: the shape shows it",
        lambda losses, x, r, scale: (losses[:, None] * r / scale**2).T @ r / len(losses),
    ),
    (
        "not averaged",
        "the mean over replications is missing: one matrix for each",
        lambda losses, x, r, scale: (losses[:, None] * r / scale**2)[:, :, None] * x[:, None],
    ),
    *mistakes_of(_estimate, (lambda losses: losses, lambda r, s: r / s**2), _WEIGHTS, _SCORES),
    (
        "biases only",
        "x is left out: this is the derivative by the biases",
        lambda losses, x, r, scale: (losses[:, None] * r / scale**2).mean(axis=0),
    ),
)


GLR = Exercise(
    "glr-estimator",
    "The likelihood-ratio estimator",
    ("G5", "G6"),
    "glr_gradient(losses, x, r, scale)",
    "Neurons a have signals v_a = Σ_b θ_ab x_b + r_a with Gaussian noise r of standard deviation σ. Each replication k drew "
    "noise and ended with a loss L_k. Return the plain estimate of the derivative of the mean loss by the weights θ: the mean "
    "over replications of loss times score times input, with no baseline.",
    """
    Parameters
    ----------
    losses : array of float, shape (replications,)
        L_k.
    x : array of float, shape (replications, inputs)
        What the neurons saw in each replication.
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
        _MISTAKES,
        steps=_glr_steps,
    ),
    _glr_case,
    (
        Case(
            {"losses": np.array([2.0]), "x": np.array([[1.0, -1.0]]), "r": np.array([[0.5, 0.2, -0.3]]), "scale": 2.0},
            note="a single replication is an estimate too",
        ),
    ),
)
