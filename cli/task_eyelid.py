"""``minicereb task eyelid``: condition the eyelid, print what it learned, and draw it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np

from minicereb.backend import to_numpy
from minicereb.cli.options import NewFile, NewFolder, as_json, execution_options
from minicereb.cli.output import StatusLine, interruption, print_json, print_table
from minicereb.experiments.identity import to_json
from minicereb.experiments.kinds.conditioning import Conditioning, summary
from minicereb.files import write_json
from minicereb.learning.rules import RULES
from minicereb.report.animation import check_animation, save_animation
from minicereb.report.eyelid_figures import Film, lids, raster, synapses
from minicereb.report.figures import save_figure
from minicereb.tasks.circuit import LESIONS
from minicereb.tasks.eyelid_conditioning import PHASES, PROTOCOLS, ConditioningTrial, Eyelid, Session

DRAWN_TRIALS, FILMED_TRIALS, FILMED_CELLS = 16, 100, 1_000  # at most
DEFAULT = Eyelid()


@click.command(epilog="Lesions: " + "; ".join(f"{name} ({what})" for name, what in LESIONS.items()) + ".")
@click.option("--interval", type=int, default=DEFAULT.interval, show_default=True, help="From CS to US, in ms.")
@click.option(
    "--protocol", type=click.Choice(PROTOCOLS), default=DEFAULT.protocol, show_default=True, help="CS until the US, or shorter."
)
@click.option("--cs", type=int, help="Duration of the CS in ms.  [default: to the end of the US; trace: half the interval]")
@click.option("--us", type=int, default=DEFAULT.us, show_default=True, help="Duration of the US in ms.")
@click.option("--trial", type=int, default=DEFAULT.trial, show_default=True, help="Duration of a trial in ms; CS after 200.")
@click.option("--trials", type=int, default=DEFAULT.acquisition, show_default=True, help="Trials with CS and US.")
@click.option("--extinction", type=int, default=0, show_default=True, help="Trials with the CS alone, after these.")
@click.option("--reacquisition", type=int, default=0, show_default=True, help="Trials with both again, after those.")
@click.option("--lesion", "lesions", multiple=True, metavar="PART", help="Do without a part; may be given again. See below.")
@click.option("--cells", type=int, default=DEFAULT.cells, show_default=True, help="Granule cells.")
@click.option("--level", type=float, default=DEFAULT.level, show_default=True, help="Share of them that is active.")
@click.option(
    "--forgetting", type=float, default=DEFAULT.forgetting, show_default=True, help="Share of its change a synapse loses a trial."
)
@click.option(
    "--rule", type=click.Choice(list(RULES)), default=DEFAULT.rule, show_default=True, help="How parallel fibres learn."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the wiring.")
@click.option("--out", type=NewFolder(), help="Folder for figures and session.json.")
@click.option("--animate", type=NewFile(), metavar="FILE.gif", help="Write the trials as an animation.")
@execution_options
@as_json
def eyelid(trials: int, out: Path | None, animate: Path | None, as_json: bool, **options: Any) -> None:
    """Condition the eyelid: a stimulus (CS) and, after an interval, a puff of air (US) teach the lid to close in time."""
    settings = Eyelid(acquisition=trials, **options)
    if animate is not None:
        check_animation(animate)
    session = Session(settings)
    before, line, done = session.circuit.weights, StatusLine(), []
    count = sum(getattr(settings, phase) for phase in PHASES)
    filmed, weights = set(_spread(count, FILMED_TRIALS)) if animate else set(), {}
    with interruption() as interrupted:
        for trial in session.trials():
            if trial.number in filmed:
                weights[trial.number] = _chosen(session.circuit.weights)
            done.append(trial)
            line.update(f"{trial.phase}, trial {trial.number + 1} of {count}: closure {trial.closure:.0f}%")
            if interrupted:
                break
    line.close()
    if len(done) < count:
        click.echo("interrupted; nothing was kept", err=True)
        raise click.exceptions.Exit(130)
    record, files = summary(session, done), []
    if out is not None:
        files = _draw(session, done, before, out)
        write_json(out / "session.json", {"config": to_json(Conditioning(settings)), "record": record})
        files.append(out / "session.json")
    if animate is not None:
        _film(session, [done[number] for number in weights], weights, animate)
        files.append(animate)
    if as_json:
        print_json({"settings": to_json(settings), **record, "files": [str(path) for path in files]})
        return
    _tell(settings, done, record)
    if files:
        click.echo(f"Files: {', '.join(map(str, files))}")


def _tell(settings: Eyelid, done: list[ConditioningTrial], record: dict[str, Any]) -> None:
    """Print some trials of every phase and what they came to."""
    shown = [done[number] for number in _spread(len(done), DRAWN_TRIALS)]
    print_table(
        ("trial", "phase", "closure %", "peak ms"),
        [(f"{t.number + 1}", t.phase, f"{t.closure:.0f}", "-" if t.peak is None else f"{t.peak}") for t in shown],
    )
    for phase, trials in record["criterion"].items():
        what = "without a response" if phase == "extinction" else "with one"
        reached = "never" if trials is None else f"after {trials} trials"
        click.echo(f"{phase}: the first five trials in a row {what}: {reached}")
    peak = (
        "no response" if record["peak"] is None else f"closed most at {record['peak']} ms, the US comes at {settings.interval} ms"
    )
    click.echo(f"At the end of acquisition: {peak}.")


def _draw(session: Session, done: list[ConditioningTrial], before: np.ndarray, out: Path) -> list[Path]:
    """Draw raster, synapses and lids into a folder, and return the files."""
    settings, granule = session.settings, _granule(session)
    cs = (0.0, float(settings.stimulus))
    shown = [done[number] for number in _spread(len(done), DRAWN_TRIALS)]
    names = [f"{trial.number + 1} {trial.phase}" for trial in shown]
    figures = {
        "raster": raster(session.time, granule, cs, settings.interval),
        "synapses": synapses(session.time, granule, before, session.circuit.weights, settings.interval),
        "lids": lids(session.time, [trial.lid for trial in shown], names, cs, settings.interval),
    }
    for name, figure in figures.items():
        save_figure(figure, out / f"{name}.png")
    return [out / f"{name}.png" for name in figures]


def _film(session: Session, done: list[ConditioningTrial], weights: dict[int, np.ndarray], path: Path) -> None:
    settings = session.settings
    film = Film(session.time, _chosen(_granule(session)), (0.0, float(settings.stimulus)), settings.interval)
    shown = [(f"trial {t.number + 1}, {t.phase}: {t.closure:.0f}%", t.lid, weights[t.number]) for t in done]
    save_animation(film.figure, film.frames(shown), path)


def _granule(session: Session) -> np.ndarray:
    """Activity of the granule cells over the bins of a trial, on the host."""
    return to_numpy(session.circuit.activity)[:, : session.circuit.bins]


def _chosen(cells: np.ndarray) -> np.ndarray:
    """As many cells as a moving picture can have: all are alike."""
    return cells[:FILMED_CELLS]


def _spread(count: int, at_most: int) -> list[int]:
    """Numbers of trials from the first to the last, at equal distances."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, at_most), dtype=np.float64).tolist()})
