"""The exercise about the fast gradient sign method."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.attacks.ball import ball_around, unit_rows
from minicereb.diagnosis.hints import Case, Task
from minicereb.exercises.definition import Exercise, mistakes, mistakes_of


def _box(x: Any) -> Any:
    return np.clip(x, 0, 1)


def _linf(x: Any, epsilon: float) -> Any:
    return ball_around(x, epsilon, "linf")


def _fgsm(x: Any, gradient: Any, epsilon: float) -> Any:
    ball = _linf(x, epsilon)
    return ball.project(x + epsilon * ball.ascent(gradient))


def _fgsm_steps(at: Any, x: Any, gradient: Any, epsilon: float) -> Any:
    """The same, step by step."""
    step = at("the step", epsilon * at("the sign", np.sign(gradient)))
    return _box(at("x and the step", x + step))


def _stretched(a: Any) -> Any:
    return (a - a.min()) / (a.max() - a.min())


def _moved(direction: Any, keep: Any) -> Any:
    """FGSM along something else than the sign, kept elsewhere than in the box."""
    return lambda x, gradient, epsilon: keep(x + epsilon * direction(gradient))


_DIRECTIONS = mistakes(
    ("no sign", "the gradient itself is added; only its sign belongs there", lambda g: g),
    ("L2 step", "the gradient is divided by each image's L2 norm; the sign belongs there", unit_rows),
    ("L2 step", "the gradient is divided by the L2 norm of all images; the sign belongs there", lambda g: g / np.linalg.norm(g)),
    (
        "largest step 1",
        "the gradient is divided by its largest number; the sign belongs there",
        lambda g: g / np.abs(g).max(axis=1, keepdims=True),
    ),
    (
        "largest step 1",
        "the gradient is divided by the largest number of all images; the sign belongs there",
        lambda g: g / np.abs(g).max(),
    ),
    (
        "L1 step",
        "the gradient is divided by its L1 norm; the sign belongs there",
        lambda g: g / np.abs(g).sum(axis=1, keepdims=True),
    ),
    ("absolute value", "the absolute gradient is taken: every pixel goes up", np.abs),
    ("squashed", "tanh is no sign", np.tanh),
    ("gradient clipped", "the gradient is clipped to [-1, 1]; its sign belongs there", lambda g: np.clip(g, -1, 1)),
    ("only up", "pixels with a negative derivative stay; they go down", lambda g: (g > 0) * 1.0),
    ("only down", "pixels with a positive derivative stay; they go up", lambda g: np.minimum(np.sign(g), 0)),
    (
        "one pixel",
        "only the pixel with the largest derivative moves; all do",
        lambda g: np.sign(g) * (np.abs(g) == np.abs(g).max(axis=1, keepdims=True)),
    ),
    (
        "sign of the mean",
        "the sign is of the images' mean gradient; each image has its own",
        lambda g: np.broadcast_to(np.sign(g.mean(axis=0)), g.shape),
    ),
    ("everything goes up", "every pixel goes up: the gradient is left out", np.ones_like),
)
_BOXES = mistakes(
    ("not clipped", "the result leaves [0, 1]: clip it, after the step", lambda a: a),
    ("half a box", "it is not kept above 0: the box is [0, 1], not [-1, 1]", lambda a: np.minimum(a, 1)),
    ("half a box", "it is not kept below 1", lambda a: np.maximum(a, 0)),
    ("wrapped", "pixels that leave [0, 1] come in at the other end; they stay at the edge", lambda a: a % 1),
    ("scaled into the box", "the image is stretched into [0, 1]; it is clipped", _stretched),
)


def _fgsm_case(rng: np.random.Generator, number: int) -> Case:
    images, inputs = (4, 6, 3, 5, 5, 4, 6)[number], (7, 5, 8, 9, 5, 4, 6)[number]
    arguments = {
        "x": rng.random((images, inputs)),
        "gradient": 2 * rng.standard_normal((images, inputs)),
        "epsilon": (0.3, 0.15, 0.45, 0.2, 0.3, 0.15, 0.45)[number],
    }
    return Case(arguments, {"images": images, "inputs": inputs})


_MISTAKES = mistakes(
    ("descent", "this goes down the objective; an attack goes up: + belongs there", lambda x, g, e: _box(x - e * np.sign(g))),
    ("descent; not clipped", "this goes down the objective, and it leaves [0, 1]", lambda x, g, e: x - e * np.sign(g)),
    *mistakes_of(_moved, (np.sign, _box), _DIRECTIONS, _BOXES),
    ("only the change", "this is the change alone: add it to x", lambda x, g, e: e * np.sign(g)),
    ("only the change", "this is the change alone, clipped: add it to x", lambda x, g, e: _box(e * np.sign(g))),
    ("only the change", "this is how far the pixels move, not where to", lambda x, g, e: _fgsm(x, g, e) - x),
    (
        "clipped to ε",
        "it is clipped to [-ε, ε], where only the change is that small",
        lambda x, g, e: np.clip(x + e * np.sign(g), -e, e),
    ),
    ("clipped to ε", "it is clipped to [0, ε]", lambda x, g, e: np.clip(x + e * np.sign(g), 0, e)),
    ("step of 1", "the step is 1; it is ε", lambda x, g, e: _box(x + np.sign(g))),
    (
        "step without sign, within ε",
        "the gradient is added and the change kept within ε; the whole ε is taken",
        lambda x, g, e: _box(x + np.clip(g, -e, e)),
    ),
    (
        "brought back",
        "pixels that would leave [0, 1] stay where they were; they go to the edge",
        lambda x, g, e: np.where((x + e * np.sign(g) > 1) | (x + e * np.sign(g) < 0), x, x + e * np.sign(g)),
    ),
    ("multiplied", "x is multiplied by 1 + ε sign; the change is added", lambda x, g, e: _box(x * (1 + e * np.sign(g)))),
)


FGSM = Exercise(
    "fgsm",
    "The fast gradient sign method",
    ("M-FGSM",),
    "fgsm(x, gradient, epsilon)",
    "Return the images moved by ε in the direction in which the objective rises: each pixel by ε, up or down as the sign of its "
    "derivative says, and then kept within [0, 1]. A pixel whose derivative is 0 stays.",
    """
    Parameters
    ----------
    x : array of float, shape (images, inputs)
        Pixels in [0, 1].
    gradient : array of float, same shape
        Derivative of the objective by the pixels.
    epsilon : float
        ε, at least 0.

    Returns
    -------
    array
        Shape and dtype of `x`.
    """,
    Task(
        _fgsm,
        _MISTAKES,
        steps=_fgsm_steps,
    ),
    _fgsm_case,
    (
        Case(
            {"x": np.full((1, 3), 0.5, dtype=np.float64), "gradient": np.array([[0.0, 1e-20, -1e20]]), "epsilon": 0.1},
            note="a pixel whose derivative is 0 stays: np.sign gives 0 there, a comparison does not",
        ),
        Case({"x": np.array([[0.0, 1.0]]), "gradient": np.array([[1.0, 1.0]]), "epsilon": 0.0}, note="for ε = 0 nothing moves"),
    ),
)
