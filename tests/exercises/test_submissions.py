"""Submissions in processes of their own: whatever they do is told, and harms nobody else."""

import csv
import json
import os
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from minicereb.cli.main import main
from minicereb.errors import DataError, InputError
from minicereb.exercises.catalogue import EXERCISES
from minicereb.exercises.submission import check_file

LONG = 120.0  # seconds; what ends does so much earlier, also on a machine that is busy
RIGHT = "import numpy as np\ndef fgsm(x, gradient, epsilon):\n    return np.clip(x + epsilon * np.sign(gradient), 0, 1)\n"


def invoke(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def hand_in(folder, student, source, name="fgsm.py"):
    (folder / student).mkdir(parents=True, exist_ok=True)
    (folder / student / name).write_text(source, encoding="utf-8")


def state_of(pid):
    """The letter of a process, Z or X if it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
    except OSError:
        return "X"


def test_a_class_is_graded_whatever_its_submissions_do(tmp_path):
    hand_in(tmp_path, "ann", RIGHT)
    hand_in(tmp_path, "bob", "import os\nos._exit(0)\n")
    hand_in(tmp_path, "cat", f"import os\nos.write(1, b'x' * 100000)\nprint('y' * 1000000)\n{RIGHT.replace('+', '-')}")
    hand_in(tmp_path, "dan", "def fgsm(:\n")
    hand_in(tmp_path, "dan", "x = 1\n", "notes.py")
    hand_in(tmp_path, "eve", "raise RuntimeError('=1+1')\n")
    result = invoke("exercise", "grade", tmp_path, "--limit", LONG, "--csv", tmp_path / "class.csv", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    found = {row["student"]: row for row in report["submissions"]}
    assert {name: row["hint"] for name, row in found.items()} == {
        "ann": None,
        "bob": "exits",
        "cat": "descent",
        "dan": "no Python",
        "eve": "crash",
    }
    assert [row["right"] for row in found.values()] == [True, False, False, False, False]
    assert found["cat"]["printed"] == 1000001
    assert [os.path.basename(path) for path in report["others"]] == ["notes.py"]
    with open(tmp_path / "class.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["student"] for row in rows] == ["ann", "bob", "cat", "dan", "eve"]
    assert rows[4]["text"].startswith("reading it raises RuntimeError in line 1: =1+1")


def test_a_loop_without_end_is_ended(tmp_path):
    (tmp_path / "fgsm.py").write_text("while True:\n    pass\n", encoding="utf-8")
    report = check_file(EXERCISES["fgsm"], tmp_path / "fgsm.py", 0.5)
    assert [hint.code for hint in report.verdict.hints] == ["too slow"]


@pytest.mark.skipif(sys.platform == "win32", reason="a group of processes is ended by its number")
def test_what_a_submission_leaves_running_is_ended_with_it(tmp_path):
    child = "import subprocess, sys\nprocess = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    (tmp_path / "fgsm.py").write_text(
        f"{child}open({str(tmp_path / 'pid')!r}, 'w').write(str(process.pid))\n{RIGHT}", encoding="utf-8"
    )
    assert check_file(EXERCISES["fgsm"], tmp_path / "fgsm.py", LONG).verdict.right
    pid = int((tmp_path / "pid").read_text())
    if not Path("/proc/self/stat").exists():
        return
    for _ in range(600):  # its end was ordered; a busy machine may take a while
        if state_of(pid) in "ZX":
            break
        time.sleep(0.1)
    assert state_of(pid) in "ZX"


def test_a_submission_is_checked_from_the_stub_to_the_end(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "fgsm.py" in invoke("exercise", "list").stdout
    started = invoke("exercise", "start", "fgsm", "--to", "mine")
    assert started.exit_code == 0
    assert "[M-FGSM]" in started.stdout
    again = invoke("exercise", "start", "fgsm", "--to", "mine")
    assert (again.exit_code, "not replaced" in again.stderr) == (2, True)
    wrong = invoke("exercise", "check", "mine/fgsm.py", "--limit", LONG)
    assert (wrong.exit_code, "not started" in wrong.stdout) == (1, True)
    (tmp_path / "mine" / "fgsm.py").write_text(RIGHT, encoding="utf-8")
    right = invoke("exercise", "check", "mine/fgsm.py", "--limit", LONG, "--json")
    assert right.exit_code == 0
    assert json.loads(right.stdout)["right"] is True


def test_the_table_is_printed_even_where_it_cannot_be_written(tmp_path):
    (tmp_path / "class" / "ada").mkdir(parents=True)
    (tmp_path / "class" / "ada" / "fgsm.py").write_text("")
    (tmp_path / "file").touch()
    result = invoke("exercise", "grade", str(tmp_path / "class"), "--csv", str(tmp_path / "file" / "grades.csv"))
    assert result.exit_code == 2
    assert "ada" in result.stdout
    assert "cannot write" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("start", "flsm"), "exercise: 'flsm' is not valid"),
        (("check", "other.py"), "one of relu_derivative.py"),
        (("check", "fgsm.py"), "fgsm.py is not a file"),
        (("check", "fgsm.py", "--limit", "0"), "seconds above 0"),
        (("grade", "nowhere"), "nowhere is not a folder"),
        (("grade", "."), "holds no submission"),
    ],
)
def test_mistakes_at_the_keyboard_are_told_in_one_line(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("exercise", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_interface_of_python_raises(tmp_path):
    with pytest.raises(DataError):
        check_file(EXERCISES["fgsm"], tmp_path / "fgsm.py")
    (tmp_path / "fgsm.py").write_text(RIGHT, encoding="utf-8")
    with pytest.raises(InputError):
        check_file(EXERCISES["fgsm"], tmp_path / "fgsm.py", float("nan"))
