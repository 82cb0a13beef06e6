"""The time that a network takes to reach a certain accuracy: in seconds, steps, and evaluations of the loss."""

from __future__ import annotations

import itertools
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from minicereb.backend import to_device
from minicereb.datasets.transforms import to_unit
from minicereb.documents import Count, Range, Share
from minicereb.errors import require
from minicereb.experiments.architectures import IN_TIME, Model, NoisyModel, build_learner
from minicereb.experiments.configs import Experiment, Train, describe
from minicereb.experiments.identity import config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.records import read_record, shape
from minicereb.learning.resampling import PAIRS
from minicereb.learning.training import Learner, Split, accuracy, learn_numbered
from minicereb.randomness import generator
from minicereb.settings import setting

RECORD = shape(
    reached=bool,
    learning_rate=float,
    steps=Count,
    seconds=float,
    loss_evaluations=Annotated[int, Range(0)],
    accuracy=Share,
    images=Count,
    test_accuracy=Share,
    curve=list[tuple[Count, float, Share]],
)


@config_kind
@dataclass(frozen=True)
class TimeToAccuracy(Experiment):
    """Learning until the accuracy on the held-out images reaches a target, or until a limit is reached.

    Two runs do not give the same record bit for bit: a record contains times, and a time limit may end learning at a
    different step.
    """

    record_shape = RECORD
    train: Train = setting(help="How the model learns, at a constant rate; epochs and keep are not used.")
    target: float = setting(help="Accuracy to reach on the held-out images, without noise.", above=0, at_most=1)
    every: int = setting(help="Steps from one measurement to the next.", at_least=1)
    limit_steps: int = setting(help="Largest number of steps.", at_least=1)
    limit_seconds: float = setting(help="Longest time of learning.", unit="s", above=0)

    def __post_init__(self) -> None:
        require(self.train.validation > 0, "validation", self.train.validation, "a share above 0: the target is on these images")
        require(
            self.train.schedule == "constant",
            "schedule",
            self.train.schedule,
            "constant: the number of steps is not known in advance",
        )

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Learn until the target or a limit is reached; ``curve`` has steps, seconds and accuracy at every measurement."""
        train, dataset = self.train, laboratory.dataset
        learner, split = build_learner(train, dataset), Split(dataset, train.validation, train.seed)
        seconds, learned, steps, curve, reached = 0.0, 0, 0, [], False
        for images, took, finite in _stretches(learner, split, train.seed, self.every):
            seconds, learned, steps = seconds + took, learned + images, learner.steps
            now = accuracy(learner.model, dataset.x_train, dataset.y_train, split.validation)
            curve.append([steps, seconds, now])
            reached = now >= self.target
            if reached or not finite or steps >= self.limit_steps or seconds >= self.limit_seconds:
                break
            yield f"{describe(train)}, rate {train.learning_rate:g}: step {steps}, {seconds:.1f} s, accuracy {now:.3f}"
        return {
            "reached": reached,
            "learning_rate": train.learning_rate,
            "steps": steps,
            "seconds": seconds,
            "loss_evaluations": learned * evaluations_per_image(train.model, dataset.image_shape),
            "accuracy": curve[-1][2],
            "images": len(split.validation),
            "test_accuracy": accuracy(learner.model, dataset.x_test, dataset.y_test),
            "curve": curve,
        }


@config_kind
@dataclass(frozen=True)
class FastestAgain(Experiment):
    """A repetition, with another seed, of the experiment that reached its target in the fewest steps."""

    record_shape = RECORD
    among: tuple[TimeToAccuracy, ...] = setting(help="The experiments.")
    seed: int = setting(help="The other seed.")

    def __post_init__(self) -> None:
        require(len(self.among) >= 1, "among", "nothing", "at least one experiment")

    @property
    def experiments(self) -> tuple[TimeToAccuracy, ...]:
        """The experiments to choose from."""
        return self.among

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Repeat the fastest experiment with the other seed; the record has the same entries as the records of `among`."""
        records = [read_record(laboratory.record_path(each), each).record for each in self.among]
        chosen = self.among[fastest(records)]
        again = replace(chosen, train=replace(chosen.train, seed=self.seed))
        return (yield from again.run(laboratory))


def fastest(records: list[Record]) -> int:
    """Return the index of the record that reached the target in the fewest steps or, if none did, of the most accurate one.

    Steps are used rather than seconds, because the number of steps does not depend on the machine's other work.
    """
    return min(
        range(len(records)),
        key=lambda i: (not records[i]["reached"], records[i]["steps"] if records[i]["reached"] else -records[i]["accuracy"]),
    )


def evaluations_per_image(model: Model, image_shape: tuple[int, ...] = (1,)) -> int:
    """Return how many times one learning step evaluates the loss for each image.

    There is one evaluation per replication or, if one layer at a time has noise, one per replication and layer. Every
    flipped neuron adds one evaluation, and every neuron whose noise is redrawn adds several. Flips change every spiking
    neuron in every time step. In recurrent layers, and when the noise of spiking neurons is redrawn, only randomly drawn
    units are changed, and each counts as a whole run. Losses that are computed from changed outputs, without another run,
    are not counted.
    """
    if not isinstance(model, NoisyModel):
        return 1
    steps = 1 if model.network not in IN_TIME else model.steps if model.presentation == "whole" else image_shape[0]
    drawn = model.network == "recurrent" or (model.network == "spiking" and model.estimator == "resample")
    units = model.probes if drawn else sum(model.hidden) * steps + model.probes * len(model.channels)
    layers = len(model.hidden) + len(model.channels) + 1 if model.placement == "in-turn" else 1
    return model.replications * (layers + {"flip": 1, "resample": 2 * PAIRS}.get(model.estimator, 0) * units)


def _stretches(learner: Learner, split: Split, seed: int, every: int) -> Iterator[tuple[int, float, bool]]:
    """Train in stretches of `every` batches, in the usual order; a stretch also ends with its epoch.

    After each stretch, yield its number of images, the seconds that it took, and whether its loss is finite.
    """
    data: Any = split.dataset
    for epoch in itertools.count():
        order = split.training[generator(seed, "order", epoch).permutation(len(split.training))]
        for start in range(0, len(order), every * learner.batch_size):
            ids = order[start : start + every * learner.batch_size]
            began = time.perf_counter()
            x, labels = to_unit(to_device(data.x_train[ids])), to_device(data.y_train[ids])
            with np.errstate(over="ignore", invalid="ignore"):
                loss = float(
                    sum(learned.loss.sum() for learned in learn_numbered(learner, x, labels, to_device(ids)))
                )  # reading it waits for the GPU
            yield len(ids), time.perf_counter() - began, bool(np.isfinite(loss))
