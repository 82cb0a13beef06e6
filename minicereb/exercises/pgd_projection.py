"""The exercise about the projection of PGD."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.attacks.ball import ball_around, unit_rows
from minicereb.diagnosis.hints import Case, Task
from minicereb.exercises.definition import Exercise, mistakes


def _box(x: Any) -> Any:
    return np.clip(x, 0, 1)


def _linf(x: Any, epsilon: float) -> Any:
    return ball_around(x, epsilon, "linf")


def _project(z: Any, x: Any, epsilon: float) -> Any:
    return _linf(x, epsilon).project(z)


def _project_steps(at: Any, z: Any, x: Any, epsilon: float) -> Any:
    """The same, step by step."""
    change = at("the clipped change", np.clip(at("the change", z - x), -epsilon, epsilon))
    return _box(at("x and the change", x + change))


def _in_l2(z: Any, x: Any, epsilon: float) -> Any:
    return ball_around(x, epsilon, "l2").project(z)


def _clipped_to_both(z: Any, x: Any, low: Any, high: Any) -> Any:
    return np.minimum(np.maximum(z, low), high)


def _projection_case(rng: np.random.Generator, number: int) -> Case:
    images, inputs = (4, 6, 3, 5, 5, 4, 6)[number], (7, 5, 8, 9, 5, 4, 6)[number]
    x = rng.random((images, inputs))
    z = x + 0.8 * rng.standard_normal((images, inputs))
    z[0] = x[0] + 0.1 * (z[0] - x[0])  # within the ball
    return Case({"z": z, "x": x, "epsilon": (0.3, 0.2, 0.45, 0.25, 0.3, 0.2, 0.45)[number]}, {"images": images, "inputs": inputs})


_MISTAKES = mistakes(
    ("box left out", "the result leaves [0, 1]: the box is left out", lambda z, x, e: np.clip(z, x - e, x + e)),
    ("ball left out", "the ball is left out: only the box is kept", lambda z, x, e: _box(z)),
    ("ball around 0", "the ball is around 0; it is around x", lambda z, x, e: _box(np.clip(z, -e, e))),
    ("ball around 0", "the ball is around 0, and the box is left out", lambda z, x, e: np.clip(z, -e, e)),
    ("only the change", "this is the change alone: add x to it", lambda z, x, e: np.clip(z - x, -e, e)),
    ("only the change", "this is the change alone, clipped to the box: add x to it", lambda z, x, e: _box(np.clip(z - x, -e, e))),
    ("only the change", "this is the change alone: add x to it", lambda z, x, e: _project(z, x, e) - x),
    ("wrong sign of the change", "x - z is clipped in place of z - x", lambda z, x, e: _box(x + np.clip(x - z, -e, e))),
    (
        "z in place of the change",
        "z is clipped to [-ε, ε] and added to x; it is the change z - x that is that small",
        lambda z, x, e: _box(x + np.clip(z, -e, e)),
    ),
    ("added to z", "the clipped change is added to z; it belongs to x", lambda z, x, e: _box(z + np.clip(z - x, -e, e))),
    ("L2 ball", "this is the projection onto the L2 ball; here the ball is L∞", _in_l2),
    (
        "L2 ball",
        "this is the projection onto the L2 ball, and the box is left out",
        lambda z, x, e: x + unit_rows(z - x) * np.minimum(np.linalg.norm(z - x, axis=1, keepdims=True), e),
    ),
    (
        "L1 ball",
        "the change is scaled by its L1 norm; here the ball is L∞",
        lambda z, x, e: _box(x + (z - x) * np.minimum(1, e / np.abs(z - x).sum(axis=1, keepdims=True))),
    ),
    (
        "relative",
        "the ball is [(1 - ε)x, (1 + ε)x]; ε is a distance, not a share",
        lambda z, x, e: _box(np.clip(z, x * (1 - e), x * (1 + e))),
    ),
    ("change times ε", "the change is multiplied by ε; it is clipped", lambda z, x, e: _box(x + e * (z - x))),
    ("change times ε", "the change is multiplied by ε, and the box left out", lambda z, x, e: x + e * (z - x)),
    ("halfway", "this is halfway between z and x, in the box", lambda z, x, e: (_box(z) + x) / 2),
    ("halfway", "this is halfway between z and x", lambda z, x, e: _box((z + x) / 2)),
    ("L2 sphere", "the change is brought to length ε in L2; here the ball is L∞", lambda z, x, e: _box(x + e * unit_rows(z - x))),
    (
        "scaled",
        "the whole change is scaled into the ball; the nearest point has each pixel clipped",
        lambda z, x, e: _box(x + (z - x) * np.minimum(1, e / np.abs(z - x).max(axis=1, keepdims=True))),
    ),
    (
        "to the corner",
        "every pixel is moved by the whole ε; those within the ball stay",
        lambda z, x, e: _box(x + e * np.sign(z - x)),
    ),
    ("half of the ball", "nothing keeps z below x + ε", lambda z, x, e: _box(np.maximum(z, x - e))),
    ("half of the ball", "nothing keeps z above x - ε", lambda z, x, e: _box(np.minimum(z, x + e))),
    (
        "half of the box",
        "nothing keeps the result above 0: the box is [0, 1], not [-1, 1]",
        lambda z, x, e: np.minimum(np.clip(z, x - e, x + e), 1),
    ),
    ("half of the box", "nothing keeps the result below 1", lambda z, x, e: np.maximum(np.clip(z, x - e, x + e), 0)),
    (
        "box in place of the ball",
        "the change is kept in [0, 1], not the image",
        lambda z, x, e: x + np.clip(np.clip(z - x, -e, e), 0, 1),
    ),
    ("box shrunk", "the box is [ε, 1 - ε]; it is [0, 1]", lambda z, x, e: np.clip(np.clip(z, x - e, x + e), e, 1 - e)),
    (
        "sent back",
        "pixels outside the ball go back to x; they go to its edge",
        lambda z, x, e: _box(np.where(np.abs(z - x) > e, x, z)),
    ),
    (
        "sent back",
        "images outside the ball go back to x as a whole; each pixel goes to the edge",
        lambda z, x, e: _box(np.where(np.abs(z - x).max(axis=1, keepdims=True) > e, x, z)),
    ),
    (
        "z and x swapped",
        "z and x are swapped: this is a ball around z, and it belongs around x",
        lambda z, x, e: _box(np.clip(x, z - e, z + e)),
    ),
    ("z and x swapped; box left out", "z and x are swapped, and the box is left out", lambda z, x, e: np.clip(x, z - e, z + e)),
    ("edges swapped", "the edges x - ε and x + ε are swapped", lambda z, x, e: _box(np.minimum(np.maximum(z, x + e), x - e))),
    (
        "in the wrong order",
        "box first, then the ball around what is clipped to [ε, 1 - ε]",
        lambda z, x, e: _clipped_to_both(z, x, np.clip(x, e, 1 - e) - e, np.clip(x, e, 1 - e) + e),
    ),
    (
        "of all images",
        "the change is scaled by the largest of all images; each pixel is clipped",
        lambda z, x, e: _box(x + (z - x) * min(1.0, e / float(np.abs(z - x).max()))),
    ),
)


PGD = Exercise(
    "pgd-projection",
    "The projection of PGD",
    ("M-PGD",),
    "project(z, x, epsilon)",
    "After every step, PGD takes the nearest point that it may choose: no pixel of z may be farther than ε from the image's, and "
    "all are in [0, 1]. Return that point.",
    """
    Parameters
    ----------
    z : array of float, shape (images, inputs)
        Where the step led.
    x : array of float, same shape
        The images that are attacked, in [0, 1].
    epsilon : float
        ε, at least 0.

    Returns
    -------
    array
        Shape and dtype of `z`.
    """,
    Task(
        _project,
        _MISTAKES,
        steps=_project_steps,
    ),
    _projection_case,
    (
        Case({"z": np.array([[0.2, 0.9]]), "x": np.array([[0.5, 0.6]]), "epsilon": 0.0}, note="for ε = 0 the result is x itself"),
        Case(
            {"z": np.array([[-9.0, 9.0]]), "x": np.array([[0.0, 1.0]]), "epsilon": 0.1},
            note="at the edge of the box ball and box both hold",
        ),
    ),
)
