"""Loops compiled by Numba, if installed: one pass over memory where NumPy needs one per operation.

Compiled loops give the same bits as the NumPy code beside them (the tests compare them). Only that of Square
(:mod:`minicereb.attacks.square_loop`) differs by rounding. ``NUMBA_DISABLE_JIT=1`` switches Numba off.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable

import numpy as np

from minicereb.backend import Array
from minicereb.errors import install_command

LEAST = 1 << 15  # numbers: with fewer NumPy is as good, and Numba, which takes a second to load and compile, need not be loaded

Loop = Callable[..., None]


@functools.cache
def numba_problem() -> str | None:
    """Return a one-line reason why Numba cannot be used here, or None if it can."""
    try:
        from numba import config
    except Exception as error:  # one that does not go with this NumPy says so by errors of several kinds
        reason = str(error).partition("\n")[0]
        return f"Numba is not installed or cannot be loaded ({reason}); {install_command('numba')}"
    return "Numba is switched off by NUMBA_DISABLE_JIT" if config.DISABLE_JIT else None


def numba_version() -> str | None:
    """Return the version of Numba in use, or None."""
    return importlib.metadata.version("numba") if numba_problem() is None else None


def compiled(loop: Loop, *arrays: Array) -> Loop | None:
    """Return `loop` compiled to machine code, or None if NumPy's operations should be used.

    Parameters
    ----------
    loop : callable
        Takes arrays, and numbers of their dtype, and writes into the arrays. Compiled, it releases Python's lock.
    *arrays
        Its arguments. Only contiguous NumPy arrays, one of at least 32,768 numbers, are worth compiling for.
    """
    if not all(isinstance(array, np.ndarray) and array.flags.c_contiguous for array in arrays):
        return None
    if max(array.size for array in arrays) < LEAST:
        return None
    return None if numba_problem() is not None else _machine_code(loop)


@functools.cache
def _machine_code(loop: Loop) -> Loop:
    from numba import config, njit

    config.SLP_VECTORIZE = 1  # what is done to four neighbours becomes one instruction
    return njit(nogil=True, error_model="numpy")(loop)  # without fastmath: no product is joined with a sum, no order changed
