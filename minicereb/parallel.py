"""Work in fixed blocks on our own threads, with BLAS on one thread, so that results do not depend on the thread count."""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

from minicereb.backend import Array, execution, xp_of

Part = TypeVar("Part")
Result = TypeVar("Result")

# of a block of cells: small enough for a fast cache, large enough that threads do not wait for each other
ACTIVITY_BYTES = 5 << 18
ROW_BYTES = 1 << 18  # of a block of rows, if several arrays are in use
PASS_BYTES = 1 << 19  # of a block of numbers that are read several times
LANES = 16  # sums over blocks have this many parts for any number of threads


def blocks(total: int, size: int) -> Iterator[slice]:
    """Cut ``range(total)`` into slices of at most `size`."""
    size = max(1, size)
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def cell_blocks(like: Array, cells: int, columns: int) -> list[slice]:
    """Cut a population of cells into blocks whose activity for `columns` images fits the cache; on a GPU there is one block.

    Blocks have nearly equal sizes, and their number is a multiple of four, so that threads have equal shares.
    """
    size = max(256, ACTIVITY_BYTES // (4 * max(1, columns))) if isinstance(like, np.ndarray) else cells
    if cells > size:
        size = -(-cells // (4 * -(-cells // (4 * size))))
    return list(blocks(cells, size))


def cached_blocks(values: Array) -> list[slice]:
    """Cut an array along its first axis into blocks that fit the cache; on a GPU there is one block."""
    size = ACTIVITY_BYTES // max(1, values[:1].nbytes) if isinstance(values, np.ndarray) else len(values)
    return list(blocks(len(values), size))


def row_blocks(rows: Array) -> list[slice]:
    """Cut rows into blocks so small that several arrays of this size fit a fast cache; on a GPU there is one block."""
    size = ROW_BYTES // max(1, rows[:1].nbytes) if isinstance(rows, np.ndarray) else len(rows)
    return list(blocks(len(rows), size))


def pass_blocks(values: Array) -> list[slice]:
    """Cut an array that is read several times into blocks that stay in a fast cache; on a GPU there is one block."""
    size = PASS_BYTES // values.itemsize if isinstance(values, np.ndarray) else len(values)
    return list(blocks(len(values), size))


def shares(rows: Array) -> list[slice]:
    """Cut independent rows into one part per thread; on a GPU there is one part.

    A few long parts are better than many short ones, because threads wait for each other between NumPy's operations.
    """
    return list(blocks(len(rows), -(-len(rows) // execution().threads) if isinstance(rows, np.ndarray) else len(rows)))


def images_per_block(bytes_per_image: int, at_most: int = 256) -> int:
    """Return how many images of `bytes_per_image` fit into a quarter of the memory budget."""
    return max(1, min(at_most, execution().memory // 4 // max(1, bytes_per_image)))


def run_lanes(function: Callable[[Part], Result], parts: list[Part]) -> list[Result]:
    """Call `function` once per part, on the configured threads, with BLAS on one thread; results are in the order of `parts`.

    Each thread takes a contiguous share, which stays in its cache from one call to the next. A nested call runs only on
    the thread that makes it.
    """
    workers = _workers(len(parts))
    with one_blas_thread():
        if workers <= 1:
            return [function(part) for part in parts]
        cuts = [len(parts) * worker // workers for worker in range(workers + 1)]
        shares = [parts[a:b] for a, b in zip(cuts, cuts[1:], strict=False)]
        warnings = np.geterr()  # a new thread has the default settings of NumPy, not the settings of its caller

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


def _workers(parts: int) -> int:
    """Return how many threads :func:`run_lanes` would use for `parts` parts."""
    return 1 if getattr(_scratch, "shared", False) else min(execution().threads, parts)


def sum_lanes(add: Callable[[slice, Array, bool], object], parts: list[slice], shape: tuple[int, int], like: Array) -> Array:
    """Sum over many parts in a fixed number of lanes: each lane has its own accumulator, and the accumulators are added in order.

    Parameters
    ----------
    add : callable
        Takes a part, an accumulator of `shape`, and whether the accumulator is new. A new one is uninitialised and must be
        overwritten.
    parts : list of slice
    shape : tuple of int
        (rows, columns) of the sum.
    like : array
        Determines the array library and the dtype.
    """
    groups = [parts[lane * len(parts) // LANES : (lane + 1) * len(parts) // LANES] for lane in range(LANES)]
    groups = [group for group in groups if group]
    rows = shape[0]
    if isinstance(like, np.ndarray) and _workers(len(groups)) <= 1:  # the same sums in the same order, with two accumulators
        total = aligned(shape, like.dtype)
        for lane, group in enumerate(groups):
            share = scratch("lanes", shape, like) if lane else total
            with one_blas_thread():
                for part in group:
                    add(part, share, part is group[0])
            if lane:
                total += share
        return total
    sums = scratch("lanes", (rows * len(groups), shape[1]), like)

    def work(lane: int) -> Array:
        total = sums[lane * rows : (lane + 1) * rows]
        for part in groups[lane]:
            add(part, total, part is groups[lane][0])
        return total

    first, *others = run_lanes(work, list(range(len(groups))))
    total = xp_of(like).empty_like(first)
    for part in row_blocks(total):
        total[part] = first[part]
        for other in others:
            total[part] += other[part]
    return total


def zeros_for(v: Array) -> Array:
    """Return zeros for comparisons with `v`: NumPy's maximum is four times as fast with an array as with a number."""
    if not isinstance(v, np.ndarray):
        return v.dtype.type(0)
    return _zeros(-(-v.size // 65536) * 65536, v.dtype)[: v.size].reshape(v.shape)


@functools.lru_cache(maxsize=4)
def _zeros(size: int, dtype: np.dtype) -> np.ndarray:
    zeros = np.zeros(size, dtype=dtype)
    zeros.flags.writeable = False
    return zeros


def scratch(slot: str, shape: tuple[int, int], like: Array) -> Array:
    """Return an array to overwrite, with the dtype of `like`; for the same `slot`, a thread always gets the same memory.

    The operating system would map and clear fresh memory for each block, which costs as much as the arithmetic. The contents
    remain valid until the thread's next call with the same slot.
    """
    if not isinstance(like, np.ndarray):
        return xp_of(like).empty(shape, dtype=like.dtype)
    size = shape[0] * shape[1]
    held = getattr(_scratch, slot, None)
    if held is None or held.dtype != like.dtype or held.size < size:
        held = aligned((size,), like.dtype)
        setattr(_scratch, slot, held)
    return held[:size].reshape(shape)


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an uninitialised host array that begins at a cache line, so that no vector spans an extra line."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + 64, dtype=np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


_scratch = threading.local()


@contextmanager
def threads_if(worthwhile: bool) -> Iterator[None]:
    """Within a block, let :func:`run_lanes` use threads only if the work takes longer than starting the threads.

    BLAS has one thread within the block in any case, so the result is the same.
    """
    with one_blas_thread():
        before = getattr(_scratch, "shared", False)
        _scratch.shared = before or not worthwhile
        try:
            yield
        finally:
            _scratch.shared = before


@functools.cache
def keep_freed_memory() -> None:
    """Make the C library keep freed memory, up to 16 MiB per thread, for the next allocation.

    Otherwise the library may return large blocks to the operating system, which clears them before the next use. For
    temporary arrays of megabytes, clearing takes a third of the time of the arithmetic. The library glibc keeps up to
    twice the largest mapped block that it saw freed (M_TRIM_THRESHOLD in mallopt(3)), so this function frees a large
    block, without touching its memory.
    """
    np.empty(8 << 20, dtype=np.uint8)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS on one thread within a block, so that results do not depend on the number of BLAS's threads.

    One thread is also faster together with our own threads, because OpenBLAS threads spin for milliseconds after a product.
    Nested calls, and calls on the threads of :func:`run_lanes`, have no effect.
    """
    if getattr(_scratch, "alone", False) or getattr(_scratch, "shared", False):
        yield
        return
    with _blas().limit(limits=1):
        _scratch.alone = True
        try:
            yield
        finally:
            _scratch.alone = False


def keep_blas_to(threads: int) -> None:
    """Limit BLAS to `threads` threads from now on, because other processes use the other cores."""
    _blas().limit(limits=threads)


@functools.cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="minicereb")
