"""A linear classifier whose robust accuracy is known exactly, and ways in which somebody else's model may misbehave."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicereb.datasets.dataset import Dataset

CLASSES, INPUTS = 3, 64


def c3(seed=0, noise=0.4):
    """400 training and 60 test images of 8x8 in three classes: each class a fixed random picture, plus Gaussian noise."""
    rng = np.random.default_rng(seed)
    pictures = rng.random((CLASSES, INPUTS))

    def drawn(images):
        labels = rng.integers(0, CLASSES, images)
        x = np.clip(pictures[labels] + noise * rng.standard_normal((images, INPUTS)), 0, 1)
        return x.astype(np.float32), labels.astype(np.int64)

    (x_train, y_train), (x_test, y_test) = drawn(400), drawn(60)
    return Dataset("c3", x_train, y_train, x_test, y_test, (8, 8), CLASSES)


@dataclass
class Linear:
    """``z = (x - ½)W + b``."""

    weight: np.ndarray
    bias: np.ndarray

    def forward(self, x):
        return (x - np.float32(0.5)) @ self.weight + self.bias, None

    def input_gradient(self, d_outputs, cache):
        return d_outputs @ self.weight.T


def lin(data):
    """The readout on `data` of least squared error, in closed form."""
    x = data.x_train.astype(np.float64) - 0.5
    x = np.concatenate((x, np.ones((len(x), 1))), axis=1)
    solved = np.linalg.solve(x.T @ x + 1e-3 * len(x) * np.eye(INPUTS + 1), x.T @ np.eye(CLASSES)[data.y_train])
    return Linear(solved[:-1].astype(np.float32), solved[-1].astype(np.float32))


def robust(model, data, epsilon, binary=False):
    """Which test images no image within `epsilon` (L∞) and [0, 1] makes `model` misclassify, from the signs of the weights.

    The gap between a wrong class and the right one is linear in the pixels, so that at its largest every pixel is at that end of
    its range which the sign of its weight names. If `binary` is true, the same for the model behind ``x > ½``.
    """
    x, y = data.x_test.astype(np.float64), data.y_test
    low, high = np.maximum(x - epsilon, 0), np.minimum(x + epsilon, 1)
    if binary:
        low, high = ((end.astype(np.float32) > 0.5).astype(np.float64) for end in (low, high))
    weight, bias = model.weight.astype(np.float64), model.bias.astype(np.float64)
    standing = np.ones(len(x), dtype=bool)
    for j in range(CLASSES):
        d = weight[:, j] - weight[:, y].T
        gap = ((np.where(d > 0, high, low) - 0.5) * d).sum(axis=1) + bias[j] - bias[y]
        standing &= (gap < 0) | (j == y)
    return standing


@dataclass
class Wrapped:
    model: Any

    def forward(self, x):
        return self.model.forward(x)

    def input_gradient(self, d_outputs, cache):
        return self.model.input_gradient(d_outputs, cache)


class InPlace(Wrapped):
    """Makes its input black and white, in place; the gradient passes through as if it had not."""

    def forward(self, x):
        x[...] = x > 0.5
        return self.model.forward(x)


class Buffered(Wrapped):
    """Keeps its input, changes it when asked for the gradient, and returns the same two buffers at every call."""

    buffers: Any = None

    def forward(self, x):
        outputs, cache = self.model.forward(x)
        if self.buffers is None or len(self.buffers[0]) < len(x):
            self.buffers = np.empty_like(outputs), np.empty_like(x)
        self.buffers[0][...] = 0
        self.buffers[0][: len(x)] = outputs
        self.kept = x
        return self.buffers[0][: len(x)], (x, cache)

    def input_gradient(self, d_outputs, cache):
        x, cache = cache
        self.buffers[1][: len(x)] = self.model.input_gradient(d_outputs, cache)
        x[...] = 0
        d_outputs[...] = np.nan
        return self.buffers[1][: len(x)]


class Centred(Wrapped):
    """Subtracts the mean of the batch, so that an answer depends on the other images."""

    def forward(self, x):
        return self.model.forward(x - x.mean(axis=0) + np.float32(0.5))


@dataclass
class Noisy(Wrapped):
    """Adds noise to the outputs, anew at every call."""

    scale: float = 0.3
    rng: Any = field(default_factory=lambda: np.random.default_rng(0))

    def forward(self, x):
        outputs, cache = self.model.forward(x)
        return outputs + self.rng.normal(0, self.scale, outputs.shape).astype(np.float32), cache


@dataclass
class Scaled(Wrapped):
    """Outputs so large that the cross-entropy has no derivative in float32."""

    factor: float = 1e4

    def forward(self, x):
        outputs, cache = self.model.forward(x)
        return outputs * np.float32(self.factor), cache

    def input_gradient(self, d_outputs, cache):
        return self.model.input_gradient(d_outputs * d_outputs.dtype.type(self.factor), cache)


class Single(Wrapped):
    """Takes nothing but float32, as a wrapped PyTorch model."""

    def forward(self, x):
        if x.dtype != np.float32:
            raise RuntimeError(f"expected scalar type Float\nbut found {x.dtype}")
        return self.model.forward(x)


class BlackBox:
    """Has no ``input_gradient``."""

    def __init__(self, model):
        self.model = model

    def forward(self, x):
        return self.model.forward(x)[0], None


class Unimplemented(BlackBox):
    """Has one that raises."""

    def input_gradient(self, d_outputs, cache):
        raise NotImplementedError
