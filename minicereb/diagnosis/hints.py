"""The data types of a diagnosis: tasks, cases and known mistakes on one side, hints on the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Hint(NamedTuple):
    """A description of one mistake: a name for tables, such as ``"factor 1/batch"``, and a sentence for the student."""

    code: str
    text: str


class Diagnosis(NamedTuple):
    """Whether an answer is right, and if not, hints about what is wrong, the most informative first.

    `example` describes the number that is farthest from its right value; it is empty if no number is wrong.
    """

    right: bool
    hints: tuple[Hint, ...] = ()
    example: str = ""


class Case(NamedTuple):
    """Arguments on which an answer is compared with the right one: arrays and numbers, in the order of the parameters.

    `sizes` maps names to lengths, such as ``"batch"`` to the batch size; a wrong answer may be off by a factor of each of them.
    `note` is the hint for an answer that is wrong in this case and right in all others.
    """

    arguments: Mapping[str, Any]
    sizes: Mapping[str, int] = {}
    note: str = ""

    def floats(self) -> list[str]:
        """Return the names of the arguments that are floats or arrays of floats."""
        return [
            name
            for name, value in self.arguments.items()
            if isinstance(value, float) or (isinstance(value, np.ndarray) and value.dtype.kind == "f")
        ]

    def but(self, /, **arguments: Any) -> Case:
        """Return a copy of the case with some arguments replaced."""
        return self._replace(arguments={**self.arguments, **arguments})


class Mistake(NamedTuple):
    """A known mistake: its name, a sentence, and the function that makes it.

    For a known wrong answer to a task, the function has the parameters of the right function. The parameters for other
    mistakes are documented where these mistakes are made.
    """

    code: str
    text: str
    function: Callable[..., Any]


class Task(NamedTuple):
    """The task of writing a function, with the right function (`truth`) and known mistakes.

    Attributes
    ----------
    parts : int
        Number of arrays that the function returns as a tuple; 0 for one array.
    tolerance : float
        Relative tolerance, which must be larger than the error of `truth` itself.
    steps : callable or None
        The right function again, step by step. The first parameter is a function ``at(name, value)``, which is called for every
        intermediate result; the computation continues with the value that it returns.
    """

    truth: Callable[..., Any]
    mistakes: Sequence[Mistake] = ()
    parts: int = 0
    tolerance: float = 1e-8
    steps: Callable[..., Any] | None = None

    def right(self, case: Case) -> np.ndarray:
        """Return the right answer in float64."""
        with np.errstate(all="ignore"):
            return np.asarray(self.truth(*case.arguments.values()), dtype=np.float64)


class Attempt(NamedTuple):
    """A function's answers to a task and the right answers; each list has one entry per case."""

    function: Any
    task: Task
    cases: Sequence[Case]
    answers: list[np.ndarray]
    truths: list[np.ndarray]

    def agrees(self, wanted: Iterable[Any], found: Iterable[Any] | None = None, tolerance: float | None = None) -> bool:
        """Return whether the answers (or `found`, if given) agree with `wanted` on every case; False if one of them is None."""
        pairs = zip(self.answers if found is None else found, wanted, strict=True)
        return all(a is not None and b is not None and fits(a, b, tolerance or self.task.tolerance) for a, b in pairs)

    @property
    def same_shapes(self) -> bool:
        """Whether every answer has the shape of the right one."""
        return all(answer.shape == truth.shape for answer, truth in zip(self.answers, self.truths, strict=True))


def fits(found: np.ndarray, wanted: np.ndarray, tolerance: float) -> bool:
    """Return whether two arrays have equal shapes and agree within a tolerance, relative to the largest number in `wanted`."""
    if found.shape != wanted.shape or not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        return False
    scale = float(np.abs(wanted).max(initial=0.0))
    return bool(np.abs(found - wanted).max(initial=0.0) <= tolerance * (scale or 1.0))


def farthest(found: np.ndarray, wanted: np.ndarray) -> str:
    """Describe the number in `found` that is farthest from `wanted`, with its indices; both have the same shape."""
    if not wanted.size:
        return ""
    place = np.unravel_index(int(np.argmax(np.nan_to_num(np.abs(found - wanted), nan=np.inf))), wanted.shape)
    where = f"at [{', '.join(str(int(index)) for index in place)}] " if place else ""
    return f"{where}it is {float(found[place]):.6g}, should be {float(wanted[place]):.6g}"
