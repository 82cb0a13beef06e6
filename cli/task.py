"""``minicereb task``: motor tasks that a cerebellum learns."""

from __future__ import annotations

import click

from minicereb.cli.task_pole import pole


@click.group()
def task() -> None:
    """Motor tasks that a cerebellum learns."""


task.add_command(pole)
