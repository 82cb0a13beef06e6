"""Steps of an explanation, each with its equation, shapes, numbers and derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from minicereb.calculus.equations import equation
from minicereb.explain.drawings import Drawing
from minicereb.gradcheck.differences import FiniteDifference, difference, moving

SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
TOLERANCE = 1e-6  # tolerance of a float64 derivative, relative to the derivative
CONFIDENCE = 0.999  # confidence level of every interval
UNDERFLOW = 1e-200  # smaller differences count as zero


@dataclass(frozen=True)
class Rows:
    """A small table; cells are text, whole numbers or floats, and NumPy numbers become Python numbers."""

    caption: str
    head: tuple[str, ...]
    rows: Iterable[Sequence[Any]]

    def __post_init__(self) -> None:
        plain = (tuple(cell.item() if isinstance(cell, np.generic) else cell for cell in row) for row in self.rows)
        object.__setattr__(self, "rows", tuple(plain))


@dataclass(frozen=True)
class Derivative:
    """A hand-written derivative, such as ``∂l/∂W[3, 0]``, and its finite difference with rounding error and one-sided slopes.

    `kink` is the reason why the slopes differ, or empty. At a kink there is no derivative, and the value is a convention.
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
        """Difference between derivative and finite difference, relative to the derivative, or absolute if the derivative is 0."""
        return abs(self.value - self.difference) / (abs(self.value) or 1.0)

    @property
    def verdict(self) -> str:
        """``agrees`` (to 1e-6), ``kink``, ``rounding`` (the finite difference is not accurate enough to tell), or ``differs``."""
        if self.kink:
            return "kink"
        if self.error <= TOLERANCE:
            return "agrees"
        return "rounding" if abs(self.value - self.difference) <= 4 * self.rounding else "differs"


@dataclass(frozen=True)
class EstimatedMean:
    """A mean over replications of the noise, the half-width `half` of its interval (``mean ± half``), and its expected value.

    The expected value, `reference`, is exact (`reference_half` is then 0) or is itself an estimate; `by` says where it comes
    from.
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
        """``within`` or ``outside``: whether the interval of the difference between mean and reference includes 0."""
        allowed = math.hypot(self.half, self.reference_half) + UNDERFLOW
        return "within" if abs(self.mean - self.reference) <= allowed else "outside"


@dataclass(frozen=True, eq=False)
class Step:
    """One step of an explanation: a text with its equation, numbers and drawings.

    `tag` is the tag of the equation (:mod:`minicereb.calculus.equations`), or empty if nothing is computed. `shapes` maps the
    names of arrays in the equation to their shapes. Later steps use this step's result under the names in `gives`, which maps
    each name to a symbol; the first symbol represents the step. `uses` names the results on which the step depends; each comes
    from the latest earlier step of the same `part` that gives it, or from the image.
    """

    title: str
    tag: str
    words: str
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    numbers: Sequence[Rows] = ()
    derivatives: Sequence[Derivative] = ()
    estimates: Sequence[EstimatedMean] = ()
    drawings: Sequence[Drawing] = ()
    gives: dict[str, str] = field(default_factory=dict)
    uses: tuple[str, ...] = ()
    part: str = ""

    @property
    def symbol(self) -> str:
        """The symbol of the step's result."""
        return next(iter(self.gives.values()), "")

    @property
    def formula(self) -> str:
        """The equation as text; empty if there is none."""
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


def compared(of: str, value: Any, found: FiniteDifference, kinks: Callable[[], str] = str) -> Derivative:
    """Compare a derivative with its finite difference; `kinks`, called only at a kink, names the cause of the kink."""
    slope, rounding, left, right, kink = found
    numbers = float(value), float(slope), float(rounding), float(left), float(right)
    return Derivative(of, *numbers, (kinks() or "the loss itself") if kink else "")


def checked(
    of: str, value: Any, array: np.ndarray, place: Any, function: Callable[..., Any], *arguments: Any,
    kinks: Callable[[], str] = str,
) -> Derivative:  # fmt: skip
    """Compare `value` with a finite difference.

    `value` is the derivative of ``function(*arguments)`` with respect to the entry of `array` at `place`.
    """
    return compared(of, value, difference(moving(array, place, function, *arguments)), kinks)


def products(
    caption: str, names: tuple[str, str, str], rows: Sequence[tuple[Any, float, float]], total: tuple[str, float],
    extra: Sequence[tuple[str, float]] = (), most: int = 6,
) -> Rows:  # fmt: skip
    """Return the table of a sum of products: its `most` largest terms, the sum of the others, `extra` terms, and `total`.

    Each row is (place, factor, factor), with `names` as headings.
    """
    terms = [(place, float(one), float(two), float(one) * float(two)) for place, one, two in rows]
    order = sorted(range(len(terms)), key=lambda number: -abs(terms[number][3]))
    lines: list[tuple[Any, ...]] = [terms[number] for number in sorted(order[:most])]
    if len(terms) > most:
        lines.append((f"the other {len(terms) - most:,}", "", "", math.fsum(terms[number][3] for number in order[most:])))
    return Rows(caption, (*names, "product"), [*lines, *((name, "", "", number) for name, number in (*extra, total))])
