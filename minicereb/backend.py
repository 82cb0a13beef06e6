"""Where arrays are stored: on the CPU or on a GPU. No other module distinguishes NumPy from CuPy.

A function that computes begins with ``xp = xp_of(x)`` and runs wherever ``x`` lives. Memory budget, threads and device affect
the execution, never the result; they are set once, by :func:`configure`. The module :mod:`minicereb.parallel` spreads work
over blocks and threads.
"""

from __future__ import annotations

import functools
import os
import re
from dataclasses import dataclass, fields, is_dataclass, replace
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from scipy import special
from scipy.sparse import csr_array

from minicereb.errors import DeviceError, InputError, install_command, require

try:  # the routine that csr_array uses; unlike the operator @ it writes into a given array. SciPy does not document it
    from scipy.sparse._sparsetools import csc_matvecs, csr_matvecs
except ImportError:
    csc_matvecs = csr_matvecs = None

Array: TypeAlias = Any  # of NumPy or CuPy, which share no type that a type checker could know

# The library that owns each type of array; CuPy is added at its first use, and the tests add a strict substitute.
_LIBRARIES: dict[type, ModuleType] = {np.ndarray: np}


@dataclass(frozen=True)
class Execution:
    """The settings with which work is executed; they are never part of an experiment's identity.

    `memory` is the budget in bytes for a block's arrays.
    """

    device: str = "cpu"
    threads: int = 1
    memory: int = 512 << 20


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_execution = Execution(threads=available_cores())


def execution() -> Execution:
    """Return the current execution settings."""
    return _execution


def configure(device: str | None = None, threads: int | None = None, memory: int | str | None = None) -> Execution:
    """Change how work is executed from now on; None leaves a setting unchanged.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}, optional
        ``"auto"`` takes the GPU if CuPy can use one; ``"cuda"`` raises :class:`DeviceError` if CuPy cannot use one.
    threads : int, optional
        Worker threads on the CPU, at least 1.
    memory : int or str, optional
        Bytes, or text such as ``"512MB"`` or ``"2GiB"``.
    """
    global _execution
    changed = _execution
    if device is not None:
        changed = replace(changed, device=resolve_device(device))
    if threads is not None:
        require(threads >= 1, "threads", threads, "a whole number of at least 1")
        changed = replace(changed, threads=threads)
    if memory is not None:
        changed = replace(changed, memory=parse_memory(memory))
    _execution = changed
    return _execution


def parse_memory(memory: int | str) -> int:
    """Return a number of bytes from a number or from text such as ``"512MB"``, ``"2GiB"``."""
    expected = "a size of at least 16MB, for example 512MB or 2GiB"
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]i?)?B?", str(memory).strip(), re.IGNORECASE)
    if match is None:
        raise InputError("memory", memory, expected)
    number, unit = match.groups()
    base = 1024 if (unit or "").lower().endswith("i") else 1000
    size = int(float(number) * base ** " KMGT".index((unit or " ")[0].upper()))
    require(size >= 16_000_000, "memory", memory, expected)
    return size


@functools.cache
def cupy_problem() -> str | None:
    """Return a one-line reason why CuPy cannot be used here, or None if it can."""
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount() == 0:
            return "CuPy is installed but finds no CUDA device"
        cupy.ones(1, dtype=cupy.float32).sum().get()
    except ImportError as error:
        commands = " or ".join(f"for CUDA {version}: {install_command(f'cupy-cuda{version}x')}" for version in (12, 13))
        return f"CuPy is not installed or cannot be loaded ({error}); {commands}"
    except Exception as error:  # CuPy passes on any error of the driver
        return f"CuPy is installed but unusable: {str(error).splitlines()[0]}"
    _LIBRARIES[cupy.ndarray] = cupy
    return None


def device_properties() -> dict[str, Any] | None:
    """Return name, compute capability, CUDA runtime and memory of the GPU, or None if CuPy cannot use one."""
    if cupy_problem() is not None:
        return None
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(0)
    free, total = cupy.cuda.runtime.memGetInfo()
    return {
        "name": properties["name"].decode(),
        "compute_capability": f"{properties['major']}.{properties['minor']}",
        "cuda_runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "memory": total,
        "memory_free": free,
    }


def wait_for_device() -> None:
    """Wait until the configured device has finished its work."""
    if _execution.device == "cuda":
        import cupy

        cupy.cuda.get_current_stream().synchronize()


def resolve_device(device: str) -> str:
    """Return ``"cpu"`` or ``"cuda"`` for a device setting; raise :class:`DeviceError` if CUDA cannot be used."""
    require(device in ("auto", "cpu", "cuda"), "device", device, "auto, cpu or cuda")
    if device == "cpu":
        return "cpu"
    problem = cupy_problem()
    if problem is None:
        return "cuda"
    if device == "auto":
        return "cpu"
    raise DeviceError(f"device: 'cuda' cannot be used here: {problem}")


def xp_of(array: Array) -> ModuleType:
    """Return the library (NumPy or CuPy) that owns `array`; raise TypeError for anything else."""
    try:
        return _LIBRARIES[type(array)]
    except KeyError:
        if isinstance(array, np.ndarray):  # for example a memory map
            return np
        raise TypeError(f"expected a NumPy or CuPy array, not {type(array).__name__}") from None


def to_device(array: np.ndarray, device: str | None = None) -> Array:
    """Copy a host array to `device` (by default the configured one); on the CPU, return the array itself."""
    if (device or _execution.device) == "cpu":
        return array
    import cupy

    return cupy.asarray(array)


def to_numpy(array: Array) -> np.ndarray:
    """Return an array as a NumPy array on the host."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


def in_float64(model: Any) -> Any:
    """Return a copy of a model or a part of one, on the host, with every array of floats in float64.

    Anything other than a dataclass, tuple or array is returned unchanged.
    """
    if is_dataclass(model) and not isinstance(model, type):
        return replace(model, **{each.name: in_float64(getattr(model, each.name)) for each in fields(model) if each.init})
    if isinstance(model, tuple) and not hasattr(model, "_fields"):
        return tuple(map(in_float64, model))
    if hasattr(model, "dtype") and hasattr(model, "shape"):
        array = to_numpy(model)
        return array.astype(np.float64) if array.dtype.kind == "f" else array.copy()
    return model


def special_of(array: Array) -> ModuleType:
    """Return the special functions (of SciPy or of cupyx) for the library that owns `array`."""
    if isinstance(array, np.ndarray):
        return special
    from cupyx.scipy import special as device_special

    return device_special


# A wiring gives every cell the same number of inputs, so it is two arrays of shape (cells, inputs per cell): weights, and the
# indices of the inputs. A block of cells is a view of them, and taken row by row they form a CSR matrix. The routines below
# (SciPy, Numba or a GPU) read memory wherever an index points, so every index is checked first.


def is_array(value: object) -> bool:
    """Return whether a value is a NumPy array or, once CuPy is in use, a CuPy array.

    The result is False for ``np.matrix`` and masked arrays, whose operators follow other rules.
    """
    other_rules = (np.matrix, np.ma.MaskedArray)
    return type(value) in _LIBRARIES or (isinstance(value, np.ndarray) and not isinstance(value, other_rules))


def check_indices(inputs: Array, width: int) -> None:
    """Raise :class:`InputError` unless `inputs` are int32 numbers from 0 to ``width - 1``."""
    if inputs.dtype != np.int32:
        raise InputError("inputs", str(inputs.dtype), "int32, the indices of the inputs")
    if inputs.size and not (int(inputs.min()) >= 0 and int(inputs.max()) < width):
        found = f"numbers from {int(inputs.min())} to {int(inputs.max())}"
        raise InputError("inputs", found, f"indices of the {width} inputs, from 0 to {width - 1}")


def check_synapses(weights: Array, inputs: Array, x_t: Array, out: Array, width: int | None = None) -> None:
    """Raise :class:`InputError` unless a :func:`sparse_product` with these arguments stays within its arrays.

    For the transpose product, `out` and `x_t` are exchanged.
    """
    if weights.ndim != 2 or inputs.shape != weights.shape:
        raise InputError("inputs", f"shape {inputs.shape}", f"shape {weights.shape}, that of the weights")
    if x_t.ndim != 2 or out.ndim != 2 or out.shape != (len(weights), x_t.shape[1]):
        found = f"shapes {x_t.shape} and {out.shape}"
        raise InputError("columns", found, f"(inputs, columns) and ({len(weights)}, columns), with equally many columns")
    if width is None:
        check_indices(inputs, len(x_t))
    elif len(x_t) != width:
        raise InputError("columns", f"{len(x_t)} inputs", f"{width}, the number that the wiring has")


def sparse_product(weights: Array, inputs: Array, x_t: Array, out: Array, width: int | None = None) -> Array:
    """Set ``out[cell] = sum_j weights[cell, j] * x_t[inputs[cell, j]]`` and return `out`.

    Parameters
    ----------
    weights, inputs : array of float and of int32, shape (cells, inputs_per_cell)
        Synaptic weights, and the indices of their inputs.
    x_t : array, shape (inputs, columns)
        Inputs, one column for each image.
    out : array, shape (cells, columns)
        Array for the result; it is overwritten.
    width : int, optional
        Number of inputs, if all indices in `inputs` are known to be smaller, as in a
        :class:`~minicereb.models.wiring.Wiring`. Without this number, the indices are checked first, and :class:`InputError`
        is raised if one is out of range or if shapes or types do not fit.
    """
    check_synapses(weights, inputs, x_t, out, width)
    if not isinstance(out, np.ndarray):
        out[...] = _device_csr(weights, inputs, len(x_t)) @ x_t
        return out
    _check_written(out, weights, x_t)
    if csr_matvecs is None:
        out[...] = _host_csr(weights, inputs, len(x_t)) @ x_t
        return out
    cells, per_cell = weights.shape
    out.fill(0)
    csr_matvecs(
        cells, len(x_t), x_t.shape[1], _row_starts(cells, per_cell), inputs.ravel(), weights.ravel(), x_t.ravel(), out.ravel()
    )
    return out


def add_sparse_transpose_product(weights: Array, inputs: Array, d_v: Array, out: Array, width: int | None = None) -> Array:
    """Add ``weights[cell, j] * d_v[cell]`` to ``out[inputs[cell, j]]`` for every synapse and return `out`.

    Arguments and errors as for :func:`sparse_product`: `d_v` is (cells, columns), `out` is (inputs, columns).
    """
    check_synapses(weights, inputs, out, d_v, width)
    if not isinstance(out, np.ndarray):
        out += _device_csr(weights, inputs, len(out)).T @ d_v
        return out
    _check_written(out, weights, d_v)
    if csc_matvecs is None:  # equals the routine, up to rounding where `out` was not 0 before
        out += _host_csr(weights, inputs, len(out)).T @ d_v
        return out
    cells, per_cell = weights.shape
    csc_matvecs(
        len(out), cells, out.shape[1], _row_starts(cells, per_cell), inputs.ravel(), weights.ravel(), d_v.ravel(), out.ravel()
    )
    return out


def add_rows(starts: np.ndarray, columns: np.ndarray, weights: np.ndarray, rows: np.ndarray, out: np.ndarray) -> None:
    """Add the product of a CSR matrix (`starts`, `columns`, `weights`) and a dense matrix `rows` to `out`, on the host.

    The terms of each sum are added in the order of `columns`. Indices are not checked.
    """
    _check_written(out, weights, rows)
    if csr_matvecs is None:
        out += csr_array((weights, columns, starts), shape=(len(out), len(rows))) @ rows
        return
    csr_matvecs(len(out), len(rows), out.shape[1], starts, columns, weights, rows.ravel(), out.ravel())


def _check_written(out: np.ndarray, *factors: np.ndarray) -> None:
    """Require `out` to be contiguous, so that ravel() does not copy it, and to be at least as precise as the factors."""
    if not out.flags.c_contiguous:
        raise InputError("out", "an array that is not contiguous", "a contiguous array")
    if not all(factor.dtype == out.dtype or np.can_cast(factor.dtype, out.dtype) for factor in factors):
        given = " and ".join(str(factor.dtype) for factor in factors)
        raise InputError("out", str(out.dtype), f"the type that products of {given} have")


@functools.lru_cache(maxsize=8)
def _row_starts(cells: int, per_cell: int) -> np.ndarray:
    require(cells * per_cell < 1 << 31, "synapses", cells * per_cell, f"fewer than {1 << 31:,} in a block of cells")
    starts = np.arange(0, cells * per_cell + 1, per_cell, dtype=np.int32)
    starts.flags.writeable = False
    return starts


def _host_csr(weights: np.ndarray, inputs: np.ndarray, width: int) -> csr_array:
    return csr_array((weights.ravel(), inputs.ravel(), _row_starts(*weights.shape)), shape=(len(weights), width))


def _device_csr(weights: Array, inputs: Array, width: int) -> Any:
    import cupy
    from cupyx.scipy import sparse

    cells, per_cell = weights.shape
    row_starts = cupy.arange(0, cells * per_cell + 1, per_cell, dtype=cupy.int32)
    return sparse.csr_matrix((weights.ravel(), inputs.ravel(), row_starts), shape=(cells, width))
