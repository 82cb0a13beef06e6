"""Time several ways of doing the same work, in turn, in one process: only ratios taken so mean anything."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from minicereb.backend import wait_for_device


@dataclass(frozen=True)
class Contest:
    """Work to be timed, with what it is compared to.

    Parameters
    ----------
    name : str
    ours : callable
        Does the work once.
    floor : callable
        What no implementation can do without (the bytes moved, the products computed), or another measure of the machine.
    floor_name : str
        What the floor is.
    peers : dict
        Other implementations of the same work, by name.
    repeats : int
        How often `ours` and each peer is called in a turn; the turn's time is divided by it.
    """

    name: str
    ours: Callable[[], object]
    floor: Callable[[], object]
    floor_name: str
    peers: dict[str, Callable[[], object]]
    repeats: int = 1


@dataclass(frozen=True)
class Row:
    """One line of the table; times are medians in seconds.

    Parameters
    ----------
    name : str
    seconds, floor_seconds : float
    floor : str
        What the floor is.
    peer : str or None
    peer_seconds : float or None
    """

    name: str
    seconds: float
    floor_seconds: float
    floor: str
    peer: str | None = None
    peer_seconds: float | None = None


def time_contest(contest: Contest, turns: int = 15) -> Iterator[Row]:
    """Run everything in a contest in turn and yield a row for each peer (one row without peers).

    A first, uncounted turn warms everything up. On a GPU each call is waited for.
    """
    everything = {"ours": contest.ours, "floor": contest.floor, **contest.peers}
    times: dict[str, list[float]] = {name: [] for name in everything}
    for turn in range(turns + 1):
        for name, work in everything.items():
            work()  # the caches and threads of whoever came before are not ours to pay for
            wait_for_device()
            began = time.perf_counter()
            for _ in range(contest.repeats):
                work()
            wait_for_device()
            if turn:
                times[name].append((time.perf_counter() - began) / contest.repeats)
    median = {name: statistics.median(values) for name, values in times.items()}
    for peer in contest.peers or [None]:
        yield Row(contest.name, median["ours"], median["floor"], contest.floor_name, peer, median[peer] if peer else None)


def run_benchmarks(peers: bool) -> Iterator[Row]:
    """Run every benchmark, with PyTorch beside ours where `peers` asks for it."""
    from minicereb.bench import attacks, cerebellum, glr

    for contest in (*cerebellum.contests(peers), *attacks.contests(peers), *glr.contests(peers)):
        yield from time_contest(contest)
