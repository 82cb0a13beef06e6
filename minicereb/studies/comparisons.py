"""The table of a study's paired comparisons: no difference without its interval, no p without the number of tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from minicereb.experiments.configs import describe
from minicereb.experiments.identity import differences
from minicereb.experiments.kinds.paired import PairedComparison
from minicereb.experiments.laboratory import Record
from minicereb.report.formats import strength
from minicereb.report.pipes import markdown
from minicereb.statistics import holm
from minicereb.studies.study import Results

SIDES = ("attacked", "certified")
HEAD = ("what", "against", "seed", "ε", "of", "difference [95%]", "only the first", "only the second", "p (Holm)")


class Row(NamedTuple):
    """One comparison at one ε, as a table has it; ``found``: a record of :func:`minicereb.experiments.kinds.paired.compared`."""

    config: PairedComparison
    where: str
    side: str
    found: Record


def rows_of(results: Results, sides: Sequence[str] = ("attacked",)) -> list[Row]:
    """Return the comparisons among the results: first the clean images, then each ε, of these sides where there are any."""
    rows = []
    for config, record in results:
        if isinstance(config, PairedComparison):
            rows.append(Row(config, "-", "clean", record["clean"]))
            for entry in record["epsilons"]:
                found = ((side, entry[side]) for side in sides)
                rows += [Row(config, strength(entry["epsilon"]), side, each) for side, each in found if each is not None]
    return rows


def comparison_table(results: Results, sides: Sequence[str] = ("attacked",)) -> str:
    """Write the paired comparisons among the results of a study as a Markdown table with its legend.

    Parameters
    ----------
    results : list of (experiment, record)
        All of a study's; those of other kinds are passed over.
    sides : sequence of {"attacked", "certified"}
        What is compared at each ε, beside the accuracy on the images as they are.

    Returns
    -------
    str
        A row for each comparison, ε and side in which an image tells the two apart; seeds in rows of their own, since they share
        the images. Empty without comparisons.
    """
    rows = rows_of(results, sides)
    if not rows:
        return ""
    cells = []
    for row, p in zip(rows, holm([row.found["p"] for row in rows]), strict=True):
        if row.found["only_one"] + row.found["only_other"] == 0:
            continue
        told = [*_names(row.config), _seeds(row.config), row.where, row.side, in_points(row.found)]
        cells.append([*told, f"{row.found['only_one']:,}", f"{row.found['only_other']:,}", shown(p)])
    images = sorted({record["images"] for config, record in results if isinstance(config, PairedComparison)})
    return "\n".join([*markdown(HEAD, cells), "", legend(len(rows), images)])


def in_points(found: Record) -> str:
    """Write a difference of shares with its interval, in percentage points."""
    low, high = found["interval"]
    return f"{100 * found['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def shown(p: float) -> str:
    """Write a p-value with two digits, and none below 0.0001."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def legend(tests: int, images: Sequence[int]) -> str:
    """Say how the comparisons were made, how many tests there are and what their intervals are about."""
    return (
        f"Difference: share of the images ({', '.join(f'{n:,}' for n in images)}, the same for both) that the first keeps right, "
        "less that of the second, in points, with its 95% interval (Tango's score, each for itself). Only the first, only the "
        "second: images that just one of the two keeps. p: McNemar's exact test, adjusted by Holm for the "
        f"{tests} test{'s' * (tests > 1)} made; rows in which no image tells the two apart are left out. Intervals and p are "
        "about other images of the kind, for these trained models; what another seed would change they do not say. Attacked "
        "shares are upper bounds and certified ones lower bounds: their differences are of what was found and proved."
    )


def _names(config: PairedComparison) -> tuple[str, str]:
    """The two models; where a few words do not tell them apart, the settings that do."""
    one, other = (describe(train) for train in config.trainings)
    return (one, other) if one != other else (one, f"the same but for {'; '.join(differences(config.other, config.one))}")


def _seeds(config: PairedComparison) -> str:
    seeds = dict.fromkeys(train.seed for train in config.trainings)
    return ", ".join(map(str, seeds))
