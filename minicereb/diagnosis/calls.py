"""Call an untrusted function: return its answer, or formal errors such as exceptions and wrong types."""

from __future__ import annotations

import traceback
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minicereb.diagnosis.hints import Case, Hint

LONGEST = 300  # largest number of quoted characters of an error message
SHAPES = ("shape", "broadcast", "matmul", "dimension", "aligned", "axis", "axes", "index")


class CallResult(NamedTuple):
    """The result of a call.

    The answer is in float64, with several arrays stacked into one, or None if the answer is unusable. `dtype` is the dtype of the
    returned array; `hints` name mistakes that can be seen without knowing the right answer.
    """

    answer: np.ndarray | None
    dtype: Any = None
    hints: tuple[Hint, ...] = ()


class Elsewhere(ABC):
    """A function that is called elsewhere, for example in another process."""

    @abstractmethod
    def try_on(self, case: Case, parts: int) -> CallResult:
        """Call the function on a case, as :func:`try_on` does."""


Function = Callable[..., Any] | Elsewhere


def try_on(function: Function, case: Case, parts: int = 0) -> CallResult:
    """Call a function on copies of a case's arguments.

    The function should return a tuple of `parts` arrays, or one array if `parts` is 0.
    """
    if isinstance(function, Elsewhere):
        return function.try_on(case, parts)
    given = {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in case.arguments.items()}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            answer = function(*given.values())
        except NotImplementedError:
            return CallResult(None, None, (Hint("not started", "it still raises NotImplementedError: nothing to check yet"),))
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # any exception of a student's code becomes a hint, even SystemExit
            return CallResult(None, None, (_crash(error, case),))
    changed = [name for name, value in case.arguments.items() if isinstance(value, np.ndarray) and not _equal(value, given[name])]
    hints = tuple(Hint(f"changes {name}", f"it changes its argument {name} in place; work on a copy") for name in changed)
    array, wrong = _read(answer, parts)
    if array is None:
        return CallResult(None, None, (*wrong, *hints))
    return CallResult(array.astype(np.float64), array.dtype, (*wrong, *hints))


def _equal(one: np.ndarray, other: Any) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _crash(error: BaseException, case: Case) -> Hint:
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename and frame.filename != __file__]
    line = f" in line {own[-1].lineno}" if own else ""
    message = " ".join(str(error).split())[:LONGEST]
    text = f"it raises {type(error).__name__}{line}{f': {message}' if message else ''}"
    if isinstance(error, SystemExit):
        return Hint("exits", f"it ends the program{line}; return the answer instead")
    if isinstance(error, RecursionError):
        return Hint("crash", f"it calls itself without end{line}")
    if isinstance(error, TypeError) and not own:
        return Hint("wrong parameters", f"it cannot be called with {', '.join(case.arguments)}: {message}")
    if isinstance(error, ValueError | IndexError) and any(word in message.lower() for word in SHAPES):
        shapes = ", ".join(f"{name} {value.shape}" for name, value in case.arguments.items() if isinstance(value, np.ndarray))
        text += f"; the shapes are {shapes}: is something transposed, or an axis missing?"
    if isinstance(error, ValueError) and "read-only" in message:
        text += "; it writes into an array that it must not change"
    return Hint("crash", text)


def _read(answer: Any, parts: int) -> tuple[np.ndarray | None, tuple[Hint, ...]]:
    """Return the answer as an array, and what is wrong with its type."""
    if answer is None:
        return None, (Hint("returns None", "it returns None: is there a return at the end?"),)
    several = isinstance(answer, tuple | list) or (isinstance(answer, np.ndarray) and answer.ndim > 0)
    if parts and not (several and len(answer) == parts):
        return None, (Hint("wrong type", f"it should return {parts} arrays as a tuple; it returns {_kind(answer)}"),)
    if parts and any(each is None for each in answer):
        return None, (Hint("returns None", "one of the arrays that it returns is None"),)
    if parts and len({np.shape(each) for each in answer}) > 1:
        shapes = ", ".join(str(np.shape(each)) for each in answer)
        return None, (Hint("wrong shape", f"the arrays have shapes {shapes}; they should be the same"),)
    if not parts and (isinstance(answer, tuple) or callable(answer)):
        return None, (Hint("wrong type", f"it should return one array; it returns {_kind(answer)}"),)
    try:
        array = np.asarray(answer)
    except ValueError:
        return None, (Hint("wrong type", "it returns rows of unequal length, not an array"),)
    if array.dtype.kind == "c":
        return None, (Hint("wrong dtype", f"it returns {array.dtype} numbers, not real ones"),)
    if array.dtype.kind not in "fiub":
        return None, (Hint("wrong type", f"it should return an array of numbers; it returns {_kind(answer)}"),)
    is_list = isinstance(answer, list) and not parts
    return array, (Hint("wrong type", "it returns a list; make it an array"),) if is_list else ()


def _kind(answer: Any) -> str:
    if isinstance(answer, tuple | list):
        return f"a {type(answer).__name__} of {len(answer)}"
    if isinstance(answer, np.ndarray):
        return f"an array of {answer.dtype}, shape {answer.shape}"
    return f"a {type(answer).__name__}"
