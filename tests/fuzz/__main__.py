"""``python -m tests.fuzz``: try hostile command lines and mutated files, and count what goes wrong."""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import random
import re
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click

from . import files, kept, lines
from .arena import Failure, changes, execute, import_everything, judge, state_of

FRESH = 0.01  # share of the command lines that run in a new interpreter


class Case(NamedTuple):
    """What a case came to."""

    kind: str
    number: int
    failure: Failure | None
    what: str
    seconds: float
    code: int | None


class Worker:
    """Tries cases one after the other in a working directory of its own.

    Parameters
    ----------
    master : Path
        What :func:`fuzz.kept.make` filled.
    folder : Path
        Of this worker.
    seed : int
    limit : float
        Seconds for a command.
    """

    def __init__(self, master: Path, folder: Path, seed: int, limit: float):
        self.master, self.folder, self.seed, self.limit = master, folder, seed, limit
        self.work = folder / "work"
        self.commands = lines.leaves()
        self.targets = files.targets()
        self.before: dict[str, tuple] | None = None

    def restore(self) -> None:
        """Make the working directory as it was, if anything in it was changed."""
        if self.before is None or changes(self.before, self._state()):
            os.chdir(self.master)
            kept.copy(self.master, self.folder)
            self.before = self._state()
        os.chdir(self.work)

    def _state(self) -> dict[str, tuple]:
        found = state_of(self.folder)
        return {path: seen for path, seen in found.items() if not path.endswith(("/.stdout", "/.stderr"))}

    def run(self, kind: str, number: int) -> Case:
        """Try a case, which seed, kind and number determine."""
        self.restore()
        rng = random.Random(f"{self.seed}/{kind}/{number}")
        return self._line(rng, number) if kind == "line" else self._file(rng, number)

    def _line(self, rng: random.Random, number: int) -> Case:
        line = lines.hostile_line(rng, self.commands)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            told = list(lines.told(line, self.work))
        fresh = rng.random() < FRESH and line.name != "models add"
        arguments, fresh = line.arguments, fresh and all(map(_encodable, line.arguments))
        outcome = execute(arguments, self.work, self.limit, line.heavy, _no_checkout(self.work), fresh)
        changed = changes(self.before or {}, self._state())
        failure = judge(outcome, _command_of(line), changed, told)
        return Case("line", number, failure, shlex.join(arguments), outcome.seconds, outcome.code)

    def _file(self, rng: random.Random, number: int) -> Case:
        chosen = rng.choices(self.targets, [each.weight for each in self.targets])[0]
        done = files.hurt(rng, self.work, chosen)
        if done is None:
            return Case("file", number, Failure("no such file", chosen.name, chosen.files), chosen.name, 0.0, None)
        path, said = done
        what = f"{path.relative_to(self.work)}: {said}"
        prepare, seconds = files.use_package(self.work) if chosen.package else None, 0.0
        for words in rng.sample(chosen.commands, min(len(chosen.commands), rng.choice((1, 1, 2)))):
            command = [str(path) if word == "FILE" else word for word in words]
            before = self._state()
            outcome = execute(command, self.work, self.limit, prepare=prepare)
            changed, seconds = changes(before, self._state()), seconds + outcome.seconds
            failure = judge(outcome, _of(self.commands, command), changed, [self.work / name for name in chosen.told])
            if failure is not None:
                return Case("file", number, failure, f"{what}; {shlex.join(command)}", seconds, outcome.code)
        return Case("file", number, None, what, seconds, outcome.code)


def _encodable(text: str) -> bool:
    return len(os.fsencode(text)) < 100_000


def _of(commands: dict[str, click.Command], words: list[str]) -> click.Command | None:
    return commands.get(" ".join(words[:2])) or commands.get(words[0])


def _command_of(line: lines.Line) -> click.Command | None:
    """The command that a line runs; a group, if it names no more."""
    if line.command is not None:
        return line.command
    from minicereb.cli.main import main

    return main


def _no_checkout(work: Path) -> Any:
    """Keep the one command that writes into a checkout from this one."""

    def prepare() -> None:
        sys.modules["minicereb.cli.registries"].store.CHECKOUT = work / "package"  # type: ignore[attr-defined]

    return prepare


# -- all cases ---------------------------------------------------------------------------------------------------------------

_worker: Worker


def _begin(master: str, root: str, seed: int, limit: float) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
    folder = Path(tempfile.mkdtemp(dir=root, prefix="worker-"))
    _worker = Worker(Path(master), folder, seed, limit)


def _try(case: tuple[str, int]) -> Case:
    return _worker.run(*case)


def cases(wanted: list[tuple[str, int]], root: Path, seed: int, limit: float, jobs: int) -> Iterator[Case]:
    """Make what hostile commands find, and try the cases, `jobs` at once."""
    master = root / "master"
    if problems := kept.make(master, 6 * limit):
        raise click.ClickException("cannot make what the commands shall find: " + "; ".join(problems))
    context = multiprocessing.get_context("fork")
    with context.Pool(jobs, _begin, (str(master), str(root), seed, limit)) as pool:
        yield from pool.imap_unordered(_try, wanted, chunksize=1)


@click.command(context_settings={"max_content_width": 120})
@click.option("--lines", "count_lines", type=int, default=1_000, show_default=True, help="Command lines to try.")
@click.option("--files", "count_files", type=int, default=500, show_default=True, help="Mutated files to try.")
@click.option("--first", type=int, default=0, show_default=True, help="Number of the first case, of lines and of files.")
@click.option(
    "--case", "chosen", multiple=True, metavar="KIND:NUMBER", help="Try only this case, such as file:123; may be repeated."
)
@click.option("--only", metavar="REGEX", help="Report only failures whose text matches.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--jobs", type=int, default=1, show_default=True, help="Cases tried at the same time.")
@click.option("--limit", type=float, default=30.0, show_default=True, help="Seconds after which a command counts as hung.")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Folder to work in, which is not removed. [default: a temporary one]"
)
@click.option("--verbose", is_flag=True, help="Print every case.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def fuzz(
    count_lines: int, count_files: int, first: int, chosen: tuple[str, ...], only: str | None, seed: int, jobs: int, limit: float,
    keep: Path | None, verbose: bool, as_json: bool,
) -> None:  # fmt: skip
    """Try hostile command lines and mutated files; exit with 1 if anything fails.

    The same seed and number make the same case, alone or among others.
    """
    wanted = [("line", first + number) for number in range(count_lines)] + [
        ("file", first + number) for number in range(count_files)
    ]
    if chosen:
        wanted = [(kind, int(number)) for kind, _, number in (each.partition(":") for each in chosen)]
    began = time.monotonic()
    import_everything()
    found: list[Case] = []
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-"))) if keep is None else keep.absolute()
        root.mkdir(parents=True, exist_ok=True)
        here = Path.cwd()
        stack.callback(os.chdir, here)
        for case in cases(wanted, root, seed, limit, jobs):
            found.append(case)
            if verbose and not as_json:
                state = "ok" if case.failure is None else case.failure.kind
                click.echo(f"{case.kind}:{case.number} {state} {case.code} {case.seconds:.2f} s  {_printable(case.what)}")
    failed = [case for case in found if case.failure is not None]
    if only:
        failed = [case for case in failed if re.search(only, f"{case.failure} {case.what}")]
    _report(found, failed, seed, time.monotonic() - began, as_json)
    sys.exit(1 if failed else 0)


def _report(found: list[Case], failed: list[Case], seed: int, seconds: float, as_json: bool) -> None:
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in sorted(failed, key=lambda case: len(case.what)):
        assert case.failure is not None
        groups.setdefault((case.failure.kind, case.failure.where), []).append(case)
    counts = {kind: sum(case.kind == kind for case in found) for kind in ("line", "file")}
    codes: dict[str, int] = {}
    for case in found:
        codes[str(case.code)] = codes.get(str(case.code), 0) + 1
    if as_json:
        rows = [_row(kind, where, group) for (kind, where), group in groups.items()]
        document = {"seed": seed, "lines": counts["line"], "files": counts["file"], "failures": len(failed), "codes": codes}
        click.echo(json.dumps(document | {"seconds": round(seconds, 1), "groups": rows}, indent=2))
        return
    for (kind, where), group in sorted(groups.items(), key=lambda item: -len(item[1])):
        case = group[0]
        assert case.failure is not None
        click.echo(f"\n{len(group)} x {kind} {where}   [{' '.join(f'{c.kind}:{c.number}' for c in group[:5])}]")
        click.echo(f"  {_printable(case.what)[:500]}")
        click.echo("".join(f"  | {line[:200]}\n" for line in _printable(case.failure.text).splitlines()[-4:]), nl=False)
    click.echo(
        f"{counts['line']:,} command lines and {counts['file']:,} mutated files, seed {seed}: {len(failed)} failures of "
        f"{len(groups)} kinds ({', '.join(f'exit {code} {count}' for code, count in sorted(codes.items()))}), {seconds:.0f} s"
    )


def _row(kind: str, where: str, group: list[Case]) -> dict[str, Any]:
    shown, text = group[0].what, group[0].failure.text if group[0].failure else ""
    return {"kind": kind, "where": where, "count": len(group), "cases": [f"{case.kind}:{case.number}" for case in group]} | {
        "example": _printable(shown),
        "text": _printable(text),
    }


def _printable(text: str) -> str:
    """What a terminal can show of a text; what is repeated many times is shortened."""
    short = re.sub(r"(.)\1{39,}", lambda found: f"{found[1] * 3}<{len(found[0])} times>", text)
    return short.encode("utf-8", "backslashreplace").decode()


if __name__ == "__main__":
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    fuzz()
