"""Eyelid conditioning: the timing of responses, savings, and the function of each part of the circuit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any

import numpy as np

from minicereb.experiments.configs import Data
from minicereb.experiments.kinds.conditioning import Conditioning
from minicereb.experiments.laboratory import Record
from minicereb.report.figures import curves
from minicereb.report.page import Table, Text
from minicereb.statistics import mean_interval
from minicereb.studies.results import Blocks, Figures, Results, tabulate
from minicereb.studies.study import STROKES, Study
from minicereb.tasks.circuit import LESIONS
from minicereb.tasks.eyelid_conditioning import Eyelid

SEEDS = {"smoke": (0,), "course": tuple(range(10)), "paper": tuple(range(20))}
LEGEND = (
    "A response is a closure of at least 10% after CS onset. Trials before the first five responses in a row (in extinction: "
    "before the first five trials in a row without one). Means over seeds, each with its own wiring, and their 95% interval "
    "(Student's t); (all): no seed differs. "
)
TIME, CLOSURE = "time from CS onset, ms", "closure of the lid, %"
RESPONSE = 10  # least closure in % that counts as a response


def mean_over(of: str | Callable[[Record], Any], digits: int = 1) -> Callable[[Results], str]:
    """Return a function that formats the mean of a record entry over the seeds (see :func:`over_seeds`)."""
    return lambda group: over_seeds([of(r) if callable(of) else r[of] for r in group.records], digits)


def over_seeds(values: Sequence[float | None], digits: int = 1) -> str:
    """Format a mean over seeds, with its interval if there are several, and the number of seeds if some have no value."""
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
    """Return a function that takes a record and returns how many trials a phase took to reach its criterion.

    It returns None if the criterion was not reached, and also for extinction if nothing was acquired.
    """
    return lambda record: (
        None if phase == "extinction" and record["criterion"]["acquisition"] is None else record["criterion"][phase]
    )


def closure_curve(group: Results, trials: slice = slice(None)) -> tuple[np.ndarray, ...]:
    """Return the lid's closure in each of these trials, averaged over seeds, with an interval if there are several seeds."""
    values = np.array([record["closure"][trials] for record in group.records], dtype=np.float64)
    x, mean = np.arange(1, values.shape[1] + 1), values.mean(axis=0)
    if len(values) < 2:
        return x, mean
    bounds = np.array([mean_interval(column) for column in values.T], dtype=np.float64)
    return x, mean, bounds[:, 0], bounds[:, 1]


# -- timing ------------------------------------------------------------------------------------------------------------------

ARMS: dict[str, tuple[str, tuple[str, ...], str]] = {  # protocol, lesions, rule
    "delay": ("delay", (), "delta"),
    "trace": ("trace", (), "delta"),
    "delay, LTD/LTP": ("delay", (), "ltd-ltp"),
    "delay, shuffled": ("delay", ("granule-shuffle",), "delta"),
}
SHORT = (50, 100)  # intervals too short to test timing
TIMES = {"peak": "lid's peak", "trough": "Purkinje trough"}
# Per scale: intervals in ms, granule cells, trials of acquisition and of extinction.
ISI_SIZES: dict[str, tuple[tuple[int, ...], int, int, int]] = {
    "smoke": ((50, 250, 500), 300, 25, 20),
    "course": ((50, 100, 250, 500, 750, 1000), 10_000, 100, 100),
    "paper": ((50, 100, 250, 500, 750, 1000), 10_000, 200, 200),
}


def _isi_plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Conditioning]:
    """Condition a circuit at every interval in every arm; at short intervals only with the delay protocol and no lesion."""
    intervals, cells, acquisition, extinction = ISI_SIZES[scale]
    experiments = []
    for seed, (protocol, lesions, rule) in product(seeds, ARMS.values()):
        settings: dict[str, Any] = {"acquisition": acquisition, "extinction": 0 if lesions else extinction, "cells": cells}
        settings |= {"lesions": lesions, "seed": seed, "rule": rule}
        chosen = [each for each in intervals if each not in SHORT or (protocol == "delay" and not lesions)]
        experiments += [Conditioning(Eyelid(interval, protocol, **settings)) for interval in chosen]
    return experiments


def _by_arm(results: Results) -> dict[tuple[str, int], Results]:
    """Group the results by arm and interval."""
    arms = {way: name for name, way in ARMS.items()}
    return results.by(lambda c: (arms[c.session.protocol, c.session.lesions, c.session.rule], c.session.interval))


def _isi_table(results: Results) -> Blocks:
    """Return a table with a row for every arm and interval, then how the times shift with the interval."""
    found, session, rows = _by_arm(results), results[0][0].session, []
    closure = mean_over(lambda record: record["closure"][session.acquisition - 1])
    for (arm, interval), group in found.items():
        farthest = max((abs(peak - interval) for peak in group.values("peak")), default="-")
        cells = [mean_over(trials_to_criterion("acquisition"))(group), closure(group), mean_over("peak", 0)(group), f"{farthest}"]
        extinguished = "extinction" in group[0][1]["criterion"]
        cells += [mean_over("trough", 0)(group), mean_over(trials_to_criterion("extinction"))(group) if extinguished else "-"]
        rows.append([arm, f"{interval}", *cells])
    head = ["protocol", "interval, ms", "trials to criterion", "closure after, %", "peak, ms", "farthest off, ms"]
    legend = (
        f"{LEGEND}{session.acquisition} trials of acquisition, {session.extinction} of extinction, {session.cells:,} granule "
        "cells. Closure, peak and trough are those of the last trial of acquisition. Peak: for lids that closed by at least 10%; "
        "«farthest off» is the largest distance of a seed's peak from the interval. Purkinje trough: when Purkinje cells are "
        "least active after CS onset, which precedes the lid's peak. Shuffled: every granule cell's time course is rotated by a "
        "random time, anew in each trial. LTD/LTP: synapses change by whether their fibre is active, not by how much."
    )
    return [
        Table([*head, "Purkinje trough, ms", "trials to extinction"], rows),
        Text(legend),
        Table(["time of", "protocol", "shift in ms per ms of interval"], _shifts(found)),
    ]


def _shifts(found: dict[tuple[str, int], Results]) -> list[list[str]]:
    """Return how far peaks and troughs shift with the interval, from a least-squares line for each seed."""
    rows = []
    for arm, (what, words) in product(ARMS, TIMES.items()):
        intervals = [interval for name, interval in found if name == arm and interval not in SHORT]
        times = np.array([[r[what] for r in found[arm, interval].records] for interval in intervals], dtype=np.float64)
        fits = [np.polyfit(intervals, seed, 1)[0] if np.isfinite(seed).all() else None for seed in times.T]
        rows.append([words, arm, over_seeds(fits, 2)])
    return rows


def _isi_figures(results: Results) -> Figures:
    """Draw the lid's closure against time and against trials, and its peak and the Purkinje trough against the interval."""
    found = _by_arm(results)
    delay = {interval: group for (arm, interval), group in found.items() if arm == "delay"}
    lids = {f"{i} ms": np.mean([record["lid"] for record in group.records], axis=0) for i, group in delay.items()}
    over_time = {name: (np.arange(len(mean)) * 20.0, mean) for name, mean in lids.items()}
    over_trials = {f"{interval} ms": closure_curve(group) for interval, group in delay.items()}
    panels, timed = [], [interval for interval in delay if interval not in SHORT]
    for what, title in TIMES.items():
        lines = {"interval": _line(timed, timed)}
        for arm in ARMS:
            times = [[record[what] for record in found[arm, interval].records] for interval in timed]
            lines[arm] = _line(timed, [np.mean(each) if None not in each else np.nan for each in times])
        panels.append((title, lines))
    peaks = {interval: (lid.max(), times[lid.argmax()]) for interval, (times, lid) in zip(delay, over_time.values(), strict=True)}
    came = [f"{time:g} ms ({interval})" for interval, (most, time) in peaks.items() if most >= RESPONSE]
    never = [f"{interval} ms" for interval, (most, _) in peaks.items() if most < RESPONSE]
    closed = f"The lid is closed furthest at {', '.join(came)}" if came else "The lid does not close"
    closed += f" after CS onset; no response with {', '.join(never)}." if came and never else " after CS onset." if came else "."
    session = results[0][0].session
    levels = {name: line[1][session.acquisition - 1] for name, line in over_trials.items()}
    low, high = min(levels, key=levels.__getitem__), max(levels, key=levels.__getitem__)
    learned = (
        f"After {session.acquisition} trials with an air puff the lid closes by {levels[low]:.0f}% ({low}) to {levels[high]:.0f}%"
    )
    slopes = {
        name: np.polyfit(*line, 1)[0] for name, line in panels[-1][1].items() if np.isfinite(line[1]).all() and len(line[0]) > 1
    }
    shifted = ", ".join(f"{slope:.2f} ({name})" for name, slope in slopes.items() if name in ARMS)
    return {
        "isi-lid": curves([("", over_time)], TIME, CLOSURE, marked=False, graded=True, conclusion=closed),
        "isi-trials": curves(
            [("", over_trials)], "trial", CLOSURE, from_zero=True, marked=False, graded=True, conclusion=f"{learned} ({high})."
        ),
        "isi-time": curves(
            panels,
            "interval, ms",
            TIME,
            from_zero=True,
            conclusion=f"Shift of the Purkinje trough per ms of interval: {shifted}." if shifted else "",
        ),
    }


def _line(x: Iterable[float], y: Iterable[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([*x], dtype=np.float64), np.array([*y], dtype=np.float64)


ISI = Study(
    "isi",
    "Does the conditioned response come when the US does, and is that due to the time courses of granule cells?",
    _isi_plan,
    _isi_table,
    _isi_figures,
    captions={
        "isi-lid": "The lid in the last trial of acquisition, mean over seeds, by the interval from CS to US. Delay protocol.",
        "isi-trials": "Closure in every trial of acquisition and then of extinction, by interval; the bars are 95% intervals "
        "over seeds. Delay protocol.",
        "isi-time": "When the lid is closed furthest, and when Purkinje cells are least active, over the interval; means over "
        "seeds, left out if a seed has no response.",
    },
    dataset=STROKES,
    seeds=SEEDS,
)

# -- savings -----------------------------------------------------------------------------------------------------------------

FORGETTING = (0.0, 0.01, 0.02)
CIRCUITS = {"intact": (), "no nuclear plasticity": ("nuclear-plasticity",)}
DRAWN = 25  # trials of a phase
# Per scale: granule cells, trials of acquisition and reacquisition, trials of extinction.
SAVINGS_SIZES = {"smoke": (300, 30, 30), "course": (10_000, 100, 300), "paper": (10_000, 200, 600)}


def _savings_plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Conditioning]:
    """Take both circuits, with every rate of forgetting, through acquisition, extinction and reacquisition."""
    cells, paired, extinction = SAVINGS_SIZES[scale]
    trials: dict[str, Any] = {"acquisition": paired, "extinction": extinction, "reacquisition": paired, "cells": cells}
    return [
        Conditioning(Eyelid(forgetting=forgetting, lesions=lesions, seed=seed, **trials))
        for seed, forgetting, lesions in product(seeds, FORGETTING, CIRCUITS.values())
    ]


def _by_forgetting(results: Results) -> dict[tuple[float, str], Results]:
    names = {lesions: name for name, lesions in CIRCUITS.items()}
    return results.by(lambda config: (config.session.forgetting, names[config.session.lesions]))


def _savings_table(results: Results) -> Blocks:
    """Return two tables: savings and completeness of extinction for each circuit, and the savings due to nuclear plasticity.

    The savings due to nuclear plasticity are differences between the circuits, taken seed by seed.
    """
    rows, saved, session = [], {}, results[0][0].session
    for (forgetting, circuit), group in _by_forgetting(results).items():
        first, again = ([trials_to_criterion(p)(r) for r in group.records] for p in ("acquisition", "reacquisition"))
        saved[forgetting, circuit] = _differences(first, again)
        trials = [over_seeds(first), over_seeds(again), over_seeds(saved[forgetting, circuit])]
        trials.append(mean_over(trials_to_criterion("extinction"))(group))
        levels = [over_seeds([record[layer]["extinction"] for record in group.records], 3) for layer in ("purkinje", "nuclear")]
        rows.append([f"{forgetting:g}", circuit, *trials, *levels])
    due = [[f"{f:g}", over_seeds(_differences(*(saved[f, circuit] for circuit in CIRCUITS)))] for f in FORGETTING]
    head = ["forgetting", "circuit", "trials to criterion", "again", "saved", "trials to extinction"]
    legend = (
        f"{LEGEND}Delay protocol, {session.interval} ms, {session.acquisition} trials of acquisition, {session.extinction} of "
        f"extinction, {session.reacquisition} of reacquisition, {session.cells:,} granule cells. Forgetting: share of its change "
        "that a parallel fibre's synapse loses per trial. Saved: trials to the criterion the first time minus those the second "
        "time. Purkinje trough: lowest Purkinje activity in the last trial of extinction; below 1 the cortex keeps a trace of "
        "what it learned that the nuclei do not show. Saved by nuclear plasticity: how much more the intact circuit saves than "
        "the lesioned one, seed by seed."
    )
    return [
        Table([*head, "Purkinje trough after extinction", "nuclear synapses after it"], rows),
        Text(legend),
        Table(["forgetting", "trials saved by nuclear plasticity"], due),
    ]


def _differences(one: Sequence[float | None], other: Sequence[float | None]) -> list[float | None]:
    """Return the first value minus the second for each seed; None if either of them is missing."""
    return [None if a is None or b is None else a - b for a, b in zip(one, other, strict=True)]


def _savings_figures(results: Results) -> Figures:
    """Draw the first trials of acquisition and of reacquisition in one panel per rate of forgetting."""
    found, session = _by_forgetting(results), results[0][0].session
    again = session.acquisition + session.extinction
    phases = {"first": slice(0, DRAWN), "again": slice(again, again + DRAWN)}
    panels = []
    for forgetting in FORGETTING:
        parts = product(CIRCUITS, phases.items())
        lines = {f"{name}, {phase}": closure_curve(found[forgetting, name], trials) for name, (phase, trials) in parts}
        panels.append((f"forgetting {forgetting:g}", lines))
    title, lines = panels[0]
    saved = {name: lines[f"{name}, again"][1] - lines[f"{name}, first"][1] for name in CIRCUITS}
    trial = int(saved["intact"].argmax())
    shown = (
        f"{name} {lines[f'{name}, first'][1][trial]:.0f}%, again {lines[f'{name}, again'][1][trial]:.0f}%" for name in CIRCUITS
    )
    said = f"In trial {trial + 1} the lid closes by ({title}): {'; '.join(shown)}."
    return {"savings": curves(panels, "trial", CLOSURE, from_zero=True, marked=False, conclusion=said)}


SAVINGS = Study(
    "savings",
    "Is an extinguished response relearned faster, and is that because the nuclei retain what they learned?",
    _savings_plan,
    _savings_table,
    _savings_figures,
    captions={
        "savings": "Closure in the first trials of acquisition, and in those of reacquisition after extinction; the bars are 95% "
        "intervals over seeds."
    },
    dataset=STROKES,
    seeds=SEEDS,
)

# -- lesions -----------------------------------------------------------------------------------------------------------------

# Per scale: granule cells, trials of acquisition, of extinction.
LESIONS_SIZES = {"smoke": (300, 25, 20), "course": (10_000, 100, 100), "paper": (10_000, 200, 200)}


def _lesions_plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Conditioning]:
    """Run conditioning on an intact circuit and, for each lesion, on a circuit with only that lesion.

    The lesion is made before the first trial.
    """
    cells, acquisition, extinction = LESIONS_SIZES[scale]
    trials: dict[str, Any] = {"acquisition": acquisition, "extinction": extinction, "cells": cells}
    lesions = ((), *((lesion,) for lesion in LESIONS))
    return [Conditioning(Eyelid(lesions=each, seed=seed, **trials)) for seed, each in product(seeds, lesions)]


def _by_lesion(results: Results) -> dict[str, Results]:
    return results.by(lambda config: "".join(config.session.lesions) or "intact")


def _lesions_table(results: Results) -> Blocks:
    """Return a table that shows for each lesion whether, when and how much the circuit responds, and whether responding stops."""
    session = results[0][0].session
    found = tabulate(
        "lesion",
        _by_lesion(results),
        ("what is missing", lambda group: "".join(LESIONS[each] for each in group[0][0].session.lesions) or "nothing"),
        ("trials to criterion", mean_over(trials_to_criterion("acquisition"))),
        ("closure, %", mean_over(lambda record: record["closure"][session.acquisition - 1])),
        ("peak, ms", mean_over("peak", 0)),
        ("trials to extinction", mean_over(trials_to_criterion("extinction"))),
        ("closure after extinction, %", mean_over(lambda record: record["closure"][-1])),
    )
    legend = (
        f"{LEGEND}Delay protocol, {session.interval} ms, {session.acquisition} trials of acquisition, {session.extinction} of "
        f"extinction, {session.cells:,} granule cells. Closure and peak are those of the last trial of acquisition, closure "
        "after extinction that of the last trial."
    )
    return [found, Text(legend)]


def _lesions_figures(results: Results) -> Figures:
    """Draw the lid's closure in every trial, in one panel for the circuits that respond and one for those that do not."""
    lines = {name: closure_curve(group) for name, group in _by_lesion(results).items()}
    respond = {name: line for name, line in lines.items() if line[1].max() >= RESPONSE}
    silent = {name: line for name, line in lines.items() if name not in respond}
    panels = [(title, some) for title, some in (("these respond", respond), ("these do not", silent)) if some]
    ends = {"The lid closes": respond, "It does not": silent}
    said = ". ".join(f"{what} with: {', '.join(some)}" for what, some in ends.items() if some) + "."
    return {"lesions": curves(panels, "trial", CLOSURE, from_zero=True, marked=False, conclusion=said)}


LESIONS_STUDY = Study(
    "lesions",
    "What is each part of the circuit for: what does eyelid conditioning lose without it?",
    _lesions_plan,
    _lesions_table,
    _lesions_figures,
    captions={
        "lesions": "Closure in every trial of acquisition and then of extinction, with one part missing from the first trial on; "
        "the bars are 95% intervals over seeds."
    },
    dataset=STROKES,
    seeds=SEEDS,
)
