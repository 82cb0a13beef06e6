"""Does the conditioned response come when the US does? Intervals from 50 to 1,000 ms, and granule cells with shuffled time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from minicereb.experiments.configs import Data
from minicereb.experiments.kinds.conditioning import Conditioning
from minicereb.experiments.laboratory import Record
from minicereb.report.figures import curves, save_figure
from minicereb.report.pipes import markdown
from minicereb.studies.eyelid import ABOUT_SEEDS, CRITERION, SEEDS, SMALLEST, by, curve, over_seeds, reached
from minicereb.studies.study import Results, Study
from minicereb.tasks.eyelid import Eyelid

SHUFFLED = ("granule-shuffle",)
ARMS: dict[str, tuple[str, tuple[str, ...], str]] = {  # protocol, lesions, rule
    "delay": ("delay", (), "delta"),
    "trace": ("trace", (), "delta"),
    "delay, LTD/LTP": ("delay", (), "ltd-ltp"),
    "delay, shuffled": ("delay", SHUFFLED, "delta"),
}
SHORT = (50, 100)  # intervals at which timing is not asked for
# Per scale: intervals in ms, granule cells, trials of acquisition and of extinction.
SIZES: dict[str, tuple[tuple[int, ...], int, int, int]] = {
    "smoke": ((50, 250, 500), 300, 25, 20),
    "course": ((50, 100, 250, 500, 750, 1000), 10_000, 100, 100),
    "paper": ((50, 100, 250, 500, 750, 1000), 10_000, 200, 200),
}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Conditioning]:
    """Every interval in every arm, at every seed; the short ones with the delay protocol and intact circuits alone."""
    intervals, cells, acquisition, extinction = SIZES[scale]
    return [
        Conditioning(
            Eyelid(
                interval,
                protocol,
                acquisition=acquisition,
                extinction=0 if lesions else extinction,
                cells=cells,
                lesions=lesions,
                seed=seed,
                rule=rule,
            )
        )
        for seed in seeds
        for protocol, lesions, rule in ARMS.values()
        for interval in intervals
        if interval not in SHORT or (protocol == "delay" and not lesions)
    ]


Found = dict[tuple[str, int], list[Record]]


def found_in(results: Results) -> Found:
    """Return the records by arm and interval."""
    arms = {way: name for name, way in ARMS.items()}
    return by(results, lambda session: (arms[session.protocol, session.lesions, session.rule], session.interval))


def table(results: Results) -> str:
    """A row for every arm and interval, then how the times move with the interval."""
    found = found_in(results)
    rows = []
    for (arm, interval), records in found.items():
        peaks = [record["peak"] for record in records]
        farthest = max((abs(peak - interval) for peak in peaks if peak is not None), default=None)
        extinguished = over_seeds(reached(records, "extinction")) if "extinction" in records[0]["criterion"] else "-"
        rows.append(
            [
                arm,
                f"{interval}",
                over_seeds(reached(records, "acquisition")),
                over_seeds([record["closure"][_acquisition(results) - 1] for record in records]),
                over_seeds(peaks, 0),
                "-" if farthest is None else f"{farthest}",
                over_seeds([record["trough"] for record in records], 0),
                extinguished,
            ]
        )
    head = ["protocol", "interval, ms", "trials to criterion", "closure after, %", "peak, ms", "farthest off, ms"]
    lines = markdown([*head, "Purkinje trough, ms", "trials to extinction"], rows)
    lines += ["", _caption(results), "", *markdown(["time of", "protocol", "ms later for each ms of interval"], _slopes(found))]
    return "\n".join(lines)


def _acquisition(results: Results) -> int:
    return results[0][0].session.acquisition


def _caption(results: Results) -> str:
    session = results[0][0].session
    return (
        f"{CRITERION}{ABOUT_SEEDS} {session.acquisition} trials of acquisition, {session.extinction} of extinction, "
        f"{session.cells:,} granule cells. Closure, peak and trough are of the last trial of acquisition; a peak is of lids that "
        "closed by 10%, «farthest off» the seed whose peak is farthest from the interval. Purkinje trough: when Purkinje cells "
        "are least active after the CS began; it leads the lid. Shuffled: every granule cell's time course is turned by a random "
        "time, anew in each trial. LTD/LTP: synapses change by whether their fibre is active, not by how much."
    )


def _slopes(found: Found) -> list[list[str]]:
    """By how much peaks and troughs move with the interval: a least-squares line for each seed."""
    rows = []
    for arm in ARMS:
        intervals = [interval for name, interval in found if name == arm and interval not in SHORT]
        for what in ("peak", "trough"):
            times = np.array([[record[what] for record in found[arm, interval]] for interval in intervals], dtype=np.float64)
            fits = [np.polyfit(intervals, seed, 1)[0] if np.isfinite(seed).all() else None for seed in times.T]
            rows.append([{"peak": "lid's peak", "trough": "Purkinje trough"}[what], arm, over_seeds(fits, 2)])
    return rows


def figures(results: Results, out: Path) -> None:
    """Draw the lid over time, its closure over trials, and its peak and the Purkinje trough over the interval."""
    found = found_in(results)
    delay = {interval: records for (arm, interval), records in found.items() if arm == "delay"}
    lids = {}
    for interval, records in delay.items():
        mean = np.mean([record["lid"] for record in records], axis=0)
        lids[f"{interval} ms"] = (np.arange(len(mean)) * 20.0, mean)
    save_figure(
        curves([("", lids)], "time from the beginning of the CS, ms", "closure of the lid, %", marked=False, graded=True),
        out / "isi-lid.png",
    )
    over_trials = {f"{interval} ms": curve(records) for interval, records in delay.items()}
    save_figure(
        curves([("", over_trials)], "trial", "closure of the lid, %", from_zero=True, marked=False, graded=True),
        out / "isi-trials.png",
    )
    panels, timed = [], [interval for interval in delay if interval not in SHORT]
    for what, title in (("peak", "lid's peak"), ("trough", "Purkinje trough")):
        lines = {"interval": _line(timed, timed)}
        for arm in ARMS:
            known = {interval: [record[what] for record in found[arm, interval]] for interval in timed}
            lines[arm] = _line(known, [np.mean(times) if None not in times else np.nan for times in known.values()])
        panels.append((title, lines))
    save_figure(curves(panels, "interval, ms", "time from the beginning of the CS, ms", from_zero=True), out / "isi-time.png")


def _line(x: Iterable[float], y: Iterable[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([*x], dtype=np.float64), np.array([*y], dtype=np.float64)


ISI = Study(
    "isi",
    "Does the conditioned response come when the US does, and is that due to the time courses of granule cells?",
    SMALLEST,
    plan,
    table,
    figures,
    captions={
        "isi-lid": "The lid in the last trial of acquisition, mean over seeds, by the interval from CS to US. Delay protocol.",
        "isi-trials": "Closure in every trial of acquisition and then of extinction, by the interval; the bars are 95% intervals "
        "over seeds. Delay protocol.",
        "isi-time": "When the lid is closed most, and when Purkinje cells are least active, over the interval; means over seeds, "
        "and nothing where a seed has no response.",
    },
    seeds=SEEDS,
)
