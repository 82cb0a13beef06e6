"""Benchmarks: medians of interleaved runs in one process, together with lower bounds measured in the same process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from minicereb.backend import wait_for_device


@dataclass(frozen=True)
class Benchmark:
    """Work to be timed, and the work with which it is compared.

    Parameters
    ----------
    name : str
    ours : callable
        Function that does the work once.
    floor : callable
        Function that does only the work that no implementation can avoid (moving the bytes or computing the products), or
        other work that shows the machine's speed.
    floor_name : str
    peers : dict
        Other implementations of the same work, by name.
    repeats : int
        Number of calls per turn; the turn's time is divided by this number.
    turns : int
        Number of turns.
    peak : callable, optional
        Function that takes the name of a peer, or None for our work, and returns the peak memory in bytes, or None if the
        system does not report it.
    """

    name: str
    ours: Callable[[], object]
    floor: Callable[[], object]
    floor_name: str
    peers: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    repeats: int = 1
    turns: int = 15
    peak: Callable[[str | None], int | None] | None = None


@dataclass(frozen=True)
class Timing:
    """A row of the table: medians in seconds, and peak memory in bytes where it was measured."""

    name: str
    seconds: float
    floor_seconds: float
    floor: str
    peer: str | None = None
    peer_seconds: float | None = None
    peak: int | None = None
    peer_peak: int | None = None


def time_benchmark(benchmark: Benchmark) -> Iterator[Timing]:
    """Yield a row for each peer, or one row without peers; runs of our work, the lower bound and the peer alternate.

    The order of the peers matters: one peer makes the C library keep freed memory, and large temporary arrays are then
    twice as fast for all later peers. The first turn is a warm-up and is not counted. On a GPU, timing waits for each
    call to finish.
    """
    peak = benchmark.peak or (lambda name: None)
    own_peak = peak(None)
    if not benchmark.peers:
        ours, floor = _medians([benchmark.ours, benchmark.floor], benchmark)
        yield Timing(benchmark.name, ours, floor, benchmark.floor_name, peak=own_peak)
    for peer, work in benchmark.peers.items():
        ours, floor, theirs = _medians([benchmark.ours, benchmark.floor, work], benchmark)
        yield Timing(benchmark.name, ours, floor, benchmark.floor_name, peer, theirs, own_peak, peak(peer))


def _medians(everything: list[Callable[[], object]], benchmark: Benchmark) -> list[float]:
    times: list[list[float]] = [[] for _ in everything]
    for turn in range(benchmark.turns + 1):
        for work, taken in zip(everything, times, strict=True):
            work()  # not timed, because the caches and threads are in the state that the previous implementation left
            wait_for_device()
            began = time.perf_counter()
            for _ in range(benchmark.repeats):
                work()
            wait_for_device()
            if turn:
                taken.append((time.perf_counter() - began) / benchmark.repeats)
    return [statistics.median(taken) for taken in times]


PARTS = ("cerebellum", "attacks", "square", "certificates", "glr", "convolutional", "eyelid", "pole")


def run_benchmarks(peers: bool, parts: tuple[str, ...] = PARTS) -> Iterator[Timing]:
    """Run the benchmarks of the named parts; `peers` adds comparisons with PyTorch."""
    from minicereb.bench import loops, noisy_passes, vgg  # they import nearly everything

    elsewhere = {"convolutional": vgg, "glr": noisy_passes}
    for part in parts:
        for benchmark in getattr(elsewhere.get(part, loops), part)(peers):
            yield from time_benchmark(benchmark)
