"""The pages of ``minicereb report`` about a run, an evaluation, or a study; the page of a study is made here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from html import unescape
from pathlib import Path
from typing import Any

from minicereb.errors import InputError, MinicerebError, require
from minicereb.experiments.evaluation.folder import RECORD
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.identity import from_json
from minicereb.experiments.laboratory import Record, run_named
from minicereb.experiments.pages import accuracy_picture, checklists, evaluation_page, run_page, settings, versions
from minicereb.experiments.runs import read_run
from minicereb.paths import read_bytes, read_text
from minicereb.report.formats import in_words, interval, percent
from minicereb.report.page import REPORT, Block, Command, Page, Picture, Section, Table, Text, read_blocks
from minicereb.studies import Study, all_studies
from minicereb.studies.results import Results
from minicereb.studies.study import read_study

STUDY = "study.json"
EXPECTED = "the folder of a study, a run or an evaluation"
NO_PAPER = "No paper says what to expect here: the question is our own, and there are no published figures to compare."
HEAD = ("model", "measure", "ours, in %", "95% interval", "images", "published, in %")


def report_on(folder: Path, place: str | None = None) -> Page:
    """Return the page of a study, a run or an evaluation.

    Parameters
    ----------
    folder : Path
    place : str, optional
        Where the data of an evaluation are now (see :func:`minicereb.experiments.runs.dataset_of`); other pages need no data.

    Raises
    ------
    InputError
        If `folder` is none of these, or `place` is given for a page that needs no data.
    DataError
        If a file in the folder is damaged.
    """
    if not folder.is_dir():
        raise InputError("DIR", str(folder), f"{EXPECTED}; {'this is a file' if folder.exists() else 'there is no such folder'}")
    for name, page in ((STUDY, study_page), ("config.json", run_page)):
        if (folder / name).is_file():
            require(place is None, "dataset", place, "given with the folder of an evaluation: this page needs no data")
            return page(folder)
    if (folder / RECORD).is_file():
        return evaluation_page(folder, place)
    hint, again = EXPECTED, "command, given again, completes it"
    if (folder / "checklist.json").exists() or any(folder.glob("images-*.npz")):
        hint += f"; it has no {RECORD}: the evaluation's {again}"
    elif (folder / "runs").exists():
        hint += f"; it has no {STUDY}: if it is a study, the study's {again}"
    raise InputError("DIR", str(folder), hint)


def study_page(folder: Path) -> Page:
    """Return the page of a complete study's folder; raise :class:`DataError` if a file in it is damaged."""
    stored = read_study(folder / STUDY)
    known = all_studies().get(stored["study"])
    results = Results(((_experiment(each["config"]), each["record"]) for each in stored["results"]), folder)
    evaluations = results.where(EvaluatedModel).records
    expectation = known.expectation if known else ""
    names = {name for record in results.records for name in record.get("runs") or [record.get("run", "")]}
    elsewhere = sorted(run_named(folder, name) for name in names if "/" in name)
    paths = [*sorted(folder.glob("runs/*/config.json")), *(run / "config.json" for run in elsewhere)]
    manifests = [read_run(path.parent).manifest for path in paths if path.exists()]
    sections = [
        Section("What the paper expects", [Text(expectation or NO_PAPER)]),
        Section("Figures", _figures(folder, evaluations, known.captions if known else {})),
        Section("Table", _table(results, known)),
        Section("Masking checklist", checklists(evaluations)),
        Section("Settings", settings(each["config"] for each in stored["results"])),
        Section("Versions", versions(manifests)),
        Section("To reproduce it", [Command(_command(stored, known))]),
        Section("Each accuracy with its interval", _measured(results, known)),
    ]
    lead = f"{stored['question']} Scale {stored['scale']}, {in_words(stored['seeds'])}."
    return Page(title(stored), lead, sections)


def title(stored: Record) -> str:
    """Return the title of a study's page: name, scale and data, which distinguish it from the study's other pages."""
    data = next((f", {Path(name).stem}" for name in _data(stored["results"])), "")
    return f"Study {stored['study']}: {stored['scale']} scale{data}"


def _experiment(config: Record) -> Any:
    """Return the experiment with these settings, or None if they are from an incompatible version."""
    try:
        return from_json(config)
    except MinicerebError:
        return None


def _table(results: Results, known: Study | None) -> list[Block]:
    """Return the study's tables, built from its records or, for settings of another version, read from ``table.md``."""
    if known is not None and all(config is not None for config, _ in results):
        return list(known.table(results))
    path = results.folder / "table.md"
    return [*read_blocks(read_text(path))] if path.exists() else []


def _measured(results: Results, known: Study | None) -> list[Block]:
    """Return every accuracy among the results with its interval over the images, and the paper's accuracy."""
    rows = []
    for config, record in results:
        if config is None:
            return [Text("The settings are those of another version of the program; intervals are not computed again.")]
        printed = known.published(config) if known and known.published else {}
        for model, what, share, bounds, images in config.measured(record):
            row = [model, what.replace("_", " "), percent(share), interval(bounds), f"{images:,}"]
            rows.append([*row, printed.get(what, "-")])
    note = Text(
        "Each line is one model, of one seed. The 95% interval (Clopper-Pearson) is over the images, not over seeds; if two "
        "intervals overlap, these images may be too few to tell the models apart. The last column is what the paper's authors "
        "print for this model under this attack, however it was trained here."
    )
    return [note, Table(HEAD, rows)] if rows else []


def _figures(folder: Path, records: list[Record], captions: Mapping[str, str]) -> list[Block]:
    """Return the study's own figures or, if it draws none, figures of each evaluation's accuracy against ε."""
    stem = Path(REPORT).stem
    pages = {stem, *(path.stem for path in folder.glob("*.html"))}  # the names of a page's figures begin with the page's name
    names = sorted({path.stem for ending in ("svg", "png") for path in folder.glob(f"*.{ending}")})
    blocks: list[Block] = []
    for name in names:
        ending = next(ending for ending in (".svg", ".png") if (folder / f"{name}{ending}").exists())
        if not any(name.startswith(f"{page}-") for page in pages):
            content = read_bytes(folder / f"{name}{ending}")
            title = _title_of(content) if ending == ".svg" else ""
            blocks.append(Picture(name, content, ending, f"{title} {captions.get(name, name.replace('-', ' '))}".strip()))
    return blocks or [block for n, record in enumerate(records) for block in accuracy_picture(record, f"accuracy-{n}")]


def _title_of(picture: bytes) -> str:
    """Return the title of an SVG document, which says what a figure shows; empty if it has none."""
    found = re.search(rb"<title>(.*?)</title>", picture, re.DOTALL)
    return unescape(found[1].decode()) if found else ""


def _command(stored: Record, known: Study | None) -> str:
    command = ["minicereb", "study", stored["study"], "--scale", stored["scale"]]
    command += [part for seed in stored["seeds"] for part in ("--seed", str(seed))]
    data = next(_data(stored["results"]), None)
    if data is not None and (known is None or known.dataset.get(stored["scale"]) != data):
        command += ["--dataset", data]
    return shlex.join(command)


def _data(config: object) -> Iterator[str]:
    """Yield the names of the data sets in settings."""
    if isinstance(config, dict):
        if config.get("kind") == "Data" and isinstance(config.get("name"), str):
            yield config["name"]
        for value in config.values():
            yield from _data(value)
    elif isinstance(config, list):
        for value in config:
            yield from _data(value)
