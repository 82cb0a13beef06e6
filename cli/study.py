"""``minicereb study``: carry out one of the project's studies."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from minicereb import datasets
from minicereb.cli.options import as_json, execution_options
from minicereb.cli.output import StatusLine, interruption, print_json, stop_interrupted
from minicereb.experiments.studies import SCALES, STUDIES, study_named
from minicereb.experiments.studies.study import carry_out
from minicereb.files import read_json


@click.command()
@click.argument("name")
@click.option(
    "--scale",
    type=click.Choice(SCALES),
    default="smoke",
    show_default=True,
    help="smoke: seconds; course: minutes; paper: as printed, hours.",
)
@click.option("--seed", "seeds", type=int, multiple=True, help="One or more.  [default: 0; at paper scale 0 and 123]")
@click.option("--dataset", help="Use this data set instead of the study's own.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder.  [default: runs/study-NAME-SCALE]")
@execution_options
@as_json
def study(name: str, scale: str, seeds: tuple[int, ...], dataset: str | None, out: Path | None, as_json: bool) -> None:
    """Carry out the study NAME and print its table; given again, it goes on where it was."""
    chosen = study_named(name)
    out = out or Path("runs") / f"study-{name}-{scale}"
    seeds = seeds or ((0, 123) if scale == "paper" else (0,))
    data = datasets.load(dataset or chosen.dataset[scale])
    line, finished = StatusLine(), False
    with interruption() as interrupted, closing(carry_out(chosen, scale, seeds, data, out)) as progress:
        for step in progress:
            line.update(f"{step.done}/{step.total}  {step.doing}")
            if interrupted:
                break
        else:
            finished = True
    line.close()
    if not finished:
        stop_interrupted(out)
    if as_json:
        print_json(read_json(out / "study.json"))
        return
    click.echo(f"{chosen.question}\n")
    click.echo((out / "table.md").read_text(encoding="utf-8"))
    if chosen.figures is not None:
        click.echo(f"Figures: {', '.join(str(path) for path in sorted(out.glob('*.png')))}")


study.help += "\n\nStudies: " + "; ".join(f"{each.name} ({each.question})" for each in STUDIES.values())  # type: ignore[operator]
