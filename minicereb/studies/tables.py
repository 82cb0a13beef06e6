"""Tables and figures shared by several studies: accuracy under the paper's and other attacks, certificates, comparisons."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minicereb.attacks.settings import CROSSING
from minicereb.experiments.configs import Train, describe
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.identity import differences
from minicereb.experiments.kinds.attacked import AttackedModel
from minicereb.experiments.kinds.paired import PairedComparison
from minicereb.experiments.laboratory import Record
from minicereb.report.figures import Curves, curves
from minicereb.report.formats import in_words, mean_share, number_or_dash, p_value, short_percent, strength
from minicereb.report.page import Table, Text
from minicereb.robustness.catalogue import PAPER_STEP, PAPER_STEPS
from minicereb.statistics import holm, proportion_interval
from minicereb.studies.published import PRINTED, Logged, logged_for
from minicereb.studies.results import Blocks, Results, tabulate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Models = Mapping[str, Results]
LABELS = ("attacked", "certified")


def by_model(results: Results, label: Callable[[Train], str] = describe) -> dict[str, Results]:
    """Group evaluations and attacks by model; runs with the same label, from several seeds, count as one model."""
    return results.where(EvaluatedModel | AttackedModel).by(lambda config: label(config.train))


def evaluation_of(models: Models) -> tuple[EvaluatedModel, Record]:
    """Return the first evaluation with its record, from which the common settings are read."""
    return next(iter(models.values())).where(EvaluatedModel)[0]


def training_of(model: Results) -> Train:
    """Return the training run of a model with its first seed."""
    return model[0][0].train  # type: ignore[no-any-return]


def accuracy_of(model: Results) -> str:
    """Format the accuracy on all test images, as the mean over the seeds with its interval."""
    records = model.where(EvaluatedModel).records or model.records
    by_run = {record["run"]: record["test_accuracy"] for record in records}
    return mean_share(list(by_run.values()), records[0]["test_images"])


def clean_accuracy_of(model: Results) -> str:
    """Format the accuracy on the evaluated images before any attack, as the mean over the seeds with its interval."""
    records = model.where(EvaluatedModel).records
    return mean_share([record["clean_accuracy"] for record in records], records[0]["images"])


def accuracy_under(model: Results, **attack: Any) -> str:
    """Format the accuracy under the attack with these settings, as the mean over the seeds with its interval."""
    found = model.where(AttackedModel, **attack)
    return mean_share(found.values("robust_accuracy"), found[0][1]["images"]) if found else "-"


def entry_at(record: Record, epsilon: float) -> Record:
    """Return the entry at one ε in the record of an evaluation or a comparison."""
    return next(entry for entry in record["epsilons"] if entry["epsilon"] == epsilon)  # type: ignore[no-any-return]


def shares(model: Results, label: str, e: int) -> list[float]:
    """Return the attacked or certified shares at the ε with this index, one per seed."""
    return model.where(EvaluatedModel).values(lambda record: record["epsilons"][e][label])


def share_at(model: Results, label: str, e: int) -> str:
    """Format the mean of :func:`shares` with its interval."""
    return mean_share(shares(model, label, e), model.where(EvaluatedModel)[0][1]["images"])


def paper_table(models: Models) -> Blocks:
    """Return the accuracies under the attacks of the cerebellum paper, next to the published accuracies if there are any."""
    first = next(iter(models.values()))
    made = (config.attack for config, _ in first.where(AttackedModel, objective="mse"))
    attacks = list(dict.fromkeys((attack.method, attack.epsilon, attack.step_size) for attack in made))
    fgsm = min(epsilon for _, epsilon, _ in attacks)  # the paper has FGSM at the smaller ε
    attacks = [each for each in attacks if each[0] != "fgsm" or each[1] == fgsm]
    fitting = [each for each in attacks if each[0] == "pgd" and each[2] != PAPER_STEP]
    columns: list[tuple[str, Callable[[Results], str]]] = [("test", accuracy_of)]
    _published(columns, models, "test")
    for method, epsilon, step in [each for each in attacks if each not in fitting] + fitting:
        fits = (method, epsilon, step) in fitting
        settings: dict[str, Any] = {"method": method, "epsilon": epsilon, "objective": "mse", "step_size": step}
        name = f"{method.upper()} {strength(epsilon)}{' (fitting step)' * fits}"
        columns.append((name, partial(accuracy_under, **settings)))
        if not fits:
            _published(columns, models, PRINTED.get((method, epsilon)))
    any_published = any(heading == "published" for heading, _ in columns)
    words = " Published: the authors' figures, mean of two seeds, 10,000 images, trained image by image." * any_published
    test_images, images = evaluation_of(models)[1]["test_images"], first.where(AttackedModel)[0][1]["images"]
    legend = (
        f"Accuracy in % ({interval_in_words(models)}); test: {test_images:,} images. FGSM and PGD are the paper's, on the "
        f"squared error, {PAPER_STEPS} steps of {PAPER_STEP:g}, last iterate; first {images:,} test images."
        f"{f' Fitting step: {CROSSING:g} ε / {PAPER_STEPS}.' if fitting else ''}{words}"
    )
    return [tabulate("model", models, *columns), Text(legend)]


def _published(columns: list[tuple[str, Callable[[Results], str]]], models: Models, name: str | None) -> None:
    """Append a column of published accuracies unless there are none."""

    def figure(model: Results) -> float | None:
        return getattr(logged_for(training_of(model)) or Logged(), name) if name else None

    if any(figure(model) is not None for model in models.values()):
        columns.append(("published", lambda model: number_or_dash(figure(model))))


def bracket_table(models: Models) -> Blocks:
    """Return the attacked and the certified share of every model, at each ε where some share is not zero."""
    config, record = evaluation_of(models)
    images, columns = record["images"], []
    zero: dict[str, list[str]] = {label: [] for label in LABELS}
    for e, epsilon in enumerate(config.epsilons):
        for label in LABELS:
            found = [shares(model, label, e) for model in models.values()]
            if any(any(each) for each in found):
                columns.append((f"{label} {strength(epsilon)}", partial(share_at, label=label, e=e)))
            elif any(found):
                zero[label].append(strength(epsilon))
    words = {"attacked": "every image of every model is broken", "certified": "nothing is certified"}
    bound = f"(0 of {images:,} images: at most {100 * proportion_interval(0, images)[1]:.1f}%)"
    zeros = [f"At ε = {', '.join(epsilons)} {words[label]} {bound}." for label, epsilons in zero.items() if epsilons]
    legend = (
        f"In % ({interval_in_words(models)}), first {images:,} test images of {config.train.data.name}. Attacked: robust "
        f"accuracy under {', '.join(config.attacks)}, for each image the strongest. Certified: interval bounds and CROWN. "
    )
    return [tabulate("model", models, *columns), Text((legend + " ".join(zeros)).strip())]


def interval_in_words(models: Models) -> str:
    """Explain the intervals of a table, and the seeds over which the table averages."""
    seeds = sorted({seed for model in models.values() for seed in model.seeds})
    over = "over the images" if len(seeds) == 1 else "over the seeds, Student's t (over the images if the seeds agree)"
    return f"95% interval {over}; {in_words(seeds)}"


# -- figures -----------------------------------------------------------------------------------------------------------------

OVER_EPSILON = (
    "Share of the evaluated test images over ε (L∞, pixels in 0 to 1). Left: accuracy under the paper's PGD on the squared "
    "error; right: robust accuracy under all attacks. At ε = 0 the accuracy on the same images. Points are measurements, joined "
    "by lines; the intervals are in the tables."
)
SAYS_PGD, UNDER_ALL = "under PGD on the squared error", "under all attacks"


def over_epsilon(models: Models, entry: Callable[[Record], Any] = lambda entry: entry["attacked"]) -> Curves:
    """Return lines of a share against ε, one per model; at ε = 0 the share is the accuracy on the clean images.

    `entry` extracts the share from an evaluation's result at one ε: by default the share under all attacks.
    """
    lines = {}
    for name, model in models.items():
        evaluations = model.where(EvaluatedModel)
        found = [[r["clean_accuracy"], *map(entry, r["epsilons"])] for r in evaluations.records]
        epsilons = np.array([0.0, *evaluations[0][0].epsilons], dtype=np.float64)
        lines[name] = (epsilons, np.array(found, dtype=np.float64).mean(axis=0))
    return lines


def under_pgd(entry: Record) -> float:
    """Return the accuracy under the paper's PGD from an evaluation's result at one ε."""
    return entry["by_attack"]["pgd-mse"]  # type: ignore[no-any-return]


def over_epsilon_figure(models: Models, graded: bool = False) -> Figure:
    """Draw accuracy against ε under PGD on the squared error and under all attacks; ``OVER_EPSILON`` is the caption."""
    says, left = over_epsilon(models, under_pgd), over_epsilon(models)
    panels = [(SAYS_PGD, says), (UNDER_ALL, left)]
    return curves(panels, "ε", share_of(models), from_zero=True, graded=graded, conclusion=what_is_left(says, left))


MISLEADS = 0.3  # share of the images


def what_is_left(says: Curves, left: Curves) -> str:
    """State where PGD on the squared error misleads most, if it does, and which models are most and least robust to all attacks.

    Each statement is for the ε at which the compared accuracies differ most. `says` and `left` have the same names, and
    their shares are for the same ε.
    """
    hidden = {name: says[name][1] - left[name][1] for name in says}
    name = max(hidden, key=lambda each: hidden[each].max())
    e = int(hidden[name].argmax())
    words = (
        ""
        if hidden[name][e] < MISLEADS
        else (
            f"{name}: PGD on the squared error leaves {short_percent(says[name][1][e])}% at ε = {strength(says[name][0][e])}, "
            f"all attacks together {short_percent(left[name][1][e])}%. "
        )
    )
    values = np.array([line[1] for line in left.values()], dtype=np.float64)
    e = int(np.ptp(values, axis=0).argmax())
    if np.ptp(values[:, e]) > 0:
        epsilon = next(iter(left.values()))[0][e]
        ends = (f"{short_percent(values[n, e])}% ({list(left)[n]})" for n in (values[:, e].argmin(), values[:, e].argmax()))
        who = "they" if words else "all attacks together"
        words += f"At ε = {strength(epsilon)} {who} leave {' to '.join(ends)}."
    return words.strip()


def share_of(models: Models) -> str:
    """Return the label of a vertical axis of shares."""
    return f"share of {evaluation_of(models)[1]['images']:,} images"


# -- paired comparisons ------------------------------------------------------------------------------------------------------

HEAD = ("first", "second", "seed", "ε", "measure", "difference [95%]", "first alone", "second alone", "p (Holm)")


class ComparedAt(NamedTuple):
    """One comparison at one ε; ``found`` is a record of :func:`minicereb.experiments.kinds.paired.compared`."""

    config: PairedComparison
    epsilon: str
    label: str
    found: Record


def comparisons(results: Results, labels: Sequence[str] = ("attacked",)) -> list[ComparedAt]:
    """Return the comparisons among the results.

    The comparison on clean images comes first. At each ε it is followed by the comparisons that `labels` name, if they exist.
    """
    rows = []
    for config, record in results.where(PairedComparison):
        rows.append(ComparedAt(config, "-", "clean", record["clean"]))
        for entry in record["epsilons"]:
            found = ((label, entry[label]) for label in labels)
            rows += [ComparedAt(config, strength(entry["epsilon"]), label, each) for label, each in found if each is not None]
    return rows


def comparison_table(results: Results, labels: Sequence[str] = ("attacked",)) -> Blocks:
    """Return the paired comparisons among the results of a study, with their legend; nothing if there are none."""
    found = comparisons(results, labels)
    if not found:
        return []
    rows = []
    for each, p in zip(found, holm([each.found["p"] for each in found]), strict=True):
        counts = each.found["only_one"], each.found["only_other"]
        if sum(counts):
            seeds = dict.fromkeys(train.seed for train in each.config.trainings)
            names = [*_names(each.config), ", ".join(map(str, seeds)), each.epsilon, each.label]
            low, high = each.found["interval"]
            points = f"{100 * each.found['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
            rows.append([*names, points, *(f"{count:,}" for count in counts), p_value(p)])
    images = sorted({record["images"] for record in results.where(PairedComparison).records})
    legend = (
        f"Difference: share of the images ({', '.join(f'{n:,}' for n in images)}, the same for both) that the first classifies "
        "correctly, minus that of the second, in percentage points, with its 95% interval (Tango's score interval, not "
        "adjusted). First alone, second alone: images that only one of the two classifies correctly. p: McNemar's exact test, "
        f"adjusted by Holm for the {len(found)} test{'s' * (len(found) > 1)} made; rows without an image that only one "
        "classifies correctly are left out. Intervals and p are about other images of this kind, for these trained models; they "
        "say nothing about other seeds. Attacked shares are upper bounds and certified shares lower bounds of the robust "
        "accuracy."
    )
    return [Table(HEAD, rows), Text(legend)]


def _names(config: PairedComparison) -> tuple[str, str]:
    """Return the names of the two models or, if these are equal, the settings in which they differ."""
    one, other = (describe(train) for train in config.trainings)
    return (one, other) if one != other else (one, f"the same except {'; '.join(differences(config.other, config.one))}")
