"""The jobs of a study, one after the other or side by side, on any ``concurrent.futures`` executor; built in: processes, Dask.

A job travels as settings and comes back as nothing: what it comes to is in the study's folder, which every worker must see.
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

TRIES = 4  # of a job whose workers are lost
SECONDS_BETWEEN_REPORTS = 0.25
SECONDS_TO_ANSWER = 10.0  # for a scheduler
SECONDS_TO_STOP = 60.0  # for jobs that stop; a Dask scheduler without workers would be waited for in vain


@dataclass(frozen=True)
class Crew:
    """Who does the jobs of a study.

    Parameters
    ----------
    hire : callable
        Returns an executor; called again when one is broken.
    workers : int
        Worker processes, as far as that is known.
    share : int
        How many of them share a machine's cores and memory budget.
    places : int, optional
        Executors, each given one job at a time; None: one, given all jobs that are ready.
    lost : tuple of exception types
        What a job ends with when its worker is lost.
    """

    hire: Callable[[], Executor]
    workers: int
    share: int
    places: int | None = None
    lost: tuple[type[BaseException], ...] = (BrokenExecutor,)


def processes(workers: int) -> Crew:
    """Return worker processes on this machine, each an executor of its own: the loss of one leaves the others alone."""
    context = multiprocessing.get_context("spawn")  # fork would copy locks that threads hold
    return Crew(lambda: ProcessPoolExecutor(1, context, _begin_worker), workers, workers, workers)


@contextmanager
def dask(address: str) -> Iterator[Crew]:
    """Give the workers of a Dask scheduler; :class:`RunError` if there is none at `address`, or it has none."""
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
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what happens to it is told as our own error
    with client:
        hosts = [worker["host"] for worker in client.scheduler_info(n_workers=-1)["workers"].values()]
        if not hosts:
            raise RunError(f"scheduler: {address} has no workers; start some with: dask worker {address} --nthreads 1")
        share = max(map(hosts.count, hosts))
        yield Crew(functools.partial(client.get_executor, pure=False), len(hosts), share, None, (KilledWorker,))


def one_after_another(
    jobs: dict[Job, tuple[Job, ...]], found: set[Job], laboratory: Laboratory
) -> Generator[Progress, None, dict[Job, str]]:
    """Do the jobs in this process, in their order, without those `found` done; returns why some were not done."""
    done, undone = 0, dict[Job, str]()
    for job, needed in jobs.items():
        if job in found:
            done += 1
            yield Progress(done, len(jobs), f"found: {name_of(job)}")
            continue
        reason = _obstacle([other for other in needed if other in undone])
        if reason is None:
            try:
                with closing(do_job(job, laboratory)) as steps:
                    for doing in steps:
                        yield Progress(done, len(jobs), doing)
            except Exception as error:
                reason = reason_of(error)
        if reason is not None:
            undone[job] = reason
        done += reason is None
        yield Progress(done, len(jobs), _ended(job, reason))
    return undone


def spread(
    jobs: dict[Job, tuple[Job, ...]], found: set[Job], laboratory: Laboratory, crew: Crew
) -> Generator[Progress, None, dict[Job, str]]:
    """Have the jobs done by others, each as soon as what it stands on is done; returns why some were not done.

    When the generator is closed, jobs that are being done stop where they can be taken up again, and it waits for that.
    """
    every, number = list(jobs), {job: n for n, job in enumerate(jobs)}  # settings take long to compare, numbers do not
    needed = [tuple(number[other] for other in others) for others in jobs.values()]
    done, undone, lost = {number[job] for job in found}, dict[int, str](), Counter[int]()
    waiting = [n for n in range(len(every)) if n not in done]
    running: dict[Future, tuple[int, Executor]] = {}
    idle = [crew.hire() for _ in range(min(crew.places or 1, len(waiting)))]
    with _mark(laboratory.out) as mark:
        try:
            while waiting or running:
                later = []
                for n in waiting:
                    reason = _obstacle([every[other] for other in needed[n] if other in undone])
                    if reason is not None:
                        undone[n] = reason
                        yield Progress(len(done), len(jobs), _ended(every[n], reason))
                    elif idle and done.issuperset(needed[n]):
                        executor = idle.pop() if crew.places else idle[0]
                        running[_submit(executor, _order(every[n], laboratory, mark, crew))] = n, executor
                    else:
                        later.append(n)
                waiting = later
                yield Progress(len(done), len(jobs), f"{len(running)} jobs running")
                for future in wait(running, SECONDS_BETWEEN_REPORTS, FIRST_COMPLETED).done:
                    n, executor = running.pop(future)
                    reason, was_lost = _outcome(future, crew)
                    lost[n] += was_lost
                    if crew.places:
                        idle.append(_replaced(executor, crew) if was_lost else executor)
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
                executor.shutdown(wait=crew.places is not None)
    return {every[n]: reason for n, reason in undone.items()}


def _submit(executor: Executor, order: Order) -> Future:
    try:
        with _ctrl_c_held_back():  # the first job starts the executor's process
            return executor.submit(work, order)
    except Exception as error:  # its process died while it had nothing to do
        future: Future = Future()
        future.set_exception(error)
        return future


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Let Ctrl-C wait: a process that is started meanwhile never hears it, not even while it imports; this one does, later."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _outcome(future: Future, crew: Crew) -> tuple[str | None, bool]:
    """Why a job failed, if it did, and whether because its worker was lost."""
    try:
        return future.result(), False
    except crew.lost as error:
        return f"its worker was lost ({type(error).__name__})", True
    except CancelledError:
        raise RunError("the scheduler was lost; what is done is kept, and the same command goes on") from None
    except Exception as error:
        return reason_of(error), False


def _replaced(executor: Executor, crew: Crew) -> Executor:
    executor.shutdown(wait=False)
    return crew.hire()


def _obstacle(undone: list[Job]) -> str | None:
    """Say what keeps a job from being done, from what it stands on that was not done."""
    return f"stands on what was not done: {name_of(undone[0])}" if undone else None


def _ended(job: Job, reason: str | None) -> str:
    return f"done: {name_of(job)}" if reason is None else f"not done: {name_of(job)}: {reason}"


@contextmanager
def _mark(out: Path) -> Iterator[Path]:
    """Give a file that is there as long as the study wants its jobs done."""
    folder = out / "jobs"
    for old in folder.glob("wanted-*"):
        if not is_locked(old):  # of a study that was killed
            old.unlink(missing_ok=True)
    mark = folder / f"wanted-{socket.gethostname()}-{os.getpid()}"
    with file_lock(mark, str(mark)):
        yield mark


# -- what happens in a worker ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Order:
    """A job as it is sent to a worker; see :class:`Crew` for `share`."""

    job: Any
    dataset: str
    sha256: str
    out: Path
    mark: Path
    share: int
    device: str
    threads: int | None
    memory: int


def _order(job: Job, laboratory: Laboratory, mark: Path, crew: Crew) -> Order:
    data, settings = laboratory.dataset, backend.execution()
    threads = settings.threads if settings.threads < backend.available_cores() else None
    return Order(
        job, data.name, data.sha256, laboratory.out, mark, crew.share, settings.device, threads, settings.memory // crew.share
    )


_at_work = threading.Lock()  # a process does one job at a time, however many threads it is given
_orphaned = threading.Event()


def work(order: Order) -> str | None:
    """Do a job in this process, until it is done or no longer wanted; returns why it failed, if it did."""
    with _at_work:
        try:
            if not order.mark.exists():
                raise RunError(f"{socket.gethostname()} does not see the study's folder {order.out}; every worker must")
            threads = order.threads or max(1, backend.available_cores() // order.share)
            backend.configure(order.device, threads, max(order.memory, 16_000_000))
            parallel.keep_blas_to(threads)
            laboratory, looked = _laboratory(order.dataset, order.sha256, order.out), time.monotonic()
            laboratory.look_again()  # what the job stands on may be in a folder that the study has seen and this worker not
            with closing(do_job(order.job, laboratory)) as steps:
                for _ in steps:
                    if _orphaned.is_set():
                        return "stopped"
                    if time.monotonic() - looked > SECONDS_BETWEEN_REPORTS:
                        looked = time.monotonic()
                        if not order.mark.exists():
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
    """Prepare a process that must not outlive the study, and is stopped by it, not by the terminal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch_parent, daemon=True).start()


def _watch_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    _orphaned.set()
    with _at_work:
        os._exit(1)
