"""Right formulas on wrong arguments: what an answer would be if an argument were left out, squared, swapped, shifted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from minicereb.diagnosis.hints import Case


class Altered(NamedTuple):
    """A named change of the arguments, by name; `of` may raise, where it does not exist.

    Attributes
    ----------
    code, text : str
        As of a hint.
    of : callable
        From a case to the arguments that differ from its own.
    """

    code: str
    text: str
    of: Any


def alterations(case: Case) -> Iterator[Altered]:
    """Every change of arguments that can be tried on cases like this one, the likelier first."""
    names = [name for name, value in case.arguments.items() if isinstance(value, np.ndarray | float | int)]
    for size in case.sizes:
        yield from _some_of(size)
    for one in names:
        for two in names:
            yield from _exchanges(case, one, two)
    for name in names:
        value = case.arguments[name]
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            yield from _array(name, value.ndim)
        elif isinstance(value, np.ndarray):
            yield from _indices(name, value.ndim)
        elif isinstance(value, float):
            yield from _number(name)
        else:
            yield from _count(name)


def step_alterations(name: str, value: np.ndarray, others: dict[str, Any]) -> Iterator[Altered]:
    """Every change of an intermediate result that can be tried: as of an argument, and by what else is known at that point.

    Parameters
    ----------
    name : str
    value : array
        What it is on the first case.
    others : dict
        Arguments and earlier results, by name, on the first case.
    """
    yield from _array(name, value.ndim)
    for other, known in others.items():
        if not isinstance(known, float | np.ndarray) or np.asarray(known).dtype.kind != "f":
            continue
        if np.shape(known) == value.shape:
            yield Altered(f"{other} for {name}", f"{other} stands where {name} belongs", _by(name, other, lambda a, b: b))
        try:
            fitting = np.broadcast_shapes(np.shape(known), value.shape) == value.shape
        except ValueError:
            continue
        if fitting:
            yield Altered(f"{name} times {other}", f"{name} is multiplied by {other}", _by(name, other, np.multiply))
            yield Altered(f"{name} over {other}", f"{name} is divided by {other}", _by(name, other, np.divide))
            yield Altered(f"{name} plus {other}", f"{other} is added to {name}", _by(name, other, np.add))
            yield Altered(f"{name} minus {other}", f"{other} is subtracted from {name}", _by(name, other, np.subtract))


def _by(name: str, other: str, function: Any) -> Any:
    return lambda case: {name: function(case.arguments[name], case.arguments[other])}


def _some_of(size: str) -> Iterator[Altered]:
    """Changes of all arguments that have a length by this name on their first axis: one image of a batch, or all but one."""
    table = {
        f"only the first of {size}": (f"only the first of {size} counts", slice(0, 1)),
        f"only the last of {size}": (f"only the last of {size} counts", slice(-1, None)),
        f"first of {size} lost": (f"the first of {size} is left out", slice(1, None)),
        f"last of {size} lost": (f"the last of {size} is left out", slice(0, -1)),
    }
    for code, (text, part) in table.items():
        yield Altered(
            code,
            text,
            lambda case, part=part: {
                name: value[part]
                for name, value in case.arguments.items()
                if isinstance(value, np.ndarray) and value.ndim and len(value) == case.sizes[size]
            },
        )


def _exchanges(case: Case, one: str, two: str) -> Iterator[Altered]:
    a, b = case.arguments[one], case.arguments[two]
    if one == two or type(a) is not type(b) or np.shape(a) != np.shape(b) or np.asarray(a).dtype.kind != np.asarray(b).dtype.kind:
        return
    if one < two:
        text = f"{one} and {two} are swapped"
        yield Altered(f"{one} and {two} swapped", text, lambda c: {one: c.arguments[two], two: c.arguments[one]})
    yield Altered(f"{two} for {one}", f"{two} stands where {one} belongs", lambda c: {one: c.arguments[two]})


def _each(name: str, table: dict[str, tuple[str, Any]]) -> Iterator[Altered]:
    for code, (text, function) in table.items():
        yield Altered(
            code.replace("{}", name),
            text.replace("{}", name),
            lambda case, function=function: {name: function(case.arguments[name])},
        )


def _number(name: str) -> Iterator[Altered]:
    table = {
        "{} left out (0)": ("as if {} were 0: it is left out", lambda a: 0.0),
        "{} left out": ("as if {} were 1: it is left out", lambda a: 1.0),
        "{} squared": ("{} is squared where it should not be", lambda a: a * a),
        "root of {}": ("a root of {} is taken where {} itself belongs", lambda a: a**0.5),
        "1 - {}": ("1 - {} stands where {} belongs", lambda a: 1 - a),
        "1/{}": ("{} divides where it should multiply, or the other way round", lambda a: 1 / a),
        "-{}": ("{} has the wrong sign", lambda a: -a),
        "2 {}": ("{} is taken twice", lambda a: 2 * a),
        "½ {}": ("half of {} is taken where all belongs", lambda a: a / 2),
        "{} + 1": ("1 is added to {}", lambda a: a + 1),
        "{} infinite": ("{} is left out: as if it were without bound", lambda a: 1e300),
    }
    yield from _each(name, {code: (text, function) for code, (text, function) in table.items()})


def _count(name: str) -> Iterator[Altered]:
    table = {
        "{} left out": ("as if {} were 1: it is left out", lambda a: 1),
        "{} too large by 1": ("as if {} were larger by 1", lambda a: a + 1),
        "{} too small by 1": ("as if {} were smaller by 1", lambda a: a - 1),
        "2 {}": ("{} is taken twice", lambda a: 2 * a),
    }
    yield from _each(name, table)


def _indices(name: str, dimensions: int) -> Iterator[Altered]:
    table = {
        "{} too small by 1": ("{} is counted from 1", lambda a: a - 1),
        "{} too large by 1": ("{} is too large by 1", lambda a: a + 1),
        "{} left out": ("as if {} were 0 everywhere", lambda a: np.zeros_like(a)),
    }
    yield from _each(name, table)
    yield from _axes(name, dimensions)


def _array(name: str, dimensions: int) -> Iterator[Altered]:
    table = {
        "{} left out (0)": ("as if {} were 0: it is left out", np.zeros_like),
        "{} left out": ("as if {} were 1: it is left out", np.ones_like),
        "-{}": ("{} has the wrong sign", np.negative),
        "sign of {} only": ("only the sign of {} counts, where its size does too", np.sign),
        "absolute {}": ("an absolute value of {} is taken", np.abs),
        "{} squared": ("{} is squared where it should not be", np.square),
        "{} rectified": ("negative numbers of {} are set to 0", lambda a: np.maximum(a, 0)),
        "1 - {}": ("1 - {} stands where {} belongs", lambda a: 1 - a),
        "{} as 0 and 1": ("of {} only counts whether it is above 0", lambda a: (a > 0).astype(a.dtype)),
        "{} centred": ("the mean of {} is subtracted, which should stay", lambda a: a - a.mean()),
        "mean of {}": ("the mean of {} stands where each number of it belongs", lambda a: np.full_like(a, a.mean())),
        "2 {}": ("{} is taken twice", lambda a: 2 * a),
        "½ {}": ("half of {} is taken where all belongs", lambda a: a / 2),
        "{} clipped to [0, 1]": ("{} is clipped to [0, 1] first", lambda a: a.clip(0, 1)),
        "root of {}": ("a root of {} is taken where {} itself belongs", np.sqrt),
        "exponential of {}": ("an exponential of {} is taken where {} itself belongs", np.exp),
        "logarithm of {}": ("a logarithm of {} is taken where {} itself belongs", np.log),
        "sigmoid of {}": ("a sigmoid of {} is taken where {} itself belongs", lambda a: 1 / (1 + np.exp(-a))),
        "tanh of {}": ("tanh of {} is taken where {} itself belongs", np.tanh),
        "½ for {}": ("½ stands where {} belongs", lambda a: np.full_like(a, 0.5)),
        "1/{}": ("{} divides where it should multiply, or the other way round", np.reciprocal),
    }
    yield from _each(name, table)
    for axis in range(dimensions):
        where = f"over axis {axis}"
        more = {
            f"mean of {{}} {where}": (f"the mean of {{}} {where} stands where each number belongs", _spread(np.mean, axis)),
            f"sum of {{}} {where}": (f"the sum of {{}} {where} stands where each number belongs", _spread(np.sum, axis)),
            f"{{}} centred {where}": (
                f"the mean of {{}} {where} is subtracted, which should stay",
                lambda a, axis=axis: a - a.mean(axis=axis, keepdims=True),
            ),
            f"largest of {{}} {where}": (f"the largest of {{}} {where} stands where each belongs", _spread(np.max, axis)),
            f"{{}} over its norm {where}": (f"{{}} is divided by its norm {where}", _normed(axis)),
            f"first of {{}} {where}": (f"only the first of {{}} {where} is used", _taken(0, axis)),
            f"last of {{}} {where}": (f"only the last of {{}} {where} is used", _taken(-1, axis)),
        }
        yield from _each(name, more)
    yield from _axes(name, dimensions)


def _axes(name: str, dimensions: int) -> Iterator[Altered]:
    for axis in range(dimensions):
        table = {
            f"{{}} reversed over axis {axis}": (f"{{}} runs backwards along axis {axis}", lambda a, k=axis: np.flip(a, k).copy()),
            f"{{}} off by one over axis {axis}": (f"{{}} is off by one along axis {axis}", lambda a, k=axis: np.roll(a, 1, k)),
            f"{{}} off by one backwards over axis {axis}": (
                f"{{}} is off by one along axis {axis}",
                lambda a, k=axis: np.roll(a, -1, k),
            ),
            f"first of {{}} lost over axis {axis}": (f"{{}} lacks its first along axis {axis}", _cut(slice(1, None), axis)),
            f"last of {{}} lost over axis {axis}": (f"{{}} lacks its last along axis {axis}", _cut(slice(0, -1), axis)),
            f"only the first of {{}} over axis {axis}": (
                f"only the first of {{}} along axis {axis} is used",
                _cut(slice(0, 1), axis),
            ),
        }
        yield from _each(name, table)
    if dimensions > 1:
        yield from _each(name, {"{} transposed": ("{} is transposed", lambda a: np.ascontiguousarray(a.T))})
        for one in range(dimensions - 1):
            pair = {
                f"axes {one} and {one + 1} of {{}} swapped": (
                    f"axes {one} and {one + 1} of {{}} are swapped",
                    lambda a, k=one: np.ascontiguousarray(a.swapaxes(k, k + 1)),
                )
            }
            yield from _each(name, pair)


def _spread(function: Any, axis: int) -> Any:
    return lambda a: np.broadcast_to(function(a, axis=axis, keepdims=True), a.shape).copy()


def _cut(part: slice, axis: int) -> Any:
    return lambda a: np.ascontiguousarray(a[(slice(None),) * axis + (part,)])


def _taken(number: int, axis: int) -> Any:
    return lambda a: np.broadcast_to(np.take(a, [number], axis=axis), a.shape).copy()


def _normed(axis: int) -> Any:
    return lambda a: a / np.sqrt((a * a).sum(axis=axis, keepdims=True))
