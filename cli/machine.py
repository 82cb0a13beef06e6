"""``minicereb bench`` and ``minicereb doctor``: the engine's speed on this machine, and problems with the machine."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from minicereb.backend import execution
from minicereb.bench.timing import PARTS, run_benchmarks
from minicereb.cli.options import NEW_FILE, execution_options
from minicereb.cli.output import Answer, as_json, shown
from minicereb.compiled import numba_problem, numba_version
from minicereb.documents import table
from minicereb.errors import require
from minicereb.machine import examine
from minicereb.report.figures import save_figure

ENSEMBLE = "ensemble"
ONLY = f"Part of the benchmarks; may be repeated. Default: all but {ENSEMBLE}, which evaluates whole models."


@click.command()
@click.option("--peers", is_flag=True, help="Also time PyTorch on the same work, in the same run.")
@click.option("--only", type=click.Choice((*PARTS, ENSEMBLE)), multiple=True, help=ONLY)
@click.option(
    "--images",
    type=click.IntRange(1, 10_000),
    default=500,
    show_default=True,
    help="Number of test images, with --only ensemble.",
)
@click.option(
    "--scaling", is_flag=True, help="Measure instead how time and memory grow with cells, images, replications and workers."
)
@click.option("--figure", type=NEW_FILE, metavar="FILE.png", help="With --scaling: draw the growth into this file.")
@click.option(
    "--first-calls",
    is_flag=True,
    help="Measure instead the first call of each part in a new process, while Numba compiles its loops.",
)
@execution_options
@as_json
def bench(peers: bool, only: tuple[str, ...], images: int, scaling: bool, figure: Path | None, first_calls: bool) -> Answer:
    """Time the engine's inner loops; print the medians of interleaved runs in one process."""
    if scaling or first_calls:
        alone = "--scaling" if scaling else "--first-calls"
        require(not peers, "peers", "given", f"nothing with {alone}")
        require(not only, "only", only, f"nothing with {alone}")
        require(not (scaling and first_calls), "first-calls", "given", "nothing with --scaling")
        require(execution().device == "cpu", "device", execution().device, f"cpu with {alone}")
    require(scaling or figure is None, "figure", str(figure), "given only with --scaling")
    if scaling:
        return _growth(figure)
    if first_calls:
        return _first_calls()
    if ENSEMBLE in only:
        require(only == (ENSEMBLE,), "only", " and ".join(only), f"{ENSEMBLE} alone: whole evaluations are another table")
        return _ensembles(images, peers)
    timings = list(shown(run_benchmarks(peers, only or PARTS), lambda row: f"timed {row.name}", "timing"))
    machine = _machine()
    head = ("work", "ms", "floor ms", "over floor", "peer", "peer ms", "peer / ours", "peak MiB", "peer MiB")
    rows = []
    for each in timings:
        ratio = each.peer_seconds and f"{each.peer_seconds / each.seconds:.1f}x"
        times = [seconds and f"{1e3 * seconds:.2f}" for seconds in (each.seconds, each.floor_seconds, each.peer_seconds)]
        peaks = [size and f"{size / 2**20:.0f}" for size in (each.peak, each.peer_peak)]
        over_floor = f"{each.seconds / each.floor_seconds:.1f}x"
        rows.append((each.name, *times[:2], over_floor, each.peer, times[2], ratio, *peaks))
    floors = "; ".join(dict.fromkeys(each.floor for each in timings))
    text = f"{table(head, rows)}\n\nMedians of interleaved runs in one process. Floors: {floors}.\n{machine}"
    return Answer({"machine": machine, "rows": [asdict(each) for each in timings]}, text)


def _ensembles(images: int, peers: bool) -> Answer:
    """Evaluate each shipped model once with the standard ensemble and, if `peers` is true, with AutoAttack."""
    from minicereb.bench.ensembles import run_ensembles  # it imports nearly everything

    def took(row: Any) -> str:
        return f"{row.model}: {row.seconds:.0f} s" + (f", AutoAttack {row.peer_seconds:.0f} s" if peers else "")

    rows = list(shown(run_ensembles(images, peers), took, "evaluating"))
    head = (
        "model",
        "ε",
        "images",
        "s",
        "broken",
        "AutoAttack s",
        "AutoAttack / ours",
        "broken",
        "ours alone",
        "AutoAttack alone",
    )
    lines = []
    for each in rows:
        ratio = each.peer_seconds and f"{each.peer_seconds / each.seconds:.1f}x"
        ours = (each.model, f"{each.epsilon:g}", each.images, f"{each.seconds:.1f}", each.broken)
        theirs = each.peer_seconds and f"{each.peer_seconds:.1f}", ratio, each.peer_broken, each.only_ours, each.only_peer
        lines.append((*map(str, ours), *(each if each is None else str(each) for each in theirs)))
    text = f"{table(head, lines)}\n\nThe standard ensemble, each evaluation once, without checklist.\n{_machine()}"
    return Answer({"machine": _machine(), "ensembles": [asdict(each) for each in rows]}, text)


def _machine() -> str:
    return (
        f"{platform.machine()}, {platform.system()}, {execution().threads} threads, device {execution().device}, "
        f"NumPy {np.__version__}, {f'Numba {numba_version()}' if numba_version() else 'without Numba'}"
    )


def _growth(figure: Path | None) -> Answer:
    """Measure how time and memory grow with size, and fit exponents; if `figure` is given, also draw the growth."""
    from minicereb.bench import scaling  # it imports nearly everything

    measured = list(shown(scaling.run_scaling(), lambda row: f"measured {row.size:,} {row.quantity}", "measuring"))
    growths, rows, exponents = scaling.growths(), [], {}
    for quantity, group in itertools.groupby(measured, key=lambda each: each.quantity):
        some = list(group)
        for each in some:
            per_unit = each.seconds / float(each.size) ** growths[quantity].expected
            peak = each.peak and (f"{each.peak / 2**20:,.0f}", f"{each.peak / each.size:,.0f}")
            rows.append(
                (f"{each.size:,} {quantity}", f"{1e3 * each.seconds:,.2f}", f"{1e6 * per_unit:,.4g}", *(peak or (None, None)))
            )
        power = scaling.exponent([each.size for each in some], [each.seconds for each in some])
        if power is not None:
            exponents[quantity] = power
    if figure is not None:
        save_figure(scaling.draw_scaling(measured), figure)
    works = [f"{name}: {growths[name].work}; time grows as {name}^{power:.2f}" for name, power in exponents.items()]
    text = "\n".join((table(("size", "ms", "µs per unit", "peak MiB", "bytes per unit"), rows), "", *works, _machine()))
    sizes = [asdict(each) for each in measured]
    return Answer({"machine": _machine(), "sizes": sizes, "exponents": exponents, "figure": figure}, text)


def _first_calls() -> Answer:
    """Measure the time of first calls, with and without machine code on disk."""
    from minicereb.bench.first_calls import run_first_calls  # it imports nearly everything

    require(numba_version() is not None, "first-calls", "given", f"used with Numba: {numba_problem()}")
    rows = list(shown(run_first_calls(), lambda row: f"timed {row.name}", "timing"))
    head = ("work", "first call, s", "with kept code, s", "compiling, s", "second call, s", "loops")
    seconds = [(row.first, row.kept, row.first - row.kept, row.second) for row in rows]
    lines = [(row.name, *(f"{each:.2f}" for each in times), str(row.loops)) for row, times in zip(rows, seconds, strict=True)]
    text = f"{table(head, lines)}\n\nEach first call in a new process, with the import of Numba.\n{_machine()}"
    return Answer({"machine": _machine(), "first_calls": [asdict(row) for row in rows]}, text)


@click.command()
@as_json
def doctor() -> Answer:
    """Print versions, BLAS, cores, memory, GPU and data, and report problems; exit with 1 if there are any."""
    report = examine()
    text = "\n".join(f"{name:10} {value}".rstrip() for name, value in _lines(report))
    head = f"minicereb {report['minicereb']}, Python {report['python']}, {report['system']}"
    return Answer(report, f"{head}\n{text}", not report["problems"])


def _lines(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "packages", ", ".join(f"{name} {version or 'not installed'}" for name, version in report["packages"].items())
    for blas in report["blas"]:
        threads = f"{blas['num_threads']} threads, limited to 1 while minicereb computes"
        yield "BLAS", f"{blas['internal_api']} {blas['version']} ({blas['architecture']}), {threads}"
    memory = f"{report['memory'] / 2**30:.1f} GiB memory" if report["memory"] else "memory unknown"
    ours = f"{report['execution']['threads']} threads, blocks within {report['execution']['memory'] / 2**20:.0f} MiB"
    yield "machine", f"{report['cores']} cores, {memory}; minicereb uses {ours}"
    yield "compiled", report["numba"]["problem"] or "some inner loops, by Numba"
    gpu, problem = report["cupy"]["device"], f"not used: {report['cupy']['problem']}"
    yield "GPU", f"{gpu['name']}, {gpu['memory'] / 2**30:.0f} GiB, CUDA {gpu['cuda_runtime']}" if gpu else problem
    yield "driver", report["driver"] or "no NVIDIA driver found"
    for file in report["data"]:
        yield "data", f"{file['dataset']}/{file['file']}: {file['state']}{' in ' + file['path'] if file['path'] else ''}"
    for problem in report["problems"]:
        yield "PROBLEM", problem
