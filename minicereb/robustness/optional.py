"""Optional parts of an evaluation: if one fails, the evaluation continues and reports why."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from minicereb.errors import InternalError, MinicerebError, one_line

Result = TypeVar("Result")
# A user's model raises nothing else, see minicereb.attacks.classifier; anything else is a mistake of this project's.
REFUSALS = (MinicerebError, np.linalg.LinAlgError, ArithmeticError, MemoryError)


def attempt(make: Callable[[], Result]) -> tuple[Result | None, str]:
    """Return a function's result and ""; if it fails, None and the reason, as one line.

    An :class:`InternalError` is a contradiction in the evaluation, and is always raised.
    """
    try:
        return make(), ""
    except InternalError:
        raise
    except MinicerebError as error:
        return None, " ".join(str(error).split())
    except REFUSALS as error:
        return None, one_line(error)
