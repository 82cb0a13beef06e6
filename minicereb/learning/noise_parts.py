"""How much of a loss's variance over the noise is due to single noise values, to single layers, and to interactions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from minicereb.backend import Array, to_numpy, xp_of
from minicereb.calculus.replicated import ReplicatedLoss
from minicereb.calculus.variance_parts import exchanged
from minicereb.errors import require
from minicereb.learning.noise import Address, Independent
from minicereb.models.noisy import Noise, NoisyNetwork


class NoiseParts(NamedTuple):
    """Contributions to the variance of the loss, one estimate per sample, each a mean over images ``[M-INDEX]``.

    Attributes
    ----------
    variance : array of float64, shape (samples,)
        The variance of the loss over the noise.
    single : array of float64, same shape
        The variance that a single noise value explains alone, summed over all noise values.
    weighted : array of float64, same shape
        The variance that a single noise value explains alone and in interactions, summed over all noise values: an
        interaction of m values counts m times ``[M-MEANDIM]``.
    alone, total : array of float64, shape (layers, samples)
        The variance that each layer's noise explains alone, and including interactions with other layers' noise; 0 for a
        layer without noise.
    """

    variance: np.ndarray
    single: np.ndarray
    weighted: np.ndarray
    alone: np.ndarray
    total: np.ndarray


def noise_parts(network: NoisyNetwork, loss: ReplicatedLoss, x: Array, labels: Array, samples: int, at: Address) -> NoiseParts:
    """Split the loss's variance into the parts that different noise values and layers contribute.

    Single noise values, and the noise of whole layers, are exchanged between the two independent samples of a pair. Each image
    and pair takes two runs, one more for each noise value, and one more for each layer with noise.

    Parameters
    ----------
    network : NoisyNetwork
    loss : ReplicatedLoss
    x : array, shape (images, inputs)
    labels : array of int, shape (images,)
    samples : int
        Number of pairs of noise samples, at least three.
    at : Address
        Seed, stream and numbers from which the noise is drawn.

    Raises
    ------
    InputError
        If there are fewer than three pairs, or the network has no noise.
    """
    require(samples >= 3, "samples", samples, "at least 3")
    laws = [layer.law for layer in network.layers]
    require(any(laws), "network", "without noise", "a network with noise in at least one layer")
    found = NoiseParts(*(np.zeros((*shape, samples), dtype=np.float64) for shape in ((), (), (), (len(laws),), (len(laws),))))
    for image in range(len(x)):
        _add(found, network, loss, x[image : image + 1], labels[image : image + 1], at.of(image))
    return NoiseParts(*(part / len(x) for part in found))


def _add(found: NoiseParts, network: NoisyNetwork, loss: ReplicatedLoss, x: Array, label: Array, at: Address) -> None:
    """Add the contributions for one image to `found`."""
    x_t, laws, samples = xp_of(x).ascontiguousarray(x.T), [layer.law for layer in network.layers], len(found.variance)
    kept, noise = (Independent().draw(x, laws, network.widths, 1, samples, at.of(side)) for side in range(2))

    def value(noise: Noise) -> np.ndarray:
        return to_numpy(loss.value(network.run(x_t, noise).outputs, label)[0]).astype(np.float64)

    f, other = value(kept), value(noise)
    found.variance[:] += 0.5 * np.square(f - other)
    for number, (one, two) in enumerate(zip(kept, noise, strict=True)):
        if one is None or two is None:
            continue
        layer = exchanged(f, other, value((*noise[:number], one, *noise[number + 1 :])))
        found.alone[number] += layer.alone
        found.total[number] += layer.total
        for row, by in zip(two, one, strict=True):
            was = row.copy()
            row[...] = by
            each = exchanged(f, other, value(noise))
            row[...] = was
            found.single[:] += each.alone
            found.weighted[:] += each.total
