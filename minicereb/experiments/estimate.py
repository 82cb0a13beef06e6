"""What a study would do, and about how long it would take: jobs of each kind are begun, timed and dropped, nothing is written."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from minicereb.attacks.run import attack_images
from minicereb.backend import wait_for_device
from minicereb.experiments.configs import AttackedModel, CerebellumModel, Train
from minicereb.experiments.jobs import Job, is_done
from minicereb.experiments.laboratory import Laboratory
from minicereb.experiments.models import build_learner, build_model
from minicereb.learning.training import Position, Split, train

PROBE_SECONDS = 0.5  # of learning, for each kind of training
PROBE_IMAGES = 32  # attacked, for each kind of attack


class Estimate(NamedTuple):
    """What is expected of a job.

    Attributes
    ----------
    job : Train or an experiment
    done : bool
        Whether it is complete, and costs nothing.
    seconds : float or None
        On this machine, in this process; None for kinds that are not probed.
    memory : int or None
        Bytes while it is done, apart from the budget for blocks: data, model, optimiser, the best epoch's copy.
    disk : int or None
        Bytes kept, and for a training its checkpoint.
    """

    job: Job
    done: bool
    seconds: float | None = None
    memory: int | None = None
    disk: int | None = None


def estimates(jobs: Iterable[Job], laboratory: Laboratory) -> Generator[Estimate, None, None]:
    """Yield what is expected of each job, probing each kind of training and of attack once."""
    probed: dict[Any, Any] = {}
    for job in jobs:
        if is_done(job, laboratory):
            yield Estimate(job, True, 0.0, 0, 0)
        elif isinstance(job, Train):
            kind = replace(job, seed=0, epochs=1)
            if kind not in probed:
                probed[kind] = _training(kind, laboratory)
            seconds, memory, disk = probed[kind]
            yield Estimate(job, False, None if seconds is None else seconds * job.epochs, memory, disk)
        elif isinstance(job, AttackedModel):
            attack = replace(job.attack, epsilon=0.1, steps=1, restarts=1, targets=0, seed=0)
            model = replace(job.train, seed=0, epochs=1)
            if (model, attack) not in probed:
                probed[model, attack] = _attack(model, attack, laboratory)
            steps = 1 if attack.method == "fgsm" else job.attack.steps * job.attack.restarts * max(1, job.attack.targets)
            yield Estimate(job, False, probed[model, attack] * job.images * steps, None, 0)
        else:
            yield Estimate(job, False)


def _training(config: Train, laboratory: Laboratory) -> tuple[float | None, int, int]:
    """Seconds of an epoch, from as many batches as half a second holds; bytes in memory and on disk."""
    learner, split = build_learner(config, laboratory.dataset), Split(laboratory.dataset, config.validation, config.seed)
    arrays = sum(array.nbytes for array in learner.arrays().values())
    wiring = getattr(learner.model, "wiring", None)
    fixed = 0 if wiring is None else wiring.weights.nbytes + getattr(wiring.inputs, "nbytes", 0)
    data = laboratory.dataset.x_train.nbytes + laboratory.dataset.x_test.nbytes
    memory, disk = data + fixed + 2 * arrays, 3 * arrays
    if isinstance(config.model, CerebellumModel) and config.model.rule == "least-squares":
        return None, memory, disk
    began, first, last = 0.0, 0, 0
    for position, done in train(learner, split, 1, config.seed, Position(), {}):
        wait_for_device()
        if not began:  # the first batches also fetch memory and code
            began, first = time.perf_counter(), position.seen
        last = len(split.training) if done else position.seen
        if time.perf_counter() - began > PROBE_SECONDS:
            break
    took = time.perf_counter() - began
    return (took * len(split.training) / (last - first) if last > first else None), memory, disk


def _attack(config: Train, attack: Any, laboratory: Laboratory) -> float:
    """Seconds for one step of an attack on one image, by attacking a model that has not learned."""
    model, data = build_model(config, laboratory.dataset), laboratory.dataset
    ids = np.arange(min(PROBE_IMAGES, len(data.x_test)), dtype=np.int64)
    for _ in range(2):  # the first time also fetches memory and code
        began = time.perf_counter()
        for _ in attack_images(model, attack, data.x_test, data.y_test, ids, image_shape=data.image_shape, attempt_all=True):
            wait_for_device()
        took = time.perf_counter() - began
    return took / len(ids)
