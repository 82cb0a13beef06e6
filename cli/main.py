"""The ``minicereb`` command: its subcommands, and how errors reach the user."""

from __future__ import annotations

from typing import Any

import click

from minicereb import __version__
from minicereb.cli.attack import attack
from minicereb.cli.bench import bench
from minicereb.cli.data import data
from minicereb.cli.demo import demo
from minicereb.cli.doctor import doctor
from minicereb.cli.evaluate import evaluate
from minicereb.cli.exercise import exercise
from minicereb.cli.explain import explain
from minicereb.cli.export import export
from minicereb.cli.gradcheck import gradcheck
from minicereb.cli.models import models
from minicereb.cli.report import report
from minicereb.cli.show import show
from minicereb.cli.study import study
from minicereb.cli.task import task
from minicereb.cli.train import train
from minicereb.errors import MinicerebError


class Failure(click.ClickException):
    """One line on standard error and exit code 2."""

    exit_code = 2


# What click raises, where it has it, to show a group's help when no command is given.
_HELP = getattr(click.exceptions, "NoArgsIsHelpError", ())


class Commands(click.Group):
    """A group that tells every error a user can cause in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; turn what the project raises into :class:`Failure`."""
        try:
            return super().invoke(ctx)
        except MinicerebError as error:
            raise Failure(str(error)) from error
        except click.UsageError as error:
            if isinstance(error, _HELP):
                raise
            raise Failure(error.format_message()) from error
        except MemoryError as error:
            raise Failure(f"not enough memory ({error}); lower --memory or the number of cells") from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(130) from None
        except BrokenPipeError:  # the reader of our output has seen enough
            raise
        except OSError as error:
            raise Failure(f"{error.filename or 'a file'}: {(error.strerror or str(error)).lower()}") from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="minicereb")
def main() -> None:
    """Biological learning and its adversarial robustness, from scratch."""


for command in (
    demo,
    train,
    attack,
    evaluate,
    explain,
    show,
    report,
    study,
    task,
    gradcheck,
    exercise,
    bench,
    export,
    models,
    data,
    doctor,
):
    main.add_command(command)
