"""Steps of an explanation, each with its equation, shapes, numbers and derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from minicereb.calculus.equations import equation
from minicereb.gradcheck.differences import FiniteDifference

TOLERANCE = 1e-6  # of a derivative in float64, relative to the derivative
CONFIDENCE = 0.999  # of every interval
UNDERFLOW = 1e-200  # smaller differences count as zero


@dataclass(frozen=True)
class Rows:
    """A small table of numbers.

    Parameters
    ----------
    caption : str
    head : tuple of str
    rows : tuple of tuple
        Cells are text, whole numbers or floats.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Derivative:
    """A derivative compared with a finite difference.

    Parameters
    ----------
    of : str
        For example ``∂l/∂W[3, 0]``.
    value : float
        The derivative by hand.
    difference : float
        The finite difference.
    rounding : float
        Rounding error of the difference.
    left, right : float
        Slopes on both sides.
    kink : str
        What makes them differ, or empty. At a kink there is no derivative, and the value is a convention.
    """

    of: str
    value: float
    difference: float
    rounding: float
    left: float
    right: float
    kink: str

    @property
    def error(self) -> float:
        """Difference of the two, relative to the derivative; absolute if that is 0."""
        return abs(self.value - self.difference) / (abs(self.value) or 1.0)

    @property
    def verdict(self) -> str:
        """``agrees`` (to 1e-6), ``kink``, ``rounding`` (the difference is no more exact than that), or ``differs``."""
        if self.kink:
            return "kink"
        if self.error <= TOLERANCE:
            return "agrees"
        return "rounding" if abs(self.value - self.difference) <= 4 * self.rounding else "differs"


@dataclass(frozen=True)
class EstimatedMean:
    """A mean over replications of the noise, compared with its expected value.

    Parameters
    ----------
    of : str
    replications : int
    mean, half : float
        The interval is mean ± half.
    reference, reference_half : float
        The exact value, with 0; or another estimate, with its own interval.
    by : str
        Where the reference comes from.
    """

    of: str
    replications: int
    mean: float
    half: float
    reference: float
    reference_half: float
    by: str

    @property
    def verdict(self) -> str:
        """``within`` or ``outside``: whether the interval of the difference of the two holds 0."""
        return (
            "within" if abs(self.mean - self.reference) <= math.hypot(self.half, self.reference_half) + UNDERFLOW else "outside"
        )


@dataclass(frozen=True, eq=False)
class Drawing:
    """Content of a figure: images side by side, or lines.

    Parameters
    ----------
    name, caption : str
    images : tuple of (title, array of float in [0, 1], shape (height, width) or (height, width, 3))
    lines : dict
        As for :func:`minicereb.report.figures.curves`.
    axes : tuple of str
        Labels of the axes.
    """

    name: str
    caption: str
    images: tuple[tuple[str, np.ndarray], ...] = ()
    lines: dict[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    axes: tuple[str, str] = ("", "")


@dataclass(frozen=True, eq=False)
class Step:
    """One step of an explanation.

    Parameters
    ----------
    title : str
    tag : str
        Of the equation (:mod:`minicereb.calculus.equations`); empty where nothing is computed.
    words : str
        Explanation of the step.
    shapes : dict
        Of the arrays, by their names in the equation.
    numbers : tuple of Rows
    derivatives : tuple of Derivative
    estimates : tuple of EstimatedMean
    drawings : tuple of Drawing
    """

    title: str
    tag: str
    words: str
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    numbers: tuple[Rows, ...] = ()
    derivatives: tuple[Derivative, ...] = ()
    estimates: tuple[EstimatedMean, ...] = ()
    drawings: tuple[Drawing, ...] = ()

    @property
    def formula(self) -> str:
        """Of the equation."""
        return equation(self.tag).formula if self.tag else ""

    def as_json(self) -> dict[str, Any]:
        """Return the step as JSON values, without its drawings."""
        return {
            "title": self.title,
            "tag": self.tag,
            "formula": self.formula,
            "words": self.words,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "numbers": [asdict(rows) for rows in self.numbers],
            "derivatives": [{**asdict(each), "error": each.error, "verdict": each.verdict} for each in self.derivatives],
            "estimates": [{**asdict(each), "verdict": each.verdict} for each in self.estimates],
        }


def checked_derivative(of: str, value: float, difference: FiniteDifference, kinks: Callable[[], str] = str) -> Derivative:
    """Compare a derivative with its finite difference; `kinks`, called only at a kink, names its cause."""
    slope, rounding, left, right, kink = difference
    found = float(slope), float(rounding), float(left), float(right)
    return Derivative(of, float(value), *found, (kinks() or "the loss itself") if kink else "")


def products(
    caption: str, names: tuple[str, str, str], rows: Sequence[tuple[Any, float, float]], extra: Sequence[tuple[str, float]],
    total: tuple[str, float], most: int = 6,
) -> Rows:  # fmt: skip
    """Write out a sum of products: its largest terms, the others together, other summands, and the total.

    Parameters
    ----------
    caption : str
    names : tuple of str
        Heads of the columns: place, first factor, second factor.
    rows : sequence of (place, factor, factor)
    extra : sequence of (name, number)
        Other summands.
    total : (name, number)
        The model's own total, not the sum of these rows.
    most : int
        Terms shown individually.
    """
    order = sorted(range(len(rows)), key=lambda place: -abs(rows[place][1] * rows[place][2]))
    shown = sorted(order[:most])
    lines: list[tuple[Any, ...]] = [(rows[n][0], rows[n][1], rows[n][2], rows[n][1] * rows[n][2]) for n in shown]
    if len(rows) > most:
        rest = math.fsum(rows[place][1] * rows[place][2] for place in order[most:])
        lines.append((f"the other {len(rows) - most:,}", "", "", rest))
    lines += [(name, "", "", number) for name, number in extra]
    return Rows(caption, (*names, "product"), (*lines, (total[0], "", "", total[1])))
