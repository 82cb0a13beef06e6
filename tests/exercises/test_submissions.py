"""Submissions in processes of their own: whatever they do is reported, and affects no other process."""

import csv
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import invoke
from handed_in import LONG, RIGHT, hand_in

from minicereb.errors import DataError, InputError, MinicerebError
from minicereb.exercises.course import EXERCISES
from minicereb.exercises.submission import check_file


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


def test_the_table_is_printed_even_where_it_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "class" / "ada").mkdir(parents=True)
    (tmp_path / "class" / "ada" / "fgsm.py").write_text("")

    def full(*_):
        raise MinicerebError("cannot write grades.csv: no space left on the device")

    monkeypatch.setattr("minicereb.cli.exercise.write_csv", full)  # the disk was not full before
    result = invoke("exercise", "grade", str(tmp_path / "class"), "--csv", str(tmp_path / "grades.csv"))
    assert result.exit_code == 2
    assert "ada" in result.stdout
    assert "cannot write" in result.stderr


# What a submission does instead of solving the exercise, and the hint in its row. Harmless, all of it.
SENDS = "import os, socket, stat, struct\n"
SENDS += "fd = next(n for n in range(3, 100) if os.path.exists(f'/proc/self/fd/{n}') and stat.S_ISSOCK(os.fstat(n).st_mode))\n"
WRONG = "def fgsm(x, gradient, epsilon):\n    return x * 0 + 7\n"
REPLY = "import json\nhead = json.dumps({}).encode()\nos.write(fd, struct.pack('>II', len(head), {}) + head)\n"
HOSTILE = {
    "exits with an odd code": ("import os\nos._exit(77)\n", "exits"),
    "exits as if all were well": ("import os\nos._exit(0)\n", "exits"),
    "ends by a signal without a name": ("import os\nos.kill(os.getpid(), 40)\n", "exits"),
    "exits when called": ("def fgsm(x, gradient, epsilon):\n    import os\n    os._exit(3)\n", "exits"),
    "raises SystemExit when called": ("def fgsm(x, gradient, epsilon):\n    raise SystemExit(0)\n", "exits"),
    "raises KeyboardInterrupt": ("raise KeyboardInterrupt\n", "exits"),
    "stops itself": ("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n", "too slow"),
    "sleeps when called": ("import time\ndef fgsm(x, gradient, epsilon):\n    time.sleep(600)\n", "too slow"),
    "prints megabytes": (
        f"import os\nfor _ in range(50):\n    print('x' * 100000)\n    os.write(2, b'y' * 100000)\n{WRONG}",
        None,
    ),
    "replaces functions of NumPy": (
        "import numpy as np\nnp.array_equal = np.allclose = np.isfinite = lambda *a, **k: np.True_\n"
        f"np.abs = lambda *a, **k: np.zeros(1)\n{WRONG}",
        None,
    ),
    "replaces the checker": (
        "import minicereb.diagnosis.diagnose as d, minicereb.diagnosis.hints as h, minicereb.exercises.child as c\n"
        f"d.fits = h.fits = lambda *a: True\nd.diagnose = lambda *a, **k: h.Diagnosis(True)\n{WRONG}",
        None,
    ),
    "compares equal with all": (
        "import numpy as np\nclass Any(np.ndarray):\n    __eq__ = __le__ = lambda *_: True\n"
        "def fgsm(x, gradient, epsilon):\n    return (x * 0).view(Any)\n",
        None,
    ),
    "looks like an array": (
        "import numpy as np\nclass Odd:\n    def __array__(self, *a, **k):\n        raise RuntimeError('no')\n"
        "def fgsm(x, gradient, epsilon):\n    return Odd()\n",
        None,
    ),
    "returns far too much": (
        "import numpy as np\ndef fgsm(x, gradient, epsilon):\n    return np.zeros((4000, 4000))\n",
        "wrong shape",
    ),
    "says more than a message may hold": (
        "def fgsm(x, gradient, epsilon):\n    raise ValueError('\\x1b[31m' + 'z' * 10**6 + '\\ud800')\n",
        "crash",
    ),
    "sends half a message": (f"{SENDS}os.write(fd, b'\\0')\nos._exit(0)\n", "exits"),
    "sends a length beyond measure": (f"{SENDS}os.write(fd, b'\\xff' * 64)\n{WRONG}", "interferes"),
    "sends a verdict": (f"{SENDS}{REPLY.format({'right': True, 'hints': []}, 0)}{WRONG}", "interferes"),
    "sends a deep document": (
        f"{SENDS}head = b'[' * 50000 + b']' * 15000\nos.write(fd, struct.pack('>II', len(head), 0) + head)\n{WRONG}",
        "interferes",
    ),
    "sends an infinity": (
        SENDS + REPLY.format("{'arrays': [], 'dtype': None, 'hints': [], 'printed': float('inf')}", 0) + WRONG,
        "interferes",
    ),
    "sends an array that is not there": (
        f"{SENDS}{REPLY.format({'arrays': [['<f8', [2**62]]], 'dtype': '<f8', 'hints': [], 'printed': 0}, 0)}{WRONG}",
        "interferes",
    ),
    "sends an array of objects": (
        f"{SENDS}{REPLY.format({'arrays': [['|O', [1]]], 'dtype': '|O', 'hints': [], 'printed': 0}, 8)}"
        f"os.write(fd, b'8' * 8)\n{WRONG}",
        "interferes",
    ),
    "closes the connection": (f"{SENDS}os.close(fd)\nimport time\ntime.sleep(600)\n", "exits"),
    "holds a null byte": ("x = '\0'\n", None),
    "takes all memory": ("x = [bytearray(1 << 32) for _ in range(4)]\n", "crash"),
}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds its connection as Linux shows it")
def test_no_submission_is_right_that_is_not_nor_harms_the_others(tmp_path):
    for student, (source, _) in HOSTILE.items():
        hand_in(tmp_path, student, source)
    hand_in(tmp_path, "zoe", RIGHT)
    (tmp_path / "a pipe").mkdir()
    os.mkfifo(tmp_path / "a pipe" / "fgsm.py")
    (tmp_path / "a link").mkdir()
    (tmp_path / "a link" / "fgsm.py").symlink_to(tmp_path / "zoe" / "fgsm.py")
    hand_in(tmp_path, "a large file", f"{RIGHT}#{'x' * (1 << 20)}\n")
    odd = os.fsdecode(b"\xff\x1b[31m")
    hand_in(tmp_path, odd, RIGHT)
    result = invoke("exercise", "grade", tmp_path, "--limit", 20, "--csv", tmp_path / "class.csv", "--json")
    assert result.exit_code == 0, result.output
    found = {row["student"]: row for row in json.loads(result.stdout)["submissions"]}
    assert [name for name, row in found.items() if row["right"]] == ["zoe", "\\udcff\\x1b[31m"]
    expected = {name: hint for name, (_, hint) in HOSTILE.items() if hint}
    assert {name: found[name]["hint"] for name in expected} == expected
    assert {found[name]["hint"] for name in ("a pipe", "a link", "a large file")} == {"not checked"}
    wrong = [row for row in found.values() if not row["right"]]
    assert all(row["hint"] and row["text"].isprintable() and len(row["text"]) <= 1000 for row in wrong)
    assert found["prints megabytes"]["printed"] == 5_000_050
    with open(tmp_path / "class.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(HOSTILE) + 5


def test_what_leaves_the_group_of_its_process_is_ended_too(tmp_path):
    if not Path("/proc/self/environ").exists():
        pytest.skip("finds it as Linux shows it")
    started = "import subprocess, sys\nprocess = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], "
    started += f"start_new_session=True, close_fds=False)\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(process.pid))\n"
    (tmp_path / "fgsm.py").write_text(started + RIGHT, encoding="utf-8")
    began = time.monotonic()
    assert check_file(EXERCISES["fgsm"], tmp_path / "fgsm.py", LONG).verdict.right
    assert time.monotonic() - began < LONG
    pid = int((tmp_path / "pid").read_text())
    for _ in range(600):
        if state_of(pid) in "ZX":
            break
        time.sleep(0.1)
    assert state_of(pid) in "ZX"


def test_a_machine_that_cannot_start_it_is_told_in_its_row(tmp_path, monkeypatch):
    hand_in(tmp_path, "ann", RIGHT)
    hand_in(tmp_path, "bob", RIGHT)

    def starts(command, *rest, **options):
        if "/ann/" in command[-2]:
            raise OSError(11, "Resource temporarily unavailable")
        return popen(command, *rest, **options)

    popen = subprocess.Popen
    monkeypatch.setattr("minicereb.exercises.submission.subprocess.Popen", starts)
    rows = json.loads(invoke("exercise", "grade", tmp_path, "--limit", LONG, "--json").stdout)["submissions"]
    assert [(row["student"], row["right"], row["hint"]) for row in rows] == [("ann", False, "not checked"), ("bob", True, None)]


def test_what_was_checked_is_kept_when_grading_is_interrupted(tmp_path, monkeypatch):
    hand_in(tmp_path, "ann", RIGHT)

    def interrupted(found, limit):
        yield from graded(found, limit)
        raise KeyboardInterrupt

    graded = importlib.import_module("minicereb.exercises.grading").grade
    monkeypatch.setattr("minicereb.cli.exercise.graded_in_order", interrupted)
    result = invoke("exercise", "grade", tmp_path, "--limit", LONG, "--csv", tmp_path / "class.csv")
    assert result.exit_code == 130
    assert "ann,fgsm,True" in (tmp_path / "class.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("start", "flsm"), "exercise: 'flsm' is not valid"),
        (("check", "other.py"), "exercise: 'other.py' is not valid"),
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
