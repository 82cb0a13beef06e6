"""Which gradient should an attack on a network without derivatives follow? Where each points, its cost and its success."""

from __future__ import annotations

from itertools import product

from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import Data, Experiment, Train, describe
from minicereb.experiments.kinds.attacked import AttackedAverage, AttackedModel
from minicereb.experiments.kinds.gradient_sources import GradientSources
from minicereb.report.formats import in_words, percent
from minicereb.report.page import Table, Text
from minicereb.robustness.catalogue import PAPER_STEP
from minicereb.studies.results import Results
from minicereb.studies.study import MNIST14, Study
from minicereb.studies.tables import Blocks

EPSILON = 0.1
ESTIMATED = [(name, 32) for name in ("plain", "baseline", "antithetic", "rao-blackwell", "resample")]
SOURCES = (("straight-through", 1), *ESTIMATED, ("flip", 1), ("flip", 32))
# Per scale: hidden neurons, epochs, images whose gradient is compared, images attacked, runs searched, runs that judge, sources.
SIZES = {
    "smoke": (6, 1, 5, 10, 8, 50, SOURCES[:1] + SOURCES[-2:]),
    "course": (20, 5, 50, 200, 64, 500, SOURCES),
    "paper": (20, 24, 200, 1_000, 64, 10_000, SOURCES),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """For both losses, measure every source, then run PGD-40 on the margin along it, against OT and against LAP."""
    hidden, epochs, compared, attacked, searched, judging, sources = SIZES[scale]
    experiments: list[Experiment] = []
    for seed, loss in product(seeds, ("cross-entropy", "zero-one")):
        model = NoisyModel((hidden,), loss=loss)
        train = Train(model, data, 50, epochs, 0.06, "adam", seed=seed, validation=0.0, schedule="cosine")
        experiments.append(GradientSources(train, sources, compared, seed=seed))
        for name, draws in sources:
            attack = Attack("pgd", "margin", EPSILON, step_size=PAPER_STEP, seed=seed, gradient=name, draws=draws)
            experiments.append(AttackedModel(train, attack, attacked))
            experiments.append(AttackedAverage(train, attack, attacked, searched, judging))
    return experiments


def table(results: Results) -> Blocks:
    """Show a row per network and source; means over seeds."""
    rows, sources = [], results.where(GradientSources)[0][0].sources
    for network, group in results.by(lambda config: describe(config.trainings[0])).items():
        measured = group.where(GradientSources)
        for name, draws in (("exact", 1), *sources):
            key = name if name == "exact" else f"{name} {draws}"
            cosine = measured.mean(f"{key}.cosine")
            seconds = [r[key]["seconds"] / r["images"] for r in measured.records if r["images"]]
            cells = ["-" if cosine is None else f"{cosine:.3f}", percent(measured.mean(f"{key}.signs"))]
            cells.append(f"{1000 * sum(seconds) / len(seconds):.3g}" if seconds else "-")
            for kind in (AttackedModel, AttackedAverage):
                cells.append(percent(group.where(kind, gradient=name, draws=draws).mean("robust_accuracy")))
            rows.append([network, name, "-" if name == "exact" else str(draws), *cells])
    config, record = results.where(AttackedModel)[0]
    average, images = results.where(AttackedAverage)[0][0], results.where(GradientSources)[0][1]["images"]
    legend = (
        f"Cosine and share of correct signs (in %): compared with the exact gradient of the mean margin, {images} images. OT and "
        f"LAP: accuracy in % under PGD-{config.attack.steps} with step {config.attack.step_size:g} on the margin at "
        f"ε = {EPSILON:g}, first {record['images']:,} test images of {config.train.data.name}, {in_words(results.seeds)}; a 95% "
        f"interval is at most about ±{98 / record['images'] ** 0.5:.1f} points. The search against LAP uses "
        f"{average.search_replications} noisy runs, {average.replications:,} others judge."
    )
    return [Table(["network", "gradient", "draws", "cosine", "signs", "ms per image", "OT", "LAP"], rows), Text(legend)]


GLR_SOURCES = Study(
    "glr-sources",
    "Which gradient should an attack on a network without derivatives follow, and what does it cost?",
    plan,
    table,
    dataset=MNIST14,
)
