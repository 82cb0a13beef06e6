"""Does a cerebellum resist, or does the attack fail? The same attack, ascending three objectives."""

from __future__ import annotations

from itertools import product

from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import AttackedModel, Data, Train
from minicereb.report.pipes import markdown
from minicereb.robustness.catalogue import PAPER_STEP
from minicereb.studies.study import Results, Study
from minicereb.studies.tables import grouped, interval_words

EPSILONS = (0.1, 0.3)
OBJECTIVES = ("mse", "cross-entropy", "margin")
# Per scale: cells in full and random wiring, epochs at batch 1 and batch 10, steps, images attacked.
SIZES = {
    "smoke": (300, 2_000, 1, 1, 5, 50),
    "course": (5_000, 20_000, 1, 3, 40, 1_000),
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
            experiments.append(
                AttackedModel(train, Attack("pgd", objective, epsilon, steps=steps, step_size=PAPER_STEP, seed=seed), images)
            )
    return experiments


def table(results: Results) -> str:
    """One row a model: clean accuracy, then robust accuracy by ε and objective."""
    found, attacks = grouped(results), list(product(EPSILONS, OBJECTIVES))
    config, record = results[0]
    head = ["model", "test", *(f"{objective} {epsilon:g}" for epsilon, objective in attacks)]
    rows = [[each.name, each.test, *(each.under("pgd", *attack) for attack in attacks)] for each in found]
    return "\n".join(
        [
            *markdown(head, rows),
            "",
            f"Accuracy in % ({interval_words(found)}); test: {record['test_images']:,} images. By objective and ε: what PGD-"
            f"{config.attack.steps} with step {config.attack.step_size:g}, random start and best iterate leaves of the first "
            f"{record['images']:,} test images of {config.train.data.name}.",
        ]
    )


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
