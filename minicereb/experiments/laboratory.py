"""Where experiments run: a data set, a folder with runs and records, and the models used last."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from minicereb.datasets.dataset import Dataset
from minicereb.errors import DataError
from minicereb.experiments.configs import Experiment, Train, describe
from minicereb.experiments.identity import config_hash
from minicereb.experiments.records import Kept, read_record, write_record
from minicereb.experiments.records import Record as Record
from minicereb.experiments.reuse import Neighbours
from minicereb.experiments.runs import Run, load_model, read_run, require_whole, run_training
from minicereb.paths import beneath, refuse_dangling

MODELS_IN_MEMORY = 2  # as many as an attack that is transferred from one to the other needs


class Laboratory:
    """Runs experiments on one data set, once, and finds their results again.

    Parameters
    ----------
    dataset : Dataset
    out : Path
        Folder for runs (``runs/HASH``) and records. What is complete in a folder beside it is used from there.
    """

    def __init__(self, dataset: Dataset, out: Path):
        self.dataset, self.out = dataset, out
        self._models: dict[Train, Any] = {}
        self._neighbours = Neighbours(out)

    def look_again(self) -> None:
        """Look for folders beside this one again: other processes may have used new ones."""
        self._neighbours.look_again()

    def train(self, config: Train) -> Generator[str, None, None]:
        """Train unless the run is complete, yielding progress in words."""
        if self.is_trained(config):
            return
        encoder = None if config.encoder is None else self.run(config.encoder)
        with closing(run_training(config, self.dataset, self._folder(config), encoder)) as training:
            for progress in training:
                if progress.encoded is not None:
                    yield f"encoding for {describe(config)}: {progress.encoded:,} images"
                    continue
                if progress.remark is not None:
                    yield progress.remark
                seen = progress.position.epoch + progress.position.seen / progress.images
                yield f"training {describe(config)}: epoch {seen:.2f} of {config.epochs}"

    def is_trained(self, config: Train) -> bool:
        """Whether a training is complete, in this folder or one beside it."""
        return next(self.complete_runs(config), None) is not None

    def complete_runs(self, config: Train) -> Iterator[Run]:
        """Yield the complete runs of a training: first the study's own, then those in folders beside it."""
        folder = self._folder(config)
        for name in ("config.json", "manifest.json"):  # an unreadable run is reported before other jobs run
            refuse_dangling(folder / name)
        own = self._neighbours.unless_changed(str(folder / "manifest.json"), _run_of)
        if own is not None and own.result is not None:
            yield own
        yield from self._neighbours.runs(config_hash(config))

    def run(self, config: Train) -> Run:
        """Return a complete run of a training, or, if there is none, the study's own."""
        return next(self.complete_runs(config), None) or read_run(self._folder(config))

    def name_of(self, run: Run) -> str:
        """Return the name of a run in the study's records, for :func:`run_named`."""
        own = run.folder.parent == self.out / "runs"
        return run.folder.name if own else Path(os.path.relpath(run.folder, self.out)).as_posix()

    def model(self, config: Train) -> Any:
        """Return the model of a complete training; those used last are kept in memory."""
        model = self._models.pop(config, None)
        while len(self._models) >= MODELS_IN_MEMORY:  # before another is loaded: there may be no room for one more
            del self._models[next(iter(self._models))]
        self._models[config] = load_model(self.run(config), self.dataset) if model is None else model
        return self._models[config]

    def run_experiment(self, config: Experiment) -> Generator[str, None, Record]:
        """Run an experiment unless its record is there already, its trainings first; yield progress, return :meth:`result`."""
        for train in config.trainings:
            yield from self.train(train)
        if self.find_record(config) is None:
            for other in config.experiments:
                yield from self.run_experiment(other)
            record = yield from config.run(self)
            models = [model_of(self.run(train)) for train in config.trainings]
            write_record(self.record_path(config), config, record, models)
        return self.result(config)

    def result(self, config: Experiment) -> Record:
        """Return the record of a complete experiment.

        Added to it are the number of test images, and of the models it used the names of the run folders (for :func:`run_named`)
        and test accuracies: ``run`` and ``test_accuracy`` for one model, lists ``runs`` and ``test_accuracies`` for more.

        Raises
        ------
        DataError
            If the record belongs to other settings or another model, or a model was altered.
        """
        path = self.record_path(config)
        kept = read_record(path, config)
        runs = self.runs_of(kept, path.parent.parent if config.kept_with_run else None)
        if runs is None:
            raise DataError(f"{path} holds the record of another model than there is now; delete it to do the experiment again")
        for run in runs:
            require_whole(run)
        record = kept.record | {"test_images": len(self.dataset.x_test)}
        names, accuracies = [self.name_of(run) for run in runs], [(run.result or {})["test_accuracy"] for run in runs]
        if len(runs) == 1:
            return {**record, "run": names[0], "test_accuracy": accuracies[0]}
        return record | ({"runs": names, "test_accuracies": accuracies} if runs else {})

    def is_done(self, job: Train | Experiment) -> bool:
        """Whether a training, or an experiment with its trainings, is complete."""
        if isinstance(job, Train):
            return self.is_trained(job)
        return all(self.is_trained(train) for train in job.trainings) and self.find_record(job) is not None

    def record_path(self, config: Any) -> Path:
        """Return where the record of an experiment is, or is to be written; in another folder only if its models are the same."""
        if config.kept_with_run:
            return self.find_record(config) or record_in_run(self.run(config.train), config)
        key = config_hash(config)
        own = beneath(self.out, "experiments", f"{key[:16]}.json")
        if own.exists():
            return own
        return next((path for path, kept in self._neighbours.records(key) if self.runs_of(kept) is not None), own)

    def find_record(self, config: Any) -> Path | None:
        """Return where the record of an experiment is, or None if there is none.

        A file in the study's own folder is returned whatever it holds, so that damage is reported when it is read; a file in
        another folder only if it is the record of this experiment.
        """
        if not config.kept_with_run:
            path = self.record_path(config)
            return path if path.exists() else None
        for run in list(self.complete_runs(config.train)) or [self.run(config.train)]:
            path = record_in_run(run, config)
            if run.folder.parent == self.out / "runs":
                if path.exists():
                    return path
            else:
                kept = self._neighbours.kept(path)
                if kept is not None and kept.hash == config_hash(config) and kept.models in (None, (model_of(run),)):
                    return path
        return None

    def runs_of(self, kept: Kept, folder: Path | None = None) -> list[Run] | None:
        """Return the runs whose models a record is about, only this one if there is one; None if a model has changed or gone."""
        found = []
        for number, train in enumerate(kept.config.trainings):
            runs = [run for run in self.complete_runs(train) if folder is None or run.folder == folder]
            fitting = [run for run in runs if kept.models is None or kept.models[number : number + 1] == (model_of(run),)]
            if not fitting:
                return None
            found.append(fitting[0])
        return found

    def _folder(self, config: Train) -> Path:
        return beneath(self.out, "runs", config_hash(config)[:16])


def record_in_run(run: Run, config: Experiment) -> Path:
    """Return where the record of an attack on a run is kept."""
    return beneath(run.folder, "attacks", f"{config_hash(config)[:16]}.json")


def model_of(run: Run) -> str:
    """Return the SHA-256 of a complete run's model."""
    return run.manifest["model_sha256"]


def _run_of(manifest: Path) -> Run | None:
    return read_run(manifest.parent) if manifest.with_name("config.json").exists() else None


def run_named(out: Path, name: str) -> Path:
    """Return the folder of the run with this name in the records of the study in `out`."""
    return out / name if "/" in name else out / "runs" / name
