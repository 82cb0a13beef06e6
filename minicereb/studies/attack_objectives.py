"""Is a cerebellum robust, or does the attack fail? A comparison of three objectives of the same attack."""

from __future__ import annotations

from functools import partial
from itertools import product

from minicereb.attacks.settings import Attack
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.attacked import AttackedModel
from minicereb.report.page import Text
from minicereb.robustness.catalogue import PAPER_STEP
from minicereb.studies.protocol import four_models
from minicereb.studies.results import Blocks, Results, tabulate
from minicereb.studies.study import Study
from minicereb.studies.tables import accuracy_of, accuracy_under, by_model, interval_in_words

EPSILONS = (0.1, 0.3)
OBJECTIVES = ("mse", "cross-entropy", "margin")
# Per scale: cells in full and random wiring, epochs at batch 1 and batch 10, steps, images attacked.
SIZES = {
    "smoke": (300, 2_000, 1, 1, 5, 50),
    "course": (5_000, 20_000, 1, 3, 40, 1_000),
    "paper": (5_970, 200_000, 10, 10, 40, 10_000),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[AttackedModel]:
    """Train both wirings with batch size 1 (as in the code) and 10 (as in the paper), with and without LTD; then run PGD."""
    full, random, epochs_of_1, epochs_of_10, steps, images = SIZES[scale]
    experiments = []
    for (batch, epochs), model, seed in product(((1, epochs_of_1), (10, epochs_of_10)), four_models(full, random), seeds):
        train = Train(model, data, batch, epochs, 0.5 / model.cells, seed=seed)
        for epsilon, objective in product(EPSILONS, OBJECTIVES):
            attack = Attack("pgd", objective, epsilon, steps=steps, step_size=PAPER_STEP, seed=seed)
            experiments.append(AttackedModel(train, attack, images))
    return experiments


def table(results: Results) -> Blocks:
    """Show the test accuracy of each model, then its robust accuracy by ε and objective."""
    models, (config, record) = by_model(results), results[0]
    columns = [
        (f"{objective} {epsilon:g}", partial(accuracy_under, objective=objective, epsilon=epsilon))
        for epsilon, objective in product(EPSILONS, OBJECTIVES)
    ]
    legend = (
        f"Accuracy in % ({interval_in_words(models)}); test: {record['test_images']:,} images. By objective and ε: robust "
        f"accuracy under PGD-{config.attack.steps} with step {config.attack.step_size:g}, random start and best iterate on the "
        f"first {record['images']:,} test images of {config.train.data.name}."
    )
    return [tabulate("model", models, ("test", accuracy_of), *columns), Text(legend)]


OBJECTIVES_STUDY = Study(
    "objectives",
    "Is the robustness of a cerebellum to PGD a property of the model, or a failure of the objective that the attack ascends?",
    plan,
    table,
    expectation=(
        "The cerebellum paper (Yuezhang, Li and Chen, a registered plan without results of its own) measures robustness "
        "by PGD ascending the squared error, and expects long-term depression and sparse connectivity to increase it. "
        "Published figures: none."
    ),
)
