"""Does a cerebellum resist, or does the attack fail? The same attack, ascending three objectives."""

from __future__ import annotations

from itertools import product

from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import AttackedModel, Data, Train, describe
from minicereb.experiments.laboratory import Record
from minicereb.experiments.studies.study import Study
from minicereb.statistics import proportion_interval

EPSILONS = (0.1, 0.3)
OBJECTIVES = ("mse", "cross-entropy", "margin")
# Per scale: cells in full and random wiring, epochs at batch 1 and batch 10, steps, images attacked.
SIZES = {
    "smoke": (300, 2_000, 1, 1, 5, 50),
    "course": (5_000, 200_000, 1, 3, 40, 1_000),
    "paper": (5_970, 200_000, 10, 10, 40, 10_000),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[AttackedModel]:
    """Batch 1 (the authors' code) and 10 (the paper), both wirings, with and without LTD, PGD with each objective."""
    full, random, epochs_of_1, epochs_of_10, steps, images = SIZES[scale]
    experiments = []
    for batch, wiring, ltd, seed in product((1, 10), ("full", "random"), (False, True), seeds):
        cells, per_cell = (full, None) if wiring == "full" else (random, 4)
        epochs = epochs_of_1 if batch == 1 else epochs_of_10
        train = Train(CerebellumModel(wiring, cells, per_cell, ltd=ltd), data, batch, epochs, 0.5 / cells, seed=seed)
        for epsilon, objective in product(EPSILONS, OBJECTIVES):
            experiments.append(AttackedModel(train, Attack("pgd", objective, epsilon, steps=steps, seed=seed), images))
    return experiments


def table(results: list[tuple[AttackedModel, Record]]) -> str:
    """One row a model: clean accuracy, then robust accuracy by ε and objective, means over seeds; the interval is the widest."""
    head = ["model", "test", *(f"{objective} {epsilon:g}" for epsilon, objective in product(EPSILONS, OBJECTIVES))]
    models = list(dict.fromkeys(describe(config.train) for config, _ in results))
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    widest = 0.0
    for model in models:
        rows = [(config, record) for config, record in results if describe(config.train) == model]
        cells = [f"{_mean([record['test_accuracy'] for _, record in rows]):.1f}"]
        for epsilon, objective in product(EPSILONS, OBJECTIVES):
            hits = [r for c, r in rows if (c.attack.epsilon, c.attack.objective) == (epsilon, objective)]
            cells.append(f"{_mean([record['robust_accuracy'] for record in hits]):.1f}")
            for record in hits:
                low, high = proportion_interval(round(record["robust_accuracy"] * record["images"]), record["images"])
                widest = max(widest, high - low)
        lines.append("| " + " | ".join([model, *cells]) + " |")
    config, record = results[0]
    seeds = sorted({c.train.seed for c, _ in results})
    lines += [
        "",
        f"Robust accuracy in % under PGD-{config.attack.steps} with step {config.attack.step_size:g}, random start, best "
        f"iterate, by objective and ε; {config.train.data.name}, first {record['images']:,} test images, "
        f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}; 95% intervals are at most {100 * widest:.1f} points wide.",
    ]
    return "\n".join(lines)


def _mean(values: list[float]) -> float:
    return 100 * sum(values) / len(values)


OBJECTIVES_STUDY = Study(
    "objectives",
    "Is the robustness of a cerebellum to PGD a property of the model, or a failure of the objective that the attack ascends?",
    {"smoke": "strokes", "course": "mnist", "paper": "mnist"},
    plan,
    table,
    expectation=(
        "The cerebellum paper (Yuezhang, Li and Chen, a registered plan without results of its own) measures robustness "
        "by PGD ascending the squared error, and expects long-term depression and sparse connectivity to raise it. "
        "Published figures: none."
    ),
)
