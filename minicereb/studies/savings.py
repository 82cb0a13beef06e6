"""Is what was extinguished learned faster again, and is that what the nuclei kept? With forgetting in the cortex and without."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from minicereb.experiments.configs import Data
from minicereb.experiments.kinds.conditioning import Conditioning
from minicereb.report.figures import curves, save_figure
from minicereb.report.pipes import markdown
from minicereb.studies.eyelid import (
    ABOUT_SEEDS,
    CRITERION,
    SEEDS,
    SMALLEST,
    by,
    curve,
    differences,
    over_seeds,
    reached,
)
from minicereb.studies.study import Results, Study
from minicereb.tasks.eyelid import Eyelid

FORGETTING = (0.0, 0.01, 0.02)
CIRCUITS = {"intact": (), "no nuclear plasticity": ("nuclear-plasticity",)}
# Per scale: granule cells, trials of acquisition and reacquisition, trials of extinction.
SIZES = {"smoke": (300, 30, 30), "course": (10_000, 100, 300), "paper": (10_000, 200, 600)}
DRAWN = 25  # trials of a phase


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Conditioning]:
    """Both circuits with every rate of forgetting: acquisition, extinction, reacquisition."""
    cells, paired, extinction = SIZES[scale]
    return [
        Conditioning(
            Eyelid(
                acquisition=paired,
                extinction=extinction,
                reacquisition=paired,
                cells=cells,
                forgetting=forgetting,
                lesions=lesions,
                seed=seed,
            )
        )
        for seed, forgetting, lesions in product(seeds, FORGETTING, CIRCUITS.values())
    ]


def table(results: Results) -> str:
    """What is saved in each circuit, how full extinction was, and what of the saving is due to the nuclei, seed by seed."""
    found = by(results, lambda session: (session.forgetting, session.lesions))
    rows, due = [], []
    saved: dict[tuple[float, tuple[str, ...]], list[float | None]] = {}
    for (forgetting, lesions), records in found.items():
        first, again = reached(records, "acquisition"), reached(records, "reacquisition")
        saved[forgetting, lesions] = differences(first, again)
        rows.append(
            [
                f"{forgetting:g}",
                next(name for name, cut in CIRCUITS.items() if cut == lesions),
                over_seeds(first),
                over_seeds(again),
                over_seeds(saved[forgetting, lesions]),
                over_seeds(reached(records, "extinction")),
                over_seeds([record["purkinje"]["extinction"] for record in records], 3),
                over_seeds([record["nuclear"]["extinction"] for record in records], 3),
            ]
        )
    for forgetting in FORGETTING:
        intact, control = (saved[forgetting, lesions] for lesions in CIRCUITS.values())
        due.append([f"{forgetting:g}", over_seeds(differences(intact, control))])
    head = ["forgetting", "circuit", "trials to criterion", "again", "saved", "trials to extinction"]
    return "\n".join(
        [
            *markdown([*head, "Purkinje trough after extinction", "nuclear synapses after it"], rows),
            "",
            _caption(results),
            "",
            *markdown(["forgetting", "trials saved by nuclear plasticity"], due),
        ]
    )


def _caption(results: Results) -> str:
    session = results[0][0].session
    return (
        f"{CRITERION}{ABOUT_SEEDS} Delay protocol, {session.interval} ms, {session.acquisition} trials of acquisition, "
        f"{session.extinction} of extinction, {session.reacquisition} of reacquisition, {session.cells:,} granule cells. "
        "Forgetting: share of its change that a parallel fibre's synapse loses in a trial. Saved: trials to the criterion at "
        "first less those at the second time. Purkinje trough: least Purkinje activity in the last trial of extinction; at 1 "
        "the cortex has lost all trace of what it learned, below it something is left that the nuclei do not show. Saved by "
        "nuclear plasticity: what the intact circuit saves more than the lesioned one, seed by seed."
    )


def figures(results: Results, out: Path) -> None:
    """Draw the first trials of acquisition and of reacquisition over each other, a panel for each rate of forgetting."""
    found, session = by(results, lambda session: (session.forgetting, session.lesions)), results[0][0].session
    again = session.acquisition + session.extinction
    phases = {"first": slice(0, DRAWN), "again": slice(again, again + DRAWN)}
    panels = [
        (
            f"forgetting {forgetting:g}",
            {
                f"{name}, {phase}": curve(found[forgetting, lesions], trials)
                for name, lesions in CIRCUITS.items()
                for phase, trials in phases.items()
            },
        )
        for forgetting in FORGETTING
    ]
    save_figure(curves(panels, "trial", "closure of the lid, %", from_zero=True, marked=False), out / "savings.png")


SAVINGS = Study(
    "savings",
    "Is an extinguished response learned faster again, and is that what the nuclei kept?",
    SMALLEST,
    plan,
    table,
    figures,
    captions={
        "savings": "Closure in the first trials of acquisition, and in those of reacquisition after extinction; the bars are 95% "
        "intervals over seeds."
    },
    seeds=SEEDS,
)
