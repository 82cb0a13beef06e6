"""Where arrays live and how work is spread: the only module that knows NumPy from CuPy.

A function that computes begins with ``xp = xp_of(x)`` and runs wherever ``x`` lives. How much memory, how many threads and which
device are properties of the execution, never of the result: they are set once, by :func:`configure`, and BLAS is kept on one
thread while blocks of fixed size run on ours, so results do not depend on the number of threads.
"""

from __future__ import annotations

import functools
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from scipy import special
from scipy.sparse import _sparsetools  # what csr_array uses; its own product cannot write into an array it is given
from threadpoolctl import ThreadpoolController

from minicereb.errors import DeviceError, InputError, require

Array = Any
Part = TypeVar("Part")
Result = TypeVar("Result")

# Which library owns which type of array; CuPy adds itself when it is first used, the tests add a strict stand-in.
_LIBRARIES: dict[type, ModuleType] = {np.ndarray: np}


@dataclass(frozen=True)
class Execution:
    """How work is executed; never part of an experiment's identity.

    Parameters
    ----------
    device : {"cpu", "cuda"}
        Where models and images live.
    threads : int
        Worker threads for blocks of work on the CPU.
    memory : int
        Budget in bytes for the arrays that grow with a block.
    """

    device: str = "cpu"
    threads: int = 1
    memory: int = 512 << 20


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_execution = Execution(threads=available_cores())


def execution() -> Execution:
    """Return the execution settings in force."""
    return _execution


def configure(device: str | None = None, threads: int | None = None, memory: int | str | None = None) -> Execution:
    """Change how work is executed from here on; what is None stays as it is.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"}, optional
        ``"auto"`` takes the GPU if CuPy can use one.
    threads : int, optional
        At least 1.
    memory : int or str, optional
        Bytes, or text such as ``"512MB"`` or ``"2GiB"``.

    Raises
    ------
    InputError
        If a value is not one of these.
    DeviceError
        If CUDA is asked for where it cannot be used.
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
    """Say in one line why CuPy cannot be used here, or None if it can."""
    try:
        import cupy

        if cupy.cuda.runtime.getDeviceCount() == 0:
            return "CuPy is installed but finds no CUDA device"
        cupy.ones(1, dtype=cupy.float32).sum().get()
    except ImportError as error:
        return f"CuPy is not installed or cannot be loaded ({error}); pip install 'minicereb[cuda12x]' or 'minicereb[cuda13x]'"
    except Exception as error:  # CuPy raises whatever the driver says
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
    """Return when all work that was given to the configured device is done."""
    if _execution.device == "cuda":
        import cupy

        cupy.cuda.get_current_stream().synchronize()


def resolve_device(device: str) -> str:
    """Return ``"cpu"`` or ``"cuda"`` for a device setting; :class:`DeviceError` if CUDA cannot be used."""
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
    """Return the library (NumPy or CuPy) that owns `array`; TypeError for anything else."""
    try:
        return _LIBRARIES[type(array)]
    except KeyError:
        if isinstance(array, np.ndarray):  # a memory map
            return np
        raise TypeError(f"expected a NumPy or CuPy array, not {type(array).__name__}") from None


def to_device(array: np.ndarray, device: str | None = None) -> Array:
    """Copy a host array to `device` (default: the one configured); on the CPU the array itself."""
    if (device or _execution.device) == "cpu":
        return array
    import cupy

    return cupy.asarray(array)


def to_numpy(array: Array) -> np.ndarray:
    """Return `array` on the host."""
    return array.get() if hasattr(array, "get") else np.asarray(array)


def special_of(array: Array) -> ModuleType:
    """Return the special functions (of SciPy or of cupyx) for the library that owns `array`."""
    if isinstance(array, np.ndarray):
        return special
    from cupyx.scipy import special as device_special

    return device_special


# -- blocks ------------------------------------------------------------------------------------------------------------------

ACTIVITY_BYTES = 5 << 18  # of one block of cells: few enough to stay in a fast cache, long enough to keep threads from waiting
LANES = 16  # sums over blocks are taken in this many parts, whatever the number of threads


def blocks(total: int, size: int) -> Iterator[slice]:
    """Cut ``range(total)`` into slices of at most `size`."""
    size = max(1, size)
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def cell_blocks(like: Array, cells: int, columns: int) -> list[slice]:
    """Cut a population of cells into blocks whose activity for `columns` images fits the cache (a GPU takes them whole)."""
    size = ACTIVITY_BYTES // (4 * max(1, columns)) if isinstance(like, np.ndarray) else cells
    return list(blocks(cells, max(256, size)))


def images_per_block(bytes_per_image: int, at_most: int = 256) -> int:
    """How many images at once keep `bytes_per_image` within a quarter of the memory budget."""
    return max(1, min(at_most, _execution.memory // 4 // max(1, bytes_per_image)))


def run_lanes(function: Callable[[Part], Result], parts: list[Part]) -> list[Result]:
    """Call `function` once for each part, on the configured threads, with BLAS on one; results in the order of `parts`.

    Each thread takes a contiguous share, so that what it touches stays in its own cache from one call to the next. What a share
    cuts into parts again it does by itself: the other threads have work.
    """
    workers = 1 if getattr(_scratch, "shared", False) else min(_execution.threads, len(parts))
    with one_blas_thread():
        if workers <= 1:
            return [function(part) for part in parts]
        cuts = [len(parts) * worker // workers for worker in range(workers + 1)]
        shares = [parts[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
        warnings = np.geterr()  # a new thread has NumPy's own settings, not its caller's

        def work(share: list[Part]) -> list[Result]:
            _scratch.shared = True
            try:
                with np.errstate(**warnings):
                    return [function(part) for part in share]
            finally:
                _scratch.shared = False

        others = [_pool(workers - 1).submit(work, share) for share in shares[1:]]
        results = work(shares[0])
        for other in others:
            results += other.result()
        return results


def sum_lanes(add: Callable[[list[slice], Array], None], parts: list[slice], shape: tuple[int, int], like: Array) -> Array:
    """Sum over many parts in a fixed number of lanes: each adds its parts to an accumulator of its own, these are added in order.

    Parameters
    ----------
    add : callable
        Given some of the parts and an array of `shape`, adds what they contribute to it.
    parts : list of slice
    shape : tuple of int
        (rows, columns) of the sum.
    like : array
        Gives library and dtype.
    """
    groups = [parts[lane * len(parts) // LANES : (lane + 1) * len(parts) // LANES] for lane in range(LANES)]
    groups = [group for group in groups if group]
    rows = shape[0]
    sums = scratch("lanes", (rows * len(groups), shape[1]), like)

    def work(lane: int) -> Array:
        total = sums[lane * rows : (lane + 1) * rows]
        total[...] = 0
        add(groups[lane], total)
        return total

    first, *others = run_lanes(work, list(range(len(groups))))
    total = first.copy()
    for other in others:
        total += other
    return total


def zeros_for(v: Array) -> Array:
    """Return zeros to compare `v` with: NumPy's maximum is four times as fast against an array as against a number."""
    if not isinstance(v, np.ndarray):
        return v.dtype.type(0)
    return _zeros(-(-v.size // 65536) * 65536, v.dtype)[: v.size].reshape(v.shape)


@functools.lru_cache(maxsize=4)
def _zeros(size: int, dtype: np.dtype) -> np.ndarray:
    zeros = np.zeros(size, dtype=dtype)
    zeros.flags.writeable = False
    return zeros


def scratch(slot: str, shape: tuple[int, int], like: Array) -> Array:
    """Return an array to overwrite, of the dtype of `like`: the same memory each time this thread asks for `slot`.

    Fresh memory for each block would be mapped and cleared by the operating system again and again, which costs as much as
    the arithmetic. The contents last until the thread's next call with the same slot.
    """
    if not isinstance(like, np.ndarray):
        return xp_of(like).empty(shape, dtype=like.dtype)
    size = shape[0] * shape[1]
    held = getattr(_scratch, slot, None)
    if held is None or held.dtype != like.dtype or held.size < size:
        held = np.empty(size, dtype=like.dtype)
        setattr(_scratch, slot, held)
    return held[:size].reshape(shape)


_scratch = threading.local()


def one_blas_thread() -> AbstractContextManager[Any]:
    """Keep BLAS on one thread within a block, so that its results do not depend on how many threads it has.

    It is also faster beside our own threads: those of OpenBLAS go on spinning for milliseconds after a product.
    """
    return _blas().limit(limits=1)


def keep_blas_to(threads: int) -> None:
    """Let BLAS have this many threads from here on, where other processes are to have the other cores."""
    _blas().limit(limits=threads)


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="minicereb")


# -- sparse products ---------------------------------------------------------------------------------------------------------
# A wiring gives every cell the same number of inputs, so it is two arrays of shape (cells, inputs per cell): weights, and the
# numbers of the inputs. A block of cells is a view of them, and read row by row they are a CSR matrix.


def sparse_product(weights: Array, inputs: Array, x_t: Array, out: Array) -> Array:
    """Set ``out[cell] = sum_j weights[cell, j] * x_t[inputs[cell, j]]`` and return it.

    Parameters
    ----------
    weights, inputs : array of float and of int32, shape (cells, inputs_per_cell)
        Synaptic weights and the numbers of the inputs they come from.
    x_t : array, shape (inputs, columns)
        Inputs, one column for each image.
    out : array, shape (cells, columns)
        Overwritten.
    """
    cells, per_cell = weights.shape
    if isinstance(out, np.ndarray):
        assert out.flags.c_contiguous
        out.fill(0)
        _sparsetools.csr_matvecs(
            cells, len(x_t), x_t.shape[1], _row_starts(cells, per_cell), inputs.ravel(), weights.ravel(), x_t.ravel(), out.ravel()
        )
    else:
        out[...] = _device_csr(weights, inputs, len(x_t)) @ x_t
    return out


def add_sparse_transpose_product(weights: Array, inputs: Array, d_v: Array, out: Array) -> Array:
    """Add ``weights[cell, j] * d_v[cell]`` to ``out[inputs[cell, j]]`` for every synapse and return `out`.

    Shapes as in :func:`sparse_product`: `d_v` is (cells, columns), `out` is (inputs, columns).
    """
    cells, per_cell = weights.shape
    if isinstance(out, np.ndarray):
        assert out.flags.c_contiguous
        _sparsetools.csc_matvecs(
            len(out), cells, out.shape[1], _row_starts(cells, per_cell), inputs.ravel(), weights.ravel(), d_v.ravel(), out.ravel()
        )
    else:
        out += _device_csr(weights, inputs, len(out)).T @ d_v
    return out


@functools.lru_cache(maxsize=8)
def _row_starts(cells: int, per_cell: int) -> np.ndarray:
    return np.arange(0, cells * per_cell + 1, per_cell, dtype=np.int32)


def _device_csr(weights: Array, inputs: Array, width: int) -> Any:
    import cupy
    from cupyx.scipy import sparse

    cells, per_cell = weights.shape
    row_starts = cupy.arange(0, cells * per_cell + 1, per_cell, dtype=cupy.int32)
    return sparse.csr_matrix((weights.ravel(), inputs.ravel(), row_starts), shape=(cells, width))
