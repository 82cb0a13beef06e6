"""What a study has to do: trainings and experiments as jobs, each done by one process at a time and told of in a file.

Everything another process needs to follow a study lies in its folder ``jobs``: the plan, and for each job a notice. So the study
itself, its workers and ``minicereb study status`` need no other channel.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

from minicereb.documents import Count, Range, Seed, printable, read_json
from minicereb.errors import DataError, InUseError, MinicerebError
from minicereb.experiments.carrying_out import carry_out_experiment, found_record
from minicereb.experiments.configs import Train, describe
from minicereb.experiments.identity import config_hash
from minicereb.experiments.laboratory import Laboratory
from minicereb.files import file_lock, write_json
from minicereb.paths import beneath

SECONDS_BETWEEN_NOTICES = 1.0
SECONDS_BETWEEN_LOOKS = 0.1  # at a job that another process is doing

Job = Any  # a Train, or an experiment of any kind


class _NoticeTies(TypedDict, total=False):
    hash: str  # of the job's settings; notices from before 0.2 have none
    seconds: Annotated[float, Range(0)]


class Notice(_NoticeTies):
    """``jobs/HASH.json``: how a job stands."""

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
    """``jobs/study-NAME.json``: what a study is about to do."""

    study: str
    question: str
    scale: str
    seeds: list[Seed]
    began: float
    workers: Count
    jobs: list[Entry]


class Progress(NamedTuple):
    """Where a study stands: jobs complete, of how many, and what is going on."""

    done: int
    total: int
    doing: str


class NotDone(MinicerebError):  # noqa: N818
    """Some jobs of a study failed, others stand on these; the rest is done.

    Parameters
    ----------
    reasons : dict
        Of each job that was not done, why.
    total : int
        Jobs of the study.
    """

    def __init__(self, reasons: dict[Job, str], total: int):
        head = f"{len(reasons)} of {total} jobs were not done; the others are, and the same command tries these again"
        super().__init__("\n".join([head, *(f"  {name_of(job)}: {reason}" for job, reason in reasons.items())]))
        self.reasons = reasons


def jobs_of(plan: Iterable[Job]) -> dict[Job, tuple[Job, ...]]:
    """Return everything that a plan comes to, with what each job stands on; none comes before that."""
    jobs: dict[Job, tuple[Job, ...]] = {}

    def add(job: Job) -> None:
        if job not in jobs:
            needed = _stands_on(job)
            for other in needed:
                add(other)
            jobs[job] = needed

    for job in plan:
        add(job)
    return jobs


def _stands_on(job: Job) -> tuple[Job, ...]:
    if isinstance(job, Train):
        return () if job.encoder is None else (job.encoder,)
    return (*job.trainings, *getattr(job, "experiments", ()))


def name_of(job: Job) -> str:
    """Return a few words for a job."""
    if isinstance(job, Train):
        return f"training {describe(job)}, seed {job.seed}"
    models = "; ".join(f"{describe(train)}, seed {train.seed}" for train in job.trainings) or getattr(job, "description", "")
    attack = getattr(job, "attack", None)
    how = "" if attack is None else f", {attack.method} on {attack.objective} at {attack.epsilon:g}"
    return f"{type(job).__name__}{f' of {models}' if models else ''}{how}"


def reason_of(error: BaseException) -> str:
    """Say in one line why a job failed; of what is no error of the user's, also where."""
    if isinstance(error, MinicerebError):
        return str(error)
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {(error.strerror or str(error)).lower()}"
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = "".join(f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in last)
    return f"{type(error).__name__}: {error}{where}"


def is_done(job: Job, laboratory: Laboratory) -> bool:
    """Whether a job, and all that it stands on, is complete."""
    if isinstance(job, Train):
        return laboratory.is_trained(job)
    return all(laboratory.is_trained(train) for train in job.trainings) and found_record(job, laboratory) is not None


def do_job(job: Job, laboratory: Laboratory) -> Generator[str, None, None]:
    """Do a job unless it is done, yielding its progress in words; if another process is doing it, wait for that."""
    lock = beneath(laboratory.out, "jobs", f"{_short(job)}.lock")
    while True:
        try:
            with file_lock(lock, name_of(job)):
                if is_done(job, laboratory):
                    _tell_found(job, laboratory)
                else:
                    yield from _told(job, laboratory)
            return
        except InUseError as error:
            yield f"waiting: {error}"
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _tell_found(job: Job, laboratory: Laboratory) -> None:
    """Leave a notice of a job that was done elsewhere since the study began, so that others know."""
    path = notice_path(laboratory.out, _short(job))
    notice = read_notice(path, _entry(job, True))
    if notice is None or notice["state"] != "done":
        write_json(path, {**_notice(job, "done", ""), "began": time.time()}, durable=False)


def _told(job: Job, laboratory: Laboratory) -> Generator[str, None, None]:
    """Do a job, telling in its notice how it goes."""
    began = told = time.time()

    def tell(state: str, doing: str) -> None:
        notice = _notice(job, state, doing) | {"began": began, "seconds": max(0.0, time.time() - began)}
        write_json(notice_path(laboratory.out, _short(job)), notice, durable=False)

    tell("running", "beginning")
    try:
        steps: Generator[str, None, Any]
        steps = laboratory.train(job) if isinstance(job, Train) else carry_out_experiment(job, laboratory)
        with closing(steps):
            for doing in steps:
                if time.time() - told > SECONDS_BETWEEN_NOTICES:
                    tell("running", doing)
                    told = time.time()
                yield doing
    except InUseError:
        raise
    except Exception as error:
        with suppress(MinicerebError):
            tell("failed", reason_of(error))
        raise
    tell("done", "")


def _notice(job: Job, state: str, doing: str) -> dict[str, Any]:
    worker = f"{socket.gethostname()} {os.getpid()}"
    about = {"hash": config_hash(job), "job": name_of(job), "kind": kind_of(job)}
    return {**about, "state": state, "doing": printable(doing), "worker": worker}


def kind_of(job: Job) -> str:
    """Return what jobs that take about as long have in common: the experiment's kind, or a trained model's."""
    return f"training {job.model.family}" if isinstance(job, Train) else type(job).__name__


def notice_path(out: Path, short: str) -> Path:
    """Where the notice of a job is kept."""
    return beneath(out, "jobs", f"{short}.json")


def read_notice(path: Path, entry: Entry) -> Notice | None:
    """Read the notice of a job; None where there is none, or one that is damaged or another job's: then the job is waiting."""
    with suppress(DataError):
        notice = read_json(path, Notice)
        named = notice["hash"].startswith(entry["hash"]) if "hash" in notice else notice["job"] == entry["job"]
        return notice if named and notice["kind"] == entry["kind"] else None
    return None


def write_plan(out: Path, about: dict[str, Any], jobs: Sequence[Job], laboratory: Laboratory, workers: int) -> set[Job]:
    """Write what a study is about to do, for :func:`minicereb.experiments.status.survey`; returns the jobs that are done."""
    done = {job for job in jobs if is_done(job, laboratory)}
    entries = [_entry(job, job in done) for job in jobs]
    write_json(
        beneath(out, "jobs", f"study-{about['study']}.json"), {**about, "began": time.time(), "workers": workers, "jobs": entries}
    )
    return done


def _entry(job: Job, done: bool) -> Entry:
    return {"hash": _short(job), "job": name_of(job), "kind": kind_of(job), "done": done}


def _short(job: Job) -> str:
    return config_hash(job)[:16]
