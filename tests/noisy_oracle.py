"""Noisy networks from their definitions, in float64: sums over every pattern, quadrature, central differences.

None of the product's derivatives, laws or losses is used here: distributions are SciPy's.
"""

import functools
import itertools
from dataclasses import replace

import numpy as np
from scipy import stats

from minicereb.backend import in_float64, to_device
from minicereb.calculus.activations import Activation
from minicereb.calculus.noise import Gaussian, Laplace, Logistic, StudentT
from minicereb.models.noisy import NoisyLayer, NoisyNetwork
from minicereb.randomness import generator

LAWS = [Gaussian(), Laplace(), Logistic(), StudentT(3.0)]


def distribution_of(law):
    """SciPy's distribution for a law of unit scale."""
    named = {"gaussian": stats.norm, "laplace": stats.laplace, "logistic": stats.logistic}
    if law.name != "student-t":
        return named[law.name]()
    return stats.t(law.degrees) if law.degrees != 1 else stats.cauchy()  # its t has 9 digits here


def score(law, e):
    """-(log f)', as the paper's reference prints it."""
    nu = getattr(law, "degrees", None)
    formulas = {
        "gaussian": lambda: e,
        "laplace": lambda: np.sign(e),
        "logistic": lambda: np.tanh(e / 2),
        "student-t": lambda: (nu + 1) * e / (nu + e**2),
    }
    return formulas[law.name]()


@functools.cache
def nodes_of(law, points):
    """Nodes and weights for means over noise of unit scale: tanh-sinh quadrature over the quantile on either side of 0."""
    s = np.linspace(-3, 3, points)
    q = 0.5 / (1 + np.exp(-np.pi * np.sinh(s)))
    weights = np.cosh(s) / np.cosh(np.pi / 2 * np.sinh(s)) ** 2
    weights /= 2 * weights.sum()
    e = distribution_of(law).ppf(q)
    return np.concatenate((e, -e)), np.concatenate((weights, weights))


def grid_of(law, points, width):
    """Nodes (width, nodes) and weights (nodes,) for means over the independent noise of a layer; none without a law."""
    if law is None:
        return np.zeros((width, 1)), np.ones(1)
    e, weights = nodes_of(law, points)
    grid = np.array([axis.ravel() for axis in np.meshgrid(*[e] * width, indexing="ij")])
    return grid, functools.reduce(np.multiply.outer, [weights] * width).ravel()


# -- networks ----------------------------------------------------------------------------------------------------------------


def build_network(widths, laws, scales, activation="threshold", seed=0, dtype=np.float32, slope=1.0, spread=1.0):
    """A noisy network with weights large enough for every neuron to matter, equal in float32 and float64."""
    rng = generator(seed, "a noisy network of a test")
    layers = []
    for number, (inputs, outputs) in enumerate(itertools.pairwise(widths)):
        last = number == len(widths) - 2
        weight, bias = rng.normal(0, spread, (outputs, inputs)), rng.normal(0, 0.5, outputs)
        layers.append(
            NoisyLayer(
                weight.astype(np.float32).astype(dtype),
                bias.astype(np.float32).astype(dtype),
                np.array([scales[number]], dtype=np.float32).astype(dtype),
                laws[number],
                None if last else Activation(activation, slope),
            )
        )
    return NoisyNetwork(tuple(layers))


def with_arrays(network, change):
    """A network whose arrays are changed by a function."""
    return NoisyNetwork(
        tuple(
            replace(layer, weight=change(layer.weight), bias=change(layer.bias), scale=change(layer.scale))
            for layer in network.layers
        )
    )


def on_device(network):
    """The network on the configured device."""
    return with_arrays(network, to_device)


def draw_points(images, inputs, classes, seed=0):
    """Images of size 1 that are equal in float32 and float64, and labels."""
    rng = generator(seed, "images of a noisy network")
    return rng.normal(0, 0.8, (images, inputs)).astype(np.float32), rng.integers(0, classes, images)


# -- losses ------------------------------------------------------------------------------------------------------------------


def mean_cross_entropy(layer, drive):
    """Mean over output noise without heavy tails, of every label: from (rows, classes) to (rows, classes)."""
    e, weights = grid_of(layer.law, 12, drive.shape[1])
    return np.log(np.exp(drive) @ np.exp(layer.scale[0] * e)) @ weights[:, None] - drive


def mean_zero_one(layer, drive):
    """Probability that an output exceeds the label's, of every label: from (rows, classes) to (rows, classes)."""
    law, classes = distribution_of(layer.law), range(drive.shape[1])
    t, weights = nodes_of(layer.law, 80)
    lead = (drive[:, :, None] - drive[:, None, :]) / layer.scale[0]  # (rows, label, other)
    below = law.cdf(lead[..., None] + t)
    below[:, classes, classes] = 1
    return 1 - below.prod(axis=2) @ weights


MEAN_LOSSES = {"cross-entropy": mean_cross_entropy, "zero-one": mean_zero_one}


# -- exact means -------------------------------------------------------------------------------------------------------------


def patterns(neurons):
    """All patterns of threshold neurons, shape (2^neurons, neurons)."""
    return np.array(list(itertools.product((0.0, 1.0), repeat=neurons)))


def pattern_probabilities(layer, drive):
    """Probability of every pattern for every row of drives: shape (patterns, rows)."""
    p = distribution_of(layer.law).cdf(drive / layer.scale[0])
    return np.where(patterns(drive.shape[1])[:, None, :] > 0, p, 1 - p).prod(axis=2)


def mean_loss(network, x, labels, loss):
    """Exact mean loss of every image, for hidden layers of noisy threshold neurons."""
    *hidden, last = network.layers
    probability, responses = np.eye(len(x)), x
    for layer in hidden:
        probability = pattern_probabilities(layer, responses @ layer.weight.T + layer.bias) @ probability
        responses = patterns(len(layer.bias))
    losses = MEAN_LOSSES[loss](last, responses @ last.weight.T + last.bias)
    return (probability * losses[:, labels]).sum(axis=0)


def mean_loss_of_smooth(network, x, labels):
    """Mean cross-entropy of every image by quadrature over all noise, for one hidden layer of two sigmoid neurons."""
    hidden, last = network.layers
    e, weights = grid_of(hidden.law, 14, len(hidden.bias))
    v = (x @ hidden.weight.T + hidden.bias)[:, :, None] + hidden.scale[0] * e
    h = 1 / (1 + np.exp(-hidden.activation.slope * v.transpose(0, 2, 1)))
    losses = mean_cross_entropy(last, (h @ last.weight.T + last.bias).reshape(-1, len(last.bias)))
    return losses.reshape(len(x), len(weights), -1)[np.arange(len(x)), :, labels] @ weights


def derivatives(mean, network, x, labels, step=1e-5):
    """Derivatives by central differences: of the mean over images in every parameter, of each image's own loss in its pixels.

    Parameters
    ----------
    mean : callable
        From network, images and labels to the mean loss of every image.

    Returns
    -------
    dict
        "loss", shape (images,); "input", shape (images, inputs); "weight_0", "bias_0", "scale_0", "weight_1", ...
    """
    network, x = in_float64(network), x.astype(np.float64)
    found = {"loss": mean(network, x, labels), "input": np.empty_like(x)}

    def difference(array, index):
        middle = array[index].copy()
        array[index] = middle + step
        ahead = mean(network, x, labels)
        array[index] = middle - step
        behind = mean(network, x, labels)
        array[index] = middle
        return (ahead - behind) / (2 * step)

    for pixel in range(x.shape[1]):
        found["input"][:, pixel] = difference(x, (slice(None), pixel))
    for name, array in network.parameters.items():
        found[name] = np.empty_like(array)
        for index in np.ndindex(array.shape):
            found[name][index] = difference(array, index).mean()
    return found
