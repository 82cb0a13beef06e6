"""What pages of several kinds have: numbers with their intervals, settings, versions, the checklist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from minicereb.errors import DataError
from minicereb.experiments.evaluation.folder import RECORD, Owner, read_evaluation, require_owner
from minicereb.experiments.laboratory import Record
from minicereb.experiments.runs import Run, require_whole
from minicereb.report.formats import strength, with_interval
from minicereb.report.page import Block, Table, Text, Verdict
from minicereb.robustness.checklist import CHECKS

VERDICTS = ("pass", "warn", "fail", "not tested")
NORMS = {"linf": "L∞", "l2": "L2"}
MANY = 8  # values of a setting that are still listed


def name_of(record: Record) -> str:
    """Return what an evaluation's model is called, and how it answers if that is not the usual way."""
    return record["model"] + (", answering by LAP" if record.get("answer") == "lap" else "")


class Checked(NamedTuple):
    """The checklist of an evaluation at one ε, and whose it is."""

    model: str
    epsilon: float
    lines: list[Record]


def checked(record: Record) -> list[Checked]:
    """Return the checklists of an evaluation."""
    return [Checked(name_of(record), entry["epsilon"], entry["checklist"]) for entry in record["epsilons"]]


def checklists(found: Sequence[Checked]) -> list[Block]:
    """Summarise checklists: how often each line has which verdict, and every line that warns or fails with its reason."""
    if not found:
        return []
    verdicts = {name: [line["verdict"] for each in found for line in each.lines if line["name"] == name] for name in CHECKS}
    summary = [[name, *(str(given.count(verdict)) for verdict in VERDICTS)] for name, given in verdicts.items() if given]
    told = [
        [each.model, strength(each.epsilon), line["name"], Verdict(line["verdict"]), line["reason"]]
        for verdict in ("fail", "warn")
        for each in found
        for line in each.lines
        if line["verdict"] == verdict
    ]
    count = f"{len(found)} checklist{'s' * (len(found) > 1)}, one for each evaluated model and ε."
    closing = "Every line that fails or warns:" if told else "No line fails or warns."
    blocks: list[Block] = [Text(count), Table(("line", *VERDICTS), summary), Text(closing)]
    return blocks + ([Table(("model", "ε", "line", "verdict", "reason"), told)] if told else [])


def brackets(record: Record) -> Table:
    """Return what an evaluation says at every ε."""
    head = ("ε", "attacked, in % (95% interval)", "certified, in % (95% interval)", "images")
    rows = [
        [strength(e["epsilon"]), *(with_interval(e[side], e[f"{side}_interval"]) for side in ("attacked", "certified"))]
        for e in record["epsilons"]
    ]
    return Table(head, [[*row, f"{record['images']:,}"] for row in rows])


def settings(configs: Iterable[Record]) -> list[Block]:
    """Return the settings of experiments, each with all its values in the order in which they come."""
    values: dict[str, list[str]] = {}
    for config in configs:
        for name, value in _flat(config):
            seen = values.setdefault(name, [])
            if value not in seen:
                seen.append(value)
    return [Table(("setting", "value"), [[name, _listed(seen)] for name, seen in values.items()])] if values else []


def _flat(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Settings within settings by names with points; those of several models under one name."""
    for name, value in config.items():
        path = f"{prefix}.{name}" if prefix else name
        if isinstance(value, dict):
            yield from _flat(value, path)
        elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            for each in value:
                yield from _flat(each, path)
        else:
            yield path, _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _listed(values: list[str]) -> str:
    return "; ".join(values) if len(values) <= MANY else f"{'; '.join(values[:MANY])}; … ({len(values)} values)"


def versions(manifests: Iterable[Record]) -> list[Block]:
    """Return what runs were computed with, each thing with all its values."""
    parts = (
        {**manifest.get("versions", {}), **manifest.get("machine", {}), **manifest.get("execution", {})} for manifest in manifests
    )
    found = settings(parts)
    return [Table(("what", "value"), block.rows) for block in found if isinstance(block, Table)]


def read_evaluations(run: Run) -> list[tuple[Path, Record]]:
    """Return the complete evaluations of a run, with their folders."""
    found = []
    for path in sorted(run.folder.glob(f"evaluations/*/{RECORD}")):
        found.append((path.parent, evaluation_of(path.parent, run)))
    return found


def evaluation_of(folder: Path, run: Run | None) -> Record:
    """Read an evaluation's record; :class:`DataError` if it is not one of this run's model as it is, or the model was altered."""
    record = read_evaluation(folder)
    if run is not None:
        its_own = Owner(record.get("hash", folder.resolve().name), run.manifest.get("model_sha256", ""))
        require_owner(record, its_own, folder / RECORD)
        if not its_own.hash.startswith(folder.resolve().name):
            raise DataError(f"{folder / RECORD} holds an evaluation with other settings than the folder's name says; delete it")
        require_whole(run)
    return record
