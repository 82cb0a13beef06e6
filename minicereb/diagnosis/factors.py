"""Name a wrong factor: a sign, a small fraction, the batch size, a power of an argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import combinations, product

import numpy as np

from minicereb.diagnosis.hints import Case, Hint

POWERS = {1.0: "{}", -1.0: "1/{}", 2.0: "{}²", -2.0: "1/{}²", 0.5: "√{}", -0.5: "1/√{}"}
LARGEST = 64  # largest numerator and denominator of a fraction that is named
NAMED = {np.pi: "π", 2 * np.pi: "2π", (2 * np.pi) ** 0.5: "√(2π)", 2**0.5: "√2", np.log(2): "ln 2", np.pi**0.5: "√π"}
CONSTANTS = {1.0: "", 2.0: "2 ", 0.5: "½ ", 4.0: "4 ", 0.25: "¼ ", **{number: f"{name} " for number, name in NAMED.items()}}
CONSTANTS |= {1 / number: f"1/{name} " for number, name in NAMED.items()}


def factor_of(found: Iterable[np.ndarray], wanted: Iterable[np.ndarray | None], tolerance: float) -> list[float] | None:
    """Return the factor between each array in `found` and its counterpart in `wanted`; None if a pair has no common factor."""
    factors = []
    for one, other in zip(found, wanted, strict=True):
        if other is None:
            return None
        size = float(np.vdot(other, other))
        if one.shape != other.shape or not 0 < size < np.inf or not np.isfinite(one).all():
            return None
        factor = float(np.vdot(other, one)) / size
        if factor == 0 or np.abs(one - factor * other).max() > tolerance * abs(factor) * np.abs(other).max():
            return None
        factors.append(factor)
    return factors or None


def name_factor(factors: Sequence[float], cases: Sequence[Case], tolerance: float) -> Hint | None:
    """Return the hint that names a factor if one name fits every case: a constant, or a power of a size or an argument.

    Each case has one factor: the answer divided by the right answer.
    """

    def same(values: Sequence[float], other: float) -> bool:
        return all(abs(value - other) <= 1e-3 * tolerance**0.5 * abs(other) for value in values)

    if same(factors, factors[0]):
        return _constant(factors[0], lambda value: same(factors, value), cases)
    for code, text, values in _quantities(cases):
        rest = [factor / value for factor, value in zip(factors, values, strict=True)]
        for constant, written in CONSTANTS.items():
            for sign in (1, -1):
                if same(rest, sign * constant):
                    return _hint(sign, f"{written}{code}", f"{written}{code} times", text)
    return None


def _hint(sign: float, factor: str, what: str, text: str) -> Hint:
    """Return the hint about a factor; `what` says which multiple of the right answer the wrong answer is."""
    also = ", and the sign is wrong" if sign < 0 else ""
    return Hint(f"{'sign, ' if sign < 0 else ''}factor {factor}", f"it is {what} what it should be{text and f': {text}'}{also}")


def _constant(factor: float, same: Callable[[float], bool], cases: Sequence[Case]) -> Hint:
    if same(-1.0):
        return Hint("sign", "the sign is wrong everywhere")
    sign = float(np.sign(factor))
    for name, length in cases[0].sizes.items():  # a length that is the same in all cases
        fixed = all(case.sizes[name] == length for case in cases)
        if fixed and same(sign * length):
            return _hint(sign, f"{length}", f"{length} times", f"{length} is {name}, over which a mean may be missing")
        if fixed and same(sign / length):
            return _hint(sign, f"1/{length}", f"1/{length} of", f"{length} is {name}, over which there may be one mean too many")
    for number, name in NAMED.items():
        for value, written in ((number, name), (1 / number, f"1/{name}")):
            if same(sign * value):
                return _hint(sign, written, f"{written} times", "")
    fraction = Fraction(abs(factor)).limit_denominator(LARGEST)
    simple = 0 < fraction.numerator <= LARGEST and same(float(sign * fraction))
    written = str(fraction) if simple else f"{abs(factor):.6g}"
    return _hint(sign, written, f"{written} times", "a constant factor is wrong")


def _quantities(cases: Sequence[Case]) -> Iterator[tuple[str, str, list[float]]]:
    """Yield every quantity that may be a factor: its name, its meaning, and its value in each case."""
    singles: list[tuple[str, str, str, list[float]]] = []
    for name in cases[0].sizes:
        much, little = f"a sum over {name} where a mean belongs", f"a mean over {name} where a sum belongs, or a second division"
        singles.append((name, much, little, [float(case.sizes[name]) for case in cases]))
    for name, value in cases[0].arguments.items():
        if isinstance(value, float):
            values = [float(case.arguments[name]) for case in cases]
            much = f"a division by {name} is missing, or it is multiplied by {name} once too often"
            singles.append((name, much, f"a factor {name} is missing", values))
            rest = f"(1 - {name})"
            singles.append((rest, f"it is multiplied by {rest} once too often", f"{rest} is missing", [1 - v for v in values]))
    for name, much, little, values in singles:
        for power, written in POWERS.items():
            if min(values) > 0:
                yield written.format(name), much if power > 0 else little, [value**power for value in values]
    for name, _, _, values in singles:
        if name in cases[0].sizes:
            without = [value / (value - 1) if value > 1 else np.nan for value in values]
            yield f"{name}/({name} - 1)", f"divided by {name} - 1 instead of {name}", without
            yield f"({name} - 1)/{name}", f"divided by {name} instead of {name} - 1", [1 / value for value in without]
    for (one, _, _, first), (two, _, _, second) in combinations(singles, 2):
        if min(*first, *second) <= 0:
            continue
        for p, q in product((1, -1), repeat=2):
            written = f"{POWERS[p].format(one)} · {POWERS[q].format(two)}"
            values = [a**p * b**q for a, b in zip(first, second, strict=True)]
            yield written, f"check where {one} and {two} divide or multiply", values
