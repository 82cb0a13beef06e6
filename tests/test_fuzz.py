"""What the fuzzer counts as a failure, and that it notices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from fuzz.arena import Outcome, changes, execute, judge, state_of

CHECK = click.Command("check", help="Check it; exit with 1 if anything is wrong.")
ROOT = Path(__file__).parents[1]
SHOW = click.Command("show", help="Show it.")


def fuzz(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--json", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the fuzzer forks")
def test_a_sample_of_hostile_command_lines_and_mutated_files_does_no_harm():
    code, found = fuzz("--lines", 25, "--files", 12)
    assert (found["lines"], found["files"]) == (25, 12)
    assert found["groups"] == []
    assert code == 0


def outcome(code=2, stdout="", stderr="Error: epsilon: -1 is not valid\n", interrupted=False, left=False):
    return Outcome(code, stdout, stderr, interrupted, 0.1, left)


@pytest.mark.parametrize(
    ("what", "command", "changed", "kind"),
    [
        (outcome(), SHOW, {}, None),
        (outcome(0, "shown\n", ""), SHOW, {}, None),
        (outcome(0, "shown\n", ""), SHOW, {"/w/out/x": "created", "/w/out": "created"}, None),
        (outcome(1, "wrong\n", ""), CHECK, {}, None),
        (outcome(130, "", "interrupted\n", True), SHOW, {}, None),
        (outcome(1, "wrong\n", ""), SHOW, {}, "exit code 1"),
        (outcome(None), SHOW, {}, "hang"),
        (outcome(-11), SHOW, {}, "crash"),
        (outcome(97, "", "Traceback (most recent call last):\nKeyError: 1\n"), SHOW, {}, "traceback"),
        (outcome(0, "", "/x/y.py:3: RuntimeWarning: overflow\n"), SHOW, {}, "raw warning"),
        (outcome(2, "half a table\n"), SHOW, {}, "not one line"),
        (outcome(2, "", "one\ntwo\n"), SHOW, {}, "not one line"),
        (outcome(2, "", "\n"), SHOW, {}, "not one line"),
        (outcome(2, "", ""), SHOW, {}, "not one line"),
        (outcome(130, "", "interrupted\n"), SHOW, {}, "interruption"),
        (outcome(0, left=True), SHOW, {}, "process left running"),
        (outcome(0, "", ""), SHOW, {"/w/output": "created"}, "outside"),
        (outcome(0, "", ""), SHOW, {"/w": "removed"}, "outside"),
        (outcome(0, "", ""), SHOW, {"/w/out/.x.9.part": "created"}, "half-written file"),
    ],
)
def test_what_counts_as_a_failure(what, command, changed, kind):
    found = judge(what, command, changed, ["/w/out"])
    assert (None if found is None else found.kind) == kind


def test_every_change_to_a_folder_is_noticed(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("same", "longer", "gone", "in/replaced"):
        (tmp_path / name).write_text(name)
    before = state_of(tmp_path)
    (tmp_path / "longer").write_text("longer than before")
    (tmp_path / "gone").unlink()
    (tmp_path / "other").write_text("replaced")
    os.replace(tmp_path / "other", tmp_path / "in" / "replaced")
    os.symlink("same", tmp_path / "in" / "new")
    found = changes(before, state_of(tmp_path))
    assert {os.path.relpath(path, tmp_path): what for path, what in found.items()} == {
        "longer": "changed",
        "gone": "removed",
        "in/replaced": "changed",
        "in/new": "created",
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the fuzzer forks")
@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        ("raise KeyError('x')", "traceback"),
        ("time.sleep(60)", "hang"),
        ("os.kill(os.getpid(), 9)", "crash"),
        ("os._exit(3)", "exit code 3"),
        ("pathlib.Path('..', 'stranger').write_text('x')", "outside"),
        ("os.fork() or time.sleep(60)", "process left running"),
    ],
)
def test_a_command_that_misbehaves_is_told(tmp_path, harm, kind):
    (tmp_path / "work").mkdir()
    (tmp_path / "home").mkdir()
    before = state_of(tmp_path)
    names = {name: __import__(name) for name in ("os", "time", "pathlib")}
    result = execute(["data", "list"], tmp_path / "work", 0.5 if kind == "hang" else 20, prepare=lambda: exec(harm, names))
    changed = {path: what for path, what in changes(before, state_of(tmp_path)).items() if not path.endswith(("out", "err"))}
    assert judge(result, SHOW, changed, []).kind == kind
