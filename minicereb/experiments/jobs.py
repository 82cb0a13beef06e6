"""The training runs and experiments of a study as jobs, each run by one process at a time, and the status of a study.

The study's folder ``jobs`` holds the plan and a notice for each job. The study, its workers and ``minicereb study status``
communicate only through these files.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

from minicereb.documents import Count, Range, Seed, printable, read_json
from minicereb.errors import DataError, InUseError, MinicerebError, RunError
from minicereb.experiments.configs import Experiment, Train, describe
from minicereb.experiments.identity import config_hash
from minicereb.experiments.laboratory import Laboratory
from minicereb.files import file_lock, is_locked, write_json
from minicereb.paths import beneath

SECONDS_BETWEEN_NOTICES = 1.0
SECONDS_BETWEEN_TRIES = 0.1  # seconds between attempts to lock a job that another process is running

Job = Train | Experiment


class _Optional(TypedDict, total=False):
    hash: str  # hash of the job's settings; notices from before 0.2 have none
    seconds: Annotated[float, Range(0)]


class Notice(_Optional):
    """``jobs/HASH.json``: the state of a job."""

    job: str
    kind: str
    state: Literal["running", "done", "failed"]
    doing: str
    worker: str
    began: float


class Entry(TypedDict):
    """A job of a plan."""

    hash: str
    job: str
    kind: str
    done: bool


class Plan(TypedDict):
    """``jobs/study-NAME.json``: all jobs of a study."""

    study: str
    question: str
    scale: str
    seeds: list[Seed]
    began: float
    workers: Count
    jobs: list[Entry]


class Progress(NamedTuple):
    """The progress of a study: the number of complete jobs and of all jobs, and the current step."""

    done: int
    total: int
    doing: str


class NotDone(MinicerebError):  # noqa: N818
    """Raised if some of the `total` jobs of a study failed, or depend on failed jobs, for these `reasons`."""

    def __init__(self, reasons: dict[Job, str], total: int):
        head = f"{len(reasons)} of {total} jobs were not done; the others are done, and the same command tries again"
        super().__init__("\n".join([head, *(f"  {name_of(job)}: {reason}" for job, reason in reasons.items())]))
        self.reasons, self.total = reasons, total

    def __reduce__(self) -> tuple[type[NotDone], tuple[dict[Job, str], int]]:
        return type(self), (self.reasons, self.total)  # it may pass from one process to another


def jobs_of(plan: Iterable[Job]) -> dict[Job, tuple[Job, ...]]:
    """Return all jobs of a plan with the dependencies of each, sorted so that dependencies come first."""
    jobs: dict[Job, tuple[Job, ...]] = {}

    def add(job: Job) -> None:
        if job not in jobs:
            for other in job.dependencies:
                add(other)
            jobs[job] = job.dependencies

    for job in plan:
        add(job)
    return jobs


def name_of(job: Job) -> str:
    """Describe a job in a few words."""
    if isinstance(job, Train):
        return f"training {describe(job)}, seed {job.seed}"
    models = "; ".join(f"{describe(train)}, seed {train.seed}" for train in job.trainings) or job.description
    attack = getattr(job, "attack", None)
    how = "" if attack is None else f", {attack.method} on {attack.objective} at {attack.epsilon:g}"
    return f"{type(job).__name__}{f' of {models}' if models else ''}{how}"


def reason_of(error: BaseException) -> str:
    """Return one line that says why a job failed and, unless the user caused the error, where in the code."""
    if isinstance(error, MinicerebError):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {(error.strerror or str(error)).lower()}"
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in last)
    return f"{type(error).__name__}: {error}{where}"


def do_job(job: Job, laboratory: Laboratory) -> Generator[str, None, None]:
    """Run a job unless it is done, yielding progress in words; wait if another process is running it."""
    lock = beneath(laboratory.out, "jobs", f"{_short(job)}.lock")
    while True:
        try:
            with file_lock(lock, name_of(job)):
                if not laboratory.is_done(job):
                    yield from _run(job, laboratory)
                else:
                    notice = read_notice(lock.with_suffix(".json"), _entry(job, True))
                    if notice is None or notice["state"] != "done":  # done elsewhere since the study began
                        _write_notice(job, laboratory.out, "done", "", time.time())
            return
        except InUseError as error:
            yield f"waiting: {error}"
            time.sleep(SECONDS_BETWEEN_TRIES)


def _run(job: Job, laboratory: Laboratory) -> Generator[str, None, None]:
    """Run a job, writing its progress into its notice."""
    began = written = time.time()

    def notify(state: str, doing: str) -> None:
        _write_notice(job, laboratory.out, state, doing, began, seconds=max(0.0, time.time() - began))

    notify("running", "beginning")
    try:
        steps: Generator[str, None, Any]
        steps = laboratory.train(job) if isinstance(job, Train) else laboratory.run_experiment(job)
        with closing(steps):
            for doing in steps:
                if time.time() - written > SECONDS_BETWEEN_NOTICES:
                    notify("running", doing)
                    written = time.time()
                yield doing
    except InUseError:
        raise
    except Exception as error:
        with suppress(MinicerebError):
            notify("failed", reason_of(error))
        raise
    notify("done", "")


def _write_notice(job: Job, out: Path, state: str, doing: str, began: float, **more: float) -> None:
    about = {"hash": config_hash(job), "job": name_of(job), "kind": kind_of(job), "state": state, "doing": printable(doing)}
    worker = f"{socket.gethostname()} {os.getpid()}"
    write_json(notice_path(out, _short(job)), {**about, "worker": worker, "began": began, **more}, durable=False)


def kind_of(job: Job) -> str:
    """Return the kind of an experiment or of a trained model; jobs of a kind take about equally long."""
    return f"training {job.model.family}" if isinstance(job, Train) else type(job).__name__


def notice_path(out: Path, short: str) -> Path:
    """Return the path of a job's notice."""
    return beneath(out, "jobs", f"{short}.json")


def read_notice(path: Path, entry: Entry) -> Notice | None:
    """Return the notice of a job, or None, which means "waiting", if it is missing, damaged or about another job."""
    with suppress(DataError):
        notice = read_json(path, Notice)
        named = notice["hash"].startswith(entry["hash"]) if "hash" in notice else notice["job"] == entry["job"]
        return notice if named and notice["kind"] == entry["kind"] else None
    return None


def write_plan(out: Path, about: dict[str, Any], jobs: Sequence[Job], laboratory: Laboratory, workers: int) -> set[Job]:
    """Write the plan of a study, for :func:`survey`; return the jobs that are done."""
    done = {job for job in jobs if laboratory.is_done(job)}
    entries = [_entry(job, job in done) for job in jobs]
    plan = {**about, "began": time.time(), "workers": workers, "jobs": entries}
    write_json(beneath(out, "jobs", f"study-{about['study']}.json"), plan)
    return done


def _entry(job: Job, done: bool) -> Entry:
    return {"hash": _short(job), "job": name_of(job), "kind": kind_of(job), "done": done}


def _short(job: Job) -> str:
    return config_hash(job)[:16]


# -- the status of a study, from its folder ------------------------------------------------------------------------------------


class Survey(NamedTuple):
    """The status of a study: numbers of jobs, and the :class:`Notice` of each running or failed one.

    `seconds_left` is estimated from the time that jobs of the same kind took; it is None before any job is done.
    """

    study: str
    scale: str
    total: int
    done: int
    running: list[dict[str, Any]]
    failed: list[dict[str, Any]]
    seconds_left: float | None


def surveys(out: Path) -> list[Survey]:
    """Return the status of each study in the folder `out`; raise :class:`RunError` if the folder holds no study."""
    plans = sorted((out / "jobs").glob("study-*.json"))
    if not plans:
        raise RunError(f"{out} is not the folder of a study: it has no jobs/study-NAME.json")
    return [survey(out, plan.stem.removeprefix("study-")) for plan in plans]


def survey(out: Path, study: str) -> Survey:
    """Return the status of the study named `study` in the folder `out`."""
    path = out / "jobs" / f"study-{study}.json"
    try:
        plan = read_json(path, Plan)
    except DataError as error:
        raise DataError(f"{error}; begin the study again to write it anew") from error
    entries = list(_entries(out, plan))
    done, running, failed = ([each for each in entries if each["state"] == state] for state in ("done", "running", "failed"))
    left = _seconds_left(entries, max(1, plan["workers"]))
    return Survey(plan["study"], plan["scale"], len(entries), len(done), running, failed, left)


def _entries(out: Path, plan: Plan) -> Iterator[dict[str, Any]]:
    """Yield every job of a plan with its state: done, running, failed, or waiting."""
    for entry in plan["jobs"]:
        path = notice_path(out, entry["hash"])
        notice: dict[str, Any] = dict(read_notice(path, entry) or {})
        state = "done" if entry["done"] else notice.get("state", "waiting")
        if state == "running":
            state = "running" if is_locked(path.with_suffix(".lock")) else "waiting"
            notice["seconds"] = max(0.0, time.time() - notice["began"])  # the notice has the seconds at its last progress
        elif state == "failed" and notice["began"] <= plan["began"]:
            state = "waiting"
        yield {**notice, **entry, "state": state}


def _seconds_left(entries: list[dict[str, Any]], workers: int) -> float | None:
    """Estimate the remaining time from the mean time of jobs of the same kind, or of all jobs if none of the kind is done."""
    took = defaultdict[str, list[float]](list)
    for entry in entries:
        if entry["state"] == "done" and "seconds" in entry:
            took[entry["kind"]].append(entry["seconds"])
    every = [seconds for kind in took.values() for seconds in kind]
    if not every:
        return None
    left = 0.0
    for entry in entries:
        if entry["state"] in ("running", "waiting"):
            spent = entry["seconds"] if entry["state"] == "running" else 0.0
            left += max(0.0, fmean(took.get(entry["kind"], every)) - spent)
    return left / workers
