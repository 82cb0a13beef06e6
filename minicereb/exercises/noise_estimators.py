"""The exercises on neuronal noise: the score, the likelihood-ratio estimator, Rao-Blackwellisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.likelihood_ratio import gaussian_score, likelihood_ratio_gradient
from minicereb.calculus.noise import Gaussian, Laplace, Logistic, StudentT, conditional_score
from minicereb.diagnosis.hints import Task
from minicereb.exercises.definition import Exercise, mistakes, mistakes_of

GAUSSIAN, LOGISTIC, LAPLACE = Gaussian(), Logistic(), Laplace()
F = LOGISTIC.distribution


def _score(r: Any, scale: float) -> Any:
    return LOGISTIC.score(r / scale) / scale


def _score_steps(at: Any, r: Any, scale: float) -> Any:
    distribution = at("F", F(at("r/σ", r / scale)))
    return at("2F - 1", 2 * distribution - 1) / scale


def _density(r: Any, scale: float) -> Any:
    return LOGISTIC.density(r / scale) / scale


_SCORE_MISTAKES = mistakes(
    ("sign", "the sign is wrong: this is the slope of ln f; the score is that of -ln f", lambda r, s: -_score(r, s)),
    ("1/scale left out", "a factor 1/σ is missing: the slope is with respect to r, not r/σ", lambda r, s: LOGISTIC.score(r / s)),
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
    {
        "r : array of float, any shape": "Noise.",
        "scale : float": "σ, above 0.",
    },
    ("array", "Shape and dtype of `r`."),
    Task(_score, _SCORE_MISTAKES, steps=_score_steps),
    lambda rng, neurons, replications, scale: (2 * scale * rng.standard_normal((neurons, replications)), scale),
    {"neurons": (4, 6, 3, 5), "replications": (7, 5, 8, 9)},
    {"scale": (0.7, 1.6, 2.3, 0.4)},
    {
        "the score of r = 0 is 0, and near it the score is small": ([0, 1e-3, -1e-3], 2.0),
        "for large r the score approaches ±1/σ; exp overflows there, tanh does not": ([-3e3, 3e3, -1e5, 1e5], 0.5),
    },
    points=2,
)


def _glr(losses: Any, x: Any, r: Any, scale: float) -> Any:
    return likelihood_ratio_gradient(losses, gaussian_score(r, scale), x)


def _glr_steps(at: Any, losses: Any, x: Any, r: Any, scale: float) -> Any:
    score = at("the score", r / scale**2)
    return at("the product", at("loss times score", losses[:, None] * score).T @ x) / len(losses)


def _estimate(weight: Any, score: Any) -> Any:
    """Return a known mistake: the estimator with factors other than the losses and the score."""
    return lambda losses, x, r, scale: (weight(losses)[:, None] * score(r, scale)).T @ x / len(losses)


def _weighted(formula: Any) -> Any:
    """Return a known mistake: a wrong formula for combining loss × score, (replications, neurons), with the inputs."""
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
    ("derivative by the scale", "1/σ is subtracted, as in the score for σ; here it is for v", lambda r, s: r / s**2 - 1 / s),
    ("sign of the noise", "only the sign of the noise is used: that is the score of Laplace noise", lambda r, s: np.sign(r) / s),
    ("logistic score", "this is the score of logistic noise", lambda r, s: np.tanh(r / (2 * s)) / s),
    ("density", "the density of the noise is used instead of its score", lambda r, s: GAUSSIAN.density(r / s) / s),
    ("logarithm of the density", "ln f is used instead of the slope of -ln f", lambda r, s: np.log(GAUSSIAN.density(r / s) / s)),
    ("squared noise", "the noise is squared: its sign is lost", lambda r, s: r**2 / s**2),
    ("derivative by the scale", "this is the score for σ, r²/σ³ - 1/σ; here it is for v", lambda r, s: r**2 / s**3 - 1 / s),
    ("noise times scale", "the noise is multiplied by σ instead of 1/σ²", lambda r, s: r * s),
    ("score left out", "the score is left out", lambda r, s: np.ones_like(r)),
    ("centred noise", "the mean over the replications is subtracted from the noise", lambda r, s: (r - r.mean(axis=0)) / s**2),
    ("deviation of the sample", "σ is estimated from the noise; it is given", lambda r, s: r / r.var()),
)
_AXES = mistakes(
    ("losses along the wrong axis", "use losses[:, None]", lambda L, x, r, s: (L * r / s**2).T @ x / len(L)),
    ("averages multiplied", "three means are multiplied", lambda L, x, r, s: L.mean() * np.outer(r.mean(0), x.mean(0)) / s**2),
    ("signal's noise in x", "the noise is used instead of x", lambda L, x, r, s: (L[:, None] * r / s**2).T @ r / len(L)),
)
_PRODUCTS = mistakes(
    ("not transposed", "r @ x sums over the wrong axis; rᵀ x sums over replications", lambda a, x: a @ x / len(x)),
    ("elements multiplied", "noise and input are multiplied element by element; use every pair", lambda a, x: a * x / len(x)),
    ("averages multiplied", "two means are multiplied; average products instead", lambda a, x: np.outer(a.mean(0), x.mean(0))),
    ("not averaged", "the mean over replications is missing", lambda a, x: a[:, :, None] * x[:, None]),
    ("biases only", "x is left out: this is the derivative with respect to the biases", lambda a, x: a.mean(axis=0)),
    of=_weighted,
)

GLR = Exercise(
    "glr-estimator",
    "The likelihood-ratio estimator",
    ("G5", "G6"),
    "glr_gradient(losses, x, r, scale)",
    "Neurons a have signals v_a = Σ_b θ_ab x_b + r_a with Gaussian noise r of standard deviation σ. In each replication k, noise "
    "was drawn and the loss was L_k. Return the plain estimate of the gradient of the mean loss with respect to the weights θ: "
    "the mean over replications of loss times score times input, without a baseline.",
    {
        "losses : array of float, shape (replications,)": "L_k.",
        "x : array of float, shape (replications, inputs)": "Inputs of the neurons in each replication.",
        "r : array of float, shape (replications, neurons)": "The noise that was drawn.",
        "scale : float": "σ, above 0.",
    },
    ("array, shape (neurons, inputs)", "Dtype of `x`."),
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
    {"a single replication is an estimate too": ([2], [[1, -1]], [[0.5, 0.2, -0.3]], 2.0)},
    points=2,
)


def _rao(fires: Any, drive: Any, scale: float) -> Any:
    return conditional_score(GAUSSIAN, fires, drive / scale) / scale


def _rao_steps(at: Any, fires: Any, drive: Any, scale: float) -> Any:
    a = at("a", drive / scale)
    p, f = at("p", GAUSSIAN.distribution(a)), at("f", GAUSSIAN.density(a))
    return at("h - p", fires - p) * f / at("p(1 - p)", p * at("1 - p", 1 - p)) / scale


def _over_scale(formula: Any) -> Any:
    """Return a known mistake: a wrong expression in h, F(a) and f(a), which the mistake divides by σ."""
    return lambda h, u, s: formula(h, GAUSSIAN.distribution(u / s), GAUSSIAN.density(u / s)) / s


def _draw_rao(rng: np.random.Generator, neurons: int, replications: int, scale: float) -> tuple[Any, ...]:
    drive = scale * rng.standard_normal((neurons, replications))
    fires = (drive + scale * rng.standard_normal((neurons, replications)) > 0).astype(np.float64)
    return fires, drive, scale


_RAO_MISTAKES = mistakes(
    ("1/scale left out", "the factor 1/σ is missing: this is the score of e, not of r", lambda h, u, s: s * _rao(h, u, s)),
    ("drive not divided", "a is u/σ; the drive is not divided by σ", lambda h, u, s: _rao(h, u * s, s)),
    ("scale left out", "σ is left out altogether", lambda h, u, s: _rao(h, u, 1.0)),
    ("wrong when silent", "the score of a silent neuron is -f/(1 - p): its sign is missing", lambda h, u, s: abs(_rao(h, u, s))),
)
_RAO_FORMULAS = mistakes(
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
_RAO_OTHERS = mistakes(
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
    "A threshold neuron fires if u + r > 0, with Gaussian noise r = σe. All later layers depend on r only through h, which is 1 "
    "if the neuron fires. So the score may be replaced by its mean given h: the variance is smaller and the mean is the same. "
    "Return E[s(r) | h] for the score of r itself. It is 1/σ times the value that the equation gives for e, with the standard "
    "normal f and F at a = u/σ. F is scipy.special.ndtr. The result must be finite where p rounds to 0 or 1.",
    {
        "fires : array of float, values 0 and 1, any shape": "h.",
        "drive : array of float, same shape": "u, the signal without its noise.",
        "scale : float": "σ, above 0.",
    },
    ("array", "Shape and dtype of `drive`."),
    Task(_rao, _RAO_MISTAKES + _RAO_FORMULAS + _RAO_OTHERS, steps=_rao_steps),
    _draw_rao,
    {"neurons": (4, 6, 3, 5), "replications": (7, 5, 8, 9)},
    {"scale": (0.7, 1.6, 2.3, 0.4)},
    {
        "it must be right where p rounds to 0 or 1: compute f/F with scipy.special.erfcx or log_ndtr, without dividing by 0": (
            [1, 0, 1, 0],
            [-20, 20, 30, -30],
            0.5,
        )
    },
    points=3,
)
