"""Every exercise by name, in the order of a course."""

from __future__ import annotations

from minicereb.errors import InputError
from minicereb.exercises.certificate import CERTIFICATE
from minicereb.exercises.definition import Exercise
from minicereb.exercises.delta_rule import DELTA
from minicereb.exercises.fast_gradient_sign import FGSM
from minicereb.exercises.glr_estimator import GLR
from minicereb.exercises.im2col import WINDOWS
from minicereb.exercises.ltd_average import LTD
from minicereb.exercises.noise_score import SCORE
from minicereb.exercises.pgd_projection import PGD
from minicereb.exercises.rao_blackwell import RAO_BLACKWELL
from minicereb.exercises.relu_derivative import RELU
from minicereb.exercises.sparse_projection import PROJECTION

EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (RELU, DELTA, LTD, PROJECTION, FGSM, PGD, SCORE, GLR, RAO_BLACKWELL, WINDOWS, CERTIFICATE)
}


def exercise_named(name: str) -> Exercise:
    """Return the exercise of this name, with hyphens or underscores; :class:`InputError` if there is none."""
    found = EXERCISES.get(name.replace("_", "-").removesuffix(".py"))
    if found is None:
        raise InputError("exercise", name, ", ".join(EXERCISES))
    return found
