"""Arrays in a page: integers of 8 or 16 bits, compressed, in base64, with a table of their positions."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

KINDS = ("uint8", "int8", "int16")


def rounded(values: np.ndarray, kind: str) -> tuple[np.ndarray, float]:
    """Round numbers to multiples of a unit, chosen so that the largest absolute value becomes the largest integer of this kind.

    Parameters
    ----------
    values : array of float
        The numbers to round; for ``"uint8"`` they must be at least 0.
    kind : {"uint8", "int8", "int16"}

    Returns
    -------
    numbers : array of int
        Same shape.
    unit : float
        ``numbers * unit`` differs from `values` by at most half a unit.
    """
    largest = float(np.abs(values).max(initial=0.0))
    unit = (largest or 1.0) / np.iinfo(kind).max
    return np.rint(values.astype(np.float64) / unit).astype(kind), unit


def pack(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, dict[str, Any]], str]:
    """Pack arrays into one string.

    Parameters
    ----------
    arrays : dict
        Arrays of uint8, int8 or int16, keyed by name.

    Returns
    -------
    table : dict
        For each name the ``type``, the ``shape``, and the offset ``at`` in bytes.
    text : str
        All bytes (C order, little-endian) one after another, compressed by zlib and written in base64.
    """
    table, parts, at = {}, [], 0
    for name, array in arrays.items():
        if array.dtype.name not in KINDS:
            raise TypeError(f"{name} is of {array.dtype}; expected one of {', '.join(KINDS)}")
        parts.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        table[name] = {"type": array.dtype.name, "shape": list(array.shape), "at": at}
        at += len(parts[-1])
    return table, base64.b64encode(zlib.compress(b"".join(parts), 9)).decode("ascii")
