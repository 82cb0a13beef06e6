"""Evaluations kept in a folder: taken up again after an interruption, with the outcome of every attack on every image."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import numpy as np

from minicereb.errors import DataError
from minicereb.experiments.laboratory import Record
from minicereb.files import folder_lock, read_json, read_npz, write_json, write_npz
from minicereb.lanes import blocks
from minicereb.robustness.evaluate import Plan, Subject, evaluate_images
from minicereb.robustness.masking import checklist
from minicereb.robustness.outcomes import Counts, Outcomes, no_outcomes
from minicereb.robustness.scene import CHECKED, Scene

BLOCK = 256  # images evaluated together, in a file of their own
SECONDS_BETWEEN_FILES = 5.0
RECORD, CHECKLIST = "evaluation.json", "checklist.json"
FIGURES = ("accuracy.png", "gradients.png", "nearest.png")


def evaluate_into(folder: Path, subject: Subject, plan: Plan, images: int, about: Record) -> Generator[str, None, Record]:
    """Evaluate the first `images` test images into `folder`, or go on where an interruption left off.

    Parameters
    ----------
    folder : Path
        Belongs to this evaluation alone.
    subject : Subject
    plan : Plan
    images : int
    about : dict
        What the record begins with.

    Yields
    ------
    str
        What is going on.

    Returns
    -------
    dict
        The record, as docs/formats.md has it; also in ``folder/evaluation.json``.
    """
    if (folder / RECORD).exists():
        return read_evaluation(folder)
    counts, seconds = Counts(plan.attacks, plan.epsilons, plan.norm), 0.0
    with folder_lock(folder):
        for part in blocks(images, BLOCK):
            outcomes, took = yield from _block(folder, subject, plan, part)
            counts.add(outcomes)
            seconds += took
            if part.start == 0:
                first = outcomes
        checks = yield from _checks(folder, subject, plan, first)
        certified = subject.certifier is not None
        record = {
            **about,
            "images": counts.images,
            "clean_accuracy": counts.clean / counts.images,
            "no_transfer": None if subject.substitutes else subject.no_substitute,
            "norm": plan.norm,
            "seed": plan.seed,
            "epsilons": [{**counts.at(e, certified), "checklist": checks[e]} for e in range(len(plan.epsilons))],
            "checked_images": min(images, CHECKED),
            "curve": counts.curve(),
            "seconds": round(seconds, 3),
        }
        write_json(folder / RECORD, record)
    return record


def read_evaluation(folder: Path) -> Record:
    """Read the record of a complete evaluation."""
    record = read_json(folder / RECORD)
    if not isinstance(record, dict) or "epsilons" not in record:
        raise DataError(f"{folder / RECORD} does not hold an evaluation; delete it to evaluate again")
    return record


def block_paths(folder: Path) -> list[Path]:
    """Files with the outcomes of the images, in their order; each is the ``arrays()`` of an :class:`Outcomes`."""
    return sorted(folder.glob("images-*.npz"))


def read_outcomes(path: Path) -> Outcomes:
    """Read a block of outcomes."""
    return _read_block(path)[0]


def _block(folder: Path, subject: Subject, plan: Plan, part: slice) -> Generator[str, None, tuple[Outcomes, float]]:
    """Evaluate one block of images, from its file on if there is one."""
    path = folder / f"images-{part.start:06d}.npz"
    if path.exists():
        outcomes, done, seconds = _read_block(path)
    else:
        ids = np.arange(part.start, part.stop, dtype=np.int64)
        shape = len(plan.epsilons), len(plan.attacks)
        outcomes, done, seconds = no_outcomes(ids, subject.labels[ids], subject.rows.shape[1], *shape), 0, 0.0
    began = written = time.monotonic()

    def save(done: int) -> None:
        state = {
            "done": np.array(done, dtype=np.int64),
            "seconds": np.array(seconds + time.monotonic() - began, dtype=np.float64),
        }
        write_npz(path, outcomes.arrays() | state)

    with closing(evaluate_images(subject, plan, outcomes, done)) as steps:
        for complete, doing in steps:
            if time.monotonic() - written > SECONDS_BETWEEN_FILES:
                save(complete)
                written = time.monotonic()
            try:
                yield f"images {part.start}-{part.stop}: {doing}"
            except GeneratorExit:
                save(complete)
                raise
    save(complete)
    return outcomes, seconds + time.monotonic() - began


def _read_block(path: Path) -> tuple[Outcomes, int, float]:
    arrays = read_npz(path)
    try:
        done, seconds = int(arrays.pop("done")), float(arrays.pop("seconds"))
        return Outcomes(**arrays), done, seconds
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} does not hold outcomes of an evaluation ({error}); delete it to evaluate again") from error


def _checks(folder: Path, subject: Subject, plan: Plan, outcomes: Outcomes) -> Generator[str, None, list[list[Record]]]:
    """Go through the checklist at every ε; what was found before is in a file."""
    path = folder / CHECKLIST
    found: list[list[Record]] = read_json(path) if path.exists() else []
    if not isinstance(found, list) or not all(isinstance(lines, list) for lines in found):
        raise DataError(f"{path} does not hold checklists; delete it to go through them again")
    for e in range(len(found), len(plan.epsilons)):
        lines = []
        for name, finding in checklist(Scene(subject, plan, outcomes, e)):
            lines.append({"name": name, **finding._asdict()})
            yield f"checklist at {plan.epsilons[e]:g}: {name}"
        found.append(lines)
        write_json(path, found)
    return found
