"""What a study is, and how one is carried out: every experiment a value, done once, resumed when it was interrupted."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from minicereb.datasets.dataset import Dataset
from minicereb.documents import Count, Mismatch, Seed, Share, read_json
from minicereb.errors import DataError, MinicerebError, require
from minicereb.experiments.carrying_out import result_of
from minicereb.experiments.configs import Data, Experiment
from minicereb.experiments.executors import Crew, one_after_another, spread
from minicereb.experiments.identity import config_hash, from_json, to_json
from minicereb.experiments.jobs import NotDone, Progress, is_done, jobs_of, write_plan
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.records import check_record
from minicereb.files import atomic_write, write_json
from minicereb.paths import check_folder

SCALES = ("smoke", "course", "paper")
SEEDS = {"smoke": (0,), "course": (0,), "paper": (0, 123)}  # at paper scale those of the cerebellum paper

Results = list[tuple[Any, Record]]


@dataclass(frozen=True)
class Study:
    """A question and the experiments that answer it.

    Parameters
    ----------
    name : str
    question : str
        One sentence.
    dataset : dict
        Name of the data set at each scale.
    plan : callable
        From data, scale and seeds to the experiments, in the order of the table and in which they are done: those on the same
        model are best one after the other. They may be of any kind in ``EXPERIMENTS``.
    table : callable
        From pairs of experiment and record to a Markdown table.
    figures : callable, optional
        From the same pairs and the study's folder to nothing: it draws PNG files, and SVG beside them, into the folder.
    expectation : str
        What the paper expects, or says it found; empty if the question is our own.
    published : callable, optional
        From an experiment to what the paper prints for it, in percent, by the names that a report has for what was measured.
    captions : mapping
        What a reader must know of each figure, by the name of its file without ending.
    seeds : mapping
        Seeds at each scale, if no others are asked for.
    inputs : int, optional
        The pixels of an image, where the study's models are made for just so many.
    """

    name: str
    question: str
    dataset: dict[str, str]
    plan: Callable[[Data, str, tuple[int, ...]], Sequence[Experiment]]
    table: Callable[[Results], str]
    figures: Callable[[Results, Path], None] | None = None
    expectation: str = ""
    published: Callable[[Any], dict[str, str]] | None = None
    captions: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, tuple[int, ...]] = field(default_factory=SEEDS.copy)
    inputs: int | None = None

    def check(self, dataset: Dataset) -> None:
        """Raise :class:`InputError` if the study's models are not made for such data."""
        expected = f"images of {self.inputs} pixels for {self.name} (these have {dataset.inputs})"
        require(self.inputs in (None, dataset.inputs), "dataset", dataset.name, expected)


def carry_out(
    study: Study, scale: str, seeds: tuple[int, ...], dataset: Dataset, out: Path, crew: Crew | None = None
) -> Generator[Progress, None, None]:
    """Carry out a study into the folder `out`, yielding its progress; what was done before is not done again.

    What is complete in a folder that cannot be written stays as it is: it can still be printed.

    At the end ``out/study.json`` holds every experiment with its record and ``out/table.md`` the table; figures, if the study
    has any, are beside them.

    Parameters
    ----------
    study : Study
    scale : str
    seeds : tuple of int
    dataset : Dataset
    out : Path
    crew : Crew, optional
        Who does the jobs; without one, this process does them one after the other.

    Raises
    ------
    NotDone
        When all that can be done is done, if that is not everything.
    """
    study.check(dataset)
    plan = study.plan(Data(dataset.name, dataset.sha256), scale, seeds)
    laboratory, jobs = Laboratory(dataset, out), jobs_of(plan)
    about = {"study": study.name, "question": study.question, "scale": scale, "seeds": list(seeds)}
    if not _may_be_written(out) and _is_kept(out, about, plan) and all(is_done(job, laboratory) for job in jobs):
        return  # what is there can be printed
    found = write_plan(out, about, list(jobs), laboratory, 1 if crew is None else crew.workers)
    undone = yield from one_after_another(jobs, found, laboratory) if crew is None else spread(jobs, found, laboratory, crew)
    if undone:
        raise NotDone(undone, len(jobs))
    laboratory.look_again()  # workers may have found things in folders that are newer than the last look
    results = Results((config, result_of(config, laboratory)) for config in plan)
    write_json(
        out / "study.json",
        about | {"results": [{"config": to_json(config), "record": record} for config, record in results]},
    )
    with atomic_write(out / "table.md") as file:
        file.write((study.table(results) + "\n").encode())
    if study.figures is not None:
        study.figures(results, out)


def _may_be_written(folder: Path) -> bool:
    try:
        check_folder(folder)
    except MinicerebError:
        return False
    return True


def _is_kept(out: Path, about: dict[str, Any], plan: Sequence[Experiment]) -> bool:
    """Whether the folder holds the results of just these experiments, and their table."""
    try:
        stored = read_study(out / "study.json")
        kept = [config_hash(from_json(each["config"])) for each in stored["results"]]
    except MinicerebError:
        return False
    same = kept == [config_hash(config) for config in plan] and {name: stored.get(name) for name in about} == about
    return same and (out / "table.md").is_file()


class _Places(TypedDict, total=False):
    run: str
    runs: list[str]
    test_accuracy: Share
    test_accuracies: list[Share]
    test_images: Count


class _Result(TypedDict):
    config: dict[str, Any]
    record: _Places


class _StudyFile(TypedDict):
    study: str
    question: str
    scale: str
    seeds: list[Seed]
    results: list[_Result]


def read_study(path: Path) -> Record:
    """Read ``study.json``; :class:`DataError` if it is not one. Results of another version's settings are not looked into."""
    stored = read_json(path, _StudyFile)
    for number, result in enumerate(stored["results"]):
        try:
            config = from_json(result["config"])
        except MinicerebError:
            continue
        try:
            check_record(config, result["record"])
        except Mismatch as error:
            raise DataError(f"{path}: {error.within(number).within('results')}") from error
    return stored


def short(number: float) -> str:
    """Write a number above 0 with three digits, as tables have it, and never as a power of ten."""
    return f"{float(f'{number:.3g}'):,.0f}" if number >= 100 else f"{number:.3g}"
