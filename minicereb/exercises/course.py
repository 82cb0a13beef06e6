"""All exercises, keyed by name, in the order of a course."""

from __future__ import annotations

from minicereb.errors import require
from minicereb.exercises.certificate import CERTIFICATE
from minicereb.exercises.definition import Exercise
from minicereb.exercises.granule_cells import DELTA, LTD, PROJECTION, RELU
from minicereb.exercises.im2col import WINDOWS
from minicereb.exercises.noise_estimators import GLR, RAO_BLACKWELL, SCORE
from minicereb.exercises.pessimism import PESSIMISM
from minicereb.exercises.pixel_attacks import FGSM, PGD
from minicereb.exercises.shared_weight import SHARED

EXERCISES: dict[str, Exercise] = {
    exercise.name: exercise
    for exercise in (RELU, DELTA, LTD, PROJECTION, FGSM, PGD, SCORE, GLR, RAO_BLACKWELL, WINDOWS, SHARED, CERTIFICATE, PESSIMISM)
}


def exercise_named(name: str) -> Exercise:
    """Return the exercise with this name or file name; raise :class:`InputError` if there is no such exercise."""
    found = name.replace("_", "-").removesuffix(".py")
    require(found in EXERCISES, "exercise", name, ", ".join(EXERCISES))
    return EXERCISES[found]
