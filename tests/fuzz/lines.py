"""Hostile command lines, made from the tree of click's commands and options themselves."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from minicereb.errors import MinicerebError

TINY = ("--dataset", "tiny.npz", "--epochs", "1")

# For each command, arguments that make it cheap and right, so that one hostile value decides. A command with nothing cheap is
# heavy: it is interrupted after a while, and must take that well.
CHEAP: dict[str, list[str]] = {
    "train cerebellum": [*TINY, "--cells", "12"],
    "train mlp": [*TINY, "--hidden", "5"],
    "train cnn": [*TINY, "--stages", "3/4", "--hidden", "5"],
    "train vgg": ["--dataset", "cifar", "--epochs", "1", "--width", "0.02"],
    "train glr": [*TINY, "--hidden", "4"],
    "attack": ["run", "--images", "6", "--steps", "3"],
    "evaluate": ["run", "--images", "6", "--attacks", "fgsm-mse,pgd-margin"],
    "explain": ["run"],
    "show": ["run"],
    "report": ["run"],
    "export": ["run", "out.npz"],
    "gradcheck": ["mlp", "--images", "1"],
    "study": ["width", "--dataset", "tiny.npz", "--dry-run"],
    "task eyelid": ["--cells", "60", "--trials", "3", "--extinction", "2"],
    "task pole": ["--cells", "60", "--trials", "2", "--seconds", "1"],
    "exercise start": ["relu", "--to", "to"],
    "exercise check": ["class/anna/relu.py", "--limit", "20"],
    "exercise grade": ["class", "--limit", "20"],
    "models fetch": ["perceptron"],
    "models verify": ["run"],
    "models add": ["run", "--name", "mine", "--title", "mine"],
    "data fetch": ["cifar10"],
    "data verify": ["mnist"],
    "data import": ["tiny.npz"],
}
HEAVY = {
    "demo",
    "bench",
    "study",
    "doctor",
    "gradcheck",
    "exercise grade",
    "exercise check",
    "task eyelid",
    "task pole",
    "evaluate",
}
RARE = {
    **dict.fromkeys(("data list", "data fetch", "data verify", "data import", "exercise list", "models list", "models add"), 0.3),
    **dict.fromkeys(("attack", "evaluate", "explain", "train cerebellum", "train mlp", "train cnn", "train glr", "report"), 2.0),
    "bench": 0.05,
    "demo": 0.05,
    "doctor": 0.1,
    "exercise grade": 0.1,
    "exercise check": 0.1,
    "gradcheck": 0.2,
}
WRITTEN = {
    "out",
    "save",
    "csv_file",
    "feedback_folder",
    "html_file",
    "to",
    "film",
    "animate",
}  # options that name what is written
OWN = {"attack": 1, "evaluate": None, "report": 1, "export": 2, "study": 2}  # how many positional arguments may be written to

INTEGERS = (
    *(
        "",
        "0",
        "-1",
        "1",
        "2",
        "3",
        "7",
        "-0",
        "+3",
        "007",
        "1e3",
        "1.5",
        "nan",
        "inf",
        "-inf",
        "٣",
        "１２",
        " 5",
        "5 ",
        "1_0",
        "0x10",
    ),
    *("true", "None", "½", "1,2", str(2**31 - 1), str(2**31), str(2**32), str(2**53), str(2**63 - 1), str(2**63), str(2**64)),
    *(f"-{2**63}", f"-{2**63 + 1}", str(10**30), "9" * 400, "9" * 5000, "1000000", "-1000000", "100000"),
)
NUMBERS = (
    *(
        "nan",
        "inf",
        "-inf",
        "NaN",
        "infinity",
        "1e308",
        "-1e308",
        "1e400",
        "1e-320",
        "5e-324",
        "-0.0",
        "0",
        "1",
        "0.5",
        "-1",
        "2",
    ),
    *(
        "",
        "1/0",
        "0/0",
        "8/255",
        "1/3/5",
        "/",
        "1/",
        "/2",
        "nan/1",
        "1e-45",
        "1e39",
        "1e10",
        "1,5",
        "1_0.5",
        "٠٫٥",
        "0x1p3",
        "--1",
        "∞",
    ),
    *("1e-10", "3.4028235e38", "9" * 400, "0.1e", "1d3", "1j", "1/inf"),
)
TEXTS = (
    *(
        "",
        " ",
        "\t",
        "\n",
        "a\nb",
        "ε",
        "☃",
        "n̈ame",
        "a b",
        "a,b",
        ",",
        ",,",
        "1,2",
        "1,x",
        "1/2",
        "/",
        "//",
        "a/b",
        "..",
        ".",
        "-",
        "--",
    ),
    *(
        "%s",
        "{}",
        "{0}",
        "$HOME",
        "~",
        "`id`",
        "\x1b[31m",
        "\x7f",
        "\u202e",
        "\ufeffx",
        "\udcff",
        "x" * 300,
        "x" * 5000,
        "None",
        "True",
    ),
    *(
        "null",
        "nan",
        "0",
        "-1",
        "1e9",
        "os:system",
        "json:loads",
        "math:nan",
        "nope:nope",
        "a:b:c",
        ":",
        "a.b",
        "*",
        "?",
        "[",
        "#",
    ),
    *(
        "1" * 30,
        "300,",
        "9" * 25,
        "-5,3",
        "0,0",
        "0.5",
        "2,0.5",
        "0.5,nan",
        "1,1,1",
        "inf",
        "1e-300",
        "3/",
        "/3",
        "4/4",
        "4//4",
        "512MiB",
    ),
    *(
        "-1GiB",
        "1e30GiB",
        "0",
        "1B",
        "KiB",
        "cpu",
        "cuda",
        "cuda:7",
        "auto",
        "tcp://127.0.0.1:9",
        "standard",
        "all",
        "fgsm-mse,nope",
    ),
)
PATHS = (
    *(
        "",
        ".",
        "..",
        "/",
        "run",
        "run/",
        "run/config.json",
        "run/model.npz",
        "run/attacks",
        "mlp",
        "half",
        "cnn",
        "glr",
        "visual",
    ),
    *(
        "tiny.npz",
        "empty",
        "empty.txt",
        "empty.npz",
        "text.txt",
        "cifar",
        "folder.npz",
        "loop",
        "dangling",
        "pipe",
        "nowhere",
        "run/x",
    ),
    *(
        "nowhere/deeper/x.npz",
        "text.txt/x",
        "übung ☃",
        "übung ☃/run",
        "-x",
        "--",
        "a\nb",
        "\udcff.npz",
        "x" * 249,
        "x" * 300,
        "x" * 5000,
    ),
    *(
        "out.npz",
        "new.html",
        "new.gif",
        "new.csv",
        "new",
        "sub/new.npz",
        "linked",
        "tiny.NPZ",
        "study",
        "class",
        "/proc/self/x",
        "~",
        "~/x",
    ),
    *(
        "$HOME",
        "*",
        "strokes",
        "nul",
        "con.npz",
        "../work/run",
        "../stranger",
        "../stranger/run",
        "./run/../run",
        "study/study.json",
    ),
)


class Line(NamedTuple):
    """A command line to try: its arguments, the command it is meant for, and whether it may take long."""

    arguments: list[str]
    command: click.Command | None
    name: str
    heavy: bool


def leaves() -> dict[str, click.Command]:
    """Return all commands that do something, by their names."""
    from minicereb.cli.main import main

    found: dict[str, click.Command] = {}

    def walk(command: click.Command, names: tuple[str, ...]) -> None:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                if (each := command.get_command(context, name)) is not None:
                    walk(each, (*names, name))
            for name, each in getattr(command, "commands", {}).items():  # hidden ones too
                walk(each, (*names, name))
        else:
            found[" ".join(names)] = command

    walk(main, ())
    return found


def hostile_line(rng: random.Random, commands: dict[str, click.Command]) -> Line:
    """Draw a command line: a cheap right one, made wrong in one to four ways."""
    names = sorted(commands)
    name = rng.choices(names, [RARE.get(each, 1.0) for each in names])[0]
    command = commands[name]
    words, arguments, heavy = name.split(), list(CHEAP.get(name, [])), name in HEAVY
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        arguments, more = _WAYS[rng.choices(range(len(_WAYS)), _WEIGHTS)[0]](rng, command, arguments)
        heavy |= more
    words, spoilt = _spoil_words(rng, words)
    arguments = [argument.replace("\0", "") for argument in arguments]
    return Line([*words, *arguments], None if spoilt else command, name, heavy)


def _spoil_words(rng: random.Random, words: list[str]) -> tuple[list[str], bool]:
    if rng.random() > 0.02:
        return words, False
    way = rng.randrange(5)
    if way == 0:
        return [word.upper() for word in words], True
    if way == 1:
        return [words[0][:-1], *words[1:]], True
    if way == 2:
        return [rng.choice(TEXTS), *words], True
    if way == 3:
        return [rng.choice(("--help", "--version", "-h", "--verbose", "--json", "-")), *words], True
    return words[:-1], True


def hostile_value(rng: random.Random, parameter: click.Parameter) -> tuple[str, bool]:
    """Draw a value for a parameter, right or wrong, and say whether it may ask for much work."""
    kind = parameter.type
    if rng.random() < 0.05:
        return rng.choice(TEXTS), False
    if isinstance(kind, click.Choice):
        choices = [str(choice) for choice in kind.choices]
        value = rng.choice(choices)
        return rng.choice((*[value] * 15, value.upper(), value[:-1], value + "x", "", "☃", f" {value}")), True
    if isinstance(kind, click.Path) or parameter.name in ("dataset", "run", "runs", "chosen", "encoder"):
        return rng.choice(PATHS), False
    if isinstance(kind, click.types.IntParamType | click.types.IntRange):
        value = rng.choice(INTEGERS)
        return value, _large(value)
    if isinstance(kind, click.types.FloatParamType) or kind.name == "number":
        value = rng.choice(NUMBERS)
        return value, _large(value)
    return (rng.choice(TEXTS), True) if rng.random() < 0.8 else (rng.choice(PATHS), False)


def _large(text: str) -> bool:
    try:
        return float(text) > 20 or float(text) < 0.01
    except ValueError:
        return False


def _set(rng: random.Random, command: click.Command, arguments: list[str]) -> tuple[list[str], bool]:
    """Give an option a value: often one that it has already, so that it is there twice."""
    options = [each for each in command.params if isinstance(each, click.Option)]
    option = rng.choices(options, [0.2 if each.is_flag else 1.0 for each in options])[0]
    flag = rng.choice([*option.opts, *option.secondary_opts])
    if option.is_flag:
        return [*arguments, rng.choice((*[flag] * 8, f"{flag}=1", f"{flag}="))], True
    value, heavy = hostile_value(rng, option)
    placed = [*arguments]
    if flag in placed[:-1] and rng.random() < 0.7:  # in place of the one that is there
        placed[placed.index(flag) + 1] = value
        return placed, heavy
    return [*placed, *([f"{flag}={value}"] if rng.random() < 0.2 else [flag, value])], heavy


def _several(rng: random.Random, command: click.Command, arguments: list[str]) -> tuple[list[str], bool]:
    """Give several options values that each is right for, whether or not they go together."""
    for _ in range(rng.randrange(2, 5)):
        option = rng.choice([each for each in command.params if isinstance(each, click.Option)])
        flag = rng.choice([*option.opts, *option.secondary_opts])
        if option.is_flag:
            arguments = [*arguments, flag]
        elif isinstance(option.type, click.Choice):
            arguments = [*arguments, flag, str(rng.choice(list(option.type.choices)))]
        elif isinstance(option.type, click.types.IntParamType):
            arguments = [*arguments, flag, rng.choice(("0", "1", "2", "3", "5"))]
        elif isinstance(option.type, click.types.FloatParamType) or option.type.name == "number":
            arguments = [*arguments, flag, rng.choice(("0", "0.1", "0.5", "1", "2"))]
        else:
            arguments = [*arguments, flag, hostile_value(rng, option)[0]]
    return arguments, True


def _positional(rng: random.Random, command: click.Command, arguments: list[str]) -> tuple[list[str], bool]:
    """Replace the first argument, or add one more."""
    value = rng.choice(PATHS if rng.random() < 0.8 else TEXTS)
    if arguments and not arguments[0].startswith("-") and rng.random() < 0.75:
        return [value, *arguments[1:]], True
    return [value, *arguments] if rng.random() < 0.5 else [*arguments, value], True


def _without(rng: random.Random, command: click.Command, arguments: list[str]) -> tuple[list[str], bool]:
    """Leave out one of the arguments: a name, a value, an option."""
    if not arguments:
        return ["--"], True
    place = rng.randrange(len(arguments))
    return arguments[:place] + arguments[place + 1 :], True


def _unknown(rng: random.Random, command: click.Command, arguments: list[str]) -> tuple[list[str], bool]:
    """Add something that is no option, or almost one."""
    flags = [flag for each in command.params if isinstance(each, click.Option) for flag in each.opts]
    flag = rng.choice(flags)
    wrong = (
        flag[:-1],
        flag.upper(),
        flag[1:],
        f"{flag}x",
        "-j",
        "-",
        "--",
        "---",
        "--=",
        f"{flag}=",
        "--no-such",
        "—json",
        "-\udcff",
        "--help",
    )
    return [*arguments, rng.choice(wrong)], True


def _swap(rng: random.Random, command: click.Command, arguments: list[str]) -> tuple[list[str], bool]:
    """Exchange two arguments, or give the first one twice."""
    if len(arguments) < 2:
        return arguments * 2, True
    one, other = rng.sample(range(len(arguments)), 2)
    swapped = list(arguments)
    swapped[one], swapped[other] = swapped[other], swapped[one]
    return swapped, True


_WAYS = (_set, _several, _positional, _without, _unknown, _swap)
_WEIGHTS = (16, 4, 2.5, 0.7, 0.7, 0.7)


def told(line: Line, work: Path) -> Iterator[Path]:
    """Return the files and folders that a command line names as places to write to."""
    yield work / "runs"
    for text in _named(line):
        if text:
            path = Path(os.path.abspath(os.path.join(work, text)))
            yield path
            if line.name == "report":  # Markdown and figures stand beside the page
                yield path.parent / f"{path.stem}*"
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                yield path.resolve()


def _named(line: Line) -> list[str]:
    """Values of the options that name what is written, and of the arguments that may be written to."""
    if line.command is None:
        return []
    try:
        context = line.command.make_context(line.name, line.arguments[len(line.name.split()) :], resilient_parsing=False)
    except (click.ClickException, click.exceptions.Exit, MinicerebError):
        return []
    found: list[Any] = [context.params.get(name) for name in WRITTEN]
    found += [context.params.get("encoder")]
    if line.name in ("attack", "evaluate", "report", "export"):
        found += [context.params.get(name) for name in ("run", "file", "folder")]
        found += list(context.params.get("runs") or ())
    return [str(value) for value in found if value is not None]
