"""What is each part of the circuit for? Eyelid conditioning with one part missing at a time."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from matplotlib.figure import Figure

from minicereb.experiments.configs import Data
from minicereb.experiments.kinds.conditioning import Conditioning
from minicereb.report.figures import curves
from minicereb.report.page import Text
from minicereb.studies.eyelid_tables import EYELID_SEEDS, LEGEND, closure_curve, mean_over, trials_to_criterion
from minicereb.studies.results import Results, tabulate
from minicereb.studies.study import STROKES, Study
from minicereb.studies.tables import Blocks
from minicereb.tasks.circuit import LESIONS
from minicereb.tasks.eyelid_conditioning import Eyelid

CIRCUITS: dict[str, tuple[str, ...]] = {"intact": (), **{lesion: (lesion,) for lesion in LESIONS}}
# Per scale: granule cells, trials of acquisition, of extinction.
SIZES = {"smoke": (300, 25, 20), "course": (10_000, 100, 100), "paper": (10_000, 200, 200)}


def plan(data: Data, scale: str, seeds: tuple[int, ...]) -> list[Conditioning]:
    """Condition the intact circuit, and the circuit with each lesion alone, from the first trial on."""
    cells, acquisition, extinction = SIZES[scale]
    return [
        Conditioning(Eyelid(acquisition=acquisition, extinction=extinction, cells=cells, lesions=lesions, seed=seed))
        for seed, lesions in product(seeds, CIRCUITS.values())
    ]


def _by_circuit(results: Results) -> dict[str, Results]:
    return results.by(lambda config: config.session.lesions[0] if config.session.lesions else "intact")


def table(results: Results) -> Blocks:
    """Show for each lesion whether the circuit responds, when, how much, and whether it stops."""
    session = results[0][0].session
    found = tabulate(
        "lesion",
        _by_circuit(results),
        ("what is missing", lambda group: LESIONS[group[0][0].session.lesions[0]] if group[0][0].session.lesions else "nothing"),
        ("trials to criterion", mean_over(trials_to_criterion("acquisition"))),
        ("closure, %", mean_over(lambda record: record["closure"][session.acquisition - 1])),
        ("peak, ms", mean_over("peak", 0)),
        ("trials to extinction", mean_over(trials_to_criterion("extinction"))),
        ("closure after extinction, %", mean_over(lambda record: record["closure"][-1])),
    )
    legend = (
        f"{LEGEND} Delay protocol, {session.interval} ms, {session.acquisition} trials of acquisition, {session.extinction} of "
        f"extinction, {session.cells:,} granule cells. Closure and peak are those of the last trial of acquisition, closure "
        "after extinction that of the last trial."
    )
    return [found, Text(legend)]


def figures(results: Results) -> Mapping[str, Figure]:
    """Draw the lid's closure over all trials, in panels of the circuits that respond and of those that do not."""
    lines = {name: closure_curve(group) for name, group in _by_circuit(results).items()}
    respond = {name: line for name, line in lines.items() if line[1].max() >= 10}
    silent = {name: line for name, line in lines.items() if name not in respond}
    panels = [(title, some) for title, some in (("these respond", respond), ("these do not", silent)) if some]
    return {"lesions": curves(panels, "trial", "closure of the lid, %", from_zero=True, marked=False)}


LESIONS_STUDY = Study(
    "lesions",
    "What is each part of the circuit for: what does eyelid conditioning lose without it?",
    plan,
    table,
    figures,
    captions={
        "lesions": "Closure in every trial of acquisition and then of extinction, with one part missing from the first trial on; "
        "the bars are 95% intervals over seeds."
    },
    dataset=STROKES,
    seeds=EYELID_SEEDS,
)
