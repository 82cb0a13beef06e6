"""``minicereb bench``: how fast the engine is, against what the machine can do and against PyTorch."""

from __future__ import annotations

import platform
from dataclasses import asdict

import click
import numpy as np

from minicereb.backend import execution
from minicereb.bench.timing import PARTS, run_benchmarks
from minicereb.cli.options import execution_options
from minicereb.cli.output import Answer, as_json, shown, table
from minicereb.compiled import numba_version


@click.command()
@click.option("--peers", is_flag=True, help="Time PyTorch's forms of the same work in the same run.")
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Part of the benchmarks; may be given again. Default: all.")
@execution_options
@as_json
def bench(peers: bool, only: tuple[str, ...]) -> Answer:
    """Time the engine's inner loops: medians of interleaved runs in one process."""
    rows = list(shown(run_benchmarks(peers, only or PARTS), lambda row: f"timed {row.name}", "timing"))
    machine = (
        f"{platform.machine()}, {platform.system()}, {execution().threads} threads, device {execution().device}, "
        f"NumPy {np.__version__}, {f'Numba {numba_version()}' if numba_version() else 'without Numba'}"
    )
    times = table(
        ("work", "ms", "floor ms", "over floor", "peer", "peer ms", "peer / ours", "peak MiB", "peer MiB"),
        [
            (
                row.name,
                f"{1e3 * row.seconds:.2f}",
                f"{1e3 * row.floor_seconds:.2f}",
                f"{row.seconds / row.floor_seconds:.1f}x",
                row.peer or "-",
                f"{1e3 * row.peer_seconds:.2f}" if row.peer_seconds else "-",
                f"{row.peer_seconds / row.seconds:.1f}x" if row.peer_seconds else "-",
                f"{row.peak / 2**20:.0f}" if row.peak else "-",
                f"{row.peer_peak / 2**20:.0f}" if row.peer_peak else "-",
            )
            for row in rows
        ],
    )
    floors = "; ".join(dict.fromkeys(row.floor for row in rows))
    text = f"{times}\n\nMedians of interleaved runs in one process. Floors: {floors}.\n{machine}"
    return Answer({"machine": machine, "rows": [asdict(row) for row in rows]}, text)
