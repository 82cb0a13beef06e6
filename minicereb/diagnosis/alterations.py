"""Ways to turn a right answer into a wrong one, by changing the answer itself, an argument, or an intermediate result.

A change is applied to the right answer, to detect a superfluous operation, or to the student's answer, to detect a missing
one: if clipping makes an answer right, the clipping was missing. A change that is undefined for some array may raise an
exception or give NaN.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from minicereb.diagnosis.hints import Case, Mistake

Row = tuple[str, str, Any]  # code, text, change of an array; with {0} for its name and {1} for an axis


def _unit(a: np.ndarray, axis: int) -> np.ndarray:
    return a / np.maximum(np.sqrt((a * a).sum(axis=axis, keepdims=True)), 1e-300)


def _over_largest(a: np.ndarray, axis: int) -> np.ndarray:
    return a / np.maximum(np.abs(a).max(axis=axis, keepdims=True), 1e-300)


def _centred(a: np.ndarray, axis: int | None = None) -> np.ndarray:
    return a - a.mean(axis=axis, keepdims=True)


def _spread(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes a sum or mean over an axis and repeats it along that axis."""
    return lambda a, axis: np.broadcast_to(function(a, axis=axis, keepdims=True), a.shape).copy()


def _part(start: int | None, stop: int | None) -> Callable[..., Any]:
    return lambda a, axis: np.ascontiguousarray(a[(slice(None),) * axis + (slice(start, stop),)])


def _rolled(shift: int) -> Callable[..., Any]:
    return lambda a, axis: np.roll(a, shift, axis)


SUPERFLUOUS: tuple[Row, ...] = (
    ("zero", "it is 0 everywhere", np.zeros_like),
    ("transposed", "it is transposed", np.transpose),
    ("absolute value", "its absolute value was taken: the signs are lost", np.abs),
    ("only the sign", "only its sign is left", np.sign),
    ("squared", "it was squared", np.square),
    ("square root", "its square root was taken", np.sqrt),
    ("logarithm", "its logarithm was taken", np.log),
    ("exponential", "its exponential was taken", np.exp),
    ("clipped at 0", "negative numbers were set to 0, but should have stayed", lambda a: np.maximum(a, 0)),
    ("clipped to [0, 1]", "it was clipped to [0, 1], but should not have been", lambda a: np.clip(a, 0, 1)),
    ("clipped to [-1, 1]", "it was clipped to [-1, 1], but should not have been", lambda a: np.clip(a, -1, 1)),
    ("inverse", "it is the inverse: 1 divided by the right answer", np.reciprocal),
    ("one minus it", "it is 1 minus the right answer", lambda a: 1 - a),
    ("centred", "its mean was subtracted, but should not have been", _centred),
    ("summed over everything", "it was summed over all axes, which should have stayed", np.sum),
    ("averaged over everything", "it was averaged over all axes, which should have stayed", np.mean),
    ("flat", "it is flat: it has one axis instead of several", np.ravel),
)
SUPERFLUOUS_ALONG: tuple[Row, ...] = (
    *(
        (f"{verb} over axis {{1}}", f"it was {verb} over axis {{1}}, which should have stayed", change)
        for verb, function in (("summed", np.sum), ("averaged", np.mean))
        for change in (function, functools.partial(function, keepdims=True), _spread(function))
    ),
    ("centred over axis {1}", "its mean over axis {1} was subtracted, but should not have been", _centred),
    ("divided by its norm over axis {1}", "it was divided by its norm over axis {1}", _unit),
    ("was divided by its largest number over axis {1}", "it was divided by its largest number over axis {1}", _over_largest),
    ("reversed over axis {1}", "its order along axis {1} is reversed", np.flip),
    ("off by one over axis {1}", "it is off by one place along axis {1}", _rolled(1)),
    ("off by one over axis {1}", "it is off by one place along axis {1}", _rolled(-1)),
    ("first lost over axis {1}", "the first number along axis {1} is missing", _part(1, None)),
    ("last lost over axis {1}", "the last number along axis {1} is missing", _part(0, -1)),
    ("summed up step by step over axis {1}", "it is a running sum along axis {1}", np.cumsum),
    ("an axis too many", "it has a superfluous axis, of length 1, at place {1}", np.expand_dims),
)
FORGOTTEN: tuple[Row, ...] = (  # these lose information, so they may make an answer right by accident
    ("not clipped to [0, 1]", "it would be right if it were clipped to [0, 1]", lambda a: np.clip(a, 0, 1)),
    ("not clipped at 0", "it would be right if negative numbers were set to 0: the ReLU is missing", lambda a: np.maximum(a, 0)),
    ("no sign taken", "it would be right if only its sign were taken", np.sign),
    ("no absolute value", "it would be right if its absolute value were taken", np.abs),
    ("no square", "it would be right if it were squared", np.square),
    ("no root", "it would be right if its square root were taken", np.sqrt),
    ("no exponential", "it would be right if its exponential were taken: it is a logarithm", np.exp),
)
FORGOTTEN_ALONG: tuple[Row, ...] = (
    ("not centred over axis {1}", "it would be right if its mean over axis {1} were subtracted", _centred),
    ("not normalised over axis {1}", "it would be right if it were divided by its norm over axis {1}", _unit),
    ("not summed over axis {1}", "axis {1} is still there: it should be summed over axis {1}", np.sum),
    ("not averaged over axis {1}", "axis {1} is still there: it should be averaged over axis {1}", np.mean),
    ("an axis too many", "axis {1}, of length 1, is superfluous", np.squeeze),
)
WITH_ARGUMENT: tuple[Row, ...] = (  # of the answer and an argument
    ("{0} subtracted", "{0} was subtracted, or should be added", lambda a, b: a - b),
    ("{0} added", "{0} was added, but should not have been", lambda a, b: a + b),
    ("{0} minus it", "it is {0} minus the right answer", lambda a, b: b - a),
    ("times {0}", "it was multiplied by {0}, but should not have been", lambda a, b: a * b),
    ("over {0}", "it was divided by {0}, or should be multiplied by it", lambda a, b: a / b),
    ("masked by {0}", "it was set to 0 where {0} is not above 0", lambda a, b: a * (b > 0)),
)
NUMBERS: tuple[Row, ...] = (
    ("{0} left out (0)", "{0} is left out, as if it were 0", lambda a: 0.0),
    ("{0} left out", "{0} is left out, as if it were 1", lambda a: 1.0),
    ("{0} squared", "{0} is squared, but should not be", lambda a: a * a),
    ("root of {0}", "the square root of {0} is used instead of {0}", lambda a: a**0.5),
    ("1 - {0}", "1 - {0} is used instead of {0}", lambda a: 1 - a),
    ("1/{0}", "{0} divides where it should multiply, or the other way round", lambda a: 1 / a),
    ("-{0}", "{0} has the wrong sign", lambda a: -a),
    ("2 {0}", "{0} is counted twice", lambda a: 2 * a),
    ("½ {0}", "only half of {0} is used", lambda a: a / 2),
    ("{0} + 1", "1 is added to {0}", lambda a: a + 1),
    ("{0} infinite", "{0} is left out, as if it were infinite", lambda a: 1e300),
)
COUNTS: tuple[Row, ...] = (  # changes of a whole number, or of an array of whole numbers
    ("{0} left out", "{0} is left out, as if it were 1", lambda a: a * 0 + 1),
    ("{0} left out (0)", "{0} is left out, as if it were 0", lambda a: a * 0),
    ("{0} too large by 1", "{0} is too large by 1", lambda a: a + 1),
    ("{0} too small by 1", "{0} is too small by 1", lambda a: a - 1),
    ("2 {0}", "{0} is counted twice", lambda a: 2 * a),
)
ARRAYS: tuple[Row, ...] = (
    ("{0} left out (0)", "{0} is left out, as if it were 0", np.zeros_like),
    ("{0} left out", "{0} is left out, as if it were 1", np.ones_like),
    ("-{0}", "{0} has the wrong sign", np.negative),
    ("sign of {0} only", "only the sign of {0} is used; its size matters too", np.sign),
    ("absolute {0}", "the absolute value of {0} is used", np.abs),
    ("{0} squared", "{0} is squared, but should not be", np.square),
    ("{0} rectified", "negative numbers in {0} are set to 0", lambda a: np.maximum(a, 0)),
    ("1 - {0}", "1 - {0} is used instead of {0}", lambda a: 1 - a),
    ("{0} as 0 and 1", "{0} is reduced to whether it is above 0", lambda a: (a > 0).astype(a.dtype)),
    ("{0} centred", "the mean of {0} is subtracted, but should not be", _centred),
    ("mean of {0}", "the mean of {0} is used instead of each of its numbers", lambda a: np.full_like(a, a.mean())),
    ("2 {0}", "{0} is counted twice", lambda a: 2 * a),
    ("½ {0}", "only half of {0} is used", lambda a: a / 2),
    ("{0} clipped to [0, 1]", "{0} is clipped to [0, 1] first", lambda a: a.clip(0, 1)),
    ("root of {0}", "the square root of {0} is used instead of {0}", np.sqrt),
    ("exponential of {0}", "the exponential of {0} is used instead of {0}", np.exp),
    ("logarithm of {0}", "the logarithm of {0} is used instead of {0}", np.log),
    ("sigmoid of {0}", "the sigmoid of {0} is used instead of {0}", lambda a: 1 / (1 + np.exp(-a))),
    ("tanh of {0}", "tanh of {0} is used instead of {0}", np.tanh),
    ("½ for {0}", "½ is used instead of {0}", lambda a: np.full_like(a, 0.5)),
    ("1/{0}", "{0} divides where it should multiply, or the other way round", np.reciprocal),
)
ARRAYS_ALONG: tuple[Row, ...] = (
    ("mean of {0} over axis {1}", "the mean of {0} over axis {1} is used instead of each number", _spread(np.mean)),
    ("sum of {0} over axis {1}", "the sum of {0} over axis {1} is used instead of each number", _spread(np.sum)),
    ("{0} centred over axis {1}", "the mean of {0} over axis {1} is subtracted, but should not be", _centred),
    ("largest of {0} over axis {1}", "the largest of {0} over axis {1} is used instead of each number", _spread(np.max)),
    ("{0} over its norm over axis {1}", "{0} is divided by its norm over axis {1}", _unit),
    ("first of {0} over axis {1}", "only the first of {0} along axis {1} is used", lambda a, k: 0 * a + a.take([0], k)),
    ("last of {0} over axis {1}", "only the last of {0} along axis {1} is used", lambda a, k: 0 * a + a.take([-1], k)),
)
ORDER_ALONG: tuple[Row, ...] = (
    ("{0} reversed over axis {1}", "{0} is in reverse order along axis {1}", lambda a, k: np.flip(a, k).copy()),
    ("{0} off by one over axis {1}", "{0} is off by one along axis {1}", _rolled(1)),
    ("{0} off by one backwards over axis {1}", "{0} is off by one along axis {1}", _rolled(-1)),
    ("first of {0} lost over axis {1}", "the first of {0} along axis {1} is missing", _part(1, None)),
    ("last of {0} lost over axis {1}", "the last of {0} along axis {1} is missing", _part(0, -1)),
    ("only the first of {0} over axis {1}", "only the first of {0} along axis {1} is used", _part(0, 1)),
)
PAIRS: tuple[Row, ...] = (  # changes of an intermediate result by another value known at that point
    ("{0} times {1}", "{0} is multiplied by {1}", np.multiply),
    ("{0} over {1}", "{0} is divided by {1}", np.divide),
    ("{0} plus {1}", "{1} is added to {0}", np.add),
    ("{0} minus {1}", "{1} is subtracted from {0}", np.subtract),
)
PARTS = (  # parts of a batch, or of anything else that has a named length
    ("only the first of {}", "only the first of {} is used", slice(0, 1)),
    ("only the last of {}", "only the last of {} is used", slice(-1, None)),
    ("first of {} lost", "the first of {} is left out", slice(1, None)),
    ("last of {} lost", "the last of {} is left out", slice(0, -1)),
)


def _mistakes(rows: Iterable[Row], names: tuple[Any, ...], make: Callable[..., Any]) -> Iterator[Mistake]:
    """Turn rows of a table into mistakes; `make` takes a row's change first, then the arguments of the mistake's function."""
    for code, text, change in rows:
        yield Mistake(code.format(*names), text.format(*names), functools.partial(make, change))


def _answers(rows: Iterable[Row], *axis: int) -> Iterator[Mistake]:
    return _mistakes(rows, ("", *axis), lambda change, a, case: change(a, *axis))


def too_much(dimensions: int) -> Iterator[Mistake]:
    """Yield operations that a student may have applied needlessly to an answer with this many axes.

    Each operation is a function of the answer and its case.
    """
    yield from _answers(SUPERFLUOUS)
    for one, two in itertools.combinations(range(dimensions), 2):
        text = f"its axes {one} and {two} are swapped"
        yield Mistake("axes swapped", text, lambda a, case, one=one, two=two: np.swapaxes(a, one, two))
    for axis in range(dimensions):
        yield from _answers(SUPERFLUOUS_ALONG, axis)


def too_little(dimensions: int, lossy: bool = True) -> Iterator[Mistake]:
    """Yield operations that a student may have left out of an answer with this many axes.

    Operations that lose information are included only if `lossy` is true.
    """
    if lossy:
        yield from _answers(FORGOTTEN)
    yield Mistake("not centred", "it would be right if its mean were subtracted", lambda a, case: _centred(a))
    for axis in range(dimensions):
        yield from _answers(FORGOTTEN_ALONG, axis)


def with_arguments(case: Case) -> Iterator[Mistake]:
    """Yield changes that combine an answer with an argument or its transpose, for example by adding or multiplying."""
    for name in case.floats():
        both = ((name, np.asarray), (f"{name}ᵀ", np.transpose))
        for what, get in both if np.ndim(case.arguments[name]) == 2 else both[:1]:
            yield from _mistakes(WITH_ARGUMENT, (what,), lambda f, a, case, get=get, name=name: f(a, get(case.arguments[name])))


def _arguments(rows: Iterable[Row], name: str, *axis: int) -> Iterator[Mistake]:
    return _mistakes(rows, (name, *axis), lambda change, case: {name: change(case.arguments[name], *axis)})


def argument_changes(case: Case) -> Iterator[Mistake]:
    """Yield every change of arguments that can be tried on cases like this one, the likelier ones first.

    Each change is a function that maps a case to the arguments that it changes.
    """
    for size in case.sizes:
        yield from _some_of(size)
    names = [name for name, value in case.arguments.items() if isinstance(value, np.ndarray | float | int)]
    for one in names:
        for two in names:
            yield from _exchanges(case, one, two)
    for name in names:
        value = case.arguments[name]
        if not isinstance(value, np.ndarray):
            yield from _arguments(NUMBERS if isinstance(value, float) else COUNTS, name)
        elif value.dtype.kind == "f":
            yield from _array_changes(name, value.ndim)
        else:
            yield from _arguments(COUNTS, name)
            yield from _order_changes(name, value.ndim)


def step_changes(name: str, value: np.ndarray, others: dict[str, Any]) -> Iterator[Mistake]:
    """Yield the changes of an intermediate result.

    Some of the changes alter only its value. Others use one of `others`, the results known at that point: they replace the result
    by it, or combine the two.
    """
    yield from _array_changes(name, value.ndim)
    for other in Case(others).floats():
        known = np.asarray(others[other])
        if known.shape == value.shape:
            text = f"{other} is used instead of {name}"
            yield Mistake(f"{other} for {name}", text, lambda case, other=other: {name: case.arguments[other]})
        if known.ndim <= value.ndim and all(a in (1, b) for a, b in zip(known.shape[::-1], value.shape[::-1], strict=False)):
            both = (name, other)
            yield from _mistakes(PAIRS, both, lambda f, case, both=both: {name: f(*(case.arguments[each] for each in both))})


def _some_of(size: str) -> Iterator[Mistake]:
    """Yield changes that keep only some rows of each argument whose first axis has the length named `size`."""

    def cut(part: slice, case: Case) -> dict[str, Any]:
        arrays = {name: value for name, value in case.arguments.items() if np.ndim(value)}
        return {name: value[part] for name, value in arrays.items() if len(value) == case.sizes[size]}

    return _mistakes(PARTS, (size,), cut)


def _exchanges(case: Case, one: str, two: str) -> Iterator[Mistake]:
    a, b = case.arguments[one], case.arguments[two]
    if one == two or type(a) is not type(b) or np.shape(a) != np.shape(b) or np.asarray(a).dtype.kind != np.asarray(b).dtype.kind:
        return
    if one < two:
        text = f"{one} and {two} are swapped"
        yield Mistake(f"{one} and {two} swapped", text, lambda c: {one: c.arguments[two], two: c.arguments[one]})
    yield Mistake(f"{two} for {one}", f"{two} is used instead of {one}", lambda c: {one: c.arguments[two]})


def _array_changes(name: str, dimensions: int) -> Iterator[Mistake]:
    yield from _arguments(ARRAYS, name)
    for axis in range(dimensions):
        yield from _arguments(ARRAYS_ALONG, name, axis)
    yield from _order_changes(name, dimensions)


def _order_changes(name: str, dimensions: int) -> Iterator[Mistake]:
    for axis in range(dimensions):
        yield from _arguments(ORDER_ALONG, name, axis)
    if dimensions > 1:
        yield from _arguments([("{0} transposed", "{0} is transposed", lambda a: np.ascontiguousarray(a.T))], name)
    for axis in range(dimensions - 1):
        code, text = f"axes {axis} and {axis + 1} of {{0}} swapped", f"axes {axis} and {axis + 1} of {{0}} are swapped"
        yield from _arguments([(code, text, lambda a, k=axis: np.ascontiguousarray(a.swapaxes(k, k + 1)))], name)
