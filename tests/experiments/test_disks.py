"""Disks that are full or cannot be written, mounted for the test: told in one line, no run damaged, and then it goes on."""

import os
import shutil
import subprocess
import sys

import pytest
from commands import invoke
from toy_study import assert_equal, assert_kept, plan, results_of, study

from minicereb.errors import MinicerebError
from minicereb.experiments import executors
from minicereb.experiments.configs import Data
from minicereb.experiments.executors import processes
from minicereb.experiments.jobs import NotDone, jobs_of
from minicereb.experiments.laboratory import Laboratory
from minicereb.experiments.runs import load_model, read_run
from minicereb.files import sha256_file


def mount(*arguments):
    try:
        done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"cannot mount: {error}")
    if done.returncode:
        pytest.skip(f"cannot mount: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path):
    """A folder on a disk of its own, which holds nothing yet, and what sets its size or whether it can be written."""
    if not sys.platform.startswith("linux"):
        pytest.skip("mounts as Linux does")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=4k", "tmpfs", folder)
    try:
        yield folder, lambda options: mount("-o", f"remount,{options}", folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def train(folder, small):
    settings = ["--cells", "1000", "--inputs-per-cell", "4", "--batch-size", "5", "--epochs", "3"]
    return invoke("train", "cerebellum", "--dataset", small.name, *settings, "--out", str(folder))


def told(result):
    """The one line that a command has said."""
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize("crew", [None, processes(2)], ids=["one after another", "processes"])
def test_a_study_on_a_disk_that_fills_is_told_so_and_goes_on_when_there_is_room(crew, small, whole, disk):
    folder, remount = disk
    for size in ("32k", "500k"):
        remount(f"size={size}")
        with pytest.raises(MinicerebError, match="no space left on the device") as error:
            list(study(small, folder / "study", crew))
        if isinstance(error.value, NotDone):
            assert all("\n" not in reason for reason in error.value.reasons.values())
        written = results_of(folder / "study")
        for path in written:
            if path.name == "model.npz":
                load_model(read_run(path.parent), small)
        assert not list(folder.rglob("*.part"))
    assert isinstance(error.value, NotDone)
    remount("size=16m")
    list(study(small, folder / "study", crew))
    assert_kept(folder / "study", written)
    assert_equal(folder / "study", whole)


def test_a_training_on_a_disk_that_fills_is_told_so_and_ends_with_the_same_bytes(small, disk, tmp_path):
    folder, remount = disk
    assert train(tmp_path / "whole", small).exit_code == 0
    for kilobytes in (4, 12, 40, 120, 160, 200, 240):  # config, manifest, checkpoint, and both checkpoints at once, the model
        remount(f"size={kilobytes}k")
        result = train(folder / "run", small)
        if result.exit_code == 0:
            break
        assert "no space left on the device" in told(result)
        assert not list(folder.rglob("*.part"))
    remount("size=16m")
    assert kilobytes >= 120
    assert train(folder / "run", small).exit_code == 0
    for name in ("model.npz", "metrics.jsonl", "config.json"):
        assert sha256_file(folder / "run" / name) == sha256_file(tmp_path / "whole" / name)
    assert not (folder / "run" / "checkpoint.npz").exists()


def test_a_folder_on_a_disk_that_is_read_only_is_told_and_left_as_it_was(small, disk, tmp_path):
    folder, remount = disk
    remount("size=16m")
    assert train(folder / "run", small).exit_code == 0
    (folder / "half").mkdir()
    (folder / "half" / "config.json").write_bytes((folder / "run" / "config.json").read_bytes())
    remount("ro")
    assert train(folder / "run", small).exit_code == 0  # it is complete
    assert "read-only file system" in told(train(folder / "half", small))
    assert "read-only file system" in told(train(folder / "new", small))
    attack = ["attack", folder / "run", "--method", "fgsm", "--epsilon", "0.1", "--images", "10"]
    assert "read-only file system" in told(invoke(*attack))
    with pytest.raises(MinicerebError, match="cannot write .*study-toy.json: read-only file system"):
        list(study(small, folder / "study"))
    assert sorted(path.name for path in folder.iterdir()) == ["half", "run"]
    remount("rw")
    assert train(folder / "half", small).exit_code == 0
    assert sha256_file(folder / "half" / "model.npz") == sha256_file(folder / "run" / "model.npz")


def test_runs_beside_a_study_that_lie_on_a_disk_that_is_read_only_are_not_used(small, whole, disk):
    folder, remount = disk
    remount("size=16m")
    shutil.copytree(whole, folder / "first")
    jobs = list(jobs_of(plan(Data(small.name, small.sha256), "smoke", (0,))))
    assert Laboratory(small, folder / "second").is_done(jobs[0])
    remount("ro")
    assert not Laboratory(small, folder / "second").is_done(jobs[0])


def test_a_scheduler_that_is_not_there_is_told_in_one_line_and_nothing_is_begun(small, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="Dask distributed is not installed (extra cluster)")
    monkeypatch.setattr(executors, "SECONDS_TO_ANSWER", 0.5)
    arguments = ["study", "objectives", "--dataset", small.name, "--out", str(tmp_path / "study")]
    line = told(invoke(*arguments, "--scheduler", "tcp://127.0.0.1:9"))
    assert "nothing answers at tcp://127.0.0.1:9" in line
    assert not os.path.exists(tmp_path / "study")
