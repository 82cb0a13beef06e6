"""Is the conditioned response timed to the US? Intervals from 50 to 1,000 ms, and granule cells with shuffled time courses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from minicereb.experiments.configs import Data
from minicereb.experiments.kinds.conditioning import Conditioning
from minicereb.report.figures import curves
from minicereb.report.page import Table, Text
from minicereb.studies.eyelid_tables import EYELID_SEEDS, LEGEND, closure_curve, mean_over, over_seeds, trials_to_criterion
from minicereb.studies.results import Results
from minicereb.studies.study import STROKES, Study
from minicereb.studies.tables import Blocks
from minicereb.tasks.eyelid_conditioning import Eyelid

SHUFFLED = ("granule-shuffle",)
ARMS: dict[str, tuple[str, tuple[str, ...], str]] = {  # protocol, lesions, rule
    "delay": ("delay", (), "delta"),
    "trace": ("trace", (), "delta"),
    "delay, LTD/LTP": ("delay", (), "ltd-ltp"),
    "delay, shuffled": ("delay", SHUFFLED, "delta"),
}
SHORT = (50, 100)  # intervals too short to ask about timing
# Per scale: intervals in ms, granule cells, trials of acquisition and of extinction.
SIZES: dict[str, tuple[tuple[int, ...], int, int, int]] = {
    "smoke": ((50, 250, 500), 300, 25, 20),
    "course": ((50, 100, 250, 500, 750, 1000), 10_000, 100, 100),
    "paper": ((50, 100, 250, 500, 750, 1000), 10_000, 200, 200),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Conditioning]:
    """Run every interval in every arm; the short ones with the delay protocol and intact circuits only."""
    intervals, cells, acquisition, extinction = SIZES[scale]
    experiments = []
    for seed in seeds:
        for protocol, lesions, rule in ARMS.values():
            settings: dict[str, Any] = {"acquisition": acquisition, "extinction": 0 if lesions else extinction, "cells": cells}
            settings |= {"lesions": lesions, "seed": seed, "rule": rule}
            chosen = [each for each in intervals if each not in SHORT or (protocol == "delay" and not lesions)]
            experiments += [Conditioning(Eyelid(interval, protocol, **settings)) for interval in chosen]
    return experiments


def _by_interval(results: Results) -> dict[tuple[str, int], Results]:
    """Group the results by arm and interval."""
    arms = {way: name for name, way in ARMS.items()}
    return results.by(lambda c: (arms[c.session.protocol, c.session.lesions, c.session.rule], c.session.interval))


def table(results: Results) -> Blocks:
    """Show a row for every arm and interval, then how the times change with the interval."""
    found, session, rows = _by_interval(results), results[0][0].session, []
    for (arm, interval), group in found.items():
        farthest = max((abs(peak - interval) for peak in group.values("peak")), default="-")
        extinguished = "extinction" in group[0][1]["criterion"]
        closure = mean_over(lambda record: record["closure"][session.acquisition - 1])
        cells = (mean_over(trials_to_criterion("acquisition")), closure, mean_over("peak", 0))
        rows.append([arm, f"{interval}", *(cell(group) for cell in cells), f"{farthest}"])
        rows[-1] += [mean_over("trough", 0)(group), mean_over(trials_to_criterion("extinction"))(group) if extinguished else "-"]
    head = ["protocol", "interval, ms", "trials to criterion", "closure after, %", "peak, ms", "farthest off, ms"]
    legend = (
        f"{LEGEND} {session.acquisition} trials of acquisition, {session.extinction} of extinction, {session.cells:,} granule "
        "cells. Closure, peak and trough are those of the last trial of acquisition; a peak is given for lids that closed by at "
        "least 10%, «farthest off» is the largest distance of a seed's peak from the interval. Purkinje trough: when Purkinje "
        "cells are least active after CS onset; it precedes the lid's peak. Shuffled: every granule cell's time course is "
        "rotated by a random time, anew in each trial. LTD/LTP: synapses change by whether their fibre is active, not by how "
        "much."
    )
    return [
        Table([*head, "Purkinje trough, ms", "trials to extinction"], rows),
        Text(legend),
        Table(["time of", "protocol", "shift in ms per ms of interval"], _slopes(found)),
    ]


TIMES = {"peak": "lid's peak", "trough": "Purkinje trough"}


def _slopes(found: dict[tuple[str, int], Results]) -> list[list[str]]:
    """Return by how much peaks and troughs shift with the interval: a least-squares line for each seed."""
    rows = []
    for arm in ARMS:
        intervals = [interval for name, interval in found if name == arm and interval not in SHORT]
        for what, words in TIMES.items():
            times = np.array([[r[what] for r in found[arm, interval].records] for interval in intervals], dtype=np.float64)
            fits = [np.polyfit(intervals, seed, 1)[0] if np.isfinite(seed).all() else None for seed in times.T]
            rows.append([words, arm, over_seeds(fits, 2)])
    return rows


def figures(results: Results) -> Mapping[str, Figure]:
    """Draw the lid over time, its closure over trials, and its peak and the Purkinje trough over the interval."""
    found = _by_interval(results)
    delay = {interval: group for (arm, interval), group in found.items() if arm == "delay"}
    lids = {}
    for interval, group in delay.items():
        mean = np.mean([record["lid"] for record in group.records], axis=0)
        lids[f"{interval} ms"] = (np.arange(len(mean)) * 20.0, mean)
    time, closure = "time from CS onset, ms", "closure of the lid, %"
    over_trials = {f"{interval} ms": closure_curve(group) for interval, group in delay.items()}
    panels, timed = [], [interval for interval in delay if interval not in SHORT]
    for what, title in TIMES.items():
        lines = {"interval": _line(timed, timed)}
        for arm in ARMS:
            times = [[record[what] for record in found[arm, interval].records] for interval in timed]
            lines[arm] = _line(timed, [np.mean(each) if None not in each else np.nan for each in times])
        panels.append((title, lines))
    return {
        "isi-lid": curves([("", lids)], time, closure, marked=False, graded=True),
        "isi-trials": curves([("", over_trials)], "trial", closure, from_zero=True, marked=False, graded=True),
        "isi-time": curves(panels, "interval, ms", time, from_zero=True),
    }


def _line(x: Iterable[float], y: Iterable[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([*x], dtype=np.float64), np.array([*y], dtype=np.float64)


ISI = Study(
    "isi",
    "Does the conditioned response come when the US does, and is that due to the time courses of granule cells?",
    plan,
    table,
    figures,
    captions={
        "isi-lid": "The lid in the last trial of acquisition, mean over seeds, by the interval from CS to US. Delay protocol.",
        "isi-trials": "Closure in every trial of acquisition and then of extinction, by interval; the bars are 95% intervals "
        "over seeds. Delay protocol.",
        "isi-time": "When the lid is closed furthest, and when Purkinje cells are least active, over the interval; means over "
        "seeds, left out if a seed has no response.",
    },
    dataset=STROKES,
    seeds=EYELID_SEEDS,
)
