"""How often does an attack miss an image that another breaks? The catalogue's ensembles were chosen from this study's table."""

from __future__ import annotations

from collections import namedtuple
from itertools import chain, product
from typing import Any

from minicereb.attacks.adversarial_training import Adversary
from minicereb.attacks.ball import with_rounding
from minicereb.attacks.settings import Attack, fitting_step
from minicereb.experiments.architectures import CerebellumModel, PerceptronModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.attacked import BrokenImages
from minicereb.experiments.laboratory import Record
from minicereb.report.formats import interval, percent, strength
from minicereb.report.page import Table, Text
from minicereb.robustness.catalogue import SETS, STARTS
from minicereb.statistics import mean_interval, proportion_interval
from minicereb.studies.results import Blocks, Results
from minicereb.studies.study import Study

# Per scale: test images; starts of a search, or targets; steps for each; queries of Square; shipped or small models.
AttacksScale = namedtuple("AttacksScale", "images starts steps queries shipped")
SIZES = {
    "smoke": AttacksScale(30, 2, 10, 100, False),
    "course": AttacksScale(200, 3, 100, 5_000, True),
    "paper": AttacksScale(1_000, 5, 100, 5_000, True),
}
CEREBELLA = ("cerebellum", "base")
SQUARE = "Square"
# For attacks of the catalogue, the searches here that contain them, and the number of their starts.
MEMBERS: dict[str, tuple[tuple[str, ...], int]] = {
    "apgd-margin": (("APGD, margin",), 1),
    "apgd-ce": (("APGD, cross-entropy",), 1),
    "apgd-dlr": (("APGD, DLR",), 1),
    "apgd-t": (("APGD-T",), 1),
    "apgd-restarts": (("APGD, cross-entropy", "APGD, DLR", "APGD, margin"), STARTS),
    "momentum": (("momentum, cross-entropy", "Nesterov, cross-entropy", "momentum, margin"), STARTS),
    "fab-t": (("FAB-T",), 1),
    "fmn-t": (("FMN-T",), 1),
    "square": ((SQUARE,), 1),
    "square-ensemble": ((f"{SQUARE}, ensemble's schedule",), 1),
}
REFERENCE = ("apgd-ce", "apgd-t", "fab-t", "square-ensemble")
BEFORE = ("apgd-margin", "apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square")
ENSEMBLES = {
    "the reference ensemble": REFERENCE,
    "`standard`": SETS["standard"],
    "`all` without FMN and momentum": BEFORE,
    "`all`": SETS["all"],
}
EPSILONS = {
    "perceptron": (0.05, 0.1, 0.15),
    "robust": (0.15, 0.2, 0.25),
    "cerebellum": (0.06, 0.075, 0.1),
    "base": (0.07, 0.08, 0.1),
}


def models(data: Data, shipped: bool) -> dict[str, Train]:
    """Return the four shipped models that have gradients, or four small models in their place."""
    hidden, full, random, epochs = ((100,), 5_970, 20_000, None) if shipped else ((20,), 200, 400, 1)
    robust = {"validation": 0.0, "schedule": "cosine", "adversary": Adversary(0.1, fitting_step(0.1, 7))}
    return {
        "perceptron": Train(PerceptronModel(hidden), data, 32, epochs or 5, 1e-3, "adam"),
        "robust": Train(PerceptronModel(hidden, l1=7e-5), data, 100, epochs or 20, 3e-3, "adam", **robust),  # type: ignore[arg-type]
        "cerebellum": Train(CerebellumModel("random", random, 4), data, 10, epochs or 10, 0.5 / random),
        "base": Train(CerebellumModel("full", full, ltd=False), data, 10, epochs or 10, 0.5 / full),
    }


def searches(name: str, epsilon: float, size: AttacksScale, seed: int) -> dict[str, list[Attack]]:
    """Return the searches to compare, keyed by name; searches for the nearest image ignore ε."""
    widest, starts = EPSILONS[name][-1], range(seed, seed + size.starts)

    def each(method: str, objective: str, **settings: Any) -> list[Attack]:
        return [Attack(method, objective, epsilon, steps=size.steps, seed=start, **settings) for start in starts]

    def once(method: str, objective: str, epsilon: float, **settings: Any) -> list[Attack]:
        return [Attack(method, objective, epsilon, **{"steps": size.steps, "seed": seed, **settings})]

    far = {"step_size": epsilon / 10}  # step size of momentum
    found = {
        "PGD, margin": each("momentum", "margin", decay=0.0),
        "momentum, cross-entropy": each("momentum", "cross-entropy", **far),
        "momentum, margin": each("momentum", "margin", **far),
        "Nesterov, cross-entropy": each("momentum", "cross-entropy", nesterov=True, **far),
        "APGD, cross-entropy": each("apgd", "cross-entropy"),
        "APGD, DLR": each("apgd", "dlr"),
        "APGD, margin": each("apgd", "margin"),
        "APGD-T": once("apgd", "dlr", epsilon, targets=size.starts),
        "FAB-T": once("fab", "margin", widest, targets=size.starts),
        "FMN-T": once("fmn", "margin", widest, targets=size.starts),
        "FMN": once("fmn", "margin", widest),
    }
    if name == "perceptron":  # on others 5,000 queries take too long
        for words, rescale in ((SQUARE, True), (f"{SQUARE}, ensemble's schedule", False)):
            found[words] = once("square", "margin", epsilon, steps=size.queries, rescale=rescale)
    return found


def experiments_of(name: str, train: Train, epsilon: float, size: AttacksScale, seed: int) -> dict[str, list[BrokenImages]]:
    """Return the experiments of each search, keyed by the name of the search.

    On cerebella, where a step takes longer, searches for the nearest image run only on the images that survive APGD on the margin
    at the smallest ε.
    """
    found = {}
    for words, attacks in searches(name, epsilon, size, seed).items():
        near = name in CEREBELLA and attacks[0].traits.keeps == "nearest"
        after = Attack("apgd", "margin", EPSILONS[name][0], steps=size.steps, seed=seed) if near else None
        found[words] = [BrokenImages(train, attack, size.images, after) for attack in attacks]
    return found


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[BrokenImages]:
    """Run every search on every model at three ε."""
    size, experiments = SIZES[scale], list[BrokenImages]()
    for name, train in models(data, size.shipped).items():
        for epsilon, seed in product(EPSILONS[name], seeds):
            experiments += chain.from_iterable(experiments_of(name, train, epsilon, size, seed).values())
    return list(dict.fromkeys(experiments))


class BrokenBySearch:
    """The images that each search broke, for one ε and one model, which is given by its name."""

    def __init__(
        self, name: str, train: Train, epsilon: float, size: AttacksScale, seed: int, records: dict[BrokenImages, Record]
    ):
        self.starts: dict[str, list[set[int]]] = {}
        for words, experiments in experiments_of(name, train, epsilon, size, seed).items():
            after = experiments[0].after  # images on which the search was not run count as broken by it
            easy = set() if after is None else set(records[BrokenImages(train, after, size.images)]["broken"])
            self.starts[words] = [easy | _broken(records[each], epsilon) for each in experiments]
            self.right = size.images - len(records[experiments[0]]["wrong"])
        self.anything: set[int] = set().union(*(found for starts in self.starts.values() for found in starts))

    def missed(self, found: set[int]) -> int:
        """Return how many images were broken by some search but are not among `found`."""
        return len(self.anything - found)

    def of_ensemble(self, names: tuple[str, ...]) -> set[int]:
        """Return the images broken by the catalogue's attacks with these names; attacks that were not run here do not count."""
        members = [MEMBERS.get(name, ((), 0)) for name in names]
        return set().union(*(found for words, n in members for each in words for found in self.starts.get(each, [])[:n]))


def _broken(record: Record, epsilon: float) -> set[int]:
    """Return the indices of the images that an attack broke within ε."""
    bound = with_rounding(epsilon, "linf", 1)
    return {image for image, distance in zip(record["broken"], record["distance"], strict=True) if distance <= bound}


def table(results: Results) -> Blocks:
    """Return a table for each model: how many of the images that some search broke were missed by each search and ensemble."""
    records, first = dict(results), results[0][0]
    size = next(size for size in SIZES.values() if size.images == first.images)
    seed, data = first.attack.seed, first.train.data
    blocks: Blocks = []
    for name, train in models(data, size.shipped).items():
        compared = [BrokenBySearch(name, train, epsilon, size, seed, records) for epsilon in EPSILONS[name]]
        rows = [[words, *(_row(each, words) for each in compared)] for words in compared[0].starts]
        rows += [[words, *(_missed(each, each.of_ensemble(names)) for each in compared)] for words, names in ENSEMBLES.items()]
        broken = zip(EPSILONS[name], compared, strict=True)
        blocks.append(Table([name, *(f"ε = {strength(epsilon)}: {len(each.anything)}" for epsilon, each in broken)], rows))
    legend = (
        f"Of the first {size.images:,} test images of {data.name}, at each ε (L∞) the number that any search broke, and how "
        "many of them each missed, with the share in % and its 95% interval (Clopper-Pearson). Every search has "
        f"{size.starts} starts (or targets, from the image) of {size.steps} steps, Square one of {size.queries:,} queries, FMN "
        f"without targets one start; seeds {seed} to {seed + size.starts - 1}. In square brackets the mean number that one start "
        "missed, with Student's 95% interval over the starts. On cerebella FAB and FMN attack the images that APGD on the margin "
        "leaves unbroken at the smallest ε; the others count as broken. Ensembles: their attacks as far as they are among the "
        f"searches: APGD-T, FAB-T and FMN-T with {size.starts} targets instead of nine, Square on the perceptron only, no PGD, "
        "FGSM, transferred images or random points."
    )
    return [*blocks, Text(legend)]


def _row(compared: BrokenBySearch, search: str) -> str:
    starts = compared.starts[search]
    words = _missed(compared, set().union(*starts))
    if len(starts) < 2:
        return words
    each = [float(compared.missed(found)) for found in starts]
    low, high = mean_interval(each)
    return f"{words} [{sum(each) / len(each):.1f}; {max(low, 0):.1f} to {high:.1f}]"


def _missed(compared: BrokenBySearch, found: set[int]) -> str:
    missed, of = compared.missed(found), len(compared.anything)
    if of == 0:
        return "-"
    return f"{missed} = {percent(missed / of)} ({interval(proportion_interval(missed, of))})"


ATTACKS_STUDY = Study(
    "attacks",
    "How often does an attack miss an image that another breaks, at equal cost?",
    plan,
    table,
    expectation=(
        "Neither paper asks. Croce and Hein (2020) chose the standard ensemble by its worst case over fifty published defences; "
        "these are networks of another kind. Published figures: none."
    ),
    seeds=dict.fromkeys(SIZES, (0,)),
)
