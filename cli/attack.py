"""``minicereb attack``: attack the model of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from minicereb.attacks.ball import NORMS
from minicereb.attacks.methods import METHODS, method_named, method_names
from minicereb.attacks.objectives import OBJECTIVES
from minicereb.attacks.settings import GRADIENTS, Attack
from minicereb.cli.options import NewFile, Number, as_json, execution_options, moved_data, remark_on_size
from minicereb.cli.output import Pace, StatusLine, note, print_json, warn
from minicereb.datasets import Dataset
from minicereb.experiments.attacks import Tally, attack_config, attack_run, record_path, stored_record
from minicereb.experiments.configs import AttackedModel
from minicereb.experiments.runs import Run, dataset_of, load_model, read_run
from minicereb.paths import check_file

_ITERATING = {name: each.steps for name, each in METHODS.items() if each.has("steps")}
DEFAULT_STEPS = "; ".join(
    f"{', '.join(name for name, steps in _ITERATING.items() if steps == number)} {number:,}"
    for number in dict.fromkeys(_ITERATING.values())
)


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--method", type=click.Choice(method_names()), default="pgd", show_default=True)
@click.option(
    "--objective",
    type=click.Choice(list(OBJECTIVES)),
    default="margin",
    show_default=True,
    help="What the attack ascends.",
)
@click.option(
    "--epsilon", type=Number(), default=0.1, show_default=True, help="Largest change of a pixel, or of the image in L2."
)
@click.option("--norm", type=click.Choice(NORMS), default="linf", show_default=True)
@click.option(
    "--steps",
    type=int,
    help=f"Steps, queries or points.  [default: {DEFAULT_STEPS}]",
)
@click.option("--step-size", type=Number(), help="Step size of pgd and momentum.  [default: 2.5 EPSILON / steps]")
@click.option("--decay", type=Number(), default=1.0, show_default=True, help="Momentum: weight of the past gradients.")
@click.option("--nesterov", is_flag=True, help="Momentum: take the gradient where the past gradients alone would lead.")
@click.option(
    "--rescale/--no-rescale",
    default=True,
    show_default=True,
    help="Square: shrink its squares over all queries, or, as AutoAttack does, after fixed numbers of queries.",
)
@click.option(
    "--targets",
    type=int,
    default=0,
    show_default=True,
    help="Search towards each of so many likely wrong classes; 0: towards any.",
)
@click.option("--restarts", type=int, default=1, show_default=True)
@click.option("--random-start/--clean-start", default=True, show_default=True)
@click.option(
    "--keep",
    type=click.Choice(["best", "last"]),
    default="best",
    show_default=True,
    help="The point that counts: the best one visited, or the last.",
)
@click.option(
    "--gradient",
    type=click.Choice(GRADIENTS),
    default="analytic",
    show_default=True,
    help="The model's own gradient, or, for a network with noise, an estimate of its mean objective's.",
)
@click.option("--draws", type=int, default=32, show_default=True, help="Noise samples per gradient estimate.")
@click.option("--images", type=int, help="Attack the first N test images.  [default: all]")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random starts and of noise.")
@click.option("--save", type=NewFile(), help="Write the attacked images to this npz file.")
@moved_data
@execution_options
@as_json
def attack(
    run: Path,
    steps: int | None,
    images: int | None,
    save: Path | None,
    dataset: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Attack the model in the run folder RUN and print how many test images it still gets right."""
    settings = Attack(steps=method_named(options["method"]).steps if steps is None else steps, **options)
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
        note(f"done before; the result is the one kept in {run}")
    else:
        check_file(record_path(trained, config))  # better said before the attack than after it
        tally = Tally(keep_images=save is not None)
        record = attack_with_progress(trained, load_model(trained, data), data, config, tally)
        if save is not None:
            tally.save(save)
    if as_json:
        print_json({**record, "run": str(run)})
        return
    low, high = record["robust_interval"]
    click.echo(
        f"{settings.method} on {settings.objective}, ε = {settings.epsilon:g}{' in L2' if settings.norm == 'l2' else ''}, "
        f"{record['images']:,} images: accuracy "
        f"{record['clean_accuracy']:.2%} clean, {record['robust_accuracy']:.2%} attacked "
        f"(95% interval {low:.2%} to {high:.2%}), {record['seconds']:.1f} s"
    )


def _remark_on_unused(settings: Attack) -> None:
    """Say on standard error which of the options that were given have no effect."""
    context = click.get_current_context()
    depending = ("steps", "step_size", "restarts", "random_start", "keep")
    unused = [(name, settings.method) for name in depending if not settings.traits.has(name)]
    if settings.gradient == "analytic":
        unused.append(("draws", "the analytic gradient"))
    for name, what in unused:
        if context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            option = next(each.opts[0] for each in context.command.params if each.name == name)
            click.echo(f"note: {option} has no effect with {what}", err=True)


def attack_with_progress(run: Run, model: Any, dataset: Dataset, config: AttackedModel, tally: Tally) -> dict[str, Any]:
    """Attack, with progress, and return the record."""
    line, pace = StatusLine(), Pace()
    line.update(f"attacking {config.images:,} images")
    for count in attack_run(run, model, dataset, config, tally):
        line.update(
            f"{count.images:,}/{config.images:,} images  {count.robust / count.images:.2%} robust  "
            f"{pace.describe(count.images, config.images)}"
        )
    line.close()
    record = stored_record(run, config)
    assert record is not None
    return record
