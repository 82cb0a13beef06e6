"""What the studies of eyelid conditioning share: sessions by their settings, means over seeds, curves over trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minicereb.experiments.laboratory import Record
from minicereb.statistics import mean_interval
from minicereb.studies.results import Results

EYELID_SEEDS = {"smoke": (0,), "course": tuple(range(10)), "paper": tuple(range(20))}
LEGEND = (
    "A response is a closure of at least 10% after CS onset. Trials before the first five responses in a row (in extinction: "
    "before the first five trials in a row without one), if there are any. Means over seeds, each with its own wiring, and their "
    "95% interval (Student's t); (all): no seed differs."
)


def mean_over(of: str | Callable[[Record], Any], digits: int = 1) -> Callable[[Results], str]:
    """Return the cell of a table that shows the mean of an entry of the records over the seeds, see :func:`over_seeds`."""
    return lambda group: over_seeds([of(r) if callable(of) else r[of] for r in group.records], digits)


def over_seeds(values: Sequence[float | None], digits: int = 1) -> str:
    """Write a mean over seeds, with its interval if there are several, and how many seeds have a value if not all do."""
    known = [value for value in values if value is not None]
    if not known:
        return f"none of {len(values)}"
    shown = f"{np.mean(known):.{digits}f}"
    if len(known) > 1 and min(known) == max(known):
        shown += " (all)"
    elif len(known) > 1:
        low, high = mean_interval(known)
        shown += f" ({low:.{digits}f} to {high:.{digits}f})"
    return shown if len(known) == len(values) else f"{shown}, {len(known)} of {len(values)}"


def trials_to_criterion(phase: str) -> Callable[[Record], int | None]:
    """Return the entry of a record with the trials to the criterion of a phase; none to extinction if nothing was acquired."""
    return lambda record: (
        None if phase == "extinction" and record["criterion"]["acquisition"] is None else record["criterion"][phase]
    )


def seed_differences(one: Sequence[float | None], other: Sequence[float | None]) -> list[float | None]:
    """Return the first minus the second, seed by seed; None if either has no value."""
    return [None if a is None or b is None else a - b for a, b in zip(one, other, strict=True)]


def closure_curve(group: Results, trials: slice = slice(None)) -> tuple[np.ndarray, ...]:
    """Return the lid's closure over these trials, the mean over seeds, with its interval if there are several seeds."""
    values = np.array([record["closure"][trials] for record in group.records], dtype=np.float64)
    x, mean = np.arange(1, values.shape[1] + 1), values.mean(axis=0)
    if len(values) < 2:
        return x, mean
    bounds = np.array([mean_interval(column) for column in values.T], dtype=np.float64)
    return x, mean, bounds[:, 0], bounds[:, 1]
