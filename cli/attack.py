"""``minicereb attack``: attack the model of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from minicereb.attacks.methods import METHODS, method_named
from minicereb.attacks.settings import Attack
from minicereb.cli.options import (
    NEW_FILE,
    RESULTS,
    execution_options,
    from_options,
    moved_data,
    remark_on_size,
    remark_on_unused,
    setting_options,
)
from minicereb.cli.output import Answer, Pace, as_json, finish, note, warn
from minicereb.datasets import Dataset
from minicereb.experiments.kinds.attacked import AttackedModel, Tally, attack_config, attack_run, stored_record
from minicereb.experiments.laboratory import record_in_run
from minicereb.experiments.runs import Run, dataset_of, load_model, read_run
from minicereb.paths import check_file

_ITERATING = {name: each.steps for name, each in METHODS.items() if each.has("steps")}
DEFAULT_STEPS = "; ".join(
    f"{', '.join(name for name, steps in _ITERATING.items() if steps == number)} {number:,}"
    for number in dict.fromkeys(_ITERATING.values())
)


@click.command()
@click.argument("run", type=RESULTS)
@setting_options(
    Attack,
    method="pgd",
    objective="margin",
    epsilon=0.1,
    steps={"default": None, "usual": DEFAULT_STEPS},
    step_size={"usual": "2.5 EPSILON / steps"},
)
@click.option("--images", type=int, help="Number of test images, from the first.  [default: all]")
@click.option("--save", type=NEW_FILE, help="Write the attacked images to this npz file.")
@moved_data
@execution_options
@as_json
def attack(run: Path, images: int | None, save: Path | None, dataset: str | None, **options: Any) -> Answer:
    """Attack the model in the run folder RUN and print how many test images it still classifies correctly."""
    if options["steps"] is None:
        options["steps"] = method_named(options["method"]).steps
    settings: Attack = from_options(Attack, options)
    if settings.too_short is not None:
        warn(settings.too_short)
    trained = read_run(run)
    data = dataset_of(trained, dataset)
    for name in ("epsilon", "step_size"):
        remark_on_size(name.replace("_", "-"), options[name], options["norm"], data.inputs)
    _remark_on_unused(settings)
    config = attack_config(trained, data, settings, images)
    record = None if save else stored_record(trained, config)
    if record is not None:
        note(f"done before; this result was saved in {run}")
    else:
        check_file(record_in_run(trained, config))  # before the attack rather than after it
        tally = Tally(keep_images=save is not None)
        record = attack_with_progress(trained, load_model(trained, data), data, config, tally)
        if save is not None:
            tally.save(save)
    low, high = record["robust_interval"]
    return Answer(
        {**record, "run": run},
        f"{settings.method} on {settings.objective}, ε = {settings.epsilon:g}{' in L2' if settings.norm == 'l2' else ''}, "
        f"{record['images']:,} images: accuracy {record['clean_accuracy']:.2%} clean, {record['robust_accuracy']:.2%} attacked "
        f"(95% interval {low:.2%} to {high:.2%}), {record['seconds']:.1f} s",
    )


def _remark_on_unused(settings: Attack) -> None:
    """Print on standard error which of the given options have no effect."""
    names = ("steps", "step_size", "restarts", "random_start", "keep")
    remark_on_unused([name for name in names if not settings.traits.has(name)], settings.method)
    if settings.gradient == "analytic":
        remark_on_unused(["draws"], "the analytic gradient")


def attack_with_progress(run: Run, model: Any, dataset: Dataset, config: AttackedModel, tally: Tally) -> dict[str, Any]:
    """Attack, with progress, and return the record."""
    pace, total = Pace(), config.images

    def describe(count: Tally) -> str:
        share = count.robust / count.images
        return f"{count.images:,}/{total:,} images  {share:.2%} robust  {pace.describe(count.images, total)}"

    finish(attack_run(run, model, dataset, config, tally), describe)
    record = stored_record(run, config)
    assert record is not None
    return record
