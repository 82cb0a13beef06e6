"""Is the loss a sum of functions of single noise values, which Sobol points integrate well, and what do these points gain?"""

from __future__ import annotations

from collections import namedtuple
from math import exp, hypot, log
from typing import Any

from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import Data, Experiment, Train
from minicereb.experiments.kinds.estimator_variance import EstimatorVariance
from minicereb.experiments.kinds.noise_variance import NoiseVariance
from minicereb.report.formats import in_words, number, percent
from minicereb.report.page import Text
from minicereb.studies.results import Blocks, Results, tabulate
from minicereb.studies.study import MNIST14, Study

NETWORKS = {"20": ((20,), ()), "64-32": ((64, 32), ()), "4 channels; 20": ((20,), (4,))}  # hidden layers, channels
STATES = {"untrained": False, "trained": True}

# Per scale: epochs of training; pairs of noise samples; K of the estimates, and their number.
NoiseScale = namedtuple("NoiseScale", "epochs samples replications draws")
SIZES = {
    "smoke": NoiseScale(1, 20, 16, 6),
    "course": NoiseScale(4, 4_000, 1_024, 60),
    "paper": NoiseScale(12, 20_000, 1_024, 200),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Experiment]:
    """Split the variance of each network's loss into parts; measure the gradient's variance with random and Sobol noise."""
    size = SIZES[scale]
    experiments: list[Experiment] = []
    for seed in seeds:
        for hidden, channels in NETWORKS.values():
            scales = (0.5,) * len(channels) + (2.0,) * (len(hidden) + 1)
            convolves: dict[str, Any] = {"network": "cnn", "channels": channels, "noise_scale": scales} if channels else {}
            model = NoisyModel(hidden, last_layer="resample", **convolves)
            train = Train(model, data, 25, size.epochs, 0.02, "adam", seed=seed, keep="last", schedule="cosine")
            for trained in STATES.values():
                experiments.append(NoiseVariance(train, trained, size.samples, seed=seed))
                for estimator in ("baseline", "sobol"):
                    how = (train, trained, estimator, "score", size.replications, size.draws)
                    experiments.append(EstimatorVariance(*how, seed=seed))
    return experiments


def network_of(config: Any) -> str:
    """Return the name of the measured network."""
    model = config.measured_model
    return next(name for name, layers in NETWORKS.items() if layers == (model.hidden, model.channels))


def _interval(mean: float, error: float) -> str:
    return f"{number(mean)} [{number(mean - 1.96 * error)}, {number(mean + 1.96 * error)}]"


def _mean(found: Results, of: Any) -> tuple[float, float]:
    """Return the mean of a share over seeds, and its standard error."""
    shares = found.where(NoiseVariance).values(of)
    return sum(each["value"] for each in shares) / len(shares), hypot(*(each["standard_error"] for each in shares)) / len(shares)


def part(found: Results, name: str) -> str:
    """Return a share of the variance in percent, or the mean dimension, with a 95% interval."""
    mean, error = _mean(found, name)
    return _interval(mean, error) if name == "dimension" else _interval(100 * mean, 100 * error)


def layers(found: Results, name: str) -> str:
    """Return the share of the variance due to each layer's noise, in percent."""
    count = len(found.where(NoiseVariance)[0][1][name])
    return ", ".join(number(100 * _mean(found, lambda record, at=n: record[name][at])[0]) for n in range(count))


def gain(found: Results, layer: int) -> str:
    """Return the gradient's variance with a baseline, divided by its variance with Sobol points.

    K is the same for both. The text ends with a 95% interval.
    """
    pairs = [
        found.where(EstimatorVariance, estimator=name).values(lambda r: r["layers"][layer]) for name in ("baseline", "sobol")
    ]
    logarithms = [log(one["variance"] / two["variance"]) for one, two in zip(*pairs, strict=True)]
    errors = [each["standard_error"] / each["variance"] for each in sum(pairs, [])]
    mean, error = sum(logarithms) / len(logarithms), hypot(*errors) / len(logarithms)
    return f"{number(exp(mean))} [{number(exp(mean - 1.96 * error))}, {number(exp(mean + 1.96 * error))}]"


def table(results: Results) -> Blocks:
    """Show the parts of the variance, then the share of each layer, and what Sobol points gain."""
    groups = {
        f"{network}, {state}": found.where(trained=trained)
        for network, found in results.by(network_of).items()
        for state, trained in STATES.items()
    }
    names = {
        "single": "single values, %",
        "within": "within a layer, %",
        "between": "between layers, %",
        "dimension": "mean dimension",
    }
    config = results.where(NoiseVariance)[0][0]
    estimates = results.where(EstimatorVariance)[0][0]
    columns = [(heading, lambda found, name=name: part(found, name)) for name, heading in names.items()]
    gains = [
        (f"{place} layer's gradient: baseline / Sobol", lambda g, at=at: gain(g, at))
        for place, at in (("first", 0), ("last", -1))
    ]
    seeds = in_words(sorted({c.train.seed for c, _ in results}))
    accuracies = "; ".join(
        f"{name}, {percent(found.where(EstimatorVariance, trained=True).mean('test_accuracy'))}%"
        for name, found in results.by(network_of).items()
    )
    said = (
        f"Variance of the loss over the noise, a mean over {config.images} training images ({config.train.data.name}): the part "
        "that is a sum of functions of single noise values, the interactions of values of one layer, and those between layers; "
        "below, the part explained by one layer's noise without the others, and with them. The mean dimension is the mean number "
        "of noise values that interact, weighted by their part; it is 1 for a sum. Then the variance of the gradient with a mean "
        "baseline over that with Sobol points, both by the score in all layers, at "
        f"K = {estimates.replications:,}; {estimates.draws} estimates. In brackets 95% intervals (jackknife over "
        f"{config.samples:,} pairs of noise samples, or over estimates), for these images and networks. Threshold units, "
        "Gaussian noise 2, in the convolution 0.5; trained with flips for "
        f"{config.train.epochs} epochs, {seeds}; test accuracy: {accuracies}."
    )
    return [
        tabulate("parts of the loss's variance", groups, *columns, *gains),
        tabulate(
            "each layer's noise, first to last",
            groups,
            ("alone, %", lambda found: layers(found, "alone")),
            ("with the others, %", lambda found: layers(found, "total")),
        ),
        Text(said),
    ]


VARIANCE_NOISE = Study(
    "variance-noise",
    "Which part of the loss's variance comes from interactions of noise values, and what do Sobol points gain?",
    plan,
    table,
    dataset=MNIST14,
)
