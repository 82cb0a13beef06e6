"""Properties of networks in the VNN-LIB format: bounds on the inputs, and conditions that the outputs must not satisfy.

A property asserts comparisons between inputs, named ``X_0``, ``X_1``, …, outputs, named ``Y_0``, …, and numbers. A counterexample
satisfies the property: it is an input within the bounds whose outputs satisfy every assertion about outputs.

References
----------
The VNN-LIB standard, https://www.vnnlib.org; this module reads the form that is used in the verification competition VNN-COMP
2022.
"""

from __future__ import annotations

import gzip
import itertools
import re
import zlib
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from minicereb.errors import MinicerebError
from minicereb.paths import read_bytes

Expression: TypeAlias = "str | list[Expression]"

TOKEN = re.compile(r"[()]|[^\s();]+")
DECLARED = re.compile(r"[XY]_(0|[1-9][0-9]{0,8})")
LARGEST_TEXT = 1 << 28
MOST_CASES = 10_000
FORM = (
    "a property is made of (declare-const X_0 Real), (assert (<= X_0 0.5)) and assertions about Y_0, Y_1, … with <=, >=, and, or"
)


class Property(NamedTuple):
    """A question about a network: is there an input in a box for which at least one case holds?

    Attributes
    ----------
    low, high : array of float64, shape (inputs,)
        Bounds of the inputs, both included.
    cases : list of (array of float64, shape (rows, outputs), array of float64, shape (rows,))
        A and b of each case; the case holds for outputs z with ``A z <= b`` in every row.
    """

    low: np.ndarray
    high: np.ndarray
    cases: list[tuple[np.ndarray, np.ndarray]]


def read_vnnlib(path: Path) -> Property:
    """Read a property from a ``.vnnlib`` file, which may be compressed by gzip.

    Raises
    ------
    MinicerebError
        If the file cannot be read, or holds a property of another form.
    """
    content = read_bytes(path)
    try:
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        if len(content) > LARGEST_TEXT:
            raise _OtherForm("it is too long")
        return _property(_expressions(content.decode("ascii")))
    except (UnicodeDecodeError, OSError, EOFError, zlib.error) as error:
        raise MinicerebError(f"{path} is not a text file, or is truncated") from error
    except _OtherForm as error:
        raise MinicerebError(f"{path}: {error}; {FORM}") from None


class _OtherForm(Exception):
    """The reason why a text is not a property of the supported form."""


def _expressions(text: str) -> list[Expression]:
    """Return the expressions in parentheses; a comment begins with a semicolon."""
    stack: list[list[Expression]] = [[]]
    for token in TOKEN.findall(re.sub(r";.*", "", text)):
        if token == "(":
            stack.append([])
            if len(stack) > 32:
                raise _OtherForm("parentheses are nested too deeply")
        elif token == ")":
            if len(stack) == 1:
                raise _OtherForm("there is a closing parenthesis without an opening one")
            stack[-2].append(stack.pop())
        else:
            stack[-1].append(token)
    if len(stack) > 1:
        raise _OtherForm("a parenthesis is not closed")
    return stack[0]


def _property(expressions: list[Expression]) -> Property:
    names, assertions = [], []
    for expression in expressions:
        match expression:
            case ["declare-const", str(name), "Real"] if DECLARED.fullmatch(name) and name not in names:
                names.append(name)
            case ["assert", asserted]:
                assertions.append(asserted)
            case _:
                raise _OtherForm(f"{_shown(expression)} was not expected")
    inputs, outputs = (sum(name[0] == letter for name in names) for letter in "XY")
    declared = {f"X_{index}" for index in range(inputs)} | {f"Y_{index}" for index in range(outputs)}
    if not inputs or not outputs or declared != set(names):
        raise _OtherForm("inputs and outputs must be declared and numbered from 0, without gaps")
    low, high = np.full(inputs, -np.inf), np.full(inputs, np.inf)
    alternatives: list[list[list[_Row]]] = []
    for asserted in assertions:
        bound = _bound(asserted, inputs)
        if bound is None:
            alternatives.append(_cases(asserted, outputs))
        else:
            index, value, upper = bound
            (high if upper else low)[index] = (min if upper else max)((high if upper else low)[index], value)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise _OtherForm("every input must have a lower and an upper bound")
    if not alternatives:
        raise _OtherForm("nothing is asserted about the outputs")
    if np.prod([float(len(each)) for each in alternatives]) > MOST_CASES:
        raise _OtherForm(f"it has more than {MOST_CASES:,} cases")
    cases = [[row for case in chosen for row in case] for chosen in itertools.product(*alternatives)]
    return Property(low, high, [(np.array([row for row, _ in case]), np.array([b for _, b in case])) for case in cases])


_Row: TypeAlias = "tuple[np.ndarray, float]"


def _bound(asserted: Expression, inputs: int) -> tuple[int, float, bool] | None:
    """If an assertion is a bound on one input, return the input, the value, and whether the bound is an upper one."""
    match asserted:
        case ["<=" | ">=" as relation, str(left), str(right)] if (left[:2] == "X_") != (right[:2] == "X_"):
            name, value = (left, right) if left[:2] == "X_" else (right, left)
            return _index(name, "X", inputs), _number(value), (relation == "<=") == (name is left)
    return None


def _cases(asserted: Expression, outputs: int) -> list[list[_Row]]:
    """Return the cases of an assertion about the outputs, as rows a, b of ``a z <= b``."""
    match asserted:
        case ["or", *parts] if parts:
            return [case for part in parts for case in _cases(part, outputs)]
        case ["and", *parts] if parts:
            found = [_cases(part, outputs) for part in parts]
            if np.prod([float(len(each)) for each in found]) > MOST_CASES:
                raise _OtherForm(f"it has more than {MOST_CASES:,} cases")
            return [[row for case in chosen for row in case] for chosen in itertools.product(*found)]
        case ["<=" | ">=" as relation, str(left), str(right)]:
            less, more = (left, right) if relation == "<=" else (right, left)
            row, bound = np.zeros(outputs), 0.0
            for name, sign in ((less, 1.0), (more, -1.0)):
                if name[:2] == "Y_":
                    row[_index(name, "Y", outputs)] += sign
                else:
                    bound -= sign * _number(name)
            if not row.any():
                raise _OtherForm(f"{_shown(asserted)} compares neither two outputs nor an output with a number")
            return [[(row, bound)]]
    raise _OtherForm(f"{_shown(asserted)} is not a comparison of outputs")


def _index(name: str, letter: str, count: int) -> int:
    if name[0] != letter or not DECLARED.fullmatch(name) or int(name[2:]) >= count:
        raise _OtherForm(f"{name[:40]} is not declared")
    return int(name[2:])


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise _OtherForm(f"{text[:40]} is not a number")
    return value


def _shown(expression: Expression) -> str:
    text = expression if isinstance(expression, str) else f"({' '.join(map(_shown, expression[:6]))})"
    return text if len(text) <= 60 else text[:57] + "..."
