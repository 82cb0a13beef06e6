"""The place where experiments run: a data set, a folder for runs and records, and sibling folders with earlier results."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from minicereb.datasets.dataset import Dataset
from minicereb.errors import DataError, MinicerebError
from minicereb.experiments.configs import Experiment, Train, describe
from minicereb.experiments.identity import config_hash
from minicereb.experiments.records import Kept, read_kept, read_record, write_record
from minicereb.experiments.records import Record as Record
from minicereb.experiments.runs import Run, is_whole, load_model, read_run, require_whole, run_training
from minicereb.paths import beneath, refuse_dangling

MODELS_IN_MEMORY = 2  # a transferred attack needs two
SECONDS_BETWEEN_LOOKS = 2.0  # seconds between two listings of the folders; files in known folders are found at once
NAMED_BY_HASH = re.compile(r"-([0-9a-f]{12})$")


class SiblingFolders:
    """The folders beside the study's folder `out`; they are read but never changed.

    The folders hold ``*/runs/HASH`` and ``*/experiments/HASH.json`` of studies, and ``*-HASH`` of ``minicereb train``.
    Incomplete, damaged or read-only results in these folders are ignored.
    """

    def __init__(self, out: Path):
        self._out = Path(os.path.abspath(out))
        self._looked = float("-inf")
        self._studies: list[str] = []  # text: making a path takes longer than finding a file
        self._named: dict[str, list[str]] = {}
        self._read: dict[str, tuple[tuple[int, ...], Any]] = {}

    def runs(self, key: str) -> Iterator[Run]:
        """Yield the complete runs whose settings have the hash `key`."""
        self._look()
        for folder in (*(f"{study}/runs/{key[:16]}" for study in self._studies), *self._named.get(key[:12], ())):
            run = self.unless_changed(f"{folder}/manifest.json", _sound_run)
            if run is not None and run.hash == key:
                yield run

    def records(self, key: str) -> Iterator[tuple[Path, Kept]]:
        """Yield the records of the experiment with the hash `key`, and their paths."""
        self._look()
        for study in self._studies:
            path = f"{study}/experiments/{key[:16]}.json"
            kept = self.unless_changed(path, _sound_record)
            if kept is not None and kept.hash == key:
                yield Path(path), kept

    def record_path(self, key: str) -> Path | None:
        """Return the path of a record of the experiment with the hash `key`, or None."""
        return next((path for path, _ in self.records(key)), None)

    def unless_changed(self, path: str, read: Callable[[Path], Any]) -> Any:
        """Return the result of `read` on a file, cached while the file is unchanged; None if there is no file."""
        try:
            stat = os.stat(path)
        except OSError:
            return None
        state = stat.st_mtime_ns, stat.st_size, stat.st_ino
        if self._read.get(path, ((), None))[0] != state:
            self._read[path] = state, read(Path(path))
        return self._read[path][1]

    def look_again(self) -> None:
        """List the folders again, because other processes may have made new ones."""
        self._looked = float("-inf")

    def _look(self) -> None:
        """List the folders, unless they were listed less than two seconds ago."""
        if time.monotonic() - self._looked < SECONDS_BETWEEN_LOOKS:
            return
        self._studies, self._named = [], {}
        with suppress(OSError), os.scandir(self._out.parent) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                parts = f"{entry.path}/runs", f"{entry.path}/experiments"
                if named := NAMED_BY_HASH.search(entry.name):
                    self._named.setdefault(named[1], []).append(entry.path)
                elif entry.name != self._out.name and any(map(os.path.isdir, parts)):
                    self._studies.append(entry.path)
        self._looked = time.monotonic()


def _sound_run(manifest: Path) -> Run | None:
    """Return the run of a manifest, or None unless it is complete and unaltered and its folder is writable."""
    with suppress(MinicerebError, OSError):
        run = read_run(manifest.parent)
        if run.result and os.access(run.folder, os.W_OK) and is_whole(run):
            return run
    return None


def _sound_record(path: Path) -> Kept | None:
    with suppress(MinicerebError):
        return read_kept(path)
    return None


class Laboratory:
    """Runs experiments on one data set, each experiment only once, and finds their results.

    The folder `out` holds runs (``runs/HASH``) and records. Complete results in :class:`SiblingFolders` are reused.
    """

    def __init__(self, dataset: Dataset, out: Path):
        self.dataset, self.out = dataset, out
        self._models: dict[Train, Any] = {}
        self.siblings = SiblingFolders(out)

    def train(self, config: Train) -> Generator[str, None, None]:
        """Train a model, unless its run is complete, yielding progress in words."""
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
        """Return whether a training run is complete, in the study's own folder or in a sibling folder."""
        return next(self.complete_runs(config), None) is not None

    def complete_runs(self, config: Train) -> Iterator[Run]:
        """Yield the complete run folders of a training job: first the study's own folder, then those in sibling folders."""
        folder = self._folder(config)
        for name in ("config.json", "manifest.json"):  # an unreadable run is reported before other jobs run
            refuse_dangling(folder / name)
        own = self.siblings.unless_changed(str(folder / "manifest.json"), _run_of)
        if own is not None and own.result is not None:
            yield own
        yield from self.siblings.runs(config_hash(config))

    def run(self, config: Train) -> Run:
        """Return the first complete run of a training job or, if none is complete, the run in the study's own folder."""
        return next(self.complete_runs(config), None) or read_run(self._folder(config))

    def name_of(self, run: Run) -> str:
        """Return the name of a run in the study's records, for :func:`run_named`."""
        own = run.folder.parent == self.out / "runs"
        return run.folder.name if own else Path(os.path.relpath(run.folder, self.out)).as_posix()

    def model(self, config: Train) -> Any:
        """Return the model of a complete run; the most recently used models are kept in memory."""
        model = self._models.pop(config, None)
        # make room before another is loaded, since memory may not suffice for one more
        while len(self._models) >= MODELS_IN_MEMORY:
            del self._models[next(iter(self._models))]
        self._models[config] = load_model(self.run(config), self.dataset) if model is None else model
        return self._models[config]

    def run_experiment(self, config: Experiment) -> Generator[str, None, Record]:
        """Train an experiment's models and, unless its record exists, run it; yield progress and return its :meth:`result`."""
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
        """Return the record of a complete experiment, with the number of test images and the models it used.

        For one model, ``run`` is the name of its run folder (for :func:`run_named`) and ``test_accuracy`` its test
        accuracy; for several models, ``runs`` and ``test_accuracies`` are lists. A :class:`DataError` is raised if the
        record belongs to other settings or another model, or if a model was altered.
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
        """Return whether a training run, or an experiment with its training runs, is complete."""
        if isinstance(job, Train):
            return self.is_trained(job)
        return all(self.is_trained(train) for train in job.trainings) and self.find_record(job) is not None

    def record_path(self, config: Any) -> Path:
        """Return the path of a record, whether or not the record exists.

        The record of a sibling folder is used only if it is about the models of this study.
        """
        if config.kept_with_run:
            return self.find_record(config) or record_in_run(self.run(config.train), config)
        key = config_hash(config)
        own = beneath(self.out, "experiments", f"{key[:16]}.json")
        if own.exists():
            return own
        return next((path for path, kept in self.siblings.records(key) if self.runs_of(kept) is not None), own)

    def find_record(self, config: Any) -> Path | None:
        """Return the path of an experiment's record, or None if there is none.

        A file in the study's own folder is returned even if it is damaged, so that the damage is reported when it is read. A file
        in another folder is returned only if it is the record of this experiment.
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
                kept = self.siblings.unless_changed(str(path), _sound_record)
                if kept is not None and kept.hash == config_hash(config) and kept.models in (None, (model_of(run),)):
                    return path
        return None

    def runs_of(self, kept: Kept, folder: Path | None = None) -> list[Run] | None:
        """Return the runs of a record's models (or only the run in `folder`); None if a model has changed or is gone."""
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
    """Return the path of the record of an attack on a run."""
    return beneath(run.folder, "attacks", f"{config_hash(config)[:16]}.json")


def model_of(run: Run) -> str:
    """Return the SHA-256 of a complete run's model."""
    return run.manifest["model_sha256"]


def _run_of(manifest: Path) -> Run | None:
    return read_run(manifest.parent) if manifest.with_name("config.json").exists() else None


def run_named(out: Path, name: str) -> Path:
    """Return the folder of the run with this name in the records of the study in `out`."""
    return out / name if "/" in name else out / "runs" / name
