"""Attack a model on a data set: blocks, starts, restarts, the best point of each image, and a second look at what is claimed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from minicereb.attacks.fgsm import fgsm
from minicereb.attacks.objectives import objective_named
from minicereb.attacks.pgd import pgd
from minicereb.attacks.sources import Landscape, Point, source_named
from minicereb.backend import Array, images_per_block, one_blas_thread, to_device, to_numpy, xp_of
from minicereb.datasets.transforms import to_unit
from minicereb.errors import InputError, MinicerebError, require
from minicereb.learning.estimators import ESTIMATORS
from minicereb.randomness import uniform

GRADIENTS = ("analytic", *ESTIMATORS)
ROUNDING = 1e-6  # how far float32 arithmetic may carry a pixel beyond its bound


@dataclass(frozen=True)
class Attack:
    """Settings of an attack in L∞.

    Parameters
    ----------
    method : {"fgsm", "pgd"}
    objective : {"mse", "cross-entropy", "margin"}
        What is ascended.
    epsilon : float
        Bound on the change of each pixel, at least 0.
    steps : int
        PGD: steps per start.
    step_size : float
        PGD: length of a step.
    restarts : int
        PGD: random starts; later ones go on with the images that are still classified correctly.
    random_start : bool
        PGD: begin at a uniform random point of the ball (else at the clean image).
    keep : {"best", "last"}
        Which of the points visited counts for an image: the best (a misclassified one if there is any, among equals the
        one with the largest objective), or the last, as the authors' code has it.
    seed : int
        Of the random starts, and of noise.
    gradient : str
        Where the input gradient comes from, see :func:`minicereb.attacks.sources.source_named`.
    draws : int
        Replications of the noise, if it comes from an estimator.
    """

    method: str
    objective: str
    epsilon: float
    steps: int = 40
    step_size: float = 0.01
    restarts: int = 1
    random_start: bool = True
    keep: str = "best"
    seed: int = 0
    gradient: str = field(default="analytic", metadata={"added": True})
    draws: int = field(default=32, metadata={"added": True})

    def __post_init__(self) -> None:
        require(self.method in ("fgsm", "pgd"), "method", self.method, "fgsm or pgd")
        objective_named(self.objective)
        require(0 <= self.epsilon < float("inf"), "epsilon", self.epsilon, "a number of at least 0")
        require(self.steps >= 1, "steps", self.steps, "a whole number of at least 1")
        require(0 < self.step_size < float("inf"), "step-size", self.step_size, "a number above 0")
        require(self.restarts >= 1, "restarts", self.restarts, "a whole number of at least 1")
        require(self.keep in ("best", "last"), "keep", self.keep, "best or last")
        require(self.seed >= 0, "seed", self.seed, "a whole number of at least 0")
        require(self.gradient in GRADIENTS, "gradient", self.gradient, ", ".join(GRADIENTS))
        require(self.draws >= 1, "draws", self.draws, "a whole number of at least 1")


class Attacked(NamedTuple):
    """Some images after an attack, on the host.

    Attributes
    ----------
    ids : array of int64, shape (images,)
        Which test images.
    x, x_adv : array of float32, shape (images, inputs)
        Clean and attacked, in [0, 1]. An image that is misclassified already stays as it is.
    y, clean_predicted, predicted : array of int64, shape (images,)
        Label, and the model's answers to clean and attacked image.
    success : array of bool, shape (images,)
        Whether the attacked image is misclassified.
    value : array of float32, shape (images,)
        The objective at the attacked image.
    distance : array of float64, shape (images,)
        Largest change of a pixel.
    """

    ids: np.ndarray
    x: np.ndarray
    x_adv: np.ndarray
    y: np.ndarray
    clean_predicted: np.ndarray
    predicted: np.ndarray
    success: np.ndarray
    value: np.ndarray
    distance: np.ndarray


def attack_images(model: Any, attack: Attack, rows: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> Iterator[Attacked]:
    """Attack the images `ids` of a data set, a block within the memory budget at a time.

    Parameters
    ----------
    model : classifier
        Anything with ``forward`` and ``input_gradient``.
    attack : Attack
    rows : array of uint8 or float, shape (all images, inputs)
    labels : array of int, shape (all images,)
    ids : array of int64
        Numbers of the images to attack. Random starts depend on seed and number alone, not on the blocks.

    Yields
    ------
    Attacked
        One block, its claims checked: bound, box and answers are computed again from the attacked images.

    Raises
    ------
    MinicerebError
        If outputs are not finite or have the wrong shape, or a check fails.
    """
    inputs = rows.shape[1]
    size = images_per_block(getattr(model, "bytes_per_image", 0) + 64 * inputs)
    for start in range(0, len(ids), size):
        block = ids[start : start + size]
        x, y = to_unit(to_device(rows[block])), to_device(labels[block])
        with one_blas_thread():
            attacked = _checked(model, attack, block, x, y, *_attack_block(model, attack, block, x, y))
        yield attacked


def _attack_block(model: Any, attack: Attack, ids: np.ndarray, x: Array, labels: Array) -> tuple[Array, Array]:
    """Return the chosen point of each image and the model's answers to the clean images."""
    xp = xp_of(x)
    objective = objective_named(attack.objective)
    source = source_named(attack.gradient, model, attack.draws, attack.seed)
    outputs, _ = model.forward(x)
    _check_outputs(outputs, labels)
    predicted, chosen = outputs.argmax(axis=1), x.copy()
    value = xp.full(len(x), -xp.inf, dtype=x.dtype)
    pending = xp.flatnonzero(predicted == labels)  # the rest is misclassified without our help
    for restart in range(attack.restarts if attack.method == "pgd" else 1):
        if len(pending) == 0:
            break
        landscape = Landscape(model, objective, labels[pending], source)
        points = _watched(_search(attack, landscape, x[pending], to_numpy(pending), ids, restart))
        best = _best(points, landscape.labels) if attack.keep == "best" else _last(points)
        wrong = best.outputs.argmax(axis=1) != landscape.labels
        better = wrong | (best.value > value[pending]) | (attack.keep == "last")
        chosen[pending[better]], value[pending[better]] = best.x[better], best.value[better]
        pending = pending[~wrong]
    return chosen, predicted


def _search(
    attack: Attack, landscape: Landscape, x: Array, pending: np.ndarray, ids: np.ndarray, restart: int
) -> Iterator[Point]:
    if attack.method == "fgsm":
        return fgsm(landscape, x, attack.epsilon)
    start = x
    if attack.random_start:
        xp = xp_of(x)
        noise = uniform(xp, attack.seed, "attack start", (restart,), to_device(ids[pending]), x.shape[1])
        start = x + np.float32(attack.epsilon) * (2 * noise - 1)
    return pgd(landscape, x, start, attack.epsilon, attack.steps, attack.step_size)


def _watched(points: Iterator[Point]) -> Iterator[Point]:
    """Pass points on, and raise at the end if anything was not finite on the way: one look at the device, not one a step."""
    finite: Any = True
    for point in points:
        xp = xp_of(point.x)
        finite = xp.isfinite(point.value).all() & xp.isfinite(point.x).all() & finite
        yield point
    if not bool(finite):
        raise MinicerebError("outputs or gradients of the model are not finite; an attack on them would prove nothing")


def _last(points: Iterator[Point]) -> Point:
    for point in points:  # noqa: B007
        pass
    return point


def _best(points: Iterator[Point], labels: Array) -> Point:
    """The best point of each image: misclassified before not, then by objective; of equals the first."""
    first = next(points)
    xp = xp_of(first.x)
    best, wrong = Point(*(array.copy() for array in first)), first.outputs.argmax(axis=1) != labels
    for point in points:
        wrong_now = point.outputs.argmax(axis=1) != labels
        better = (wrong_now & ~wrong) | ((wrong_now == wrong) & (point.value > best.value))
        for kept, new in zip(best, point, strict=True):
            xp.copyto(kept, new, where=better if new.ndim == 1 else better[:, None])
        wrong |= wrong_now
    return best


def _check_outputs(outputs: Array, labels: Array) -> None:
    classes = int(labels.max()) + 1
    if outputs.ndim != 2 or len(outputs) != len(labels) or outputs.shape[1] < classes:
        expected = f"one row of at least {classes} outputs for each of {len(labels)} images"
        raise InputError("model", f"outputs of shape {outputs.shape}", expected)
    if not bool(xp_of(outputs).isfinite(outputs).all()):
        raise MinicerebError("the model's outputs are not finite; an attack on them would prove nothing")


def _checked(model: Any, attack: Attack, ids: np.ndarray, x: Array, labels: Array, x_adv: Array, clean: Array) -> Attacked:
    """Look again: the answers to the attacked images, their distance and their box, all from the images themselves."""
    again = Landscape(model, objective_named(attack.objective), labels).look(x_adv)
    _check_outputs(again.outputs, labels)
    x, x_adv, y = to_numpy(x), to_numpy(x_adv), to_numpy(labels)
    predicted = to_numpy(again.outputs.argmax(axis=1))
    distance = np.abs(x_adv.astype(np.float64) - x).max(axis=1, initial=0.0)
    if distance.max(initial=0.0) > attack.epsilon + ROUNDING or x_adv.min(initial=0.0) < 0 or x_adv.max(initial=0.0) > 1:
        raise MinicerebError(f"internal check failed: an attacked image left the ball of {attack.epsilon} or the box [0, 1]")
    return Attacked(ids, x, x_adv, y, to_numpy(clean), predicted, predicted != y, to_numpy(again.value), distance)
