"""Other people's folders, read-only disks and impossible names are reported in one line, before any work."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from commands import invoke, refused, succeed

from minicereb.experiments.kinds import attacked
from minicereb.experiments.pretrained import fetch


@pytest.fixture
def run(tmp_path):
    return fetch("perceptron", tmp_path / "run").folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "own"
    succeed("train", "mlp", "--hidden", "5", "--epochs", "1", "--out", folder)
    return folder


@pytest.fixture
def own(trained, tmp_path, monkeypatch):
    """A run on drawn digits, in the folder where commands are given."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(trained, tmp_path / "own")


FILES = ("config.json", "manifest.json", "metrics.jsonl", "model.npz")
ATTACK = ("--method", "fgsm", "--images", "5")
EVALUATION = ("--images", "5", "--attacks", "pgd-mse", "--no-certify")


@pytest.fixture
def _soon():
    """Fail a test that hangs, instead of waiting for it."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("command", ["show", "report", "export"])
def test_a_pipe_in_place_of_any_file_is_refused_at_once(own, command, name):
    (own / name).unlink()
    os.mkfifo(own / name)
    arguments = (command, own, *(["x.npz"] if command == "export" else []))
    if (command, name) in {("show", "model.npz"), ("report", "model.npz"), ("export", "metrics.jsonl")}:
        succeed(*arguments)  # it is not read
    else:
        refused(*arguments)


def test_nothing_is_written_through_a_link_in_a_run(own, tmp_path):
    (tmp_path / "precious").mkdir()
    for name in ("attacks", "evaluations"):
        (own / name).symlink_to(tmp_path / "precious")
    assert "is a symbolic link" in refused("attack", own, *ATTACK)
    assert "is a symbolic link" in refused("evaluate", own, *EVALUATION)
    assert not os.listdir(tmp_path / "precious")


@pytest.mark.parametrize("name", [*FILES, "checkpoint.npz"])
def test_a_link_that_leads_nowhere_is_no_missing_part_of_a_run(own, name):
    """It was mistaken for a file that does not exist yet: training began anew, a curve was left out."""
    (own / name).unlink(missing_ok=True)
    (own / name).symlink_to("no such place")
    for command in (("show", own), ("attack", own, *ATTACK), ("train", "mlp", "--hidden", "5", "--epochs", "1", "--out", own)):
        assert refused(*command) == f"Error: {own / name} is a symbolic link that leads nowhere; remove it"
    assert (own / name).is_symlink()


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studied") / "study"
    succeed("study", "ltd", "--dataset", "strokes14", "--out", folder)
    return folder


@pytest.mark.parametrize("name", ["config.json", "manifest.json"])
def test_a_study_with_such_a_run_says_so_before_other_jobs(studied, tmp_path, name):
    shutil.copytree(studied, tmp_path / "study")
    study = ("study", "ltd", "--dataset", "strokes14", "--out", tmp_path / "study")
    path = sorted((tmp_path / "study" / "runs").iterdir())[-1] / name
    path.unlink()
    path.symlink_to("no such place")
    assert refused(*study) == f"Error: {path} is a symbolic link that leads nowhere; remove it"


@pytest.mark.parametrize("command", ["show", "attack", "explain", "evaluate"])
def test_what_is_no_run_is_called_what_it_is(own, tmp_path, command):
    assert refused(command, "owm") == "Error: owm does not exist; did you mean 'own'?"
    assert refused(command, "nothing-like-it") == "Error: nothing-like-it does not exist"
    (tmp_path / "empty").mkdir()
    assert refused(command, "empty") == "Error: empty is not a run folder: it has no config.json"
    assert refused(command, own / "model.npz") == f"Error: {own / 'model.npz'} is not a run folder: it is not a folder at all"


def test_a_folder_of_task_pole_is_told_from_a_damaged_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("task", "pole", "--cells", "60", "--trials", "2", "--out", "pole")
    assert result.exit_code == 0, result.output
    for command in (("show", "pole"), ("attack", "pole"), ("report", "pole", "--print")):
        assert "task pole made it" in refused(*command)


def test_a_name_that_is_too_long_is_told_before_the_attack(own, monkeypatch):
    monkeypatch.setattr(attacked, "attack_images", lambda *_, **__: pytest.fail("it has begun"))
    assert "file name too long" in refused("attack", own, *ATTACK, "--save", "n" * 252 + ".npz")


def test_one_that_just_is_not_is_written(own):
    name = "n" * 251 + ".npz"
    assert invoke("attack", own, *ATTACK, "--save", name).exit_code == 0
    assert os.path.isfile(name)


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "--model", "nowhere:factory", "--dataset", "digits", "--out", "BAD"),
        ("attack", "own", "--save", "BAD/x.npz"),
        ("explain", "own", "--html", "BAD/x.html"),
        ("export", "own", "BAD/x.npz"),
        ("report", "own", "--out", "BAD/x.html"),
        ("exercise", "grade", "class", "--csv", "BAD/x.csv"),
        ("exercise", "grade", "class", "--feedback", "BAD"),
        ("demo", "--out", "BAD"),
        ("task", "eyelid", "--out", "BAD"),
        ("task", "eyelid", "--animate", "BAD/x.gif"),
        ("task", "pole", "--out", "BAD"),
        ("task", "pole", "--animate", "BAD/x.gif"),
    ],
    ids=lambda command: " ".join(command[:2]) + f" {command[-2]}",
)
@pytest.mark.parametrize("bad", ["file/beneath", "n" * 256], ids=["beneath a file", "too long"])
def test_every_place_for_results_is_looked_at_first(tmp_path, monkeypatch, command, bad):
    """Nothing else of these command lines is right: the place is refused before anything is read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    line = refused(*(word.replace("BAD", bad) for word in command))
    assert "cannot write" in line or "not a directory" in line.lower()
    assert os.listdir(tmp_path) == ["file"]


def test_a_run_whose_place_cannot_be_written_is_told_before_the_work(own, monkeypatch):
    (own / "attacks").touch()
    (own / "evaluations").touch()
    monkeypatch.setattr(attacked, "attack_images", lambda *_, **__: pytest.fail("it has begun"))
    monkeypatch.setattr("minicereb.cli.evaluate.evaluate_run", lambda *_: pytest.fail("it has begun"))
    assert "cannot write" in refused("attack", own, *ATTACK)
    assert "cannot write" in refused("evaluate", own, *EVALUATION)


def test_many_epochs_are_shown_in_little_memory(run):
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    with open(run / "metrics.jsonl", "w") as file:
        for epoch in range(100_000):
            file.write(json.dumps({**line, "epoch": epoch + 1}) + "\n")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest.pop("metrics_sha256", None)
    (run / "manifest.json").write_text(json.dumps(manifest))
    code = (
        "import resource, sys; from minicereb.cli.main import main\n"
        f"sys.argv = ['minicereb', 'show', {str(run)!r}]\n"
        "import minicereb.cli.run_folder; before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: main()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0
    assert "the last 100 of 100,000 epochs" in done.stdout
    assert done.stdout.count("\n") < 150
    assert int(done.stderr) < 5_000  # KiB, of 13 MB in the file
    rows = json.loads(invoke("show", run, "--json").stdout)["metrics"]
    assert [row["epoch"] for row in rows] == list(range(1, 100_001))
    page = invoke("report", run, "--print").stdout
    assert "every 100th is shown" in page
    assert "| 100000 |" in page


def test_a_report_is_printed_without_writing(run):
    before = sorted(run.iterdir())
    result = invoke("report", run, "--print")
    assert result.stdout.startswith("# Run: ")
    assert sorted(run.iterdir()) == before
    assert "without --out" in refused("report", run, "--print", "--out", "x.html")


def test_a_completed_study_on_a_disk_that_cannot_be_written_is_printed(tmp_path, monkeypatch):
    """And how it stands, its report and its runs; only new work is refused."""
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(disk)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("cannot mount")
    try:
        study = ("study", "ltd", "--dataset", "strokes14", "--out", disk / "study")
        first = invoke(*study)
        assert first.exit_code == 0, first.output
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        again = invoke(*study)
        assert (again.exit_code, again.stdout) == (0, first.stdout)
        assert json.loads(invoke(*study, "--json").stdout)["study"] == "ltd"
        run = next((disk / "study" / "runs").iterdir())
        for command in (("study", "status", disk / "study"), ("report", disk / "study", "--print"), ("show", run)):
            assert invoke(*command).exit_code == 0
        assert "read-only" in refused(*study, "--seed", "5")
        assert "read-only" in refused("attack", run, *ATTACK)
        assert "read-only" in refused("report", disk / "study")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
        shutil.rmtree(disk, ignore_errors=True)
