"""Redraws the figures in docs/results from the records of their studies.

Run ``python docs/redraw.py`` after the code of a figure has changed. It writes ``report-NAME.svg`` and its caption in
``report.md`` for every study whose figures can be drawn from ``study.json`` alone. The tables of a report are not touched.
"""

from __future__ import annotations

import re
from pathlib import Path

from minicereb.errors import DataError
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.experiments.identity import from_json
from minicereb.experiments.pages import accuracy_picture
from minicereb.report.figures import captioned, svg
from minicereb.report.page import Picture, plain
from minicereb.studies import Results, study_named
from minicereb.studies.study import read_study

RESULTS = Path(__file__).parent / "results"


def pictures_of(folder: Path) -> list[Picture]:
    """Return the pictures of the study whose ``study.json`` is in a folder; none if they need files that are not stored."""
    stored = read_study(folder / "study.json")
    study = study_named(stored["study"])
    results = Results(((from_json(each["config"]), each["record"]) for each in stored["results"]), folder)
    if study.figures is None:
        evaluations = results.where(EvaluatedModel).records
        return [block for n, record in enumerate(evaluations) for block in accuracy_picture(record, f"accuracy-{n}")]
    try:
        figures = study.figures(results)
    except DataError:
        return []
    return [Picture(name, svg(each), ".svg", captioned(each, study.captions[name])) for name, each in figures.items()]


def with_caption(page: str, file: str, caption: str) -> str:
    """Return a report's Markdown with a picture's new caption: its alternative text, and the paragraph below it."""
    words = plain(caption)
    picture = re.compile(rf"^!\[[^\n]*\]\({re.escape(file)}\)\n\n[^\n]*$", re.MULTILINE)
    page, count = picture.subn(lambda _: f"![{words}]({file})\n\n{words}", page)
    assert count == 1, f"{file}: {count} places"
    return page


def redraw(folder: Path) -> list[Path]:
    """Write the pictures of a folder and their captions; return the paths of the pictures."""
    path, written = folder / "report.md", []
    page = path.read_text(encoding="utf-8")
    for picture in pictures_of(folder):
        written.append(folder / f"report-{picture.name}{picture.ending}")
        written[-1].write_bytes(picture.content)
        page = with_caption(page, written[-1].name, picture.caption)
    path.write_text(page, encoding="utf-8")
    return written


if __name__ == "__main__":
    for study_file in sorted(RESULTS.glob("*/study.json")):
        for path in redraw(study_file.parent):
            print(path)
