"""The activity of a model's last hidden layer, for some of its units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minicereb.backend import Array, to_device, to_numpy, xp_of
from minicereb.calculus.activations import relu
from minicereb.calculus.cerebellum import mossy
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.noisy import NoisyNetwork
from minicereb.models.sequential import Sequential
from minicereb.models.wiring import Wiring
from minicereb.parallel import blocks, images_per_block

MOST = 400  # largest number of units in a map


@dataclass(frozen=True, eq=False)
class HiddenUnits:
    """Some units of the last hidden layer.

    Parameters
    ----------
    name : str
        Name of the units, in the plural.
    count : int
        Number of units in the layer.
    chosen : array of int64, shape (units,)
        Indices of the units shown, ascending.
    model : classifier
    """

    name: str
    count: int
    chosen: np.ndarray
    model: Any

    def activity(self, x: np.ndarray) -> np.ndarray:
        """Return the units' activity, float32 (images, units), for images `x`, float32 (images, inputs)."""
        size = images_per_block(getattr(self.model, "bytes_per_image", 0) + 64 * x.shape[1])
        return np.concatenate([to_numpy(self._activity(to_device(x[part]))) for part in blocks(len(x), size)])

    def _activity(self, x: Array) -> Array:
        *before, last = self.model.layers if isinstance(self.model, Sequential) else (self.model,)
        for layer in before:
            x, _ = layer.forward(x)
        xp, chosen = xp_of(x), to_device(self.chosen)
        if isinstance(last, CerebellarNetwork):
            cells = _some_cells(last.wiring, chosen)
            x_t = cells.columns(mossy(x, last.fires_above))
            drive = cells.project(slice(0, cells.cells), x_t, xp.empty((cells.cells, len(x)), dtype=x.dtype))
            return xp.ascontiguousarray(relu(drive).T)
        if isinstance(last, NoisyNetwork):
            for hidden in last.layers[:-1]:
                x = hidden.respond_in_rows(hidden.drive_of_rows(x))
        return x[:, chosen]


def hidden_units_of(model: Any) -> HiddenUnits | None:
    """Return at most 400 evenly spaced units of the last hidden layer, or None for a model without hidden units."""
    layers = model.layers if isinstance(model, Sequential) else (model,)
    last = layers[-1]
    if isinstance(last, CerebellarNetwork):
        name, count = "granule cells", last.wiring.cells
    elif isinstance(last, NoisyNetwork):
        name, count = "hidden neurons", last.layers[-1].inputs
    elif len(layers) > 1 and hasattr(last, "weight"):
        name, count = "hidden units", last.weight.shape[1]
    else:
        return None
    chosen = np.arange(min(count, MOST), dtype=np.int64) * count // min(count, MOST)
    return HiddenUnits(name, count, chosen, model)


def _some_cells(wiring: Wiring, chosen: Array) -> Wiring:
    inputs = None if wiring.inputs is None else wiring.inputs[chosen]
    rest = None if wiring.rest is None else wiring.rest[chosen]
    return replace(wiring, weights=wiring.weights[chosen], inputs=inputs, rest=rest)
