"""Ways in which a right answer becomes a wrong one, whatever it is the answer to.

A change is applied to the right answer, where something was done too much, or to the wrong one, where something was left out:
an answer that is right once it is clipped lacks the clipping.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from minicereb.diagnosis.hints import Case


class Change(NamedTuple):
    """A named change of an array; `apply` returns None where it does not exist."""

    code: str
    text: str
    apply: Callable[[np.ndarray, Case], Any]


def _rowwise(a: np.ndarray, axis: int) -> np.ndarray:
    return a / np.maximum(np.sqrt((a * a).sum(axis=axis, keepdims=True)), 1e-300)


def _centred(a: np.ndarray, axis: int) -> np.ndarray:
    return a - a.mean(axis=axis, keepdims=True)


def _kept(function: Callable[..., Any], axis: int) -> Callable[[np.ndarray, Case], Any]:
    return lambda a, case: function(a, axis=axis, keepdims=True)


def _of(function: Callable[..., Any], *arguments: Any) -> Callable[[np.ndarray, Case], Any]:
    return lambda a, case: function(a, *arguments)


def too_much(dimensions: int) -> Iterator[Change]:
    """Changes of the right answer, an array with this many dimensions, by which something too much was done to it."""
    yield Change("zero", "it is 0 everywhere", _of(np.zeros_like))
    if dimensions > 1:
        yield Change("transposed", "it is transposed", _of(np.transpose))
        for one in range(dimensions):
            for two in range(one + 1, dimensions):
                swap = Change("axes swapped", f"its axes {one} and {two} are swapped", _of(np.swapaxes, one, two))
                yield swap
    yield Change("absolute value", "an absolute value was taken: signs are lost", _of(np.abs))
    yield Change("only the sign", "only the sign is left of it", _of(np.sign))
    yield Change("squared", "it was squared", _of(np.square))
    yield Change("square root", "a root was taken of it", lambda a, case: np.sqrt(a) if (a >= 0).all() else None)
    yield Change("logarithm", "a logarithm was taken of it", lambda a, case: np.log(a) if (a > 0).all() else None)
    yield Change("exponential", "it was put into an exponential", _of(np.exp))
    yield Change("clipped at 0", "negative numbers were set to 0: a rectification too much", _of(np.maximum, 0))
    yield Change("clipped to [0, 1]", "it was clipped to [0, 1], which is too much", _of(np.clip, 0, 1))
    yield Change("clipped to [-1, 1]", "it was clipped to [-1, 1], which is too much", _of(np.clip, -1, 1))
    yield Change("inverse", "it is the inverse, 1 over what it should be", lambda a, case: 1 / a if a.all() else None)
    yield Change("one minus it", "it is 1 minus what it should be", lambda a, case: 1 - a)
    yield Change("centred", "its mean was subtracted, which is too much", lambda a, case: a - a.mean())
    yield Change("summed over everything", "it was summed over all axes, which should have stayed", _of(np.sum))
    yield Change("averaged over everything", "it was averaged over all axes, which should have stayed", _of(np.mean))
    yield Change("flat", "it is flat: one axis instead of several", _of(np.ravel))
    for axis in range(dimensions):
        yield from _along(axis, dimensions)


def _along(axis: int, dimensions: int) -> Iterator[Change]:
    def spread(function: Callable[..., Any]) -> Callable[[np.ndarray, Case], Any]:
        return lambda a, case: np.broadcast_to(function(a, axis=axis, keepdims=True), a.shape)

    name = f"over axis {axis}"
    for verb, function in (("summed", np.sum), ("averaged", np.mean)):
        text = f"it was {verb} {name}, which should have stayed"
        yield Change(f"{verb} {name}", text, _of(function, axis))
        yield Change(f"{verb} {name}", text, _kept(function, axis))
        yield Change(f"{verb} {name}", text, spread(function))
    text = f"its mean {name} was subtracted, which is too much"
    yield Change(f"centred {name}", text, _of(_centred, axis))
    yield Change(f"divided by its norm {name}", f"it was divided by its norm {name}", _of(_rowwise, axis))
    text = f"it was divided by its largest number {name}"
    yield Change(text[3:], text, lambda a, case: a / np.maximum(np.abs(a).max(axis=axis, keepdims=True), 1e-300))
    yield Change(f"reversed {name}", f"its order along axis {axis} is reversed", _of(np.flip, axis))
    for shift in (1, -1):
        yield Change(f"off by one {name}", f"it is off by one place along axis {axis}", _of(np.roll, shift, axis))
    for part, cut in (("first", slice(1, None)), ("last", slice(0, -1))):
        index = (slice(None),) * axis + (cut,)
        yield Change(f"{part} lost {name}", f"the {part} number along axis {axis} is missing", _of(operator.getitem, index))
    text = f"it was summed up step by step {name}"
    yield Change(text[7:], text, _of(np.cumsum, axis))
    yield Change("an axis too many", f"it has an axis too many, of length 1, at place {axis}", _of(np.expand_dims, axis))


def too_little(dimensions: int, lossy: bool = True) -> Iterator[Change]:
    """Changes after which an answer, an array with this many dimensions, becomes right: what was left out.

    Parameters
    ----------
    dimensions : int
    lossy : bool
        Whether to include changes that lose information, as clipping does: after them an answer may be right by accident.
    """
    if lossy:
        yield from _forgetting()
    yield Change("not centred", "it would be right if its mean were subtracted", lambda a, case: a - a.mean())
    for axis in range(dimensions):
        name = f"over axis {axis}"
        text = f"it would be right if its mean {name} were subtracted: the centring is missing"
        yield Change(f"not centred {name}", text, _of(_centred, axis))
        yield Change(f"not normalised {name}", f"it would be right if it were divided by its norm {name}", _of(_rowwise, axis))
        for verb, function in (("summed", np.sum), ("averaged", np.mean)):
            text = f"axis {axis} is still there: it should be {verb} {name}"
            yield Change(f"not {verb} {name}", text, _of(function, axis))
        yield Change(
            "an axis too many",
            f"axis {axis}, of length 1, is too much",
            _of(np.squeeze, axis),
        )


def _forgetting() -> Iterator[Change]:
    yield Change("not clipped to [0, 1]", "it would be right after clipping to [0, 1]: the box is missing", _of(np.clip, 0, 1))
    yield Change(
        "not clipped at 0", "it would be right with negative numbers set to 0: the rectification is missing", _of(np.maximum, 0)
    )
    yield Change("no sign taken", "it would be right if only its sign were taken", _of(np.sign))
    yield Change("no absolute value", "it would be right after an absolute value", _of(np.abs))
    yield Change("no square", "it would be right if it were squared", _of(np.square))
    yield Change("no root", "it would be right after a square root", lambda a, case: np.sqrt(a) if (a >= 0).all() else None)
    yield Change("no exponential", "it would be right after an exponential: it is a logarithm", _of(np.exp))


def with_arguments(case: Case) -> Iterator[Change]:
    """Changes of the right answer by an argument of the case: added, subtracted, multiplied, divided."""
    for name, value in case.arguments.items():
        if _is_number(value):
            yield from _with(name, name, False)
            if np.ndim(value) == 2:
                yield from _with(name, f"{name}ᵀ", True)


def _with(name: str, what: str, turned: bool) -> Iterator[Change]:
    def get(case: Case) -> np.ndarray:
        array = np.asarray(case.arguments[name], dtype=np.float64)
        return array.T if turned else array

    def over(a: np.ndarray, case: Case) -> np.ndarray | None:
        return a / get(case) if np.all(get(case)) else None

    yield Change(f"{what} subtracted", f"it lacks {what}, or {what} was subtracted", lambda a, case: a - get(case))
    yield Change(f"{what} added", f"{what} was added, which is too much", lambda a, case: a + get(case))
    yield Change(f"{what} minus it", f"it is {what} minus what it should be", lambda a, case: get(case) - a)
    yield Change(f"times {what}", f"it was multiplied by {what}, which is too much", lambda a, case: a * get(case))
    yield Change(f"over {what}", f"a product with {what} is missing, or it was divided by it", over)
    yield Change(f"masked by {what}", f"it was set to 0 where {what} is not above 0", lambda a, case: a * (get(case) > 0))


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype.kind == "f")
