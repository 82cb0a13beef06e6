"""Full or sparse wiring, with LTD or without, trained image by image or in batches: what of the robustness is real?"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from minicereb.attacks.settings import Attack
from minicereb.experiments.configs import CerebellumModel, Data, Experiment, Model, Train, describe
from minicereb.experiments.evaluated import EvaluatedModel
from minicereb.experiments.moved import MovedOutputs
from minicereb.experiments.studies.study import Results, Study
from minicereb.report.figures import curves, save_figure
from minicereb.robustness.catalogue import ALL, PAPER_STEP, PAPER_STEPS

EPSILONS = (0.01, 0.05, 0.1, 0.3)
LOOKED_AT = 0.1  # the ε of the table of moved outputs
# Per scale: cells in full and random wiring, epochs at batch 1 and batch 10, images attacked, ε, attacks.
SIZES = {
    "smoke": (200, 1_000, 1, 1, 8, (0.1,), ("pgd-mse", "apgd-margin")),
    "course": (5_970, 200_000, 1, 3, 100, EPSILONS, ALL),
    "paper": (5_970, 200_000, 10, 10, 1_000, EPSILONS, ALL),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Batch 1 (the authors' code) and 10 (the paper), both wirings, with and without LTD."""
    full, random, epochs_of_1, epochs_of_10, images, epsilons, attacks = SIZES[scale]
    experiments: list[Experiment] = []
    for batch, wiring, ltd, seed in product((1, 10), ("full", "random"), (False, True), seeds):
        cells, per_cell = (full, None) if wiring == "full" else (random, 4)
        epochs = epochs_of_1 if batch == 1 else epochs_of_10
        train = Train(CerebellumModel(wiring, cells, per_cell, ltd=ltd), data, batch, epochs, 0.5 / cells, seed=seed)
        experiments.append(EvaluatedModel(train, epsilons, images, attacks, seed=seed))
        for objective in ("mse", "margin"):
            attack = Attack("pgd", objective, LOOKED_AT, steps=PAPER_STEPS, step_size=PAPER_STEP, seed=seed, keep="last")
            experiments.append(MovedOutputs(train, attack, images))
    return experiments


def table(results: Results) -> str:
    """One row a model: for each ε what MSE-PGD says, what the ensemble leaves, what is certified; then the outputs moved."""
    evaluated = [(config, record) for config, record in results if isinstance(config, EvaluatedModel)]
    epsilons = evaluated[0][0].epsilons
    head = ["model", "test"]
    for epsilon in epsilons:
        head += [f"MSE-PGD {epsilon:g}", f"attacked {epsilon:g}", f"certified {epsilon:g}"]
    lines = _head(head)
    names = list(dict.fromkeys(describe(config.train) for config, _ in evaluated))
    widest = 0.0
    for name in names:
        records = [record for config, record in evaluated if describe(config.train) == name]
        cells = [_percent([record["clean_accuracy"] for record in records])]
        for e in range(len(epsilons)):
            entries = [record["epsilons"][e] for record in records]
            cells.append(_percent([entry["by_attack"]["pgd-mse"] for entry in entries]))
            cells += [_percent([entry[side] for entry in entries]) for side in ("attacked", "certified")]
            widest = max(widest, *(b - a for entry in entries for a, b in (entry["attacked_interval"],)))
        lines.append("| " + " | ".join([name, *cells]) + " |")
    config, record = evaluated[0]
    seeds = sorted({each.train.seed for each, _ in evaluated})
    lines += [
        "",
        f"Accuracy in %. MSE-PGD: the paper's attack, {PAPER_STEPS} steps of {PAPER_STEP:g} on the squared error, last iterate. "
        f"Attacked: what is left after {', '.join(config.attacks)}. Certified: interval bounds and CROWN. First "
        f"{record['images']:,} test images of {config.train.data.name}, seed{'s' * (len(seeds) > 1)} "
        f"{', '.join(map(str, seeds))}; 95% intervals of the attacked share are at most {100 * widest:.1f} points wide.",
        "",
        *_moved(results, names),
    ]
    return "\n".join(lines)


def _moved(results: Results, names: list[str]) -> list[str]:
    """The second table: which outputs the attacks moved."""
    head = ["model", "ascending", "still right", "true output", "largest other", "true output rose", "its part of the rise"]
    lines = _head(head)
    for name, objective in product(names, ("mse", "margin")):
        found = [
            record
            for config, record in results
            if isinstance(config, MovedOutputs) and describe(config.train) == name and config.attack.objective == objective
        ]
        parts = [record["by_true"] for record in found if record["by_true"] is not None]
        cells = [
            _percent([record["robust_accuracy"] for record in found]),
            *(f"{_mean(found, key, 'before'):.2f} to {_mean(found, key, 'after'):.2f}" for key in ("true", "rival")),
            _percent([record["rose"] for record in found]),
            _percent(parts) if parts else "-",
        ]
        lines.append("| " + " | ".join([name, objective, *cells]) + " |")
    lines += [
        "",
        f"Means over the images that are right as they are, ε = {LOOKED_AT:g}, {PAPER_STEPS} steps of {PAPER_STEP:g}, last "
        "iterate. True output rose: share of the images, in %. Its part of the rise: how much of the squared error that the "
        "attack added is (ŷ - 1)² of the true output, in %.",
    ]
    return lines


def _head(names: list[str]) -> list[str]:
    return ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]


def _percent(shares: list[float]) -> str:
    return f"{100 * sum(shares) / len(shares):.1f}"


def _mean(records: list[dict], key: str, when: str) -> float:
    return sum(record[key][when] for record in records) / len(records)


def figures(results: Results, out: Path) -> None:
    """Draw for each model what MSE-PGD says, what the ensemble leaves and what is certified, over ε."""
    evaluated = [(config, record) for config, record in results if isinstance(config, EvaluatedModel)]
    panels = []
    for batch in sorted({config.train.batch_size for config, _ in evaluated}):
        config, record = next((c, r) for c, r in evaluated if c.train.batch_size == batch and _is_cerebellum(c.train.model))
        epsilons = np.array(config.epsilons, dtype=np.float64)
        shares = {"MSE-PGD says": [entry["by_attack"]["pgd-mse"] for entry in record["epsilons"]]}
        shares |= {side: [entry[side] for entry in record["epsilons"]] for side in ("attacked", "certified")}
        lines = {name: (epsilons, np.array(values, dtype=np.float64)) for name, values in shares.items()}
        panels.append((f"random wiring, LTD, batch {batch}", lines))
    save_figure(curves(panels, "ε", "share of the images", from_zero=True), out / "brackets.png")


def _is_cerebellum(model: Model) -> bool:
    return isinstance(model, CerebellumModel) and model.wiring == "random" and model.ltd


ABLATION = Study(
    "ablation",
    "Between what the strongest attacks leave and what can be proved: what of a cerebellum's robustness is real?",
    {"smoke": "strokes", "course": "mnist", "paper": "mnist"},
    plan,
    table,
    figures,
    expectation=(
        "The cerebellum paper (Yuezhang, Li and Chen, a registered plan without results of its own) expects network "
        "width, long-term depression and sparse connectivity to make a cerebellum more robust to FGSM and PGD. "
        "Published figures: none."
    ),
    captions={
        "brackets": (
            "Random wiring with LTD, trained image by image and in batches of ten: share of the attacked images, "
            "as a number from 0 to 1, over ε (L∞, pixels in 0 to 1). Marks are measured, lines between them only "
            "join them. The number of images and their intervals are in the tables."
        ),
    },
)
