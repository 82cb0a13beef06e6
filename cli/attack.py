"""``minicereb attack``: attack the model of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from minicereb.attacks.methods import METHODS, method_named
from minicereb.attacks.settings import Attack
from minicereb.cli import options
from minicereb.cli.output import Answer, Pace, as_json, finish, note, warn
from minicereb.datasets import Dataset
from minicereb.errors import require
from minicereb.experiments.kinds.attacked import AttackedModel, Tally, attack_config, attack_run, stored_record
from minicereb.experiments.laboratory import record_in_run
from minicereb.experiments.runs import Run, dataset_of, load_model, read_run
from minicereb.files import atomic_write
from minicereb.paths import check_file

_ITERATING = {name: each.steps for name, each in METHODS.items() if each.has("steps")}
DEFAULT_STEPS = "; ".join(
    f"{', '.join(name for name, steps in _ITERATING.items() if steps == number)} {number:,}"
    for number in dict.fromkeys(_ITERATING.values())
)
FILMED = 4  # images in an animation


@click.command()
@click.argument("run", type=options.RESULTS)
@options.setting_options(
    Attack,
    method="pgd",
    objective="margin",
    epsilon=0.1,
    steps={"default": None, "usual": DEFAULT_STEPS},
    step_size={"usual": "2.5 EPSILON / steps"},
)
@click.option("--images", type=int, help="Attack only this many test images, starting with the first.  [default: all]")
@click.option("--save", type=options.NEW_FILE, help="Write the attacked images to this npz file.")
@click.option(
    "--animate",
    type=options.NEW_FILE,
    metavar="FILE.svg",
    help=f"Write the first {FILMED} images, step by step, as an animation.",
)
@options.moved_data
@options.execution_options
@as_json
def attack(run: Path, images: int | None, save: Path | None, animate: Path | None, dataset: str | None, **given: Any) -> Answer:
    """Attack the model in the run folder RUN and print how many test images it still classifies correctly."""
    if given["steps"] is None:
        given["steps"] = method_named(given["method"]).steps
    settings: Attack = options.from_options(Attack, given)
    if settings.too_short is not None:
        warn(settings.too_short)
    trained = read_run(run)
    data = dataset_of(trained, dataset)
    for name in ("epsilon", "step_size"):
        options.remark_on_size(name.replace("_", "-"), given[name], given["norm"], data.inputs)
    if animate is not None:
        require(animate.suffix.lower() == ".svg", "animate", str(animate), "a file whose name ends in .svg")
    names = ("steps", "step_size", "restarts", "random_start", "keep")
    options.remark_on_unused([name for name in names if not settings.traits.has(name)], settings.method)
    if settings.gradient == "analytic":
        options.remark_on_unused(["draws"], "the analytic gradient")
    config = attack_config(trained, data, settings, images)
    if animate is not None:
        from minicereb.explore.attack_story import attack_film  # imports certificates, which takes time

        shown = attack_film(load_model(trained, data), data, settings, min(FILMED, config.images), "light")
        with atomic_write(animate) as file:
            file.write(shown.encode())
    record = None if save else stored_record(trained, config)
    if record is not None:
        note(f"this attack was already made; the result was saved in {run}")
    else:
        check_file(record_in_run(trained, config))  # fail before the attack rather than after it
        tally = Tally(keep_images=save is not None)
        record = attack_with_progress(trained, load_model(trained, data), data, config, tally)
        if save is not None:
            tally.save(save)
    low, high = record["robust_interval"]
    return Answer(
        {**record, "run": run, **({"files": [animate]} if animate else {})},
        f"{settings.method} on {settings.objective}, ε = {settings.epsilon:g}{' in L2' if settings.norm == 'l2' else ''}, "
        f"{record['images']:,} images: accuracy {record['clean_accuracy']:.2%} clean, {record['robust_accuracy']:.2%} attacked "
        f"(95% interval {low:.2%} to {high:.2%}), {record['seconds']:.1f} s" + (f"\nFile: {animate}" if animate else ""),
    )


def attack_with_progress(run: Run, model: Any, dataset: Dataset, config: AttackedModel, tally: Tally) -> dict[str, Any]:
    """Attack a run's model, show the progress, and return the record."""
    pace, total = Pace(), config.images

    def describe(count: Tally) -> str:
        share = count.robust / count.images
        return f"{count.images:,}/{total:,} images  {share:.2%} robust  {pace.describe(count.images, total)}"

    finish(attack_run(run, model, dataset, config, tally), describe)
    record = stored_record(run, config)
    assert record is not None
    return record
