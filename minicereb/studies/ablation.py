"""Full or sparse wiring, with LTD or without, trained image by image or in batches: what of the robustness is real?"""

from __future__ import annotations

from itertools import product
from pathlib import Path

from minicereb.attacks.settings import Attack
from minicereb.datasets.registry import in_layout_of_cifar10
from minicereb.experiments.architectures import CerebellumModel, ConvolutionalModel
from minicereb.experiments.configs import Data, Experiment, Train, describe
from minicereb.experiments.kinds.moved import MovedOutputs
from minicereb.models.convolutional import vgg11
from minicereb.report.formats import strength
from minicereb.report.pipes import markdown
from minicereb.robustness.catalogue import PAPER_STEP, PAPER_STEPS
from minicereb.studies.comparisons import comparison_table
from minicereb.studies.protocol import (
    EXPECTED,
    as_coded,
    as_printed,
    compared,
    examined,
    published,
    strengths,
    tuned_step,
)
from minicereb.studies.study import Results, Study
from minicereb.studies.tables import OVER_EPSILON, bracket_table, draw_over_epsilon, grouped, paper_table

# Per scale: cells in full and random wiring (as many synapses), ways of learning with their epochs.
SIZES = {
    "smoke": (100, 500, ((as_coded, 1), (as_printed, 1))),
    "course": (597, 20_000, ((as_coded, 1), (as_printed, 3))),
    "paper": (5_970, 200_000, ((as_printed, 10),)),
}
# On colour photographs: cells in full wiring, for which an encoder's features are more than a digit's pixels.
FULL_BEHIND_ENCODER = {"smoke": 50, "course": 460, "paper": 1_166}
# Their encoder, the VGG-11 of the paper's code: factor of its width, shares silenced, epochs.
ENCODER: dict[str, tuple[float, tuple[float, float], int]] = {
    "smoke": (0.02, (0.0, 0.0), 1),
    "course": (0.25, (0.0, 0.2), 20),
    "paper": (1.0, (0.25, 0.5), 60),
}


def models(full: int, random: int) -> list[CerebellumModel]:
    """The four models of the ablation: base, base + LTD, sparse wiring, cerebellum."""
    sizes = (("full", full, None), ("random", random, 4))
    return [CerebellumModel(*size, ltd=ltd) for size, ltd in product(sizes, (False, True))]


def encoder(data: Data, scale: str, seed: int) -> Train | None:
    """Return the training of the network through whose convolutions the models see colour photographs; none for digits."""
    if not in_layout_of_cifar10(data.name):
        return None
    width, dropout, epochs = ENCODER[scale]
    model = ConvolutionalModel(*vgg11(width), True, dropout, 5e-4)
    return Train(model, data, 128, epochs, 0.05, "momentum", seed=seed, schedule="cosine", augment=True)


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """The four models, learned as the authors' code does it and as the paper prints it, each compared with the base network.

    On colour photographs, where attacks cost far more, they learn as printed alone. They see through an encoder, which is
    examined as a network of its own as well.
    """
    full, random, ways = SIZES[scale]
    encoders = {seed: encoder(data, scale, seed) for seed in seeds}
    if any(encoders.values()):
        full, ways = FULL_BEHIND_ENCODER[scale], tuple(each for each in ways if each[0] is as_printed)
    experiments: list[Experiment] = []
    for way, epochs in ways:
        trains = [way(model, data, epochs, seed, encoders[seed]) for model, seed in product(models(full, random), seeds)]
        trains += [each for each in encoders.values() if each is not None]
        for train in trains:
            experiments += examined(train, scale, train.seed)
            images = strengths(data).evaluated[scale]
            experiments += [MovedOutputs(train, _attack(objective, train), images) for objective in ("mse", "margin")]
        experiments += compared(trains, scale)
    return list(dict.fromkeys(experiments))


def _attack(objective: str, train: Train) -> Attack:
    """The attack whose outputs are looked at: on digits the paper's at the smaller ε, on photographs at the larger."""
    strong = strengths(train.data)
    epsilon = strong.paper[strong.tuned]
    step = tuned_step(epsilon) if strong.tuned else PAPER_STEP
    return Attack("pgd", objective, epsilon, steps=PAPER_STEPS, step_size=step, seed=train.seed, keep="last")


def table(results: Results) -> str:
    """What the paper's attacks say, what is left and certified, and which outputs the attacks moved."""
    found = grouped(results)
    brackets = [*paper_table(found), *bracket_table(found), comparison_table(results), ""]
    return "\n".join([*brackets, *_moved(results, [each.name for each in found])])


def _moved(results: Results, names: list[str]) -> list[str]:
    """The second table: which outputs the attacks moved."""
    head = ["model", "ascending", "still right", "true output", "largest other", "true output rose", "its part of the rise"]
    rows, attack = [], next(config.attack for config, _ in results if isinstance(config, MovedOutputs))
    for name, objective in product(names, ("mse", "margin")):
        found = [
            record
            for config, record in results
            if isinstance(config, MovedOutputs) and describe(config.train) == name and config.attack.objective == objective
        ]
        parts = [record["by_true"] for record in found if record["by_true"] is not None]
        cells = [
            _percent([record["robust_accuracy"] for record in found]),
            *(f"{_mean(found, key, 'before')} to {_mean(found, key, 'after')}" for key in ("true", "rival")),
            _percent([record["rose"] for record in found]),
            _percent(parts),
        ]
        rows.append([name, objective, *cells])
    return [
        *markdown(head, rows),
        "",
        f"Means over the images that are right as they are, ε = {strength(attack.epsilon)}, {attack.steps} steps of "
        f"{attack.step_size:.3g}, last iterate. Still right: of all images, in %. True output rose: share of the images, in %. "
        "Its part of the "
        "rise: how much of the squared error that the attack added is (ŷ - 1)² of the true output, in %.",
    ]


def _percent(shares: list[float | None]) -> str:
    known = [share for share in shares if share is not None]
    return f"{100 * sum(known) / len(known):.1f}" if known else "-"


def _mean(records: list[dict], key: str, when: str) -> str:
    known = [record[key][when] for record in records if record[key][when] is not None]
    return f"{sum(known) / len(known):.2f}" if known else "-"


def _short(train: Train) -> str:
    """What the paper calls a model of the ablation."""
    model = train.model
    if not isinstance(model, CerebellumModel):
        return "VGG-11"
    return {
        ("full", False): "base",
        ("full", True): "base + LTD",
        ("random", False): "sparse",
        ("random", True): "sparse + LTD (cerebellum)",
    }[model.wiring, model.ltd]


def figures(results: Results, out: Path) -> None:
    """Draw for each way of learning what PGD on the squared error says of the four models, and what is left of them."""
    cerebella = grouped(results, lambda train: f"{_short(train)}, batch {train.batch_size}")
    networks = [each for each in cerebella if not isinstance(each.train.model, CerebellumModel)]
    for batch in sorted({each.train.batch_size for each in cerebella if each not in networks}):
        group = [each for each in cerebella if each.train.batch_size == batch and each not in networks]
        draw_over_epsilon([*group, *networks], out / f"ablation-batch-{batch}.png")


ABLATION = Study(
    "ablation",
    "Between what the strongest attacks leave and what can be proved: what of a cerebellum's robustness is real?",
    {"smoke": "strokes", "course": "mnist", "paper": "mnist"},
    plan,
    table,
    figures,
    published=published,
    expectation=EXPECTED
    + "It expects network width, long-term depression and sparse connectivity to make a cerebellum more robust.",
    captions={
        "ablation-batch-1": "The four models of the ablation, learned image by image. " + OVER_EPSILON,
        "ablation-batch-10": "The four models of the ablation, learned in batches of ten. " + OVER_EPSILON,
    },
)
