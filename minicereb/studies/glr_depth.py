"""What does it cost to learn from loss values in deeper, convolutional and recurrent networks, and how robust are they?"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import Data, Experiment, Train
from minicereb.experiments.evaluation.settings import CERTIFYING, EvaluatedModel
from minicereb.experiments.kinds.time_to_accuracy import TimeToAccuracy
from minicereb.experiments.laboratory import Record
from minicereb.experiments.usual import PERSISTENCE
from minicereb.learning.probes import PROBES
from minicereb.report.figures import curves
from minicereb.report.formats import number, strength
from minicereb.report.page import Text
from minicereb.studies.results import Blocks, Figures, Results, tabulate
from minicereb.studies.study import MNIST14, Study
from minicereb.studies.tables import accuracy_of, clean_accuracy_of, interval_in_words, share_at

DEPTHS = {f"{depth} hidden layer{'s' * (depth > 1)}": depth for depth in (1, 2, 3, 4)}
NETWORKS: dict[str, dict[str, Any]] = {
    **{name: {"hidden": (20,) * depth, "noise_scale": (0.15,) * depth + (1.0,)} for name, depth in DEPTHS.items()},
    "convolutional": {"network": "cnn", "hidden": (), "channels": (4,), "noise_scale": (0.5, 1.0), "probes": 32},
    "recurrent": {"network": "recurrent", "hidden": (64,), "noise_scale": (0.5, 1.0)},
    "spiking": {"network": "spiking", "hidden": (20,), "noise_scale": (0.5, 1.0), "presentation": "whole", "steps": 4},
}
WAYS: dict[str, dict[str, Any]] = {
    "scores": {"estimator": "rao-blackwell", "last_layer": "score"},
    "one neuron at a time": {"estimator": "flip", "last_layer": "resample"},
    "surrogate": {"estimator": "surrogate", "last_layer": "derivative"},
}
# Settings of one network for one way of learning: with random recurrent weights a changed response changes everything later.
OWN: dict[tuple[str, str], dict[str, Any]] = {("recurrent", "one neuron at a time"): {"persistence": PERSISTENCE}}
RATES = {  # by network and WAYS, from short runs: the fewest steps to 85%, or else the highest accuracy
    "1 hidden layer": (0.006, 0.006, 0.006),
    "2 hidden layers": (0.006, 0.003, 0.006),
    "3 hidden layers": (0.0015, 0.0015, 0.003),
    "4 hidden layers": (0.0015, 0.003, 0.003),
    "convolutional": (0.024, 0.024, 0.024),
    "recurrent": (0.012, 0.006, 0.006),
    "spiking": (0.012, 0.012, 0.024),
}

# Per scale: networks; K of the scores; target; steps between checks; limits in steps and seconds; epochs; attacks, images, draws.
DepthScale = namedtuple("DepthScale", "networks score target every steps seconds epochs attacks images draws")
FEW = ("1 hidden layer", "recurrent")
SIZES = {
    "smoke": DepthScale(FEW, 20, 0.6, 10, 20, 1.0, 1, ("apgd-ce",), 4, 2),
    "course": DepthScale(tuple(NETWORKS), 50, 0.85, 20, 4000, 10.0, 1, ("apgd-ce", "square"), 50, 4),
    "paper": DepthScale(tuple(NETWORKS), 100, 0.9, 50, 40_000, 600.0, 10, ("apgd-ce", "apgd-t", "square-ensemble"), 500, 16),
}
EPSILONS = (0.005, 0.05)


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Measure how long each network takes to reach the target in each way of learning; also train and evaluate it."""
    size, experiments = SIZES[scale], list[Experiment]()
    for seed in seeds:
        for network in size.networks:
            for way, rate in zip(WAYS, RATES[network], strict=True):
                replications = size.score if way == "scores" else 1
                model = NoisyModel(**NETWORKS[network], **WAYS[way], **OWN.get((network, way), {}), replications=replications)
                searched = Train(model, data, 25, 1, rate, "adam", seed=seed)
                experiments.append(TimeToAccuracy(searched, size.target, size.every, size.steps, size.seconds))
                train = Train(model, data, 25, size.epochs, rate, "adam", seed=seed, keep="last", schedule="cosine")
                experiments.append(
                    EvaluatedModel(train, EPSILONS, size.images, size.attacks, seed=seed, answer="lap", draws=size.draws)
                )
    return experiments


def place_of(config: Any) -> tuple[str, str]:
    """Return the names of an experiment's network and of its way of learning."""
    model = config.train.model
    way = next(name for name, settings in WAYS.items() if model.estimator == settings["estimator"])
    network = next(
        name for name, settings in NETWORKS.items() if all(getattr(model, key) == value for key, value in settings.items())
    )
    return network, way


def table(results: Results) -> Blocks:
    """Show accuracy and cost of every network and way of learning, then the robust accuracy."""
    groups = {f"{network}: {way}": found for (network, way), found in results.by(place_of).items()}
    costs = tabulate(
        "network: learned by",
        groups,
        ("rate", lambda found: f"{found[0][0].train.learning_rate:g}"),
        ("test accuracy", accuracy_of),
        ("passes per image and step", _passes),
        ("passes to the target, millions", partial(_to_target, of=lambda record: record["loss_evaluations"] / 1e6)),
        ("steps", partial(_to_target, of=lambda record: record["steps"])),
        ("seconds", partial(_to_target, of=lambda record: record["seconds"])),
    )
    columns: list[tuple[str, Callable[[Results], str]]] = [("clean", clean_accuracy_of)]
    for e, epsilon in enumerate(EPSILONS):
        for label in ("attacked", "certified"):
            columns.append((f"{label} {strength(epsilon)}", partial(share_at, label=label, e=e)))
    return [
        costs,
        Text(_of_learning(results, groups)),
        tabulate("network: learned by", groups, *columns),
        Text(_of_robustness(results)),
    ]


def _to_target(found: Results, of: Callable[[Record], float]) -> str:
    """Format the mean over the seeds, marked with ">" if a run ended before it reached the target."""
    records = found.where(TimeToAccuracy).records
    reached = all(record["reached"] for record in records)
    return ("" if reached else "> ") + number(float(np.mean([of(record) for record in records])))


def _passes(found: Results) -> str:
    """Format the number of loss evaluations that a step needs for each image."""
    config, record = found.where(TimeToAccuracy)[0]
    return f"{record['loss_evaluations'] / (record['steps'] * config.train.batch_size):,.0f}"


def _of_learning(results: Results, groups: Mapping[str, Results]) -> str:
    evaluated, (search, searched) = results.where(EvaluatedModel)[0][0], results.where(TimeToAccuracy)[0]
    epochs, scores = evaluated.train.epochs, results.where(TimeToAccuracy, lambda config: place_of(config)[1] == "scores")
    return (
        f"Test accuracy in %, of the network without noise after {epochs} epoch{'s' * (epochs > 1)}, with a rate that falls "
        f"along a cosine ({interval_in_words(groups)}). Passes: evaluations of the loss of one image while "
        f"learning; each changed neuron is one. Target: {100 * search.target:g}% of {searched['images']:,} held-out training "
        f"images, classified without noise and checked every {search.every} steps, at a constant rate, the "
        "fastest of a few to 85% in short runs with seed 0 or, if none got there, the most accurate. Runs end without the "
        f"target after {search.limit_steps:,} steps or {search.limit_seconds:g} s; «>» marks means in which such runs count as "
        "if they had reached it at their end. Seconds "
        "are those of learning alone on this machine and differ from run to run, so these records are not reproduced bit by bit. "
        f"Threshold neurons, Gaussian noise in all layers, cross-entropy, batches of {search.train.batch_size}, Adam, "
        f"{search.train.data.name}. Scores: Rao-Blackwell, K = {scores[0][0].train.model.replications}, in all layers. One "
        f"neuron at a time: flips, outputs resampled, K = 1; a convolution flips {NETWORKS['convolutional']['probes']} units, a "
        f"recurrent layer {PROBES}, and begins with a persistence of {PERSISTENCE:g}, where the other ways begin with random "
        "recurrent weights. Surrogate: backpropagation along the same noise with a slope in place of the threshold's, K = 1; "
        "biased."
    )


def _of_robustness(results: Results) -> str:
    config, record = results.where(EvaluatedModel)[0]
    return (
        f"In %, with 95% intervals as above; the mean answer (LAP, {config.replications:,} noisy runs that no attack has seen) "
        f"on the first {record['images']:,} test images. Attacked: {', '.join(config.attacks)}, for each image the strongest, "
        f"along the gradient of the mean over {config.draws} draws: from flips, in recurrent networks from the surrogate. "
        f"Certified: by smoothing with the first layer's own noise, {max(config.replications, CERTIFYING):,} runs, each image "
        "with confidence 0.999. The robust accuracy is between the two."
    )


def figures(results: Results) -> Figures:
    """Draw accuracy against passes for each way of learning, one line per network."""
    panels, first = [], results.where(EvaluatedModel).seeds[0]
    for way in WAYS:
        lines = {}
        for config, record in results.where(TimeToAccuracy):
            if place_of(config)[1] == way and config.train.seed == first:
                steps, _, accuracy = np.array(record["curve"], dtype=np.float64).T
                passes = steps * record["loss_evaluations"] / record["steps"] / 1e6
                lines[place_of(config)[0]] = (passes, 100 * accuracy)
        panels.append((f"by {way}", lines))
    return {"depth": curves(panels, "passes, millions", "held-out images, % correct", logarithmic=True)}


GLR_DEPTH = Study(
    "glr-depth",
    "What does it cost to learn from loss values past one hidden layer, and how robust are the networks?",
    plan,
    table,
    figures,
    captions={
        "depth": (
            "Accuracy on the held-out images, in %, over the evaluations of the loss while learning, in millions; a panel for "
            "each way of learning, a line for each network, first seed."
        ),
    },
    dataset=MNIST14,
)
