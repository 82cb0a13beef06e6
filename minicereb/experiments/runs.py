"""Run folders: each holds a training run, which can be killed at any moment and resumed, and finally its trained model.

``config.json`` is written first. ``manifest.json`` records how training was executed and its result; ``checkpoint.npz``
exists during training, ``model.npz`` after it. docs/formats.md describes all files.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Container, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
import scipy

from minicereb import __version__, datasets
from minicereb.backend import Array, execution, to_numpy
from minicereb.compiled import numba_version
from minicereb.datasets.dataset import Dataset
from minicereb.documents import Count, Share, count_lines, iterate_json_lines, parse_json, read_json, read_json_lines
from minicereb.errors import DataError, MinicerebError, RunError, did_you_mean
from minicereb.experiments.architectures import build_learner, build_model, model_arrays, solve
from minicereb.experiments.configs import Train
from minicereb.experiments.features import features_of
from minicereb.experiments.identity import config_hash, differences, from_json, hashes, to_json
from minicereb.files import Declared, atomic_write, contents, folder_lock, like, read_npz, sha256_file, write_json, write_npz
from minicereb.learning.training import EpochDone, Learner, Position, Split, accuracy, divergence, restore, train
from minicereb.models.sequential import Sequential
from minicereb.models.visual import encoder_of, with_encoder
from minicereb.paths import refuse_dangling

SECONDS_BETWEEN_CHECKPOINTS = 20.0
PLACE = "give the place of the same data with --dataset"
OWN_FILES = ("config.json", "manifest.json", "metrics.jsonl", "checkpoint.npz", "model.npz")


class ConfigFile(TypedDict):
    """The content of ``config.json``: settings and their hash."""

    config: dict[str, Any]
    hash: str


class Result(TypedDict):
    """The result of a run."""

    test_accuracy: Share
    train_accuracy: Share
    validation_accuracy: Share | None
    epoch: Count
    seconds: float


class Manifest(TypedDict, total=False):
    """``manifest.json``; files written before version 0.2 have no `hash` and no `metrics_sha256`."""

    hash: str
    versions: dict[str, str | None]
    machine: dict[str, str]
    execution: dict[str, str | int]
    data: dict[str, str]
    command: list[str]
    status: Literal["training", "complete"]
    result: Result
    model_sha256: str
    metrics_sha256: str | None
    encoder_sha256: str
    warning: str | None


class _OptionalMetrics(TypedDict, total=False):
    validation_accuracy: Share | None
    validation_loss: float | None
    test_accuracy: Share | None


class MetricsLine(_OptionalMetrics):
    """A line of ``metrics.jsonl``."""

    epoch: Count
    loss: float
    train_accuracy: Share


class _Position(TypedDict):
    epoch: Count
    seen: Count
    loss_sum: float
    correct: Count
    steps: Count
    best_epoch: Count
    best_accuracy: float


class _OptionalHash(TypedDict, total=False):
    hash: str  # missing in checkpoints from before 0.2


class _State(_OptionalHash):
    position: _Position
    metrics: list[MetricsLine]
    seconds: float


class TrainingProgress(NamedTuple):
    """The progress of a training run."""

    position: Position
    done: EpochDone | None  # set at the end of an epoch
    images: int  # images in an epoch
    resumed: bool  # whether training was resumed from a checkpoint
    encoded: int | None = None  # number of images; None once learning has begun
    remark: str | None = None  # about the checkpoint, for the user


class Encoder(NamedTuple):
    """The encoder before a cerebellum: its layers, the SHA-256 of their model, and the data set."""

    layers: Sequential
    sha256: str
    images: Dataset


@dataclass(frozen=True)
class Run:
    """The content of a run folder; `hash` is the hash of the settings when the run was begun."""

    folder: Path
    config: Train
    hash: str
    manifest: dict[str, Any]

    @property
    def result(self) -> dict[str, Any] | None:
        """The result, or None while the run is incomplete."""
        return self.manifest.get("result") or None

    @property
    def warning(self) -> str | None:
        """A one-line description of a problem in a complete run, or None."""
        return self.manifest.get("warning")

    def metrics(self) -> list[dict[str, Any]]:
        """Return one record per epoch."""
        return list(self.rows())

    def epochs(self) -> int:
        """Return the number of records in ``metrics.jsonl``."""
        path = self._metrics_path()
        return count_lines(path) if path.exists() else 0

    def rows(self, chosen: Container[int] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the records of all epochs, or of the chosen ones, numbered from 0."""
        path = self._metrics_path()
        if path.exists():
            yield from iterate_json_lines(path, MetricsLine, chosen)

    def _metrics_path(self) -> Path:
        """Return the path of the metrics; raise :class:`DataError` if they are not the metrics that the complete run wrote."""
        path = self.folder / "metrics.jsonl"
        if "metrics_sha256" in self.manifest and self.manifest["metrics_sha256"] != _sha256_or_none(path):
            raise DataError(f"{path} is missing or was altered: its SHA-256 is not the one in manifest.json")
        return path


def is_own_file(path: Path) -> bool:
    """Return whether writing to `path` would replace a file of a run."""
    return path.name in OWN_FILES and (path.parent / "config.json").exists()


def read_run(folder: str | Path) -> Run:
    """Read a run folder's settings and state; raise :class:`RunError` if it holds no run, :class:`DataError` if it is damaged."""
    folder = Path(folder)
    for path in (folder, *(folder / name for name in OWN_FILES)):
        refuse_dangling(path)
    if not (folder / "config.json").is_file():
        raise RunError(_why_no_run(folder))
    if read_json(folder / "config.json", ConfigFile)["config"].get("kind") == "PoleBalancing":
        raise RunError(f"{folder} is not a training run: task pole made it, and prints it again with --out {folder}")
    config, key = read_config(folder / "config.json")
    if not isinstance(config, Train):
        raise DataError(f"{folder / 'config.json'} does not hold the settings of a training run, but of {type(config).__name__}")
    return Run(folder, config, key, _read_manifest(folder / "manifest.json", config, key))


def _why_no_run(folder: Path) -> str:
    """Explain why there is no run in a folder, and suggest the folder that may have been meant."""
    if not os.path.lexists(folder):
        beside: list[str] = []
        with suppress(OSError):
            beside = [str(folder.with_name(path.name)) for path in folder.parent.iterdir() if (path / "config.json").is_file()]
        return f"{folder} does not exist{did_you_mean(str(folder), beside)}"
    if not folder.is_dir():
        return f"{folder} is not a run folder: it is not a folder at all"
    what = "its config.json is not a regular file" if os.path.lexists(folder / "config.json") else "it has no config.json"
    return f"{folder} is not a run folder: {what}"


def read_config(path: Path) -> tuple[Any, str]:
    """Read settings and their hash from a file; raise :class:`DataError` if no revision gives the settings this hash."""
    stored = read_json(path, ConfigFile)
    try:
        config = from_json(stored["config"])
    except MinicerebError as error:
        raise DataError(f"{path}: {error}") from error
    if stored["hash"] not in hashes(config):
        raise DataError(f"{path}: the hash is not that of the settings; they were edited, or belong to a later version")
    return config, stored["hash"]


def _read_manifest(path: Path, config: Train, key: str) -> dict[str, Any]:
    """Read the manifest of a run; raise :class:`DataError` unless it names the settings and data of this run."""
    manifest = read_json(path, Manifest) if path.exists() else {}
    if "result" in manifest and "model_sha256" not in manifest:
        raise DataError(f"{path}: model_sha256 is missing")
    of_this_run = manifest.get("data", {}).get("sha256", config.data.sha256) == config.data.sha256
    if manifest.get("hash", key) != key or not of_this_run:
        raise DataError(f"{path} belongs to a run with other settings than config.json has")
    return manifest


def is_whole(run: Run) -> bool:
    """Return whether the model of a complete run has the SHA-256 in its manifest."""
    found = _sha256_or_none(run.folder / "model.npz")
    return found is not None and found == run.manifest.get("model_sha256")


def require_whole(run: Run) -> None:
    """Raise :class:`DataError` unless :func:`is_whole` returns True."""
    if not is_whole(run):
        raise DataError(f"{run.folder / 'model.npz'} is missing or was altered: its SHA-256 is not the one in manifest.json")


def _sha256_or_none(path: Path) -> str | None:
    return sha256_file(path) if path.is_file() else None


def dataset_of(run: Run, place: str | None = None) -> Dataset:
    """Load the data set that a run was trained on: from `place` or, if that is None, from the name or path in the settings.

    An :class:`InputError` or :class:`DataError` is raised if the data cannot be read or have other content.
    """
    name = run.config.data.name if place is None else place
    try:
        dataset = datasets.load(name)
    except MinicerebError as error:
        if place is None and os.path.isabs(name):
            raise DataError(f"{run.folder} was trained on {name}: {error}; if the data moved, {PLACE}") from error
        raise
    _check_data(run, dataset)
    return dataset


def _check_data(run: Run, dataset: Dataset) -> None:
    data = run.config.data
    if dataset.sha256 != data.sha256:
        before, there = (f"(SHA-256 {sha256[:12]}...)" for sha256 in (data.sha256, dataset.sha256))
        raise DataError(f"{run.folder} was trained on {data.name} {before}, and {dataset.name} holds other data {there}; {PLACE}")


def check_loadable(run: Run, dataset: Dataset) -> None:
    """Raise the same errors as :func:`load_model` for an incomplete run, other data or an altered model, without loading it."""
    require_complete(run)
    _check_data(run, dataset)
    require_whole(run)


def require_complete(run: Run) -> None:
    """Raise :class:`RunError` unless training is complete."""
    if run.result is None:
        raise RunError(f"{run.folder} is not complete: run its training command again to finish it")


def learned_arrays(run: Run) -> dict[str, np.ndarray]:
    """Return a complete run's learned arrays, keyed by name, in host memory; errors are raised as by :func:`load_model`."""
    require_complete(run)
    require_whole(run)
    return _read_model(run.folder / "model.npz")


def _read_model(path: Path, declared: dict[str, Declared] | None = None) -> dict[str, np.ndarray]:
    arrays = read_npz(path, declared)
    for name, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise DataError(f"{path}: {name} holds numbers that are not finite, which no complete training run writes")
    return arrays


def load_model(run: Run, dataset: Dataset) -> Any:
    """Return the trained model of a complete run, on the configured device.

    Raises
    ------
    RunError
        If the run is not complete.
    DataError
        If a file is damaged, or the model was not trained on `dataset`.
    """
    check_loadable(run, dataset)
    path, model = run.folder / "model.npz", build_model(run.config, dataset)
    arrays = model_arrays(model)
    declared = like(arrays)
    if hasattr(model, "wiring"):
        declared["wiring_sha256"] = "U", ()
    stored = _read_model(path, declared)
    if "wiring_sha256" in stored and str(stored["wiring_sha256"]) != model.wiring.sha256():
        raise DataError(f"{path}: its wiring cannot be drawn again bit by bit with NumPy {np.__version__}")
    restore(arrays, stored)
    return model


def run_training(
    config: Train, dataset: Dataset, folder: str | Path, encoder: Run | None = None
) -> Generator[TrainingProgress, None, None]:
    """Train a model in `folder`, from its last checkpoint if there is one; do nothing if training is complete.

    If the generator is closed, as by Ctrl-C, it writes a checkpoint first. After any interruption the same call resumes training,
    and the model is bit for bit the same as without the interruption.

    `encoder` is the complete run of ``config.encoder``. The encoder's features are computed once and stored in the
    encoder's folder; the trained model contains the encoder's weights too.

    Raises
    ------
    RunError
        If the folder belongs to other settings, or another process is using it.
    DataError
        If the run is complete, but its model is not the one that was trained there.
    """
    folder = Path(folder)
    if belongs(config, folder) and read_run(folder).result is not None:
        require_whole(read_run(folder))
        return
    learner = build_learner(config, dataset)  # before anything is written, because the settings may be invalid
    with folder_lock(folder):
        if not belongs(config, folder):
            write_json(folder / "config.json", {"config": to_json(config), "hash": config_hash(config)})
        elif read_run(folder).result is not None:  # another process has completed it in the meantime
            return
        through, seen = None, dataset
        if config.encoder is not None:
            through, seen = yield from _encoded(config.encoder, encoder, dataset, folder)
        split = Split(seen, config.validation, config.seed, config.choose_on)
        if config.in_closed_form:
            began = time.monotonic()
            model = solve(learner.model, split, config.model.ltd)  # type: ignore[union-attr]
            _finish(config, split, model, Position(), folder, time.monotonic() - began, through)
        else:
            yield from _train(config, split, learner, folder, through)


def _encoded(
    config: Train, run: Run | None, dataset: Dataset, folder: Path
) -> Generator[TrainingProgress, None, tuple[Encoder, Dataset]]:
    """Return the encoder and its features of the data set, yielding progress."""
    if run is None or run.hash != config_hash(config):
        what = "no run" if run is None else str(run.folder)
        raise RunError(f"{folder} needs the run of its encoder, {config.model.description}; got {what}")
    network, sha256 = load_model(run, dataset), run.manifest["model_sha256"]
    before = read_run(folder).manifest.get("encoder_sha256", sha256)
    if before != sha256:
        raise RunError(
            f"{folder} was begun with an encoder other than the one now in {run.folder}; delete it to train from the start"
        )
    with closing(features_of(network, dataset, run.folder, sha256)) as features:
        while True:
            try:
                yield TrainingProgress(Position(), None, len(dataset.x_train), False, next(features))
            except StopIteration as finished:
                return Encoder(encoder_of(network)[0], sha256, dataset), finished.value


def belongs(config: Train, folder: Path) -> bool:
    """Return whether `folder` is a run of `config`; raise :class:`RunError` if it holds anything else."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; a run needs a folder")
    if os.path.lexists(folder / "config.json"):
        other = read_run(folder)
        if other.hash != config_hash(config):
            what = "; ".join(differences(config, other.config)) or "another revision of the program"
            raise RunError(f"{folder} holds a run with other settings ({what}); choose another --out")
        return True
    if contents(folder):
        raise RunError(f"{folder} is not empty and not a run; choose another --out")
    return False


def _train(
    config: Train, split: Split, learner: Learner, folder: Path, through: Encoder | None
) -> Generator[TrainingProgress, None, None]:
    position, seconds = Position(), 0.0
    best: dict[str, Array] = {}
    metrics: list[dict[str, Any]] = []
    checkpoint, key, remark = folder / "checkpoint.npz", config_hash(config), None
    resumed = checkpoint.exists()
    if resumed:
        state, best = _resume(checkpoint, learner, config)
        position, metrics, seconds = Position(**state["position"]), list(map(dict, state["metrics"])), state["seconds"]
        if "hash" not in state:
            remark = f"{checkpoint} is from before checkpoints named their settings; its arrays and metrics fit this run"
    _write_manifest(folder, config, {"status": "training"}, through)
    began = written = time.monotonic()

    def save() -> None:
        state = {"hash": key, "position": asdict(position), "metrics": metrics, "seconds": seconds + time.monotonic() - began}
        arrays = {f"now/{name}": to_numpy(array) for name, array in learner.arrays().items()}
        arrays |= {f"best/{name}": to_numpy(array) for name, array in best.items()}
        write_npz(checkpoint, arrays | {"state": np.array(json.dumps(state))})

    try:
        events = train(learner, split, config.epochs, config.seed, position, best, config.augment)
        for position, done in events:
            if done is not None:
                metrics.append(asdict(done))
                with atomic_write(folder / "metrics.jsonl") as file:
                    file.write("".join(json.dumps(record, allow_nan=False) + "\n" for record in metrics).encode())
            if done is not None or time.monotonic() - written > SECONDS_BETWEEN_CHECKPOINTS:
                save()
                written = time.monotonic()
            yield TrainingProgress(position, done, len(split.training), resumed, None, remark)
            remark = None
    except GeneratorExit:
        save()
        raise
    if config.keep == "best":
        restore(learner.arrays(), {name: to_numpy(array) for name, array in best.items()})
    earlier = config.keep == "best" and position.best_epoch < position.epoch
    warning = divergence(learner, split, metrics[-1]["loss"] if earlier else None)
    _finish(config, split, learner.model, position, folder, seconds + time.monotonic() - began, through, warning)
    checkpoint.unlink(missing_ok=True)


def _finish(
    config: Train,
    split: Split,
    model: Any,
    position: Position,
    folder: Path,
    seconds: float,
    through: Encoder | None,
    warning: str | None = None,
) -> None:
    """Write the model, its accuracies and the final manifest."""
    dataset = split.dataset
    whole, images = (model, dataset) if through is None else (with_encoder(through.layers, model), through.images)
    arrays = {name: to_numpy(array) for name, array in model_arrays(whole).items()}
    if hasattr(whole, "wiring"):
        arrays["wiring_sha256"] = np.array(whole.wiring.sha256())
    write_npz(folder / "model.npz", arrays)
    held_out = len(split.validation) > 0
    result = {
        "test_accuracy": accuracy(whole, images.x_test, images.y_test),
        "train_accuracy": accuracy(model, dataset.x_train, dataset.y_train, split.training),
        "validation_accuracy": accuracy(model, dataset.x_train, dataset.y_train, split.validation) if held_out else None,
        "epoch": position.best_epoch if config.keep == "best" else position.epoch,
        "seconds": round(seconds, 3),
    }
    extra: dict[str, Any] = {"status": "complete", "result": result, "model_sha256": sha256_file(folder / "model.npz")}
    extra |= {"metrics_sha256": _sha256_or_none(folder / "metrics.jsonl"), **({"warning": warning} if warning else {})}
    _write_manifest(folder, config, extra, through)


def _resume(path: Path, learner: Any, config: Train) -> tuple[_State, dict[str, Array]]:
    """Restore the learner's arrays from a checkpoint; return its state and the arrays of the best epoch, if any."""
    arrays, prefixes = learner.arrays(), ("now/", "best/")
    declared = {f"{prefix}{name}": each for prefix in prefixes for name, each in like(arrays).items()}
    optional = [name for name in declared if name.startswith("best/")]
    try:
        stored = read_npz(path, {"state": ("U", ()), **declared}, optional)
        state = parse_json(str(stored["state"]), _State, "state")
        _check_state(state, path.with_name("metrics.jsonl"), config)
        now, kept = ({name: stored[prefix + name] for name in arrays if prefix + name in stored} for prefix in prefixes)
        if kept and len(kept) < len(now):
            raise DataError(f"{path} does not hold all arrays of the best epoch")
    except DataError as error:
        raise DataError(f"{path} is not a checkpoint of this run ({error}); delete it to train from the start") from error
    restore(arrays, now)
    best = {name: array.copy() for name, array in arrays.items()} if kept else {}
    restore(best, kept)
    return state, best


def _check_state(state: _State, metrics: Path, config: Train) -> None:
    """Raise :class:`DataError` unless a checkpoint belongs to this run; one without a hash is recognised by its metrics."""
    position, lines = state["position"], state["metrics"]
    if state.get("hash", config_hash(config)) != config_hash(config):
        raise DataError("it belongs to other settings")
    if [line["epoch"] for line in lines] != list(range(1, position["epoch"] + 1)) or position["epoch"] > config.epochs:
        raise DataError(f"its metrics are of {len(lines)} epochs, its position is in epoch {position['epoch'] + 1}")
    if "hash" not in state and lines and read_json_lines(metrics, MetricsLine)[: len(lines)] != lines:
        raise DataError("its metrics are not those in metrics.jsonl")


def _write_manifest(folder: Path, config: Train, extra: dict[str, Any], through: Encoder | None) -> None:
    own = {"minicereb": __version__, "python": platform.python_version()}
    settings, encoder = execution(), {} if through is None else {"encoder_sha256": through.sha256}
    manifest = {
        "hash": config_hash(config),
        "versions": {**own, "numpy": np.__version__, "scipy": scipy.__version__, "numba": numba_version()},
        "machine": {"system": platform.platform(), "processor": platform.machine()},
        "execution": {"device": settings.device, "threads": settings.threads, "memory": settings.memory},
        "data": to_json(config.data),
        "command": sys.argv,
        **encoder,
        **extra,
    }
    write_json(folder / "manifest.json", manifest)
