"""Exercises about learning from noise: the score of a law, the likelihood-ratio estimator, Rao-Blackwell."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.calculus.dense import dense_weight_gradient
from minicereb.calculus.noise import Gaussian, Laplace, Logistic, StudentT, conditional_score
from minicereb.check.hints import Case, Mistake, Task
from minicereb.exercises.exercise import Exercise

GAUSSIAN, LOGISTIC, LAPLACE = Gaussian(), Logistic(), Laplace()

# -- the score ---------------------------------------------------------------------------------------------------------------


def _score(r: Any, scale: float) -> Any:
    return LOGISTIC.score(r / scale) / scale


def _score_case(rng: np.random.Generator, number: int) -> Case:
    neurons, replications = (4, 6, 3, 5, 5, 4, 6)[number], (7, 5, 8, 9, 5, 4, 6)[number]
    scale = (0.7, 1.6, 2.3, 0.4, 0.7, 1.6, 2.3)[number]
    return Case({"r": 2 * scale * rng.standard_normal((neurons, replications)), "scale": scale}, {"replications": replications})


def _density(r: Any, scale: float) -> Any:
    return LOGISTIC.density(r / scale) / scale


SCORE = Exercise(
    "noise-score",
    "The score of logistic noise",
    ("G5",),
    "score(r, scale)",
    "The likelihood-ratio method needs the score of a neuron's noise, s(r) = -f'(r)/f(r), the slope of -ln f. Here the noise is "
    "logistic with scale σ: f(r) = F(r)(1 - F(r))/σ with F(r) = 1/(1 + exp(-r/σ)). Work out the derivative by hand and return s(r). "
    "It must be finite for any r.",
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
        (
            Mistake("sign", "the sign is wrong: this is the slope of ln f; the score is that of -ln f", lambda r, s: -_score(r, s)),
            Mistake("1/scale left out", "a factor 1/σ is missing: the slope is by r, not by r/σ", lambda r, s: LOGISTIC.score(r / s)),
            Mistake("scale left out", "σ is left out altogether", lambda r, s: LOGISTIC.score(r)),
            Mistake("r not divided", "r is not divided by σ within", lambda r, s: LOGISTIC.score(r) / s),
            Mistake("1/2 left out", "the tanh is of r/(2σ)", lambda r, s: np.tanh(r / s) / s),
            Mistake("twice the half", "the tanh is of r/(2σ), not of r/(4σ)", lambda r, s: np.tanh(r / (4 * s)) / s),
            Mistake("r multiplied", "r is multiplied by σ; it is divided", lambda r, s: LOGISTIC.score(r * s) / s),
            Mistake("density", "this is the density f, not the slope of -ln f", _density),
            Mistake("density", "this is the density without its 1/σ, not the slope of -ln f", lambda r, s: LOGISTIC.density(r / s)),
            Mistake("logarithm", "this is -ln f itself; its slope is asked for", lambda r, s: -np.log(_density(r, s))),
            Mistake("logarithm", "this is ln f itself; the slope of -ln f is asked for", lambda r, s: np.log(_density(r, s))),
            Mistake("not divided by f", "this is -f'; divide by f", lambda r, s: _score(r, s) * _density(r, s)),
            Mistake("not divided by f", "this is f'; divide by f and take the other sign", lambda r, s: -_score(r, s) * _density(r, s)),
            Mistake("distribution", "this is the distribution F; the score is (2F - 1)/σ", lambda r, s: LOGISTIC.distribution(r / s)),
            Mistake("distribution", "this is F/σ; the score is (2F - 1)/σ", lambda r, s: LOGISTIC.distribution(r / s) / s),
            Mistake("slope of ln F", "this is the slope of ln F; the score is that of -ln f", lambda r, s: LOGISTIC.distribution(-r / s) / s),
            Mistake("slope of -ln F", "this is the slope of -ln F; the score is that of -ln f",
                    lambda r, s: -LOGISTIC.distribution(-r / s) / s),
            Mistake("1 - F for 1 - 2F", "this is (1 - 2F) with the 2 on the wrong term: the score is (2F - 1)/σ",
                    lambda r, s: (2 - LOGISTIC.distribution(r / s)) / s),
            Mistake("half", "this is (F - ½)/σ, half of the score", lambda r, s: 0.5 * _score(r, s)),
            Mistake("Gaussian", "r/σ² is the score of the Gaussian; the noise is logistic", lambda r, s: r / s**2),
            Mistake("Gaussian", "r/σ is the score of Gaussian noise of unit scale; the noise is logistic", lambda r, s: r / s),
            Mistake("Laplace", "sign(r)/σ is the score of Laplace noise; the noise is logistic", lambda r, s: np.sign(r) / s),
            Mistake("Student", "this is the score of Student's t with 3 degrees of freedom; the noise is logistic",
                    lambda r, s: StudentT(3).score(r / s) / s),
            Mistake("second derivative", "this is the slope of the score", lambda r, s: 2 * LOGISTIC.density(r / s) / s**2),
            Mistake("sech² for tanh", "the slope of tanh is taken; the score is tanh(r/(2σ))/σ", lambda r, s: (1 - np.tanh(r / (2 * s)) ** 2) / s),
            Mistake("sinh for tanh", "sinh is not tanh", lambda r, s: np.sinh(r / (2 * s)) / s),
            Mistake("arctan for tanh", "arctan is not tanh", lambda r, s: np.arctan(r / (2 * s)) / s),
            Mistake("Fisher information", "this is the square of the score", lambda r, s: _score(r, s) ** 2),
            Mistake("standard deviation for scale", "σ is taken for the standard deviation; it is the scale of the law",
                    lambda r, s: _score(r, s * 3**0.5 / np.pi)),
        ),
    ),
    _score_case,
    (
        Case({"r": np.array([0.0, 1e-12, -1e-12]), "scale": 2.0}, note="the score of r = 0 is 0, and near it small"),
        Case({"r": np.array([-3000.0, 3000.0, -1e5, 1e5]), "scale": 0.5},
             note="for large r the score goes to ±1/σ; exp overflows there, tanh does not"),
    ),
)

# -- the likelihood-ratio estimator ------------------------------------------------------------------------------------------


def _glr(losses: Any, x: Any, r: Any, scale: float) -> Any:
    return dense_weight_gradient(losses[:, None] * GAUSSIAN.score(r / scale) / scale, x)[0] / len(losses)


def _weighted(code: str, text: str, weight: Any) -> Mistake:
    """The estimator with something else in place of the losses."""
    return Mistake(code, text, lambda losses, x, r, scale: _glr(weight(losses), x, r, scale))


def _scored(code: str, text: str, score: Any) -> Mistake:
    """The estimator with another score."""
    return Mistake(code, text, lambda losses, x, r, scale: (losses[:, None] * score(r, scale)).T @ x / len(losses))


def _others(losses: Any) -> Any:
    return losses - (losses.sum() - losses) / (len(losses) - 1)


def _glr_case(rng: np.random.Generator, number: int) -> Case:
    replications, inputs, neurons = (8, 6, 10, 7, 5, 4, 6)[number], (3, 5, 4, 6, 5, 4, 6)[number], (4, 2, 6, 3, 5, 4, 6)[number]
    scale = (0.7, 1.6, 2.3, 0.4, 0.7, 1.6, 2.3)[number]
    arguments = {"losses": 0.5 + rng.random(replications), "x": rng.standard_normal((replications, inputs)),
                 "r": scale * rng.standard_normal((replications, neurons)), "scale": scale}
    return Case(arguments, {"replications": replications, "inputs": inputs, "neurons": neurons})


GLR = Exercise(
    "glr-estimator",
    "The likelihood-ratio estimator",
    ("G5", "G6"),
    "glr_gradient(losses, x, r, scale)",
    "Neurons a have signals v_a = Σ_b θ_ab x_b + r_a with Gaussian noise r of standard deviation σ. Each replication k drew noise "
    "and ended with a loss L_k. Return the plain estimate of the derivative of the mean loss by the weights θ: the mean over "
    "replications of loss times score times input, with no baseline.",
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
        (
            _weighted("baseline", "the mean loss is subtracted, its own replication included: no baseline is asked for, and this one is "
                      "biased", lambda losses: losses - losses.mean()),
            _weighted("baseline", "the mean loss of the other replications is subtracted: right, but no baseline is asked for", _others),
            _weighted("standardised", "the losses are centred and divided by their deviation", lambda losses: (losses - losses.mean()) / losses.std()),
            _weighted("smallest subtracted", "the smallest loss is subtracted", lambda losses: losses - losses.min()),
            _weighted("ranks", "the losses' ranks are taken; their values belong there", lambda losses: losses.argsort().argsort() * 1.0),
            _weighted("one loss for all", "the mean loss multiplies every replication: means are multiplied, where the mean is of the products",
                      lambda losses: np.full_like(losses, losses.mean())),
            _weighted("squared losses", "the losses are squared", lambda losses: losses * losses),
            _weighted("logarithm of the losses", "a logarithm of the losses is taken", np.log),
            _weighted("largest loss only", "only the replication of the largest loss counts", lambda losses: losses * (losses == losses.max())),
            _weighted("smallest loss only", "only the replication of the smallest loss counts", lambda losses: losses * (losses == losses.min())),
            _weighted("rewards", "1 - L is taken: these are losses, not rewards", lambda losses: 1 - losses),
            Mistake("losses along the wrong axis", "the losses multiply the neurons; they belong to the replications: losses[:, None]",
                    lambda losses, x, r, scale: (losses * r / scale**2).T @ x / len(losses)),
            Mistake("not transposed", "r @ x multiplies rows with columns that do not belong together: rᵀ x sums over replications",
                    lambda losses, x, r, scale: (losses[:, None] * r / scale**2) @ x / len(losses)),
            Mistake("elements multiplied", "noise and input are multiplied element by element; every pair belongs there",
                    lambda losses, x, r, scale: (losses[:, None] * r / scale**2) * x / len(losses)),
            Mistake("averages multiplied", "the mean of loss and score is multiplied by the mean input; the mean is of all three's product",
                    lambda losses, x, r, scale: np.outer((losses[:, None] * r / scale**2).mean(axis=0), x.mean(axis=0))),
            Mistake("averages multiplied", "three means are multiplied; the mean is of the products",
                    lambda losses, x, r, scale: losses.mean() * np.outer((r / scale**2).mean(axis=0), x.mean(axis=0))),
            _scored("sign of the noise", "only the noise's sign is taken: that is the score of Laplace noise",
                    lambda r, s: np.sign(r) / s),
            _scored("logistic score", "this is the score of logistic noise", lambda r, s: np.tanh(r / (2 * s)) / s),
            _scored("density", "the noise's density is taken in place of its score", lambda r, s: GAUSSIAN.density(r / s) / s),
            _scored("logarithm of the density", "ln f is taken in place of its slope", lambda r, s: np.log(GAUSSIAN.density(r / s) / s)),
            _scored("squared noise", "the noise is squared: its sign is lost", lambda r, s: r**2 / s**2),
            _scored("derivative by the scale", "this is the score by σ, r²/σ³ - 1/σ; here it is by v", lambda r, s: r**2 / s**3 - 1 / s),
            _scored("noise times scale", "the noise is multiplied by σ in place of 1/σ²", lambda r, s: r * s),
            _scored("score left out", "the score is left out", lambda r, s: np.ones_like(r)),
            _scored("centred noise", "the noise is centred over the replications", lambda r, s: (r - r.mean(axis=0)) / s**2),
            _scored("deviation of the sample", "σ is estimated from the noise; it is given", lambda r, s: r / r.var()),
            Mistake("signal's noise in x", "the noise multiplies itself in place of x: the shape shows it",
                    lambda losses, x, r, scale: (losses[:, None] * r / scale**2).T @ r / len(losses)),
            Mistake("not averaged", "the mean over replications is missing: one matrix for each",
                    lambda losses, x, r, scale: (losses[:, None] * r / scale**2)[:, :, None] * x[:, None]),
            Mistake("biases only", "x is left out: this is the derivative by the biases",
                    lambda losses, x, r, scale: (losses[:, None] * r / scale**2).mean(axis=0)),
        ),
    ),
    _glr_case,
    (
        Case({"losses": np.array([2.0]), "x": np.array([[1.0, -1.0]]), "r": np.array([[0.5, 0.2, -0.3]]), "scale": 2.0},
             note="a single replication is an estimate too"),
    ),
)

# -- Rao and Blackwell -------------------------------------------------------------------------------------------------------


def _rao(fires: Any, drive: Any, scale: float) -> Any:
    return conditional_score(GAUSSIAN, fires, drive / scale) / scale


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


RAO_BLACKWELL = Exercise(
    "rao-blackwell",
    "Rao-Blackwell: the score, given whether the neuron fires",
    ("G6", "M-RB"),
    "conditional_score(fires, drive, scale)",
    "A threshold neuron fires if u + r > 0, with Gaussian noise r = σe. What happens later depends on r only through whether it "
    "fires, so the score may be replaced by its mean given that: less variance, the same mean. Return E[s(r) | h], the score of r "
    "itself, hence 1/σ times that of e, which the equation gives with the standard normal f and F at a = u/σ. "
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
        (
            Mistake("1/scale left out", "the factor 1/σ is missing: this is the score of e, not of r", lambda h, u, s: s * _rao(h, u, s)),
            Mistake("drive not divided", "a is u/σ; the drive is not divided by σ", lambda h, u, s: _rao(h, u * s, s)),
            Mistake("scale left out", "σ is left out altogether", lambda h, u, s: _rao(h, u, 1.0)),
            Mistake("wrong when silent", "where the neuron is silent the sign is missing: there it is -f/(1 - p)",
                    lambda h, u, s: np.abs(_rao(h, u, s))),
            _made_of("p(1 - p) left out", "the divisor p(1 - p) is missing", lambda h, p, f, s: (h - p) * f / s),
            _made_of("f left out", "the density f(a) is missing", lambda h, p, f, s: (h - p) / (p * (1 - p)) / s),
            _made_of("only h - p", "this is (h - p)/σ; f(a)/(p(1 - p)) is missing", lambda h, p, f, s: (h - p) / s),
            _made_of("divided by p only", "it is divided by p; p(1 - p) belongs there", lambda h, p, f, s: (h - p) * f / p / s),
            _made_of("divided by 1 - p only", "it is divided by 1 - p; p(1 - p) belongs there", lambda h, p, f, s: (h - p) * f / (1 - p) / s),
            _made_of("root of p(1 - p)", "it is divided by √(p(1 - p)); p(1 - p) belongs there", lambda h, p, f, s: (h - p) * f / np.sqrt(p * (1 - p)) / s),
            _made_of("p(1 - p) squared", "it is divided by p(1 - p) twice", lambda h, p, f, s: (h - p) * f / (p * (1 - p)) ** 2 / s),
            _made_of("multiplied by p(1 - p)", "it is multiplied by p(1 - p); it is divided", lambda h, p, f, s: (h - p) * f * p * (1 - p) / s),
            _made_of("p² for p(1 - p)", "p² stands where p(1 - p) belongs", lambda h, p, f, s: (h - p) * f / p**2 / s),
            _made_of("1 - h for h", "h and 1 - h are swapped: the neuron fires where h is 1", lambda h, p, f, s: (1 - h - p) * f / (p * (1 - p)) / s),
            _made_of("the same F for both", "F(a) is divided by in both cases; where the neuron is silent it is 1 - F(a)",
                     lambda h, p, f, s: (2 * h - 1) * f / p / s),
            _made_of("F and 1 - F swapped", "F(a) and 1 - F(a) are swapped", lambda h, p, f, s: np.where(h > 0, f / (1 - p), -f / p) / s),
            _made_of("as if it fired", "this is f/F as if every neuron fired", lambda h, p, f, s: f / p / s),
            _made_of("only where it fires", "neurons that are silent get 0; they have a score too", lambda h, p, f, s: h * f / p / s),
            _made_of("only where it is silent", "neurons that fire get 0; they have a score too", lambda h, p, f, s: (h - 1) * f / (1 - p) / s),
            _made_of("not conditional", "this is the unconditional slope of p", lambda h, p, f, s: f / s),
            _made_of("h left out", "h is left out: the mean of the score over h is 0", lambda h, p, f, s: 0 * h),
            _made_of("h + p", "p is added to h; it is subtracted", lambda h, p, f, s: (h + p) * f / (p * (1 - p)) / s),
            _made_of("p left out", "p is not subtracted from h", lambda h, p, f, s: h * f / (p * (1 - p)) / s),
            Mistake("density of u", "the density is that of u, divided by σ once more", lambda h, u, s: _rao(h, u, s) / s),
            Mistake("normal constant left out", "1/√(2π) is missing in the density", lambda h, u, s: _rao(h, u, s) * (2 * np.pi) ** 0.5),
            Mistake("half left out in the exponent", "the density is exp(-a²/2)/√(2π); the half is missing",
                    lambda h, u, s: _rao(h, u, s) * np.exp(-0.5 * (u / s) ** 2)),
            Mistake("logistic law", "this is for logistic noise; here it is Gaussian", lambda h, u, s: conditional_score(LOGISTIC, h, u / s) / s),
            Mistake("Laplace law", "this is for Laplace noise; here it is Gaussian", lambda h, u, s: conditional_score(LAPLACE, h, u / s) / s),
            Mistake("drive for noise", "u/σ² is the score of the drive; the noise's mean score is asked for", lambda h, u, s: u / s**2),
            Mistake("sign of the drive", "a has the wrong sign", lambda h, u, s: _rao(h, -u, s)),
        ),
    ),
    _rao_case,
    (
        Case({"fires": np.array([1.0, 0.0, 1.0, 0.0]), "drive": np.array([-20.0, 20.0, 30.0, -30.0]), "scale": 0.5},
             note="where p rounds to 0 or 1 it must stay right: f/F by scipy.special.erfcx or log_ndtr, not a division by 0"),
    ),
)
