"""Peak memory of some work, measured in a separate process."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from minicereb.backend import available_cores, configure, execution
from minicereb.errors import RunError
from minicereb.paths import read_text

Result = TypeVar("Result")
STATUS = Path("/proc/self/status")


def in_fresh_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """Return ``function(*arguments)``, computed on the CPU in a new process with as many threads as this one uses.

    A :class:`RunError` is raised if the process is killed, as the system may do when memory is short.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        threads = min(execution().threads, available_cores())
        try:
            return process.submit(_configured, threads, function, *arguments).result()
        except BrokenProcessPool as error:
            raise RunError(f"a process that measured memory was killed, with {arguments}: is memory short?") from error


def _configured(threads: int, function: Callable[..., Result], *arguments: Any) -> Result:
    configure(device="cpu", threads=threads)
    return function(*arguments)


def peak_since(before: int | None) -> int | None:
    """Return this process's peak memory in bytes minus its memory `before`, or None if the system does not report it."""
    peak = process_memory("VmHWM")
    return None if before is None or peak is None else max(0, peak - before)


def process_memory(entry: str) -> int | None:
    """Return an entry of /proc/self/status in bytes (VmRSS: memory now; VmHWM: the peak), or None if it is missing."""
    lines = read_text(STATUS).splitlines() if STATUS.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{entry}:")), None)
