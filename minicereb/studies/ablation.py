"""How robust is a cerebellum really, with full or sparse wiring, with or without LTD, trained image by image or in batches?"""

from __future__ import annotations

from itertools import product

from minicereb.attacks.settings import Attack
from minicereb.datasets.registry import in_layout_of_cifar10
from minicereb.experiments.architectures import CerebellumModel, ConvolutionalModel
from minicereb.experiments.configs import Data, Experiment, Train, describe
from minicereb.experiments.kinds.attacked import MovedOutputs
from minicereb.models.convolutional import vgg11
from minicereb.report.formats import percent, strength
from minicereb.report.page import Table, Text
from minicereb.robustness.catalogue import PAPER_STEP
from minicereb.studies import protocol, tables
from minicereb.studies.protocol import as_coded, as_printed, strengths
from minicereb.studies.results import Blocks, Figures, Results
from minicereb.studies.study import Study
from minicereb.studies.tables import by_model, training_of

# Per scale: cells in full and in random wiring (with equally many synapses), and ways of training with their epochs.
SIZES = {
    "smoke": (100, 500, ((as_coded, 1), (as_printed, 1))),
    "course": (597, 20_000, ((as_coded, 1), (as_printed, 3))),
    "paper": (5_970, 200_000, ((as_printed, 10),)),
}
# Cells in full wiring after an encoder, which has more features than a digit has pixels.
FULL_BEHIND_ENCODER = {"smoke": 50, "course": 460, "paper": 1_166}
# The encoder, the VGG-11 of the paper's code: factor for its width, dropout rates, epochs.
ENCODER: dict[str, tuple[float, tuple[float, float], int]] = {
    "smoke": (0.02, (0.0, 0.0), 1),
    "course": (0.25, (0.0, 0.2), 20),
    "paper": (1.0, (0.25, 0.5), 60),
}


def encoder(data: Data, scale: str, seed: int) -> Train | None:
    """Return the training run of the network whose convolutions encode colour photographs for the models; None for digits."""
    if not in_layout_of_cifar10(data.name):
        return None
    width, dropout, epochs = ENCODER[scale]
    model = ConvolutionalModel(*vgg11(width), True, dropout, 5e-4)
    return Train(model, data, 128, epochs, 0.05, "momentum", seed=seed, schedule="cosine", augment=True)


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Train the four models as in the authors' code and as in the paper, and compare each of them with the base network.

    On colour photographs, where attacks take far longer, the models are trained only as in the paper, on the features of an
    encoder. The encoder is also examined as a separate network.
    """
    full, random, ways = SIZES[scale]
    encoders = {seed: encoder(data, scale, seed) for seed in seeds}
    if any(encoders.values()):
        full, ways = FULL_BEHIND_ENCODER[scale], tuple(each for each in ways if each[0] is as_printed)
    experiments: list[Experiment] = []
    for way, epochs in ways:
        trains = [
            way(model, data, epochs, seed, encoders[seed]) for model, seed in product(protocol.four_models(full, random), seeds)
        ]
        trains += [each for each in encoders.values() if each is not None]
        for train in trains:
            experiments += protocol.examined(train, scale)
            images = strengths(data).evaluated[scale]
            experiments += [MovedOutputs(train, _attack(objective, train), images) for objective in ("mse", "margin")]
        experiments += protocol.compared(trains, scale)
    return list(dict.fromkeys(experiments))


def _attack(objective: str, train: Train) -> Attack:
    """Return the attack for the comparison of outputs: at the smaller ε on digits, at the larger on photographs."""
    strong = strengths(train.data)
    epsilon = strong.paper[strong.tuned]
    return protocol.paper_pgd(objective, epsilon, train.seed, protocol.tuned_step(epsilon) if strong.tuned else PAPER_STEP)


def table(results: Results) -> Blocks:
    """Show accuracies under the paper's attacks, attacked and certified accuracies, comparisons, and changes of outputs."""
    models = by_model(results)
    return [
        *tables.paper_table(models),
        *tables.bracket_table(models),
        *tables.comparison_table(results),
        *_moved(results, list(models)),
    ]


def _moved(results: Results, names: list[str]) -> Blocks:
    """Show which outputs the attacks changed."""
    rows, moved = [], results.where(MovedOutputs)
    groups = moved.by(lambda config: (describe(config.train), config.attack.objective))
    for name, objective in product(names, ("mse", "margin")):
        found = groups[name, objective]
        moves = [" to ".join(_mean(found, f"{output}.{when}") for when in ("before", "after")) for output in ("true", "rival")]
        shares = [percent(found.mean(each)) for each in ("robust_accuracy", "rose", "by_true")]
        rows.append([name, objective, shares[0], *moves, *shares[1:]])
    attack = moved[0][0].attack
    legend = (
        f"Means over the images that are correctly classified before the attack, ε = {strength(attack.epsilon)}, {attack.steps} "
        f"steps of {attack.step_size:.3g}, last iterate. Robust: accuracy on all images under the attack, in %. True output "
        "rose: share of the images, in %. Its part of the rise: share of the increase in squared error that comes from (ŷ - 1)² "
        "of the true output, in %."
    )
    head = ["model", "ascending", "robust", "true output", "largest other", "true output rose", "its part of the rise"]
    return [Table(head, rows), Text(legend)]


def _mean(found: Results, of: str) -> str:
    mean = found.mean(of)
    return "-" if mean is None else f"{mean:.2f}"


def _short(train: Train) -> str:
    """Return the paper's name for a model of the ablation."""
    model = train.model
    if not isinstance(model, CerebellumModel):
        return "VGG-11"
    names = ("sparse", "sparse + LTD (cerebellum)") if model.wiring == "random" else ("base", "base + LTD")
    return names[model.ltd]


def figures(results: Results) -> Figures:
    """Draw the four models' accuracy against ε for each batch size, under PGD on the squared error and under all attacks."""
    batches = by_model(results, lambda train: f"{_short(train)}, batch {train.batch_size}")
    networks = {name: each for name, each in batches.items() if not isinstance(training_of(each).model, CerebellumModel)}
    cerebella = {name: each for name, each in batches.items() if name not in networks}
    figures = {}
    for size in sorted({training_of(each).batch_size for each in cerebella.values()}):
        group = {name: each for name, each in cerebella.items() if training_of(each).batch_size == size}
        figures[f"ablation-batch-{size}"] = tables.over_epsilon_figure(group | networks)
    return figures


ABLATION = Study(
    "ablation",
    "How much of a cerebellum's robustness is real: what remains under the strongest attacks, and what can be proved?",
    plan,
    table,
    figures,
    protocol.EXPECTED
    + "It expects network width, long-term depression and sparse connectivity to make a cerebellum more robust.",
    protocol.published,
    captions={
        "ablation-batch-1": "The four models of the ablation, trained image by image. " + tables.OVER_EPSILON,
        "ablation-batch-10": "The four models of the ablation, trained in batches of ten. " + tables.OVER_EPSILON,
    },
)
