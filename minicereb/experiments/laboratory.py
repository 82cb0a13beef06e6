"""Where the experiments of a study are carried out: one data set, one folder, the runs in it, and the models last used."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from minicereb.datasets.dataset import Dataset
from minicereb.experiments.configs import Train, describe
from minicereb.experiments.identity import config_hash
from minicereb.experiments.records import Kept
from minicereb.experiments.records import Record as Record
from minicereb.experiments.reuse import Neighbours
from minicereb.experiments.runs import Run, load_model, read_run, run_training
from minicereb.paths import beneath, refuse_dangling

MODELS_IN_MEMORY = 2  # as many as an attack that is transferred from one to the other needs


class Laboratory:
    """What experiments find when they are carried out.

    Parameters
    ----------
    dataset : Dataset
        Of all of them.
    out : Path
        Folder for their runs (``runs/HASH``) and records. What is complete in a folder beside it is used there.
    """

    def __init__(self, dataset: Dataset, out: Path):
        self.dataset, self.out = dataset, out
        self._models: dict[Train, Any] = {}
        self._neighbours = Neighbours(out)

    def look_again(self) -> None:
        """See every folder beside this one that there is by now: other processes may rely on what is in them."""
        self._neighbours.look_again()

    def train(self, config: Train) -> Generator[str, None, None]:
        """Train, unless that is done already, yielding the progress in words."""
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
        """Whether a training is complete, here or beside."""
        return next(self.complete_runs(config), None) is not None

    def complete_runs(self, config: Train) -> Iterator[Run]:
        """Yield the runs of a training that are complete: first the study's own, then those beside it."""
        folder = self._folder(config)
        for name in ("config.json", "manifest.json"):  # a run that cannot be read is told before other jobs are done
            refuse_dangling(folder / name)
        own = self._neighbours.unless_changed(str(folder / "manifest.json"), _run_of)
        if own is not None and own.result is not None:
            yield own
        yield from self._neighbours.runs(config_hash(config))

    def run(self, config: Train) -> Run:
        """Return the run of a training: where it is complete, or, where that is nowhere, the study's own."""
        return next(self.complete_runs(config), None) or read_run(self._folder(config))

    def name_of(self, run: Run) -> str:
        """Return what the study's records call a run, for :func:`run_named`."""
        own = run.folder.parent == self.out / "runs"
        return run.folder.name if own else Path(os.path.relpath(run.folder, self.out)).as_posix()

    def model(self, config: Train) -> Any:
        """Return the trained model of a complete training, from memory if it was among the last used."""
        model = self._models.pop(config, None)
        while len(self._models) >= MODELS_IN_MEMORY:  # before another is loaded: there may be no room for one more
            del self._models[next(iter(self._models))]
        self._models[config] = load_model(self.run(config), self.dataset) if model is None else model
        return self._models[config]

    def record_path(self, config: Any) -> Path:
        """Where the record of an experiment is kept that is no attack on a run (such a one is kept with the run).

        That of a folder beside counts only if it is about models that are known here.
        """
        key = config_hash(config)
        own = beneath(self.out, "experiments", f"{key[:16]}.json")
        if own.exists():
            return own
        return next((path for path, kept in self._neighbours.records(key) if self.stands_on(kept) is not None), own)

    def attack_path(self, run: Run, path: Path, key: str) -> Path | None:
        """Return `path`, where a record of an attack on `run` is kept, if one is there with this hash, or is to be reported."""
        if run.folder.parent == self.out / "runs":
            return path if path.exists() else None
        kept = self._neighbours.kept(path)
        return path if kept is not None and kept.hash == key and kept.models in (None, (model_of(run),)) else None

    def stands_on(self, kept: Kept, folder: Path | None = None) -> list[Run] | None:
        """Return the runs of the models that a record is about; None if one of them is not known, or is another by now.

        Parameters
        ----------
        kept : Kept
        folder : Path, optional
            Of the run that a record was found in, which is what it is about where it does not say.
        """
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


def model_of(run: Run) -> str:
    """Return the SHA-256 of a complete run's model."""
    return run.manifest["model_sha256"]


def _run_of(manifest: Path) -> Run | None:
    return read_run(manifest.parent) if manifest.with_name("config.json").exists() else None


def run_named(out: Path, name: str) -> Path:
    """Return the folder of a run that the records of the study in `out` call `name`."""
    return out / name if "/" in name else out / "runs" / name
