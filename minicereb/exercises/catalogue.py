"""Every exercise by name, in the order of a course."""

from __future__ import annotations

from minicereb.errors import InputError
from minicereb.exercises.adversaries import CERTIFICATE, FGSM, PGD
from minicereb.exercises.exercise import Exercise
from minicereb.exercises.layers import PROJECTION, RELU, WINDOWS
from minicereb.exercises.noise import GLR, RAO_BLACKWELL, SCORE
from minicereb.exercises.plasticity import DELTA, LTD

EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (RELU, DELTA, LTD, PROJECTION, FGSM, PGD, SCORE, GLR, RAO_BLACKWELL, WINDOWS, CERTIFICATE)
}


def exercise_named(name: str) -> Exercise:
    """Return the exercise of this name, also if it is written with underscores; :class:`InputError` if there is none."""
    found = EXERCISES.get(name.replace("_", "-").removesuffix(".py"))
    if found is None:
        raise InputError("exercise", name, ", ".join(EXERCISES))
    return found
