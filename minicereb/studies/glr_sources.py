"""Which gradient should an attack on a network without derivatives follow? Where each points, what it costs and breaks."""

from __future__ import annotations

from itertools import product

from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import AttackedModel, Data, Experiment, Train, describe
from minicereb.experiments.kinds.averaged import AttackedAverage
from minicereb.experiments.kinds.gradient_sources import GradientSources
from minicereb.experiments.laboratory import Record
from minicereb.report.pipes import markdown
from minicereb.robustness.catalogue import PAPER_STEP
from minicereb.studies.study import Results, Study

EPSILON = 0.1
SOURCES = (
    ("straight-through", 1),
    ("plain", 32),
    ("baseline", 32),
    ("antithetic", 32),
    ("rao-blackwell", 32),
    ("resample", 32),
    ("flip", 1),
    ("flip", 32),
)


# Per scale: hidden neurons, epochs, images whose gradient is compared, images attacked, runs searched, runs that judge, sources.
SIZES = {
    "smoke": (6, 1, 5, 10, 8, 50, SOURCES[:1] + SOURCES[-2:]),
    "course": (20, 5, 50, 200, 64, 500, SOURCES),
    "paper": (20, 24, 200, 1_000, 64, 10_000, SOURCES),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """For both losses: every source measured, then PGD-40 on the margin along it, by OT and by LAP."""
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


def table(results: Results) -> str:
    """One row a network and source; means over seeds."""
    head = ["network", "gradient", "draws", "cosine", "signs", "ms an image", "OT", "LAP"]
    rows = []
    networks = list(dict.fromkeys(describe(config.trainings[0]) for config, _ in results))
    compared = [(config, record) for config, record in results if isinstance(config, GradientSources)]
    sources = compared[0][0].sources
    for network, (name, draws) in product(networks, (("exact", 1), *sources)):
        of_network = [(config, record) for config, record in results if describe(config.trainings[0]) == network]
        key = name if name == "exact" else f"{name} {draws}"
        measured = [record for config, record in of_network if isinstance(config, GradientSources)]
        cells = [
            _mean([record[key]["cosine"] for record in measured], 1, ".3f"),
            _mean([record[key]["signs"] for record in measured], 100, ".1f"),
            _mean([record[key]["seconds"] / record["images"] if record["images"] else None for record in measured], 1000, ".3g"),
            *(_attacked(of_network, kind, name, draws) for kind in (AttackedModel, AttackedAverage)),
        ]
        rows.append([network, name, "-" if name == "exact" else str(draws), *cells])
    config, record = next((c, r) for c, r in results if isinstance(c, AttackedModel))
    average = next(c for c, _ in results if isinstance(c, AttackedAverage))
    seeds = sorted({c.trainings[0].seed for c, _ in results})
    lines = [
        *markdown(head, rows),
        "",
        "Cosine and share of right signs (in %): against the exact gradient of the mean margin, "
        f"{compared[0][1]['images']} images. OT and LAP: accuracy in % under PGD-{config.attack.steps} with step "
        f"{config.attack.step_size:g} on the margin at ε = {EPSILON:g}, first {record['images']:,} test images of "
        f"{config.train.data.name}, seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}; a 95% interval is at most "
        f"about ±{98 / record['images'] ** 0.5:.1f} points. The search on LAP looks at {average.search_replications} noisy runs, "
        f"{average.replications:,} others judge.",
    ]
    return "\n".join(lines)


def _attacked(results: Results, kind: type, name: str, draws: int) -> str:
    found: list[Record] = [
        record
        for config, record in results
        if isinstance(config, kind) and (config.attack.gradient, config.attack.draws) == (name, draws)  # type: ignore[attr-defined]
    ]
    return _mean([record["robust_accuracy"] for record in found], 100, ".1f")


def _mean(values: list[float | None], unit: float, digits: str) -> str:
    known = [value for value in values if value is not None]
    return f"{unit * sum(known) / len(known):{digits}}" if known else "-"


GLR_SOURCES = Study(
    "glr-sources",
    "Which gradient should an attack on a network without derivatives follow, and what does it cost?",
    {"smoke": "strokes14", "course": "mnist14", "paper": "mnist14"},
    plan,
    table,
)
