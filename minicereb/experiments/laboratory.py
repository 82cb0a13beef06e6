"""Where the experiments of a study are carried out: one data set, one folder, the runs in it, and the models last used."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from minicereb.datasets.dataset import Dataset
from minicereb.errors import DataError
from minicereb.experiments.configs import Train, describe
from minicereb.experiments.identity import config_hash, to_json
from minicereb.experiments.runs import Run, load_model, read_run, run_training
from minicereb.files import read_json, write_json

MODELS_IN_MEMORY = 2  # as many as an attack that is transferred from one to the other needs

Record = dict[str, Any]


class Laboratory:
    """What experiments find when they are carried out.

    Parameters
    ----------
    dataset : Dataset
        Of all of them.
    out : Path
        Folder for their runs (``runs/HASH``) and records.
    """

    def __init__(self, dataset: Dataset, out: Path):
        self.dataset, self.out = dataset, out
        self._models: dict[Train, Any] = {}

    def train(self, config: Train) -> Generator[str, None, None]:
        """Train, unless that is done already, yielding the progress in words."""
        with closing(run_training(config, self.dataset, self._folder(config))) as training:
            for progress in training:
                seen = progress.position.epoch + progress.position.seen / progress.images
                yield f"training {describe(config)}: epoch {seen:.2f} of {config.epochs}"

    def is_trained(self, config: Train) -> bool:
        """Whether a training is complete."""
        folder = self._folder(config)
        return (folder / "config.json").exists() and read_run(folder).result is not None

    def run(self, config: Train) -> Run:
        """Return the run folder of a training."""
        return read_run(self._folder(config))

    def model(self, config: Train) -> Any:
        """Return the trained model of a complete training, from memory if it was among the last used."""
        model = self._models.pop(config, None)
        while len(self._models) >= MODELS_IN_MEMORY:  # before another is loaded: there may be no room for one more
            del self._models[next(iter(self._models))]
        self._models[config] = load_model(self.run(config), self.dataset) if model is None else model
        return self._models[config]

    def record_path(self, config: Any) -> Path:
        """Where the record of an experiment is kept that is no attack on a run (such a one is kept with the run)."""
        return self.out / "experiments" / f"{config_hash(config)[:16]}.json"

    def _folder(self, config: Train) -> Path:
        return self.out / "runs" / config_hash(config)[:16]


def write_record(path: Path, config: Any, record: Record) -> None:
    """Keep the record of an experiment that is complete, with its settings."""
    write_json(path, {"config": to_json(config), "record": record})


def read_record(path: Path) -> Record:
    """Read a record that was kept; :class:`DataError` if the file holds anything else."""
    stored = read_json(path)
    if not isinstance(stored, dict) or not isinstance(stored.get("record"), dict):
        raise DataError(f"{path} does not hold the record of an experiment; delete it to do the experiment again")
    return stored["record"]
