"""The page of an evaluation: the bracket, what each attack did, the checklist, the nearest misclassified images."""

from __future__ import annotations

import shlex
from pathlib import Path

from matplotlib.figure import Figure

from minicereb.errors import MinicerebError
from minicereb.experiments.evaluation.figures import accuracy_figure, gradients_figure, nearest_figure
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.identity import config_hash
from minicereb.experiments.laboratory import Record
from minicereb.experiments.page_parts import (
    NORMS,
    brackets,
    checked,
    checklists,
    evaluation_of,
    name_of,
    versions,
)
from minicereb.experiments.runs import Run, dataset_of, read_run
from minicereb.paths import read_bytes
from minicereb.report.figures import svg
from minicereb.report.formats import percent, strength
from minicereb.report.page import Block, Command, Page, Picture, Section, Table, Text, Verdict
from minicereb.robustness.catalogue import attack_named, attack_names


def evaluation_page(folder: Path, place: str | None = None) -> Page:
    """Return the page of an evaluation's folder; :class:`DataError` if a file in it is damaged.

    `place` is where the run's data are now, if they moved. Where they cannot be had, the images are left out with a sentence.
    """
    run = _run_of(folder)
    record = evaluation_of(folder, run)
    lead = (
        f"How many images of {record['data']} stay right when every one of them may change by ε in {NORMS[record['norm']]}: at "
        f"most those that no attack broke, at least those that are certified. First {record['images']:,} test images; "
        f"{percent(record['clean_accuracy'])} % are right as they are."
    )
    sections = [
        Section("Between attacked and certified", _bracket(record)),
        Section("By attack", _by_attack(record)),
        Section("Checklist", _checklist(record)),
        Section("Nearest misclassified images", _nearest(folder, run, place)),
        Section("Gradients", _gradients(record)),
        Section("Settings", _settings(record)),
        Section("Versions of the training; an evaluation keeps none of its own", versions([run.manifest] if run else [])),
        Section("To reproduce it", _command(folder, record, run)),
    ]
    return Page(f"Evaluation of {name_of(record)}", lead, sections)


def picture(name: str, figure: Figure | None, caption: str) -> list[Block]:
    """Return a figure as a block, or nothing."""
    return [] if figure is None else [Picture(name, svg(figure), ".svg", caption)]


def accuracy_picture(record: Record, name: str = "accuracy") -> list[Block]:
    """Return the figure of an evaluation's bracket."""
    certified = "" if record["epsilons"][0]["certified"] is None else " Certified: the lower bound."
    nearest = any(attack_named(name).smallest for name in record["epsilons"][0]["by_attack"] if name in attack_names())
    curve = " Nothing nearer found: by how far the nearest misclassified image is, from the smallest ε on." if nearest else ""
    caption = (
        f"{name_of(record)}: share of the first {record['images']:,} test images of {record['data']} over ε "
        f"({NORMS[record['norm']]}, pixels in 0 to 1), with 95% intervals. Attacked: those that no attack broke, an upper bound; "
        f"at 0 the clean accuracy.{curve}{certified} Points are what was measured; between them nothing was."
    )
    return picture(name, accuracy_figure(record), caption)


def _run_of(folder: Path) -> Run | None:
    """The run that an evaluation lies in, if it lies in one."""
    run = folder.resolve().parent.parent
    return read_run(run) if folder.resolve().parent.name == "evaluations" and (run / "config.json").is_file() else None


def _bracket(record: Record) -> list[Block]:
    why = record.get("no_certificate")
    return [*accuracy_picture(record), brackets(record), *([Text(f"No certificates: {why}.")] if why else [])]


def _by_attack(record: Record) -> list[Block]:
    entries = record["epsilons"]
    names = list(entries[0]["by_attack"])
    head = ("attack", *(f"ε = {strength(entry['epsilon'])}" for entry in entries))
    alone = [name for name in names if name in attack_names() and attack_named(name).alone]
    rows = [
        [f"{name}, alone" if name in alone else f"after {name}", *(percent(entry["by_attack"][name]) for entry in entries)]
        for name in names
    ]
    breaks = [[name, *(str(entry["broken_first_by"][name]) for entry in entries)] for name in names]
    return [
        Text(
            f"Accuracy in % on {record['images']:,} images: of an attack alone, or what is left after it and all before it. "
            "What is left after all of them is the attacked accuracy above, where its 95% interval stands."
        ),
        Table(head, rows),
        Text("How many images each attack was the first to break:"),
        Table(head, breaks),
    ]


def _checklist(record: Record) -> list[Block]:
    blocks: list[Block] = [
        Text(
            f"Ways in which an evaluation can deceive itself, looked for on those of the first "
            f"{record['checked_images']:,} images that are classified correctly: shares in the lines are of these, not of all. A "
            "line that fails says that the attacks were too weak or that the numbers are not what they seem."
        ),
        *checklists(checked(record)),
        Text("All lines:"),
    ]
    for found in checked(record):
        rows = [
            [line["name"], Verdict(line["verdict"]), "-" if line["value"] is None else f"{line['value']:.3f}", line["reason"]]
            for line in found.lines
        ]
        blocks.append(Table((f"at ε = {strength(found.epsilon)}", "verdict", "value", "reason"), rows))
    return blocks


def _nearest(folder: Path, run: Run | None, place: str | None) -> list[Block]:
    caption = (
        "The nearest misclassified image found for each of the first test images that are right and could be broken: as it is, "
        "with its label; misclassified, with its distance ε; and the change, stretched to its largest pixel."
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
    return picture("nearest", nearest_figure(folder, dataset), caption)


def _gradients(record: Record) -> list[Block]:
    caption = (
        f"Size of the input gradient (L2, per unit of pixel value) by objective, on the first {record['checked_images']:,} "
        "images: the share of the images whose gradient is at most so large. Sizes of zero are not shown."
    )
    return picture("gradients", gradients_figure(record), caption)


def _settings(record: Record) -> list[Block]:
    names = {"data": "data", "images": "images", "norm": "norm", "answer": "answer", "gradient": "gradient", "seed": "seed"}
    rows = [[shown, str(record.get(name, "-"))] for name, shown in names.items()]
    rows.append(["attacks", ", ".join(record["epsilons"][0]["by_attack"])])
    rows += [["run", str(record["run"])], ["time taken", f"{record.get('seconds', 0):.1f} s"]]
    return [Table(("setting", "value"), rows)]


def _command(folder: Path, record: Record, run: Run | None) -> list[Block]:
    options = [part for entry in record["epsilons"] for part in ("--epsilon", repr(entry["epsilon"]))]
    options += ["--images", str(record["images"]), "--attacks", ",".join(record["epsilons"][0]["by_attack"])]
    options += ["--norm", record["norm"], "--seed", str(record["seed"])]
    certify = record.get("no_certificate") != "not asked for"
    options += [] if certify else ["--no-certify"]
    if run is None:
        options += ["--gradient", "eot", "--draws", str(record["draws"])] if record["gradient"] == "eot" else []
        own = ["minicereb", "evaluate", "--model", str(record["run"]), "--dataset", str(record["data"]), *options]
        return [Command(shlex.join([*own, "--out", str(folder)]))]
    given, exact = _gradient_given(folder, record, run, certify)
    options += ["--answer", record["answer"], *(["--gradient", given] if given != "fitting" else [])]
    note = Text(
        "The evaluation was made with further options (of transfer, draws or noisy runs), which its record does not hold."
    )
    return [Command(shlex.join(["minicereb", "evaluate", str(record["run"]), *options])), *([] if exact else [note])]


def _gradient_given(folder: Path, record: Record, run: Run, certify: bool) -> tuple[str, bool]:
    """The gradient that was asked for, known by the hash that the folder is named by; whether one of them gives it."""
    epsilons = tuple(entry["epsilon"] for entry in record["epsilons"])
    what = (run.config, epsilons, record["images"], tuple(record["epsilons"][0]["by_attack"]), record["norm"], certify)
    for gradient in ("fitting", record["gradient"]):
        config = EvaluatedModel(*what, record["seed"], record["answer"], gradient)
        if config_hash(config)[:16] == folder.resolve().name:
            return gradient, True
    return record["gradient"], False
