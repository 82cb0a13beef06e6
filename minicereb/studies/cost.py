"""What does it cost to reach 90% accuracy from loss values: with flips, and with the plain estimator?"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.time_to_accuracy import FastestAgain, TimeToAccuracy, fastest
from minicereb.experiments.laboratory import Record
from minicereb.report.figures import curves, save_figure
from minicereb.report.pipes import markdown
from minicereb.studies.study import Results, Study, short


class Size(NamedTuple):
    """Of a scale: target; two K for plain; rates tried; runs at the best; steps between looks; limits in steps and seconds."""

    target: float
    plain: tuple[int, int]
    rates: tuple[float, ...]
    repeats: int
    every: int
    steps: int
    seconds: float


SIZES = {
    "smoke": Size(0.7, (20, 500), (0.02, 0.04), 1, 10, 100, 5.0),
    "course": Size(0.9, (100, 10_000), (0.01, 0.02, 0.04, 0.08, 0.16), 3, 20, 4000, 240.0),
    "paper": Size(0.9, (100, 10_000), (0.01, 0.02, 0.04, 0.08, 0.16), 3, 20, 20_000, 1800.0),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[TimeToAccuracy | FastestAgain]:
    """For each way to learn: every rate with the first seed, then the fastest with further seeds, at least three runs in all."""
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
    """What was done with one way to learn: a record for each rate, and those at the fastest rate, one a seed."""

    name: str
    grid: dict[float, Record]
    best: list[Record]

    @property
    def reached(self) -> bool:
        """Whether every run at the fastest rate reached the target."""
        return all(record["reached"] for record in self.best)

    def mean(self, what: str) -> float:
        """Mean over the runs at the fastest rate."""
        return float(np.mean([record[what] for record in self.best]))


def ways_of(results: Results) -> list[Way]:
    """Sort the results by the way to learn, in their order."""
    found: dict[str, Way] = {}
    for config, record in results:
        again = isinstance(config, FastestAgain)
        model = (config.among[0] if again else config).train.model
        way = found.setdefault(name_of(model), Way(name_of(model), {}, []))
        if again:
            way.best.append(record)
        else:
            way.grid[record["learning_rate"]] = record
    for way in found.values():
        records = list(way.grid.values())
        way.best.insert(0, records[fastest(records)])
    return list(found.values())


def name_of(model: NoisyModel) -> str:
    """Return estimator and K, as the table calls a way to learn."""
    return f"{model.estimator}, K = {model.replications:,}"


def table(results: Results) -> str:
    """What each way costs at its fastest rate, then how each rate went."""
    ways = ways_of(results)
    head = [
        "estimator",
        "rate",
        "runs that reached it",
        "seconds",
        "steps",
        "loss evaluations, millions",
        "test accuracy",
        "seconds / flip's",
    ]
    rows = []
    for way in ways:
        at_least = "" if way.reached else "> "
        seconds = [record["seconds"] for record in way.best]
        between = f" ({short(min(seconds))} to {short(max(seconds))})" if len(seconds) > 1 else ""
        cells = [
            way.name,
            f"{way.best[0]['learning_rate']:g}",
            f"{sum(record['reached'] for record in way.best)} of {len(way.best)}",
            f"{at_least}{short(way.mean('seconds'))}{between}",
            f"{at_least}{way.mean('steps'):,.0f}",
            f"{at_least}{short(way.mean('loss_evaluations') / 1e6)}",
            f"{100 * way.mean('test_accuracy'):.1f}",
            f"{at_least}{short(way.mean('seconds') / ways[0].mean('seconds'))}" if ways[0].reached else "",
        ]
        rows.append(cells)
    rates = list(ways[0].grid)
    by_rate = [[way.name, *(_outcome(way.grid[rate]) for rate in rates)] for way in ways]
    lines = [*markdown(head, rows), "", *markdown(["steps until then, by rate", *(f"{rate:g}" for rate in rates)], by_rate)]
    return "\n".join([*lines, "", caption(results)])


def _outcome(record: Record) -> str:
    if record["reached"]:
        return f"{record['steps']:,}"
    return f"not in {record['steps']:,} ({100 * record['accuracy']:.1f}%)"


def caption(results: Results) -> str:
    """Say what was measured, and how."""
    config, record = results[0]
    seeds = sorted({c.seed if isinstance(c, FastestAgain) else c.train.seed for c, _ in results})
    return (
        f"Cost of reaching {100 * config.target:g}% of {record['images']:,} held-out training images ({config.train.data.name}), "
        f"answered without noise and looked at every {config.every} steps: the first look that is good enough counts, which "
        "flatters all alike. A network with 20 hidden threshold neurons, Gaussian noise 2, cross-entropy, batches of 25, Adam "
        f"at a constant rate, the one of {', '.join(f'{rate:g}' for rate in dict.fromkeys(_rates(results)))} that needed the "
        f"fewest steps with seed {config.train.seed}; means over seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}, that "
        "one among them. Seconds are those of learning alone on this machine, never twice the same, so the records are not "
        "reproduced bit by bit. Loss evaluations: K × images, for flip with one more for each flipped neuron. A run ends without "
        f"the target after {config.limit_steps:,} steps or {config.limit_seconds:g} s; «>» marks means in which such runs count "
        "as if they had reached it at their end."
    )


def _rates(results: Results) -> list[float]:
    return [record["learning_rate"] for config, record in results if isinstance(config, TimeToAccuracy)]


def figures(results: Results, out: Path) -> None:
    """Draw ``cost.png``: accuracy against seconds of learning, all runs at each way's fastest rate."""
    lines = {}
    for way in ways_of(results):
        ends = np.full((1, 3), np.nan, dtype=np.float64)
        looks = np.concatenate([np.concatenate((np.array(record["curve"], dtype=np.float64), ends)) for record in way.best])
        lines[way.name] = (looks[:, 1], 100 * looks[:, 2])
    figure = curves([("", lines)], "seconds of learning", "held-out images right, %", logarithmic=True)
    save_figure(figure, out / "cost.png")


COST = Study(
    "cost",
    "What does it cost to reach 90% accuracy from loss values: with flips, and with the plain estimator?",
    {"smoke": "strokes14", "course": "mnist14", "paper": "mnist14"},
    plan,
    table,
    figures,
    captions={
        "cost": (
            "Share of the held-out images that are right, in %, over the seconds of learning on this machine; "
            "every run of each way at its fastest rate, one line a run."
        ),
    },
)
