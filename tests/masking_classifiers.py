"""Classifiers that hide their gradients on purpose, each in its own way; the checklist must notice."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Wrapped:
    model: Any

    def forward(self, x):
        return self.model.forward(x)

    def input_gradient(self, d_outputs, cache):
        return self.model.input_gradient(d_outputs, cache)


@dataclass
class Saturated(Wrapped):
    """Outputs so large that the cross-entropy's derivative is zero in float32."""

    factor: float = 1e3

    def forward(self, x):
        outputs, cache = self.model.forward(x)
        return outputs * np.float32(self.factor), cache

    def input_gradient(self, d_outputs, cache):
        return self.model.input_gradient(d_outputs * d_outputs.dtype.type(self.factor), cache)


@dataclass
class Shattered(Wrapped):
    """A gradient in a random direction: every pixel's sign depends on the last digits of the image."""

    def forward(self, x):
        outputs, cache = self.model.forward(x)
        return outputs, (x, cache)

    def input_gradient(self, d_outputs, cache):
        x, cache = cache
        return self.model.input_gradient(d_outputs, cache) * np.sign(np.sin(1e5 * x + np.arange(x.shape[1], dtype=x.dtype)))


@dataclass
class Stepped(Wrapped):
    """Pixels rounded to five levels: the true derivative is zero almost everywhere."""

    def forward(self, x):
        return self.model.forward(np.round(x * 4) / 4)

    def input_gradient(self, d_outputs, cache):
        return self.model.input_gradient(d_outputs, cache) * 0


@dataclass
class Nervous(Wrapped):
    """Noise on the outputs, another at every call."""

    scale: float = 0.5
    rng: Any = field(default_factory=lambda: np.random.default_rng(0))

    def forward(self, x):
        outputs, cache = self.model.forward(x)
        return outputs + self.rng.normal(0, self.scale, outputs.shape).astype(outputs.dtype), cache
