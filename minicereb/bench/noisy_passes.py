"""Benchmarks of learning from loss values: dense, convolutional and spiking networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minicereb.backend import to_device
from minicereb.bench.loops import CLASSES, images_like_mnist, peers_of, product_floor
from minicereb.bench.timing import Benchmark
from minicereb.calculus.activations import Activation
from minicereb.calculus.noise import Gaussian
from minicereb.calculus.replicated import CrossEntropy
from minicereb.learning.credit import Estimator
from minicereb.learning.estimators import ESTIMATORS
from minicereb.learning.glr import estimate, estimator_named
from minicereb.learning.noise import Address
from minicereb.learning.probes import PROBES
from minicereb.models.noisy import NoisyNetwork, initial_noisy
from minicereb.models.noisy_convolution import initial_noisy_convolutional
from minicereb.models.noisy_time import initial_noisy_in_time
from minicereb.randomness import generator

GLR_INPUTS, GLR_HIDDEN, GLR_BATCH, REPLICATIONS = 196, 20, 25, 10_000
# The usual networks of ``train glr`` for MNIST, in a batch; the score with the number of replications that is usual for it.
IMAGE, CHANNELS, KERNEL, STRIDE, HIDDEN, BATCH, SCORES, STEPS = (28, 28), 16, 5, 2, 128, 50, 100, 8


def glr(peers: bool) -> Iterator[Benchmark]:
    """Yield benchmarks: an iteration of the paper's estimator, and passes of larger networks; `peers` adds PyTorch.

    For the convolutional network there are three estimators: flips, redrawn noise and the plain score; for the spiking
    one, flips.
    """
    for activation in ("threshold", "sigmoid"):
        noise: dict[str, Any] = {"law": Gaussian(), "scales": (2.0,), "output_noise": True}
        network = initial_noisy(GLR_INPUTS, (GLR_HIDDEN,), CLASSES, 0, activation=Activation(activation), **noise)
        yield _glr_iteration(network, activation, peers)
    yield _changes("flip", "threshold", peers)
    yield _changes("resample", "sigmoid", peers)
    yield _scores(peers)
    yield _spiking(peers)


def _glr_iteration(network: NoisyNetwork, activation: str, peers: bool) -> Benchmark:
    drawn = generator(0, "bench images")
    images, labels = drawn.random((GLR_BATCH, GLR_INPUTS), dtype=np.float32), drawn.integers(0, CLASSES, GLR_BATCH)
    rng, out = generator(0, "bench normals"), np.empty(GLR_BATCH * REPLICATIONS * (GLR_HIDDEN + CLASSES), dtype=np.float32)
    return Benchmark(
        f"GLR iteration, {activation}, K = {REPLICATIONS:,}, batch {GLR_BATCH}, {GLR_INPUTS}-{GLR_HIDDEN}-{CLASSES}",
        pass_of(network, ESTIMATORS["plain"], images, labels, REPLICATIONS),
        lambda: rng.standard_normal(out=out, dtype=np.float32),
        "7.5 million normals by NumPy's generator on one core",
        peers_of("glr_iterations", network, images, labels, REPLICATIONS, activation) if peers else {},
    )


def convolutional(activation: str) -> NoisyNetwork:
    """Return the untrained network of ``train glr --network cnn``."""
    how: dict[str, Any] = {"kernel": KERNEL, "stride": STRIDE, "pool": 1, "pooling": "mean", "law": Gaussian()}
    scales = (0.3, 2.0, 0.5)
    return initial_noisy_convolutional(
        IMAGE, (CHANNELS,), (HIDDEN,), CLASSES, 0, activation=Activation(activation), scales=scales, **how
    )


def spiking() -> NoisyNetwork:
    """Return the untrained network of ``train glr --network spiking``."""
    how: dict[str, Any] = {"spiking": True, "presentation": "whole", "steps": STEPS, "leak": 0.8, "law": Gaussian()}
    return initial_noisy_in_time(IMAGE, (HIDDEN,), CLASSES, 0, activation=Activation("threshold"), scales=(0.5, 1.0), **how)


def pass_of(
    network: NoisyNetwork, estimator: Estimator, images: np.ndarray, labels: np.ndarray, replications: int
) -> Callable[[], object]:
    """Return a function that estimates the gradients of a batch, with new noise at each call."""
    estimator.check(network, CrossEntropy())
    x, y, turn = to_device(images), to_device(labels), itertools.count()
    return lambda: estimate(network, CrossEntropy(), estimator, x, y, replications, Address(0, (next(turn),)))


def _products(network: NoisyNetwork, passes: int, changed: int) -> int:
    """Return a batch's multiply-adds: the first layer once, the later layers `passes` times, the outputs `changed` more times."""
    first, second, _ = network.layers
    convolved = 2 * BATCH * first.units * KERNEL**2
    return convolved + 2 * BATCH * passes * (second.inputs * HIDDEN + HIDDEN * CLASSES) + changed * HIDDEN * CLASSES


def _floor(network: NoisyNetwork, passes: int, changed: int) -> dict[str, Any]:
    products = _products(network, passes, changed)
    floor = product_floor(network.layers[0].weight, products)
    return {"floor": floor, "floor_name": f"{2 * products / 1e9:.2g} GFLOP at the rate of a matrix product"}


def _changes(name: str, activation: str, peers: bool) -> Benchmark:
    network, (images, labels) = convolutional(activation), images_like_mnist(BATCH)
    ways = 1 if name == "flip" else 4  # responses of a changed unit
    how = "flips" if name == "flip" else "redrawn noise"
    return Benchmark(
        f"GLR by {how}, convolutional, {activation}, {PROBES} units drawn, batch {BATCH}",
        pass_of(network, estimator_named(name, "resample"), images, labels, 1),
        **_floor(network, 1, ways * BATCH * PROBES),
        peers=peers_of("convolutional_changes", network, images, labels, PROBES, activation == "threshold") if peers else {},
        repeats=3,
    )


def _scores(peers: bool) -> Benchmark:
    network, (images, labels) = convolutional("threshold"), images_like_mnist(BATCH)
    return Benchmark(
        f"GLR by scores, convolutional, threshold, K = {SCORES}, batch {BATCH}",
        pass_of(network, ESTIMATORS["plain"], images, labels, SCORES),
        **_floor(network, SCORES, 0),
        peers=peers_of("convolutional_scores", network, images, labels, SCORES, True) if peers else {},
        turns=9,
    )


def _spiking(peers: bool) -> Benchmark:
    network, (images, labels) = spiking(), images_like_mnist(BATCH)
    changed = STEPS * HIDDEN * BATCH
    values = np.ones(changed * CLASSES, dtype=np.float32)
    out = np.empty_like(values)
    return Benchmark(
        f"GLR by flips, {HIDDEN} spiking neurons, {STEPS} steps, batch {BATCH}",
        pass_of(network, estimator_named("flip", "derivative"), images, labels, 1),
        lambda: np.exp(values, out=out),
        f"{changed * CLASSES / 1e6:.2g} million exponentials, one for each output of each flip, by NumPy on one core",
        peers_of("spiking_flips", network, images, labels) if peers else {},
        repeats=5,
    )
