"""Images attacked by way of a substitute, and what another network, without noise and with it, answers to them."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypedDict

import numpy as np

from minicereb.attacks.ball import ball_around
from minicereb.attacks.fgsm import fgsm
from minicereb.attacks.gradients import Landscape, source_named
from minicereb.attacks.objectives import objective_named
from minicereb.attacks.settings import Attack
from minicereb.backend import Array, to_device, to_numpy, xp_of
from minicereb.datasets.transforms import to_unit
from minicereb.documents import Count, Share
from minicereb.errors import DataError, MinicerebError, require
from minicereb.experiments.configs import Train, describe
from minicereb.experiments.identity import config_hash, config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.records import Interval
from minicereb.experiments.reuse import Neighbours
from minicereb.files import Declared, read_npz, write_npz
from minicereb.models.noisy import NoisyNetwork
from minicereb.models.prediction import average_probabilities
from minicereb.parallel import images_per_block, one_blas_thread
from minicereb.paths import beneath
from minicereb.statistics import proportion_interval

PICTURES = 8  # pairs of images kept beside the record


class _Answers(TypedDict):
    right: Count
    of: Count
    accuracy: Share | None
    interval: Interval


class _Substitute(TypedDict):
    original: _Answers
    adversarial: _Answers


class _Target(TypedDict):
    original_ot: _Answers
    original_lap: _Answers | None
    adversarial_ot: _Answers
    adversarial_lap: _Answers | None


class _Record(TypedDict):
    images: Count
    substitute: _Substitute
    all: _Target
    filtered: _Target
    seconds: float


@config_kind
@dataclass(frozen=True)
class TransferredAttack:
    """FGSM against a substitute, judged by a target that it knows nothing of ``[M-FGSM]``.

    The first `images` test images, from which neither network has learned, are attacked, each with one step that ascends the
    objective at its true label: also those that the substitute misclassifies already, as in the paper. (An attack on a model
    itself, :func:`minicereb.attacks.run.attack_images`, leaves such images alone.)

    Parameters
    ----------
    target, substitute : Train
        Who answers, and whose gradient is followed.
    attack : Attack
        FGSM; bound and objective.
    images : int
    replications : int
        Noisy runs for the LAP answer. An image has the same noise before and after the attack.
    seed : int
        Of that noise.
    """

    record_shape: ClassVar[Any] = _Record
    target: Train
    substitute: Train
    attack: Attack
    images: int
    replications: int
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.attack.method == "fgsm", "method", self.attack.method, "fgsm: a transferred attack is one step")
        require(self.images >= 1, "images", self.images, "a whole number of at least 1")
        require(self.replications >= 1, "replications", self.replications, "a whole number of at least 1")
        require(self.seed >= 0, "seed", self.seed, "a whole number of at least 0")

    @property
    def trainings(self) -> tuple[Train, ...]:
        """Target and substitute."""
        return (self.target, self.substitute)


def transferred_attack(config: TransferredAttack, laboratory: Laboratory) -> Generator[str, None, Record]:
    """Carry out the experiment, yielding its progress in words; some pairs of images are kept beside the record.

    Returns
    -------
    dict
        ``images``; ``substitute``: by ``original`` and ``adversarial`` images its own answers; ``all`` and ``filtered``: the
        target's answers on all images, and on those that the substitute classifies correctly before the attack, by
        ``original_ot``, ``original_lap``, ``adversarial_ot`` and ``adversarial_lap`` (the LAP answers None for a target
        without noise). Answers are ``right``, ``of``, ``accuracy`` (None of none) and its 95% ``interval``.
    """
    dataset, began = laboratory.dataset, time.monotonic()
    available = len(dataset.x_test)
    require(config.images <= available, "images", config.images, f"a whole number from 1 to the {available} test images")
    target, substitute = laboratory.model(config.target), laboratory.model(config.substitute)
    largest = max(getattr(model, "bytes_per_image", 0) for model in (target, substitute))
    size = images_per_block(largest + 64 * dataset.inputs)
    answers: dict[str, list[np.ndarray]] = {}
    for start in range(0, config.images, size):
        ids = np.arange(start, min(start + size, config.images), dtype=np.int64)
        x, labels = to_unit(to_device(dataset.x_test[ids])), to_device(dataset.y_test[ids])
        with one_blas_thread():
            x_adv = _attacked(config.attack, substitute, x, labels)
            block = _answers(config, target, substitute, ids, {"original": x, "adversarial": x_adv})
        for name, answer in block.items():
            answers.setdefault(name, []).append(answer)
        if start == 0:
            _keep_pictures(config, laboratory, x, x_adv, block)
        yield f"attacking {describe(config.target)} by way of {describe(config.substitute)}, {ids[-1] + 1} images"
    right = {name: np.concatenate(parts) == dataset.y_test[: config.images] for name, parts in answers.items()}
    return record_of(right) | {"seconds": round(time.monotonic() - began, 3)}


def _attacked(attack: Attack, substitute: Any, x: Array, labels: Array) -> Array:
    source = source_named(attack.gradient, substitute, attack.draws, attack.seed)
    (point,) = fgsm(
        Landscape(substitute, objective_named(attack.objective), labels, source), ball_around(x, attack.epsilon, attack.norm)
    )
    xp = xp_of(x)
    if not bool(xp.isfinite(point.x).all() & xp.isfinite(point.value).all()):
        raise MinicerebError("outputs or gradients of the substitute are not finite; an attack by way of it would prove nothing")
    return point.x


def _answers(
    config: TransferredAttack, target: Any, substitute: Any, ids: np.ndarray, images: dict[str, Array]
) -> dict[str, np.ndarray]:
    """Answers of the substitute, and of the target by OT and, if it has noise, by LAP, to each kind of images."""
    noisy = isinstance(target, NoisyNetwork) and any(layer.law is not None for layer in target.layers)
    answers = {}
    for kind, x in images.items():
        answers[f"{kind}_substitute"] = substitute.forward(x)[0]
        answers[f"{kind}_ot"] = target.forward(x)[0]
        if noisy:
            answers[f"{kind}_lap"] = average_probabilities(target, x, ids, config.replications, config.seed)
    return {name: to_numpy(scores.argmax(axis=1)) for name, scores in answers.items()}


def record_of(right: dict[str, np.ndarray]) -> Record:
    """Count: from whether each answer to each image was right, by name, to the record of the experiment."""
    known, kinds = right["original_substitute"], ("original", "adversarial")
    subsets = {"all": np.ones_like(known), "filtered": known}
    return {
        "images": len(known),
        "substitute": {kind: _share(right[f"{kind}_substitute"]) for kind in kinds},
        **{
            subset: {
                f"{kind}_{by}": _share(right[f"{kind}_{by}"][chosen]) if f"{kind}_{by}" in right else None
                for kind in kinds
                for by in ("ot", "lap")
            }
            for subset, chosen in subsets.items()
        },
    }


def _share(right: np.ndarray) -> Record:
    hits, trials = int(right.sum()), len(right)
    accuracy = hits / trials if trials else None
    return {"right": hits, "of": trials, "accuracy": accuracy, "interval": list(proportion_interval(hits, trials))}


def pictures_path(out: Path, config: TransferredAttack) -> Path:
    """Where the pairs of images are kept: beside the record, in the folder of the study."""
    return beneath(out, "experiments", f"{config_hash(config)[:16]}.npz")


def read_pictures(out: Path, config: TransferredAttack) -> dict[str, np.ndarray]:
    """Read the pairs of images, from beside the record where another study has it."""
    own = pictures_path(out, config)
    found = None if own.exists() else Neighbours(out).record_path(config_hash(config))
    path = own if found is None else found.with_suffix(".npz")
    answers = [f"{kind}_{by}" for kind in ("original", "adversarial") for by in ("substitute", "ot", "lap")]
    images: dict[str, Declared] = {name: (np.float32, ("n", "...")) for name in ("x", "x_adv")}
    declared = {**images, **{name: (np.int64, ("n",)) for name in ("y", *answers)}, "hash": ("U", ())}
    stored = read_npz(path, declared, optional=("hash", *(name for name in answers if name.endswith("_lap"))))
    if str(stored.pop("hash", config_hash(config))) != config_hash(config):
        raise DataError(f"{path} holds images of another experiment; delete it and the record beside it to attack again")
    return stored


def _keep_pictures(
    config: TransferredAttack, laboratory: Laboratory, x: Array, x_adv: Array, answers: dict[str, np.ndarray]
) -> None:
    dataset = laboratory.dataset
    shape = (-1, *dataset.image_shape)
    pairs = {"x": to_numpy(x[:PICTURES]).reshape(shape), "x_adv": to_numpy(x_adv[:PICTURES]).reshape(shape)}
    said = {name: answer[:PICTURES] for name, answer in answers.items()}
    whose = {"hash": np.array(config_hash(config))}
    write_npz(pictures_path(laboratory.out, config), {**pairs, "y": dataset.y_test[: len(pairs["x"])], **said, **whose})
