"""Completion in the shell: commands, options and values, without importing what the commands need.

A shell starts the program at every press of the tab key, so what can be completed is kept in ``completion.json``, which
``python -m minicereb.cli.completion`` writes from the commands themselves; a test compares the two.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from minicereb.cli.main import Group, summary

VARIABLE = "_MINICEREB_COMPLETE"  # click's name for it: a shell asks by this environment variable
INDEX = "completion.json"
MARKS = ("config.json", "study.json", "evaluation.json")  # one of these is in the folder of a run, a study or an evaluation


class Value(click.ParamType):
    """What can stand as the value of an option or argument.

    Parameters
    ----------
    values : sequence of str
        Names to choose from.
    kind : {"", "list", "folder", "file", "dir"}
        What else there can be: several of the names with commas between, the folder of a run or study, any file, any folder.
    """

    name = "value"

    def __init__(self, values: Iterable[str], kind: str) -> None:
        self.values, self.kind = tuple(values), kind

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return what begins with the letters that were typed; the shell itself looks for other files and folders."""
        before, comma, last = incomplete.rpartition(",") if self.kind == "list" else ("", "", incomplete)
        found = [CompletionItem(before + comma + name) for name in self.values if name.startswith(last)]
        if self.kind == "folder":
            found += [CompletionItem(folder) for folder in result_folders(incomplete)]
        if self.kind in ("folder", "file", "dir"):  # first: bash forgets the names before it, and asks it where there are none
            found.insert(0, CompletionItem(incomplete, type="file" if self.kind == "file" else "dir"))
        return found


def result_folders(incomplete: str) -> list[str]:
    """Return the folders of runs, studies and evaluations whose path begins so; of an empty path, those in ``runs``."""
    parent, name = os.path.split(incomplete or "runs/")
    try:
        entries = sorted(entry.name for entry in os.scandir(parent or ".") if entry.name.startswith(name))
    except OSError:
        return []
    paths = [os.path.join(parent, entry) for entry in entries]
    return [path for path in paths if any(os.path.isfile(os.path.join(path, mark)) for mark in MARKS)]


def completer() -> click.Command:
    """Return a likeness of the whole program that can complete its command line and do nothing else."""
    source = (resources.files("minicereb.cli") / INDEX).read_text(encoding="utf-8")
    return _likeness("minicereb", json.loads(source))


def _likeness(name: str, entry: dict[str, Any]) -> click.Command:
    parameters: list[click.Parameter] = []
    for each in entry["parameters"]:
        value = Value(each.get("values", ()), each.get("kind", ""))
        if not each["name"].startswith("-"):
            parameters.append(click.Argument([each["name"]], nargs=each.get("nargs", 1), required=False, type=value))
        elif each.get("flag"):
            parameters.append(click.Option([each["name"], "flag"], is_flag=True, help=each.get("help")))
        else:
            multiple = each.get("multiple", False)
            parameters.append(click.Option([each["name"], "value"], multiple=multiple, type=value, help=each.get("help")))
    for number, parameter in enumerate(parameters):
        parameter.name = f"parameter{number}"  # click takes two of one name for one
    settings = {"help_option_names": ["-h", "--help"]}
    if "commands" not in entry:
        return click.Command(name, params=parameters, help=entry["help"], context_settings=settings)
    commands = {part: _likeness(part, each) for part, each in entry["commands"].items()}
    return Group(name, commands, params=parameters, help=entry["help"], context_settings=settings)


def index(command: click.Command, path: str = "") -> dict[str, Any]:
    """Return what can be completed of a command, as JSON values.

    Parameters
    ----------
    command : Command
    path : str
        Its name and those of the groups around it, for example ``"train mlp"``; empty for the program.
    """
    context, known = click.Context(command), names()
    entry: dict[str, Any] = {"help": summary(command), "parameters": []}
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name in ("help", "version"):
            continue
        option = isinstance(parameter, click.Option)
        described: dict[str, Any] = {"name": str(parameter.name)}
        if isinstance(parameter, click.Option):
            described["name"] = "/".join((*parameter.opts[-1:], *parameter.secondary_opts[-1:]))
            described |= {"help": parameter.help} if parameter.help else {}
        values, kind = known.get(f"{path} {parameter.name}") or known.get(str(parameter.name)) or _by_type(parameter.type)
        if option and getattr(parameter, "is_flag", False):
            described["flag"] = True
        else:
            described |= {"values": list(values)} if values else {}
            described |= {"kind": kind} if kind else {}
            described |= {"multiple": True} if getattr(parameter, "multiple", False) else {}
            described |= {"nargs": parameter.nargs} if parameter.nargs != 1 else {}
        entry["parameters"].append(described)
    if isinstance(command, click.Group):
        parts = {part: command.get_command(context, part) for part in command.list_commands(context)}
        entry["commands"] = {
            part: index(each, f"{path} {part}".strip()) for part, each in parts.items() if each is not None and not each.hidden
        }
    return entry


def _by_type(kind: click.ParamType) -> tuple[Iterable[str], str]:
    """Names and kind of value that follow from a parameter's type alone."""
    from minicereb.cli.options import RESULTS

    if isinstance(kind, click.Choice):
        return map(str, kind.choices), ""
    if isinstance(kind, click.Path):
        return (), "folder" if kind is RESULTS else "file" if kind.file_okay else "dir"
    return (), ""


def names() -> dict[str, tuple[Iterable[str], str]]:
    """Return names and kind of the values whose type says nothing: by parameter, or by command and parameter."""
    from minicereb.datasets import registry, store
    from minicereb.exercises.course import EXERCISES
    from minicereb.experiments import pretrained
    from minicereb.robustness.catalogue import SETS, attack_names
    from minicereb.studies import all_studies

    models, downloads = tuple(pretrained.models()), tuple(store.downloads())
    return {
        "dataset": ([row.name for row in registry.describe()], "file"),
        "device": (("auto", "cpu", "cuda"), ""),
        "evaluate attacks": ((*SETS, *attack_names()), "list"),
        "study name": ((*all_studies(), "list", "status"), ""),
        "exercise start name": (tuple(EXERCISES), ""),
        "exercise check name": (tuple(EXERCISES), ""),
        "data fetch name": (downloads, ""),
        "data verify name": (downloads, ""),
        "models fetch name": (models, ""),
        "models verify chosen": (models, "folder"),
    }


def written() -> str:
    """Return the text of ``completion.json`` for the commands as they are."""
    from minicereb.cli.main import main

    return json.dumps(index(main), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    path = Path(__file__).with_name(INDEX)
    path.write_text(written(), encoding="utf-8")
    click.echo(path)
