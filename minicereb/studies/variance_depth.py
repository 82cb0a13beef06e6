"""How noisy is each layer's gradient, as networks become deeper and convolutional, and does noise in one layer at a time help?"""

from __future__ import annotations

from collections import namedtuple
from math import exp, log, sqrt
from typing import Any

import numpy as np

from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.estimator_variance import EstimatorVariance
from minicereb.experiments.kinds.time_to_accuracy import evaluations_per_image
from minicereb.report.formats import in_words, number, percent
from minicereb.report.page import Table, Text
from minicereb.studies.results import Blocks, Results
from minicereb.studies.study import MNIST14, Study

NETWORKS = {  # hidden layers, channels
    "20": ((20,), ()),
    "20-20": ((20, 20), ()),
    "20-20-20": ((20, 20, 20), ()),
    "4 channels; 20": ((20,), (4,)),
}
WAYS = {  # estimator, last layer, placement
    "mean baseline": ("baseline", "score", "all"),
    "mean baseline, in turn": ("baseline", "score", "in-turn"),
    "antithetic": ("antithetic", "score", "all"),
    "antithetic, in turn": ("antithetic", "score", "in-turn"),
    "Rao-Blackwell": ("rao-blackwell", "score", "all"),
    "Rao-Blackwell, in turn": ("rao-blackwell", "score", "in-turn"),
    "flip, outputs resampled": ("flip", "resample", "all"),
    "flip, outputs resampled, in turn": ("flip", "resample", "in-turn"),
}
PROBES = 32

# Per scale: epochs of training; K of the score estimators and of flip; draws.
DepthScale = namedtuple("DepthScale", "epochs score flip draws")
SIZES = {"smoke": DepthScale(1, 16, 2, 6), "course": DepthScale(4, 256, 4, 60), "paper": DepthScale(12, 1024, 8, 200)}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[EstimatorVariance]:
    """Measure every estimator on trained networks of each depth."""
    size, experiments = SIZES[scale], []
    for seed in seeds:
        for hidden, channels in NETWORKS.values():
            scales = (0.5,) * len(channels) + (2.0,) * (len(hidden) + 1)
            convolves: dict[str, Any] = {"network": "cnn", "channels": channels, "noise_scale": scales} if channels else {}
            model = NoisyModel(hidden, last_layer="resample", probes=PROBES, **convolves)
            train = Train(model, data, 25, size.epochs, 0.02, "adam", seed=seed, keep="last", schedule="cosine")
            for estimator, last_layer, placement in WAYS.values():
                replications = size.flip if estimator == "flip" else size.score
                how: dict[str, Any] = {"seed": seed, "placement": placement, "probes": PROBES}
                experiments.append(EstimatorVariance(train, True, estimator, last_layer, replications, size.draws, **how))
    return experiments


def network_of(config: EstimatorVariance) -> str:
    """Return the name of the measured network."""
    model = config.train.model
    assert isinstance(model, NoisyModel)
    return next(name for name, layers in NETWORKS.items() if layers == (model.hidden, model.channels))


def noise_to_signal(results: Results, layer: int) -> str:
    """Return a gradient's variance divided by its squared norm, for one loss evaluation per image, with a 95% interval.

    The variance is inversely proportional to the number of evaluations, so it is multiplied by that number.
    """
    logarithms, errors = [], []
    for config, record in results:
        found = record["layers"][layer]
        if found["squared_norm"] <= 0:
            return "gradient not distinguishable from 0"
        evaluations = evaluations_per_image(config.measured_model)
        logarithms.append(log(found["variance"] * evaluations / found["squared_norm"]))
        errors.append(found["standard_error"] / found["variance"])
    mean, error = float(np.mean(logarithms)), sqrt(float(np.square(errors).sum())) / len(errors)
    low, high = (exp(mean + side * 1.96 * error) for side in (-1, 1))
    return f"{number(exp(mean))} [{number(low)}, {number(high)}]"


def table(results: Results) -> Blocks:
    """Show the noise-to-signal ratio of every layer, one table for each network."""
    blocks: Blocks = []
    for network, found in results.by(network_of).items():
        hidden, channels = NETWORKS[network]
        layers = len(hidden) + len(channels) + 1
        head = [f"{network}: variance / squared norm, per evaluation", *(f"layer {number + 1}" for number in range(layers))]
        rows = []
        for name, (estimator, last_layer, placement) in WAYS.items():
            chosen = found.where(estimator=estimator, last_layer=last_layer, placement=placement)
            rows.append([name, *(noise_to_signal(chosen, layer) for layer in range(layers))])
        blocks.append(Table(head, rows))
    accuracies = "; ".join(f"{name}, {percent(group.mean('test_accuracy'))}%" for name, group in results.by(network_of).items())
    config = results[0][0]
    seeds = in_words(sorted({c.train.seed for c, _ in results}))
    said = (
        f"Gradient of the mean loss over {config.images} training images ({config.train.data.name}) in the weights of a layer: "
        "its variance between estimates with independent noise, summed over weights, over the squared norm of its mean, times "
        "the evaluations of the loss per image; in brackets a 95% interval (jackknife over estimates). Lower is better: at so "
        "many evaluations per image, noise equals signal. A flip counts as an evaluation; in turn every layer has its own. "
        "A layer's gradient in turn is that of the mean loss over its own noise only, so the signals differ too. Threshold units "
        f"trained with flips for {config.train.epochs} epochs, {seeds}; test accuracy: {accuracies}."
    )
    return [*blocks, Text(said)]


VARIANCE_DEPTH = Study(
    "variance-depth",
    "How noisy is each layer's gradient in deeper and convolutional networks, and does noise in one layer at a time help?",
    plan,
    table,
    dataset=MNIST14,
)
