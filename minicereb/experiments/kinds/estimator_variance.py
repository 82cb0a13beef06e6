"""The variance of an estimator's gradients, measured by repeating the same estimate with independent noise."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np

from minicereb.backend import to_device, to_numpy
from minicereb.calculus.replicated import loss_named
from minicereb.datasets.transforms import to_unit
from minicereb.errors import require
from minicereb.experiments.architectures import NoisyModel, build_model
from minicereb.experiments.configs import Experiment, Train
from minicereb.experiments.identity import config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.records import require_length, shape
from minicereb.learning.glr import PLACEMENTS, estimate, estimator_named
from minicereb.learning.noise import Address
from minicereb.learning.probes import PROBES
from minicereb.learning.training import Split
from minicereb.parallel import one_blas_thread
from minicereb.randomness import generator
from minicereb.settings import setting

LAYER = shape(variance=float, standard_error=float, squared_norm=float)


@config_kind
@dataclass(frozen=True)
class EstimatorVariance(Experiment):
    """The variance of an estimator of the gradient of the mean loss over one fixed batch of training images."""

    record_shape = shape(layers=list[LAYER], seconds=float)  # type: ignore[valid-type]
    train: Train = setting(help="A noisy network; the estimator that it learns by does not matter.")
    trained: bool = setting(help="Whether the network is measured after its training, or before.")
    estimator: str = setting(help="The estimator that is measured.")
    last_layer: str = setting(help="How the estimator computes the gradient of the last layer.")
    replications: int = setting(help="Noise samples per image and estimate.")
    draws: int = setting(help="Number of estimates, each with its own noise.", at_least=3)
    images: int = setting(25, "Number of training images in the batch, which the seed determines.", at_least=1)
    seed: int = setting(0, "Seed of the batch and of the noise.")
    placement: str = setting("all", "Whether all layers have noise at once, or one at a time.", choices=PLACEMENTS, added=True)
    probes: int = setting(
        PROBES, "Number of units of a convolution changed by the estimators flip and resample.", at_least=1, added=True
    )

    def __post_init__(self) -> None:
        require(isinstance(self.train.model, NoisyModel), "model", self.train.model.family, "a noisy network (glr)")
        design = estimator_named(self.estimator, self.last_layer, self.placement, self.probes)
        design.design.check(self.replications, design.baseline)

    def check_record(self, record: Record) -> None:
        """Raise :class:`~minicereb.documents.Mismatch` unless a record has an entry for every layer."""
        model = self.measured_model
        require_length(record["layers"], len(model.channels) + len(model.hidden) + 1, "layers")

    @property
    def measured_model(self) -> NoisyModel:
        """The network's settings, with the estimator that is measured."""
        assert isinstance(self.train.model, NoisyModel)
        names = ("estimator", "last_layer", "replications", "placement", "probes")
        return replace(self.train.model, **{name: getattr(self, name) for name in names})

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The network's training run, if it is measured after training."""
        return (self.train,) if self.trained else ()

    def run(self, laboratory: Laboratory) -> Generator[str, None, Record]:
        """Measure the variance in each layer, and the median time of one estimate."""
        network = laboratory.model(self.train) if self.trained else build_model(self.train, laboratory.dataset)
        loss = loss_named(self.measured_model.loss)
        estimator = estimator_named(self.estimator, self.last_layer, self.placement, self.probes)
        estimator.check(network, loss)
        ids = batch(self.train, self.images, self.seed, laboratory)
        x, labels = to_unit(to_device(laboratory.dataset.x_train[ids])), to_device(laboratory.dataset.y_train[ids])
        drawn: list[list[np.ndarray]] = [[] for _ in network.layers]
        seconds = []
        for draw in range(self.draws):
            at = Address(self.seed, (draw,), "variance noise")
            with one_blas_thread():
                began = time.perf_counter()
                found = estimate(network, loss, estimator, x, labels, self.replications, at)
                weights = [to_numpy(gradient["weight"]).ravel() for gradient in found.gradients]
                seconds.append(time.perf_counter() - began)
            for kept, gradient in zip(drawn, weights, strict=True):
                kept.append(gradient)
            state = "trained" if self.trained else "untrained"
            yield f"{self.measured_model.loss}, {state}, {self.estimator}: estimate {draw + 1} of {self.draws}"
        return {"layers": [summary(np.array(layer, dtype=np.float64)) for layer in drawn], "seconds": float(np.median(seconds))}


def batch(train: Train, images: int, seed: int, laboratory: Laboratory) -> np.ndarray:
    """Return the indices of the images in the batch, drawn from the training split."""
    split = Split(laboratory.dataset, train.validation, train.seed)
    require(images <= len(split.training), "images", images, f"at most the {len(split.training)} learned from")
    return split.training[generator(seed, "variance images").permutation(len(split.training))[:images]]


def summary(draws: np.ndarray) -> dict[str, float]:
    """Return the total variance of random vectors, its standard error, and an unbiased estimate of their mean's squared norm.

    Parameters
    ----------
    draws : array of float64, shape (draws, elements)
        Independent and identically distributed vectors.

    Returns
    -------
    dict
        ``variance``: ``V = Σ_d |g_d - ḡ|² / (D - 1)``, unbiased. ``standard_error``: by the jackknife, leaving out one draw at a
        time. ``squared_norm``: ``|ḡ|² - V/D``.
    """
    number, mean = len(draws), draws.mean(axis=0)
    squares = np.square(draws - mean).sum(axis=1)
    variance = squares.sum() / (number - 1)
    # Without draw d the variance is (Σ_e q_e - D/(D-1) q_d) / (D-2), with q_d = |g_d - ḡ|².
    without = (squares.sum() - number / (number - 1) * squares) / (number - 2)
    error = np.sqrt((number - 1) / number * np.square(without - without.mean()).sum())
    return {
        "variance": float(variance),
        "standard_error": float(error),
        "squared_norm": float(np.square(mean).sum() - variance / number),
    }
