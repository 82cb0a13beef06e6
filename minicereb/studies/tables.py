"""What was found of the models of a study, and the tables and figures that show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from minicereb.attacks.settings import CROSSING
from minicereb.experiments.configs import AttackedModel, Train, describe
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.laboratory import Record
from minicereb.report.figures import Curves, curves, save_figure
from minicereb.report.formats import strength
from minicereb.report.pipes import markdown
from minicereb.robustness.catalogue import PAPER_STEP, PAPER_STEPS
from minicereb.statistics import mean_interval, proportion_interval
from minicereb.studies.protocol import logged_for, strengths, tuned_step
from minicereb.studies.published import Logged
from minicereb.studies.study import Results


class Found:
    """What was found of one model, of one seed or several.

    Parameters
    ----------
    name : str
        What the tables call it.
    results : list of (experiment, record)
        Of this model alone.
    """

    def __init__(self, name: str, results: Results):
        self.name = name
        self.evaluations = [(config, record) for config, record in results if isinstance(config, EvaluatedModel)]
        self._attacks = [(config, record) for config, record in results if isinstance(config, AttackedModel)]
        self.train: Train = results[0][0].train
        self.seeds = {config.train.seed for config, _ in results}

    @property
    def published(self) -> Logged | None:
        """What the authors print or logged for it."""
        return logged_for(self.train)

    @property
    def test(self) -> str:
        """Accuracy on all test images."""
        records = [record for _, record in self.evaluations or self._attacks]
        records = list({record["run"]: record for record in records}.values())
        return with_interval([record["test_accuracy"] for record in records], records[0]["test_images"])

    def under(
        self, method: str, epsilon: float, objective: str = "mse", keep: str | None = None, step: float | None = None
    ) -> str:
        """Accuracy under one of the attacks on more images, with any iterate or one of these, of any step or this one."""
        wanted = (method, epsilon, objective)
        found = [
            record
            for config, record in self._attacks
            if (config.attack.method, config.attack.epsilon, config.attack.objective) == wanted
            and keep in (None, config.attack.keep)
            and step in (None, config.attack.step_size)
        ]
        return with_interval([record["robust_accuracy"] for record in found], found[0]["images"]) if found else "-"

    @property
    def attacked_images(self) -> int:
        """How many images the paper's attacks were made on."""
        return self._attacks[0][1]["images"] if self._attacks else 0

    def shares(self, side: str, e: int) -> list[float]:
        """Attacked or certified shares at the ε of this number, one a seed."""
        return [record["epsilons"][e][side] for _, record in self.evaluations if record["epsilons"][e][side] is not None]

    def mean(self, side: str, e: int) -> float:
        """Their mean, NaN if there are none."""
        shares = self.shares(side, e)
        return sum(shares) / len(shares) if shares else float("nan")


def grouped(results: Results, name: Callable[[Train], str] = describe) -> list[Found]:
    """Group results by model, in their order; models are one if `name` calls them the same."""
    groups: dict[str, Results] = {}
    for config, record in results:
        if isinstance(config, EvaluatedModel | AttackedModel):
            groups.setdefault(name(config.train), []).append((config, record))
    return [Found(name, group) for name, group in groups.items()]


def share_interval(shares: Sequence[float], images: int) -> tuple[float, float]:
    """Return a 95% interval of the mean of shares, one a seed: over the seeds if some differ, else of the images."""
    if max(shares) - min(shares) < 1e-9:
        return proportion_interval(round(shares[0] * images), images)
    low, high = mean_interval(shares)
    return max(0.0, low), min(1.0, high)


def with_interval(shares: Sequence[float], images: int) -> str:
    """Write shares in percent as their mean with its :func:`share_interval`."""
    if not shares:
        return "-"
    low, high = share_interval(shares, images)
    return f"{100 * sum(shares) / len(shares):.1f} ({100 * low:.1f}-{100 * high:.1f})"


def paper_table(found: Sequence[Found]) -> list[str]:
    """Return what the paper's own attacks say, a row a model, with the published figures beside ours where there are any."""
    logged = [each.published or Logged() for each in found]
    columns: list[tuple[str, list[str]]] = [("model", [each.name for each in found])]
    strong = strengths(found[0].train.data)
    (near, far), fitting = strong.paper, " (steps that fit)"

    def pgd(epsilon: float, step: float = PAPER_STEP) -> list[str]:
        return [each.under("pgd", epsilon, step=step) for each in found]

    shown: list[tuple[str, list[str], list[float | None]]] = [
        ("test", [each.test for each in found], [each.test for each in logged]),
        (f"FGSM {strength(near)}", [each.under("fgsm", near) for each in found], [each.fgsm for each in logged]),
        (f"PGD {strength(near)}", pgd(near), [each.pgd for each in logged]),
        (f"PGD {strength(far)}", pgd(far), [each.pgd_far for each in logged]),
    ]
    if strong.tuned:
        shown += [(f"PGD {strength(epsilon)}{fitting}", pgd(epsilon, tuned_step(epsilon)), []) for epsilon in strong.paper]
    for name, ours, theirs in shown:
        columns.append((name, ours))
        if any(figure is not None for figure in theirs):
            columns.append(("published", [or_dash(figure) for figure in theirs]))
    images, test_images = found[0].attacked_images, found[0].evaluations[0][1]["test_images"]
    published = (
        " Published: the authors' figures, mean of two seeds, 10,000 images, learned image by image."
        if any(name == "published" for name, _ in columns)
        else ""
    )
    return [
        *markdown([name for name, _ in columns], list(zip(*(cells for _, cells in columns), strict=True))),
        "",
        f"Accuracy in % ({interval_words(found)}); test: {test_images:,} images. FGSM and PGD are the paper's, on the squared "
        f"error, {PAPER_STEPS} steps of {PAPER_STEP:g}, the last one counts; first {images:,} test images."
        f"{f' Steps that fit: {CROSSING:g} ε / {PAPER_STEPS}.' if strong.tuned else ''}{published}",
        "",
    ]


def bracket_table(found: Sequence[Found]) -> list[str]:
    """Return what is left after all attacks and what is certified, a row a model, for each ε at which it is anything."""
    config, record = found[0].evaluations[0]
    images, columns = record["images"], [("model", [each.name for each in found])]
    nothing: dict[str, list[str]] = {"attacked": [], "certified": []}  # the ε at which a side has nothing to show
    for e, epsilon in enumerate(config.epsilons):
        for side, zeros in nothing.items():
            shares = [each.shares(side, e) for each in found]
            if any(any(each) for each in shares):
                columns.append((f"{side} {strength(epsilon)}", [with_interval(each, images) for each in shares]))
            elif any(shares):
                zeros.append(strength(epsilon))
    words = {"attacked": "nothing is left of any", "certified": "nothing is certified"}
    bound = f"(0 of {images:,} images: at most {100 * proportion_interval(0, images)[1]:.1f}%)"
    zero = [f"At ε = {', '.join(zeros)} {words[side]} {bound}." for side, zeros in nothing.items() if zeros]
    return [
        *markdown([name for name, _ in columns], list(zip(*(cells for _, cells in columns), strict=True))),
        "",
        f"In % ({interval_words(found)}), first {images:,} test images of {config.train.data.name}. Attacked: what is "
        f"left after {', '.join(config.attacks)}, for each image the strongest. Certified: interval bounds and CROWN. "
        + " ".join(zero),
        "",
    ]


def over_epsilon(found: Sequence[Found], side: str = "attacked") -> Curves:
    """Return the attacked or certified share over ε, one line a model, from the test accuracy on."""
    lines = {}
    for each in found:
        config, _ = each.evaluations[0]
        clean = np.mean([record["clean_accuracy"] for _, record in each.evaluations])
        epsilons = np.array([0.0, *config.epsilons], dtype=np.float64)
        lines[each.name] = (epsilons, np.array([clean, *(each.mean(side, e) for e in range(len(config.epsilons)))]))
    return lines


def under_mse_over_epsilon(found: Sequence[Found]) -> Curves:
    """Return what PGD on the squared error says over ε, one line a model, on the evaluated images."""
    lines = {}
    for each in found:
        config, _ = each.evaluations[0]
        shares = [[record["clean_accuracy"], *_by_pgd(record)] for _, record in each.evaluations]
        epsilons = np.array([0.0, *config.epsilons], dtype=np.float64)
        lines[each.name] = (epsilons, np.array(shares, dtype=np.float64).mean(axis=0))
    return lines


OVER_EPSILON = (
    "Share of the evaluated test images over ε (L∞, pixels in 0 to 1); left as the paper's PGD on the squared error reports it, "
    "right what is left by all attacks. At ε = 0 the accuracy on the same images. Marks are measured, lines join them; the "
    "intervals are in the tables."
)


def draw_over_epsilon(found: Sequence[Found], path: Path, graded: bool = False) -> None:
    """Draw accuracy over ε, one line a model: what PGD on the squared error says, and what is left.

    ``OVER_EPSILON`` is the caption.
    """
    panels = [("PGD on the squared error says", under_mse_over_epsilon(found)), ("left by all attacks", over_epsilon(found))]
    save_figure(curves(panels, "ε", share_of(found), from_zero=True, graded=graded), path)


def share_of(found: Sequence[Found]) -> str:
    """What the vertical axis of the figures shows."""
    return f"share of {found[0].evaluations[0][1]['images']:,} images"


def _by_pgd(record: Record) -> list[float]:
    return [entry["by_attack"]["pgd-mse"] for entry in record["epsilons"]]


def or_dash(value: float | None) -> str:
    """Write a published figure, or a dash where there is none."""
    return "-" if value is None else f"{value:g}"


def interval_words(found: Sequence[Found]) -> str:
    """Say of what the intervals in a table are, and which seeds it stands on."""
    seeds = sorted({seed for each in found for seed in each.seeds})
    over = "of the images; seed" if len(seeds) == 1 else "over the seeds, Student's t (of the images where they agree); seeds"
    return f"95% interval {over} {', '.join(map(str, seeds))}"
