"""A multilayer perceptron, which the cerebellum paper proposes as a control."""

from __future__ import annotations

import numpy as np

from minicereb.backend import to_device
from minicereb.errors import require
from minicereb.models.layers import Dense, ReLU
from minicereb.models.sequential import Sequential
from minicereb.randomness import generator


def initial_mlp(inputs: int, hidden: tuple[int, ...], classes: int, seed: int) -> Sequential:
    """Return an untrained multilayer perceptron with ReLU units.

    Parameters
    ----------
    inputs, classes : int
        Number of inputs and number of outputs.
    hidden : tuple of int
        Number of units in each hidden layer; empty for a linear classifier.
    seed : int
        Seed of the weights, which are normal with variance 2 / (inputs of a unit) in layers before a ReLU (He et al.,
        2015), and 1 / (inputs of a unit) in the output layer; biases start at 0.
    """
    require(all(units >= 1 for units in hidden), "hidden", ",".join(map(str, hidden)), "whole numbers of at least 1")
    widths = (inputs, *hidden, classes)
    layers: list[Dense | ReLU] = []
    for number, (fan_in, fan_out) in enumerate(zip(widths, widths[1:], strict=False)):
        gain = 2.0 if number < len(hidden) else 1.0
        weight = generator(seed, "perceptron", number).standard_normal((fan_out, fan_in), dtype=np.float32)
        weight *= np.float32((gain / fan_in) ** 0.5)
        layers += [Dense(to_device(weight), to_device(np.zeros(fan_out, dtype=np.float32))), ReLU()]
    return Sequential(tuple(layers[:-1]))
