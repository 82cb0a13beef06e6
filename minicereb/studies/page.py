"""The page of a study: its question, what the paper expects, its tables with intervals, its figures, its checklists."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from minicereb.errors import MinicerebError
from minicereb.experiments.architectures import CerebellumModel
from minicereb.experiments.configs import Train, describe, describe_attack
from minicereb.experiments.evaluation.page import accuracy_picture
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.identity import from_json
from minicereb.experiments.laboratory import Record, run_named
from minicereb.experiments.page_parts import (
    checked,
    checklists,
    settings,
    versions,
)
from minicereb.experiments.runs import read_run
from minicereb.paths import read_bytes, read_text
from minicereb.report.formats import interval, percent, strength
from minicereb.report.page import REPORT, Block, Command, Page, Picture, Section, Table, Text
from minicereb.report.pipes import read_blocks
from minicereb.statistics import proportion_interval
from minicereb.studies import STUDIES, Study
from minicereb.studies.study import read_study

STUDY = "study.json"
NO_PAPER = "No paper says what to expect here: the question is our own, and there are no published figures to compare."
HEAD = ("model", "measured", "ours, in %", "95% interval", "images", "published, in %")


def study_page(folder: Path) -> Page:
    """Return the page of a complete study's folder; :class:`DataError` if a file in it is damaged."""
    stored = read_study(folder / STUDY)
    known = STUDIES.get(stored["study"])
    records = [each["record"] for each in stored["results"] if isinstance(_experiment(each["config"]), EvaluatedModel)]
    elsewhere = sorted({run_named(folder, name) for each in stored["results"] for name in _runs(each["record"]) if "/" in name})
    paths = [*sorted(folder.glob("runs/*/config.json")), *(run / "config.json" for run in elsewhere)]
    manifests = [read_run(path.parent).manifest for path in paths if path.exists()]
    seeds = ", ".join(map(str, stored["seeds"]))
    sections = [
        Section("What the paper expects", [Text(known.expectation or NO_PAPER if known else NO_PAPER)]),
        Section("Figures", _figures(folder, records, known.captions if known else {})),
        Section("Table", _table(folder)),
        Section("Masking checklist", checklists([found for record in records for found in checked(record)])),
        Section("Settings", settings(each["config"] for each in stored["results"])),
        Section("Versions", versions(manifests)),
        Section("To reproduce it", [Command(_command(stored, known))]),
        Section("Each accuracy with its interval", _measured(stored["results"], known)),
    ]
    lead = f"{stored['question']} Scale {stored['scale']}, seed{'s' * (len(stored['seeds']) > 1)} {seeds}."
    return Page(title(stored), lead, sections)


def title(stored: Record) -> str:
    """Return the title of a study's page: its name, scale and data, by which it differs from those of the same study."""
    data = next((f", {Path(name).stem}" for each in stored["results"] for name in _data(each["config"])), "")
    return f"Study {stored['study']}: {stored['scale']} scale{data}"


def _experiment(config: Record) -> Any:
    """The experiment of these settings; None if they are those of another version."""
    try:
        return from_json(config)
    except MinicerebError:
        return None


def _runs(record: Record) -> list[str]:
    """What a record calls the runs it stands on; in a name of one that is not in the study's folder there is a slash."""
    return record.get("runs") or ([record["run"]] if "run" in record else [])


def _table(folder: Path) -> list[Block]:
    path = folder / "table.md"
    return [*read_blocks(read_text(path))] if path.exists() else []


def _measured(results: list[Record], known: Study | None) -> list[Block]:
    """Every accuracy of the study's experiments with the interval for its images, and what the paper prints for it."""
    rows = []
    for each in results:
        config, record = each["config"], each["record"]
        experiment = _experiment(config)
        if experiment is None:
            return [Text("The settings are those of another version of the program; intervals are not computed again.")]
        printed = known.published(experiment) if known and known.published else {}
        for model, what, share, bounds, images in _accuracies(experiment, config["kind"], record):
            row = [model, what.replace("_", " "), percent(share), interval(bounds), f"{images:,}"]
            rows.append([*row, printed.get(what, "-")])
    note = Text(
        "One model, of one seed, in each line. The 95% interval (Clopper-Pearson) is that of the images, not of the seeds; where "
        "two intervals overlap, these images may not decide between the two. The last column is what the paper's authors print "
        "for this model under this attack, however it has learned here."
    )
    return [note, Table(HEAD, rows)] if rows else []


Accuracy = tuple[str, str, float | None, list[float] | None, int]


def _accuracies(experiment: Any, kind: str, record: Record) -> Iterator[Accuracy]:
    """Model, what is measured, share, interval and number of images, of the kinds of experiment that have such."""
    models = [_named(train) for train in experiment.trainings]
    if kind == "EvaluatedModel":
        for entry in record["epsilons"]:
            for side in ("attacked", "certified"):
                what = f"{side}, {record['answer'].upper()}, ε = {strength(entry['epsilon'])}"
                yield models[0], what, entry[side], entry[f"{side}_interval"], record["images"]
    elif kind == "TransferredAttack":
        way = f", by way of {experiment.trainings[1].model.description}"
        for images in ("all", "filtered"):
            for name, share in record[images].items():
                if share is not None:
                    yield models[0] + way, f"{images} {name}", share["accuracy"], share["interval"], share["of"]
    elif kind == "TransferMatrix":
        n, models = record["images"], [f"{number}: {model}" for number, model in enumerate(models, 1)]
        for source, shares in zip(models, record["accuracy"], strict=True):
            for model, share in zip(models, shares, strict=True):
                yield model, f"on images attacked against {source}", share, list(proportion_interval(round(share * n), n)), n
    elif "robust_interval" in record:
        answers = "LAP, " if kind == "AttackedAverage" else ""
        what = answers + describe_attack(experiment.attack)
        yield models[0], what, record["robust_accuracy"], record["robust_interval"], record["images"]


def _named(train: Train) -> str:
    """A model with what else tells it from the others of a study: how it learned, and from which seed."""
    other = [
        words
        for words, so in (
            ("with replacement", getattr(train.model, "replacement", False)),
            ("all images learned from", train.validation == 0),
            ("chosen on the test images", train.choose_on == "test"),
            ("last epoch", train.keep == "last"),
        )
        if so
    ]
    closed = isinstance(train.model, CerebellumModel) and train.model.rule == "least-squares"
    how = "least squares" if closed else f"{train.optimizer} {train.learning_rate:.3g}"
    return ", ".join([describe(train), *other, how, f"seed {train.seed}"])


def _figures(folder: Path, records: list[Record], captions: Mapping[str, str]) -> list[Block]:
    """The study's own figures, and the bracket of each evaluation if it draws none."""
    stem = Path(REPORT).stem
    pages = {stem, *(path.stem for path in folder.glob("*.html"))}  # pictures of a page are beside it, and begin with its name
    names = sorted({path.stem for ending in ("svg", "png") for path in folder.glob(f"*.{ending}")})
    blocks: list[Block] = []
    for name in names:
        ending = next(ending for ending in (".svg", ".png") if (folder / f"{name}{ending}").exists())
        if not any(name.startswith(f"{page}-") for page in pages):
            caption = captions.get(name, name.replace("-", " "))
            blocks.append(Picture(name, read_bytes(folder / f"{name}{ending}"), ending, caption))
    return blocks or [block for n, record in enumerate(records) for block in accuracy_picture(record, f"accuracy-{n}")]


def _command(stored: Record, known: Study | None) -> str:
    command = ["minicereb", "study", stored["study"], "--scale", stored["scale"]]
    command += [part for seed in stored["seeds"] for part in ("--seed", str(seed))]
    data = next((name for each in stored["results"] for name in _data(each["config"])), None)
    if data is not None and (known is None or known.dataset.get(stored["scale"]) != data):
        command += ["--dataset", data]
    return shlex.join(command)


def _data(config: object) -> Iterator[str]:
    """Names of the data sets in settings."""
    if isinstance(config, dict):
        if config.get("kind") == "Data" and isinstance(config.get("name"), str):
            yield config["name"]
        for value in config.values():
            yield from _data(value)
    elif isinstance(config, list):
        for value in config:
            yield from _data(value)
