"""Learning to balance a pole: the durations of trials, and tests from starting angles not used in training."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from math import degrees, isfinite, radians
from pathlib import Path

import numpy as np

from minicereb.documents import Count, check
from minicereb.errors import DataError, RunError, require
from minicereb.experiments.configs import Cost, Experiment
from minicereb.experiments.costs import Probes
from minicereb.experiments.identity import config_hash, config_kind, differences, to_json
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.records import require_length, shape, write_record
from minicereb.experiments.runs import read_config
from minicereb.files import contents, folder_lock, like, read_npz, write_json, write_npz
from minicereb.report.figures import save_figure
from minicereb.report.pole_figures import learning_curves, trajectories
from minicereb.settings import setting
from minicereb.tasks.cartpole import CartPole, State
from minicereb.tasks.pole_balancing import PoleBalancer, PoleTask
from minicereb.tasks.pole_learners import METHODS, ActorCritic, ErrorDriven

for _kind in (PoleTask, CartPole, ErrorDriven, ActorCritic):
    config_kind(_kind)

ANGLES = (-6.0, -5.0, -4.0, 4.0, 5.0, 6.0)  # in degrees; training trials begin within 2.9 degrees
PATH = list[tuple[float, float, float, float, float]]
KEPT = 10.0  # seconds of a path
SECONDS_BETWEEN_SAVES = 5.0


@config_kind
@dataclass(frozen=True)
class PoleBalancing(Experiment):
    """Train a circuit to balance a pole, then test it without further learning."""

    record_shape = shape(seconds=list[float], errors=list[int], succeeded=Count | None, learned=bool, tests=list[float])
    task: PoleTask = setting(help="Settings of the task.")
    trials: int = setting(help="Largest number of training trials.", at_least=0)
    angles: tuple[float, ...] = setting(
        ANGLES, "Initial angles of the tests, in which the cart begins at rest in the middle.", unit="degrees"
    )
    paths: bool = setting(False, "Whether the record holds the first seconds of the first trial and of the middle test.")

    def __post_init__(self) -> None:
        limit = degrees(self.task.cart.angle_limit)
        inside = self.angles and all(isfinite(angle) and abs(angle) <= limit for angle in self.angles)
        require(bool(inside), "angles", self.angles, f"one or more numbers from {-limit:g} to {limit:g} degrees")

    def check_record(self, record: Record) -> None:
        """Raise :class:`~minicereb.documents.Mismatch` unless a record has a test for every angle and, if requested, paths."""
        require_length(record["tests"], len(self.angles), "tests")
        require_length(record["errors"], len(record["seconds"]), "errors")
        if self.paths:
            check(record, shape(paths=shape(first=PATH, test=PATH)))

    @property
    def description(self) -> str:
        """A short description."""
        task = self.task
        ltd = ", LTD" if task.ltd else ""
        lesion = "" if task.lesion == "none" else f", {task.lesion} lesioned"
        cartless = ", no errors of the cart" if getattr(task.method, "cart_frequency", 1) == 0 else ""
        return f"{method_of(task)}{cartless}, {task.cells:,} cells{ltd}{lesion}, {self.trials} trials, seed {task.seed}"

    def run(self, laboratory: Laboratory | None = None) -> Generator[str, None, Record]:
        """Train and test the circuit, and return the record that :func:`record_of` makes."""
        balancer = PoleBalancer(self.task)
        yield from _learning(self, balancer)
        return record_of(self, balancer)

    def cost(self, probes: Probes) -> Cost:
        """Return an upper bound on the cost; less time is needed if poles fall or learning succeeds early."""
        building, second = probes.balancing(self.task)
        return Cost(building + second * self.task.seconds * (self.trials + len(self.angles)), None, 0, True)


def method_of(task: PoleTask) -> str:
    """Return the name of a task's learning method."""
    return next(name for name, kind in METHODS.items() if isinstance(task.method, kind))


def pole_in_folder(config: PoleBalancing, folder: Path) -> Generator[str, None, Record]:
    """Run the experiment in `folder`, resuming it if it was interrupted there.

    ``circuit.npz`` holds the learned weights and the duration of each trial; it is written every few seconds and when the
    generator is closed. ``result.json`` holds the record with the settings. A :class:`RunError` is raised if the folder
    belongs to other settings, or if another process is using it.
    """
    balancer, saved = PoleBalancer(config.task), time.monotonic()
    _begun(config, folder)
    with folder_lock(folder):
        write_json(folder / "config.json", {"config": to_json(config), "hash": config_hash(config)})
        _load(config, balancer, folder / "circuit.npz")
        try:
            for progress in _learning(config, balancer):
                yield progress
                if time.monotonic() - saved > SECONDS_BETWEEN_SAVES:
                    _save(config, balancer, folder / "circuit.npz")
                    saved = time.monotonic()
        except GeneratorExit:
            _save(config, balancer, folder / "circuit.npz")
            raise
        _save(config, balancer, folder / "circuit.npz")
        record = record_of(config, balancer)
        write_record(folder / "result.json", config, record)
    return record


def _learning(config: PoleBalancing, balancer: PoleBalancer) -> Generator[str, None, None]:
    for trial in balancer.learn(config.trials):
        yield f"balancing, {config.description}: trial {trial.number + 1} of {config.trials}, {trial.seconds:.1f} s"
    yield f"balancing, {config.description}: from {len(config.angles)} starts"


def _begun(config: PoleBalancing, folder: Path) -> None:
    """Raise :class:`RunError` unless a folder is new or empty, or belongs to these settings."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; give a folder")
    if (folder / "config.json").exists():
        other, key = read_config(folder / "config.json")
        what = "; ".join(differences(config, other))
        if what or key != config_hash(config):
            raise RunError(f"{folder} holds other settings ({what or 'another revision of the program'}); choose another --out")
    elif contents(folder):
        raise RunError(f"{folder} is not empty and not the run of a pole task; choose another --out")


def _save(config: PoleBalancing, balancer: PoleBalancer, path: Path) -> None:
    trials = {"seconds": np.array(balancer.lasted, dtype=np.float64), "errors": np.array(balancer.errors, dtype=np.int64)}
    write_npz(path, {**balancer.arrays(), **trials, "hash": np.array(config_hash(config))})


def _load(config: PoleBalancing, balancer: PoleBalancer, path: Path) -> None:
    if not path.exists():
        return
    ours = balancer.arrays()
    declared = like(ours) | {"seconds": (np.float64, ("t",)), "errors": (np.int64, ("t",)), "hash": ("U", ())}
    try:
        stored = read_npz(path, declared, optional=("hash",))  # files from before 0.2 have none
    except DataError as error:
        raise DataError(f"{error}; delete it to begin again") from error
    if str(stored.get("hash", config_hash(config))) != config_hash(config) or len(stored["seconds"]) > config.trials:
        raise DataError(f"{path} does not hold this circuit; delete it to begin again")
    for name, array in ours.items():
        array[...] = stored[name]
    balancer.lasted[:], balancer.errors[:] = stored["seconds"].tolist(), stored["errors"].tolist()


def record_of(config: PoleBalancing, balancer: PoleBalancer) -> Record:
    """Test a trained balancer, and return the record.

    ``paths``, if requested, are the trajectories of the ``first`` trial and of the ``test`` that starts at the middle one of
    `angles`: x, ẋ, θ, θ̇ and the force at each step, to four decimals.
    """
    keep = round(KEPT / config.task.cart.step) if config.paths else 0
    tests = [balancer.balance(State(0.0, 0.0, radians(angle), 0.0), keep) for angle in config.angles]
    record = {
        "seconds": list(balancer.lasted),
        "errors": list(balancer.errors),
        "succeeded": next((number for number, seconds in enumerate(balancer.lasted, 1) if balancer.succeeded(seconds)), None),
        "learned": balancer.has_learned,
        "tests": [test.seconds for test in tests],
    }
    if config.paths:
        middle = len(config.angles) // 2
        again = list(PoleBalancer(config.task).learn(min(1, config.trials), keep))  # equal seeds, equal first trials
        record["paths"] = {
            name: [np.round(step, 4).tolist() for trial in trials[-1:] for step in trial.path]
            for name, trials in (("first", again), ("test", tests[: middle + 1]))
        }
    return record


def paths_of(config: PoleBalancing, record: Record) -> dict[str, np.ndarray]:
    """Return the non-empty paths of a record, keyed by title."""
    tested = f"after {len(record['seconds'])} trials, from {config.angles[len(config.angles) // 2]:g}°"
    titles, paths = {"first trial": "first", tested: "test"}, record["paths"]
    return {title: np.array(paths[name], dtype=np.float64) for title, name in titles.items() if paths[name]}


def draw_pole(config: PoleBalancing, record: Record, out: Path) -> list[str]:
    """Draw the durations of the trials and the paths as PNG files in `out`; return the names of the files."""
    drawn = {"pole-path.png": trajectories(paths_of(config, record), config.task.cart.step)}
    if record["seconds"]:
        lasted = np.array(record["seconds"], dtype=np.float64)
        drawn["pole-learning.png"] = learning_curves({method_of(config.task): [lasted]}, len(lasted), config.task.seconds)
    for name, figure in drawn.items():
        save_figure(figure, out / name)
    return list(drawn)
