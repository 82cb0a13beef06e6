"""The ``minicereb`` command: its subcommands, the help of its groups, and one-line error messages."""

from __future__ import annotations

import _thread
import functools
import importlib
import inspect
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from minicereb import __version__
from minicereb.errors import DataWarning, MinicerebError, did_you_mean

# Commands and their modules, which are imported when needed: importing all of them would take a second.
ALONE = ("attack", "certify", "demo", "evaluate", "exercise", "explore", "gradcheck", "study", "task", "train")
COMMANDS = {
    **dict(zip(ALONE, ALONE, strict=True)),
    **dict.fromkeys(("show", "export"), "run_folder"),
    **dict.fromkeys(("explain", "report"), "pages"),
    **dict.fromkeys(("data", "models"), "registries"),
    **dict.fromkeys(("bench", "doctor"), "machine"),
}


def summary(command: click.Command) -> str:
    """Return the first sentence of a command's help."""
    paragraph = inspect.cleandoc(command.help or "").partition("\n\n")[0]
    return re.split(r"(?<=[.!?]) ", " ".join(paragraph.split()), maxsplit=1)[0]


def explained(error: click.UsageError) -> str:
    """Return the message of a usage error; if a choice was mistyped, the message suggests a similar one."""
    message, parameter = error.format_message(), getattr(error, "param", None)
    found = re.match(r"'(.*)' is not one of", error.message)
    if found and isinstance(parameter, click.Option | click.Argument) and isinstance(parameter.type, click.Choice):
        return f"{message.rstrip('.')}{did_you_mean(found[1], map(str, parameter.type.choices)) or '.'}"
    return message


class Group(click.Group):
    """A group of commands whose help shows the whole first sentence of each command's help."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; the error for an unknown name suggests a similar one."""
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            ctx.fail(f"No such command {name!r}{did_you_mean(name, self.list_commands(ctx)) or '.'}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names and summaries of the commands; click would cut each summary to one line."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, summary(command)) for name, command in commands if command is not None and not command.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


class Failure(click.ClickException):
    """An error that prints one line on standard error and exits with code 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # it may quote an argument that has several lines


# Beginnings of NumPy's message for an array with more elements or bytes than an address can count.
_TOO_LARGE = ("Maximum allowed dimension exceeded", "array is too big", "maximum supported dimension")


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Turn every error that a user can cause into a :class:`Failure`."""
    try:
        yield
    except MinicerebError as error:
        raise Failure(str(error)) from error
    except click.UsageError as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # click shows a group's help
            raise
        raise Failure(explained(error)) from error
    except MemoryError as error:
        raise Failure(f"not enough memory ({error}); lower --memory or the number of cells") from error
    except ValueError as error:
        if not str(error).startswith(_TOO_LARGE):
            raise
        raise Failure(
            f"not enough memory: an array would be too large for any computer ({error}); choose smaller numbers"
        ) from error
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        raise click.exceptions.Exit(130) from None
    except BrokenPipeError:  # the program that reads our output has closed it
        raise
    except OSError as error:
        raise Failure(f"{error.filename or 'a file'}: {(error.strerror or str(error)).lower()}") from error


class Commands(Group):
    """The group of all commands; each error that a user can cause is reported in one line."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the program, or complete its command line if a shell asks for that."""
        if os.environ.get("_MINICEREB_COMPLETE"):
            from minicereb.cli.completion import VARIABLE, completer

            return completer().main(prog_name="minicereb", complete_var=VARIABLE)
        return super().main(*args, **kwargs)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command with this name, or None if no command has this name."""
        if cmd_name not in COMMANDS:
            return None
        return getattr(importlib.import_module(f"minicereb.cli.{COMMANDS[cmd_name]}"), cmd_name)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options before the subcommand."""
        with _in_one_line():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        with _in_one_line(), warnings.catch_warnings(), _late_interrupts():
            warnings.filterwarnings("default", category=DataWarning)
            warnings.showwarning = functools.partial(_show_in_one_line, warnings.showwarning)
            return super().invoke(ctx)


@contextmanager
def _late_interrupts() -> Iterator[None]:
    """Send Ctrl-C again if it came at a moment when Python discards exceptions, for example in a destructor."""
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(0.05, _thread.interrupt_main).start()
        else:
            before(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def _show_in_one_line(otherwise: Callable[..., None], message: Warning | str, category: type[Warning], *place: Any) -> None:
    """Show a :class:`DataWarning` as one line on standard error, and any other warning as before."""
    if issubclass(category, DataWarning):
        click.echo(f"note: {' '.join(str(message).splitlines())}", err=True)
    else:
        otherwise(message, category, *place)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="minicereb")
def main() -> None:
    """Study biological learning and its adversarial robustness, from scratch."""
