"""The exercise on the likelihood ratio of a weight that many units share."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.likelihood_ratio import gaussian_score, shared_weight_gradient
from minicereb.diagnosis.hints import Task
from minicereb.exercises.definition import Exercise, mistakes


def _over_positions(credit: Any, x: Any) -> dict[str, Any]:
    return {"weight": np.einsum("kp,kpq->q", credit, x)}


def _shared(losses: Any, x: Any, r: Any, scale: float) -> Any:
    credit = losses[:, None] * gaussian_score(r, scale)
    return shared_weight_gradient(credit, x, _over_positions, len(losses))["weight"]


def _steps(at: Any, losses: Any, x: Any, r: Any, scale: float) -> Any:
    score = at("the score", r / scale**2)
    credit = at("loss times score", losses[:, None] * score)
    return at("the sum over positions", np.einsum("kp,kpq->kq", credit, x)).mean(axis=0)


def _credited(formula: Any) -> Any:
    """Return a known mistake: a wrong formula for combining loss × score, (replications, positions), with the inputs."""
    return lambda losses, x, r, scale: formula(losses[:, None] * r / scale**2, x)


def _weighted(weight: Any) -> Any:
    """Return a known mistake: the estimate with a function of the losses in place of the losses."""
    return lambda losses, x, r, scale: np.einsum("k,kp,kpq->q", weight(losses), r / scale**2, x) / len(losses)


def _scored(score: Any) -> Any:
    """Return a known mistake: the estimate with a wrong score."""
    return lambda losses, x, r, scale: np.einsum("k,kp,kpq->q", losses, score(r, scale), x) / len(losses)


_SUMS = mistakes(
    (
        "mean over positions",
        "the positions are averaged; the weight moves the drives of all of them, so their credits add up",
        lambda c, x: np.einsum("kp,kpq->q", c, x) / x[..., 0].size,
    ),
    (
        "one weight for each position",
        "the positions are not summed: this is the gradient of weights that are not shared",
        lambda c, x: np.einsum("kp,kpq->pq", c, x) / len(x),
    ),
    (
        "sums multiplied",
        "the credits and the inputs are summed separately; each position's credit belongs to its own input",
        lambda c, x: np.einsum("kp,knq->q", c, x) / len(x),
    ),
    (
        "credit of all times mean input",
        "the sum of the credits is multiplied by the mean input; each position's credit belongs to its own input",
        lambda c, x: np.einsum("kp,kq->q", c, x.mean(axis=1)) / len(x),
    ),
    ("first position only", "only the first position is used", lambda c, x: np.einsum("k,kq->q", c[:, 0], x[:, 0]) / len(x)),
    ("last position only", "only the last position is used", lambda c, x: np.einsum("k,kq->q", c[:, -1], x[:, -1]) / len(x)),
    (
        "positions reversed",
        "a position's credit is multiplied by the input of the opposite position",
        lambda c, x: np.einsum("kp,kpq->q", c[:, ::-1], x) / len(x),
    ),
    ("averages multiplied", "two means are multiplied; average products instead", lambda c, x: c.sum(1).mean() * x.mean((0, 1))),
    ("each replication", "the mean over replications is missing", lambda c, x: np.einsum("kp,kpq->kq", c, x)),
    (
        "inputs left out",
        "x is left out: this is the derivative of a bias",
        lambda c, x: c.sum(axis=1).mean() + np.zeros(x.shape[2]),
    ),
    of=_credited,
)
_WEIGHTS = mistakes(
    ("baseline", "the mean loss is subtracted: no baseline is asked for, and this one is biased", lambda L: L - L.mean()),
    ("baseline", "the mean of the other losses is subtracted", lambda L: L - (L.sum() - L) / (len(L) - 1)),
    ("one loss for all", "the mean loss multiplies every replication: means are multiplied", lambda L: np.full_like(L, L.mean())),
    ("squared losses", "the losses are squared", lambda L: L * L),
    ("losses left out", "the losses are left out", lambda L: np.ones_like(L)),
    of=_weighted,
)
_SCORES = mistakes(
    ("scale not squared", "the noise is divided by σ; the score of Gaussian noise is r/σ²", lambda r, s: r / s),
    ("scale left out", "the noise is not divided by σ²", lambda r, s: r),
    ("sign of the noise", "only the sign of the noise is used: that is the score of Laplace noise", lambda r, s: np.sign(r) / s),
    (
        "noise of all positions",
        "the noise of all positions is summed first and used for each",
        lambda r, s: np.broadcast_to(r.sum(axis=1, keepdims=True), r.shape) / s**2,
    ),
    (
        "mean noise",
        "the mean noise of all positions is used for each",
        lambda r, s: np.broadcast_to(r.mean(axis=1, keepdims=True), r.shape) / s**2,
    ),
    of=_scored,
)

SHARED = Exercise(
    "shared-weight",
    "The likelihood ratio of a shared weight",
    ("G6", "M-SHARED"),
    "shared_gradient(losses, x, r, scale)",
    "The units of a convolution share their weights: unit p, at one position of the image, has the signal "
    "v_p = Σ_q θ_q x_pq + r_p, with Gaussian noise r_p of standard deviation σ of its own. In each replication k, noise was "
    "drawn for all positions and there was one loss L_k. Return the estimate of the gradient of the mean loss in the weights θ: "
    "no baseline.",
    {
        "losses : array of float, shape (replications,)": "L_k.",
        "x : array of float, shape (replications, positions, inputs)": "What each weight meets at each position.",
        "r : array of float, shape (replications, positions)": "The noise that was drawn.",
        "scale : float": "σ, above 0.",
    },
    ("array, shape (inputs,)", "Dtype of `x`."),
    Task(_shared, _SUMS + _WEIGHTS + _SCORES, steps=_steps),
    lambda rng, replications, positions, inputs, scale: (
        0.5 + rng.random(replications),
        rng.standard_normal((replications, positions, inputs)),
        scale * rng.standard_normal((replications, positions)),
        scale,
    ),
    {"replications": (8, 6, 10, 7), "positions": (4, 3, 6, 5), "inputs": (3, 5, 4, 6)},
    {"scale": (0.7, 1.6, 2.3, 0.4)},
    {
        "with a single position it is the estimator of a weight that is not shared": (
            [2, 1],
            [[[1, -1]], [[2, 3]]],
            [[0.5], [-1]],
            2.0,
        ),
        "a single replication is an estimate too": ([2], [[[1, -1], [0.5, 2]]], [[0.5, 0.2]], 2.0),
    },
    points=2,
)
