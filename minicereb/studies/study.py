"""The definition of a study, and its execution: every experiment runs once, and an interrupted study can be resumed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from minicereb.datasets.dataset import Dataset
from minicereb.documents import Count, Mismatch, Seed, Share, read_json
from minicereb.errors import DataError, MinicerebError, require
from minicereb.experiments.configs import Data, Experiment
from minicereb.experiments.executors import WorkerPool, one_after_another, spread
from minicereb.experiments.identity import config_hash, from_json, to_json
from minicereb.experiments.jobs import NotDone, Progress, jobs_of, write_plan
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.experiments.records import check_record
from minicereb.files import atomic_write, write_json
from minicereb.paths import check_folder
from minicereb.report.figures import save_figure
from minicereb.report.page import Table, Text, write_blocks
from minicereb.studies.results import Figures, Results

SCALES = ("smoke", "course", "paper")
SEEDS = {"smoke": (0,), "course": (0,), "paper": (0, 123)}  # at paper scale the seeds of the cerebellum paper

MNIST = {"smoke": "strokes", "course": "mnist", "paper": "mnist"}  # name of the data set at each scale
MNIST14 = {"smoke": "strokes14", "course": "mnist14", "paper": "mnist14"}
STROKES = dict.fromkeys(SCALES, "strokes")  # for experiments that use no images


@dataclass(frozen=True)
class Study:
    """A question and the experiments that answer it.

    Parameters
    ----------
    name, question : str
    plan : callable
        Maps data, scale and seeds to the experiments, in the order of the tables and of execution: experiments on the same model
        should be consecutive.
    table : callable
        Maps the results to the tables and the paragraphs that explain them.
    figures : callable, optional
        Maps the results to the figures; their keys are file names without extension.
    expectation : str
        The paper's expectation or finding; empty if the question is our own.
    published : callable, optional
        Maps an experiment to the accuracies that the paper gives for it, in percent; their keys are the names of the
        measurements in the report.
    captions : mapping
        Captions of the figures, keyed by file name.
    dataset, seeds : mapping
        Name of the data set, and default seeds, at each scale.
    inputs : int, optional
        Pixels per image, if the study's models require a certain number.
    """

    name: str
    question: str
    plan: Callable[[Data, str, tuple[int, ...]], Sequence[Experiment]]
    table: Callable[[Results], Sequence[Table | Text]]
    figures: Callable[[Results], Figures] | None = None
    expectation: str = ""
    published: Callable[[Any], dict[str, str]] | None = None
    captions: Mapping[str, str] = field(default_factory=dict)
    dataset: Mapping[str, str] = field(default_factory=MNIST.copy)
    seeds: Mapping[str, tuple[int, ...]] = field(default_factory=SEEDS.copy)
    inputs: int | None = None

    def check(self, dataset: Dataset) -> None:
        """Raise :class:`InputError` if the images do not have the number of pixels that the study's models require."""
        expected = f"images of {self.inputs} pixels for {self.name} (these have {dataset.inputs})"
        require(self.inputs in (None, dataset.inputs), "dataset", dataset.name, expected)


def carry_out(
    study: Study, scale: str, seeds: tuple[int, ...], dataset: Dataset, out: Path, pool: WorkerPool | None = None
) -> Generator[Progress, None, None]:
    """Run a study in the folder `out`, yielding its progress; complete experiments are not run again.

    At the end, ``out/study.json`` holds every experiment with its record, and ``out/table.md`` holds the tables. Figures,
    if the study has any, are in the same folder. A complete study in a read-only folder is left unchanged, and can still be
    printed. Without a `pool` this process runs the jobs in sequence. If some jobs cannot be done, :class:`NotDone` is
    raised after all other jobs have been run.
    """
    study.check(dataset)
    plan = study.plan(Data(dataset.name, dataset.sha256), scale, seeds)
    laboratory, jobs = Laboratory(dataset, out), jobs_of(plan)
    about = {"study": study.name, "question": study.question, "scale": scale, "seeds": list(seeds)}
    if not _may_be_written(out) and _is_kept(out, about, plan) and all(laboratory.is_done(job) for job in jobs):
        return
    found = write_plan(out, about, list(jobs), laboratory, 1 if pool is None else pool.workers)
    undone = yield from one_after_another(jobs, found, laboratory) if pool is None else spread(jobs, found, laboratory, pool)
    if undone:
        raise NotDone(undone, len(jobs))
    laboratory.siblings.look_again()  # workers may have used folders that appeared in the meantime
    results = Results(((config, laboratory.result(config)) for config in plan), out)
    write_json(
        out / "study.json",
        about | {"results": [{"config": to_json(config), "record": record} for config, record in results]},
    )
    with atomic_write(out / "table.md") as file:
        file.write((write_blocks(study.table(results)) + "\n").encode())
    for name, figure in (study.figures(results) if study.figures else {}).items():
        save_figure(figure, out / f"{name}.png")


def _may_be_written(folder: Path) -> bool:
    try:
        check_folder(folder)
    except MinicerebError:
        return False
    return True


def _is_kept(out: Path, about: dict[str, Any], plan: Sequence[Experiment]) -> bool:
    """Return whether the folder holds the results of exactly these experiments, and their tables."""
    try:
        stored = read_study(out / "study.json")
        kept = [config_hash(from_json(each["config"])) for each in stored["results"]]
    except MinicerebError:
        return False
    same = kept == [config_hash(config) for config in plan] and all(
        stored[name] == about[name] for name in ("study", "scale", "seeds")
    )
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
    """Read ``study.json``; raise :class:`DataError` if its content does not describe a study.

    Records with settings of another version are not checked.
    """
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
