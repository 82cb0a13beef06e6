"""Check a hand-written derivative against finite differences of its function, and name what is wrong with it."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minicereb.diagnosis.calls import try_on
from minicereb.diagnosis.diagnose import diagnose
from minicereb.diagnosis.hints import Case, Diagnosis, Hint, Mistake, Task, fits
from minicereb.errors import InputError, require
from minicereb.gradcheck.differences import check_gradient, difference, kink_place
from minicereb.randomness import generator

LARGEST = 2000  # largest size of the argument that is differentiated by
CASES = 3
FAR = 100.0  # an amount that moves every unit above its threshold
TOLERANCE = 1e-6  # relative tolerance of one element of a derivative computed by finite differences


def check_derivative(
    forward: Callable[..., Any], derivative: Callable[..., Any], *arguments: Any, by: int = 0, seed: int = 0
) -> Diagnosis:
    """Check a hand-written derivative, and name what is wrong with it.

    Parameters
    ----------
    forward : callable
        Maps the arguments to an array or to one number.
    derivative : callable
        Derivative of ``Σ d_output · forward(*arguments)`` with respect to one argument. The derivative is called as
        ``derivative(d_output, *arguments)``, with `d_output` of the shape of the output; if `forward` returns one number, it
        is called as ``derivative(*arguments)``.
    *arguments : array or number
        The point at which to check. Two more points are tried, with the floats slightly changed and, if `forward` accepts
        that, in another order.
    by : int
        Index of the argument to differentiate with respect to: an array of at most 2000 floats.
    seed : int
        Seed of `d_output`, of the other points, and of the directions in which kinks are sought.

    Returns
    -------
    Diagnosis
        The hint ``kink`` says that `forward` is not smooth at one of the points, and at which entry of the argument. The
        hint ``undecided`` says that the finite differences are too inaccurate to decide. If a wrong factor is the length of
        an axis, the hint names the axis.

    Raises
    ------
    InputError
        If `forward` itself does not work, or depends on anything other than its arguments.
    """
    require(0 <= by < len(arguments), "by", by, f"the number of an argument, from 0 to {len(arguments) - 1}")
    given = [_as_float64(value) for value in arguments]
    argument = given[by]
    if not isinstance(argument, np.ndarray) or argument.dtype != np.float64 or argument.size > LARGEST or argument.ndim == 0:
        raise InputError("by", by, f"the number of an argument that is an array of at most {LARGEST} floats")
    rng = generator(seed, "check-derivative")
    places = [given] + [_place(forward, given, rng) for _ in range(CASES - 1)]
    outputs = [_output(forward, place) for place in places]
    function = _Function(forward, _names(forward, len(given)), by, outputs[0].ndim == 0)
    cases = []
    for place, output in zip(places, outputs, strict=True):
        credit = {} if function.scalar else {"d_output": rng.standard_normal(output.shape)}
        named = dict(zip(function.names, place, strict=True))
        cases.append(Case({**credit, **named}, _sizes({"the output": output, **named})))
    for case in cases:
        if hint := _kink(function, case, seed) or _rough(function, case):
            return Diagnosis(False, (hint,))
    return diagnose(derivative, Task(function.derivative, _mistakes(function), 0, TOLERANCE), cases)


class _Function(NamedTuple):
    """A function with the names of its arguments; its derivative takes the same arguments as the student's derivative."""

    forward: Callable[..., Any]
    names: list[str]
    by: int
    scalar: bool

    def split(self, called: tuple[Any, ...]) -> tuple[Any, list[Any]]:
        """Split the arguments of a call of the derivative into d_output and the arguments of the function."""
        return (1.0, list(called)) if self.scalar else (called[0], list(called[1:]))

    def derivative(self, *called: Any) -> np.ndarray:
        """Return the derivative by finite differences, one entry of the argument at a time."""
        return self.differences(*called)[0]

    def differences(self, *called: Any) -> np.ndarray:
        """Return the derivative and the possible error of each of its entries, as the two parts of one array."""
        credit, place = self.split(called)
        at = place[self.by]
        middle = np.asarray(self.forward(*place), dtype=np.float64)

        def moved(index: tuple[int, ...], distance: float) -> float:
            place[self.by] = at.copy()
            place[self.by][index] += distance
            try:
                return float(np.sum((np.asarray(self.forward(*place), dtype=np.float64) - middle) * credit))
            except (ValueError, ArithmeticError):  # not defined there
                return float("nan")

        slope, rounding = found = np.empty((2, *at.shape), dtype=np.float64)
        with np.errstate(all="ignore"):
            for index in np.ndindex(at.shape):
                slope[index], rounding[index] = difference(functools.partial(moved, index))[:2]
        return found

    def output(self, place: list[Any]) -> np.ndarray:
        """Return the output as an array; raise ValueError unless it has the shape of the argument."""
        array = np.asarray(self.forward(*place), dtype=np.float64)
        if array.shape != place[self.by].shape:
            raise ValueError("the output does not have the shape of the argument")
        return array


def _is_floats(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _as_float64(value: Any) -> Any:
    if isinstance(value, float):
        return value
    array = np.asarray(value)
    return array.astype(np.float64) if _is_floats(array) else value


def _place(forward: Callable[..., Any], given: list[Any], rng: np.random.Generator) -> list[Any]:
    """Return arguments at another point: floats slightly changed, and in another order if the function accepts that."""

    def near(value: Any) -> Any:
        if isinstance(value, float):
            return value * float(0.6 + 0.8 * rng.random())
        return value * (0.6 + 0.8 * rng.random(value.shape)) if _is_floats(value) else value

    place = [near(value) for value in given]
    mixed = [rng.permuted(value) if _is_floats(value) else value for value in place]
    answer = _call(forward, mixed).answer
    return place if answer is None or not np.isfinite(answer).all() else mixed


def _call(forward: Callable[..., Any], place: list[Any]) -> Any:
    return try_on(forward, Case({str(number): value for number, value in enumerate(place)}))


def _output(forward: Callable[..., Any], place: list[Any]) -> np.ndarray:
    trial = _call(forward, place)
    if trial.answer is None or trial.hints:
        raise InputError("forward", getattr(forward, "__name__", "a function"), f"a function that works: {trial.hints[0].text}")
    require(bool(np.isfinite(trial.answer).all()), "forward", "NaN or infinity", "finite numbers at the given arguments")
    return trial.answer


def _names(forward: Callable[..., Any], count: int) -> list[str]:
    """Return the names of the parameters, or their positions if they have no names."""
    try:
        names = [name for name, each in inspect.signature(forward).parameters.items() if each.kind is not each.VAR_POSITIONAL]
    except (TypeError, ValueError):
        names = []
    return (names + [f"argument {number}" for number in range(len(names), count)])[:count]


def _sizes(arrays: dict[str, Any]) -> dict[str, int]:
    """Return every axis length that a mean could divide by, with its description as key."""
    sizes: dict[str, int] = {}
    for name, shape in {name: value.shape for name, value in arrays.items() if isinstance(value, np.ndarray)}.items():
        known = {f"the length of {name}'s axis {axis}": length for axis, length in enumerate(shape)}
        known |= {f"the size of {name}": math.prod(shape)}
        sizes |= {text: length for text, length in known.items() if length > 2 and length not in sizes.values()}
    return sizes


def _rough(function: _Function, case: Case) -> Hint | None:
    """Return a hint if finite differences are too inaccurate here to check the derivative, otherwise None."""
    slope, rounding = function.differences(*case.arguments.values())
    scale = float(np.abs(slope).max(initial=0.0)) or 1.0
    if not slope.size or float(rounding.max()) <= TOLERANCE * scale:
        return None
    where = ", ".join(map(str, np.unravel_index(int(rounding.argmax()), rounding.shape)))
    place = f"{function.names[function.by]}[{where}]"
    text = f"finite differences are too inaccurate to check the derivative with respect to {place}: the function "
    return Hint("undecided", text + "hardly changes, or changes too wildly; check at another place")


def _kink(function: _Function, case: Case, seed: int) -> Hint | None:
    """Return a hint that names the place if the function is not smooth here, otherwise None."""
    credit, place = function.split(tuple(case.arguments.values()))
    at, name = place[function.by], function.names[function.by]

    def along(x: np.ndarray) -> float:
        with np.errstate(all="ignore"):  # a step may leave the domain of the function
            moved = [*place[: function.by], x, *place[function.by + 1 :]]
            return float(np.sum(np.asarray(function.forward(*moved), dtype=np.float64) * credit))

    if not check_gradient(along, function.derivative(*case.arguments.values()), at, seed=seed).kinks:
        return None
    where = kink_place(along, at, seed)
    text = f"the function has a kink or a jump{f' at {name}[{where}]' if where else ''}: it has no derivative there; "
    return Hint("kink", text + "move that number a little and check again")


def _mistakes(function: _Function) -> list[Mistake]:
    """Return common mistakes in derivatives: wrong masks, and confusion of input and output."""

    def active(number: int, *called: Any) -> np.ndarray:
        place = list(called)
        place[number - len(function.names)] = place[number - len(function.names)] + FAR
        return function.derivative(*place)

    def inverted(number: int, *called: Any) -> np.ndarray:
        return active(number, *called) - function.derivative(*called)

    def at_the_output(credit: Any, *place: Any) -> np.ndarray:
        moved = list(place)
        moved[function.by] = function.output(moved)
        return function.derivative(credit, *moved)

    def by_slope(slope: Callable[[Any], Any], credit: Any, *place: Any) -> Any:
        if not fits(credit * slope(function.output(list(place))), function.derivative(credit, *place), TOLERANCE):
            raise ValueError("it has another slope")
        return credit * slope(place[function.by])

    missing = "a mask is missing: it is the derivative as if every unit were active"
    turned = "the mask is inverted: credit passes through the units that are not active"
    numbers = range(len(function.names))
    found = [Mistake("missing mask", missing, functools.partial(active, number)) for number in numbers]
    found += [Mistake("mask inverted", turned, functools.partial(inverted, number)) for number in numbers]
    if function.scalar:
        return found
    name = function.names[function.by]
    later = f"it is the derivative at forward({name}) instead of {name}: the activation is used instead of the pre-activation"
    earlier = f"the formula is for the output, but used on {name}: the pre-activation is used instead of the activation"
    return [
        Mistake("not multiplied", "it is d_output itself: the slope of the function is missing", lambda credit, *place: credit),
        Mistake("activation for pre-activation", later, at_the_output),
        Mistake("pre-activation for activation", earlier, functools.partial(by_slope, lambda h: h * (1 - h))),
        Mistake("pre-activation for activation", earlier, functools.partial(by_slope, lambda h: 1 - h * h)),
        Mistake(
            "not differentiated",
            "it is the function times d_output, not its derivative",
            lambda credit, *place: credit * function.output(list(place)),
        ),
        *found,
    ]
