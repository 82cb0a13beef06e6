"""Attacks on the first test images, step by step: the image, outputs and hidden activity at each step, and certified radii."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from minicereb.attacks.methods import METHODS
from minicereb.attacks.objectives import OBJECTIVES
from minicereb.attacks.run import AttackPath, attack_paths
from minicereb.attacks.settings import LARGEST, Attack
from minicereb.backend import to_device, to_numpy
from minicereb.calculus.losses import margin
from minicereb.certificates.affine import why_not_certifiable
from minicereb.certificates.certify import certified_radii
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.errors import require
from minicereb.explore.hidden_units import HiddenUnits, hidden_units_of
from minicereb.explore.packing import rounded
from minicereb.parallel import one_blas_thread
from minicereb.report.image_sheets import film
from minicereb.settings import checked, setting

SHOWN_METHODS = tuple(name for name, method in METHODS.items() if method.gradient and method.keeps != "nearest")
CHANGE = 127  # levels of a change, from 0 to ε


@checked
@dataclass(frozen=True)
class Exploration:
    """Settings of a page that shows attacks."""

    images: int = setting(12, "Number of test images to use, starting with the first.", at_least=1, at_most=100)
    epsilons: tuple[float, ...] = setting(
        (0.01, 0.02, 0.05, 0.1, 0.2, 0.3),
        "Largest change of a pixel (black is 0, white 1).",
        above=0,
        at_most=LARGEST,
        option="epsilon",
    )
    methods: tuple[str, ...] = setting(
        ("fgsm", "pgd", "apgd"), "How the attack searches.", choices=SHOWN_METHODS, option="method"
    )
    objectives: tuple[str, ...] = setting(
        ("mse", "cross-entropy", "margin"), "Objective of the attack.", choices=OBJECTIVES, option="objective"
    )
    steps: int = setting(20, "Number of steps of iterative attacks.", at_least=1, at_most=200)
    certify: bool = setting(True, "Whether to compute the certified radius of each image.")
    tasks: bool = setting(True, "Whether the page also shows the eyelid and the pole.")
    seed: int = setting(0, "Seed of the motor tasks, and of the noise if the gradient is an estimate.", at_least=0)

    def __post_init__(self) -> None:
        for name, option in (("epsilons", "epsilon"), ("methods", "method"), ("objectives", "objective")):
            values = getattr(self, name)
            require(
                bool(values) and len(set(values)) == len(values), option, list(values), "one or more values without repetition"
            )
        require(list(self.epsilons) == sorted(self.epsilons), "epsilon", list(self.epsilons), "ascending numbers")

    def attack(self, method: str, objective: str, epsilon: float, gradient: str) -> Attack:
        """Return the settings of one of the attacks. Like every attack on the page, it begins at the image itself."""
        return Attack(method, objective, epsilon, steps=self.steps, random_start=False, seed=self.seed, gradient=gradient)


class Story(NamedTuple):
    """A part of a page.

    Attributes
    ----------
    about : dict
        JSON values.
    arrays : dict
        Arrays of uint8, int8 or int16, keyed by name.
    """

    about: dict[str, Any]
    arrays: dict[str, np.ndarray]


def attack_story(model: Any, dataset: Dataset, settings: Exploration, gradient: str) -> Generator[str, None, Story]:
    """Run every attack on the first test images and store every step; yield the progress in words.

    Parameters
    ----------
    model : classifier
    dataset : Dataset
    settings : Exploration
    gradient : str
        Source of the input gradient (see :func:`minicereb.attacks.gradients.source_named`).

    Returns
    -------
    Story
        Its arrays are as follows, where `ways` means objectives × epsilons, and step 0 is the image itself.

        ``image`` : uint8, (images, inputs), pixels × 255. ``change/METHOD`` : int8, (ways, images, inputs, steps + 1),
        attacked minus clean image in units of ε/127. ``activity/METHOD`` : uint8, (ways, images, units, steps + 1), rounded
        up, so that 0 is silent. ``output/METHOD`` : int16, (ways, images, classes, steps + 1). ``margin/METHOD`` : int16,
        (ways, images, steps + 1), the label's output minus the largest other one. ``answer/METHOD`` : uint8 or int16, same
        shape, the predicted class.

    Raises
    ------
    InputError
        If there are fewer test images than requested, or the model has no such gradient.
    """
    available = len(dataset.x_test)
    require(settings.images <= available, "images", settings.images, f"a whole number from 1 to the {available} test images")
    rows, labels, ids = dataset.x_test[: settings.images], dataset.y_test[: settings.images], np.arange(settings.images)
    units = hidden_units_of(model)
    ways = list(product(settings.objectives, settings.epsilons))
    found: dict[str, list[_Path]] = {}
    for method in settings.methods:
        found[method] = []
        for objective, epsilon in ways:
            yield f"{method} on {objective}, ε = {epsilon:g}"
            attack = settings.attack(method, objective, epsilon, gradient)
            found[method].append(_path(model, attack, rows, labels, ids, units))
    radii, why = None, why_not_certifiable(model) if settings.certify else "it was not requested"
    if why is None:
        yield "certified radii"
        with one_blas_thread():
            radii = certified_radii(model, to_device(rows), to_device(labels), settings.epsilons[-1])
    paths = [path for some in found.values() for path in some]
    arrays = {"image": np.rint(255 * to_numpy(to_unit(rows))).astype(np.uint8)}
    output_unit = _together(arrays, "output", found, [path.outputs for path in paths], "int16")
    margin_unit = _together(arrays, "margin", found, [path.margin for path in paths], "int16")
    largest = max((float(path.activity.max(initial=0.0)) for path in paths), default=0.0) or 1.0
    for method, some in found.items():
        changes = [CHANGE * path.change.astype(np.float64) / epsilon for path, (_, epsilon) in zip(some, ways, strict=True)]
        arrays[f"change/{method}"] = np.stack([np.rint(change).clip(-CHANGE, CHANGE).astype(np.int8) for change in changes])
        arrays[f"activity/{method}"] = np.stack([np.ceil(255 * (path.activity / largest)).astype(np.uint8) for path in some])
        arrays[f"answer/{method}"] = np.stack([path.answer for path in some])
    about = {
        "dataset": dataset.name,
        "shape": list(dataset.image_shape),
        "classes": dataset.classes,
        "labels": labels.tolist(),
        "epsilons": list(settings.epsilons),
        "objectives": list(settings.objectives),
        "methods": {method: some[0].margin.shape[-1] - 1 for method, some in found.items()},
        "gradient": gradient,
        "units": {"output": output_unit, "margin": margin_unit, "activity": largest / 255},
        "hidden": None if units is None else {"name": units.name, "count": units.count, "shown": len(units.chosen)},
        "certified": None if radii is None else [None if radius < 0 else float(radius) for radius in radii],
        "not_certified": why,
        "broken": _broken(found, labels, settings),
    }
    return Story(about, arrays)


class _Path(NamedTuple):
    """The steps of one attack on all images; the last axis of each array is the step."""

    change: np.ndarray
    outputs: np.ndarray
    margin: np.ndarray
    answer: np.ndarray
    activity: np.ndarray


def _path(model: Any, attack: Attack, rows: np.ndarray, labels: np.ndarray, ids: np.ndarray, units: HiddenUnits | None) -> _Path:
    """Return the path of one attack, beginning with the image itself."""
    parts = []
    with one_blas_thread():
        for path in attack_paths(model, attack, rows, labels, ids):
            clean = to_numpy(to_unit(rows[path.ids]))
            x, outputs = from_image(model, attack, clean, path)
            value, _ = margin(outputs.reshape(-1, outputs.shape[2]), np.tile(labels[path.ids], len(x)))
            activity = np.empty((*x.shape[:2], 0), dtype=np.float32)
            if units is not None:
                activity = units.activity(x.reshape(-1, x.shape[2])).reshape(*x.shape[:2], -1)
            answer = outputs.argmax(axis=2).astype(np.uint8 if outputs.shape[2] <= 256 else np.int16)
            parts.append((x - clean, outputs, -value.reshape(x.shape[:2]), answer, activity))
    return _Path(*(np.moveaxis(np.concatenate(part, axis=1), 0, -1) for part in zip(*parts, strict=True)))


def from_image(model: Any, attack: Attack, clean: np.ndarray, path: AttackPath) -> tuple[np.ndarray, np.ndarray]:
    """Return the points and outputs of a path, beginning with the clean images, which some searches do not yield."""
    if attack.traits.begins != "image":
        return path.x, path.outputs
    first = to_numpy(model.forward(to_device(clean))[0])
    return np.concatenate((clean[None], path.x)), np.concatenate((first[None], path.outputs))


def attack_film(model: Any, dataset: Dataset, attack: Attack, images: int, theme: str = "page") -> str:
    """Return an animated SVG of an attack on the first test images, step by step, beginning with the images themselves.

    Parameters
    ----------
    model : classifier
    dataset : Dataset
        Data set of grey images.
    attack : Attack
        The attack's method is one of ``SHOWN_METHODS``; random start and restarts are left out.
    images : int
    theme : {"page", "light", "dark"}
        See :func:`minicereb.report.image_sheets.film`.
    """
    require(attack.method in SHOWN_METHODS, "method", attack.method, f"{', '.join(SHOWN_METHODS)} for an animation")
    shape = dataset.image_shape
    require(
        len(shape) == 2, "dataset", dataset.name, f"one of grey images for an animation; these are {'x'.join(map(str, shape))}"
    )
    rows, labels, parts = dataset.x_test[:images], dataset.y_test[:images], []
    still = replace(attack, random_start=False, restarts=1)
    with one_blas_thread():
        for path in attack_paths(model, still, rows, labels, np.arange(len(rows))):
            parts.append(from_image(model, still, to_numpy(to_unit(rows[path.ids])), path))
    x, outputs = (np.concatenate(part, axis=1) for part in zip(*parts, strict=True))
    return film(x.reshape(*x.shape[:2], *shape), outputs, labels.tolist(), [str(n) for n in range(dataset.classes)], theme)


def _together(
    arrays: dict[str, np.ndarray], name: str, found: dict[str, list[_Path]], values: list[np.ndarray], kind: str
) -> float:
    """Round the values of all attacks, in order, to multiples of one unit, store them in `arrays`, and return the unit."""
    numbers, unit = rounded(np.concatenate([value.ravel() for value in values]), kind)
    ends = np.cumsum([value.size for value in values])[:-1]
    each = [part.reshape(value.shape) for part, value in zip(np.split(numbers, ends), values, strict=True)]
    at = 0
    for method, some in found.items():
        arrays[f"{name}/{method}"] = np.stack(each[at : at + len(some)])
        at += len(some)
    return unit


def _broken(found: dict[str, list[_Path]], labels: np.ndarray, settings: Exploration) -> list[float | None]:
    """Return, for each image, the smallest ε at which some step of an attack is misclassified; 0 if the image itself is."""
    result: list[float | None] = [None] * len(labels)
    for number, epsilon in reversed(list(enumerate(settings.epsilons))):
        for some in found.values():
            for path in some[number :: len(settings.epsilons)]:
                wrong = path.answer != labels[:, None]
                for image in np.flatnonzero(wrong.any(axis=1)):
                    result[image] = 0.0 if wrong[image, 0] else epsilon
    return result
