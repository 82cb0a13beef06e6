"""Certification of a trained model, image by image: certified, broken, or unknown."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from minicereb.backend import to_device, to_numpy
from minicereb.certificates.affine import why_not_certifiable
from minicereb.certificates.certify import certify
from minicereb.certificates.images import verify_image, why_not_complete
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.documents import Count, Mismatch, Share
from minicereb.errors import DataError, InputError, require
from minicereb.experiments.configs import Experiment, Train, describe
from minicereb.experiments.evaluation.folder import Owner
from minicereb.experiments.identity import config_hash, config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.records import Interval, shape
from minicereb.experiments.runs import Run
from minicereb.files import folder_lock, read_npz, write_json, write_npz
from minicereb.parallel import blocks, one_blas_thread
from minicereb.paths import beneath
from minicereb.settings import setting
from minicereb.statistics import proportion_interval

VERDICTS = ("unknown", "certified", "broken", "misclassified")
RECORD, OUTCOMES = "certification.json", "verdicts.npz"
AT_ONCE = 256  # images bounded together before branching begins
SECONDS_BETWEEN_FILES = 5.0


@config_kind
@dataclass(frozen=True)
class CertifiedModel(Experiment):
    """Certification of a trained model within ε in L∞.

    Intervals and linear relaxations come first, then slopes optimised for each image. If `complete` is true, branch and
    bound comes last.
    """

    record_shape: ClassVar[Any] = shape(
        images=Count,
        clean_accuracy=Share,
        certified=Share,
        certified_interval=Interval,
        not_broken=Share,
        not_broken_interval=Interval,
        unknown=Count,
        by_relaxation=Count,
        branches=Count,
        seconds=float,
    )
    train: Train = setting(help="The model.")
    epsilon: float = setting(0.1, "Largest change of a pixel.", at_least=0, at_most=1)
    images: int = setting(200, "Number of test images to use, starting with the first.", at_least=1)
    complete: bool = setting(False, "Whether to use branch and bound until an image is decided.")
    seconds_per_image: float = setting(60.0, "Time limit per image.", unit="s", above=0, at_most=1e6)

    def check_record(self, record: Record) -> None:
        """Raise :class:`~minicereb.documents.Mismatch` unless a record covers the number of images in these settings."""
        if record["images"] != self.images:
            raise Mismatch(record["images"], f"{self.images}").within("images")

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The training run of the model to certify."""
        return (self.train,)

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Certify the model and write the results into the folder of its run."""
        run = laboratory.run(self.train)
        with closing(certify_run(self, run, laboratory.model(self.train), laboratory.dataset)) as work:
            return (yield from work)


def certification_folder(run: Run, config: CertifiedModel) -> Path:
    """Return the folder of a run's certification."""
    return beneath(run.folder, "certifications", config_hash(config)[:16])


def certify_run(config: CertifiedModel, run: Run, model: Any, dataset: Dataset) -> Generator[str, None, Record]:
    """Certify the model of a run, or continue after an interruption, yielding the progress in words.

    Returns
    -------
    dict
        The record that docs/formats.md describes. It is also written to ``certification.json``, and the verdict on each image to
        ``verdicts.npz``.

    Raises
    ------
    InputError
        If this method cannot certify the model, or the data have fewer test images than requested.
    """
    available = len(dataset.x_test)
    require(config.images <= available, "images", config.images, f"a whole number from 1 to the {available} test images")
    why = why_not_complete(model)
    if why is not None:
        why += "; evaluate --certify has bounds for this model" if why_not_certifiable(model) is None else ""
        raise InputError("run", str(run.folder), f"a model that this method can certify: {why}")
    folder = certification_folder(run, config)
    owner = str(Owner(config_hash(config), run.manifest["model_sha256"]))
    x, labels = dataset.x_test[: config.images], np.asarray(dataset.y_test[: config.images]).reshape(-1).astype(np.int64)
    with folder_lock(folder):
        known = _known(folder / OUTCOMES, owner, labels, dataset.inputs)
        written = time.monotonic()

        def save() -> None:
            write_npz(folder / OUTCOMES, {**known, "owner": np.array(owner)})

        try:
            for part in blocks(config.images, AT_ONCE):
                if not known["bounded"][part].all():
                    yield f"images {part.start}-{part.stop}: linear relaxation"
                    _bound(config, model, x, labels, part, known)
                for i in range(part.start, part.stop):
                    if known["bounded"][i] and known["done"][i]:
                        continue
                    yield f"image {i} of {config.images}: {_so_far(known)}"
                    found = verify_image(
                        model,
                        to_numpy(to_unit(x[i : i + 1]))[0].astype(np.float32),
                        int(labels[i]),
                        config.epsilon,
                        config.seconds_per_image,
                        None if config.complete else 1,
                    )
                    known["verdict"][i], known["done"][i] = VERDICTS.index(found.verdict), True
                    known["margin"][i] = max(known["margin"][i], found.bound)
                    known["branches"][i], known["seconds"][i] = found.branches, found.seconds
                    if found.counterexample is not None:
                        known["counterexample"][i] = found.counterexample
                    if time.monotonic() - written > SECONDS_BETWEEN_FILES:
                        save()
                        written = time.monotonic()
        finally:
            save()
        record = _record(config, run, dataset, known)
        write_json(folder / RECORD, record)
    return record


def _known(path: Path, owner: str, labels: np.ndarray, inputs: int) -> dict[str, np.ndarray]:
    """Return the verdicts that an earlier call stored; if there was no earlier call, return arrays without verdicts."""
    n = len(labels)
    fresh = {
        "labels": labels,
        "bounded": np.zeros(n, dtype=bool),
        "done": np.zeros(n, dtype=bool),
        "verdict": np.zeros(n, dtype=np.int8),
        "by_relaxation": np.zeros(n, dtype=bool),
        "margin": np.full(n, -np.inf),
        "branches": np.zeros(n, dtype=np.int64),
        "seconds": np.zeros(n),
        "counterexample": np.zeros((n, inputs), dtype=np.float32),
    }
    if not path.exists():
        return fresh
    declared = {name: (array.dtype, array.shape) for name, array in fresh.items()}
    kept = read_npz(path, {**declared, "owner": ("U", ())})
    if str(kept.pop("owner")) != owner or not np.array_equal(kept["labels"], labels):
        raise DataError(f"{path} belongs to a certification with other settings or of another model; delete it to begin again")
    if not ((kept["verdict"] >= 0) & (kept["verdict"] < len(VERDICTS))).all():
        raise DataError(f"{path} does not hold verdicts; delete it to begin again")
    return kept


def _bound(
    config: CertifiedModel, model: Any, x: np.ndarray, labels: np.ndarray, part: slice, known: dict[str, np.ndarray]
) -> None:
    """Bound a block of images by intervals and linear relaxations."""
    began, images = time.monotonic(), to_unit(to_device(x[part]))
    with one_blas_thread():
        right = to_numpy(model.forward(images)[0].argmax(axis=1)) == labels[part]
        found = certify(model, images, to_device(labels[part]), config.epsilon)
    certified = found.certified & right
    known["margin"][part] = found.margin
    known["verdict"][part] = np.where(right, certified * VERDICTS.index("certified"), VERDICTS.index("misclassified"))
    known["done"][part], known["by_relaxation"][part], known["bounded"][part] = certified | ~right, certified, True
    known["seconds"][part] = (time.monotonic() - began) / len(images)


def _count(known: dict[str, np.ndarray], verdict: str) -> int:
    return int((known["verdict"][known["done"]] == VERDICTS.index(verdict)).sum())


def _so_far(known: dict[str, np.ndarray]) -> str:
    return ", ".join(f"{_count(known, verdict)} {verdict}" for verdict in ("certified", "broken", "unknown"))


def _record(config: CertifiedModel, run: Run, dataset: Dataset, known: dict[str, np.ndarray]) -> Record:
    n, certified, unknown = config.images, _count(known, "certified"), _count(known, "unknown")
    return {
        "run": str(run.folder),
        "model": describe(config.train),
        "data": dataset.name,
        "epsilon": config.epsilon,
        "complete": config.complete,
        "seconds_per_image": config.seconds_per_image,
        "images": n,
        "clean_accuracy": 1 - _count(known, "misclassified") / n,
        "certified": certified / n,
        "certified_interval": list(proportion_interval(certified, n)),
        "not_broken": (certified + unknown) / n,
        "not_broken_interval": list(proportion_interval(certified + unknown, n)),
        "unknown": unknown,
        "by_relaxation": int(known["by_relaxation"].sum()),
        "branches": int(known["branches"].sum()),
        "seconds": round(float(known["seconds"].sum()), 3),
    }
