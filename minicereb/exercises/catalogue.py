"""Every exercise by name, in the order of a course."""

from __future__ import annotations

from minicereb.errors import InputError
from minicereb.exercises.certificate import CERTIFICATE
from minicereb.exercises.delta import DELTA
from minicereb.exercises.exercise import Exercise
from minicereb.exercises.fgsm import FGSM
from minicereb.exercises.glr import GLR
from minicereb.exercises.ltd import LTD
from minicereb.exercises.pgd import PGD
from minicereb.exercises.projection import PROJECTION
from minicereb.exercises.rao_blackwell import RAO_BLACKWELL
from minicereb.exercises.relu import RELU
from minicereb.exercises.score import SCORE
from minicereb.exercises.windows import WINDOWS

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
