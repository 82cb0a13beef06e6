"""Where a hostile command runs: a child process in a scratch folder, under a time limit, with everything it changes noted.

A child is forked from a process that has imported the project but computed nothing, so it starts within milliseconds and whatever
happens to it (a hang, a crash, a changed setting) ends with it.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import pkgutil
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import click

ADDRESSES = 3 << 30  # bytes of memory that a command may map
LARGEST = 256 << 20  # bytes of the largest file that it may write
PATIENCE = 2.0  # seconds until a command that was told to do much work is interrupted
GRACE = 8.0  # seconds until it is interrupted a second time
SLOW_START = 15.0  # seconds that Python and all imports may take: until then Ctrl-C is not the project's to answer
REMARK = re.compile(
    r"note: |warning: |\d+/\d+  (done|not done|again): "
)  # what may stand before the one line: a study's progress, too
LEAK = 97  # exit code of a child that an exception left


class Outcome(NamedTuple):
    """The outcome of a command.

    Attributes
    ----------
    code : int or None
        Exit code, negative for a signal; None if it hung and was killed.
    stdout, stderr : str
    interrupted : bool
        Whether it was sent Ctrl-C.
    seconds : float
    left : bool
        Whether it left a process running.
    """

    code: int | None
    stdout: str
    stderr: str
    interrupted: bool
    seconds: float
    left: bool


class Failure(NamedTuple):
    """A failed outcome: the kind of failure, its place if known, and the text that shows it."""

    kind: str
    where: str
    text: str


def import_everything() -> None:
    """Import all that a command may need, so that no child has to."""
    import minicereb

    own = [str(Path(minicereb.__file__).parent)]  # not what a checkout has beside it
    names = [module.name for module in pkgutil.walk_packages(own, "minicereb.")]
    cli = importlib.import_module("minicereb.cli")
    names += [f"minicereb.cli.{module.name}" for module in pkgutil.iter_modules(cli.__path__)]
    names += ["matplotlib.pyplot", "matplotlib.backends.backend_agg", "matplotlib.backends.backend_svg", "jinja2", "pooch"]
    names += ["scipy.stats", "scipy.sparse", "scipy.optimize", "scipy.special", "webbrowser", "PIL.Image", "sklearn.datasets"]
    for name in names:
        if not name.endswith("__main__"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)


def execute(
    arguments: list[str],
    cwd: Path,
    limit: float,
    heavy: bool = False,
    prepare: Callable[[], None] | None = None,
    fresh: bool = False,
) -> Outcome:
    """Run ``minicereb`` with `arguments` in a child process.

    Parameters
    ----------
    arguments : list of str
    cwd : Path
        Working directory. Beside it, in its parent, lie the child's home and its standard streams.
    limit : float
        Seconds after which it is killed.
    heavy : bool
        Whether it was told to do much work: then it is sent Ctrl-C, once or twice, and `limit` counts from there.
    prepare : callable, optional
        Called in the child before the command.
    fresh : bool
        Start Python anew, instead of forking this process.
    """
    streams = [cwd.parent / ".stdout", cwd.parent / ".stderr"]
    began = time.monotonic()
    pid = _start(arguments, cwd, streams, prepare) if not fresh else _spawn(arguments, cwd, streams)
    status, interrupted = _wait(pid, (SLOW_START * fresh + PATIENCE) if heavy else limit), False
    for grace in (GRACE, limit) if heavy else ():  # a second Ctrl-C does not wait for a good place to stop
        if status is None:
            interrupted = True
            os.kill(pid, signal.SIGINT)
            status = _wait(pid, grace)
    if status is None:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    left = _end_group(pid)
    code = None if status is None else os.waitstatus_to_exitcode(status)
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in streams]
    return Outcome(code, texts[0], texts[1], interrupted, time.monotonic() - began, left)


def environment(home: Path) -> dict[str, str]:
    """Return the variables that keep a command away from the user's home, from the network and from other runs."""
    return {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "MPLCONFIGDIR": str(home.parents[1] / "matplotlib"),
        "BROWSER": "true",
        "COLUMNS": "100",
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **{f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https")},
    }


def _start(arguments: list[str], cwd: Path, streams: list[Path], prepare: Callable[[], None] | None) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    try:  # never returns into the fuzzer
        os.setsid()
        multiprocessing.current_process()._config["daemon"] = False  # a worker of a pool must not have children; a command may
        _redirect(streams)
        _bound()
        os.chdir(cwd)
        os.environ.update(environment(cwd.parent / "home"))
        os.environ["MINICEREB_DATA"] = str(cwd / "downloads")
        if prepare is not None:
            prepare()
        code = _command(arguments)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        code = LEAK
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _spawn(arguments: list[str], cwd: Path, streams: list[Path]) -> int:
    variables = {**os.environ, **environment(cwd.parent / "home"), "MINICEREB_DATA": str(cwd / "downloads")}
    command = [sys.executable, "-c", "import sys; from minicereb.cli.main import main; main(prog_name='minicereb')", *arguments]
    with open(streams[0], "wb") as out, open(streams[1], "wb") as err:
        process = subprocess.Popen(
            command, cwd=cwd, env=variables, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
        )
    process.returncode = 0  # waited for by its number
    return process.pid


def _redirect(streams: list[Path]) -> None:
    for number, path in enumerate([Path(os.devnull), *streams]):
        file = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(file, number)
        if file > 2:
            os.close(file)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115


def _bound() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, LARGEST))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def _command(arguments: list[str]) -> int:
    """Run the command in this process and return its exit code."""
    import webbrowser

    from minicereb.cli.main import main

    webbrowser.open = lambda *_, **__: True
    sys.argv = ["minicereb", *arguments]
    try:
        main(arguments, prog_name="minicereb")
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    return 0


def _wait(pid: int, seconds: float) -> int | None:
    """Wait for a child's end and return its status; None if it goes on."""
    deadline, pause = time.monotonic() + seconds, 0.001
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        if time.monotonic() > deadline:
            return None
        time.sleep(pause)
        pause = min(0.05, 1.5 * pause)


def _end_group(pid: int) -> bool:
    """End what a child left running, and say whether there was anything."""
    try:
        os.killpg(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    time.sleep(0.2)  # it may be about to end
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


# -- what was changed --------------------------------------------------------------------------------------------------------

State = dict[str, tuple]


def state_of(folder: Path) -> State:
    """What lies under a folder: kind, size and time of every entry, links not followed."""
    found: State = {}
    todo = [str(folder)]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                seen = entry.stat(follow_symlinks=False)
                is_folder = stat.S_ISDIR(seen.st_mode)
                found[entry.path] = (seen.st_mode,) if is_folder else (seen.st_mode, seen.st_size, seen.st_mtime_ns, seen.st_ino)
                if is_folder:
                    todo.append(entry.path)
    return found


def changes(before: State, after: State) -> dict[str, str]:
    """Return what was created, changed or removed, by path."""
    found = {path: "created" for path in after.keys() - before.keys()}
    found |= {path: "removed" for path in before.keys() - after.keys()}
    return found | {path: "changed" for path in before.keys() & after.keys() if before[path] != after[path]}


def restore(master: Path, copy: Path) -> None:
    """Make `copy` a fresh copy of `master`."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(master, copy, symlinks=True)


# -- the verdict -------------------------------------------------------------------------------------------------------------


def judge(
    outcome: Outcome, command: click.Command | None, changed: dict[str, str], told: Iterable[Path], kept: Iterable[Path] = ()
) -> Failure | None:
    """Return what is wrong with an outcome, or None.

    Parameters
    ----------
    outcome : Outcome
    command : click.Command or None
        The one that ran; its help says whether it may exit with 1.
    changed : dict
        From :func:`changes`.
    told : iterable of Path
        Files and folders that it was told to write to; one that ends in * stands for all that begin so.
    kept : iterable of Path
        What must stay as it is although it lies in one of them.
    """
    output = outcome.stdout + outcome.stderr
    if outcome.code is None:
        return Failure("hang", _frame(output), _tail(output))
    died_of_ctrl_c = outcome.interrupted and outcome.code == -signal.SIGINT  # it came while Python was already ending
    if outcome.code < 0 and not died_of_ctrl_c:
        return Failure("crash", f"signal {-outcome.code}", _tail(output))
    if "Traceback (most recent call last)" in output:
        return Failure("traceback", _frame(output), _tail(output))
    if outcome.left:
        return Failure("process left running", "", _tail(output))
    if warned := re.search(r"^\S.*:\d+: \w*Warning: .*$", outcome.stderr, re.MULTILINE):
        return Failure("raw warning", warned[0].rsplit("/", 1)[-1], _tail(output))
    lines = [line for line in outcome.stderr.splitlines() if not REMARK.match(line)]
    documented = command is not None and re.search(r"exit with\s+1", command.help or "") is not None
    if outcome.code == 2:
        help_of_group = isinstance(command, click.Group) and "Commands:" in output
        if not help_of_group and (outcome.stdout or len(lines) != 1 or not lines[0].strip()):
            return Failure("not one line", "", _tail(output))
    elif outcome.code == 130:
        if not outcome.interrupted or len(lines) > 1:
            return Failure("interruption", "", _tail(output))
    elif not (outcome.code == 0 or died_of_ctrl_c or (outcome.code == 1 and documented)):
        return Failure(f"exit code {outcome.code}", "", _tail(output))
    return _outside(changed, [str(path) for path in told], [str(path) for path in kept])


def _outside(changed: dict[str, str], told: list[str], kept: list[str]) -> Failure | None:
    for path, what in sorted(changed.items()):
        inside = any(_within(path, root) or _within(root, path) and what == "created" for root in told)
        if not inside or any(_within(path, root) for root in kept):
            return Failure("outside", f"{what} {Path(path).name}", f"{what}: {path}")
        if re.search(r"/\.[^/]*\.part$", path) and what == "created":
            return Failure("half-written file", "", path)
    return None


def _within(path: str, root: str) -> bool:
    if root.endswith("*"):
        return path.startswith(root[:-1])
    return path == root or path.startswith(root.rstrip("/") + "/")


def _tail(text: str) -> str:
    return text[-1500:]


def _frame(text: str) -> str:
    """The exception of a traceback and the innermost line of the project that it went through."""
    last = next(
        (line for line in reversed(text.splitlines()) if re.match(r"[\w.]+(Error|Exception|Warning|Interrupt|Exit)\b", line)), ""
    )
    frames = re.findall(r'File "[^"]*/((?:minicereb|cli)/[^"]+)", line (\d+), in (\S+)', text)
    where = "{}:{} {}".format(*frames[-1]) if frames else ""
    return f"{last.split(':')[0]} at {where}" if last or where else ""
