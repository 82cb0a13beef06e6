"""The terms of a diagnosis: tasks, cases and known mistakes on one side, hints on the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Hint(NamedTuple):
    """One thing that is wrong.

    Attributes
    ----------
    code : str
        Its name in a few words, for tables: ``"sign"``, ``"factor 1/batch"``, ``"not clipped"``.
    text : str
        The same as a sentence to the person who wrote it.
    """

    code: str
    text: str


class Diagnosis(NamedTuple):
    """Whether an answer is right, and if not, what is wrong with it.

    Attributes
    ----------
    right : bool
    hints : tuple of Hint
        What is wrong, the most telling first; empty if nothing is.
    example : str
        The number that is farthest from what it should be, with its place; empty if nothing is wrong with numbers.
    """

    right: bool
    hints: tuple[Hint, ...] = ()
    example: str = ""


class Case(NamedTuple):
    """Arguments on which an answer is compared with the right one.

    Attributes
    ----------
    arguments : dict
        By name, in the order of the parameters: arrays and numbers.
    sizes : dict of str to int
        Lengths that have a name, such as the batch size: a factor may be one of them.
    note : str
        What is special about this case: the hint for an answer that is wrong here and right elsewhere.
    """

    arguments: Mapping[str, Any]
    sizes: Mapping[str, int] = {}
    note: str = ""


class Mistake(NamedTuple):
    """A known wrong answer: a name, a sentence, and the function that makes it, with the parameters of the right one."""

    code: str
    text: str
    function: Callable[..., Any]


class Task(NamedTuple):
    """What a function is asked to compute.

    Attributes
    ----------
    truth : callable
        The right function.
    mistakes : sequence of Mistake
        Known wrong ones.
    parts : int
        How many arrays it returns, as a tuple; 0 for one array.
    tolerance : float
        Relative; above the error of `truth` itself.
    steps : callable or None
        The right function again, step by step: its first parameter is a function ``at(name, value)`` that it calls for every
        intermediate result, and goes on with what that returns.
    """

    truth: Callable[..., Any]
    mistakes: Sequence[Mistake] = ()
    parts: int = 0
    tolerance: float = 1e-8
    steps: Callable[..., Any] | None = None

    def right(self, case: Case) -> np.ndarray:
        """Return the right answer, in float64."""
        with np.errstate(all="ignore"):
            return np.asarray(self.truth(*case.arguments.values()), dtype=np.float64)


def fits(found: np.ndarray, wanted: np.ndarray, tolerance: float) -> bool:
    """Whether two arrays have the same shape and agree, relative to the largest number of `wanted`."""
    if found.shape != wanted.shape or not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        return False
    scale = float(np.abs(wanted).max(initial=0.0))
    return bool(np.abs(found - wanted).max(initial=0.0) <= tolerance * (scale or 1.0))


def farthest(found: np.ndarray, wanted: np.ndarray) -> str:
    """Return in words the number of `found` that is farthest from `wanted`, with its place; both have the same shape."""
    if not wanted.size:
        return ""
    place = np.unravel_index(int(np.argmax(np.nan_to_num(np.abs(found - wanted), nan=np.inf))), wanted.shape)
    where = f"at [{', '.join(str(int(index)) for index in place)}] " if place else ""
    return f"{where}it is {float(found[place]):.6g}, should be {float(wanted[place]):.6g}"
