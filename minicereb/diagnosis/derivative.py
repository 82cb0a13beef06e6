"""A derivative of your own, checked against differences of your own function, and what is wrong with it by name."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minicereb.diagnosis.calls import try_on
from minicereb.diagnosis.diagnose import diagnose
from minicereb.diagnosis.hints import Case, Diagnosis, Hint, Mistake, Task, fits
from minicereb.errors import InputError, require
from minicereb.gradcheck.differences import check_gradient, difference, kink_place
from minicereb.randomness import generator

LARGEST = 2000  # numbers in the argument that is differentiated by
CASES = 3
FAR = 100.0  # moves every unit above its threshold
TOLERANCE = 1e-6  # relative, of one element of a derivative by differences


def check_derivative(
    forward: Callable[..., Any], derivative: Callable[..., Any], *arguments: Any, by: int = 0, seed: int = 0
) -> Diagnosis:
    """Check a hand-written derivative, and name what is wrong with it.

    Parameters
    ----------
    forward : callable
        From the arguments to an array, or to one number.
    derivative : callable
        Of ``Σ d_output · forward(*arguments)`` by one argument. It is called as ``derivative(d_output, *arguments)``,
        `d_output` of the shape of what `forward` returns; if that is one number, as ``derivative(*arguments)``.
    *arguments : array or number
        Where. Two more places are tried as well, with the same floats in another order, or near them if `forward` refuses that.
    by : int
        Number of the argument that is differentiated by: an array of at most 2000 floats.
    seed : int
        Of `d_output`, the other places and the directions.

    Returns
    -------
    Diagnosis
        The hint ``kink`` says that `forward` is not smooth there, and where; ``undecided``, that its differences are too rough
        to judge by. A factor that is the length of an axis is named by the axis.

    Raises
    ------
    InputError
        If `forward` itself does not work, or depends on something else than its arguments.
    """
    require(0 <= by < len(arguments), "by", by, f"the number of an argument, from 0 to {len(arguments) - 1}")
    given = [_as_float64(value) for value in arguments]
    argument = given[by]
    if not isinstance(argument, np.ndarray) or argument.dtype != np.float64 or argument.size > LARGEST or argument.ndim == 0:
        raise InputError("by", by, f"the number of an argument that is an array of at most {LARGEST} floats")
    rng = generator(seed, "check-derivative")
    places = [given] + [_place(forward, given, rng) for _ in range(CASES - 1)]
    outputs = [_output(forward, place) for place in places]
    scalar = outputs[0].ndim == 0
    names = _names(forward, len(given))
    cases = []
    for place, output in zip(places, outputs, strict=True):
        credit = {} if scalar else {"d_output": rng.standard_normal(output.shape)}
        cases.append(Case({**credit, **dict(zip(names, place, strict=True))}, _sizes(output, place, names)))
    for case in cases:
        if hint := _kink(forward, case, names, by, seed) or _rough(forward, case, names, by, scalar):
            return Diagnosis(False, (hint,))
    task = Task(lambda *called: _by_differences(forward, called, by, scalar), _mistakes(forward, by, scalar, names), 0, TOLERANCE)
    return diagnose(derivative, task, cases)


def _as_float64(value: Any) -> Any:
    if isinstance(value, float):
        return value
    array = np.asarray(value)
    return array.astype(np.float64) if array.dtype.kind == "f" else value


def _other(value: Any, rng: np.random.Generator) -> Any:
    if isinstance(value, float):
        return value * float(0.6 + 0.8 * rng.random())
    return value * (0.6 + 0.8 * rng.random(value.shape)) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value


def _place(forward: Callable[..., Any], given: list[Any], rng: np.random.Generator) -> list[Any]:
    """Other arguments: floats a little changed, and in another order if the function takes that."""
    near = [_other(value, rng) for value in given]
    mixed = [rng.permuted(value) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value for value in near]
    answer = try_on(forward, Case(dict(enumerate(mixed)))).answer  # type: ignore[arg-type]
    return near if answer is None or not np.isfinite(answer).all() else mixed


def _names(forward: Callable[..., Any], count: int) -> list[str]:
    """The names of the parameters, or numbers where they have none."""
    try:
        names = [name for name, each in inspect.signature(forward).parameters.items() if each.kind is not each.VAR_POSITIONAL]
    except (TypeError, ValueError):
        names = []
    return (names + [f"argument {number}" for number in range(len(names), count)])[:count]


def _sizes(output: np.ndarray, place: list[Any], names: list[str]) -> dict[str, int]:
    """Every length that a mean could be over, by what it is the length of."""
    shapes = {"the output": output.shape}
    shapes |= {name: value.shape for name, value in zip(names, place, strict=True) if isinstance(value, np.ndarray)}
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        known = {f"the length of {name}'s axis {axis}": length for axis, length in enumerate(shape)}
        known |= {f"the size of {name}": math.prod(shape)}
        sizes |= {text: length for text, length in known.items() if length > 2 and length not in sizes.values()}
    return sizes


def _output(forward: Callable[..., Any], place: list[Any]) -> np.ndarray:
    trial = try_on(forward, Case(dict(enumerate(place))))  # type: ignore[arg-type]
    if trial.answer is None or trial.hints:
        raise InputError("forward", getattr(forward, "__name__", "a function"), f"a function that works: {trial.hints[0].text}")
    require(bool(np.isfinite(trial.answer).all()), "forward", "NaN or infinity", "finite numbers at the given arguments")
    return trial.answer


def _value(forward: Callable[..., Any], place: list[Any], credit: Any) -> float:
    with np.errstate(all="ignore"):  # a step may lead to where the function is not defined
        return float(np.sum(np.asarray(forward(*place), dtype=np.float64) * credit))


def _by_differences(forward: Callable[..., Any], called: tuple[Any, ...], by: int, scalar: bool) -> np.ndarray:
    """The derivative by differences, one number of the argument at a time."""
    return _differences(forward, called, by, scalar)[0]


def _differences(forward: Callable[..., Any], called: tuple[Any, ...], by: int, scalar: bool) -> np.ndarray:
    """The derivative, and how far each of its numbers may be off, as the two parts of one array."""
    credit, place = (1.0, list(called)) if scalar else (called[0], list(called[1:]))
    at = place[by]
    middle = np.asarray(forward(*place), dtype=np.float64)

    def moved(index: tuple[int, ...], by_so_much: float) -> float:
        place[by] = at.copy()
        place[by][index] += by_so_much
        try:
            return float(np.sum((np.asarray(forward(*place), dtype=np.float64) - middle) * credit))
        except (ValueError, ArithmeticError):  # not defined there
            return float("nan")

    slope, rounding = found = np.empty((2, *at.shape), dtype=np.float64)
    with np.errstate(all="ignore"):
        for index in np.ndindex(at.shape):
            there = difference(functools.partial(moved, index))
            slope[index], rounding[index] = there.slope, there.rounding
    return found


def _rough(forward: Callable[..., Any], case: Case, names: list[str], by: int, scalar: bool) -> Hint | None:
    """The hint that differences are too inaccurate here to check the derivative."""
    slope, rounding = _differences(forward, tuple(case.arguments.values()), by, scalar)
    scale = float(np.abs(slope).max(initial=0.0)) or 1.0
    if not slope.size or float(rounding.max()) <= TOLERANCE * scale:
        return None
    where = ", ".join(map(str, np.unravel_index(int(rounding.argmax()), rounding.shape)))
    return Hint(
        "undecided",
        f"differences of the function are too rough to check its derivative by {names[by]}[{where}]: it hardly changes, or too "
        "wildly; check at another place",
    )


def _mistakes(forward: Callable[..., Any], by: int, scalar: bool, names: list[str]) -> list[Mistake]:
    """What goes wrong in derivatives of any function: masks, and the input taken for the output or the other way round."""

    def given(called: tuple[Any, ...]) -> tuple[Any, list[Any]]:
        return (1.0, list(called)) if scalar else (called[0], list(called[1:]))

    def active(number: int) -> Callable[..., Any]:
        def moved(*called: Any) -> Any:
            credit, place = given(called)
            place[number] = place[number] + FAR
            return _by_differences(forward, tuple(place) if scalar else (credit, *place), by, scalar)

        return moved

    def inverted(number: int) -> Callable[..., Any]:
        return lambda *called: active(number)(*called) - _by_differences(forward, called, by, scalar)

    def at_the_output(credit: Any, *place: Any) -> Any:
        moved = [*place[:by], _like(forward(*place), place[by]), *place[by + 1 :]]
        return _by_differences(forward, (credit, *moved), by, scalar)

    def by_slope(slope: Callable[[Any], Any]) -> Callable[..., Any]:
        def of_the_input(credit: Any, *place: Any) -> Any:
            right = _by_differences(forward, (credit, *place), by, scalar)
            if not fits(credit * slope(_like(forward(*place), place[by])), right, TOLERANCE):
                raise ValueError("it has another slope")
            return credit * slope(place[by])

        return of_the_input

    missing = "a mask is missing: it is the derivative as if every unit were active"
    turned = "the mask is inverted: credit goes through the units that are not active"
    found = [Mistake("missing mask", missing, active(number)) for number in range(len(names))]
    found += [Mistake("mask inverted", turned, inverted(number)) for number in range(len(names))]
    if scalar:
        return found
    itself = "it is d_output itself: the slope of the function is missing"
    later = "it is the derivative at forward({0}) in place of {0}: the activation stands where the pre-activation belongs"
    earlier = "the formula is one of the output, put to {0}: the pre-activation stands where the activation belongs"
    function = "it is the function times d_output, not its derivative"
    name = names[by]
    return [
        Mistake("not multiplied", itself, lambda credit, *place: credit),
        Mistake("activation for pre-activation", later.format(name), at_the_output),
        Mistake("pre-activation for activation", earlier.format(name), by_slope(lambda h: h * (1 - h))),
        Mistake("pre-activation for activation", earlier.format(name), by_slope(lambda h: 1 - h * h)),
        Mistake("not differentiated", function, lambda credit, *place: credit * _like(forward(*place), place[by])),
        *found,
    ]


def _like(output: Any, x: np.ndarray) -> np.ndarray:
    """The output as an array; ValueError unless it has the shape of the input."""
    array = np.asarray(output, dtype=np.float64)
    if array.shape != x.shape:
        raise ValueError("the output is no input")
    return array


def _kink(forward: Callable[..., Any], case: Case, names: list[str], by: int, seed: int) -> Hint | None:
    """The hint that the function is not smooth here, with the place."""
    place = [case.arguments[name] for name in names]
    credit = case.arguments.get("d_output", 1.0)

    def along(x: np.ndarray) -> float:
        return _value(forward, [*place[:by], x, *place[by + 1 :]], credit)

    found = check_gradient(
        along, _by_differences(forward, (*case.arguments.values(),), by, "d_output" not in case.arguments), place[by], seed=seed
    )
    if not found.kinks:
        return None
    where = kink_place(along, place[by], seed)
    name = names[by]
    return Hint(
        "kink",
        f"the function has a kink or a jump{f' at {name}[{where}]' if where else ''}: it has no derivative there; move "
        "that number a little and check again",
    )
