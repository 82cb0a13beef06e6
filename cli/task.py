"""``minicereb task``: motor tasks that a simulated cerebellum learns by the same rule as images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from minicereb.backend import to_numpy
from minicereb.cli.main import Group
from minicereb.cli.options import NEW_FILE, NEW_FOLDER, execution_options, from_options, setting_options
from minicereb.cli.output import Answer, as_json, finish, shown
from minicereb.documents import table
from minicereb.errors import require
from minicereb.experiments.identity import to_json
from minicereb.experiments.kinds.conditioning import Conditioning, summary
from minicereb.experiments.kinds.pole import PoleBalancing, draw_pole, paths_of, pole_in_folder
from minicereb.files import write_json
from minicereb.report.eyelid_figures import Film, lids, raster, synapses
from minicereb.report.figures import check_animation, save_animation, save_figure
from minicereb.report.pole_figures import animate as animate_pole
from minicereb.tasks.cartpole import CartPole
from minicereb.tasks.circuit import LESIONS
from minicereb.tasks.eyelid_conditioning import PHASES, ConditioningTrial, Eyelid, Session
from minicereb.tasks.pole_balancing import PoleTask
from minicereb.tasks.pole_learners import METHODS, ErrorDriven

DRAWN_TRIALS, FILMED_TRIALS, FILMED_CELLS = 16, 100, 1_000  # at most


@click.group(cls=Group)
def task() -> None:
    """Learn a motor task with a simulated cerebellum."""


@task.command(epilog="Lesions: " + "; ".join(f"{name} ({what})" for name, what in LESIONS.items()) + ".")
@setting_options(Eyelid, lesions={"metavar": "PART"})
@click.option("--out", type=NEW_FOLDER, help="Folder for figures and session.json.")
@click.option("--animate", type=NEW_FILE, metavar="FILE.gif", help="Write the trials as an animation.")
@execution_options
@as_json
def eyelid(out: Path | None, animate: Path | None, **options: Any) -> Answer:
    """Condition the eyelid: a stimulus (CS) is followed by an air puff (US), and the lid learns to close in time."""
    settings: Eyelid = from_options(Eyelid, options)
    if animate is not None:
        check_animation(animate)
    session, done, weights = Session(settings), [], {}
    before, count = session.circuit.weights, sum(getattr(settings, phase) for phase in PHASES)
    filmed = set(_spread(count, FILMED_TRIALS)) if animate else ()
    for trial in shown(
        session.trials(), lambda each: f"{each.phase}, trial {each.number + 1} of {count}: closure {each.closure:.0f}%"
    ):
        done.append(trial)
        if trial.number in filmed:
            weights[trial.number] = session.circuit.weights[:FILMED_CELLS]  # the cells are statistically alike
    record, files = summary(session, done), []
    some = [done[number] for number in _spread(len(done), DRAWN_TRIALS)]
    granule = to_numpy(session.circuit.activity)[:, : session.circuit.bins]
    time, cs, us = session.time, (0.0, float(settings.stimulus)), settings.interval
    if out is not None:
        names = [f"{trial.number + 1} {trial.phase}" for trial in some]
        figures = {
            "raster": raster(time, granule, cs, us),
            "synapses": synapses(time, granule, before, session.circuit.weights, us),
            "lids": lids(time, [trial.lid for trial in some], names, cs, us),
        }
        for name, figure in figures.items():
            files.append(out / f"{name}.png")
            save_figure(figure, files[-1])
        files.append(out / "session.json")
        write_json(files[-1], {"config": to_json(Conditioning(settings)), "record": record})
    if animate is not None:
        film = Film(time, granule[:FILMED_CELLS], cs, us)
        frames = [(f"trial {n + 1}, {done[n].phase}: {done[n].closure:.0f}%", done[n].lid, weights[n]) for n in weights]
        save_animation(film.figure, film.frames(frames), animate)
        files.append(animate)
    text = "\n".join([*_of_session(settings, some, record), *_listed(files)])
    return Answer({"settings": to_json(settings), **record, "files": files}, text)


def _of_session(settings: Eyelid, some: list[ConditioningTrial], record: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of text: some of the trials, and for each phase how many trials preceded its criterion."""
    rows = [(trial.number + 1, trial.phase, f"{trial.closure:.0f}", trial.peak) for trial in some]
    yield table(("trial", "phase", "closure %", "peak ms"), rows)
    for phase, number in record["criterion"].items():
        what = "without a response" if phase == "extinction" else "with one"
        yield f"{phase}: the first five trials in a row {what}: {'never' if number is None else f'after {number} trials'}"
    peak = f"closed most at {record['peak']} ms, the US begins at {settings.interval} ms"
    yield f"At the end of acquisition: {'no response' if record['peak'] is None else peak}."


def _spread(count: int, at_most: int) -> list[int]:
    """Return evenly spaced trial numbers from the first to the last."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, at_most), dtype=np.float64).tolist()})


def _listed(files: list[Path]) -> list[str]:
    return [f"Files: {', '.join(map(str, files))}"] if files else []


@task.command()
@click.option("--method", type=click.Choice(list(METHODS)), default="error", show_default=True, help="How the circuit learns.")
@click.option("--trials", type=int, default=200, show_default=True, help="Largest number of trials; 0 for no learning.")
@setting_options(PoleTask, "seed", "cells", "inputs_per_cell", "fibres", "ltd", "lesion", "seconds")
@setting_options(CartPole, "step", "integrator")
@setting_options(ErrorDriven, "rate", rate={"default": None, "usual": f"{ErrorDriven.rate:g}, with --method error"})
@click.option("--animate", "film", type=NEW_FILE, help="Write a GIF of the first trial and of a test.")
@click.option("--out", type=NEW_FOLDER, help="Folder for weights, result and figures; the command resumes from them.")
@as_json
def pole(
    method: str,
    trials: int,
    step: float,
    integrator: str,
    rate: float | None,
    film: Path | None,
    out: Path | None,
    **options: Any,
) -> Answer:
    """Learn to balance a pole on a cart, then balance it from angles not used in training."""
    require(rate is None or method == "error", "rate", rate, "no value with --method actor-critic")
    taught = METHODS[method]() if rate is None else METHODS[method](rate=rate)
    balanced = from_options(PoleTask, options, method=taught, cart=CartPole(step=step, integrator=integrator))
    config = PoleBalancing(balanced, trials, paths=True)
    if film is not None:
        check_animation(film)
    record = finish(config.run() if out is None else pole_in_folder(config, out), folder=out)
    files = [] if out is None else [out / name for name in ("circuit.npz", "result.json", *draw_pole(config, record, out))]
    if film is not None:
        cart = config.task.cart
        animate_pole(paths_of(config, record), cart.step, cart.half_length, cart.x_limit, film)
        files.append(film)
    document = {name: value for name, value in record.items() if name != "paths"} | {"files": files}
    return Answer(document, "\n".join([*_of_balancing(config, record), *_listed(files)]))


def _of_balancing(config: PoleBalancing, record: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of text: the durations of the trials, and the tests after them."""
    seconds = record["seconds"]
    if seconds:
        first, last = (", ".join(f"{each:.1f}" for each in some) for some in (seconds[:5], seconds[5:][-5:]))
        yield f"{config.description}: {len(seconds)} trials lasted {first}{f' ... {last}' if last else ''} s."
        in_a_row = f"{config.task.enough} in a row"
        succeeded = f"first in trial {record['succeeded']}" if record["succeeded"] else "in none"
        learned = f"then {in_a_row}" if record["learned"] else f"never {in_a_row}"
        yield f"Balanced for {config.task.seconds:g} s: {succeeded}; {learned}."
    else:
        yield f"{config.description}: nothing was learned."
    yield "Tests without further learning, from angles not used in training:\n"
    rows = [(f"{angle:g}°", f"{each:.1f}") for angle, each in zip(config.angles, record["tests"], strict=True)]
    yield table(("angle", "seconds"), rows)
