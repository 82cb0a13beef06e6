"""Is an extinguished response relearned faster, because of what the nuclei kept? With and without forgetting in the cortex."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from matplotlib.figure import Figure

from minicereb.experiments.configs import Data
from minicereb.experiments.kinds.conditioning import Conditioning
from minicereb.report.figures import curves
from minicereb.report.page import Table, Text
from minicereb.studies.eyelid_tables import (
    EYELID_SEEDS,
    LEGEND,
    closure_curve,
    mean_over,
    over_seeds,
    seed_differences,
    trials_to_criterion,
)
from minicereb.studies.results import Results
from minicereb.studies.study import STROKES, Study
from minicereb.studies.tables import Blocks
from minicereb.tasks.eyelid_conditioning import Eyelid

FORGETTING = (0.0, 0.01, 0.02)
CIRCUITS = {"intact": (), "no nuclear plasticity": ("nuclear-plasticity",)}
# Per scale: granule cells, trials of acquisition and reacquisition, trials of extinction.
SIZES = {"smoke": (300, 30, 30), "course": (10_000, 100, 300), "paper": (10_000, 200, 600)}
DRAWN = 25  # trials of a phase


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Conditioning]:
    """Condition both circuits with every rate of forgetting: acquisition, extinction, reacquisition."""
    cells, paired, extinction = SIZES[scale]
    trials: dict[str, Any] = {"acquisition": paired, "extinction": extinction, "reacquisition": paired, "cells": cells}
    return [
        Conditioning(Eyelid(forgetting=forgetting, lesions=lesions, seed=seed, **trials))
        for seed, forgetting, lesions in product(seeds, FORGETTING, CIRCUITS.values())
    ]


def _by_circuit(results: Results) -> dict[tuple[float, str], Results]:
    names = {lesions: name for name, lesions in CIRCUITS.items()}
    return results.by(lambda config: (config.session.forgetting, names[config.session.lesions]))


def table(results: Results) -> Blocks:
    """Show the savings of each circuit, how complete extinction was, and the part due to the nuclei, seed by seed."""
    rows, saved = [], {}
    for (forgetting, circuit), group in _by_circuit(results).items():
        first, again = ([trials_to_criterion(p)(r) for r in group.records] for p in ("acquisition", "reacquisition"))
        saved[forgetting, circuit] = seed_differences(first, again)
        trials = [over_seeds(first), over_seeds(again), over_seeds(saved[forgetting, circuit])]
        trials.append(mean_over(trials_to_criterion("extinction"))(group))
        levels = [over_seeds([record[layer]["extinction"] for record in group.records], 3) for layer in ("purkinje", "nuclear")]
        rows.append([f"{forgetting:g}", circuit, *trials, *levels])
    due = []
    for forgetting in FORGETTING:
        intact, control = (saved[forgetting, circuit] for circuit in CIRCUITS)
        due.append([f"{forgetting:g}", over_seeds(seed_differences(intact, control))])
    head = ["forgetting", "circuit", "trials to criterion", "again", "saved", "trials to extinction"]
    return [
        Table([*head, "Purkinje trough after extinction", "nuclear synapses after it"], rows),
        Text(_legend(results)),
        Table(["forgetting", "trials saved by nuclear plasticity"], due),
    ]


def _legend(results: Results) -> str:
    session = results[0][0].session
    return (
        f"{LEGEND} Delay protocol, {session.interval} ms, {session.acquisition} trials of acquisition, {session.extinction} of "
        f"extinction, {session.reacquisition} of reacquisition, {session.cells:,} granule cells. Forgetting: share of its change "
        "that a parallel fibre's synapse loses per trial. Saved: trials to the criterion the first time minus those the second "
        "time. Purkinje trough: lowest Purkinje activity in the last trial of extinction; at 1 the cortex has no trace left of "
        "what it learned, below 1 a trace remains that the nuclei do not show. Saved by nuclear plasticity: how much more the "
        "intact circuit saves than the lesioned one, seed by seed."
    )


def figures(results: Results) -> Mapping[str, Figure]:
    """Draw the first trials of acquisition and of reacquisition in one panel per rate of forgetting."""
    found, session = _by_circuit(results), results[0][0].session
    again = session.acquisition + session.extinction
    phases = {"first": slice(0, DRAWN), "again": slice(again, again + DRAWN)}
    panels = []
    for forgetting in FORGETTING:
        parts = product(CIRCUITS, phases.items())
        lines = {f"{name}, {phase}": closure_curve(found[forgetting, name], trials) for name, (phase, trials) in parts}
        panels.append((f"forgetting {forgetting:g}", lines))
    return {"savings": curves(panels, "trial", "closure of the lid, %", from_zero=True, marked=False)}


SAVINGS = Study(
    "savings",
    "Is an extinguished response relearned faster, and is that due to what the nuclei kept?",
    plan,
    table,
    figures,
    captions={
        "savings": "Closure in the first trials of acquisition, and in those of reacquisition after extinction; the bars are 95% "
        "intervals over seeds."
    },
    dataset=STROKES,
    seeds=EYELID_SEEDS,
)
