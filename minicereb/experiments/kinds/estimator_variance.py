"""How much an estimator's gradients scatter: the same estimate, drawn many times with independent noise."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict

import numpy as np

from minicereb.backend import to_device, to_numpy
from minicereb.calculus.replicated import loss_named
from minicereb.datasets.transforms import to_unit
from minicereb.errors import require
from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.configs import Train
from minicereb.experiments.identity import config_kind
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.models import build_model
from minicereb.experiments.records import require_length
from minicereb.learning.glr import estimate, estimator_named
from minicereb.learning.noise import Address
from minicereb.learning.training import Split
from minicereb.parallel import one_blas_thread
from minicereb.randomness import generator


class _Layer(TypedDict):
    variance: float
    standard_error: float
    squared_norm: float


class _Record(TypedDict):
    layers: list[_Layer]
    seconds: float


@config_kind
@dataclass(frozen=True)
class EstimatorVariance:
    """The variance of an estimator's gradient of the mean loss over one fixed batch of training images.

    Parameters
    ----------
    train : Train
        A noisy network. How it learns does not say how it is measured: the estimator is the one below.
    trained : bool
        Whether it is measured as it is after that training, or before.
    estimator, last_layer : str
        As in :class:`~minicereb.experiments.configs.NoisyModel`.
    replications : int
        K of each estimate.
    draws : int
        Estimates, each with noise of its own.
    images : int
        In the batch: training images, drawn by `seed`.
    seed : int
        Of the batch and of the noise.
    """

    record_shape: ClassVar[Any] = _Record
    train: Train
    trained: bool
    estimator: str
    last_layer: str
    replications: int
    draws: int
    images: int = 25
    seed: int = 0

    def __post_init__(self) -> None:
        require(isinstance(self.train.model, NoisyModel), "model", self.train.model.family, "a noisy network (glr)")
        design = estimator_named(self.estimator, self.last_layer)
        design.design.check(self.replications, design.baseline)
        require(self.draws >= 3, "draws", self.draws, "a whole number of at least 3")
        require(self.images >= 1, "images", self.images, "a whole number of at least 1")

    def check_record(self, record: Record) -> None:
        """Raise :class:`~minicereb.documents.Mismatch` unless a record has an entry for every layer."""
        require_length(record["layers"], len(self.train.model.hidden) + 1, "layers")  # type: ignore[union-attr]

    @property
    def trainings(self) -> tuple[Train, ...]:
        """The network's, if it is measured after it."""
        return (self.train,) if self.trained else ()


def estimator_variance(config: EstimatorVariance, laboratory: Laboratory) -> Generator[str, None, Record]:
    """Carry out the experiment, yielding its progress in words.

    The record has for each layer the ``variance`` of the weights' gradient, summed over weights, with its ``standard_error``,
    and ``squared_norm``, an unbiased estimate of the true gradient's; and ``seconds``, the median for one estimate.
    """
    network = laboratory.model(config.train) if config.trained else build_model(config.train, laboratory.dataset)
    assert isinstance(config.train.model, NoisyModel)
    loss, estimator = loss_named(config.train.model.loss), estimator_named(config.estimator, config.last_layer)
    estimator.check(network, loss)
    ids = batch(config, laboratory)
    x, labels = to_unit(to_device(laboratory.dataset.x_train[ids])), to_device(laboratory.dataset.y_train[ids])
    drawn: list[list[np.ndarray]] = [[] for _ in network.layers]
    seconds = []
    for draw in range(config.draws):
        at = Address(config.seed, (draw,), "variance noise")
        with one_blas_thread():
            began = time.perf_counter()
            found = estimate(network, loss, estimator, x, labels, config.replications, at)
            weights = [to_numpy(gradient["weight"]).ravel() for gradient in found.gradients]
            seconds.append(time.perf_counter() - began)
        for kept, gradient in zip(drawn, weights, strict=True):
            kept.append(gradient)
        state = "trained" if config.trained else "untrained"
        yield f"{config.train.model.loss}, {state}, {config.estimator}: estimate {draw + 1} of {config.draws}"
    return {"layers": [summary(np.array(layer, dtype=np.float64)) for layer in drawn], "seconds": float(np.median(seconds))}


def batch(config: EstimatorVariance, laboratory: Laboratory) -> np.ndarray:
    """Return the numbers of the images: some of those that the training learns from."""
    split = Split(laboratory.dataset, config.train.validation, config.train.seed)
    require(config.images <= len(split.training), "images", config.images, f"at most the {len(split.training)} learned from")
    return split.training[generator(config.seed, "variance images").permutation(len(split.training))[: config.images]]


def summary(draws: np.ndarray) -> dict[str, float]:
    """Return the summed variance of vectors, its standard error, and the squared norm of their mean without the noise's share.

    Parameters
    ----------
    draws : array of float64, shape (draws, elements)
        Independent and alike.

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
