"""Where a model is not smooth: which units switch when a number moves slightly in either direction."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicereb.gradcheck.differences import CLOSER
from minicereb.models.cerebellum import Cerebellum
from minicereb.models.convolutional import MaxPool
from minicereb.models.layers import ReLU

FEW = 4  # cells named individually


def switching_units(model: Any, x: np.ndarray, place: tuple[int, ...]) -> str:
    """Name the units of a model whose slope jumps at `x`, when the number at `place` is moved.

    Parameters
    ----------
    model : Cerebellum, Sequential or NoisyNetwork
    x : array of float64, shape (1, …)
        Restored before return.
    place : tuple of int

    Returns
    -------
    str
        For example ``"ReLU of layer 2 (3 units)"``.
    """
    caches, was = [], x[place]
    for step in (-CLOSER, CLOSER):
        x[place] = was + step
        caches.append(model.forward(x)[1])
    x[place] = was
    left, right = caches
    if isinstance(model, Cerebellum):
        cells = np.flatnonzero((left.active != right.active).any(axis=1))
        named = ", ".join(map(str, cells[:FEW])) + (f" and {len(cells) - FEW} more" if len(cells) > FEW else "")
        return f"granule cells at v = 0: {named}" if len(cells) else ""
    found = []
    for number, (layer, before, after) in enumerate(zip(model.layers, left, right, strict=True), 1):
        if isinstance(layer, ReLU):
            count, what = int((before != after).sum()), f"ReLU of layer {number} at v = 0"
        elif isinstance(layer, Cerebellum):
            count, what = int((before.active != after.active).sum()), "granule cells at v = 0"
        elif isinstance(layer, MaxPool):
            count, what = int((before[0] != after[0]).sum()), f"MaxPool of layer {number} with equal pixels"
        elif hasattr(layer, "activation") and layer.activation is not None:
            count, what = int((np.sign(before) != np.sign(after)).sum()), f"{layer.activation.name} of layer {number} at v = 0"
        else:
            continue
        if count:
            found.append(f"{what} ({count} unit{'s' * (count > 1)})")
    return ", ".join(found)
