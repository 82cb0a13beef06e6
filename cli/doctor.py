"""``minicereb doctor``: what this machine has, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from minicereb.cli.output import Answer, as_json
from minicereb.machine import examine


@click.command()
@as_json
def doctor() -> Answer:
    """Print versions, BLAS, cores, memory, GPU and data, and name what is wrong; exit with 1 if anything is."""
    report = examine()
    text = "\n".join(f"{name:10} {value}".rstrip() for name, value in _lines(report))
    return Answer(
        report, f"minicereb {report['minicereb']}, Python {report['python']}, {report['system']}\n{text}", not report["problems"]
    )


def _lines(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "packages", ", ".join(f"{name} {version or 'not installed'}" for name, version in report["packages"].items())
    for blas in report["blas"]:
        threads = f"{blas['num_threads']} threads, limited to 1 while minicereb computes"
        yield "BLAS", f"{blas['internal_api']} {blas['version']} ({blas['architecture']}), {threads}"
    memory = f"{report['memory'] / 2**30:.1f} GiB memory" if report["memory"] else "memory unknown"
    execution = report["execution"]
    ours = f"{execution['threads']} threads, blocks within {execution['memory'] / 2**20:.0f} MiB"
    yield "machine", f"{report['cores']} cores, {memory}; minicereb uses {ours}"
    yield "compiled", report["numba"]["problem"] or "some inner loops, by Numba"
    gpu = report["cupy"]["device"]
    yield (
        "GPU",
        (
            f"{gpu['name']}, {gpu['memory'] / 2**30:.0f} GiB, CUDA {gpu['cuda_runtime']}"
            if gpu
            else f"not used: {report['cupy']['problem']}"
        ),
    )
    yield "driver", report["driver"] or "no NVIDIA driver found"
    for file in report["data"]:
        yield "data", f"{file['dataset']}/{file['file']}: {file['state']}{' in ' + file['path'] if file['path'] else ''}"
    for problem in report["problems"]:
        yield "PROBLEM", problem
