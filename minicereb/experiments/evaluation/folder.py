"""Evaluations kept in a folder: taken up again after an interruption, with the outcome of every attack on every image."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import numpy as np

from minicereb.documents import LARGEST_INTEGER, Count, Mismatch, Range, Seed, Share, check, finite, read_json
from minicereb.errors import DataError
from minicereb.experiments.records import Interval, Record
from minicereb.files import folder_lock, read_npz, write_json, write_npz
from minicereb.parallel import blocks
from minicereb.robustness.checklist import CHECKED, CheckContext, checklist
from minicereb.robustness.evaluate import EvaluationPlan, EvaluationTarget, evaluate_images
from minicereb.robustness.outcomes import Counts, Outcomes, no_outcomes

BLOCK = 256  # images evaluated together, in a file of their own
SECONDS_BETWEEN_FILES = 5.0
RECORD, CHECKLIST = "evaluation.json", "checklist.json"
FIGURES = ("accuracy.png", "gradients.png", "nearest.png")
# The arrays of a block of images, by epsilons, attacks, images and inputs.
ARRAYS: dict[str, tuple[Any, tuple[int | str, ...]]] = {
    "ids": (np.int64, ("n",)),
    "labels": (np.int64, ("n",)),
    "predicted": (np.int64, ("n",)),
    "tried": (np.uint8, ("e", "a", "n")),
    "certified": (np.bool_, ("e", "n")),
    "margin": (np.float64, ("e", "n")),
    "nearest": (np.float32, ("n", "d")),
    "distance": (np.float64, ("n",)),
    "finder": (np.int16, ("n",)),
    "smallest": (np.float64, ("a", "n")),
    "done": (np.int64, ()),
    "seconds": (np.float64, ()),
}


class Line(TypedDict):
    """A line of the checklist."""

    name: str
    value: float | None
    verdict: Literal["pass", "warn", "fail", "not tested"]
    reason: str
    detail: dict[str, Any]


class Bound(TypedDict):
    """What an evaluation came to at one ε."""

    epsilon: Annotated[float, Range(0)]
    attacked: Share
    attacked_interval: Interval
    certified: Share | None
    certified_interval: Interval | None
    by_attack: dict[str, Share]
    broken_first_by: dict[str, Count]
    checklist: list[Line]


class Curve(TypedDict):
    """The share of the images with nothing misclassified found within each ε."""

    epsilon: list[float]
    attacked: list[Share]


class _Owned(TypedDict, total=False):
    hash: str  # of the settings; files from before 0.2 have neither this
    model_sha256: str  # nor this
    seconds: float


class EvaluationRecord(_Owned):
    """``evaluation.json``."""

    run: str
    model: str
    data: str
    answer: Literal["ot", "lap"]
    gradient: str
    no_certificate: str | None
    images: Annotated[int, Range(1, LARGEST_INTEGER)]
    clean_accuracy: Share
    norm: Literal["linf", "l2"]
    seed: Seed
    epsilons: list[Bound]
    checked_images: Count
    curve: Curve


class _Norms(TypedDict):
    norm_quantiles: list[float | None]


class _Checklists(TypedDict):
    owner: str
    checklists: list[list[Line]]


class Owner(NamedTuple):
    """What an evaluation is of.

    Attributes
    ----------
    hash : str
        Of its settings.
    model_sha256 : str
        Of the model's file.
    """

    hash: str
    model_sha256: str

    def __str__(self) -> str:
        return f"{self.hash} {self.model_sha256}"


def evaluate_into(
    folder: Path, subject: EvaluationTarget, plan: EvaluationPlan, images: int, about: Record, owner: Owner | None = None
) -> Generator[str, None, Record]:
    """Evaluate the first `images` test images into `folder`, or go on where an interruption left off.

    Parameters
    ----------
    folder : Path
        Belongs to this evaluation alone.
    subject : EvaluationTarget
    plan : EvaluationPlan
    images : int
    about : dict
        What the record begins with.
    owner : Owner, optional
        What the evaluation is of: only what belongs to it is taken up again. Without one nothing is.

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
        return _same_evaluation(folder, plan, images, about, owner)
    counts, seconds = Counts(plan.attacks, plan.epsilons, plan.norm), 0.0
    with folder_lock(folder):
        for part in blocks(images, BLOCK):
            outcomes, took = yield from _block(folder, subject, plan, part, owner)
            counts.add(outcomes)
            seconds += took
            if part.start == 0:
                first = outcomes
        checks = yield from _checks(folder, subject, plan, first, owner)
        certified = subject.certifier is not None
        record = {
            **about,
            **({} if owner is None else owner._asdict()),
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
    """Read the record of a complete evaluation; :class:`DataError` if the file holds anything else."""
    path = folder / RECORD
    record = read_json(path, EvaluationRecord)
    try:
        check_evaluation(record)
    except Mismatch as error:
        raise DataError(f"{path}: {error}; delete it to evaluate again") from error
    return record


def check_evaluation(record: Record) -> None:
    """Raise :class:`~minicereb.documents.Mismatch` unless the parts of an evaluation's record go together."""
    if not record["epsilons"]:
        raise Mismatch([], "one entry at least").within("epsilons")
    first = record["epsilons"][0]
    for number, entry in enumerate(record["epsilons"]):
        for name in ("by_attack", "broken_first_by"):
            if list(entry[name]) != list(first["by_attack"]):
                expected = f"the attacks {', '.join(first['by_attack'])}"
                raise Mismatch(", ".join(entry[name]), expected).within(name).within(number).within("epsilons")
        for name in ("certified", "certified_interval"):
            if (entry[name] is None) != (first["certified"] is None):  # type: ignore[literal-required]
                raise Mismatch(entry[name], "null at every ε or at none").within(name).within(number).within("epsilons")
        for line in entry["checklist"]:
            if line["name"] == "gradients-there":
                check(line["detail"], dict[str, _Norms])
    if len(record["curve"]["epsilon"]) != len(record["curve"]["attacked"]):
        raise Mismatch(len(record["curve"]["attacked"]), f"{len(record['curve']['epsilon'])} numbers").within("curve")


def require_owner(record: Record, owner: Owner, path: Path) -> None:
    """Raise :class:`DataError` if an evaluation's record says that it is another one's; from before 0.2 it says nothing."""
    if record.get("hash", owner.hash) != owner.hash or record.get("model_sha256", owner.model_sha256) != owner.model_sha256:
        raise DataError(f"{path} holds an evaluation with other settings or of another model; delete it to evaluate again")


def _same_evaluation(folder: Path, plan: EvaluationPlan, images: int, about: Record, owner: Owner | None) -> Record:
    """Read the record of this very evaluation; where it does not name it, by all that it says of it."""
    record, path = read_evaluation(folder), folder / RECORD
    if owner is not None:
        require_owner(record, owner, path)
    epsilons, attacks = [entry["epsilon"] for entry in record["epsilons"]], list(record["epsilons"][0]["by_attack"])
    found = (record["images"], record["norm"], record["seed"], epsilons, attacks, record["answer"])
    if found != (images, plan.norm, plan.seed, list(plan.epsilons), list(plan.attacks), about["answer"]):
        raise DataError(f"{path} holds an evaluation with other settings; delete it to evaluate again")
    return record


def block_paths(folder: Path) -> list[Path]:
    """Files with the outcomes of the images, in their order; each is the ``arrays()`` of an :class:`Outcomes`."""
    return sorted(folder.glob("images-*.npz"))


def read_outcomes(path: Path, owner: Owner | None = None) -> Outcomes:
    """Read a block of outcomes; :class:`DataError` if it is not one, or says that it is another evaluation's."""
    return _read_block(path, owner)[0]


def _block(
    folder: Path, subject: EvaluationTarget, plan: EvaluationPlan, part: slice, owner: Owner | None
) -> Generator[str, None, tuple[Outcomes, float]]:
    """Evaluate one block of images, from its file on if there is one."""
    path = folder / f"images-{part.start:06d}.npz"
    ids = np.arange(part.start, part.stop, dtype=np.int64)
    outcomes = no_outcomes(ids, subject.labels[ids], subject.rows.shape[1], len(plan.epsilons), len(plan.attacks))
    done, seconds = 0, 0.0
    if path.exists():
        begun, done, seconds = _read_block(path, owner)
        same = np.array_equal(begun.ids, outcomes.ids) and np.array_equal(begun.labels, outcomes.labels)
        if not same or begun.tried.shape != outcomes.tried.shape or begun.nearest.shape != outcomes.nearest.shape:
            raise DataError(f"{path} holds outcomes of other images or attacks; delete it to evaluate again")
        outcomes = begun
    began = written = time.monotonic()

    def save(done: int) -> None:
        state = {
            "done": np.array(done, dtype=np.int64),
            "seconds": np.array(seconds + time.monotonic() - began, dtype=np.float64),
            **({} if owner is None else {"owner": np.array(str(owner))}),
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


def _read_block(path: Path, owner: Owner | None) -> tuple[Outcomes, int, float]:
    """Read outcomes, steps complete, and seconds taken; blocks from before 0.2 do not say whose they are."""
    arrays = read_npz(path, {**ARRAYS, "owner": ("U", ())}, optional=("owner",))
    done, seconds, of = int(arrays.pop("done")), float(arrays.pop("seconds")), arrays.pop("owner", None)
    if owner is not None and of is not None and str(of) != str(owner):
        raise DataError(f"{path} belongs to an evaluation with other settings or of another model; delete it to evaluate again")
    attacks, steps = arrays["tried"].shape[1], done >= 0 and 0 <= seconds < float("inf")
    if not steps or not (arrays["finder"] >= -1).all() or not (arrays["finder"] < max(1, attacks)).all():
        raise DataError(f"{path} does not hold outcomes of an evaluation; delete it to evaluate again")
    return Outcomes(**arrays), done, seconds


def _checks(
    folder: Path, subject: EvaluationTarget, plan: EvaluationPlan, outcomes: Outcomes, owner: Owner | None
) -> Generator[str, None, list[list[Record]]]:
    """Go through the checklist at every ε; what was found before is in a file, unless that is from before 0.2."""
    path, found = folder / CHECKLIST, list[list[Any]]()
    if path.exists():
        stored = read_json(path, _Checklists | list[list[Line]])
        if isinstance(stored, dict) and stored["owner"] == str(owner):
            found = stored["checklists"]
    for e in range(len(found), len(plan.epsilons)):
        lines = []
        for name, finding in checklist(CheckContext(subject, plan, outcomes, e)):
            lines.append(finite({"name": name, **finding._asdict()}))
            yield f"checklist at {plan.epsilons[e]:g}: {name}"
        found.append(lines)
        write_json(path, {"owner": str(owner), "checklists": found})
    return found
