"""Optional parts of an evaluation: if one fails, the evaluation continues and reports why."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from minicereb.errors import InternalError, MinicerebError, one_line

Result = TypeVar("Result")
# The only errors of a user's model (see minicereb.attacks.classifier); any other error is a bug in this project.
REFUSALS = (MinicerebError, np.linalg.LinAlgError, ArithmeticError, MemoryError)


def attempt(make: Callable[[], Result]) -> tuple[Result | None, str]:
    """Return a function's result and an empty string or, if the function fails, None and a one-line reason.

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
