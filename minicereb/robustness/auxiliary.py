"""What an evaluation makes only to check itself: where that cannot be had, the evaluation goes on and says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from minicereb.errors import InternalError, MinicerebError, told

Result = TypeVar("Result")
# A user's model raises nothing else, see minicereb.attacks.classifier; anything else is a mistake of this project's.
REFUSALS = (MinicerebError, np.linalg.LinAlgError, ArithmeticError, MemoryError)


def attempt(make: Callable[[], Result]) -> tuple[Result | None, str]:
    """Call a function that an evaluation can do without.

    Parameters
    ----------
    make : callable
        Without arguments: learns a substitute, goes through a line of the checklist, draws a figure.

    Returns
    -------
    result : object or None
        What it returned; None if it could not be had.
    why : str
        Why not, as one line; empty if it could.

    Raises
    ------
    InternalError
        If it found a contradiction: that is never passed over.
    """
    try:
        return make(), ""
    except InternalError:
        raise
    except MinicerebError as error:
        return None, " ".join(str(error).split())
    except REFUSALS as error:
        return None, told(error)
