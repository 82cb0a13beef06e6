"""Reports: a folder that an experiment left, as a page to be read."""

from __future__ import annotations

from pathlib import Path

from minicereb.errors import InputError, require
from minicereb.experiments.evaluation.folder import RECORD
from minicereb.experiments.evaluation.page import evaluation_page
from minicereb.experiments.run_page import run_page
from minicereb.report.page import Page
from minicereb.studies.page import STUDY, study_page

__all__ = ["report_on"]

EXPECTED = "the folder of a study, a run or an evaluation"


def report_on(folder: Path, place: str | None = None) -> Page:
    """Return the page of a study, a run or an evaluation.

    Parameters
    ----------
    folder : Path
    place : str, optional
        Where the data of an evaluation are now, see :func:`minicereb.experiments.runs.dataset_of`; only its page looks at data.

    Raises
    ------
    InputError
        If `folder` is none of these, or `place` is given for a page that needs no data.
    DataError
        If a file in it is damaged.
    """
    if not folder.is_dir():
        raise InputError("DIR", str(folder), f"{EXPECTED}; {'this is a file' if folder.exists() else 'there is no such folder'}")
    for name, page in ((STUDY, study_page), ("config.json", run_page)):
        if (folder / name).is_file():
            require(place is None, "dataset", place, "given with the folder of an evaluation: this page needs no data")
            return page(folder)
    if (folder / RECORD).is_file():
        return evaluation_page(folder, place)
    unfinished = {
        "runs": f"{EXPECTED}; it has no {STUDY}: if it is a study, the study's command, given again, completes it",
        "checklist.json": f"{EXPECTED}; it has no {RECORD}: the evaluation's command, given again, completes it",
    }
    hint = next((text for name, text in unfinished.items() if (folder / name).exists()), EXPECTED)
    if any(folder.glob("images-*.npz")):
        hint = unfinished["checklist.json"]
    raise InputError("DIR", str(folder), hint)
