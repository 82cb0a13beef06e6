"""What a study is, and how one is carried out: every experiment a value, done once, resumed when it was interrupted."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from minicereb.datasets.dataset import Dataset
from minicereb.experiments.attacks import Tally, attack_run, stored_record
from minicereb.experiments.configs import AttackedModel, Data, PerceptronModel, Train, config_hash, to_json
from minicereb.experiments.runs import load_model, read_run, run_training
from minicereb.files import atomic_write, write_json

SCALES = ("smoke", "course", "paper")

Record = dict[str, Any]


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
        From data, scale and seeds to the experiments, in the order of the table.
    table : callable
        From pairs of experiment and record to a Markdown table.
    """

    name: str
    question: str
    dataset: dict[str, str]
    plan: Callable[[Data, str, tuple[int, ...]], list[AttackedModel]]
    table: Callable[[list[tuple[AttackedModel, Record]]], str]


class Progress(NamedTuple):
    """Where a study stands: experiments complete, of how many, and what is going on."""

    done: int
    total: int
    doing: str


def carry_out(study: Study, scale: str, seeds: tuple[int, ...], dataset: Dataset, out: Path) -> Generator[Progress, None, None]:
    """Carry out a study into the folder `out`, yielding its progress; what was done before is not done again.

    At the end ``out/study.json`` holds every experiment with its record and ``out/table.md`` the table.
    """
    plan = study.plan(Data(dataset.name, dataset.sha256), scale, seeds)
    models = list(dict.fromkeys(config.train for config in plan))
    attacks = {train: [config for config in plan if config.train == train] for train in models}
    records: dict[AttackedModel, Record] = {}
    for train in models:
        folder = out / "runs" / config_hash(train)[:16]
        for progress in run_training(train, dataset, folder):
            seen = progress.position.epoch + progress.position.seen / progress.images
            yield Progress(len(records), len(plan), f"training {describe(train)}: epoch {seen:.2f} of {train.epochs}")
        run, model = read_run(folder), None
        for config in attacks[train]:
            if stored_record(run, config) is None:
                model = load_model(run, dataset) if model is None else model
                for tally in attack_run(run, model, dataset, config, Tally()):
                    doing = f"{config.attack.method} on {config.attack.objective} at {config.attack.epsilon:g}"
                    yield Progress(len(records), len(plan), f"attacking {describe(train)}: {doing}, {tally.images} images")
            record = stored_record(run, config)
            assert record is not None
            records[config] = {**record, "run": run.folder.name, "test_accuracy": (run.result or {})["test_accuracy"]}
            yield Progress(len(records), len(plan), f"done: {describe(train)}")
    results = [(config, records[config]) for config in plan]
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


def describe(train: Train) -> str:
    """Return a few words for a model, as tables and progress lines call it."""
    model = train.model
    if isinstance(model, PerceptronModel):
        return f"perceptron {'-'.join(map(str, model.hidden))}, batch {train.batch_size}"
    wiring = model.wiring if model.inputs_per_cell is None else f"{model.wiring} k={model.inputs_per_cell}"
    return f"{wiring}, {model.cells:,} cells, {'LTD' if model.ltd else 'no LTD'}, batch {train.batch_size}"
