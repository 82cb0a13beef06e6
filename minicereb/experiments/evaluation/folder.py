"""The folder of an evaluation, with the outcome of every attack on every image; an interrupted evaluation can be resumed."""

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

BLOCK = 256  # images evaluated together, with one file
SECONDS_BETWEEN_FILES = 5.0
RECORD, CHECKLIST = "evaluation.json", "checklist.json"
NOT_ASKED = "not asked for"  # the reason, in a record, why there are no certificates
FIGURES = ("accuracy.png", "gradients.png", "nearest.png")
# The arrays of a block of n images with d inputs, for e epsilons and a attacks.
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
    """The result of an evaluation at one ε."""

    epsilon: Annotated[float, Range(0)]
    attacked: Share
    attacked_interval: Interval
    certified: Share | None
    certified_interval: Interval | None
    by_attack: dict[str, Share]
    broken_first_by: dict[str, Count]
    checklist: list[Line]


class Curve(TypedDict):
    """For each ε, the share of images for which no misclassified point was found within ε."""

    epsilon: list[float]
    attacked: list[Share]


class _Owned(TypedDict, total=False):
    hash: str  # hash of the settings; files from before 0.2 have none of these fields
    model_sha256: str
    seconds: float


class EvaluationRecord(_Owned):
    """The content of ``evaluation.json``."""

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
    """What an evaluation belongs to: the settings with this hash, and the model file with this SHA-256."""

    hash: str
    model_sha256: str

    def __str__(self) -> str:
        return f"{self.hash} {self.model_sha256}"


def evaluate_into(
    folder: Path, target: EvaluationTarget, plan: EvaluationPlan, images: int, about: Record, owner: Owner | None = None
) -> Generator[str, None, Record]:
    """Evaluate the first `images` test images, or resume their evaluation; yield the progress and return the record.

    The record, which begins with `about`, is also written to ``evaluation.json`` in `folder`. An error is raised if the
    folder holds files of another `owner`.
    """
    if (folder / RECORD).exists():
        return _same_evaluation(folder, plan, images, about, owner)
    counts, seconds = Counts(plan.attacks, plan.epsilons, plan.norm), 0.0
    with folder_lock(folder):
        for part in blocks(images, BLOCK):
            outcomes, took = yield from _block(folder, target, plan, part, owner)
            counts.add(outcomes)
            seconds += took
            if part.start == 0:
                first = outcomes
        checks = yield from _checks(folder, target, plan, first, owner)
        certified = target.certifier is not None
        record = {
            **about,
            **({} if owner is None else owner._asdict()),
            "images": counts.images,
            "clean_accuracy": counts.clean / counts.images,
            "no_transfer": None if target.substitutes else target.no_substitute,
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
    """Read the record of a complete evaluation; raise :class:`DataError` if the file holds anything else."""
    path = folder / RECORD
    record = read_json(path, EvaluationRecord)
    try:
        check_evaluation(record)
    except Mismatch as error:
        raise DataError(f"{path}: {error}; delete it to evaluate again") from error
    return record


def check_evaluation(record: Record) -> None:
    """Raise :class:`~minicereb.documents.Mismatch` unless the parts of an evaluation's record are consistent."""
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
    """Raise :class:`DataError` if a record names other settings or another model; records older than version 0.2 name neither."""
    if record.get("hash", owner.hash) != owner.hash or record.get("model_sha256", owner.model_sha256) != owner.model_sha256:
        raise DataError(f"{path} holds an evaluation with other settings or of another model; delete it to evaluate again")


def _same_evaluation(folder: Path, plan: EvaluationPlan, images: int, about: Record, owner: Owner | None) -> Record:
    """Read a complete record; raise :class:`DataError` if its settings differ from the settings of this evaluation."""
    record, path = read_evaluation(folder), folder / RECORD
    if owner is not None:
        require_owner(record, owner, path)
    epsilons, attacks = [entry["epsilon"] for entry in record["epsilons"]], list(record["epsilons"][0]["by_attack"])
    found = (record["images"], record["norm"], record["seed"], epsilons, attacks, record["answer"])
    if found != (images, plan.norm, plan.seed, list(plan.epsilons), list(plan.attacks), about["answer"]):
        raise DataError(f"{path} holds an evaluation with other settings; delete it to evaluate again")
    return record


def block_paths(folder: Path) -> list[Path]:
    """Return the files of outcomes, in the order of the images; each holds the ``arrays()`` of an :class:`Outcomes` object."""
    return sorted(folder.glob("images-*.npz"))


def read_outcomes(path: Path, owner: Owner | None = None) -> Outcomes:
    """Read a block of outcomes; raise :class:`DataError` if it is damaged or belongs to another evaluation."""
    return _read_block(path, owner)[0]


def _block(
    folder: Path, target: EvaluationTarget, plan: EvaluationPlan, part: slice, owner: Owner | None
) -> Generator[str, None, tuple[Outcomes, float]]:
    """Evaluate one block of images, resuming from its file if there is one."""
    path = folder / f"images-{part.start:06d}.npz"
    ids = np.arange(part.start, part.stop, dtype=np.int64)
    outcomes = no_outcomes(ids, target.labels[ids], target.rows.shape[1], len(plan.epsilons), len(plan.attacks))
    done, seconds = 0, 0.0
    if path.exists():
        begun, done, seconds = _read_block(path, owner)
        same = np.array_equal(begun.ids, outcomes.ids) and np.array_equal(begun.labels, outcomes.labels)
        if not same or begun.tried.shape != outcomes.tried.shape or begun.nearest.shape != outcomes.nearest.shape:
            raise DataError(f"{path} holds outcomes of other images or attacks; delete it to evaluate again")
        outcomes = begun
    began = written = time.monotonic()

    def save(done: int) -> None:
        took = np.array(seconds + time.monotonic() - began, dtype=np.float64)
        whose = {} if owner is None else {"owner": np.array(str(owner))}
        write_npz(path, outcomes.arrays() | {"done": np.array(done, dtype=np.int64), "seconds": took, **whose})

    with closing(evaluate_images(target, plan, outcomes, done)) as steps:
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
    """Read outcomes, number of complete steps, and seconds taken; blocks written by versions before 0.2 have no owner."""
    arrays = read_npz(path, {**ARRAYS, "owner": ("U", ())}, optional=("owner",))
    done, seconds, of = int(arrays.pop("done")), float(arrays.pop("seconds")), arrays.pop("owner", None)
    if owner is not None and of is not None and str(of) != str(owner):
        raise DataError(f"{path} belongs to an evaluation with other settings or of another model; delete it to evaluate again")
    attacks, steps = arrays["tried"].shape[1], done >= 0 and 0 <= seconds < float("inf")
    if not steps or not (arrays["finder"] >= -1).all() or not (arrays["finder"] < max(1, attacks)).all():
        raise DataError(f"{path} does not hold outcomes of an evaluation; delete it to evaluate again")
    return Outcomes(**arrays), done, seconds


def _checks(
    folder: Path, target: EvaluationTarget, plan: EvaluationPlan, outcomes: Outcomes, owner: Owner | None
) -> Generator[str, None, list[list[Record]]]:
    """Go through the checklist at every ε; stored results are reused if version 0.2 or later wrote them."""
    path, found = folder / CHECKLIST, list[list[Any]]()
    if path.exists():
        stored = read_json(path, _Checklists | list[list[Line]])
        if isinstance(stored, dict) and stored["owner"] == str(owner):
            found = stored["checklists"]
    for e in range(len(found), len(plan.epsilons)):
        lines = []
        for name, finding in checklist(CheckContext(target, plan, outcomes, e)):
            lines.append(finite({"name": name, **finding._asdict()}))
            yield f"checklist at {plan.epsilons[e]:g}: {name}"
        found.append(lines)
        write_json(path, {"owner": str(owner), "checklists": found})
    return found
