"""What an attack takes for granted of images, labels and outputs, looked at where they enter."""

from __future__ import annotations

import numpy as np

from minicereb.backend import Array, to_numpy, xp_of
from minicereb.errors import InputError, MinicerebError, require


def check_images(x: Array, ids: np.ndarray) -> None:
    """Raise :class:`InputError` unless all images are in the box; `ids` are their numbers, on the host."""
    xp = xp_of(x)
    if bool(((x >= 0) & (x <= 1)).all()):
        return
    outside = to_numpy(~((x >= 0) & (x <= 1)).all(axis=1)).nonzero()[0]
    row = x[int(outside[0])]
    found = (
        f"values from {float(xp.min(row)):g} to {float(xp.max(row)):g} in image {ids[outside[0]]} ({len(outside)} such images)"
    )
    raise InputError("images", found, "float in [0, 1], or uint8 from 0 to 255")


def check_outputs(outputs: Array, labels: Array) -> None:
    """Raise :class:`InputError` unless every label has a row of enough outputs, :class:`MinicerebError` if one is not finite."""
    classes = int(labels.max()) + 1
    require(int(labels.min()) >= 0, "labels", int(labels.min()), "numbers of classes, from 0")
    shape = getattr(outputs, "shape", ())
    if len(shape) != 2 or len(outputs) != len(labels) or outputs.shape[1] < max(classes, 2):
        expected = f"one row of at least {max(classes, 2)} outputs for each of {len(labels)} images"
        raise InputError("model", f"outputs of shape {shape}", expected)
    if not bool(xp_of(outputs).isfinite(outputs).all()):
        raise MinicerebError("the model's outputs are not finite; an attack on them would prove nothing")
