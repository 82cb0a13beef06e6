"""A trained model under one attack: accuracy, broken images, and changes of outputs and gradients."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from minicereb.attacks.run import Attacked, attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import to_device, to_numpy
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.documents import Count, Range, Share
from minicereb.errors import DataError, InputError, require
from minicereb.experiments.configs import IMAGES, Experiment, Measurement, Train, describe, describe_attack
from minicereb.experiments.costs import Cost, Probes, attack_cost
from minicereb.experiments.identity import config_kind
from minicereb.experiments.laboratory import Laboratory, Record, model_of, record_in_run
from minicereb.experiments.records import Interval, read_record, require_length, shape, write_record
from minicereb.experiments.runs import Run, require_whole
from minicereb.files import write_npz
from minicereb.models.prediction import Averaged, lap_correct
from minicereb.parallel import one_blas_thread
from minicereb.robustness.evaluate import EvaluationTarget
from minicereb.robustness.gradient_statistics import gradient_statistics, input_gradients
from minicereb.settings import field_of, setting
from minicereb.statistics import proportion_interval

LAP_BLOCK = 250  # images that are attacked and judged together
# Powers of ten at which the bins of a gradient histogram end; smaller values are in the first bin, larger ones in the last.
EDGES = tuple(n / 4 for n in range(-48, 13))


@dataclass(frozen=True)
class UnderAttack(Experiment):
    """Base class of the experiments with one attack on one model."""

    answered_by: ClassVar[str] = ""  # the beginning of the name of the measured accuracy
    train: Train = setting(help="The model.")
    attack: Attack = setting(help="The attack.")
    images: int = field_of(IMAGES)

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The model that is attacked."""
        return (self.train,)

    def blocks(self, model: Any, dataset: Dataset) -> Iterator[Attacked]:
        """Attack the first `images` test images, or all if there are fewer, block by block."""
        ids = np.arange(min(self.images, len(dataset.x_test)), dtype=np.int64)
        return attack_images(model, self.attack, dataset.x_test, dataset.y_test, ids, image_shape=dataset.image_shape)

    def counts(self, images: int, clean: int, robust: int) -> Record:
        """Return the part of a record that gives the accuracy before and under the attack."""
        return {
            "method": self.attack.method,
            "objective": self.attack.objective,
            "epsilon": self.attack.epsilon,
            "images": images,
            "clean_accuracy": clean / images,
            "robust_accuracy": robust / images,
            "robust_interval": list(proportion_interval(robust, images)),
        }

    def measured(self, record: Record) -> Iterator[Measurement]:
        """Yield the accuracy under the attack, if the record covers all images."""
        if "robust_interval" in record:
            yield Measurement.of(self.train, self.answered_by + describe_attack(self.attack), record)

    def cost(self, probes: Probes) -> Cost:
        """Return the cost of the attack."""
        return attack_cost(self.train, self.attack, self.images, probes)


ACCURACIES: dict[str, Any] = {
    "method": str,
    "objective": str,
    "epsilon": Annotated[float, Range(0)],
    "images": Count,
    "clean_accuracy": Share,
    "robust_accuracy": Share,
    "robust_interval": Interval,
}


# -- accuracy ----------------------------------------------------------------------------------------------------------------


@config_kind
@dataclass(frozen=True)
class AttackedModel(UnderAttack):
    """The accuracy of a trained model before and under an attack."""

    record_shape = shape(**ACCURACIES, seconds=float)
    kept_with_run: ClassVar[bool] = True

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Attack the model and return the record that :meth:`Tally.record` makes."""
        tally = Tally()
        doing = f"attacking {describe(self.train)}: {self.attack.method} on {self.attack.objective} at {self.attack.epsilon:g}"
        for _ in tally.over(self, laboratory.model(self.train), laboratory.dataset):
            yield f"{doing}, {tally.images} images"
        return tally.record(self, laboratory.run(self.train))


@dataclass
class Tally:
    """Counts over the blocks of an attack and, if `keep_images` is true, the blocks themselves for :meth:`save`."""

    keep_images: bool = False
    images: int = 0
    clean: int = 0
    robust: int = 0
    seconds: float = 0.0
    blocks: list[Attacked] = field(default_factory=list)

    def add(self, block: Attacked) -> None:
        """Count one block."""
        self.images += len(block.y)
        self.clean += int((block.clean_predicted == block.y).sum())
        self.robust += int((~block.success).sum())
        self.blocks += [block] if self.keep_images else []

    def over(self, config: AttackedModel, model: Any, dataset: Dataset) -> Iterator[Tally]:
        """Attack a model block by block; after each block, add it to this tally and yield the tally."""
        began = time.monotonic()
        for block in config.blocks(model, dataset):
            self.add(block)
            self.seconds = time.monotonic() - began
            yield self

    def record(self, config: AttackedModel, run: Run) -> Record:
        """Return the record of the attack, with the folder of the run and the seconds taken."""
        counts = config.counts(self.images, self.clean, self.robust)
        return {"run": str(run.folder), **counts, "seconds": round(self.seconds, 3)}

    def save(self, path: str | Path) -> None:
        """Write ids, x, x_adv, y, predicted, success and distance of every image, in order, to an npz file."""
        names = ("ids", "x", "x_adv", "y", "predicted", "success", "distance")
        write_npz(path, {name: np.concatenate([getattr(block, name) for block in self.blocks]) for name in names})


def attack_config(run: Run, dataset: Dataset, attack: Attack, images: int | None) -> AttackedModel:
    """Return the experiment that runs this `attack` on the first `images` test images (None: all of them)."""
    available = len(dataset.x_test)
    if images is not None and not 1 <= images <= available:
        raise InputError("images", images, f"a whole number from 1 to the {available} test images")
    return AttackedModel(run.config, attack, available if images is None else images)


def stored_record(run: Run, config: AttackedModel) -> Record | None:
    """Return the record of an attack on a run, or None if there is none yet.

    Raises
    ------
    DataError
        If the record belongs to other settings or another model, or the run's model was altered.
    """
    path = record_in_run(run, config)
    if not path.exists():
        return None
    kept = read_record(path, config)
    if kept.models not in (None, (model_of(run),)):
        raise DataError(f"{path} holds the record of an attack on another model; delete it to attack again")
    require_whole(run)
    return kept.record


def attack_run(run: Run, model: Any, dataset: Dataset, config: AttackedModel, tally: Tally) -> Generator[Tally, None, None]:
    """Attack a run's model, yielding the tally after every block; then write the record into the run folder."""
    yield from tally.over(config, model, dataset)
    write_record(record_in_run(run, config), config, tally.record(config, run), [model_of(run)])


# -- accuracy by mean probabilities ------------------------------------------------------------------------------------------


@config_kind
@dataclass(frozen=True)
class AttackedAverage(UnderAttack):
    """A noisy network that predicts by its mean probabilities (LAP), under an attack adapted to this prediction."""

    record_shape = shape(**ACCURACIES)
    answered_by: ClassVar[str] = "LAP, "
    search_replications: int = setting(
        64, "Number of noisy runs whose mean the search attacks; the noise is the same at every step."
    )
    replications: int = setting(10_000, "Number of noisy runs that judge the result, with noise that the search has not used.")

    @property
    def revision(self) -> int:
        """Revision number: 1 since the attack was extended to images that are misclassified with the search's noise."""
        return 1

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Attack all images, even those misclassified with the search's noise: other noise may classify them correctly."""
        network, data, attack = laboratory.model(self.train), laboratory.dataset, self.attack
        average = Averaged(network, self.search_replications, attack.seed)
        clean = robust = done = 0
        images, arrays = min(self.images, len(data.x_test)), (data.x_test, data.y_test)
        while done < images:
            ids = np.arange(done, min(done + LAP_BLOCK, images), dtype=np.int64)
            for block in attack_images(average, attack, *arrays, ids, image_shape=data.image_shape, include_misclassified=True):
                judging = (block.y, block.ids, self.replications, attack.seed)
                clean += int(lap_correct(network, to_unit(to_device(data.x_test[block.ids])), *judging).sum())
                robust += int(lap_correct(network, to_device(block.x_adv), *judging).sum())
                done += len(block.y)
                yield f"attacking {describe(self.train)}, predicting by LAP: {attack.objective}, {done} images"
        return self.counts(done, clean, robust)

    def cost(self, probes: Probes) -> Cost:
        """Return an unknown cost: the time of attacks on the mean of many noisy runs is not estimated."""
        return Cost()


# -- which images are broken -------------------------------------------------------------------------------------------------


@config_kind
@dataclass(frozen=True)
class BrokenImages(UnderAttack):
    """A trained model under an attack, with the index of every image that the attack breaks."""

    record_shape = shape(
        images=Count,
        wrong=list[Count],
        broken=list[Count],
        distance=list[float],
        left=Count,
        robust_accuracy=Share,
        robust_interval=Interval,
        seconds=float,
    )
    after: Attack | None = setting(None, "An attack made first; only the images that it does not break are attacked.")

    def check_record(self, record: Record) -> None:
        """Raise :class:`~minicereb.documents.Mismatch` unless a record has a distance for every broken image."""
        require_length(record["distance"], len(record["broken"]), "distance")

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Attack the model; if `after` is given, it is the first attack, and the recorded accuracy is that under both attacks."""
        dataset, began = laboratory.dataset, time.monotonic()
        require(self.images <= len(dataset.x_test), "images", self.images, f"at most the {len(dataset.x_test)} test images")
        ids, model = np.arange(self.images, dtype=np.int64), laboratory.model(self.train)
        wrong: list[int] = []
        for attack in (self.attack,) if self.after is None else (self.after, self.attack):
            doing, attacked = f"attacking {describe(self.train)}: {describe_attack(attack)}", ids
            broken: list[int] = []
            distance: list[float] = []
            yield doing
            for block in attack_images(model, attack, dataset.x_test, dataset.y_test, ids, image_shape=dataset.image_shape):
                right = block.clean_predicted == block.y
                wrong += block.ids[~right].tolist()
                broken += block.ids[right & block.success].tolist()
                distance += block.distance[right & block.success].tolist()
                yield f"{doing}, {len(wrong) + len(broken)} broken"
            ids = np.setdiff1d(ids, [*wrong, *broken])
        return {
            "images": self.images,
            "wrong": wrong,
            "broken": broken,
            "distance": distance,
            "left": len(np.setdiff1d(attacked, wrong)),
            "robust_accuracy": len(ids) / self.images,
            "robust_interval": list(proportion_interval(len(ids), self.images)),
            "seconds": round(time.monotonic() - began, 3),
        }


# -- outputs before and after ------------------------------------------------------------------------------------------------

CHANGE = shape(before=float | None, after=float | None)


@config_kind
@dataclass(frozen=True)
class MovedOutputs(UnderAttack):
    """The outputs of a model before and after an attack, on correctly classified images.

    The outputs show why an attack on the squared error can fail: the attack may raise the error without making a wrong
    output the largest.
    """

    record_shape = shape(
        images=Count, robust_accuracy=Share, true=CHANGE, rival=CHANGE, error=CHANGE, rose=Share | None, by_true=float | None
    )

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Attack the model; ``by_true`` in the record is the share of the rise in squared error caused by the true output."""
        model, rows, tally = laboratory.model(self.train), [], Tally()
        for block in self.blocks(model, laboratory.dataset):
            right = block.clean_predicted == block.y
            tally.add(block)
            with one_blas_thread():
                outputs = [to_numpy(model.forward(to_device(x[right]))[0]).astype(np.float64) for x in (block.x, block.x_adv)]
            rows.append(np.stack([_true_rival_error(each, block.y[right]) for each in outputs], axis=1))
            yield f"outputs of {describe(self.train)}, {block.ids[-1] + 1} images"
        # each row: true output, rival output, error, share of the error due to the true output
        before, after = np.concatenate(rows).transpose(1, 2, 0)
        means = zip(("true", "rival", "error"), before, after, strict=False)
        rise, by_true = (float(after[n].mean()) - float(before[n].mean()) if before.size else 0.0 for n in (2, 3))
        return {
            "images": tally.images,
            "robust_accuracy": tally.robust / tally.images,
            **{name: {"before": _mean(b), "after": _mean(a)} for name, b, a in means},
            "rose": _mean(after[0] > before[0]),
            "by_true": by_true / rise if rise > 0 else None,
        }


def _true_rival_error(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return, per image, the true output, the largest other output, the squared error, and the true output's part of it."""
    targets = np.eye(outputs.shape[1], dtype=np.float64)[labels]
    true = (outputs * targets).sum(axis=1)
    rival = np.where(targets > 0, -np.inf, outputs).max(axis=1)
    return np.stack([true, rival, 0.5 * ((outputs - targets) ** 2).sum(axis=1), 0.5 * (true - 1) ** 2], axis=1)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


# -- sizes of gradients before and after -------------------------------------------------------------------------------------

SHARES = ("zero", "zero_entries", "not_finite")
SIZES = shape(**dict.fromkeys(SHARES, float), counts=list[Count])


@config_kind
@dataclass(frozen=True)
class GradientSizes(UnderAttack):
    """Sizes of the objective's gradient at the clean and attacked images; very small ones may indicate masked gradients."""

    record_shape = shape(images=Count, robust_accuracy=Share, classes=Count, edges=list[float], before=SIZES, after=SIZES)

    def check_record(self, record: Record) -> None:
        """Raise :class:`~minicereb.documents.Mismatch` unless a record has a count for every bin."""
        for when in ("before", "after"):
            require_length(record[when]["counts"], max(0, len(record["edges"]) - 1), when, "counts")

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Attack the model; the record's shares and counts refer to the images correctly classified before the attack."""
        model, dataset = laboratory.model(self.train), laboratory.dataset
        target = EvaluationTarget(model, dataset.x_test, dataset.y_test, dataset.image_shape, dataset.classes)
        found: dict[str, list[tuple[int, Record]]] = {"before": [], "after": []}
        tally = Tally()
        for block in self.blocks(model, dataset):
            right = block.clean_predicted == block.y
            tally.add(block)
            for when, x in (("before", block.x), ("after", block.x_adv)) if right.any() else ():
                there = replace(target, rows=x[right], labels=block.y[right])
                gradients = input_gradients(there, self.attack.objective, np.arange(right.sum()), self.attack.seed)
                assert gradients is not None
                found[when].append((len(gradients), _counted(gradients)))
            yield f"gradients of {describe(self.train)}, {block.ids[-1] + 1} images"
        images = sum(n for n, _ in found["before"])
        robust = tally.robust / tally.images
        about = {"images": images, "robust_accuracy": robust, "classes": dataset.classes, "edges": list(EDGES)}
        return about | {when: _together(parts, images) for when, parts in found.items()}


def _counted(gradients: np.ndarray) -> Record:
    """Return the shares and counts of the gradients of some images."""
    statistics = gradient_statistics(gradients)
    sizes = np.abs(gradients[np.isfinite(gradients) & (gradients != 0)])
    powers = np.clip(np.log10(sizes), EDGES[0], EDGES[-1])
    shares = {name: getattr(statistics, name) for name in SHARES}
    return shares | {"counts": np.histogram(powers, np.array(EDGES, dtype=np.float64))[0]}


def _together(parts: list[tuple[int, Record]], images: int) -> Record:
    """Combine the shares and counts of blocks into the shares and counts of all images."""
    counts = sum((part["counts"] for _, part in parts), np.zeros(len(EDGES) - 1, dtype=np.int64))
    means: Record = {name: sum(n * part[name] for n, part in parts) / max(1, images) for name in SHARES}
    return means | {"counts": [int(count) for count in counts]}
