"""Does learning in one layer alone give any robustness over backpropagation, in networks of the same size and in deep ones?"""

from __future__ import annotations

from itertools import product
from pathlib import Path

from minicereb.experiments.architectures import CerebellumModel, ConvolutionalModel, PerceptronModel
from minicereb.experiments.configs import Data, Experiment, Train
from minicereb.studies.comparisons import comparison_table
from minicereb.studies.protocol import EXPECTED, as_printed, compared, examined, published
from minicereb.studies.study import Results, Study
from minicereb.studies.tables import OVER_EPSILON, bracket_table, draw_over_epsilon, grouped, paper_table

# Per scale: cells in full and random wiring, hidden units of the deep perceptron (about as many weights), epochs, and of the
# convolutional network the outputs of its convolutions and its hidden units.
SIZES = {
    "smoke": (100, 500, (40, 40, 40), 1, (4,), 20),
    "course": (597, 20_000, (300, 300, 300, 200), 3, (8, 16), 64),
    "paper": (5_970, 200_000, (1_200, 1_200, 1_200, 700), 10, (32, 64), 128),
}
RATE, BATCH, BATCH_OF_CONVOLUTIONS = 1e-3, 32, 64


def models(data: Data, scale: str, seed: int) -> dict[str, Train]:
    """The networks by name: one layer that learns, all layers of the same network, the same with another loss, and deep ones."""
    full, random, deep, epochs, outputs, units = SIZES[scale]
    convolutional = ConvolutionalModel((outputs,), (units,))

    def perceptron(hidden: tuple[int, ...], loss: str) -> Train:
        return Train(PerceptronModel(hidden, loss=loss), data, BATCH, epochs, RATE, "adam", seed=seed)

    return {
        f"{full:,} cells, full wiring, readout learns": as_printed(CerebellumModel("full", full, ltd=False), data, epochs, seed),
        f"{random:,} cells, k = 4, LTD, readout learns": as_printed(CerebellumModel("random", random, 4), data, epochs, seed),
        f"perceptron {full:,}, all learns, squared error": perceptron((full,), "mse"),
        f"perceptron {full:,}, all learns, cross-entropy": perceptron((full,), "cross-entropy"),
        f"perceptron {'-'.join(f'{size:,}' for size in deep)}, cross-entropy": perceptron(deep, "cross-entropy"),
        f"convolutions {'-'.join(map(str, outputs))}, {units} units, cross-entropy": Train(
            convolutional, data, BATCH_OF_CONVOLUTIONS, epochs, RATE, "adam", seed=seed
        ),
    }


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Every network, each compared with the first: full wiring, in which the readout learns."""
    names = models(data, scale, seeds[0])
    trains = [models(data, scale, seed)[name] for name, seed in product(names, seeds)]
    return [*(each for train in trains for each in examined(train, scale, train.seed)), *compared(trains, scale)]


def _named(train: Train) -> str:
    for scale in SIZES:
        for name, other in models(train.data, scale, train.seed).items():
            if other == train:
                return name
    raise ValueError(f"not a network of this study: {train}")


def table(results: Results) -> str:
    """What the paper's attacks say of each network, and what is left and certified."""
    found = grouped(results, _named)
    return "\n".join([*paper_table(found), *bracket_table(found), comparison_table(results)])


def figures(results: Results, out: Path) -> None:
    """Draw accuracy over ε by network."""
    found = grouped(results, _named)
    draw_over_epsilon(found, out / "backprop.png")


BACKPROP = Study(
    "backprop",
    "Is a network in which one layer learns more robust than one that learns by backpropagation, as large or deep?",
    {"smoke": "strokes", "course": "mnist", "paper": "mnist"},
    plan,
    table,
    figures,
    published=published,
    expectation=EXPECTED
    + "It asks whether the shallow and wide structure gives robustness, or is there because backpropagation has "
    "not evolved. A small convolutional network that learns by backpropagation has 99.25% in the authors' logs, 47.3% under PGD "
    "at ε = 0.1 and none at 0.3.",
    captions={"backprop": OVER_EPSILON},
)
