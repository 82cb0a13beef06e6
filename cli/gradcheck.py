"""``minicereb gradcheck``: every derivative against differences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from minicereb import datasets
from minicereb.backend import configure, to_numpy
from minicereb.cli.options import RESULTS, moved_data
from minicereb.cli.output import Answer, as_json, shown, table
from minicereb.errors import require
from minicereb.experiments.runs import dataset_of, load_model, read_run
from minicereb.gradcheck.claims import TOLERANCE, CheckedClaim, Claim, examine
from minicereb.gradcheck.model_claims import model_claims
from minicereb.gradcheck.project_claims import claims
from minicereb.randomness import generator

BLUR = 0.05  # added to pixels, at most: a black pixel would be a kink of many units


@click.command()
@click.argument("run", type=RESULTS, required=False)
@click.option("--images", default=3, show_default=True, help="Test images of a run, the first ones.")
@moved_data
@click.option("--seed", default=0, show_default=True, help="Seed of directions, credits and the noise on the images.")
@as_json
def gradcheck(run: Path | None, images: int, dataset: str | None, seed: int) -> Answer:
    """Check every derivative of the project, or of the model in RUN, in float64; exit with 1 if one is wrong."""
    require(seed >= 0, "seed", seed, "a whole number of at least 0")
    require(dataset is None or run is not None, "dataset", dataset, "given with the folder of a run")
    configure(device="cpu")
    findings: list[CheckedClaim] = []
    made = claims() if run is None else _of_run(run, dataset, images, seed)
    for claim in shown(made, lambda claim: f"{len(findings)} checked, now {claim.name} by {claim.by}"):
        findings.append(examine(claim, seed))
    ok = all(finding.state != "wrong" for finding in findings)
    head = ("derivative", "equation", "by", "numbers", "scale", "error", "kinks", "state")
    counts = {state: sum(each.state == state for each in findings) for state in ("ok", "wrong", "kinks", "none")}
    said = {"ok": "agree", "wrong": "are wrong", "kinks": "met kinks in all directions", "none": "do not exist"}
    total = f"{len(findings)} derivatives: " + ", ".join(f"{n} {said[state]}" for state, n in counts.items() if n)
    document = {
        "ok": ok,
        "run": None if run is None else str(run),
        "tolerance": TOLERANCE,
        "derivatives": [_row(each) for each in findings],
    }
    return Answer(document, f"{table(head, [_cells(each) for each in findings])}\n\n{total}", ok)


def _of_run(run: Path, place: str | None, images: int, seed: int) -> Iterator[Claim]:
    found = read_run(run)
    dataset = dataset_of(found, place)
    require(1 <= images <= len(dataset.x_test), "images", images, f"a number of test images, from 1 to {len(dataset.x_test)}")
    model = load_model(found, dataset)
    x = to_numpy(datasets.to_unit(dataset.x_test[:images])).astype(np.float64)
    x += BLUR * generator(seed, "gradcheck-images").random(x.shape)
    return model_claims(model, x, dataset.y_test[:images], seed)


def _row(finding: CheckedClaim) -> dict[str, Any]:
    names = {"name": "derivative", "tag": "equation"}
    return {names.get(name, name): value for name, value in finding._asdict().items()}


def _cells(finding: CheckedClaim) -> tuple[str, ...]:
    place = f", at [{finding.where}]" if finding.where else ""
    kinks = f"{finding.kinks} of {finding.kinks + finding.directions}{place}" if finding.kinks else "-"
    error = "-" if finding.error is None else f"{finding.error:.1e}"
    state = finding.state if finding.state != "none" else f"none: {finding.where}"
    scale = "-" if finding.state == "none" else f"{finding.scale:.2e}"
    return (finding.name, finding.tag or "-", finding.by, f"{finding.numbers:,}", scale, error, kinks, state)
