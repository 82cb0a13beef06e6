"""One iteration of the paper's estimator: 10,000 replications of 25 images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from minicereb.backend import to_device
from minicereb.bench.timing import Contest
from minicereb.calculus.activations import Activation
from minicereb.calculus.noise import Gaussian
from minicereb.calculus.replicated import CrossEntropy
from minicereb.learning.estimators import ESTIMATORS
from minicereb.learning.glr import estimate
from minicereb.learning.noise import Address
from minicereb.models.noisy import initial_noisy
from minicereb.randomness import generator

INPUTS, HIDDEN, CLASSES, BATCH, REPLICATIONS = 196, 20, 10, 25, 10_000


def contests(peers: bool) -> Iterator[Contest]:
    """Yield the benchmark for threshold and for sigmoid neurons, with PyTorch's form of it if `peers`."""
    for activation in ("threshold", "sigmoid"):
        yield iteration(activation, peers)


def iteration(activation: str, peers: bool) -> Contest:
    """Noise for every image, replication and neuron, outputs, losses, and the gradients of both layers."""
    network = initial_noisy(
        INPUTS, (HIDDEN,), CLASSES, 0, activation=Activation(activation), law=Gaussian(), scales=(2.0,), output_noise=True
    )
    rng = generator(0, "bench images")
    images, labels = rng.random((BATCH, INPUTS), dtype=np.float32), rng.integers(0, CLASSES, BATCH)
    x, y = to_device(images), to_device(labels)
    turn = iter(range(10**9))
    competitors = {}
    if peers:
        from minicereb.bench import peers as torch_peers

        competitors = torch_peers.glr_iterations(network, images, labels, REPLICATIONS, activation)
    return Contest(
        f"GLR iteration, {activation}, K = {REPLICATIONS:,}, batch {BATCH}, {INPUTS}-{HIDDEN}-{CLASSES}",
        lambda: estimate(network, CrossEntropy(), ESTIMATORS["plain"], x, y, REPLICATIONS, Address(0, (next(turn),))),
        _normals(BATCH * REPLICATIONS * (HIDDEN + CLASSES)),
        "7.5 million normals by NumPy's generator on one core",
        competitors,
    )


def _normals(count: int) -> Callable[[], object]:
    rng, out = generator(0, "bench normals"), np.empty(count, dtype=np.float32)
    return lambda: rng.standard_normal(out=out, dtype=np.float32)
