"""Optional parts of an evaluation: where one fails, the evaluation goes on and reports why."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from minicereb.errors import InternalError, MinicerebError, one_line

Result = TypeVar("Result")
# A user's model raises nothing else, see minicereb.attacks.classifier; anything else is a mistake of this project's.
REFUSALS = (MinicerebError, np.linalg.LinAlgError, ArithmeticError, MemoryError)


def attempt(make: Callable[[], Result]) -> tuple[Result | None, str]:
    """Call a function that an evaluation can do without: learn a substitute, check a line of the checklist, draw a figure.

    Returns
    -------
    result : object or None
        What it returned; None if it failed.
    why : str
        Why it failed, as one line; empty if it did not.

    Raises
    ------
    InternalError
        If it found a contradiction: that always stops the evaluation.
    """
    try:
        return make(), ""
    except InternalError:
        raise
    except MinicerebError as error:
        return None, " ".join(str(error).split())
    except REFUSALS as error:
        return None, one_line(error)
