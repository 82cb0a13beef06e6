"""Do images attacked against one model fool the others, across seeds, sizes, wirings and learning rules?"""

from __future__ import annotations

import numpy as np

from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import CerebellumModel, PerceptronModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.transfer import TransferMatrix
from minicereb.report.formats import in_words, percent
from minicereb.report.page import Table, Text
from minicereb.studies.results import Blocks, Results
from minicereb.studies.study import Study

EPSILON = 0.1
# Per scale: cells in full wiring, cells in random and local wiring, hidden units, epochs, steps, images attacked.
SIZES = {
    "smoke": (300, 1_000, 20, 1, 5, 50),
    "course": (5_000, 50_000, 300, 3, 40, 1_000),
    "paper": (5_970, 200_000, 300, 10, 100, 10_000),
}


def models(data: Data, scale: str, seed: int) -> dict[str, Train]:
    """Return the models, keyed by name; each differs from the first in one respect."""
    full, sparse, hidden, epochs, _, _ = SIZES[scale]

    def cerebellum(wiring: str, cells: int, which: int = seed, **settings: object) -> Train:
        model = CerebellumModel(wiring, cells, None if wiring == "full" else 4, **settings)  # type: ignore[arg-type]
        return Train(model, data, 10, epochs, 0.5 / cells, seed=which)

    return {
        f"full {full:,}": cerebellum("full", full),
        "another seed": cerebellum("full", full, seed + 1),
        f"a fifth of the cells ({full // 5:,})": cerebellum("full", full // 5),
        "without LTD": cerebellum("full", full, ltd=False),
        "least squares": cerebellum("full", full, rule="least-squares"),
        f"random k=4, {sparse:,}": cerebellum("random", sparse),
        f"local k=4, {sparse:,}": cerebellum("local", sparse),
        f"perceptron {hidden}, backpropagation": Train(PerceptronModel((hidden,)), data, 50, epochs, 1e-3, "adam", seed=seed),
    }


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[TransferMatrix]:
    """Test every model on images attacked with the gradients of every other model; one matrix per seed."""
    *_, steps, images = SIZES[scale]
    experiments = []
    for seed in seeds:
        attack = Attack("pgd", "margin", EPSILON, steps=steps, step_size=EPSILON / 10, seed=seed)
        experiments.append(TransferMatrix(tuple(models(data, scale, seed).values()), attack, images))
    return experiments


def table(results: Results) -> Blocks:
    """Show a row for each attacked model and a column for each classifying model; entries are means over seeds."""
    config, record = results[0]
    scale = next(scale for scale in SIZES if SIZES[scale][-2:] == (config.attack.steps, config.images))
    names = list(models(config.models[0].data, scale, 0))
    shares = np.array([[each["clean"], *each["accuracy"]] for each in results.records], dtype=np.float64).mean(axis=0)
    attacked = ["none (clean images)", *(f"{n}: {name}" for n, name in enumerate(names, 1))]
    rows = [[name, *map(percent, row)] for name, row in zip(attacked, shares, strict=True)]
    legend = (
        f"Accuracy in % on images attacked at ε = {config.attack.epsilon:g} by PGD-{config.attack.steps} with step "
        f"{config.attack.step_size:g} on the margin; on the diagonal the attack is direct. First {record['images']:,} test "
        f"images of {config.models[0].data.name}, {in_words(c.models[0].seed for c, _ in results)}; a 95% interval is at most "
        f"about ±{98 / record['images'] ** 0.5:.1f} points."
    )
    return [Table(["attacked (rows), answering (columns)", *(str(n + 1) for n in range(len(names)))], rows), Text(legend)]


TRANSFER = Study(
    "transfer",
    "Do images attacked against one model fool the others, and is any model robust only to attacks made against it?",
    plan,
    table,
    expectation=(
        "The cerebellum paper (Yuezhang, Li and Chen, a registered plan without results of its own) plans attacks "
        "across differently initialised models as a check of its random models, and expects a cerebellum to be robust to "
        "transferred images as well. Published figures: none."
    ),
)
