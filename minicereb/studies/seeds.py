"""How different are models that differ only in the seed, and how small a difference can a few seeds show?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import sqrt
from typing import NamedTuple

import numpy as np

from minicereb.experiments.configs import Data, Experiment, Train
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.kinds.paired import PairedComparison
from minicereb.experiments.laboratory import Record
from minicereb.report.figures import curves
from minicereb.report.formats import in_words, percent
from minicereb.report.page import Table, Text
from minicereb.statistics import detectable_difference, holm, mean_interval, standard_deviation
from minicereb.studies.protocol import as_printed, evaluated, four_models
from minicereb.studies.results import Blocks, Figures, Results
from minicereb.studies.study import Study
from minicereb.studies.tables import SAYS_PGD, UNDER_ALL, entry_at, what_is_left

PAPERS = (0, 123)  # the paper's seeds
DETECTED_WITH = (2, 5, 10)  # numbers of seeds
ROUNDING = 1e-9  # a smaller spread is rounding error
# Per scale: cells in full and random wiring, epochs, images evaluated, ε.
SIZES = {
    "smoke": (50, 200, 1, 8, (0.1,)),
    "course": (597, 20_000, 2, 50, (0.02, 0.05, 0.1)),
    "paper": (5_970, 200_000, 10, 500, (0.02, 0.05, 0.1, 0.3)),
}
NAMES = ("full", "full, LTD", "random k=4", "random k=4, LTD")
PAIRS = (("full, LTD", "full"), ("random k=4, LTD", "random k=4"), ("random k=4", "full"), ("random k=4, LTD", "full, LTD"))


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Evaluate every model of the ablation at every seed, and compare models that differ in one respect, seed by seed."""
    full, random, epochs, images, epsilons = SIZES[scale]
    experiments: list[Experiment] = []
    for seed in seeds:
        models = {}
        for name, model in zip(NAMES, four_models(full, random), strict=True):
            whole = evaluated(as_printed(model, data, epochs, seed), scale)
            models[name] = replace(whole, images=images, epsilons=epsilons)
        experiments += [*models.values(), *(PairedComparison(models[one], models[other]) for one, other in PAIRS)]
    return experiments


class Measure(NamedTuple):
    """A measurement of a model: ``test`` on all test images, or at one ε on the evaluated images."""

    label: str  # test, MSE-PGD, attacked or certified
    epsilon: float | None = None

    def __str__(self) -> str:
        return self.label if self.epsilon is None else f"{self.label} {self.epsilon:g}"

    def of(self, record: Record) -> float | None:
        """Return the share in the record of an evaluation, or None."""
        if self.epsilon is None:
            return record["test_accuracy"]  # type: ignore[no-any-return]
        entry = entry_at(record, self.epsilon)
        return entry["by_attack"]["pgd-mse"] if self.label == "MSE-PGD" else entry[self.label]  # type: ignore[no-any-return]

    def compared(self, record: Record) -> Record | None:
        """Return this measure's entry in the record of a paired comparison, or None."""
        return None if self.epsilon is None else entry_at(record, self.epsilon).get(self.label)


def name_of_model(train: Train) -> str:
    """Return the name of a model in the tables."""
    return train.model.wiring + " k=4" * (train.model.wiring == "random") + ", LTD" * train.model.ltd  # type: ignore[union-attr]


def by_seed(results: Results, measure: Measure) -> dict[str, dict[int, float]]:
    """Return a measure of each model at each seed."""
    found: dict[str, dict[int, float]] = {name: {} for name in NAMES}
    for config, record in results.where(EvaluatedModel):
        share = measure.of(record)
        if share is not None:
            found[name_of_model(config.train)][config.train.seed] = share
    return found


class Difference(NamedTuple):
    """The difference between two models, seed by seed; `error` and `found` are None if the images were not compared."""

    values: list[float]
    error: float | None  # standard deviation of one value that is due only to the choice of images
    found: int | None  # number of seeds at which McNemar's test finds it


def differences(results: Results, measures: Sequence[Measure]) -> dict[tuple[str, str, Measure], Difference]:
    """Return the differences for every pair of models and every measure; p-values are adjusted for all these tests."""
    paired = {
        (*map(name_of_model, config.trainings), measure, config.one.train.seed): record
        for config, each in results.where(PairedComparison)
        for measure in measures
        if (record := measure.compared(each)) is not None
    }
    adjusted = dict(zip(paired, holm([record["p"] for record in paired.values()]), strict=True))
    found, images = {}, results.where(PairedComparison)[0][1]["images"]
    for (one, other), measure in product(PAIRS, measures):
        shares = by_seed(results, measure)
        values = [shares[one][seed] - shares[other][seed] for seed in shares[one] if seed in shares[other]]
        keys = [key for key in paired if key[:3] == (one, other, measure)]
        if keys:
            error = sqrt(sum(_image_variance(paired[key], images) for key in keys) / len(keys))
            found[one, other, measure] = Difference(values, error, sum(adjusted[key] < 0.05 for key in keys))
        else:
            found[one, other, measure] = Difference(values, None, None)
    return found


def _image_variance(record: Record, images: int) -> float:
    """Estimate the variance, due to the choice of images, of the difference between two paired shares."""
    b, c = record["only_one"], record["only_other"]
    return (b + c - (b - c) ** 2 / images) / images**2


def table(results: Results) -> Blocks:
    """Return means over the seeds for each model and difference, and the smallest difference that a few seeds would reveal."""
    epsilons = results.where(EvaluatedModel)[0][0].epsilons
    at_epsilon = [Measure(label, e) for e, label in product(epsilons, ("MSE-PGD", "attacked", "certified"))]
    measures = [measure for measure in (Measure("test"), *at_epsilon) if any(by_seed(results, measure).values())]
    seeds = results.where(EvaluatedModel).seeds
    alone = [Text("One seed: how far apart other seeds lie is unknown; give several.")] * (len(seeds) == 1)
    return [*_models_table(results, measures, seeds), *alone, *_differences_table(results, measures, len(seeds))]


def _models_table(results: Results, measures: list[Measure], seeds: list[int]) -> Blocks:
    rows, record = [], results.where(EvaluatedModel)[0][1]
    for measure in measures:
        shares = by_seed(results, measure)
        rows.append([f"{measure}", *(_over_seeds(list(shares[name].values())) for name in NAMES)])
    legend = (
        "In %: mean over the seeds, in brackets its 95% interval (Student's t), then ± the standard deviation of a single seed; "
        "(all): no seed differs, which on so few images does not prove that none would. "
        f"Test: all {record['test_images']:,} test images; the others: the first {record['images']:,}. MSE-PGD: accuracy under "
        "the paper's attack; attacked: robust accuracy under all attacks; certified: the proved share, at each ε. "
        f"{in_words(seeds).capitalize()}: of wiring, weights, validation split, order of the images, and starts of attacks."
    )
    return [Table(["measure", *NAMES], rows), Text(legend)]


def _differences_table(results: Results, measures: list[Measure], seeds: int) -> Blocks:
    rows, found = [], differences(results, measures)
    for (one, other, measure), each in found.items():
        spread = standard_deviation(each.values) if seeds > 1 else 0.0
        cells = [one, other, f"{measure}", _mean(each.values), percent(spread) if seeds > 1 else "-", percent(each.error)]
        cells.append("-" if each.found is None else f"{each.found} of {seeds}")
        rows.append(cells + [percent(detectable_difference(spread, n)) if spread >= ROUNDING else "-" for n in DETECTED_WITH])
    tests = seeds * sum(each.found is not None for each in found.values())
    legend = (
        "The first minus the second, in percentage points: mean over the seeds, each model compared with the one of the same "
        "seed, in brackets the 95% interval (Student's t). ± seeds: standard deviation of the difference at a single seed; ± "
        "images: what the choice of the images alone would contribute to it. Found: at how many seeds McNemar's exact test on "
        f"the images, adjusted by Holm for the {tests} tests of the table, has p below 0.05. n = "
        f"{', '.join(map(str, DETECTED_WITH))}: smallest true difference that a paired t-test with this many seeds would detect "
        f"in 80% of cases at the 5% level, from ± seeds, itself estimated from {seeds} seed{'s' * (seeds > 1)}; the paper used "
        f"{len(PAPERS)}, {' and '.join(map(str, PAPERS))}. If no seed differs there is neither an interval nor an n."
    )
    head = ["first", "second", "measure", "difference", "± seeds", "± images", "found", *(f"n = {n}" for n in DETECTED_WITH)]
    return [Table(head, rows), Text(legend)]


def _over_seeds(shares: list[float]) -> str:
    if len(shares) < 2:
        return percent(shares[0]) if shares else "-"
    mean, spread = percent(sum(shares) / len(shares)), standard_deviation(shares)
    if spread < ROUNDING:
        return f"{mean} (all)"
    low, high = (percent(min(1.0, max(0.0, bound))) for bound in mean_interval(shares))
    return f"{mean} ({low}-{high}) ± {percent(spread)}"


def _mean(values: list[float]) -> str:
    mean = f"{100 * sum(values) / len(values):+.1f}"
    if len(values) < 2:
        return f"{mean}, one seed"
    if standard_deviation(values) < ROUNDING:
        return f"{mean} (all)"
    low, high = mean_interval(values)
    return f"{mean} [{100 * low:+.1f}, {100 * high:+.1f}]"


def figures(results: Results) -> Figures:
    """Draw accuracy against ε under PGD on the squared error and under all attacks, with intervals over the seeds."""
    config, record = results.where(EvaluatedModel)[0]
    panels = [
        (title, {name: _line(results, label, config.epsilons, name) for name in NAMES})
        for title, label in ((SAYS_PGD, "MSE-PGD"), (UNDER_ALL, "attacked"))
    ]
    conclusion = what_is_left(*(lines for _, lines in panels))
    return {"seeds": curves(panels, "ε", f"share of {record['images']:,} images", from_zero=True, conclusion=conclusion)}


def _line(results: Results, label: str, epsilons: tuple[float, ...], name: str) -> tuple[np.ndarray, ...]:
    """Return ε, means over the seeds, and their intervals if there are several seeds."""
    seeds = [list(by_seed(results, Measure(label, epsilon))[name].values()) for epsilon in epsilons]
    line = [epsilons, [sum(shares) / len(shares) for shares in seeds]]
    if all(len(shares) > 1 for shares in seeds):
        line += zip(*map(mean_interval, seeds), strict=True)
    return tuple(np.clip(np.array(values, dtype=np.float64), 0, 1) for values in line)


SEEDS = Study(
    "seeds",
    "How far apart are models that differ only in the seed, and what difference can two seeds show?",
    plan,
    table,
    figures,
    "The cerebellum paper (Yuezhang, Li and Chen, a registered plan) plans to report its results with different random seeds, "
    "since the wiring is random; its authors used two, 0 and 123. Published figures: none.",
    captions={
        "seeds": (
            "The four models of the ablation: share of the evaluated test images over ε (L∞, pixels in 0 to 1), mean over the "
            "seeds. Left: accuracy under the paper's PGD on the squared error; right: robust accuracy under all attacks. Points "
            "are measurements, joined by lines; bars are 95% intervals over the seeds (Student's t)."
        )
    },
    seeds={"smoke": (0, 123), "course": (0, 123, 1, 2, 3), "paper": (0, 123, *range(1, 9))},
)
