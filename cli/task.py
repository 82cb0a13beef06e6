"""``minicereb task``: what a cerebellum is for: motor tasks, learned by the same rule as images."""

from __future__ import annotations

import click

from minicereb.cli.group import Group
from minicereb.cli.task_eyelid import eyelid
from minicereb.cli.task_pole import pole


@click.group(cls=Group)
def task() -> None:
    """Learn a motor task with a simulated cerebellum."""


for command in (eyelid, pole):
    task.add_command(command)
