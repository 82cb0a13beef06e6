"""A trial of pole balancing: 5,000 steps, one after the other, of a circuit that sees one state at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from minicereb.bench.timing import Contest
from minicereb.tasks.cartpole import State
from minicereb.tasks.pole import PoleBalancer, PoleTask

TRIAL = PoleTask()
TRIALS = 200  # in which one succeeds: it is that one which is timed


def contests(peers: bool) -> Iterator[Contest]:
    """Yield a trial in which the circuit learns, and one in which it only acts; no peer has a form of either."""
    balancer, again = _succeeding(TRIAL)
    about = f"of {TRIAL.seconds:g} s, {TRIAL.cells:,} cells, k = {TRIAL.inputs_per_cell}"
    read = 4 * TRIAL.cells * (2 * TRIAL.inputs_per_cell + 4)  # a step reads J and W, and writes and reads the activity
    source = np.ones(read // 8, dtype=np.float32)  # a copy reads and writes
    target = np.empty_like(source)

    def floor() -> None:
        for _ in range(TRIAL.steps):
            np.copyto(target, source)

    rest = State(0.0, 0.0, 0.0, 0.0)
    for name, work in (("learning", again), ("nothing learned", lambda: balancer.balance(rest))):
        moved = f"copies of the {read / 1e6:.2g} MB that each step must read or write"
        yield Contest(f"pole trial {about}, {name}", work, floor, moved, {}, turns=5)


def _succeeding(task: PoleTask) -> tuple[PoleBalancer, Callable[[], None]]:
    """Return a balancer that has just had its first trial that lasted to the end, and what does that trial again."""
    balancer = PoleBalancer(task)
    for number in range(TRIALS):
        before = {name: array.copy() for name, array in balancer.arrays().items()}
        trial = next(balancer.learn(number + 1))
        if balancer.succeeded(trial.seconds):
            break
    else:
        raise RuntimeError(f"no trial of {TRIALS} lasted to the end")

    def again() -> None:
        for name, array in balancer.arrays().items():
            array[...] = before[name]
        del balancer.lasted[-1], balancer.errors[-1]
        next(balancer.learn(number + 1))

    return balancer, again
