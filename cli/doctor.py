"""``minicereb doctor``: what this machine has, and what is wrong with it."""

from __future__ import annotations

import click

from minicereb.cli.options import as_json
from minicereb.cli.output import print_json
from minicereb.machine import examine


@click.command()
@as_json
def doctor(as_json: bool) -> None:
    """Print versions, BLAS, cores, memory, GPU and data, and name what is wrong; exit with 1 if anything is."""
    report = examine()
    if as_json:
        print_json(report)
    else:
        click.echo(f"minicereb {report['minicereb']}, Python {report['python']}, {report['system']}")
        click.echo(
            "packages   " + ", ".join(f"{name} {version or 'not installed'}" for name, version in report["packages"].items())
        )
        for blas in report["blas"]:
            click.echo(
                f"BLAS       {blas['internal_api']} {blas['version']} ({blas['architecture']}), {blas['num_threads']} threads, "
                f"kept on 1 while minicereb computes"
            )
        memory = f"{report['memory'] / 2**30:.1f} GiB memory" if report["memory"] else "memory unknown"
        click.echo(
            f"machine    {report['cores']} cores, {memory}; minicereb uses {report['execution']['threads']} threads, "
            f"blocks within {report['execution']['memory'] / 2**20:.0f} MiB"
        )
        click.echo(f"compiled   {report['numba']['problem'] or 'some inner loops, by Numba'}")
        gpu = report["cupy"]["device"]
        click.echo(
            f"GPU        {gpu['name']}, {gpu['memory'] / 2**30:.0f} GiB, CUDA {gpu['cuda_runtime']}"
            if gpu
            else f"GPU        not used: {report['cupy']['problem']}"
        )
        click.echo(f"driver     {report['driver'] or 'no NVIDIA driver found'}")
        for file in report["data"]:
            click.echo(
                f"data       {file['dataset']}/{file['file']}: {file['state']}{' in ' + file['path'] if file['path'] else ''}"
            )
        for problem in report["problems"]:
            click.echo(f"PROBLEM    {problem}")
    if report["problems"]:
        raise click.exceptions.Exit(1)
