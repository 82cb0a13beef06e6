"""What a study is, and how one is carried out: every experiment a value, done once, resumed when it was interrupted."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from minicereb.datasets.dataset import Dataset
from minicereb.experiments.carrying_out import carry_out_experiment
from minicereb.experiments.configs import Data, Experiment, describe
from minicereb.experiments.identity import to_json
from minicereb.experiments.laboratory import Laboratory, Record
from minicereb.files import atomic_write, write_json

SCALES = ("smoke", "course", "paper")

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


class Progress(NamedTuple):
    """Where a study stands: experiments complete, of how many, and what is going on."""

    done: int
    total: int
    doing: str


def carry_out(study: Study, scale: str, seeds: tuple[int, ...], dataset: Dataset, out: Path) -> Generator[Progress, None, None]:
    """Carry out a study into the folder `out`, yielding its progress; what was done before is not done again.

    At the end ``out/study.json`` holds every experiment with its record and ``out/table.md`` the table; figures, if the study
    has any, are beside them.
    """
    plan = study.plan(Data(dataset.name, dataset.sha256), scale, seeds)
    laboratory, results = Laboratory(dataset, out), Results()
    for config in plan:
        experiment = carry_out_experiment(config, laboratory)
        record = yield from _counted(experiment, len(results), len(plan))
        results.append((config, record))
        models = "; ".join(map(describe, config.trainings))
        yield Progress(len(results), len(plan), f"done: {models or type(config).__name__}")
    write_json(
        out / "study.json",
        {
            "study": study.name,
            "question": study.question,
            "scale": scale,
            "seeds": list(seeds),
            "results": [{"config": to_json(config), "record": record} for config, record in results],
        },
    )
    with atomic_write(out / "table.md") as file:
        file.write((study.table(results) + "\n").encode())
    if study.figures is not None:
        study.figures(results, out)


def _counted(experiment: Generator[str, None, Record], done: int, total: int) -> Generator[Progress, None, Record]:
    """Pass on an experiment's progress and its record."""
    with closing(experiment):
        while True:
            try:
                yield Progress(done, total, next(experiment))
            except StopIteration as end:
                return end.value


def short(number: float) -> str:
    """Write a number above 0 with three digits, as tables have it, and never as a power of ten."""
    return f"{float(f'{number:.3g}'):,.0f}" if number >= 100 else f"{number:.3g}"
