"""How a study stands, read from its folder by any process that sees it, while others are at work there."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from minicereb.documents import read_json
from minicereb.errors import DataError, RunError
from minicereb.experiments.jobs import Plan, notice_path, read_notice
from minicereb.files import is_locked


class Survey(NamedTuple):
    """How a study stands.

    Attributes
    ----------
    study, scale : str
    total, done : int
        Jobs.
    running : list of dict
        Notices of the jobs that a process is doing: ``job``, ``doing``, ``worker``, ``seconds``.
    failed : list of dict
        Notices of those that failed; ``doing`` says why.
    seconds_left : float or None
        From how long jobs of the same kind took; None before any was done.
    """

    study: str
    scale: str
    total: int
    done: int
    running: list[dict[str, Any]]
    failed: list[dict[str, Any]]
    seconds_left: float | None


def surveys(out: Path) -> list[Survey]:
    """Return how each study in the folder `out` stands; :class:`RunError` if there is none."""
    plans = sorted((out / "jobs").glob("study-*.json"))
    if not plans:
        raise RunError(f"{out} is not the folder of a study: it has no jobs/study-NAME.json")
    return [survey(out, plan.stem.removeprefix("study-")) for plan in plans]


def survey(out: Path, study: str) -> Survey:
    """Return how the study named `study` in the folder `out` stands."""
    path = out / "jobs" / f"study-{study}.json"
    try:
        plan = read_json(path, Plan)
    except DataError as error:
        raise DataError(f"{error}; begin the study again to write it anew") from error
    entries = list(_entries(out, plan))
    done = [entry for entry in entries if entry["state"] == "done"]
    running = [entry for entry in entries if entry["state"] == "running"]
    failed = [entry for entry in entries if entry["state"] == "failed"]
    left = _seconds_left(entries, max(1, plan["workers"]))
    return Survey(plan["study"], plan["scale"], len(entries), len(done), running, failed, left)


def _entries(out: Path, plan: Plan) -> Iterator[dict[str, Any]]:
    """Every job of a plan with its state: done, running, failed, or waiting."""
    for entry in plan["jobs"]:
        path = notice_path(out, entry["hash"])
        notice = read_notice(path, entry)
        told: dict[str, Any] = {} if notice is None else dict(notice)
        if entry["done"] or told.get("state") == "done":
            state = "done"
        elif told.get("state") == "running":
            state = "running" if is_locked(path.with_suffix(".lock")) else "waiting"
            told["seconds"] = max(0.0, time.time() - told["began"])  # its own are as of its last progress
        else:
            state = "failed" if told.get("state") == "failed" and told["began"] > plan["began"] else "waiting"
        yield {**told, **entry, "state": state}


def _seconds_left(entries: list[dict[str, Any]], workers: int) -> float | None:
    """Guess from the mean of the jobs of a kind, and of all where none of the kind is done."""
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
            known = took.get(entry["kind"], every)
            spent = entry["seconds"] if entry["state"] == "running" else 0.0
            left += max(0.0, sum(known) / len(known) - spent)
    return left / workers
