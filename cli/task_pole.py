"""``minicereb task pole``: a circuit learns to balance a pole."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from minicereb.cli.options import NewFile, NewFolder, as_json
from minicereb.cli.output import StatusLine, interruption, print_json, print_table, stop_interrupted
from minicereb.errors import require
from minicereb.experiments.kinds.pole import PoleBalancing, draw_pole, paths_of, pole_balancing, pole_in_folder
from minicereb.report.animation import check_animation
from minicereb.report.pole_figures import animate
from minicereb.tasks.cartpole import STABLE, CartPole
from minicereb.tasks.microzones import LESIONS
from minicereb.tasks.pole_balancing import PoleTask
from minicereb.tasks.pole_learners import METHODS


@click.command()
@click.option("--method", type=click.Choice(list(METHODS)), default="error", show_default=True, help="What teaches the circuit.")
@click.option("--trials", type=int, default=200, show_default=True, help="To learn from at most; 0: it learns nothing.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--cells", type=int, default=10_000, show_default=True, help="Granule cells.")
@click.option("--inputs-per-cell", type=int, default=4, show_default=True, help="Mossy fibres that each of them hears.")
@click.option("--fibres", type=int, default=10, show_default=True, help="Mossy fibres for each of the four variables.")
@click.option("--ltd/--no-ltd", default=False, show_default=True, help="Whether granule activity is centred.")
@click.option("--lesion", default="none", show_default=True, help=f"What is missing: {', '.join(LESIONS)}.")
@click.option("--seconds", type=float, default=100.0, show_default=True, help="A trial that lasts so long has succeeded.")
@click.option(
    "--step", type=float, default=0.02, show_default=True, help="Time step of the integrator and the circuit, in seconds."
)
@click.option("--integrator", type=click.Choice(list(STABLE)), default="euler", show_default=True)
@click.option("--rate", type=float, help="How much one error changes, with --method error.  [default: 0.05]")
@click.option("--animate", "film", type=NewFile(), help="Write a GIF of the first trial and of a test.")
@click.option("--out", type=NewFolder(), help="Folder for weights, result and figures; it goes on from them.")
@as_json
def pole(
    method: str,
    trials: int,
    step: float,
    integrator: str,
    rate: float | None,
    film: Path | None,
    out: Path | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Learn to balance a pole on a cart, then balance it from angles that were not in the training."""
    require(rate is None or method == "error", "rate", rate, "nothing with --method actor-critic")
    way = METHODS[method]() if rate is None else METHODS[method](rate=rate)
    config = PoleBalancing(PoleTask(way, cart=CartPole(step=step, integrator=integrator), **settings), trials, paths=True)
    if film is not None:
        check_animation(film)
    record = _watched(pole_balancing(config) if out is None else pole_in_folder(config, out), out)
    files = [] if out is None else [str(out / name) for name in ("circuit.npz", "result.json", *draw_pole(config, record, out))]
    if film is not None:
        cart = config.task.cart
        animate(paths_of(config, record), cart.step, cart.half_length, cart.x_limit, film)
        files.append(str(film))
    if as_json:
        print_json({name: value for name, value in record.items() if name != "paths"} | {"files": files})
        return
    _print(config, record)
    if files:
        click.echo(f"Files: {', '.join(files)}")


def _watched(progress: Generator[str, None, dict[str, Any]], out: Path | None) -> dict[str, Any]:
    """Go through the trials, showing their progress, and return the record."""
    line = StatusLine()
    with interruption() as interrupted, closing(progress):
        while not interrupted:
            try:
                line.update(next(progress))
            except StopIteration as stop:
                line.close()
                return stop.value
    line.close()
    if out is None:
        raise KeyboardInterrupt
    return stop_interrupted(out)


def _print(config: PoleBalancing, record: dict[str, Any]) -> None:
    seconds, angles = record["seconds"], config.angles
    if seconds:
        first, last = (", ".join(f"{each:.1f}" for each in some) for some in (seconds[:5], seconds[5:][-5:]))
        click.echo(f"{config.description}: {len(seconds)} trials lasted {first}{f' ... {last}' if last else ''} s.")
        whole, in_a_row = f"{config.task.seconds:g} s", f"{config.task.enough} in a row"
        succeeded = f"first in trial {record['succeeded']}" if record["succeeded"] else "in none"
        click.echo(f"Balanced for {whole}: {succeeded}{f'; then {in_a_row}' if record['learned'] else f'; never {in_a_row}'}.")
    else:
        click.echo(f"{config.description}: nothing was learned.")
    click.echo("Tests, nothing more learned, from angles that are not in the training:\n")
    print_table(
        ("angle", "seconds"), [(f"{angle:g}°", f"{each:.1f}") for angle, each in zip(angles, record["tests"], strict=True)]
    )
