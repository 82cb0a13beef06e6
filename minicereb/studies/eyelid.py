"""What the studies of eyelid conditioning share: sessions found by what they are, numbers over seeds, curves over trials."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

import numpy as np

from minicereb.experiments.kinds.conditioning import Conditioning
from minicereb.experiments.laboratory import Record
from minicereb.statistics import mean_interval
from minicereb.studies.study import Results
from minicereb.tasks.eyelid import Eyelid

SMALLEST = {"smoke": "strokes", "course": "strokes", "paper": "strokes"}  # of data: no session looks at an image
SEEDS = {"smoke": (0,), "course": tuple(range(10)), "paper": tuple(range(20))}
CRITERION = (
    "A response is a closure of at least 10% after the CS began. Trials before the first five responses in a row (in "
    "extinction: before the first five trials without one), where there are such. "
)
ABOUT_SEEDS = "Means over seeds, each with wiring of its own, and their 95% interval (Student's); (all): no seed differs."

Key = TypeVar("Key", bound=Hashable)


def by(results: Results, key: Callable[[Eyelid], Key]) -> dict[Key, list[Record]]:
    """Return the records of sessions that are alike, seed after seed, by what `key` makes of their settings."""
    found: dict[Key, list[Record]] = {}
    for config, record in results:
        assert isinstance(config, Conditioning)
        found.setdefault(key(config.session), []).append(record)
    return found


def over_seeds(values: Sequence[float | None], digits: int = 1) -> str:
    """Write a mean over seeds with its interval where there are two; where some have no value, of how many it is."""
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


def reached(records: Sequence[Record], phase: str) -> list[int | None]:
    """Trials to the criterion of a phase; none to extinction where nothing had been acquired."""
    acquired = [phase != "extinction" or record["criterion"]["acquisition"] is not None for record in records]
    return [record["criterion"][phase] if able else None for record, able in zip(records, acquired, strict=True)]


def differences(one: Sequence[float | None], other: Sequence[float | None]) -> list[float | None]:
    """Return the one less the other, seed by seed; none where either has no value."""
    return [None if a is None or b is None else a - b for a, b in zip(one, other, strict=True)]


def curve(records: Sequence[Record], trials: slice = slice(None)) -> tuple[np.ndarray, ...]:
    """Return the mean over seeds of the lid's closure in these trials, as a line with its interval where there are two seeds."""
    values = np.array([record["closure"][trials] for record in records], dtype=np.float64)
    x, mean = np.arange(1, values.shape[1] + 1), values.mean(axis=0)
    if len(values) < 2:
        return x, mean
    bounds = np.array([mean_interval(column) for column in values.T], dtype=np.float64)
    return x, mean, bounds[:, 0], bounds[:, 1]
