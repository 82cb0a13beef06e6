"""Loops that Numba compiles, where it is installed: one pass over memory for what takes NumPy one an operation.

What is compiled computes what the NumPy code beside it computes, bit for bit (the tests say so): whether Numba is there is a
property of the execution, never of the result. ``NUMBA_DISABLE_JIT=1`` does without.
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
    """Say in one line why Numba cannot be used here, or None if it can."""
    try:
        from numba import config
    except Exception as error:  # one that does not go with this NumPy says so by errors of several kinds
        reason = str(error).partition("\n")[0]
        return f"Numba is not installed or cannot be loaded ({reason}); {install_command('numba')}"
    return "Numba is switched off by NUMBA_DISABLE_JIT" if config.DISABLE_JIT else None


def numba_version() -> str | None:
    """Version of the Numba that compiles, or None."""
    return importlib.metadata.version("numba") if numba_problem() is None else None


def compiled(loop: Loop, *arrays: Array) -> Loop | None:
    """Return `loop` in machine code, or None where NumPy's own operations are to be used.

    Parameters
    ----------
    loop : callable
        A function of arrays, and of numbers of their dtype, that writes into them number by number. It may run beside others:
        compiled it lets Python's lock go.
    *arrays
        What it is to be called with: NumPy arrays, contiguous, one of at least 32,768 numbers. With others the answer is None.
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
