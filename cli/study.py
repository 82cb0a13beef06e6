"""``minicereb study``: run one of the project's studies, or report the progress of one."""

from __future__ import annotations

import inspect
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import click

from minicereb import datasets
from minicereb.backend import execution
from minicereb.cli.options import PATH, RESULTS, execution_options
from minicereb.cli.output import Answer, Status, as_json, clock, interruption, stop_interrupted
from minicereb.documents import table
from minicereb.errors import InputError, choose, require
from minicereb.experiments.configs import Data
from minicereb.experiments.costs import JobCost, estimates
from minicereb.experiments.executors import dask, processes
from minicereb.experiments.jobs import Survey, jobs_of, name_of, survey, surveys
from minicereb.experiments.laboratory import Laboratory
from minicereb.paths import read_text
from minicereb.studies import SCALES, STUDIES, all_studies
from minicereb.studies.study import carry_out, read_study

SCALE = "Size of the study: smoke takes seconds, course takes minutes, and paper (the sizes of the publication) takes hours."
SEEDS = "One or more seeds, instead of the study's own.  [default: 0; at paper scale 0 and 123; for some studies more]"


@click.command()
@click.argument("name", metavar="NAME")
@click.argument("folder", required=False, metavar="[DIR]", type=RESULTS)
@click.option("--scale", type=click.Choice(SCALES), default="smoke", show_default=True, help=SCALE)
@click.option("--seed", "seeds", type=int, multiple=True, help=SEEDS)
@click.option("--dataset", help="Use this data set instead of the study's own.")
@click.option("--out", type=PATH, help="Folder.  [default: runs/study-NAME-SCALE]")
@click.option("--workers", type=int, help="Worker processes, which share cores and memory.  [default: none, one job at a time]")
@click.option("--scheduler", metavar="ADDRESS", help="Dask scheduler whose workers do the jobs: tcp://HOST:PORT.")
@click.option("--dry-run", is_flag=True, help="Only print what would be done and its approximate cost.")
@execution_options
@as_json
def study(
    name: str,
    folder: Path | None,
    scale: str,
    seeds: tuple[int, ...],
    dataset: str | None,
    out: Path | None,
    workers: int | None,
    scheduler: str | None,
    dry_run: bool,
) -> Answer:
    """Run the study NAME and print its table; an interrupted study continues when the command is given again.

    Two words have a special meaning as NAME: list prints the studies and their questions, and status shows the progress of the
    study in the folder DIR.
    """
    if name == "status":
        if folder is None:
            raise InputError("DIR", "", "the folder of a study")
        found = surveys(folder)
        return Answer({"studies": [each._asdict() for each in found]}, "\n".join(line for each in found for line in _lines(each)))
    require(folder is None, "DIR", str(folder), "nothing, except with status")
    if name == "list":
        listed = [{"name": each.name, "question": each.question} for each in all_studies().values()]
        return Answer({"studies": listed}, table(("name", "question"), [tuple(each.values()) for each in listed]))
    chosen: Any = choose("study", name, {**all_studies(), "list": None, "status": None})
    require(workers is None or 1 <= workers <= 10_000, "workers", workers, "a whole number from 1 to 10000")
    require(workers is None or scheduler is None, "scheduler", scheduler, "no --scheduler with --workers, which starts its own")
    out = out or Path("runs") / f"study-{chosen.name}-{scale}"
    seeds = tuple(dict.fromkeys(seeds)) or chosen.seeds[scale]
    data = datasets.load(dataset or chosen.dataset[scale])
    if dry_run:
        chosen.check(data)
        jobs = jobs_of(chosen.plan(Data(data.name, data.sha256), scale, seeds))
        return _expected(list(estimates(jobs, Laboratory(data, out))), workers or 1)
    lines = Status(every=1)
    hired = nullcontext(processes(workers) if workers else None) if scheduler is None else dask(scheduler)
    with hired as pool:
        progress = carry_out(chosen, scale, seeds, data, out if scheduler is None else out.resolve(), pool)
        with interruption() as interrupted, closing(progress):
            for step in progress:
                if lines.due():
                    lines.update(*_lines(survey(out, chosen.name)))
                if step.doing.startswith(("not done: ", "again: ") if lines.shown else ("done: ", "not done: ", "again: ")):
                    lines.say(f"{step.done}/{step.total}  {step.doing}")
                if interrupted:
                    lines.close()
                    stop_interrupted(out)
    lines.close()
    text = f"{chosen.question}\n\n{read_text(out / 'table.md')}"
    if chosen.figures is not None:
        text += f"\nFigures: {', '.join(str(path) for path in sorted(out.glob('*.png')))}"
    return Answer(read_study(out / "study.json"), text)


questions = "; ".join(f"{each.name} ({each.question})" for each in STUDIES.values())
study.help = f"{inspect.cleandoc(study.help or '')}\n\nStudies: {questions}"


def _expected(expected: list[JobCost], workers: int) -> Answer:
    """Return the expected cost of a study."""
    seconds = sum(each.seconds or 0.0 for each in expected) / workers
    at_most = sum(each.seconds or 0.0 for each in expected if each.at_most) / workers
    memory = workers * max((each.memory or 0 for each in expected), default=0) + execution().memory
    disk = sum(each.disk or 0 for each in expected)
    jobs = [{**each._asdict(), "job": name_of(each.job)} for each in expected]
    unknown = sum(each.seconds is None for each in expected)
    bound = f" and at most {clock(at_most)}" if at_most else ""
    text = (
        f"{table(('time', 'job'), [(_cost(each), name_of(each.job)) for each in expected])}\n\n"
        f"{sum(not each.done for each in expected)} of {len(expected)} jobs to do: about {clock(seconds - at_most)}{bound} with "
        f"{workers} at a time{f', and {unknown} jobs that are not estimated' if unknown else ''}; "
        f"memory up to {_size(memory)}, disk up to {_size(disk)}.\n"
        "Estimated from short trial runs of learning and attacking, without the evaluations during learning. A bound (<) is the\n"
        "cost if every image withstood every attack and no pole fell; the actual cost may be a small part of that."
    )
    return Answer({"jobs": jobs, "seconds": seconds, "at_most": at_most, "memory": memory, "disk": disk}, text)


def _cost(expected: JobCost) -> str:
    if expected.done:
        return "done"
    if expected.seconds is None:
        return "?"
    cost = f"{expected.seconds:.1f} s" if expected.seconds < 60 else clock(expected.seconds)
    return f"< {cost}" if expected.at_most else cost


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _lines(stand: Survey) -> list[str]:
    """Return a line with the total, then a line for each job that is running or failed."""
    left = "" if stand.seconds_left is None or stand.done == stand.total else f", about {clock(stand.seconds_left)} left"
    return [
        f"{stand.study} {stand.scale}: {stand.done} of {stand.total} jobs done, {len(stand.running)} running{left}",
        *(f"  {clock(job['seconds'])}  {job['doing'] or job['job']}  ({job['worker']})" for job in stand.running),
        *(f"  failed: {job['job']}: {job['doing']}" for job in stand.failed),
    ]
