"""How far do models that differ in nothing but the seed lie apart, and what difference can a few seeds show?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Data, Experiment, Train
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.kinds.paired import PairedComparison
from minicereb.experiments.laboratory import Record
from minicereb.report.figures import curves, save_figure
from minicereb.report.pipes import markdown
from minicereb.statistics import detectable_difference, holm, mean_interval, standard_deviation
from minicereb.studies.protocol import as_printed, evaluated
from minicereb.studies.study import Results, Study

PAPERS = (0, 123)  # the paper's seeds
DETECTED_WITH = (2, 5, 10)  # numbers of seeds
ROUNDING = 1e-9  # a spread below this is none
# Per scale: cells in full and random wiring, epochs, images evaluated, ε.
SIZES = {
    "smoke": (50, 200, 1, 8, (0.1,)),
    "course": (597, 20_000, 2, 50, (0.02, 0.05, 0.1)),
    "paper": (5_970, 200_000, 10, 500, (0.02, 0.05, 0.1, 0.3)),
}
NAMES = {  # of the models: wiring, LTD
    "full": ("full", False),
    "full, LTD": ("full", True),
    "random k=4": ("random", False),
    "random k=4, LTD": ("random", True),
}
PAIRS = (("full, LTD", "full"), ("random k=4, LTD", "random k=4"), ("random k=4", "full"), ("random k=4, LTD", "full, LTD"))


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Every model of the ablation evaluated at every seed, and those that differ in one thing compared seed by seed."""
    experiments: list[Experiment] = []
    for seed in seeds:
        models = {name: _evaluation(data, scale, seed, *settings) for name, settings in NAMES.items()}
        experiments += models.values()
        experiments += [PairedComparison(models[one], models[other]) for one, other in PAIRS]
    return experiments


def _evaluation(data: Data, scale: str, seed: int, wiring: str, ltd: bool) -> EvaluatedModel:
    full, random, epochs, images, epsilons = SIZES[scale]
    model = CerebellumModel(wiring, full, ltd=ltd) if wiring == "full" else CerebellumModel(wiring, random, 4, ltd=ltd)
    whole = evaluated(as_printed(model, data, epochs, seed), scale, seed)
    return replace(whole, images=images, epsilons=epsilons)


# -- what was found ----------------------------------------------------------------------------------------------------------


class Measure(NamedTuple):
    """What is measured of a model: ``test`` on all test images, or at one ε of the evaluated ones.

    Attributes
    ----------
    side : {"test", "MSE-PGD", "attacked", "certified"}
    epsilon : float or None
    """

    side: str
    epsilon: float | None = None

    @property
    def name(self) -> str:
        """A few words."""
        return self.side if self.epsilon is None else f"{self.side} {self.epsilon:g}"

    def of(self, record: Record) -> float | None:
        """The share in the record of an evaluation, None if it has none."""
        if self.epsilon is None:
            return record["test_accuracy"]
        entry = next(each for each in record["epsilons"] if each["epsilon"] == self.epsilon)
        return entry["by_attack"]["pgd-mse"] if self.side == "MSE-PGD" else entry[self.side]

    def compared(self, record: Record) -> Record | None:
        """What the record of a paired comparison says of it, None if nothing."""
        entries = [each for each in record["epsilons"] if each["epsilon"] == self.epsilon]
        return entries[0].get(self.side) if entries else None


def name_of_model(train: Train) -> str:
    """Return what the tables call a model."""
    assert isinstance(train.model, CerebellumModel)
    return next(name for name, settings in NAMES.items() if settings == (train.model.wiring, train.model.ltd))


def by_seed(results: Results, measure: Measure) -> dict[str, dict[int, float]]:
    """Return a measure of each model at each seed."""
    found: dict[str, dict[int, float]] = {name: {} for name in NAMES}
    for config, record in results:
        share = measure.of(record) if isinstance(config, EvaluatedModel) else None
        if share is not None:
            found[name_of_model(config.train)][config.train.seed] = share
    return found


class Difference(NamedTuple):
    """One measure of two models that differ in one thing, seed by seed.

    Attributes
    ----------
    values : list of float
        Differences, one a seed.
    error : float or None
        Standard deviation that the choice of images alone gives one such difference, None where it is not known.
    found : int or None
        Seeds at which McNemar's test finds it.
    """

    values: list[float]
    error: float | None
    found: int | None


def differences(results: Results, measures: Sequence[Measure]) -> dict[tuple[str, str, Measure], Difference]:
    """Return what the seeds say of every pair and measure; p are adjusted for all the tests among them."""
    paired = {
        (*map(name_of_model, config.trainings), measure, config.one.train.seed): record
        for config, each in results
        if isinstance(config, PairedComparison)
        for measure in measures
        if (record := measure.compared(each)) is not None
    }
    adjusted = dict(zip(paired, holm([record["p"] for record in paired.values()]), strict=True))
    found = {}
    for (one, other), measure in product(PAIRS, measures):
        shares = by_seed(results, measure)
        values = [shares[one][seed] - shares[other][seed] for seed in shares[one] if seed in shares[other]]
        keys = [key for key in paired if key[:3] == (one, other, measure)]
        n = next(record["images"] for config, record in results if isinstance(config, PairedComparison))
        errors = [_image_variance(paired[key], n) for key in keys]
        error = sqrt(sum(errors) / len(errors)) if errors else None
        found[one, other, measure] = Difference(values, error, sum(adjusted[key] < 0.05 for key in keys) if keys else None)
    return found


def _image_variance(record: Record, images: int) -> float:
    """Of a difference of paired shares, estimated."""
    b, c = record["only_one"], record["only_other"]
    return (b + c - (b - c) ** 2 / images) / images**2


# -- tables ------------------------------------------------------------------------------------------------------------------


def table(results: Results) -> str:
    """Each model over the seeds; each difference over the seeds, and the smallest that a few seeds would show."""
    config, record = next((config, record) for config, record in results if isinstance(config, EvaluatedModel))
    sides = product(config.epsilons, ("MSE-PGD", "attacked", "certified"))
    measures = [Measure("test"), *(Measure(side, epsilon) for epsilon, side in sides)]
    measures = [measure for measure in measures if any(by_seed(results, measure).values())]
    seeds = sorted({config.train.seed for config, _ in results if isinstance(config, EvaluatedModel)})
    lines = [*_models_table(results, measures, seeds, record), ""]
    if len(seeds) == 1:
        lines += ["One seed: how far others lie from it cannot be said; give several.", ""]
    return "\n".join([*lines, *_differences_table(results, measures, len(seeds))])


def _models_table(results: Results, measures: list[Measure], seeds: list[int], record: Record) -> list[str]:
    rows = []
    for measure in measures:
        shares = by_seed(results, measure)
        rows.append([measure.name, *(_over_seeds(list(shares[name].values())) for name in NAMES)])
    return [
        *markdown(["measured", *NAMES], rows),
        "",
        "In %: mean over the seeds, in brackets its 95% interval (Student's t), then ± the standard deviation of a single seed; "
        "at all: no seed differs, which on so few images is no proof that none would. "
        f"Test: all {record['test_images']:,} test images; all else: the first {record['images']:,}. MSE-PGD: the paper's "
        f"attack, attacked: what all attacks leave, certified: what is proved, at each ε. Seeds {', '.join(map(str, seeds))}: of "
        "wiring, weights, validation split, orders, and the starts of attacks.",
    ]


def _differences_table(results: Results, measures: list[Measure], seeds: int) -> list[str]:
    head = ["first", "second", "measured", "difference", "± seeds", "± images", "found", *(f"n = {n}" for n in DETECTED_WITH)]
    rows, found = [], differences(results, measures)
    for (one, other, measure), each in found.items():
        spread = standard_deviation(each.values) if seeds > 1 else 0.0
        cells = [one, other, measure.name, _mean(each.values), _points(spread) if seeds > 1 else "-"]
        cells += ["-" if each.error is None else _points(each.error), "-" if each.found is None else f"{each.found} of {seeds}"]
        cells += [_points(detectable_difference(spread, n)) if spread >= ROUNDING else "-" for n in DETECTED_WITH]
        rows.append(cells)
    tests = seeds * sum(each.found is not None for each in found.values())
    return [
        *markdown(head, rows),
        "",
        "The first less the second, in points: mean over the seeds, each model compared with the one of its own seed, in "
        "brackets the 95% interval (Student's t). ± seeds: standard deviation of the difference at a single seed; ± images: what "
        "the choice of the images alone would give it. Different models break on different images, so the first contains some of "
        "the second, and is more than other seeds would show on all images. Found: at how many seeds McNemar's exact test on the "
        f"images, adjusted by Holm for the {tests} tests of the table, has p below 0.05. n = "
        f"{', '.join(map(str, DETECTED_WITH))}: smallest true difference that a paired t-test with so many seeds would find in "
        f"80% of the cases at the level of 5%, from ± seeds, itself known from {seeds} seed{'s' * (seeds > 1)}; the paper took "
        f"{len(PAPERS)}, {' and '.join(map(str, PAPERS))}. Where no seed differs there is neither interval nor n.",
    ]


def _over_seeds(shares: list[float]) -> str:
    if len(shares) < 2:
        return _points(shares[0]) if shares else "-"
    mean, spread = sum(shares) / len(shares), standard_deviation(shares)
    if spread < ROUNDING:
        return f"{_points(mean)} at all"
    low, high = (100 * min(1.0, max(0.0, bound)) for bound in mean_interval(shares))
    return f"{_points(mean)} ({low:.1f}-{high:.1f}) ± {_points(spread)}"


def _mean(values: list[float]) -> str:
    mean = f"{100 * sum(values) / len(values):+.1f}"
    if len(values) < 2:
        return f"{mean}, one seed"
    if standard_deviation(values) < ROUNDING:
        return f"{mean} at all"
    low, high = mean_interval(values)
    return f"{mean} [{100 * low:+.1f}, {100 * high:+.1f}]"


def _points(share: float) -> str:
    return f"{100 * share:.1f}"


def figures(results: Results, out: Path) -> None:
    """Draw over ε what PGD on the squared error says of each model and what is left of it, with intervals over the seeds."""
    config, record = next((config, record) for config, record in results if isinstance(config, EvaluatedModel))
    sides = {"PGD on the squared error says": "MSE-PGD", "left by all attacks": "attacked"}
    panels = [(title, {name: _line(results, side, config.epsilons, name) for name in NAMES}) for title, side in sides.items()]
    save_figure(curves(panels, "ε", f"share of {record['images']:,} images", from_zero=True), out / "seeds.png")


def _line(results: Results, side: str, epsilons: tuple[float, ...], name: str) -> tuple[np.ndarray, ...]:
    """Where a model's line goes, and its bounds if there are several seeds."""
    seeds = [list(by_seed(results, Measure(side, epsilon))[name].values()) for epsilon in epsilons]
    line = [epsilons, [sum(shares) / len(shares) for shares in seeds]]
    if all(len(shares) > 1 for shares in seeds):
        line += zip(*map(mean_interval, seeds), strict=True)
    return tuple(np.clip(np.array(values, dtype=np.float64), 0, 1) for values in line)


SEEDS = Study(
    "seeds",
    "How far do models lie apart that differ in nothing but the seed, and what difference can two seeds show?",
    {"smoke": "strokes", "course": "mnist", "paper": "mnist"},
    plan,
    table,
    figures,
    expectation=(
        "The cerebellum paper (Yuezhang, Li and Chen, a registered plan) plans to report its results with different random "
        "seeds, since the wiring is random; its authors took two, 0 and 123. Published figures: none."
    ),
    captions={
        "seeds": (
            "The four models of the ablation: share of the evaluated test images over ε (L∞, pixels in 0 to 1), mean over the "
            "seeds; left as the paper's PGD on the squared error reports it, right what is left by all attacks. Marks are "
            "measured, lines join them, bars are 95% intervals over the seeds (Student's t)."
        )
    },
    seeds={"smoke": (0, 123), "course": (0, 123, 1, 2, 3), "paper": (0, 123, *range(1, 9))},
)
