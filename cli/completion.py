"""Shell completion of commands, options and values, without the imports that the commands need.

A shell starts the program each time the tab key is pressed, so completion has to be fast. It therefore reads
``completion.json``, which ``python -m minicereb.cli.completion`` generates from the commands. A test checks that the
file matches the commands.
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

VARIABLE = "_MINICEREB_COMPLETE"  # click's name for the environment variable by which a shell asks for completion
INDEX = "completion.json"
MARKS = ("config.json", "study.json", "evaluation.json")  # the folder of a run, a study or an evaluation holds one of these


class Value(click.ParamType):
    """The values of an option or argument: `values` are names to choose from, and `kind` says which other values are accepted.

    The kinds are ``list`` (comma-separated names), ``folder`` (the folder of a run, a study or an evaluation), ``file`` (any
    file) and ``dir`` (any folder).
    """

    name = "value"

    def __init__(self, values: Iterable[str] = (), kind: str = "") -> None:
        self.values, self.kind = tuple(values), kind

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the completions of the typed text; the shell itself looks for other files and folders."""
        before, comma, last = incomplete.rpartition(",") if self.kind == "list" else ("", "", incomplete)
        found = [CompletionItem(before + comma + name) for name in self.values if name.startswith(last)]
        if self.kind == "folder":
            found += map(CompletionItem, result_folders(incomplete))
        # comes first, because bash forgets the names before it, and looks for files if there are none
        if self.kind in ("folder", "file", "dir"):
            found.insert(0, CompletionItem(incomplete, type="file" if self.kind == "file" else "dir"))
        return found


def result_folders(incomplete: str) -> list[str]:
    """Return the folders of runs, studies and evaluations whose path begins with this text (by default, with ``runs/``)."""
    parent, name = os.path.split(incomplete or "runs/")
    try:
        paths = [os.path.join(parent, entry) for entry in sorted(os.listdir(parent or ".")) if entry.startswith(name)]
    except OSError:
        return []
    return [path for path in paths if any(os.path.isfile(os.path.join(path, mark)) for mark in MARKS)]


def completer() -> click.Command:
    """Return a command that only completes the program's command line."""
    return _likeness("minicereb", json.loads((resources.files("minicereb.cli") / INDEX).read_text(encoding="utf-8")))


def _likeness(name: str, entry: dict[str, Any]) -> click.Command:
    about: dict[str, Any] = {"help": entry["help"], "params": [], "context_settings": {"help_option_names": ["-h", "--help"]}}
    for number, each in enumerate(entry["parameters"]):
        settings = dict(each)
        declared, value = settings.pop("name"), Value(settings.pop("values", ()), settings.pop("kind", ""))
        if not settings.get("is_flag"):
            settings["type"] = value
        unique = f"parameter{number}"  # click does not distinguish two parameters with the same name
        if declared.startswith("-"):
            about["params"].append(click.Option([declared, unique], **settings))
        else:
            about["params"].append(click.Argument([unique], required=False, **settings))
    if "commands" not in entry:
        return click.Command(name, **about)
    return Group(name, {part: _likeness(part, each) for part, each in entry["commands"].items()}, **about)


def index(command: click.Command, path: str = "") -> dict[str, Any]:
    """Return a command's completions as JSON values; its `path`, such as ``"train mlp"``, is empty for the program itself."""
    known = names()
    entry: dict[str, Any] = {"help": summary(command), "parameters": []}
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name in ("help", "version"):
            continue
        values, kind = known.get(f"{path} {parameter.name}") or known.get(str(parameter.name)) or _by_type(parameter.type)
        described: dict[str, Any] = {"name": "/".join((*parameter.opts[-1:], *parameter.secondary_opts[-1:]))}
        described |= {name: getattr(parameter, name, None) for name in ("help", "is_flag", "multiple")}
        described |= {"nargs": parameter.nargs if parameter.nargs != 1 else None, "values": list(values), "kind": kind}
        entry["parameters"].append({name: value for name, value in described.items() if value})
    if isinstance(command, click.Group):
        context = click.Context(command)
        parts = [(part, command.get_command(context, part)) for part in command.list_commands(context)]
        entry["commands"] = {part: index(each, f"{path} {part}".strip()) for part, each in parts if each and not each.hidden}
    return entry


def _by_type(kind: click.ParamType) -> tuple[Iterable[str], str]:
    """Return the names to choose from and the kind of value, as far as a parameter's type determines them."""
    from minicereb.cli.options import RESULTS

    if isinstance(kind, click.Choice):
        return map(str, kind.choices), ""
    return (), "" if not isinstance(kind, click.Path) else "folder" if kind is RESULTS else "file" if kind.file_okay else "dir"


def names() -> dict[str, tuple[Iterable[str], str]]:
    """Return the completions that no parameter's type determines, keyed by ``"parameter"`` or ``"command parameter"``."""
    from minicereb.datasets import registry, store
    from minicereb.exercises.course import EXERCISES
    from minicereb.experiments import pretrained
    from minicereb.robustness.catalogue import SETS, attack_names
    from minicereb.studies import all_studies

    return {
        "dataset": ([row.name for row in registry.describe()], "file"),
        "device": (("auto", "cpu", "cuda"), ""),
        "evaluate attacks": ((*SETS, *attack_names()), "list"),
        "study name": ((*all_studies(), "list", "status"), ""),
        **dict.fromkeys(("exercise start name", "exercise check name"), (tuple(EXERCISES), "")),
        **dict.fromkeys(("data fetch name", "data verify name"), (tuple(store.downloads()), "")),
        "models fetch name": (tuple(pretrained.models()), ""),
        "models verify chosen": (tuple(pretrained.models()), "folder"),
    }


def written() -> str:
    """Return the text of ``completion.json`` for the current commands."""
    from minicereb.cli.main import main

    return json.dumps(index(main), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    path = Path(__file__).with_name(INDEX)
    path.write_text(written(), encoding="utf-8")
    click.echo(path)
