"""``minicereb gradcheck``: compare every derivative with finite differences."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

from minicereb import datasets
from minicereb.backend import configure, to_numpy
from minicereb.cli.options import RESULTS, moved_data
from minicereb.cli.output import Answer, as_json, shown
from minicereb.documents import table
from minicereb.errors import require
from minicereb.experiments.runs import dataset_of, load_model, read_run
from minicereb.gradcheck.claims import TOLERANCE, CheckedClaim, Claim, examine
from minicereb.gradcheck.model_claims import model_claims
from minicereb.gradcheck.project_claims import claims
from minicereb.randomness import generator

BLUR = 0.05  # largest value added to a pixel: at a black pixel, many units would be at their kink


@click.command()
@click.argument("run", type=RESULTS, required=False)
@click.option("--images", default=3, show_default=True, help="Number of the run's test images to use, starting with the first.")
@moved_data
@click.option("--seed", default=0, show_default=True, help="Seed of the directions, the credits and the noise on the images.")
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
    counts = collections.Counter(finding.state for finding in findings)
    said = {"ok": "agree", "wrong": "are wrong", "kinks": "met kinks in all directions", "none": "do not exist"}
    total = ", ".join(f"{counts[state]} {words}" for state, words in said.items() if counts[state])
    names = {"name": "derivative", "tag": "equation"}
    rows = [{names.get(name, name): value for name, value in finding._asdict().items()} for finding in findings]
    head = ("derivative", "equation", "by", "numbers", "scale", "error", "kinks", "state")
    text = f"{table(head, map(_cells, findings))}\n\n{len(findings)} derivatives: {total}"
    return Answer({"ok": ok, "run": run, "tolerance": TOLERANCE, "derivatives": rows}, text, ok)


def _of_run(run: Path, place: str | None, images: int, seed: int) -> Iterator[Claim]:
    found = read_run(run)
    dataset = dataset_of(found, place)
    require(1 <= images <= len(dataset.x_test), "images", images, f"a number of test images, from 1 to {len(dataset.x_test)}")
    model = load_model(found, dataset)
    x = to_numpy(datasets.to_unit(dataset.x_test[:images])).astype(np.float64)
    x += BLUR * generator(seed, "gradcheck-images").random(x.shape)
    return model_claims(model, x, dataset.y_test[:images], seed)


def _cells(finding: CheckedClaim) -> tuple[str | None, ...]:
    place = f", at [{finding.where}]" if finding.where else ""
    kinks = f"{finding.kinks} of {finding.kinks + finding.directions}{place}" if finding.kinks else None
    error = None if finding.error is None else f"{finding.error:.1e}"
    state = finding.state if finding.state != "none" else f"none: {finding.where}"
    scale = None if finding.state == "none" else f"{finding.scale:.2e}"
    return (finding.name, finding.tag or None, finding.by, f"{finding.numbers:,}", scale, error, kinks, state)
