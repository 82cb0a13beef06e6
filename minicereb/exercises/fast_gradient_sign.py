"""The exercise on the fast gradient sign method."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.attacks.ball import ball_around, unit_rows
from minicereb.diagnosis.hints import Task
from minicereb.exercises.definition import Exercise, mistakes, mistakes_of


def _box(x: Any) -> Any:
    return np.clip(x, 0, 1)


def _fgsm(x: Any, gradient: Any, epsilon: float) -> Any:
    ball = ball_around(x, epsilon, "linf")
    return ball.project(x + epsilon * ball.ascent(gradient))


def _fgsm_steps(at: Any, x: Any, gradient: Any, epsilon: float) -> Any:
    step = at("the step", epsilon * at("the sign", np.sign(gradient)))
    return _box(at("x and the step", x + step))


def _moved(direction: Any, keep: Any) -> Any:
    """FGSM in a direction other than the sign, kept elsewhere than in the box."""
    return lambda x, gradient, epsilon: keep(x + epsilon * direction(gradient))


def _brought_back(x: Any, gradient: Any, epsilon: float) -> Any:
    moved = x + epsilon * np.sign(gradient)
    return np.where((moved > 1) | (moved < 0), x, moved)


def _one_pixel(gradient: Any) -> Any:
    return np.sign(gradient) * (np.abs(gradient) == np.abs(gradient).max(axis=1, keepdims=True))


_DIRECTIONS = mistakes(
    ("no sign", "the gradient itself is added instead of its sign", lambda g: g),
    ("L2 step", "the gradient is divided by each image's L2 norm; use its sign", unit_rows),
    ("L2 step", "the gradient is divided by the L2 norm of all images; use its sign", lambda g: g / np.linalg.norm(g)),
    ("largest step 1", "each gradient is divided by its largest number", lambda g: g / abs(g).max(1, keepdims=True)),
    ("largest step 1", "the gradient is divided by the largest number of all", lambda g: g / abs(g).max()),
    ("L1 step", "the gradient is divided by its L1 norm; use its sign", lambda g: g / abs(g).sum(axis=1, keepdims=True)),
    ("absolute value", "the absolute gradient is used: every pixel goes up", np.abs),
    ("squashed", "tanh is used instead of the sign", np.tanh),
    ("gradient clipped", "the gradient is clipped to [-1, 1]; use its sign", lambda g: np.clip(g, -1, 1)),
    ("only up", "pixels with a negative derivative stay; they should go down", lambda g: (g > 0) * 1.0),
    ("only down", "pixels with a positive derivative stay; they should go up", lambda g: np.minimum(np.sign(g), 0)),
    ("one pixel", "only the pixel with the largest derivative moves; all should", _one_pixel),
    ("sign of the mean", "the sign is that of the images' mean gradient", lambda g: np.sign(g.mean(axis=0)) + 0 * g),
    ("everything goes up", "every pixel goes up: the gradient is left out", np.ones_like),
)
_BOXES = mistakes(
    ("not clipped", "the result leaves [0, 1]: clip it, after the step", lambda a: a),
    ("half a box", "the result is not kept above 0: the box is [0, 1], not [-1, 1]", lambda a: np.minimum(a, 1)),
    ("half a box", "the result is not kept below 1", lambda a: np.maximum(a, 0)),
    ("wrapped", "pixels that leave [0, 1] enter at the other end; they should stay at the edge", lambda a: a % 1),
    ("scaled into the box", "the image is scaled into [0, 1] instead of clipped", lambda a: (a - a.min()) / (a.max() - a.min())),
)
_MISTAKES = mistakes(
    ("descent", "this goes down the objective; an attack goes up: add the step", lambda x, g, e: _box(x - e * np.sign(g))),
    ("descent; not clipped", "this goes down the objective, and it leaves [0, 1]", lambda x, g, e: x - e * np.sign(g)),
    *mistakes_of(_moved, (np.sign, _box), _DIRECTIONS, _BOXES),
)
_OTHERS = mistakes(
    ("only the change", "this is the change alone: add it to x", lambda x, g, e: e * np.sign(g)),
    ("only the change", "this is the change alone, clipped: add it to x", lambda x, g, e: _box(e * np.sign(g))),
    ("only the change", "this is how far the pixels move, not where to", lambda x, g, e: _fgsm(x, g, e) - x),
    ("clipped to ε", "the image is clipped to [-ε, ε], not the change", lambda x, g, e: np.clip(x + e * np.sign(g), -e, e)),
    ("clipped to ε", "the image is clipped to [0, ε]", lambda x, g, e: np.clip(x + e * np.sign(g), 0, e)),
    ("step of 1", "the step is 1 instead of ε", lambda x, g, e: _box(x + np.sign(g))),
    ("step without sign, within ε", "the gradient, clipped to [-ε, ε], is the step", lambda x, g, e: _box(x + np.clip(g, -e, e))),
    ("brought back", "pixels that would leave [0, 1] stay where they were; they should go to the edge", _brought_back),
    ("multiplied", "x is multiplied by 1 + ε sign; add the change instead", lambda x, g, e: _box(x * (1 + e * np.sign(g)))),
)

FGSM = Exercise(
    "fgsm",
    "The fast gradient sign method",
    ("M-FGSM",),
    "fgsm(x, gradient, epsilon)",
    "Return the images moved by ε in the direction in which the objective rises: each pixel moves by ε, up or down according to "
    "the sign of its derivative, and is then kept within [0, 1]. A pixel whose derivative is 0 stays.",
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
    Task(_fgsm, _MISTAKES + _OTHERS, steps=_fgsm_steps),
    lambda rng, images, inputs, epsilon: (rng.random((images, inputs)), 2 * rng.standard_normal((images, inputs)), epsilon),
    {"images": (4, 6, 3, 5), "inputs": (7, 5, 8, 9)},
    {"epsilon": (0.3, 0.15, 0.45, 0.2)},
    {
        "a pixel whose derivative is 0 stays: np.sign gives 0 there, a comparison does not": (
            np.full((1, 3), 0.5, dtype=np.float64),
            np.array([[0.0, 1e-20, -1e20]]),
            0.1,
        ),
        "for ε = 0 nothing moves": (np.array([[0.0, 1.0]]), np.array([[1.0, 1.0]]), 0.0),
    },
)
