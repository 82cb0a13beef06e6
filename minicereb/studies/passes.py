"""How many forward passes does learning by the score need, with a learned baseline, output draws, or allocation?"""

from __future__ import annotations

from collections import namedtuple
from math import exp, log
from typing import Any

from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.time_to_accuracy import FastestAgain, TimeToAccuracy, evaluations_per_image, fastest
from minicereb.experiments.laboratory import Record
from minicereb.report.formats import in_words, number, percent
from minicereb.report.page import Table, Text
from minicereb.statistics import mean_interval
from minicereb.studies.results import Blocks, Results
from minicereb.studies.study import MNIST14, Study

SCORE = {"estimator": "rao-blackwell", "last_layer": "score"}
IMAGE = {"replications": 1, "baseline": "image"}
EARLIER: dict[str, dict[str, Any]] = {
    "flip, outputs resampled": {"estimator": "flip", "last_layer": "resample"},
    "Rao-Blackwell, K = 4": {**SCORE, "replications": 4},
}
WAYS: dict[str, dict[str, Any]] = {
    **EARLIER,
    "K = 4, allocation": {**SCORE, "replications": 4, "allocation": "scatter"},
    "K = 1, baseline by image": {**SCORE, **IMAGE},
    "K = 1, baseline by image, 16 output draws": {**SCORE, **IMAGE, "output_draws": 16},
    "K = 1, all three": {**SCORE, **IMAGE, "output_draws": 16, "allocation": "scatter"},
}

# Per scale: target; hidden layers; rates tried; runs at the best; steps between checks; limits in passes per image and seconds.
PassesScale = namedtuple("PassesScale", "target hidden rates repeats images passes seconds")
SIZES = {
    "smoke": PassesScale(0.15, (16, 8), (0.006, 0.012), 1, 2000, 20_000, 5.0),
    "course": PassesScale(0.85, (64, 32), (0.006,), 3, 5000, 6_000_000, 240.0),
    "paper": PassesScale(0.97, (64, 32), (0.0015, 0.003, 0.006), 3, 20_000, 60_000_000, 7200.0),
}
BATCH = 100


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[TimeToAccuracy | FastestAgain]:
    """For each way of learning, try every rate with the first seed, then repeat the fastest with further seeds."""
    size, experiments = SIZES[scale], list[TimeToAccuracy | FastestAgain]()
    for way in WAYS.values():
        model = NoisyModel(size.hidden, noise_scale=(2.0,) * len(size.hidden) + (0.5,), **way)
        trains = (Train(model, data, BATCH, 1, rate, "adam", seed=seeds[0]) for rate in size.rates)
        steps = max(1, size.passes // (BATCH * evaluations_per_image(model)))
        every = min(steps, size.images // BATCH)
        grid = tuple(TimeToAccuracy(train, size.target, every, steps, size.seconds) for train in trains)
        further = (*seeds[1:], *(max(seeds) + 1 + more for more in range(size.repeats - len(seeds))))
        experiments += [*grid, *(FastestAgain(grid, seed) for seed in further)]
    return experiments


def runs_of(results: Results) -> dict[str, list[Record]]:
    """Return the records of each way at its fastest rate, one per seed."""
    found = {}
    for model, group in results.by(lambda c: (c.among[0] if isinstance(c, FastestAgain) else c).train.model).items():
        settings = {name: getattr(model, name) for name in ("estimator", "last_layer", "replications")}
        settings |= {name: getattr(model, name) for name in ("baseline", "output_draws", "allocation")}
        usual = {"replications": 1, "baseline": "mean", "output_draws": 1, "allocation": "equal"}
        name = next(name for name, way in WAYS.items() if usual | way == settings)
        grid = group.where(TimeToAccuracy).records
        found[name] = [grid[fastest(grid)], *group.where(FastestAgain).records]
    return found


def ratio(records: list[Record], others: list[Record]) -> str:
    """Format the ratio of the passes that two ways of learning need, seed by seed: geometric mean and 95% interval."""
    logs = [log(a["loss_evaluations"] / b["loss_evaluations"]) for a, b in zip(records, others, strict=True)]
    shown = number(exp(sum(logs) / len(logs)))
    if len(logs) < 2:
        return shown
    low, high = mean_interval(logs)
    return f"{shown} [{number(exp(low))}, {number(exp(high))}]"


def table(results: Results) -> Blocks:
    """Tabulate the passes of each way of learning at its fastest rate.

    A second column divides them by the passes of the best earlier way.
    """
    runs = runs_of(results)

    def passes(name: str) -> float:
        return sum(record["loss_evaluations"] for record in runs[name]) / len(runs[name])

    def reached(name: str) -> bool:
        return all(record["reached"] for record in runs[name])

    best = min(EARLIER, key=lambda name: (not reached(name), passes(name)))
    rows = []
    for name, records in runs.items():
        bound = "" if reached(name) else "> "
        rows.append(
            [
                name,
                f"{records[0]['learning_rate']:g}",
                f"{sum(record['reached'] for record in records)} of {len(records)}",
                bound + number(passes(name) / 1e6),
                bound + ratio(records, runs[best]),
                bound + number(sum(record["seconds"] for record in records) / len(records)),
                percent(sum(record["test_accuracy"] for record in records) / len(records)),
            ]
        )
    head = [
        "estimator",
        "rate",
        "runs that reached it",
        "passes, millions",
        f"passes / those of {best}",
        "seconds",
        "test accuracy",
    ]
    return [Table(head, rows), Text(_legend(results))]


def _legend(results: Results) -> str:
    config, record = results[0]
    seeds = sorted({c.seed if isinstance(c, FastestAgain) else c.train.seed for c, _ in results})
    model = config.train.model
    return (
        f"Forward passes, in which the image and one draw of the noise give one loss, until {100 * config.target:g}% of "
        f"{record['images']:,} held-out training images ({config.train.data.name}) are right, classified without noise. Networks "
        f"of {'-'.join(map(str, model.hidden))} threshold neurons, Gaussian noise of 2, and 0.5 on the outputs; cross-entropy; "
        f"batches of {config.train.batch_size}; Adam at a constant rate, the fastest of those tried with seed "
        f"{config.train.seed}. Means over {in_words(seeds)}; in brackets 95% intervals over seeds. A flip counts as a "
        "pass; losses at other noise on the outputs do not. «>» marks means with runs that ended before they reached it, "
        "counted with the passes until then."
    )


PASSES = Study(
    "passes",
    "How many forward passes does it take to reach an accuracy, with a learned baseline, several output draws, and allocation?",
    plan,
    table,
    dataset={**MNIST14, "paper": "mnist"},
)
