"""The pages of a run and of an evaluation, and the parts that they share with the page of a study."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minicereb.errors import DataError, MinicerebError
from minicereb.experiments.configs import describe, describe_attack
from minicereb.experiments.evaluation.figures import accuracy_figure, gradients_figure, nearest_figure, seeks_nearest
from minicereb.experiments.evaluation.folder import NOT_ASKED, RECORD, Owner, read_evaluation, require_owner
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.identity import config_hash, hashes, to_json
from minicereb.experiments.kinds.attacked import AttackedModel
from minicereb.experiments.records import Record, read_kept
from minicereb.experiments.runs import Run, dataset_of, read_run, require_whole
from minicereb.paths import read_bytes
from minicereb.report.figures import captioned, curves, svg
from minicereb.report.formats import interval, percent, strength, with_interval
from minicereb.report.page import Block, Command, Page, Picture, Section, Table, Text, Verdict
from minicereb.robustness.catalogue import attack_named, attack_names
from minicereb.robustness.checklist import CHECKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERDICTS = ("pass", "warn", "fail", "not tested")
NORMS = {"linf": "L∞", "l2": "L2"}
LISTED = 8  # largest number of listed values of one setting
EPOCHS_SHOWN = 1_000

# -- parts of several pages ---------------------------------------------------------------------------------------------------


def checklists(records: Sequence[Record]) -> list[Block]:
    """Summarise the checklists of evaluations: counts of the verdicts, and each warning or failing line with its reason."""
    if not records:
        return []
    found = [(_model_of(record), entry) for record in records for entry in record["epsilons"]]
    verdicts = {name: [line["verdict"] for _, e in found for line in e["checklist"] if line["name"] == name] for name in CHECKS}
    summary = [[name, *(str(given.count(verdict)) for verdict in VERDICTS)] for name, given in verdicts.items() if given]
    alarms = [
        [model, strength(entry["epsilon"]), line["name"], Verdict(verdict), line["reason"]]
        for verdict in ("fail", "warn")
        for model, entry in found
        for line in entry["checklist"]
        if line["verdict"] == verdict
    ]
    count = f"{len(found)} checklist{'s' * (len(found) > 1)}, one for each evaluated model and ε."
    closing = "Every line that fails or warns:" if alarms else "No line fails or warns."
    blocks: list[Block] = [Text(count), Table(("line", *VERDICTS), summary), Text(closing)]
    return blocks + ([Table(("model", "ε", "line", "verdict", "reason"), alarms)] if alarms else [])


def settings(configs: Iterable[Record], head: str = "setting") -> list[Block]:
    """Return a table of the settings of experiments, with all values of each setting in the order in which they occur."""
    values: dict[str, dict[str, None]] = {}  # a dict keeps the order
    for config in configs:
        for name, value in _flat(config):
            values.setdefault(name, {})[value] = None
    rows = []
    for name, seen in values.items():
        listed = "; ".join(list(seen)[:LISTED])
        rows.append([name, listed if len(seen) <= LISTED else f"{listed}; … ({len(seen)} values)"])
    return [Table((head, "value"), rows)] if rows else []


def _flat(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield names and values of settings; nested settings get dotted names, which are the same for every model in a list."""
    for name, value in config.items():
        path = f"{prefix}.{name}" if prefix else name
        nested = value if isinstance(value, list) else [value]
        if nested and all(isinstance(each, dict) for each in nested):
            for each in nested:
                yield from _flat(each, path)
        else:
            yield path, _shown(value)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def versions(manifests: Iterable[Record]) -> list[Block]:
    """Return a table of the versions, machines and execution settings of runs, with every value that occurs."""
    parts = ("versions", "machine", "execution")
    return settings(({name: value for part in parts for name, value in each.get(part, {}).items()} for each in manifests), "what")


def accuracy_picture(record: Record, name: str = "accuracy") -> list[Block]:
    """Return the figure of an evaluation's bounds on the robust accuracy."""
    certified = "" if record["epsilons"][0]["certified"] is None else " Certified: the lower bound."
    curve = " Nothing nearer found: from the distances of the nearest misclassified images." if seeks_nearest(record) else ""
    caption = (
        f"{_model_of(record)}: share of the first {record['images']:,} test images of {record['data']} over ε "
        f"({NORMS[record['norm']]}, pixels in 0 to 1), with 95% intervals. Attacked: not broken by any attack, which is an upper "
        f"bound; at ε = 0 the clean accuracy.{curve}{certified} Only the points were measured, nothing between them."
    )
    return _picture(name, accuracy_figure(record), caption)


def _picture(name: str, figure: Figure | None, caption: str) -> list[Block]:
    """Return a figure with its caption, which begins with the figure's title."""
    return [] if figure is None else [Picture(name, svg(figure), ".svg", captioned(figure, caption))]


def _model_of(record: Record) -> str:
    """Return the name of an evaluation's model, with its way of predicting if that is not the default."""
    return record["model"] + (", predicting by LAP" if record.get("answer") == "lap" else "")


def _bounds(record: Record) -> Table:
    """Return an evaluation's bounds at every ε."""
    head = ("ε", "attacked, in % (95% interval)", "certified, in % (95% interval)", "images")
    rows = [
        [strength(e["epsilon"]), *(with_interval(e[side], e[f"{side}_interval"]) for side in ("attacked", "certified"))]
        for e in record["epsilons"]
    ]
    return Table(head, [[*row, f"{record['images']:,}"] for row in rows])


def _evaluation_of(folder: Path, run: Run | None) -> Record:
    """Read an evaluation's record; raise :class:`DataError` if its model is not the model of its run, or was altered."""
    record = read_evaluation(folder)
    if run is not None:
        owner = Owner(record.get("hash", folder.resolve().name), run.manifest.get("model_sha256", ""))
        require_owner(record, owner, folder / RECORD)
        if not owner.hash.startswith(folder.resolve().name):
            raise DataError(f"{folder / RECORD} holds an evaluation with other settings than the folder's name says; delete it")
        require_whole(run)
    return record


# -- a run --------------------------------------------------------------------------------------------------------------------


def run_page(folder: Path) -> Page:
    """Return the page of a run folder; raise :class:`DataError` if a file in it is damaged."""
    run = read_run(folder)
    evaluations = {path.parent: _evaluation_of(path.parent, run) for path in sorted(run.folder.glob(f"evaluations/*/{RECORD}"))}
    attacks = sorted(_attack_row(path, run) for path in run.folder.glob("attacks/*.json"))
    head = ("attack", "seed", "images", "clean, in %", "robust, in %", "95% interval")
    command = run.manifest.get("command")
    sections = [
        Section("Result", [_result(run)]),
        Section("Learning curve", _learning(run)),
        Section("Attacks", [Table(head, attacks)] if attacks else []),
        Section("Evaluations", [block for path, record in evaluations.items() for block in _summary(path, record)]),
        Section("Checklists of the evaluations", checklists(list(evaluations.values()))),
        Section("Settings", settings([to_json(run.config)])),
        Section("Versions", versions([run.manifest])),
        Section("To reproduce it", [Command(shlex.join([Path(command[0]).name, *map(str, command[1:])]))] if command else []),
    ]
    return Page(f"Run: {describe(run.config)}", f"Trained on {run.config.data.name}; folder {folder.name}.", sections)


def _result(run: Run) -> Block:
    result = run.result
    if result is None:
        return Text("Not complete: run the training command again to finish it.")
    rows = [[f"{part} accuracy, in %", percent(result[f"{part}_accuracy"])] for part in ("test", "train", "validation")]
    return Table(("", "value"), [*rows, ["model of epoch", str(result["epoch"])], ["seconds", f"{result['seconds']:.1f}"]])


def _learning(run: Run) -> list[Block]:
    count = run.epochs()
    every = -(-count // EPOCHS_SHOWN)
    metrics = list(run.rows(None if every <= 1 else range((count - 1) % every, count, every)))  # includes the last
    if not metrics:
        return []
    epochs = np.array([line["epoch"] for line in metrics], dtype=np.int64)
    names = {"train_accuracy": "while learning", "validation_accuracy": "held out", "test_accuracy": "test, chosen on"}
    accuracy = {
        shown: (epochs, np.array([line[name] for line in metrics], dtype=np.float64))
        for name, shown in names.items()
        if all(line.get(name) is not None for line in metrics)
    }
    caption = f"Accuracy{' on attacked images' if run.config.adversary else ''} by epoch, as a share of the images."
    caption += " The epoch was chosen on the test images, so it looks too good." if run.config.choose_on == "test" else ""
    caption += f" Of {count:,} epochs every {every:,}th is shown." if every > 1 else ""
    said = "; ".join(
        f"{name}: at most {percent(values.max())}% (epoch {at[values.argmax()]})" for name, (at, values) in accuracy.items()
    )
    figure = curves([("", accuracy)], "epoch", "accuracy, as a share", conclusion=f"{said}.") if accuracy else None
    rows = [
        [str(line["epoch"]), f"{line['loss']:.4g}", percent(line["train_accuracy"]), percent(line.get("validation_accuracy"))]
        for line in metrics
    ]
    head = ("epoch", "loss", "accuracy while learning, in %", "accuracy held out, in %")
    return [*_picture("learning", figure, caption), Table(head, rows)]


def _attack_row(path: Path, run: Run) -> list[str]:
    kept = read_kept(path)
    if not isinstance(kept.config, AttackedModel) or run.hash not in hashes(kept.config.train):
        raise DataError(f"{path} does not hold the record of an attack on this run; delete it")
    if kept.models not in (None, (run.manifest.get("model_sha256"),)):
        raise DataError(f"{path} holds the record of an attack on another model; delete it to attack again")
    require_whole(run)
    attack, record = kept.config.attack, kept.record
    row = [describe_attack(attack), str(attack.seed), f"{record['images']:,}", percent(record["clean_accuracy"])]
    return [*row, percent(record["robust_accuracy"]), interval(record["robust_interval"])]


def _summary(folder: Path, record: Record) -> list[Block]:
    attacks = ", ".join(record["epsilons"][0]["by_attack"])
    title = Text(f"Evaluation {folder.name}, answer {record['answer']}, attacks {attacks}:")
    return [title, *accuracy_picture(record, f"accuracy-{folder.name}"), _bounds(record)]


# -- an evaluation ------------------------------------------------------------------------------------------------------------


def evaluation_page(folder: Path, place: str | None = None) -> Page:
    """Return the page of an evaluation's folder; raise :class:`DataError` if a file in it is damaged.

    `place` is where the run's data are now, if they were moved. If `place` is None and the data cannot be read, a
    sentence replaces the images.
    """
    resolved = folder.resolve()
    inside = resolved.parent.name == "evaluations" and (resolved.parent.parent / "config.json").is_file()
    run = read_run(resolved.parent.parent) if inside else None
    record = _evaluation_of(folder, run)
    lead = (
        f"How many images of {record['data']} remain correctly classified if each may change by ε in {NORMS[record['norm']]}: at "
        f"most those that no attack broke, at least those that are certified. First {record['images']:,} test images; "
        f"{percent(record['clean_accuracy'])} % are correctly classified unchanged."
    )
    why = record.get("no_certificate")
    reason = [Text(f"No certificates: {why}.")] if why else []
    gradients = (
        f"Size of the input gradient (L2, per unit of pixel value) by objective, on the first {record['checked_images']:,} "
        "images: the share of the images whose gradient is at most this large. Sizes of zero are not shown."
    )
    sections = [
        Section("Between attacked and certified", [*accuracy_picture(record), _bounds(record), *reason]),
        Section("By attack", _by_attack(record)),
        Section("Checklist", _checklist(record)),
        Section("Nearest misclassified images", _nearest(folder, run, place)),
        Section("Gradients", _picture("gradients", gradients_figure(record), gradients)),
        Section("Settings", [_evaluation_settings(record)]),
        Section("Versions at training; an evaluation does not store its own", versions([run.manifest] if run else [])),
        Section("To reproduce it", _command(folder, record, run)),
    ]
    return Page(f"Evaluation of {_model_of(record)}", lead, sections)


def attack_rows(record: Record) -> list[list[str]]:
    """Return the accuracy at every ε under each attack alone, or under this attack and all attacks before it."""
    entries, known = record["epsilons"], attack_names()
    titles = {
        name: f"{name}, alone" if name in known and attack_named(name).alone else f"after {name}"
        for name in entries[0]["by_attack"]
    }
    return [[title, *(percent(entry["by_attack"][name]) for entry in entries)] for name, title in titles.items()]


def checklist_table(entry: Record, before: str = "") -> Table:
    """Return a table of all lines of the checklist at one ε."""
    rows = [
        [line["name"], Verdict(line["verdict"]), "-" if line["value"] is None else f"{line['value']:.3f}", line["reason"]]
        for line in entry["checklist"]
    ]
    return Table((f"{before}ε = {strength(entry['epsilon'])}", "verdict", "value", "reason"), rows)


def _by_attack(record: Record) -> list[Block]:
    entries = record["epsilons"]
    head = ("attack", *(f"ε = {strength(entry['epsilon'])}" for entry in entries))
    breaks = [[name, *(str(entry["broken_first_by"][name]) for entry in entries)] for name in entries[0]["by_attack"]]
    explained = Text(
        f"Accuracy in % on {record['images']:,} images: under one attack alone, or after it and all before it. The accuracy "
        "after all of them is the attacked accuracy above, where its 95% interval is given."
    )
    return [
        explained,
        Table(head, attack_rows(record)),
        Text("How many images each attack was the first to break:"),
        Table(head, breaks),
    ]


def _checklist(record: Record) -> list[Block]:
    explained = (
        f"Ways in which an evaluation can be misleading, tested on those of the first {record['checked_images']:,} images that "
        "are classified correctly; shares are of these. A failing line means that the attacks were too weak or that the numbers "
        "are misleading."
    )
    tables = [checklist_table(entry, "at ") for entry in record["epsilons"]]
    return [Text(explained), *checklists([record]), Text("All lines:"), *tables]


def _nearest(folder: Path, run: Run | None, place: str | None) -> list[Block]:
    caption = (
        "The nearest misclassified image found for each of the first test images that were broken: the original with its label, "
        "the misclassified image with its distance ε, and the change, scaled so that its largest pixel is visible."
    )
    for ending in (".svg", ".png"):
        path = folder / f"nearest{ending}"
        if path.exists():
            return [Picture("nearest", read_bytes(path), ending, caption)]
    if run is None:
        return []
    try:
        dataset = dataset_of(run, place)
    except MinicerebError as error:
        if place is not None:
            raise
        return [Text(f"Not drawn: {error}.")]
    return _picture("nearest", nearest_figure(folder, dataset), caption)


def _evaluation_settings(record: Record) -> Table:
    rows = [[name, str(record.get(name, "-"))] for name in ("data", "images", "norm", "answer", "gradient", "seed")]
    rows.append(["attacks", ", ".join(record["epsilons"][0]["by_attack"])])
    rows += [["run", str(record["run"])], ["time taken", f"{record.get('seconds', 0):.1f} s"]]
    return Table(("setting", "value"), rows)


def _command(folder: Path, record: Record, run: Run | None) -> list[Block]:
    """Return the command that repeats an evaluation, with a remark if its record does not hold all options."""
    epsilons, attacks = tuple(entry["epsilon"] for entry in record["epsilons"]), tuple(record["epsilons"][0]["by_attack"])
    options = [part for epsilon in epsilons for part in ("--epsilon", repr(epsilon))]
    options += ["--images", str(record["images"]), "--attacks", ",".join(attacks)]
    options += ["--norm", record["norm"], "--seed", str(record["seed"])]
    certify = record.get("no_certificate") != NOT_ASKED
    options += [] if certify else ["--no-certify"]
    if run is None:
        options += ["--gradient", "eot", "--draws", str(record["draws"])] if record["gradient"] == "eot" else []
        own = ["minicereb", "evaluate", "--model", str(record["run"]), "--dataset", str(record["data"]), *options]
        return [Command(shlex.join([*own, "--out", str(folder)]))]
    fixed = (run.config, epsilons, record["images"], attacks, record["norm"], certify, record["seed"], record["answer"])
    named = {config_hash(EvaluatedModel(*fixed, gradient))[:16]: gradient for gradient in (record["gradient"], "fitting")}
    given = named.get(folder.resolve().name)  # the folder's name contains the requested gradient
    gradient = given or record["gradient"]
    options += ["--answer", record["answer"], *(["--gradient", gradient] if gradient != "fitting" else [])]
    note = Text("The evaluation had further options (for transfer, draws or noisy runs), which its record does not contain.")
    return [Command(shlex.join(["minicereb", "evaluate", str(record["run"]), *options])), *([] if given else [note])]
