"""Attack a model on a data set: blocks, starts, restarts, targets, selection of the best points, and final checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minicereb.attacks.ball import ball_around, with_rounding
from minicereb.attacks.classifier import guarded
from minicereb.attacks.gradients import Landscape, Source, binary_stage, exact, source_named
from minicereb.attacks.nearby import bytes_per_image
from minicereb.attacks.objectives import OBJECTIVES, TARGETED, likeliest_wrong
from minicereb.attacks.search import CheckedSearch, Search, best, first_wrong, last
from minicereb.attacks.settings import Attack
from minicereb.backend import Array, to_device, to_numpy, xp_of
from minicereb.datasets.transforms import to_unit
from minicereb.errors import InputError, InternalError
from minicereb.inputs import as_ids, as_labels, check_image_shape, check_images, check_outputs, check_rows
from minicereb.parallel import images_per_block, one_blas_thread
from minicereb.randomness import Draws


class Attacked(NamedTuple):
    """Some images after an attack, on the host.

    Attributes
    ----------
    ids : array of int64, shape (images,)
        Indices of the images.
    x, x_adv : array of float32, shape (images, inputs)
        Clean and attacked images, with pixels in [0, 1]. An image that is already misclassified is not changed.
    y, clean_predicted, predicted : array of int64, shape (images,)
        Label, and the model's predictions for the clean and the attacked image.
    success : array of bool, shape (images,)
        Whether the attacked image is misclassified.
    value : array of float32, shape (images,)
        The untargeted objective at the attacked image.
    distance : array of float64, shape (images,)
        Size of the change in the attack's norm.
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


class AttackPath(NamedTuple):
    """The points that an attack's first search visits, on the host.

    Attributes
    ----------
    ids : array of int64, shape (images,)
        Indices of the images.
    x : array of float32, shape (points, images, inputs)
    outputs : array of float32, shape (points, images, classes)
        Outputs of the attacked model.
    value : array of float32, shape (points, images)
        The objective; with targets, it is the objective towards the likeliest wrong class.
    """

    ids: np.ndarray
    x: np.ndarray
    outputs: np.ndarray
    value: np.ndarray


@dataclass(frozen=True, eq=False)
class _Block:
    """Some images under attack, on the device."""

    model: Any
    attack: Attack
    ids: np.ndarray
    x: Array
    labels: Array
    image_shape: tuple[int, ...] | None


def attack_images(
    model: Any,
    attack: Attack,
    rows: np.ndarray,
    labels: np.ndarray,
    ids: np.ndarray,
    *,
    image_shape: tuple[int, ...] | None = None,
    include_misclassified: bool = False,
) -> Iterator[Attacked]:
    """Attack the images `ids` of a data set, in blocks that fit the memory budget.

    Parameters
    ----------
    model : classifier
        An object with a method ``forward`` and, if the attack follows a gradient, a method ``input_gradient``. A user's own
        classifier receives copies (see :class:`minicereb.attacks.classifier.Guarded`).
    attack : Attack
    rows : array of uint8 or float, shape (all images, inputs)
        Images with pixels in [0, 1].
    labels : array of int, shape (all images,) or (all images, 1)
    ids : array of int64
        Indices of the images to attack. Random numbers depend only on these indices and the seed, not on the blocks.
    image_shape : tuple of int, optional
        Height and width of the images, and optionally channels, for Square. By default an image is a single row of
        pixels.
    include_misclassified : bool
        Whether to attack misclassified images too, to run every search to its end, and to choose the misclassified point with
        the largest objective. Use this option if another model will classify the attacked images. The option does not affect
        FAB and FMN.

    Yields
    ------
    Attacked
        One block of images, checked: distances, box and predictions are recomputed from the attacked images.

    Raises
    ------
    InputError
        If a pixel is outside [0, 1], if a label or an image index does not exist, or if outputs have the wrong shape.
    ModelError
        If a user's model fails.
    MinicerebError
        If outputs are not finite.
    InternalError
        If a check fails.

    Examples
    --------
    >>> from minicereb.models.mlp import initial_mlp
    >>> model, x = initial_mlp(6, (8,), 3, seed=1), np.random.default_rng(0).random((20, 6), dtype=np.float32)
    >>> labels = model.forward(x)[0].argmax(axis=1)
    >>> (block,) = attack_images(model, Attack("pgd", "margin", epsilon=0.3), x, labels, np.arange(20))
    >>> bool(block.success.all()), float(block.distance.max()) <= 0.3 + 1e-6
    (True, True)
    """
    for block in _blocks(model, attack, rows, labels, ids, image_shape):
        with one_blas_thread():
            attacked = _checked(block, *_attack_block(block, include_misclassified))
        yield attacked


def attack_paths(
    model: Any,
    attack: Attack,
    rows: np.ndarray,
    labels: np.ndarray,
    ids: np.ndarray,
    *,
    image_shape: tuple[int, ...] | None = None,
) -> Iterator[AttackPath]:
    """Run an attack's first search on a few images, including misclassified ones, and keep every point that it visits.

    Arguments and errors are as for :func:`attack_images`. No point is selected, and no restart follows.

    Yields
    ------
    AttackPath
        One block of images.
    """
    for block in _blocks(model, attack, rows, labels, ids, image_shape):
        with one_blas_thread():
            points = [tuple(np.array(to_numpy(array)) for array in point) for point in _first_search(block)]
        yield AttackPath(block.ids, *(np.stack(arrays) for arrays in zip(*points, strict=True)))


def trace(
    model: Any,
    attack: Attack,
    rows: np.ndarray,
    labels: np.ndarray,
    ids: np.ndarray,
    *,
    image_shape: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Return the objective at every point of an attack's first search (with targets: towards the likeliest wrong class).

    The arguments are as for :func:`attack_images`.

    Returns
    -------
    array of float32, shape (points, images)
    """
    traces = []
    for block in _blocks(model, attack, rows, labels, ids, image_shape):
        with one_blas_thread():
            traces.append(np.stack([to_numpy(point.value) for point in _first_search(block)]))
    return np.concatenate(traces, axis=1)


def _first_search(block: _Block) -> CheckedSearch:
    """Begin the first search of an attack; with targets, the search goes towards the likeliest wrong class."""
    outputs = _outputs(block)
    rivals, images = _rivals(block, outputs), xp_of(outputs).arange(len(block.ids))
    landscape, first = _landscape(block, images, rivals, 0), (0,) if rivals is None else (0, 0)
    return CheckedSearch(_search(block, landscape, images, first, xp_of(outputs).full(len(block.ids), np.inf)))


def _blocks(
    model: Any, attack: Attack, rows: np.ndarray, labels: np.ndarray, ids: np.ndarray, image_shape: tuple[int, ...] | None
) -> Iterator[_Block]:
    check_rows(rows, setting="images", stored=True)
    labels, ids = as_labels(labels, len(rows)), as_ids(ids, len(rows))
    model, inputs = guarded(model), rows.shape[1]
    flips = attack.traits.flips
    if flips and binary_stage(model) is None:
        raise InputError("method", attack.method, "pgd or another method: this model has no threshold on the pixels")
    if image_shape is not None:
        check_image_shape(image_shape, inputs)
    times = 16 * (attack.width if attack.traits.has("width") else 1) if flips else 1
    kept = 0 if attack.traits.gradient else bytes_per_image(model)
    size = images_per_block(times * (getattr(model, "bytes_per_image", 0) + 64 * inputs) + kept)
    for start in range(0, len(ids), size):
        part = ids[start : start + size]
        x, y = to_unit(to_device(rows[part])), to_device(labels[part])
        check_images(x, part)
        yield _Block(model, attack, part, x, y, image_shape)


def _attack_block(block: _Block, include_misclassified: bool) -> tuple[Array, Array]:
    """Return the attacked images, and the model's predictions for the clean ones."""
    attack, method, x, xp = block.attack, block.attack.traits, block.x, xp_of(block.x)
    nearest = method.keeps == "nearest"
    outputs = _outputs(block)
    predicted, chosen = outputs.argmax(axis=1), x.copy()
    broken = predicted != block.labels
    if attack.epsilon == 0:
        return chosen, predicted
    score = xp.full(len(x), -xp.inf, dtype=x.dtype)  # score of the point chosen so far: its objective, or minus its distance
    everything = include_misclassified and not nearest
    pending = xp.arange(len(x)) if everything else xp.flatnonzero(~broken)
    rivals = _rivals(block, outputs)
    for restart in range(attack.restarts if method.has("restarts") else 1):
        for rank in range(rivals.shape[1] if rivals is not None else 1):
            if len(pending) == 0:
                break
            landscape = _landscape(block, pending, rivals, rank)
            numbers = (restart,) if rivals is None else (restart, rank)
            points = "every" if nearest or attack.keep == "last" else "best" if everything or method.keeps == "best" else "first"
            search = _search(block, landscape, pending, numbers, -score[pending], points)
            if points == "every":
                found = last(search)
            elif points == "best":
                found = best(search, landscape)
            else:
                found = first_wrong(search, landscape)
            wrong, value = landscape.wrong(found), found.value
            if nearest:
                value = -ball_around(x[pending], attack.epsilon, attack.norm).size(found.x - x[pending])
                better = wrong & (value > score[pending]) & (-value <= _bound(block))
            elif attack.keep == "last":
                better = wrong | ~broken[pending] | (score[pending] == -xp.inf)
            else:
                was = broken[pending]
                better = (wrong & ~was) | ((wrong == was) & (value > score[pending]))
            places = pending[better]
            chosen[places], score[places], broken[places] = found.x[better], value[better], wrong[better]
            if not everything and not nearest:
                pending = pending[~wrong]
    return chosen, predicted


def _rivals(block: _Block, outputs: Array) -> Array | None:
    """Return the target classes, shape (images, targets), or None if the attack has none."""
    number = min(block.attack.targets, outputs.shape[1] - 1)
    return likeliest_wrong(outputs, block.labels, number) if number > 0 else None


def _landscape(block: _Block, pending: Array, rivals: Array | None, rank: int) -> Landscape:
    attack, labels = block.attack, block.labels[pending]
    source: Source = exact
    if attack.traits.gradient or attack.gradient != "analytic":
        ball = ball_around(block.x[pending], attack.epsilon, attack.norm)
        source = source_named(attack.gradient, block.model, attack.draws, attack.seed, to_device(block.ids)[pending], ball)
    if rivals is None:
        return Landscape(block.model, OBJECTIVES[attack.objective], labels, source)
    return Landscape(block.model, TARGETED[attack.objective], labels, source, rivals[pending, rank])


def _bound(block: _Block) -> float:
    return with_rounding(block.attack.epsilon, block.attack.norm, block.x.shape[1])


def _search(
    block: _Block, landscape: Landscape, pending: Array, numbers: tuple[int, ...], distance: Array, points: str = "every"
) -> Search:
    """Begin the search of one restart towards one target.

    `distance` is the distance to the nearest misclassified point so far; `points` says which points of the search are
    needed.
    """
    attack, method, xp = block.attack, block.attack.traits, xp_of(block.x)
    ball = ball_around(block.x[pending], attack.epsilon, attack.norm)
    draws, start = Draws(attack.seed, "attack start", numbers, to_device(block.ids)[pending]), ball.x
    settings = method.passed(attack, image_shape=block.image_shape, points=points)
    if method.begins == "image":
        return method.search(landscape, ball, **settings)
    if method.begins == "draws":
        return method.search(landscape, ball, draws, **settings)
    if method.begins == "ball" and attack.random_start:
        start = start + np.float32(attack.epsilon) * ball.offsets(draws)
    elif method.begins == "nearby" and numbers[0]:
        radius = 0.5 * xp.minimum(distance, np.float32(attack.epsilon))
        start = xp.clip(start + radius[:, None] * ball.offsets(draws), 0, 1)
    return method.search(landscape, ball, start, **settings)


def _outputs(block: _Block) -> Array:
    outputs, _ = block.model.forward(block.x)
    check_outputs(outputs, block.labels)
    return outputs


def _checked(block: _Block, x_adv: Array, clean: Array) -> Attacked:
    """Check attacked images: predictions, distances and bounds are recomputed from the images themselves."""
    attack = block.attack
    again = Landscape(block.model, OBJECTIVES[attack.objective], block.labels).evaluate(x_adv)
    check_outputs(again.outputs, block.labels)
    x, x_adv, y = to_numpy(block.x), to_numpy(x_adv), to_numpy(block.labels)
    predicted = to_numpy(again.outputs.argmax(axis=1))
    change = x_adv.astype(np.float64) - x
    distance = np.abs(change).max(axis=1, initial=0.0) if attack.norm == "linf" else np.sqrt((change * change).sum(axis=1))
    # tolerance, because the search measured the distance in float32
    beyond = distance.max(initial=0.0) > _bound(block) * (1 + 1e-6)
    if beyond or x_adv.min(initial=0.0) < 0 or x_adv.max(initial=0.0) > 1:
        raise InternalError(f"internal check failed: an attacked image left the ball of {attack.epsilon} or the box [0, 1]")
    return Attacked(block.ids, x, x_adv, y, to_numpy(clean), predicted, predicted != y, to_numpy(again.value), distance)
