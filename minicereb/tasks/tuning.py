"""Mossy fibres with Gaussian tuning: each fires most at its own preferred value of one variable ``[M-TUNING]``."""

from __future__ import annotations

import numpy as np

from minicereb.errors import require


class TunedFibres:
    """A population of fibres for each of several variables, with preferred values evenly spaced over its range.

    Parameters
    ----------
    ranges : tuple of float
        Of each variable the largest absolute value that is told apart; beyond it the nearest is coded. In the variable's unit.
    each : int
        Fibres for a variable, at least 2. A fibre's width (standard deviation) is the distance of two neighbours.
    """

    def __init__(self, ranges: tuple[float, ...], each: int):
        require(each >= 2, "fibres", each, "a whole number of at least 2 for each variable")
        self.count = len(ranges) * each
        self._most = (each - 1) / 2
        self._preferred = np.linspace(-self._most, self._most, each, dtype=np.float64)  # in widths, as all below
        self._scale = self._most / np.array(ranges, dtype=np.float64)

    def rates(self, values: tuple[float, ...]) -> np.ndarray:
        """Return the fibres' rates, float32 of shape (fibres, 1), each in (0, 1]; a variable's fibres stand together."""
        coded = np.minimum(np.maximum(np.array(values, dtype=np.float64) * self._scale, -self._most), self._most)
        away = coded[:, None] - self._preferred
        away *= away
        away *= -0.5
        return np.exp(away).astype(np.float32).reshape(-1, 1)
