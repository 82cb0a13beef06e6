"""Options that several commands share."""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from minicereb import backend
from minicereb.errors import require
from minicereb.paths import check_file, check_folder
from minicereb.settings import declared, field_shapes, innermost, option_name

PATH = click.Path(path_type=Path)
RESULTS = click.Path(path_type=Path)  # the folder of a run, a study or an evaluation: completion offers those that exist
# An option of commands that need the data of a run; see minicereb.experiments.runs.dataset_of.
moved_data = click.option(
    "--dataset",
    metavar="PLACE",
    help="New place of the run's data, if they were moved: a name, an .npz file or a folder. The content must be the same.",
)


def number(text: str | float) -> float:
    """Read a number or a fraction: 0.1 or 8/255."""
    try:
        above, divided, below = str(text).partition("/")
        return float(above) / (float(below) if divided else 1.0)
    except (ValueError, ZeroDivisionError):
        raise click.BadParameter(f"{text!r} is not a number, or one divided by another as in 8/255.") from None


def numbers(kind: type, example: str, count: int | None = None) -> Callable[[str], tuple[Any, ...]]:
    """Return a function that reads comma-separated numbers; if `count` is given, exactly `count` of them."""

    def read(text: str) -> tuple[Any, ...]:
        try:
            found = tuple(kind(part) for part in text.split(",") if part.strip())
            if count in (None, len(found)):
                return found
        except ValueError:
            pass
        what = "comma-separated numbers" if count is None else f"{count} comma-separated numbers"
        raise click.BadParameter(f"{text!r} is not valid; expected {what}, for example {example}")

    read.__name__ = "numbers"  # shown in the help
    return read


def setting_options(settings: type, *names: str, **changes: Any) -> Callable[[Callable], Callable]:
    """Return a decorator that adds options for the named fields of a settings dataclass, by default for all with a help text.

    `changes` maps the name of a field to another default, or to a dict of arguments of :func:`click.option`. In such a
    dict, the value of ``"usual"`` describes in words what the default None means.
    """
    fields = {field.name: field for field in dataclasses.fields(settings)}
    chosen = names or [name for name, field in fields.items() if declared(field).help]

    def add(command: Callable) -> Callable:
        for name in reversed(chosen):
            change = changes.get(name, {})
            command = _option(settings, fields[name], **change if isinstance(change, dict) else {"default": change})(command)
        return command

    return add


def _option(
    settings: type, field: dataclasses.Field, default: Any = dataclasses.MISSING, usual: str = "", **others: Any
) -> Callable[[Callable], Callable]:
    """Return the option of a field, with its type, choices, default and help."""
    about, name, shape = declared(field), option_name(field), field_shapes(settings)[field.name]
    default = field.default if default is dataclasses.MISSING else default
    default = None if default is dataclasses.MISSING else default
    usual = usual or about.usual * (default is None)
    kind, flag = innermost(shape), f"--{name}"
    arguments: dict[str, Any] = {"default": default, "show_default": default not in (None, ())}
    arguments["help"] = f"{about.text}  [default: {usual}]" if usual else about.text
    if kind is bool:
        flag += f"/--{about.off or f'no-{name}'}" if default or about.off else ""
        arguments["is_flag"] = True
    elif about.choices is not None:
        arguments |= {"type": click.Choice(about.names), "multiple": isinstance(default, tuple)}
    elif isinstance(default, tuple):
        items = typing.get_args(shape)
        arguments["default"] = ",".join(f"{item:g}" for item in default)
        arguments["type"] = numbers(kind, arguments["default"], None if ... in items else len(items))
    else:
        arguments["type"] = number if kind is float else kind
    return click.option(flag, field.name, **arguments | others)


def from_options(settings: type, options: dict[str, Any], **others: Any) -> Any:
    """Return settings from the values of options; `others` are fields without an option."""
    names = [field.name for field in dataclasses.fields(settings) if field.name in options]
    return settings(**{name: options[name] for name in names}, **others)


def remark_on_size(setting: str, value: float | None, norm: str = "linf", inputs: int = 1) -> None:
    """Print a note if a bound in this norm exceeds the largest distance between two images of `inputs` pixels."""
    largest = 1.0 if norm == "linf" else math.sqrt(inputs)
    if value is not None and largest < value < math.inf:
        whole = "the whole range of a pixel" if norm == "linf" else f"the largest distance between images of {inputs:,} pixels"
        meant = f"; did you mean {value:g}/255?" if value <= 255 * largest else ""
        click.echo(f"note: {setting} {value:g} is larger than {largest:.4g}, {whole} (pixels are from 0 to 1){meant}", err=True)


class NewPath(click.Path):
    """A file to write, which must not belong to a run, or a folder to write into. The path is checked before the work begins."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path after the checks."""
        from minicereb.experiments.runs import is_own_file  # slow to import, and few commands need it

        path: Any = super().convert(value, param, ctx)
        if not self.file_okay:
            check_folder(path)
        elif is_own_file(path):
            self.fail(f"{str(path)!r} belongs to a run, which would be lost; give another file.", param, ctx)
        else:
            check_file(path)
        return path


NEW_FILE, NEW_FOLDER = NewPath(path_type=Path, dir_okay=False), NewPath(path_type=Path, file_okay=False)


def remark_on_unused(names: Iterable[str], beside: str) -> None:
    """Print a note about each of these parameters that was given as an option although the setting `beside` makes it useless."""
    context = click.get_current_context()
    for option in context.command.params:
        if option.name in names and context.get_parameter_source(option.name) == ParameterSource.COMMANDLINE:
            click.echo(f"note: {option.opts[0]} has no effect with {beside}", err=True)


def check_html(setting: str, path: Path) -> None:
    """Raise :class:`InputError` unless `path` is a file name that ends in .html or .htm."""
    able = path.suffix.lower() in (".html", ".htm") and not path.is_dir()
    require(able, setting, str(path), "a file that ends in .html")


def execution_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--device``, ``--threads`` and ``--memory``, and apply them before the command runs."""

    @click.option("--device", default="auto", show_default=True, help="Where to compute: auto, cpu or cuda.")
    @click.option("--threads", type=int, help="Worker threads on the CPU.  [default: all cores]")
    @click.option("--memory", help="Memory budget for a block of images.  [default: 512MiB]")
    @functools.wraps(command)
    def configured(*args: Any, device: str, threads: int | None, memory: str | None, **kwargs: Any) -> Any:
        backend.configure(device=device, threads=threads, memory=memory)
        return command(*args, **kwargs)

    return configured
