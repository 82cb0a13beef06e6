"""``minicereb evaluate``: bound the robust accuracy of models, from above by attacks and from below by certificates."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from itertools import product
from pathlib import Path
from typing import Any

import click

from minicereb import datasets
from minicereb.cli import options
from minicereb.cli.output import Answer, as_json, finish, warn
from minicereb.documents import table
from minicereb.errors import InputError, MinicerebError, require
from minicereb.experiments.architectures import NoisyModel
from minicereb.experiments.evaluation.figures import draw_evaluation
from minicereb.experiments.evaluation.folder import RECORD
from minicereb.experiments.evaluation.own_model import OwnModel, evaluate_own_model
from minicereb.experiments.evaluation.settings import (
    EvaluatedModel,
    check_epsilons,
    check_images,
    evaluate_run,
    evaluation_folder,
)
from minicereb.experiments.pages import attack_rows, checklist_table
from minicereb.experiments.runs import Run, check_loadable, dataset_of, load_model, read_run
from minicereb.paths import check_folder
from minicereb.report.formats import strength, with_interval
from minicereb.robustness.catalogue import COMPLETE, SETS, attack_named, attacks_named


@click.command()
@click.argument("runs", nargs=-1, type=options.RESULTS)
@options.setting_options(
    EvaluatedModel,
    *("epsilons", "images", "attacks", "norm", "certify", "answer", "gradient", "draws", "replications"),
    *("seed", "seconds_per_image"),
    epsilons={
        "type": options.number,
        "multiple": True,
        "help": "Largest change of a pixel or, in L2, of an image; may be repeated.  [default: 0.1 and 0.3]",
    },
    images={"usual": "1,000, or all if there are fewer"},
    attacks={
        "default": "standard",
        "type": str,
        "show_default": True,
        "help": f"Attacks to run: {', '.join(SETS)}, or comma-separated names.",
    },
)
@click.option(
    "--complete", is_flag=True, help="Use branch and bound to decide the images that attacks and certificates leave undecided."
)
@click.option(
    "--transfer", multiple=True, type=options.RESULTS, help="Also try images that were attacked on the model of this run."
)
@click.option(
    "--model",
    help="Evaluate your own classifier instead of runs: FILE.onnx, or package.module:factory for a function that returns it.",
)
@click.option(
    "--dataset",
    metavar="PLACE",
    help="A name, an .npz file or a folder: the data for --model, or the new place of a run's data if they were moved.",
)
@click.option("--out", type=options.NEW_FOLDER, help="With --model: folder for the results.  [default: runs/evaluation]")
@options.execution_options
@as_json
def evaluate(
    runs: tuple[Path, ...],
    complete: bool,
    transfer: tuple[Path, ...],
    model: str | None,
    dataset: str | None,
    out: Path | None,
    **settings: Any,
) -> Answer:
    """Attack the models of the run folders RUNS in every way, certify what can be proved, and go through a checklist.

    The true robust accuracy at ε is at most the accuracy under attack and at least the certified accuracy.
    """
    settings["epsilons"] = tuple(sorted(set(settings["epsilons"]))) or (0.1, 0.3)
    settings["attacks"] = attacks_named([*settings["attacks"].split(","), *([COMPLETE] if complete else [])])
    check_epsilons(settings["epsilons"])
    if model is None:
        if not runs:
            raise InputError("RUN", "", "one or more run folders, or --model and --dataset")
        require(out is None, "out", str(out), "no folder without --model: the evaluation is stored in the run")
        # all runs are checked before the first evaluation begins
        planned = [_planned(run, transfer, dataset, settings) for run in runs]
        for *_, data in planned:
            _remark_on_epsilons(settings, data)
        records = [_evaluate_run(*each) for each in planned]
    else:
        require(not runs, "model", model, "no run folders beside it")
        require(not transfer, "transfer", [str(run) for run in transfer], "nothing with --model")
        if dataset is None:
            raise MinicerebError("--model also needs --dataset: a name, or FILE.npz")
        records = [_evaluate_own_model(model, dataset, out or Path("runs/evaluation"), settings)]
    lines = [line for record in records for line in _lines(record)]
    return Answer(records[0] if len(records) == 1 else records, "\n".join(lines))


def _planned(
    folder: Path, transfer: tuple[Path, ...], place: str | None, settings: dict[str, Any]
) -> tuple[EvaluatedModel, Run, list[Run], datasets.Dataset]:
    """Read what an evaluation needs, and raise all errors that can be detected before it begins."""
    run = read_run(folder)
    data = dataset_of(run, place)
    others = [read_run(other) for other in transfer]
    for each in (run, *others):
        check_loadable(each, data)
    if settings["answer"] == "lap" and not isinstance(run.config.model, NoisyModel):
        raise InputError("answer", "lap", "ot: only a network with noise has a mean output")
    require(
        settings["gradient"] != "eot", "gradient", "eot", "analytic: a model of this project gives the same outputs at every call"
    )
    substitutes = tuple(other.config for other in others)
    config = EvaluatedModel(run.config, substitutes=substitutes, **settings | {"images": _images(settings, data)})
    check_images(config, data)
    if settings["answer"] != "lap":
        options.remark_on_unused(["replications"], "--answer ot")
    if settings["gradient"] == "analytic" or not isinstance(run.config.model, NoisyModel):
        options.remark_on_unused(["draws"], "an analytic gradient")
    folder = evaluation_folder(run, config)
    if not (folder / RECORD).exists():
        check_folder(folder)
    return config, run, others, data


def _evaluate_run(config: EvaluatedModel, run: Run, others: list[Run], data: datasets.Dataset) -> dict[str, Any]:
    model, folder = load_model(run, data), evaluation_folder(run, config)
    substitutes = {str(other.folder): load_model(other, data) for other in others}
    record = finish(evaluate_run(config, run, model, data, substitutes), folder=folder)
    figures = draw_evaluation(folder, record, data)
    return {**record, "run": run.folder, "folder": folder, "figures": figures}


def _evaluate_own_model(name: str, dataset: str, out: Path, settings: dict[str, Any]) -> dict[str, Any]:
    gradient = settings["gradient"]
    expected = "with --model analytic, or eot if its outputs are random"
    require(gradient in ("fitting", "analytic", "eot"), "gradient", gradient, expected)
    gradient = "eot" if gradient == "eot" else "analytic"
    for option in ("answer", "replications"):
        usual = getattr(EvaluatedModel, option)
        require(
            settings[option] == usual, option, settings[option], "no value with --model: your classifier computes its own outputs"
        )
    if gradient != "eot":
        require(settings["draws"] == EvaluatedModel.draws, "draws", settings["draws"], "with --model only beside --gradient eot")
    data = datasets.load(dataset, training=False)
    chosen = {key: settings[key] for key in ("epsilons", "attacks", "norm", "seed", "certify", "draws")}
    config = OwnModel(name, images=_images(settings, data), gradient=gradient, **chosen)
    _remark_on_epsilons(settings, data)
    with redirect_stdout(sys.stderr):  # output that the classifier prints must not mix with ours
        record = finish(evaluate_own_model(config, data, out), folder=out)
    return {**record, "folder": out, "figures": draw_evaluation(out, record, data)}


def _remark_on_epsilons(settings: dict[str, Any], data: datasets.Dataset) -> None:
    for epsilon in settings["epsilons"]:
        options.remark_on_size("epsilon", epsilon, settings["norm"], data.inputs)
    for name, epsilon in product(settings["attacks"], settings["epsilons"]):
        for attack in attack_named(name).make(epsilon, settings["norm"], settings["seed"], "analytic", 1):
            if attack.too_short is not None:
                warn(f"{name}: {attack.too_short}")


def _images(settings: dict[str, Any], data: datasets.Dataset) -> int:
    return min(1_000, len(data.x_test)) if settings["images"] is None else settings["images"]


def _lines(record: dict[str, Any]) -> Iterator[str]:
    entries = record["epsilons"]
    yield (
        f"{record['run']}: {record['model']}, {record['images']:,} images of {record['data']}, {record['norm']}, "
        f"clean accuracy {record['clean_accuracy']:.2%}\n"
    )
    rows = [
        (f"{name} (95% interval)", *(with_interval(entry[name], entry[f"{name}_interval"]) for entry in entries))
        for name in ("attacked", "certified")
    ]
    rows += ((f"  {title}", *shares) for title, *shares in attack_rows(record))
    yield table(("accuracy in %", *(f"ε = {strength(entry['epsilon'])}" for entry in entries)), rows)
    if record["no_certificate"]:
        yield f"no certificates: {record['no_certificate']}"
    if "transfer" in entries[0]["by_attack"] and record.get("no_transfer"):
        yield f"transfer was not tried: {record['no_transfer']}"
    yield f"\nchecklist, on the correctly classified images among the first {record['checked_images']}:"
    for shown in map(checklist_table, entries):
        yield "\n" + table(shown.head, shown.rows)
    yield f"\n{record['seconds']:.1f} s; outcomes of every image and figures: {record['folder']}"
