"""What does it cost to reach 90% accuracy from loss values: with flips, and with the plain estimator?"""

from __future__ import annotations

from collections import namedtuple
from typing import NamedTuple

import numpy as np

from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.time_to_accuracy import FastestAgain, TimeToAccuracy, fastest
from minicereb.experiments.laboratory import Record
from minicereb.report.figures import curves
from minicereb.report.formats import in_words, number, percent
from minicereb.report.page import Table, Text
from minicereb.studies.results import Blocks, Figures, Results, tabulate
from minicereb.studies.study import MNIST14, Study

# Per scale: target; two values of K for plain; rates to try; runs at the best rate; steps between checks; limits in steps and
# seconds.
CostScale = namedtuple("CostScale", "target plain rates repeats every steps seconds")
SIZES = {
    "smoke": CostScale(0.7, (20, 500), (0.02, 0.04), 1, 10, 100, 5.0),
    "course": CostScale(0.9, (100, 10_000), (0.01, 0.02, 0.04, 0.08, 0.16), 3, 20, 4000, 240.0),
    "paper": CostScale(0.9, (100, 10_000), (0.01, 0.02, 0.04, 0.08, 0.16), 3, 20, 20_000, 1800.0),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[TimeToAccuracy | FastestAgain]:
    """For each way of learning, try every rate with the first seed, then repeat the fastest with further seeds."""
    size, experiments = SIZES[scale], list[TimeToAccuracy | FastestAgain]()
    few, many = size.plain
    ways = (("flip", 1, "derivative"), ("plain", few, "score"), ("plain", many, "score"))
    for estimator, replications, last_layer in ways:
        model = NoisyModel((20,), estimator=estimator, replications=replications, last_layer=last_layer)
        trains = (Train(model, data, 25, 1, rate, "adam", seed=seeds[0]) for rate in size.rates)
        grid = tuple(TimeToAccuracy(train, size.target, size.every, size.steps, size.seconds) for train in trains)
        further = (*seeds[1:], *(max(seeds) + 1 + number for number in range(size.repeats - len(seeds))))
        experiments += [*grid, *(FastestAgain(grid, seed) for seed in further)]
    return experiments


class Way(NamedTuple):
    """The results of one way of learning: a record for each rate, and the records at the fastest rate, one per seed."""

    name: str
    grid: dict[float, Record]
    best: list[Record]

    @property
    def reached(self) -> bool:
        """Whether every run at the fastest rate reached the target."""
        return all(record["reached"] for record in self.best)

    def mean(self, what: str) -> float:
        """Return the mean of the entry `what` over the runs at the fastest rate."""
        return float(np.mean([record[what] for record in self.best]))


def ways_of(results: Results) -> list[Way]:
    """Group the results by way of learning, in the order of the results."""
    found = []
    models = results.by(lambda c: (c.among[0] if isinstance(c, FastestAgain) else c).train.model)
    for model, group in models.items():
        grid, again = group.where(TimeToAccuracy).records, group.where(FastestAgain).records
        name = f"{model.estimator}, K = {model.replications:,}"  # type: ignore[union-attr]
        found.append(Way(name, {record["learning_rate"]: record for record in grid}, [grid[fastest(grid)], *again]))
    return found


def table(results: Results) -> Blocks:
    """Tabulate the cost of each way of learning at its fastest rate, then the result at every rate."""
    ways = ways_of(results)
    flip = ways[0]

    def bounded(way: Way, written: str) -> str:
        return ("" if way.reached else "> ") + written

    def seconds(way: Way) -> str:
        each = [record["seconds"] for record in way.best]
        spread = f" ({number(min(each))} to {number(max(each))})" if len(each) > 1 else ""
        return bounded(way, number(way.mean("seconds")) + spread)

    costs = tabulate(
        "estimator",
        {way.name: way for way in ways},
        ("rate", lambda way: f"{way.best[0]['learning_rate']:g}"),
        ("runs that reached it", lambda way: f"{sum(record['reached'] for record in way.best)} of {len(way.best)}"),
        ("seconds", seconds),
        ("steps", lambda way: bounded(way, f"{way.mean('steps'):,.0f}")),
        ("loss evaluations, millions", lambda way: bounded(way, number(way.mean("loss_evaluations") / 1e6))),
        ("test accuracy", lambda way: percent(way.mean("test_accuracy"))),
        (
            "seconds / flip's",
            lambda way: bounded(way, number(way.mean("seconds") / flip.mean("seconds"))) if flip.reached else "",
        ),
    )
    by_rate = [[way.name, *map(_outcome, way.grid.values())] for way in ways]
    return [costs, Table(["steps needed, by rate", *(f"{rate:g}" for rate in flip.grid)], by_rate), Text(_legend(results))]


def _outcome(record: Record) -> str:
    if record["reached"]:
        return f"{record['steps']:,}"
    return f"not in {record['steps']:,} ({percent(record['accuracy'])}%)"


def _legend(results: Results) -> str:
    config, record = results[0]
    seeds = sorted({c.seed if isinstance(c, FastestAgain) else c.train.seed for c, _ in results})
    rates = dict.fromkeys(record["learning_rate"] for record in results.where(TimeToAccuracy).records)
    return (
        f"Cost of reaching {100 * config.target:g}% of {record['images']:,} held-out training images ({config.train.data.name}), "
        f"classified without noise and checked every {config.every} steps: the first check that reaches the target counts, which "
        "flatters all estimators alike. A network with 20 hidden threshold neurons, Gaussian noise 2, cross-entropy, batches of "
        f"25, Adam at a constant rate, the one of {', '.join(f'{rate:g}' for rate in rates)} that needed the fewest steps with "
        f"seed {config.train.seed}; means over {in_words(seeds)}, including that one. Seconds are those of learning alone on "
        "this machine and differ from run to run, so the records are not reproduced bit by bit. Loss evaluations: K × images, "
        f"for flip plus one for each flipped neuron. A run ends without the target after {config.limit_steps:,} steps or "
        f"{config.limit_seconds:g} s; «>» marks means in which such runs count as if they had reached it at their end."
    )


def figures(results: Results) -> Figures:
    """Draw accuracy against seconds of learning, for all runs at the fastest rate of each way of learning."""
    lines = {}
    for way in ways_of(results):
        gap = np.full((1, 3), np.nan, dtype=np.float64)
        checks = np.concatenate([np.concatenate((np.array(record["curve"], dtype=np.float64), gap)) for record in way.best])
        lines[way.name] = (checks[:, 1], 100 * checks[:, 2])
    taken = "; ".join(map(_time_taken, ways_of(results)))
    said = f"Seconds of learning until {100 * results[0][0].target:g}% of the images are right: {taken}."
    axes = ("seconds of learning", "held-out images, % correct")
    return {"cost": curves([("", lines)], *axes, logarithmic=True, conclusion=said)}


def _time_taken(way: Way) -> str:
    """Describe the range of times, in seconds, after which the runs reached the target."""
    seconds = sorted(record["seconds"] for record in way.best)
    span = f"{number(seconds[0])} to {number(seconds[-1])}" if len(seconds) > 1 else number(seconds[0])
    return f"{way.name}: {span}{'' if way.reached else ', not reached in every run'}"


COST = Study(
    "cost",
    "What does it cost to reach 90% accuracy from loss values: with flips, and with the plain estimator?",
    plan,
    table,
    figures,
    captions={
        "cost": (
            "Accuracy on the held-out images, in %, over the seconds of learning on this machine; every run of each way at its "
            "fastest rate, one line per run."
        ),
    },
    dataset=MNIST14,
)
