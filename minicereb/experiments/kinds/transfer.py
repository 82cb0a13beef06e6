"""Images attacked with one model's gradients and classified by others: a substitute and a target, or all pairs of models."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minicereb.attacks.ball import ball_around
from minicereb.attacks.gradients import Landscape, source_named
from minicereb.attacks.objectives import objective_named
from minicereb.attacks.pgd import fgsm
from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import Array, to_device, to_numpy, xp_of
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.documents import Count, Share
from minicereb.errors import DataError, MinicerebError, require
from minicereb.experiments.configs import IMAGES, Cost, Experiment, Measurement, Train, describe, describe_training
from minicereb.experiments.costs import Probes, attack_cost
from minicereb.experiments.identity import config_hash, config_kind
from minicereb.experiments.laboratory import Laboratory, Record, SiblingFolders, model_of
from minicereb.experiments.records import Interval, require_length, shape
from minicereb.files import Declared, read_npz, write_npz
from minicereb.models.noisy import NoisyNetwork
from minicereb.models.prediction import average_probabilities
from minicereb.parallel import blocks, images_per_block, one_blas_thread
from minicereb.paths import beneath
from minicereb.settings import field_of, setting
from minicereb.statistics import proportion_interval

PICTURES = 8  # pairs of images stored beside the record
ANSWERS = shape(right=Count, of=Count, accuracy=Share | None, interval=Interval)
OF_TARGET = shape(original_ot=ANSWERS, original_lap=ANSWERS | None, adversarial_ot=ANSWERS, adversarial_lap=ANSWERS | None)
OF_SUBSTITUTE = shape(original=ANSWERS, adversarial=ANSWERS)
KINDS = ("original", "adversarial")


@config_kind
@dataclass(frozen=True)
class TransferredAttack(Experiment):
    """FGSM against a substitute, evaluated on a target that the attack does not use ``[M-FGSM]``.

    Each image, even one that the substitute already misclassifies, is attacked with one step that ascends the objective at
    its true label, as in the paper. In contrast, an attack on a model itself (:func:`minicereb.attacks.run.attack_images`)
    does not change images that the model already misclassifies. The noise for an image is the same before and after the attack.
    """

    record_shape = shape(images=Count, substitute=OF_SUBSTITUTE, all=OF_TARGET, filtered=OF_TARGET, seconds=float)
    target: Train = setting(help="The model whose predictions are evaluated.")
    substitute: Train = setting(help="The model whose gradient is followed.")
    attack: Attack = setting(help="FGSM, with its bound and objective.")
    images: int = field_of(IMAGES)
    replications: int = setting(help="Number of noisy runs for the LAP prediction.", at_least=1)
    seed: int = setting(0, "Seed of the noise.", at_least=0)

    def __post_init__(self) -> None:
        require(self.attack.method == "fgsm", "method", self.attack.method, "fgsm: a transferred attack is one step")

    @property
    def trainings(self) -> tuple[Train, ...]:
        """Target and substitute."""
        return (self.target, self.substitute)

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Attack the images; some pairs of original and attacked images are stored beside the record."""
        dataset, began = laboratory.dataset, time.monotonic()
        require(self.images <= len(dataset.x_test), "images", self.images, f"at most the {len(dataset.x_test)} test images")
        target, substitute = laboratory.model(self.target), laboratory.model(self.substitute)
        largest = max(getattr(model, "bytes_per_image", 0) for model in (target, substitute))
        size = images_per_block(largest + 64 * dataset.inputs)
        answers: dict[str, list[np.ndarray]] = {}
        for start in range(0, self.images, size):
            ids = np.arange(start, min(start + size, self.images), dtype=np.int64)
            x, labels = to_unit(to_device(dataset.x_test[ids])), to_device(dataset.y_test[ids])
            with one_blas_thread():
                x_adv = _attacked(self.attack, substitute, x, labels)
                block = _answers(self, target, substitute, ids, (x, x_adv))
            for name, answer in block.items():
                answers.setdefault(name, []).append(answer)
            if start == 0:
                _keep_pictures(self, laboratory, x, x_adv, block)
            yield f"attacking {describe(self.target)} via {describe(self.substitute)}, {ids[-1] + 1} images"
        right = {name: np.concatenate(parts) == dataset.y_test[: self.images] for name, parts in answers.items()}
        return record_of(right) | {"seconds": round(time.monotonic() - began, 3)}

    def measured(self, record: Record) -> Iterator[Measurement]:
        """Yield the target's accuracies."""
        model = f"{describe_training(self.target)}, via {self.substitute.model.description}"
        for images in ("all", "filtered"):
            for name, answers in record[images].items():
                if answers is not None:
                    measure = f"{images} {name.replace('_', ' ')}"
                    yield Measurement(model, measure, answers["accuracy"], answers["interval"], answers["of"])


def _attacked(attack: Attack, substitute: Any, x: Array, labels: Array) -> Array:
    source = source_named(attack.gradient, substitute, attack.draws, attack.seed)
    (point,) = fgsm(
        Landscape(substitute, objective_named(attack.objective), labels, source), ball_around(x, attack.epsilon, attack.norm)
    )
    xp = xp_of(x)
    if not bool(xp.isfinite(point.x).all() & xp.isfinite(point.value).all()):
        raise MinicerebError("outputs or gradients of the substitute are not finite; a transferred attack would prove nothing")
    return point.x


def _answers(
    config: TransferredAttack, target: Any, substitute: Any, ids: np.ndarray, images: tuple[Array, Array]
) -> dict[str, np.ndarray]:
    """Return the predictions of the substitute and of the target (without noise and, if it is noisy, by LAP)."""
    noisy = isinstance(target, NoisyNetwork) and any(layer.law is not None for layer in target.layers)
    answers = {}
    for kind, x in zip(KINDS, images, strict=True):
        answers[f"{kind}_substitute"] = substitute.forward(x)[0]
        answers[f"{kind}_ot"] = target.forward(x)[0]
        if noisy:
            answers[f"{kind}_lap"] = average_probabilities(target, x, ids, config.replications, config.seed)
    return {name: to_numpy(scores.argmax(axis=1)) for name, scores in answers.items()}


def record_of(right: dict[str, np.ndarray]) -> Record:
    """Return the record; `right` maps each kind of prediction to a mask of the images for which it was correct."""
    known = right["original_substitute"]

    def answers_to(chosen: np.ndarray) -> Record:
        names = [f"{kind}_{by}" for kind in KINDS for by in ("ot", "lap")]
        return {name: _share(right[name][chosen]) if name in right else None for name in names}

    own = {kind: _share(right[f"{kind}_substitute"]) for kind in KINDS}
    return {"images": len(known), "substitute": own, "all": answers_to(np.ones_like(known)), "filtered": answers_to(known)}


def _share(right: np.ndarray) -> Record:
    hits, trials = int(right.sum()), len(right)
    accuracy = hits / trials if trials else None
    return {"right": hits, "of": trials, "accuracy": accuracy, "interval": list(proportion_interval(hits, trials))}


def pictures_path(out: Path, config: TransferredAttack) -> Path:
    """Return the path of the file with pairs of images; the file is beside the record in the study's folder."""
    return beneath(out, "experiments", f"{config_hash(config)[:16]}.npz")


def read_pictures(out: Path, config: TransferredAttack) -> dict[str, np.ndarray]:
    """Read the pairs of images, which may be in the folder of another study."""
    own = pictures_path(out, config)
    found = None if own.exists() else SiblingFolders(out).record_path(config_hash(config))
    path = own if found is None else found.with_suffix(".npz")
    answers = [f"{kind}_{by}" for kind in KINDS for by in ("substitute", "ot", "lap")]
    declared: dict[str, Declared] = dict.fromkeys(("x", "x_adv"), (np.float32, ("n", "...")))
    declared |= dict.fromkeys(("y", *answers), (np.int64, ("n",))) | {"hash": ("U", ())}
    stored = read_npz(path, declared, optional=("hash", *(name for name in answers if name.endswith("_lap"))))
    if str(stored.pop("hash", config_hash(config))) != config_hash(config):
        raise DataError(f"{path} holds images of another experiment; delete it and the record beside it to attack again")
    return stored


def _keep_pictures(
    config: TransferredAttack, laboratory: Laboratory, x: Array, x_adv: Array, answers: dict[str, np.ndarray]
) -> None:
    dataset = laboratory.dataset
    images = {name: to_numpy(each).reshape(-1, *dataset.image_shape) for name, each in (("x", x), ("x_adv", x_adv))}
    first = {name: each[:PICTURES] for name, each in {**images, "y": dataset.y_test[: len(x)], **answers}.items()}
    write_npz(pictures_path(laboratory.out, config), first | {"hash": np.array(config_hash(config))})


# -- every model against every other -----------------------------------------------------------------------------------------

MATRIX_BLOCK = 250  # images attacked together


@config_kind
@dataclass(frozen=True)
class TransferMatrix(Experiment):
    """Attack each of several models, even on misclassified images, and classify the attacked images with every model."""

    record_shape = shape(images=Count, clean=list[Share], accuracy=list[list[Share]])
    models: tuple[Train, ...] = setting(help="The models.")
    attack: Attack = setting(help="The attack.")
    images: int = field_of(IMAGES)

    def __post_init__(self) -> None:
        require(len(self.models) >= 1, "models", len(self.models), "at least one")

    def check_record(self, record: Record) -> None:
        """Raise :class:`~minicereb.documents.Mismatch` unless a record has a row and a column for every model."""
        require_length(record["clean"], len(self.models), "clean")
        require_length(record["accuracy"], len(self.models), "accuracy")
        for number, row in enumerate(record["accuracy"]):
            require_length(row, len(self.models), "accuracy", number)

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The training runs of all models."""
        return self.models

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Attack every model; images that were attacked before an interruption are not attacked again."""
        dataset = laboratory.dataset
        require(self.images <= len(dataset.x_test), "images", self.images, f"at most the {len(dataset.x_test)} test images")
        files = {}
        for model in self.models:
            path = beneath(laboratory.out, "experiments", f"{config_hash(self)[:16]}-{config_hash(model)[:16]}.npz")
            owner = files[path] = f"{config_hash(self)} {model_of(laboratory.run(model))}"
            if not path.exists():
                parts = []
                for part in blocks(self.images, MATRIX_BLOCK):
                    yield f"attacking {describe(model)}, images {part.start}-{part.stop}"
                    images = (dataset.x_test, dataset.y_test, np.arange(part.start, part.stop, dtype=np.int64))
                    every: dict[str, Any] = {"image_shape": dataset.image_shape, "include_misclassified": True}
                    parts += [block.x_adv for block in attack_images(laboratory.model(model), self.attack, *images, **every)]
                write_npz(path, {"x_adv": np.concatenate(parts), "owner": np.array(owner)})
        columns = []
        for model in self.models:
            yield f"predictions of {describe(model)} for all attacked images"
            rows = [dataset.x_test, *(_read_attacked(path, owner, dataset, self.images) for path, owner in files.items())]
            columns.append([_accuracy_on(laboratory, model, each, self.images) for each in rows])
        clean, *accuracy = np.array(columns, dtype=np.float64).T.tolist()
        for path in files:
            path.unlink()
        return {"images": self.images, "clean": clean, "accuracy": accuracy}

    def measured(self, record: Record) -> Iterator[Measurement]:
        """For each attacked model, yield the accuracy of every model on the images of that attack."""
        n, models = record["images"], [f"{number}: {describe_training(train)}" for number, train in enumerate(self.models, 1)]
        for source, shares in zip(models, record["accuracy"], strict=True):
            for model, share in zip(models, shares, strict=True):
                interval = proportion_interval(round(share * n), n)
                yield Measurement(model, f"on images attacked against {source}", share, interval, n)

    def cost(self, probes: Probes) -> Cost:
        """Return the cost of the attacks, the predictions and the stored images."""
        models, answers = len(self.models), sum(probes.answer(model) for model in self.models)
        seconds = sum(attack_cost(model, self.attack, self.images, probes).seconds or 0.0 for model in self.models)
        seconds += (models + 1) * self.images * answers
        return Cost(seconds, disk=4 * models * self.images * probes.dataset.inputs)


def _read_attacked(path: Path, owner: str, dataset: Dataset, images: int) -> np.ndarray:
    """Read attacked images; files written before version 0.2 do not name their experiment and model."""
    declared: dict[str, Declared] = {"x_adv": (np.float32, (images, dataset.inputs)), "owner": ("U", ())}
    stored = read_npz(path, declared, optional=("owner",))
    if "owner" in stored and str(stored["owner"]) != owner:
        raise DataError(f"{path} holds images attacked with other settings or another model; delete it to attack again")
    return stored["x_adv"]


def _accuracy_on(laboratory: Laboratory, config: Train, rows: np.ndarray, images: int) -> float:
    model, dataset, right = laboratory.model(config), laboratory.dataset, 0
    for part in blocks(images, images_per_block(getattr(model, "bytes_per_image", 0) + 16 * dataset.inputs)):
        with one_blas_thread():
            outputs, _ = model.forward(to_unit(to_device(rows[part])))
        right += int((to_numpy(outputs.argmax(axis=1)) == dataset.y_test[part]).sum())
    return right / images
