"""Is learning in one layer alone more robust than backpropagation, in networks of the same size and in deep ones?"""

from __future__ import annotations

from minicereb.experiments.architectures import CerebellumModel, ConvolutionalModel, Model, PerceptronModel
from minicereb.experiments.configs import Data, Train
from minicereb.studies.protocol import as_printed, robustness_study
from minicereb.studies.tables import over_epsilon_figure

# Per scale: cells in full and random wiring; hidden units of the deep perceptron (about as many weights); epochs; outputs of the
# convolutions and hidden units of the convolutional network.
SIZES = {
    "smoke": (100, 500, (40, 40, 40), 1, (4,), 20),
    "course": (597, 20_000, (300, 300, 300, 200), 3, (8, 16), 64),
    "paper": (5_970, 200_000, (1_200, 1_200, 1_200, 700), 10, (32, 64), 128),
}


def trainings(data: Data, scale: str, seed: int) -> list[Train]:
    """Return the networks: two learn only in the readout, the others in all layers, some of them with more layers."""
    full, random, deep, epochs, outputs, units = SIZES[scale]
    cerebella = CerebellumModel("full", full, ltd=False), CerebellumModel("random", random, 4)
    perceptrons = PerceptronModel((full,), loss="mse"), PerceptronModel((full,)), PerceptronModel(deep)
    networks: list[tuple[Model, int]] = [*((model, 32) for model in perceptrons), (ConvolutionalModel((outputs,), (units,)), 64)]
    return [
        *(as_printed(model, data, epochs, seed) for model in cerebella),
        *(Train(model, data, batch, epochs, 1e-3, "adam", seed=seed) for model, batch in networks),
    ]


def _label(train: Train) -> str:
    model = train.model
    if isinstance(model, CerebellumModel):
        return f"{model.cells:,} cells, {'full wiring' if model.wiring == 'full' else 'k = 4, LTD'}, only the readout learns"
    if isinstance(model, ConvolutionalModel):
        return f"convolutions {'-'.join(map(str, model.stages[0]))}, {model.hidden[0]} units, cross-entropy"
    assert isinstance(model, PerceptronModel)
    all_layers = ", all layers learn" * (len(model.hidden) == 1)
    loss = "squared error" if model.loss == "mse" else model.loss
    return f"perceptron {'-'.join(f'{size:,}' for size in model.hidden)}{all_layers}, {loss}"


BACKPROP = robustness_study(
    "backprop",
    "Is a network in which only one layer learns more robust than networks, as large or deep, trained by backpropagation?",
    lambda data, scale, seed: [trainings(data, scale, seed)],
    _label,
    figures=lambda models: {"backprop": over_epsilon_figure(models)},
    expectation="It asks whether the shallow and wide structure gives robustness, or exists because backpropagation has not "
    "evolved. A small convolutional network trained by backpropagation has 99.25% in the authors' logs, 47.3% under PGD at "
    "ε = 0.1 and 0% at 0.3.",
    captions={"backprop": ""},
)
