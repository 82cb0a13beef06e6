"""Estimates of the cost of jobs: one job of each kind is started, timed and discarded, and nothing is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import to_device, to_numpy, wait_for_device
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.experiments.architectures import CerebellumModel, build_learner, build_model
from minicereb.experiments.configs import Cost, Train
from minicereb.experiments.features import first_features
from minicereb.experiments.jobs import Job
from minicereb.experiments.laboratory import Laboratory
from minicereb.learning.least_squares import least_squares_readout
from minicereb.learning.training import Position, Split, train
from minicereb.models.visual import encoder_of
from minicereb.parallel import one_blas_thread
from minicereb.tasks.eyelid_conditioning import PHASES, Eyelid, Session
from minicereb.tasks.pole_balancing import PoleBalancer, PoleTask

PROBE_SECONDS = 0.5  # seconds of learning for each kind of training
PROBE_IMAGES = 32  # images attacked for each kind of attack
PROBE_CERTIFIED = 4
PROBE_ENCODED = 2_000  # images encoded to time learning from features
# cells for timing the closed form, whose time grows with the cells squared for each image, and with their cube once
PROBE_CELLS = 1_000
PROBE_STEPS, PROBE_QUERIES = 8, 40


class JobCost(NamedTuple):
    """Expected cost of a job, as in :class:`~minicereb.experiments.configs.Cost`; zero if the job is done."""

    job: Job
    done: bool
    seconds: float | None = None
    memory: int | None = None
    disk: int | None = None
    at_most: bool = False


def estimates(jobs: Iterable[Job], laboratory: Laboratory) -> Generator[JobCost, None, None]:
    """Yield the expected cost of each job, timing each kind of training and of attack once."""
    probes, encoders = Probes(laboratory.dataset), set[Train]()
    for job in jobs:
        if laboratory.is_done(job):
            yield JobCost(job, True, 0.0, 0, 0)
            continue
        cost = job.cost(probes)
        # the features are computed only once
        if isinstance(job, Train) and job.encoder is not None and job.encoder not in encoders:
            encoders.add(job.encoder)
            if not _has_features(job.encoder, laboratory):
                seconds, disk = probes.encoding(job.encoder)
                longer = None if cost.seconds is None else cost.seconds + seconds
                cost = cost._replace(seconds=longer, disk=(cost.disk or 0) + disk)
        yield JobCost(job, False, *cost)


def _has_features(encoder: Train, laboratory: Laboratory) -> bool:
    return laboratory.is_trained(encoder) and any(laboratory.run(encoder).folder.glob("features-*.npy"))


def attack_cost(train: Train, attack: Attack, images: int, probes: Probes) -> Cost:
    """Return the cost of an attack, assuming that every image takes all steps."""
    beginning, step = probes.attack(train, attack)
    steps = attack.steps * max(1, attack.targets) if attack.traits.has("steps") else 1
    ends_early = attack.traits.keeps == "first" or attack.restarts > 1 or attack.targets > 1
    return Cost(images * attack.restarts * (beginning + steps * step), None, 0, ends_early)


class Probes:
    """Measures how many seconds each kind of work on a data set takes, once, when it is first needed."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset
        self._known: dict[Any, Any] = {}

    def _once(self, measure: Callable[..., Any], *what: Any) -> Any:
        key = measure.__name__, *what
        if key not in self._known:
            self._known[key] = measure(*what)
        return self._known[key]

    def training(self, config: Train) -> Cost:
        """Return the cost of a training run; its seconds are None if the run ends before it can be timed."""
        kind = replace(config, seed=0, epochs=1)
        cost: Cost = self._once(self._training, kind)
        if config.in_closed_form or cost.seconds is None:
            return cost
        return cost._replace(seconds=cost.seconds * config.epochs)

    def encoding(self, config: Train) -> tuple[float, int]:
        """Return the seconds and bytes on disk needed for an encoder's features of all images."""
        return self._once(self._encoding, _kind(config))

    def attack(self, config: Train, attack: Attack) -> tuple[float, float]:
        """Return the seconds per image that an attack takes before its first step, and the seconds per step."""
        few = min(1, attack.targets)
        plain = replace(attack, epsilon=0.1, step_size=0.01, steps=1, restarts=1, targets=few, seed=0, keep="best")
        return self._once(self._attack, _kind(config), plain)

    def answer(self, config: Train) -> float:
        """Return the seconds of a forward pass per image."""
        return self._once(self._answer, _kind(config))

    def evaluation(self, config: Any) -> tuple[str, float]:
        """Return the source of the gradient in an evaluation, and the seconds that the certificate of one image takes."""
        kind = replace(config, train=_kind(config.train), epsilons=config.epsilons[-1:], images=1, seed=0, substitutes=())
        return self._once(self._evaluation, kind)

    def conditioning(self, settings: Eyelid) -> float:
        """Return the seconds that a session of eyelid conditioning takes, estimated from the time of its first trials."""
        kind = replace(settings, seed=0, acquisition=1_000, extinction=0, reacquisition=0)
        building, trial = self._once(_conditioning, kind)
        return building + trial * sum(getattr(settings, phase) for phase in PHASES)

    def balancing(self, task: PoleTask) -> tuple[float, float]:
        """Return the seconds needed to build a circuit, and to balance a pole for one simulated second."""
        return self._once(_balancing, replace(task, seed=0))

    def _training(self, config: Train) -> Cost:
        """Return the cost of an epoch, extrapolated from half a second of training, or the cost of the closed form."""
        learner, split = build_learner(config, self.dataset), Split(self._seen(config), config.validation, config.seed)
        images = len(Split(self.dataset, config.validation, config.seed).training)
        arrays = sum(array.nbytes for array in learner.arrays().values())
        wiring = getattr(learner.model, "wiring", None)
        fixed = 0 if wiring is None else wiring.nbytes
        data = self.dataset.x_train.nbytes + self.dataset.x_test.nbytes
        memory, disk = data + fixed + 2 * arrays, 3 * arrays
        if isinstance(config.model, CerebellumModel) and config.in_closed_form:
            cells = config.model.cells
            return Cost(self._closed_form(config, images), memory + 16 * cells * cells, disk)
        began, first, last = 0.0, 0, 0
        for position, done in train(learner, split, 1, config.seed, Position(), {}, config.augment):
            wait_for_device()
            if not began:  # the first batches also allocate memory and load code
                began, first = time.perf_counter(), position.seen
            last = len(split.training) if done else position.seen
            if time.perf_counter() - began > PROBE_SECONDS:
                break
        took = time.perf_counter() - began
        return Cost(took * images / (last - first) if last > first else None, memory, disk)

    def _encoding(self, config: Train) -> tuple[float, int]:
        encoder, features = encoder_of(build_model(config, self.dataset))
        images, few = len(self.dataset.x_train) + len(self.dataset.x_test), PROBE_ENCODED // 10
        shown = min(few, len(self.dataset.x_train)) + min(few, len(self.dataset.x_test))
        seconds = min(_timed(lambda: first_features(encoder, self.dataset, few)) for _ in range(2))
        return seconds / shown * images, 4 * features * images

    def _seen(self, config: Train) -> Dataset:
        """Return the data set or, for a run with an encoder, the features of a few images from an untrained encoder."""
        if config.encoder is None:
            return self.dataset
        encoder, _ = encoder_of(build_model(config.encoder, self.dataset))
        return first_features(encoder, self.dataset, PROBE_ENCODED)

    def _closed_form(self, config: Train, images: int) -> float:
        """Extrapolate the time of the closed form from a smaller model, timed on a few images and on twice as many."""
        assert isinstance(config.model, CerebellumModel)
        cells = min(config.model.cells, PROBE_CELLS)
        small, data = build_model(replace(config, model=replace(config.model, cells=cells)), self.dataset), self._seen(config)
        small = getattr(small, "cerebellum", small)
        times, few = [], min(256, len(data.x_train) // 2)
        for batches in (1, 1, 2):  # the first call also allocates memory and loads code
            parts = [slice(n * few, (n + 1) * few) for n in range(batches)]
            blocks = [(to_unit(to_device(data.x_train[p])), to_device(data.y_train[p])) for p in parts]
            times.append(_timed(partial(least_squares_readout, small, iter(blocks), centre=config.model.ltd)))
        larger, products = config.model.cells / cells, max(0.0, times[2] - times[1])
        return products / few * images * larger**2 + max(0.0, times[1] - products) * larger**3

    def _attack(self, config: Train, attack: Attack) -> tuple[float, float]:
        data, model = self.dataset, build_model(config, self.dataset)
        ids = np.arange(min(PROBE_IMAGES, len(data.x_test)), dtype=np.int64)
        labels = data.y_test.copy()  # FAB attacks only correctly classified images, so the labels are set to the predictions
        labels[ids] = to_numpy(model.forward(to_unit(to_device(data.x_test[ids])))[0].argmax(axis=1))

        def seconds(steps: int) -> float:
            made = replace(attack, steps=steps)
            how: dict[str, Any] = {"image_shape": data.image_shape, "include_misclassified": True}
            return _timed(lambda: list(attack_images(model, made, data.x_test, labels, ids, **how))) / len(ids)

        seconds(1)  # the first call also allocates memory and loads code
        one, more = seconds(1), PROBE_STEPS if attack.traits.gradient else PROBE_QUERIES
        if not attack.traits.has("steps"):
            return 0.0, one
        step = max(0.0, seconds(1 + more) - one) / more
        return max(0.0, one - step), step

    def _answer(self, config: Train) -> float:
        model = build_model(config, self.dataset)
        x = to_unit(to_device(self.dataset.x_test[:PROBE_IMAGES]))
        with one_blas_thread():
            return min(_timed(lambda: model.forward(x)) for _ in range(3)) / len(x)

    def _evaluation(self, config: Any) -> tuple[str, float]:
        model = build_model(config.train, self.dataset)
        certifier, _ = config.certifier_of(model)
        if certifier is None:
            return config.gradient_of(model), 0.0
        ids = np.arange(min(PROBE_CERTIFIED, len(self.dataset.x_test)), dtype=np.int64)
        x, labels = to_unit(to_device(self.dataset.x_test[ids])), to_device(self.dataset.y_test[ids])
        with one_blas_thread():
            seconds = min(_timed(lambda: certifier(x, labels, ids, config.epsilons[0], config.norm)) for _ in range(2))
        return config.gradient_of(model), seconds / len(ids)


def _conditioning(settings: Eyelid) -> tuple[float, float]:
    began = time.perf_counter()
    trials = Session(settings).trials()
    next(trials)  # also allocates memory and loads code
    built = time.perf_counter()
    count = 0
    while time.perf_counter() - built < PROBE_SECONDS and next(trials, None) is not None:
        count += 1
    return built - began, (time.perf_counter() - built) / max(1, count)


def _balancing(task: PoleTask) -> tuple[float, float]:
    began = time.perf_counter()
    balancer = PoleBalancer(task)
    built, balanced = time.perf_counter(), 0.0
    for trial in balancer.learn(1_000):
        balanced += trial.seconds
        if time.perf_counter() - built > PROBE_SECONDS:
            break
    return built - began, (time.perf_counter() - built) / balanced


def _kind(config: Train) -> Train:
    """Return one training run that represents all runs whose forward passes take equally long."""
    return replace(config, seed=0, epochs=1, learning_rate=1.0)


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    wait_for_device()
    return time.perf_counter() - began
