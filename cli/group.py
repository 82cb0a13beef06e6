"""A group of commands: whole sentences as summaries, and a suggestion for a mistyped name."""

from __future__ import annotations

import inspect
import re

import click

from minicereb.errors import did_you_mean


def summary(command: click.Command) -> str:
    """Return the first sentence of a command's help, whole."""
    paragraph = inspect.cleandoc(command.help or "").partition("\n\n")[0]
    return re.split(r"(?<=[.!?]) ", " ".join(paragraph.split()), maxsplit=1)[0]


def explained(error: click.UsageError) -> str:
    """Return what is wrong with a command line, with a suggestion where a value is one of several and was mistyped."""
    message, parameter = error.format_message(), getattr(error, "param", None)
    found = re.match(r"'(.*)' is not one of", error.message)
    if found and isinstance(parameter, click.Option | click.Argument) and isinstance(parameter.type, click.Choice):
        return f"{message.rstrip('.')}{did_you_mean(found[1], map(str, parameter.type.choices)) or '.'}"
    return message


class Group(click.Group):
    """A group of commands whose help shows each one's first sentence whole."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant; an error that suggests one if there is none of that name."""
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            ctx.fail(f"No such command {name!r}{did_you_mean(name, self.list_commands(ctx)) or '.'}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the names and summaries of the commands; click itself would cut the summaries to one line."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, summary(command)) for name, command in commands if command is not None and not command.hidden]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)
