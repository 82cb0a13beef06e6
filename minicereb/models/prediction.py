"""Predictions of a noisy network by mean probabilities over noise (LAP); the network's own ``forward`` uses no noise (OT)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from minicereb.backend import Array, to_numpy, xp_of
from minicereb.calculus.noise import draw_noise
from minicereb.calculus.replicated import probabilities
from minicereb.errors import require
from minicereb.inputs import as_labels, check_count, check_rows
from minicereb.models.noisy import Noise, NoisyNetwork
from minicereb.parallel import blocks, run_lanes

REPLICATIONS = 2048  # replications that run together


def average_probabilities(network: NoisyNetwork, x: Array, ids: np.ndarray, replications: int, seed: int) -> Array:
    """Return the mean probabilities of the classes over noisy runs; the largest gives the paper's LAP prediction.

    Parameters
    ----------
    network : NoisyNetwork
    x : array, shape (images, inputs)
    ids : array of int64, shape (images,)
        Image indices: an image's noise depends only on seed and index.
    replications : int
        K, per image.
    seed : int

    Returns
    -------
    array, shape (images, classes)
    """
    require(replications >= 1, "replications", replications, "a whole number of at least 1")
    check_rows(x, network.layers[0].inputs)
    check_count(ids, len(x), "ids")
    xp = xp_of(x)
    x_t = xp.ascontiguousarray(x.T)

    def average(image: int) -> Array:
        total: Any = 0
        for number, part in enumerate(blocks(replications, REPLICATIONS)):
            noise = _draw(network, x, part.stop - part.start, seed, "prediction noise", (int(ids[image]), number))
            total = total + probabilities(network.run(x_t[:, image : image + 1], noise).outputs).sum(axis=2)[:, 0]
        return total / replications

    return xp.stack(run_lanes(average, list(range(len(x)))))


def _draw(network: NoisyNetwork, like: Array, replications: int, seed: int, stream: str, numbers: tuple[int, ...]) -> Noise:
    shapes = [(width, 1, replications) for width in network.widths]
    return draw_noise(like, [layer.law for layer in network.layers], shapes, seed, stream, numbers)


def lap_correct(network: NoisyNetwork, x: Array, labels: np.ndarray, ids: np.ndarray, replications: int, seed: int) -> np.ndarray:
    """Return whether each image's LAP prediction is its label: array of bool, shape (images,)."""
    labels = as_labels(labels, len(x), network.widths[-1])
    correct: np.ndarray = to_numpy(average_probabilities(network, x, ids, replications, seed).argmax(axis=1)) == labels
    return correct


@dataclass(frozen=True, eq=False)
class Averaged:
    """The LAP classifier with the same noise for all images; its outputs are the logarithms of the mean probabilities.

    Parameters
    ----------
    network : NoisyNetwork
    replications : int
        K.
    seed : int
        Seed of the noise: another seed gives fresh noise.
    """

    network: NoisyNetwork
    replications: int
    seed: int

    @property
    def bytes_per_image(self) -> int:
        """Bytes of memory per additional image."""
        return 24 * self.replications * sum(self.network.widths)

    def forward(self, x: Array) -> tuple[Array, None]:
        """Return the logarithms of the mean probabilities, shape (images, classes), and an empty cache."""
        check_rows(x, self.network.layers[0].inputs)
        xp = xp_of(x)
        noise = _draw(self.network, x, self.replications, self.seed, "averaging noise", ())
        mean = probabilities(self.network.run(xp.ascontiguousarray(x.T), noise).outputs).mean(axis=2)
        return xp.log(xp.maximum(mean, xp.finfo(x.dtype).tiny)).T, None
