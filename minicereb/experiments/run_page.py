"""The page of a run: what it learned and how, the attacks on it, its evaluations."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np

from minicereb.errors import DataError
from minicereb.experiments.configs import describe, describe_attack
from minicereb.experiments.evaluation.page import accuracy_picture, picture
from minicereb.experiments.identity import hashes, to_json
from minicereb.experiments.kinds.attacked import AttackedModel
from minicereb.experiments.laboratory import Record
from minicereb.experiments.page_parts import (
    brackets,
    checked,
    checklists,
    read_evaluations,
    settings,
    versions,
)
from minicereb.experiments.records import read_kept
from minicereb.experiments.runs import Run, read_run, require_whole
from minicereb.report.figures import curves
from minicereb.report.formats import interval, percent
from minicereb.report.page import Block, Command, Page, Section, Table, Text

SHOWN = 1_000  # epochs


def run_page(folder: Path) -> Page:
    """Return the page of a run folder; :class:`DataError` if a file in it is damaged."""
    run = read_run(folder)
    evaluations = read_evaluations(run)
    sections = [
        Section("Result", _result(run)),
        Section("Learning curve", _learning(run)),
        Section("Attacks", _attacks(run)),
        Section("Evaluations", _evaluations(evaluations)),
        Section("Checklists of the evaluations", checklists([found for _, record in evaluations for found in checked(record)])),
        Section("Settings", settings([to_json(run.config)])),
        Section("Versions", versions([run.manifest])),
        Section("To reproduce it", _command(run)),
    ]
    return Page(f"Run: {describe(run.config)}", f"Trained on {run.config.data.name}; folder {folder.name}.", sections)


def _result(run: Run) -> list[Block]:
    if run.result is None:
        return [Text("Not complete: the training command, given again, goes on.")]
    result = run.result
    rows = [[f"{part} accuracy, in %", percent(result[f"{part}_accuracy"])] for part in ("test", "train", "validation")]
    return [Table(("", "value"), [*rows, ["model of epoch", str(result["epoch"])], ["seconds", f"{result['seconds']:.1f}"]])]


def _learning(run: Run) -> list[Block]:
    epochs_done = run.epochs()
    every = -(-epochs_done // SHOWN)
    metrics = list(run.rows(None if every <= 1 else range((epochs_done - 1) % every, epochs_done, every)))  # with the last
    if not metrics:
        return []
    epochs = np.array([line["epoch"] for line in metrics], dtype=np.int64)
    names = {"train_accuracy": "while learning", "validation_accuracy": "held out", "test_accuracy": "test, chosen on"}
    accuracy = {
        shown: (epochs, np.array([line[name] for line in metrics], dtype=np.float64))
        for name, shown in names.items()
        if all(line.get(name) is not None for line in metrics)
    }
    attacked = " on attacked images" if run.config.adversary is not None else ""
    head = ("epoch", "loss", "accuracy while learning, in %", "accuracy held out, in %")
    rows = [
        [str(line["epoch"]), f"{line['loss']:.4g}", percent(line["train_accuracy"]), percent(line.get("validation_accuracy"))]
        for line in metrics
    ]
    figure = curves([("", accuracy)], "epoch", "accuracy, as a share") if accuracy else None
    chosen = " The epoch was chosen on the test images: what they say is too good." if run.config.choose_on == "test" else ""
    caption = f"Accuracy{attacked} by epoch, as a share of the images: while learning from them, and on others.{chosen}"
    caption += f" Of {epochs_done:,} epochs every {every:,}th is shown." if every > 1 else ""
    return [*picture("learning", figure, caption), Table(head, rows)]


def _attacks(run: Run) -> list[Block]:
    rows = sorted(_attack(path, run) for path in run.folder.glob("attacks/*.json"))
    head = ("attack", "seed", "images", "clean, in %", "robust, in %", "95% interval")
    return [Table(head, rows)] if rows else []


def _attack(path: Path, run: Run) -> list[str]:
    kept = read_kept(path)
    if not isinstance(kept.config, AttackedModel) or run.hash not in hashes(kept.config.train):
        raise DataError(f"{path} does not hold the record of an attack on this run; delete it")
    if kept.models not in (None, (run.manifest.get("model_sha256"),)):
        raise DataError(f"{path} holds the record of an attack on another model; delete it to attack again")
    require_whole(run)
    attack, record = kept.config.attack, kept.record
    row = [describe_attack(attack), str(attack.seed), f"{record['images']:,}", percent(record["clean_accuracy"])]
    return [*row, percent(record["robust_accuracy"]), interval(record["robust_interval"])]


def _evaluations(evaluations: list[tuple[Path, Record]]) -> list[Block]:
    blocks: list[Block] = []
    for folder, record in evaluations:
        attacks = ", ".join(record["epsilons"][0]["by_attack"])
        blocks.append(Text(f"Evaluation {folder.name}, answer {record['answer']}, attacks {attacks}:"))
        blocks += [*accuracy_picture(record, f"accuracy-{folder.name}"), brackets(record)]
    return blocks


def _command(run: Run) -> list[Block]:
    command = run.manifest.get("command")
    return [Command(shlex.join([Path(command[0]).name, *map(str, command[1:])]))] if command else []
