"""What is each part of the circuit for? Eyelid conditioning with one part missing at a time."""

from __future__ import annotations

from itertools import product
from pathlib import Path

from minicereb.experiments.configs import Data
from minicereb.experiments.kinds.conditioning import Conditioning
from minicereb.report.figures import curves, save_figure
from minicereb.report.pipes import markdown
from minicereb.studies.eyelid import ABOUT_SEEDS, CRITERION, SEEDS, SMALLEST, by, curve, over_seeds, reached
from minicereb.studies.study import Results, Study
from minicereb.tasks.circuit import LESIONS
from minicereb.tasks.eyelid import Eyelid

INTACT = "intact"
CIRCUITS: dict[str, tuple[str, ...]] = {INTACT: (), **{lesion: (lesion,) for lesion in LESIONS}}
# Per scale: granule cells, trials of acquisition, of extinction.
SIZES = {"smoke": (300, 25, 20), "course": (10_000, 100, 100), "paper": (10_000, 200, 200)}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Conditioning]:
    """The intact circuit, and each lesion alone, from the first trial on."""
    cells, acquisition, extinction = SIZES[scale]
    return [
        Conditioning(Eyelid(acquisition=acquisition, extinction=extinction, cells=cells, lesions=lesions, seed=seed))
        for seed, lesions in product(seeds, CIRCUITS.values())
    ]


def table(results: Results) -> str:
    """A row for each lesion: whether it responds, when, how much, and whether it ceases to."""
    found = by(results, lambda session: session.lesions)
    session = results[0][0].session
    rows = []
    for name, lesions in CIRCUITS.items():
        records = found[lesions]
        rows.append(
            [
                name,
                LESIONS.get(name, "nothing is missing"),
                over_seeds(reached(records, "acquisition")),
                over_seeds([record["closure"][session.acquisition - 1] for record in records]),
                over_seeds([record["peak"] for record in records], 0),
                over_seeds(reached(records, "extinction")),
                over_seeds([record["closure"][-1] for record in records]),
            ]
        )
    head = ["lesion", "what is missing", "trials to criterion", "closure, %", "peak, ms", "trials to extinction"]
    caption = (
        f"{CRITERION}{ABOUT_SEEDS} Delay protocol, {session.interval} ms, {session.acquisition} trials of acquisition, "
        f"{session.extinction} of extinction, {session.cells:,} granule cells. Closure and peak are of the last trial of "
        "acquisition, closure after extinction of the last trial of that."
    )
    return "\n".join([*markdown([*head, "closure after extinction, %"], rows), "", caption])


def figures(results: Results, out: Path) -> None:
    """Draw the lid's closure over all trials, in panels of the circuits that respond and of those that do not."""
    found = by(results, lambda session: session.lesions)
    lines = {name: curve(found[lesions]) for name, lesions in CIRCUITS.items()}
    respond = {name: line for name, line in lines.items() if line[1].max() >= 10}
    silent = {name: line for name, line in lines.items() if name not in respond}
    panels = [(title, some) for title, some in (("these respond", respond), ("these do not", silent)) if some]
    save_figure(curves(panels, "trial", "closure of the lid, %", from_zero=True, marked=False), out / "lesions.png")


LESIONS_STUDY = Study(
    "lesions",
    "What is each part of the circuit for: what does eyelid conditioning lose without it?",
    SMALLEST,
    plan,
    table,
    figures,
    captions={
        "lesions": "Closure in every trial of acquisition and then of extinction, with one part missing from the first trial on; "
        "the bars are 95% intervals over seeds."
    },
    seeds=SEEDS,
)
