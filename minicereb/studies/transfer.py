"""Do images attacked against one model fool the others? Across seeds, sizes, wirings and rules of learning."""

from __future__ import annotations

from minicereb.attacks.settings import Attack
from minicereb.experiments.architectures import CerebellumModel, PerceptronModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.transfer_matrix import TransferMatrix
from minicereb.experiments.laboratory import Record
from minicereb.report.pipes import markdown
from minicereb.studies.study import Study

EPSILON = 0.1
# Per scale: cells in full wiring, cells in random and local wiring, hidden units, epochs, steps, images attacked.
SIZES = {
    "smoke": (300, 1_000, 20, 1, 5, 50),
    "course": (5_000, 50_000, 300, 3, 40, 1_000),
    "paper": (5_970, 200_000, 300, 10, 100, 10_000),
}
INPUTS_PER_CELL = 4


def models(data: Data, scale: str, seed: int) -> dict[str, Train]:
    """The models by name, the first of them the one that each of the others differs from in one thing."""
    full, sparse, hidden, epochs, _, _ = SIZES[scale]

    def cerebellum(wiring: str, cells: int, which: int = seed, **settings: object) -> Train:
        per_cell = None if wiring == "full" else INPUTS_PER_CELL
        model = CerebellumModel(wiring, cells, per_cell, **settings)  # type: ignore[arg-type]
        return Train(model, data, 10, epochs, 0.5 / cells, seed=which)

    return {
        f"full {full:,}": cerebellum("full", full),
        "another seed": cerebellum("full", full, seed + 1),
        f"a fifth of the cells ({full // 5:,})": cerebellum("full", full // 5),
        "without LTD": cerebellum("full", full, ltd=False),
        "least squares": cerebellum("full", full, rule="least-squares"),
        f"random k={INPUTS_PER_CELL}, {sparse:,}": cerebellum("random", sparse),
        f"local k={INPUTS_PER_CELL}, {sparse:,}": cerebellum("local", sparse),
        f"perceptron {hidden}, backpropagation": Train(PerceptronModel((hidden,)), data, 50, epochs, 1e-3, "adam", seed=seed),
    }


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[TransferMatrix]:
    """One matrix a seed."""
    *_, steps, images = SIZES[scale]
    experiments = []
    for seed in seeds:
        attack = Attack("pgd", "margin", EPSILON, steps=steps, step_size=EPSILON / 10, seed=seed)
        experiments.append(TransferMatrix(tuple(models(data, scale, seed).values()), attack, images))
    return experiments


def table(results: list[tuple[TransferMatrix, Record]]) -> str:
    """One row a model attacked, one column a model answering; means over seeds."""
    config, record = results[0]
    scale = next(scale for scale in SIZES if SIZES[scale][-2:] == (config.attack.steps, config.images))
    names = list(models(config.models[0].data, scale, 0))
    head = ["attacked, in rows; answering, in columns", *(str(number) for number in range(1, len(names) + 1))]
    rows = [("none (clean images)", [each["clean"] for _, each in results])]
    rows += [(f"{n + 1}: {name}", [each["accuracy"][n] for _, each in results]) for n, name in enumerate(names)]
    means = [[name, *(f"{100 * sum(each) / len(each):.1f}" for each in zip(*values, strict=True))] for name, values in rows]
    seeds = ", ".join(str(each.models[0].seed) for each, _ in results)
    lines = [
        *markdown(head, means),
        "",
        f"Accuracy in % on images attacked at ε = {config.attack.epsilon:g} by PGD-{config.attack.steps} with step "
        f"{config.attack.step_size:g} on the margin; the diagonal is the direct attack. First {record['images']:,} test images "
        f"of {config.models[0].data.name}, seed{'s' * (len(results) > 1)} {seeds}; a 95% interval is at most "
        f"about ±{98 / record['images'] ** 0.5:.1f} points.",
    ]
    return "\n".join(lines)


TRANSFER = Study(
    "transfer",
    "Do images attacked against one model fool the others, and does any model resist only what is made against it?",
    {"smoke": "strokes", "course": "mnist", "paper": "mnist"},
    plan,
    table,
    expectation=(
        "The cerebellum paper (Yuezhang, Li and Chen, a registered plan without results of its own) plans attacks "
        "across differently initialised models as a check of its random ones, and expects a cerebellum to resist images "
        "transferred to it as well. Published figures: none."
    ),
)
