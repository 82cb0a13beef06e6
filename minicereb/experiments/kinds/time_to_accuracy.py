"""How long a network learns until it reaches an accuracy: by the clock, in steps, and in evaluations of the loss."""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, TypedDict

import numpy as np

from minicereb.backend import to_device
from minicereb.datasets.transforms import to_unit
from minicereb.documents import Count, Range, Share
from minicereb.errors import require
from minicereb.experiments.architectures import Model, NoisyModel
from minicereb.experiments.configs import Train, describe
from minicereb.experiments.identity import config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.models import build_learner
from minicereb.experiments.records import read_record
from minicereb.learning.training import Learner, Split, accuracy
from minicereb.randomness import generator


class _Record(TypedDict):
    reached: bool
    learning_rate: float
    steps: Count
    seconds: float
    loss_evaluations: Annotated[int, Range(0)]
    accuracy: Share
    images: Count
    test_accuracy: Share
    curve: list[tuple[Count, float, Share]]


@config_kind
@dataclass(frozen=True)
class TimeToAccuracy:
    """Learning until the held-out images are classified well enough, or a limit is reached.

    Its record is not the same bit by bit when it is done again: it holds seconds, and their limit may end it elsewhere.

    Parameters
    ----------
    train : Train
        What learns, with a constant rate; of ``epochs`` and ``keep`` nothing is used.
    target : float
        Share of the held-out images that are to be right, without noise (OT).
    every : int
        Steps from one look at them to the next.
    limit_steps : int
    limit_seconds : float
        Of learning.
    """

    record_shape: ClassVar[Any] = _Record
    train: Train
    target: float
    every: int
    limit_steps: int
    limit_seconds: float

    def __post_init__(self) -> None:
        require(0 < self.target <= 1, "target", self.target, "a share above 0 and at most 1")
        require(self.train.validation > 0, "validation", self.train.validation, "a share above 0: the target is on these images")
        require(self.train.schedule == "constant", "schedule", self.train.schedule, "constant: when it ends is not known before")
        require(self.every >= 1, "every", self.every, "a whole number of at least 1")
        require(self.limit_steps >= 1, "limit-steps", self.limit_steps, "a whole number of at least 1")
        require(self.limit_seconds > 0, "limit-seconds", self.limit_seconds, "a number above 0")

    @property
    def trainings(self) -> tuple[Train, ...]:
        """None: it does its own."""
        return ()


@config_kind
@dataclass(frozen=True)
class FastestAgain:
    """Once more, with another seed, that one of several which reached the target in the fewest steps."""

    record_shape: ClassVar[Any] = _Record
    among: tuple[TimeToAccuracy, ...]
    seed: int

    def __post_init__(self) -> None:
        require(len(self.among) >= 1, "among", "nothing", "at least one experiment")

    @property
    def trainings(self) -> tuple[Train, ...]:
        """None."""
        return ()

    @property
    def experiments(self) -> tuple[TimeToAccuracy, ...]:
        """Those it chooses from."""
        return self.among


def time_to_accuracy(config: TimeToAccuracy, laboratory: Laboratory) -> Generator[str, None, Record]:
    """Carry out the experiment, yielding its progress in words.

    The record has ``reached``, ``learning_rate``, ``steps``, ``seconds``, ``loss_evaluations``, ``accuracy`` (of the held-out
    ``images``) and ``test_accuracy`` at the end, and ``curve``: steps, seconds and accuracy at every look.
    """
    train, dataset = config.train, laboratory.dataset
    learner, split = build_learner(train, dataset), Split(dataset, train.validation, train.seed)
    seconds, learned, steps, curve, reached = 0.0, 0, 0, [], False
    for images, took, finite in _stretches(learner, split, train.seed, config.every):
        seconds, learned, steps = seconds + took, learned + images, learner.steps
        now = accuracy(learner.model, dataset.x_train, dataset.y_train, split.validation)
        curve.append([steps, seconds, now])
        reached = now >= config.target
        if reached or not finite or steps >= config.limit_steps or seconds >= config.limit_seconds:
            break
        yield f"{describe(train)}, rate {train.learning_rate:g}: step {steps}, {seconds:.1f} s, accuracy {now:.3f}"
    return {
        "reached": reached,
        "learning_rate": train.learning_rate,
        "steps": steps,
        "seconds": seconds,
        "loss_evaluations": learned * evaluations_per_image(train.model),
        "accuracy": curve[-1][2],
        "images": len(split.validation),
        "test_accuracy": accuracy(learner.model, dataset.x_test, dataset.y_test),
        "curve": curve,
    }


def fastest_again(config: FastestAgain, laboratory: Laboratory) -> Generator[str, None, Record]:
    """Carry out the experiment when those it chooses from are done; the record is as theirs."""
    records = [read_record(laboratory.record_path(each), each).record for each in config.among]
    chosen = config.among[fastest(records)]
    again = replace(chosen, train=replace(chosen.train, seed=config.seed))
    return (yield from time_to_accuracy(again, laboratory))


def fastest(records: list[Record]) -> int:
    """Return which record reached its target in the fewest steps; where none did, which ended with the highest accuracy.

    Steps, not seconds: they do not depend on what else the machine is doing.
    """
    return min(
        range(len(records)),
        key=lambda i: (not records[i]["reached"], records[i]["steps"] if records[i]["reached"] else -records[i]["accuracy"]),
    )


def evaluations_per_image(model: Model) -> int:
    """Return how often an image's loss is computed in a step: once a replication, and once for each neuron that is flipped."""
    if not isinstance(model, NoisyModel):
        return 1
    return model.replications * (1 + sum(model.hidden) if model.estimator == "flip" else 1)


def _stretches(learner: Learner, split: Split, seed: int, every: int) -> Iterator[tuple[int, float, bool]]:
    """Learn `every` batches at a time, in the order of a training; yield images, seconds, and whether the loss is finite."""
    data: Any = split.dataset
    for epoch in itertools.count():
        order = split.training[generator(seed, "order", epoch).permutation(len(split.training))]
        for start in range(0, len(order), every * learner.batch_size):
            ids = order[start : start + every * learner.batch_size]
            began = time.perf_counter()
            x, labels = to_unit(to_device(data.x_train[ids])), to_device(data.y_train[ids])
            with np.errstate(over="ignore", invalid="ignore"):
                loss = float(sum(learned.loss.sum() for learned in learner.learn(x, labels)))  # reading it waits for the GPU
            yield len(ids), time.perf_counter() - began, bool(np.isfinite(loss))
