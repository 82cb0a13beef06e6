"""The exercises on attacks: the fast gradient sign method and the projection of PGD."""

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
    """Return a known mistake: FGSM with a direction other than the sign, or with wrong bounds."""
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
_FGSM_MISTAKES = mistakes(
    ("descent", "this goes down the objective; an attack goes up: add the step", lambda x, g, e: _box(x - e * np.sign(g))),
    ("descent; not clipped", "this goes down the objective, and it leaves [0, 1]", lambda x, g, e: x - e * np.sign(g)),
    *mistakes_of(_moved, (np.sign, _box), _DIRECTIONS, _BOXES),
)
_FGSM_OTHERS = mistakes(
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
    "Return the images after a step in the direction in which the objective rises: each pixel moves up or down by ε, according "
    "to the sign of its derivative, and is then clipped to [0, 1]. A pixel whose derivative is 0 stays.",
    {
        "x : array of float, shape (images, inputs)": "Pixels in [0, 1].",
        "gradient : array of float, same shape": "Derivative of the objective with respect to the pixels.",
        "epsilon : float": "ε, at least 0.",
    },
    ("array", "Shape and dtype of `x`."),
    Task(_fgsm, _FGSM_MISTAKES + _FGSM_OTHERS, steps=_fgsm_steps),
    lambda rng, images, inputs, epsilon: (rng.random((images, inputs)), 2 * rng.standard_normal((images, inputs)), epsilon),
    {"images": (4, 6, 3, 5), "inputs": (7, 5, 8, 9)},
    {"epsilon": (0.3, 0.15, 0.45, 0.2)},
    {
        "a pixel whose derivative is 0 stays: np.sign gives 0 there, a comparison does not": (
            [[0.5] * 3],
            [[0, 1e-20, -1e20]],
            0.1,
        ),
        "for ε = 0 nothing moves": ([[0, 1]], [[1, 1]], 0.0),
    },
    points=1,
)


def _project(z: Any, x: Any, epsilon: float) -> Any:
    return ball_around(x, epsilon, "linf").project(z)


def _project_steps(at: Any, z: Any, x: Any, epsilon: float) -> Any:
    change = at("the clipped change", np.clip(at("the change", z - x), -epsilon, epsilon))
    return _box(at("x and the change", x + change))


def _clip(z: Any, x: Any, epsilon: float) -> Any:
    """A known mistake: the projection without the box."""
    return np.clip(z, x - epsilon, x + epsilon)


def _l2(z: Any, x: Any, epsilon: float) -> Any:
    """A known mistake: the projection onto the L2 ball, without the box."""
    return x + unit_rows(z - x) * np.minimum(np.linalg.norm(z - x, axis=1, keepdims=True), epsilon)


def _scaled(size: Any) -> Any:
    """Return a known mistake: the whole perturbation is scaled so that its size is at most ε."""
    return lambda z, x, epsilon: _box(x + (z - x) * np.minimum(1, epsilon / size(np.abs(z - x))))


def _box_first(z: Any, x: Any, epsilon: float) -> Any:
    middle = np.clip(x, epsilon, 1 - epsilon)
    return np.clip(z, middle - epsilon, middle + epsilon)


def _draw_pgd(rng: np.random.Generator, images: int, inputs: int, epsilon: float) -> tuple[Any, ...]:
    x = rng.random((images, inputs))
    z = x + 0.8 * rng.standard_normal((images, inputs))
    z[0] = x[0] + 0.1 * (z[0] - x[0])  # within the ball
    return z, x, epsilon


_PGD_MISTAKES = mistakes(
    ("box left out", "the result leaves [0, 1]: the box is left out", _clip),
    ("ball left out", "the ball is left out: only the box is used", lambda z, x, e: _box(z)),
    ("ball around 0", "the ball is around 0; it should be around x", lambda z, x, e: _box(np.clip(z, -e, e))),
    ("ball around 0", "the ball is around 0, and the box is left out", lambda z, x, e: np.clip(z, -e, e)),
    ("only the change", "this is the change alone: add it to x", lambda z, x, e: np.clip(z - x, -e, e)),
    ("only the change", "this is the change alone, clipped to the box: add it to x", lambda z, x, e: _box(np.clip(z - x, -e, e))),
    ("only the change", "this is the change alone: add it to x", lambda z, x, e: _project(z, x, e) - x),
    ("wrong sign of the change", "x - z is clipped instead of z - x", lambda z, x, e: _box(x + np.clip(x - z, -e, e))),
    ("z in place of the change", "z is clipped to [-ε, ε], not the change z - x", lambda z, x, e: _box(x + np.clip(z, -e, e))),
    ("added to z", "the clipped change is added to z instead of x", lambda z, x, e: _box(z + np.clip(z - x, -e, e))),
    ("L2 ball", "this is the projection onto the L2 ball", lambda z, x, e: ball_around(x, e, "l2").project(z)),
    ("L2 ball", "this is the projection onto the L2 ball, and the box is left out", _l2),
    ("L1 ball", "the change is scaled by its L1 norm; the ball is L∞", _scaled(lambda a: a.sum(axis=1, keepdims=True))),
    ("relative", "the ball is [(1 - ε)x, (1 + ε)x]; ε is a distance", lambda z, x, e: _box(np.clip(z, x * (1 - e), x * (1 + e)))),
    ("change times ε", "the change is multiplied by ε instead of clipped", lambda z, x, e: _box(x + e * (z - x))),
    ("change times ε", "the change is multiplied by ε, and the box is left out", lambda z, x, e: x + e * (z - x)),
    ("halfway", "this is halfway between z, clipped to the box, and x", lambda z, x, e: (_box(z) + x) / 2),
    ("halfway", "this is halfway between z and x", lambda z, x, e: _box((z + x) / 2)),
    ("L2 sphere", "the change is scaled to length ε in L2; here the ball is L∞", lambda z, x, e: _box(x + e * unit_rows(z - x))),
    ("scaled", "the whole change is scaled; each pixel should be clipped", _scaled(lambda a: a.max(axis=1, keepdims=True))),
    ("to the corner", "every pixel moves by ε; those within the ball should stay", lambda z, x, e: _box(x + e * np.sign(z - x))),
    ("half of the ball", "z is not kept below x + ε", lambda z, x, e: _box(np.maximum(z, x - e))),
    ("half of the ball", "z is not kept above x - ε", lambda z, x, e: _box(np.minimum(z, x + e))),
    ("half of the box", "the result is not kept above 0", lambda z, x, e: np.minimum(_clip(z, x, e), 1)),
    ("half of the box", "the result is not kept below 1", lambda z, x, e: np.maximum(_clip(z, x, e), 0)),
    ("box in place of the ball", "the change is clipped to [0, 1], not the image", lambda z, x, e: x + np.clip(z - x, 0, e)),
    ("box shrunk", "the box is [ε, 1 - ε] instead of [0, 1]", lambda z, x, e: np.clip(_clip(z, x, e), e, 1 - e)),
    ("sent back", "pixels outside the ball go back to x, not to its edge", lambda z, x, e: _box(np.where(abs(z - x) > e, x, z))),
    ("sent back", "whole images go back to x", lambda z, x, e: _box(np.where(abs(z - x).max(1, keepdims=True) > e, x, z))),
    ("z and x swapped", "z and x are swapped: the ball is around z", lambda z, x, e: _box(_clip(x, z, e))),
    ("z and x swapped; box left out", "z and x are swapped, and the box is left out", lambda z, x, e: _clip(x, z, e)),
    ("edges swapped", "the edges x - ε and x + ε are swapped", lambda z, x, e: _box(np.minimum(np.maximum(z, x + e), x - e))),
    ("in the wrong order", "x is clipped to [ε, 1 - ε] first; the ball is then around that", _box_first),
    ("of all images", "the change is scaled by the largest of all images; each pixel should be clipped", _scaled(np.max)),
)

PGD = Exercise(
    "pgd-projection",
    "The projection of PGD",
    ("M-PGD",),
    "project(z, x, epsilon)",
    "After every step, PGD moves z to the nearest allowed point: each pixel must be within ε of the same pixel of the image x, "
    "and in [0, 1]. Return that point.",
    {
        "z : array of float, shape (images, inputs)": "The points after the step.",
        "x : array of float, same shape": "The images that are attacked, in [0, 1].",
        "epsilon : float": "ε, at least 0.",
    },
    ("array", "Shape and dtype of `z`."),
    Task(_project, _PGD_MISTAKES, steps=_project_steps),
    _draw_pgd,
    {"images": (4, 6, 3, 5), "inputs": (7, 5, 8, 9)},
    {"epsilon": (0.3, 0.2, 0.45, 0.25)},
    {
        "for ε = 0 the result is x itself": ([[0.2, 0.9]], [[0.5, 0.6]], 0.0),
        "at the edge of the box, both the box and the ball apply": ([[-9, 9]], [[0, 1]], 0.1),
    },
    points=1,
)
