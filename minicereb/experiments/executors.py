"""Run the jobs of a study one after another, or in parallel: in processes, on a Dask cluster, or with any other executor.

A worker receives the settings of a job and writes the results into the study's folder, to which every worker must have access.
"""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minicereb import backend, datasets, parallel
from minicereb.errors import DataError, RunError, install_command, require
from minicereb.experiments.jobs import Job, Progress, do_job, name_of, reason_of
from minicereb.experiments.laboratory import Laboratory
from minicereb.files import file_lock, is_locked

TRIES = 4  # attempts at a job whose workers are lost
SECONDS_BETWEEN_REPORTS = 0.25
SECONDS_TO_ANSWER = 10.0  # time for a scheduler to answer
SECONDS_TO_STOP = 60.0  # time for jobs to stop; a Dask scheduler without workers never answers


@dataclass(frozen=True)
class WorkerPool:
    """The workers that run the jobs of a study.

    Parameters
    ----------
    hire : callable
        Function that returns a new executor; it is called again when an executor breaks.
    workers : int
        Number of worker processes, if known.
    share : int
        Number of workers that share a machine's cores and memory budget.
    places : int, optional
        Number of executors that each get one job at a time; None for one executor that gets all jobs that are ready.
    lost : tuple of exception types
        Exceptions raised when a worker is lost.
    """

    hire: Callable[[], Executor]
    workers: int
    share: int
    places: int | None = None
    lost: tuple[type[BaseException], ...] = (BrokenExecutor,)


def processes(workers: int) -> WorkerPool:
    """Return worker processes on this machine. Each has its own executor, so that the loss of one does not affect the others."""
    context = multiprocessing.get_context("spawn")  # fork would copy locks that threads hold
    return WorkerPool(lambda: ProcessPoolExecutor(1, context, _begin_worker), workers, workers, workers)


@contextmanager
def dask(address: str) -> Iterator[WorkerPool]:
    """Yield the workers of the Dask scheduler at `address`; raise :class:`RunError` if there is no scheduler or no worker."""
    where = re.fullmatch(r"[a-z]+://[^/]+", address)
    require(where is not None, "scheduler", address, "an address such as tcp://host:8786")
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise RunError(f"scheduler: needs Dask, which is not installed: {install_command('distributed')}") from error
    try:
        client = Client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False)
    except (OSError, ValueError) as error:
        raise RunError(f"scheduler: nothing answers at {address}; start it with: dask scheduler ({error})") from error
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # its failures are reported by our own errors
    with client:
        hosts = [worker["host"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
        if not hosts:
            raise RunError(f"scheduler: {address} has no workers; start some with: dask worker {address} --nthreads 1")
        share = max(map(hosts.count, hosts))
        yield WorkerPool(functools.partial(client.get_executor, pure=False), len(hosts), share, None, (KilledWorker,))


def one_after_another(
    jobs: dict[Job, tuple[Job, ...]], found: set[Job], laboratory: Laboratory
) -> Generator[Progress, None, dict[Job, str]]:
    """Run all jobs except those in `found` (already done) in order, in this process; return the reasons for failures."""
    done, undone = 0, dict[Job, str]()
    for job, needed in jobs.items():
        if job in found:
            done += 1
            yield Progress(done, len(jobs), f"found: {name_of(job)}")
            continue
        reason = _unmet(other for other in needed if other in undone)
        if reason is None:
            try:
                with closing(do_job(job, laboratory)) as steps:
                    for doing in steps:
                        yield Progress(done, len(jobs), doing)
            except Exception as error:
                reason = reason_of(error)
        if reason is None:
            done += 1
        else:
            undone[job] = reason
        yield Progress(done, len(jobs), _ended(job, reason))
    return undone


def spread(
    jobs: dict[Job, tuple[Job, ...]], found: set[Job], laboratory: Laboratory, pool: WorkerPool
) -> Generator[Progress, None, dict[Job, str]]:
    """Run the jobs on workers, each as soon as its dependencies are done; return the reasons for failures.

    When closed, the generator waits until running jobs have stopped at a point where they can be resumed.
    """
    every, number = list(jobs), {job: n for n, job in enumerate(jobs)}  # comparing settings is slow, comparing numbers is fast
    needed = [tuple(number[other] for other in others) for others in jobs.values()]
    done, undone, lost = {number[job] for job in found}, dict[int, str](), Counter[int]()
    waiting = [n for n in range(len(every)) if n not in done]
    running: dict[Future, tuple[int, Executor]] = {}
    data, here = laboratory.dataset, backend.execution()
    # None stands for a share of the worker's machine
    threads = here.threads if here.threads < backend.available_cores() else None
    execution = here.device, threads, here.memory // pool.share
    idle = [pool.hire() for _ in range(min(pool.places or 1, len(waiting)))]
    with _mark(laboratory.out) as mark:
        try:
            while waiting or running:
                later = []
                for n in waiting:
                    reason = _unmet(every[other] for other in needed[n] if other in undone)
                    if reason is not None:
                        undone[n] = reason
                        yield Progress(len(done), len(jobs), _ended(every[n], reason))
                    elif idle and done.issuperset(needed[n]):
                        executor = idle.pop() if pool.places else idle[0]
                        request = JobRequest(every[n], data.name, data.sha256, laboratory.out, mark, pool.share, *execution)
                        running[_submit(executor, request)] = n, executor
                    else:
                        later.append(n)
                waiting = later
                yield Progress(len(done), len(jobs), f"{len(running)} jobs running")
                for future in wait(running, SECONDS_BETWEEN_REPORTS, FIRST_COMPLETED).done:
                    n, executor = running.pop(future)
                    reason, was_lost = _outcome(future, pool)
                    lost[n] += was_lost
                    if pool.places:
                        if was_lost:
                            executor.shutdown(wait=False)
                        idle.append(pool.hire() if was_lost else executor)
                    if was_lost and lost[n] < TRIES:
                        waiting.insert(0, n)
                        yield Progress(len(done), len(jobs), f"again: {name_of(every[n])}: {reason}")
                        continue
                    if reason is None:
                        done.add(n)
                    else:
                        undone[n] = reason
                    yield Progress(len(done), len(jobs), _ended(every[n], reason))
        finally:
            mark.unlink(missing_ok=True)
            wait(running, SECONDS_TO_STOP)
            for executor in {*idle, *(executor for _, executor in running.values())}:
                executor.shutdown(wait=pool.places is not None)
    return {every[n]: reason for n, reason in undone.items()}


def _submit(executor: Executor, request: JobRequest) -> Future:
    try:
        with _ctrl_c_held_back():  # the first job starts the executor's process
            return executor.submit(work, request)
    except Exception as error:  # its process died while idle
        future: Future = Future()
        future.set_exception(error)
        return future


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Delay Ctrl-C, so that a process started in the meantime never receives it, even during its imports."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _outcome(future: Future, pool: WorkerPool) -> tuple[str | None, bool]:
    """Return why a job failed (None if it did not), and whether its worker was lost."""
    try:
        return future.result(), False
    except pool.lost as error:
        return f"its worker was lost ({type(error).__name__})", True
    except CancelledError:
        raise RunError("the scheduler was lost; complete jobs are kept, and the same command continues") from None
    except Exception as error:
        return reason_of(error), False


def _unmet(undone: Iterator[Job]) -> str | None:
    """Return a message naming the first of a job's dependencies that was not done; None if all were done."""
    first = next(undone, None)
    return None if first is None else f"depends on a job that was not done: {name_of(first)}"


def _ended(job: Job, reason: str | None) -> str:
    return f"done: {name_of(job)}" if reason is None else f"not done: {name_of(job)}: {reason}"


@contextmanager
def _mark(out: Path) -> Iterator[Path]:
    """Create a file that tells workers that the study is still running; yield its path."""
    folder = out / "jobs"
    for old in folder.glob("wanted-*"):
        if not is_locked(old):  # left by a study that was killed
            old.unlink(missing_ok=True)
    mark = folder / f"wanted-{socket.gethostname()}-{os.getpid()}"
    with file_lock(mark, str(mark)):
        yield mark


# -- in a worker -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JobRequest:
    """A job with its data and execution settings, as sent to a worker."""

    job: Any
    dataset: str
    sha256: str
    out: Path
    mark: Path
    share: int
    device: str
    threads: int | None
    memory: int


_at_work = threading.Lock()  # a process does one job at a time, even if it is given several threads
_orphaned = threading.Event()


def work(request: JobRequest) -> str | None:
    """Run a job in this process until it is done or no longer wanted; return the reason if it failed."""
    with _at_work:
        try:
            if not request.mark.exists():
                raise RunError(f"{socket.gethostname()} does not see the study's folder {request.out}; every worker must")
            threads = request.threads or max(1, backend.available_cores() // request.share)
            backend.configure(request.device, threads, max(request.memory, 16_000_000))
            parallel.keep_blas_to(threads)
            laboratory, checked = _laboratory(request.dataset, request.sha256, request.out), time.monotonic()
            laboratory.siblings.look_again()  # dependencies may be in a folder that this worker has not seen yet
            with closing(do_job(request.job, laboratory)) as steps:
                for _ in steps:
                    wanted = True
                    if time.monotonic() - checked > SECONDS_BETWEEN_REPORTS:
                        checked, wanted = time.monotonic(), request.mark.exists()
                    if _orphaned.is_set() or not wanted:
                        return "stopped"
        except Exception as error:
            return reason_of(error)
        return None


@functools.lru_cache(maxsize=1)
def _laboratory(name: str, sha256: str, out: Path) -> Laboratory:
    dataset = datasets.load(name)
    if dataset.sha256 != sha256:
        raise DataError(
            f"{socket.gethostname()} has data with the SHA-256 {dataset.sha256[:12]}... under the name {name}, "
            f"the study {sha256[:12]}..."
        )
    return Laboratory(dataset, out)


def _begin_worker() -> None:
    """Make a worker process ignore Ctrl-C, and end when the study ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    _orphaned.set()
    with _at_work:
        os._exit(1)
