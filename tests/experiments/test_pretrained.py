"""Trained models that have a name: what ships is what the list says, and whatever is not is told."""

import errno
import json
import os
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest

from minicereb import datasets
from minicereb.errors import DataError, InputError, MinicerebError, RunError
from minicereb.experiments import pretrained
from minicereb.experiments import runs as runs_module
from minicereb.experiments.architectures import CerebellumModel, PerceptronModel, exported_arrays
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.identity import config_hash
from minicereb.experiments.pretrained import add, fetch, found, models, verify
from minicereb.experiments.runs import load_model, read_run, run_training
from minicereb.files import folder_lock, read_npz, sha256_file, write_json, write_npz
from minicereb.models.wiring import Wiring

SHIPPED = [entry.name for entry in models().values() if entry.shipped]


# -- what ships --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_becomes_a_complete_run_byte_by_byte(name, tmp_path):
    entry, run = models()[name], fetch(name, tmp_path / "run")
    assert run.result is not None
    assert len(run.metrics()) == run.config.epochs
    assert {path.name: (path.stat().st_size, sha256_file(path)) for path in run.folder.iterdir()} == {
        file.name: (file.bytes, file.sha256) for file in entry.files
    }
    assert run.manifest["model_sha256"] == entry.model.sha256
    assert run.result["test_accuracy"] == entry.test_accuracy
    assert run.hash == entry.hash == config_hash(run.config), "REVISION was raised: train and add what ships again"


def test_what_ships_is_small_of_every_family_and_all_of_it_is_listed(tmp_path):
    files = {f"{name}/{file.name}": file.bytes for name in SHIPPED for file in models()[name].files}
    assert sum(files.values()) < 2_500_000
    assert max(files.values()) <= pretrained.SHIPPED
    root = Path(pretrained.__file__).parents[1] / "pretrained"
    assert {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} == {*files, "registry.json"}
    assert {fetch(name, tmp_path / name).config.model.family for name in SHIPPED} == {"cerebellum", "mlp", "glr"}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_manifest_that_ships_tells_nothing_of_the_machine_it_was_made_on(name, tmp_path):
    manifest = fetch(name, tmp_path / "run").manifest
    assert shlex.join(manifest["command"]) == models()[name].command
    assert manifest["machine"]["system"] in ("Linux", "Darwin", "Windows", "macOS")
    assert not any(text in json.dumps(manifest) for text in ("/home", "/tmp", "/root", "/usr", "--threads"))


# -- a list of one's own -----------------------------------------------------------------------------------------------------


def complete(config, dataset, folder):
    for _ in run_training(config, dataset, folder):
        pass
    return read_run(folder)


@pytest.fixture(scope="module")
def runs(small, tmp_path_factory):
    """Two complete runs, a sparse cerebellum and a perceptron."""
    folder, data = tmp_path_factory.mktemp("runs"), Data(small.name, small.sha256)
    sparse = complete(Train(CerebellumModel("random", 300, 4), data, 10, 2, 0.5 / 300), small, folder / "sparse")
    dense = complete(Train(PerceptronModel((10,)), data, 10, 1, 1e-3, "adam"), small, folder / "dense")
    return {"sparse": sparse, "dense": dense}


@pytest.fixture
def listed(runs, tmp_path, monkeypatch):
    """A list of these two, of which only the first ships; its folder, with the working folder an empty one."""
    root = tmp_path / "package"
    add(runs["sparse"].folder, "sparse", "sparse wiring", True, root)
    add(runs["dense"].folder, "dense", "a perceptron", False, root)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    read_from(monkeypatch, root)
    yield root
    models.cache_clear()


def read_from(monkeypatch, place):
    monkeypatch.setattr(pretrained, "_package", lambda: place)
    models.cache_clear()


def test_a_model_that_ships_is_there_at_once(listed, runs, small):
    outputs = pretrained.pretrained("sparse", small).forward(small.x_test[:9].astype(np.float32))[0]
    kept = load_model(runs["sparse"], small).forward(small.x_test[:9].astype(np.float32))[0]
    np.testing.assert_array_equal(outputs, kept)
    loaded = exported_arrays(pretrained.pretrained("sparse"))  # finds its data by itself
    assert loaded["readout"].shape == (300, 10)
    assert os.listdir() == []


def test_a_model_is_read_from_an_archive_too(listed, tmp_path, monkeypatch, runs):
    with zipfile.ZipFile(tmp_path / "wheel.zip", "w") as archive:
        for path in listed.rglob("*"):
            archive.write(path, f"minicereb/pretrained/{path.relative_to(listed)}")
    with zipfile.ZipFile(tmp_path / "wheel.zip") as archive:
        read_from(monkeypatch, zipfile.Path(archive) / "minicereb" / "pretrained")
        assert read_npz(fetch("sparse", "run").folder / "model.npz").keys() == {"readout", "ltd_mean", "wiring_sha256"}


def test_fetched_twice_a_run_stays_as_it_is_with_what_was_added_to_it(listed):
    fetch("sparse", "runs/sparse")
    write_json("runs/sparse/attacks/0123.json", {})
    before = {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")}
    assert fetch("sparse", "runs/sparse").result is not None
    assert {path: path.stat().st_mtime_ns for path in Path("runs").rglob("*")} == before
    assert found(models()["sparse"]) == Path("runs/sparse")
    assert found(models()["dense"]) is None


def test_an_empty_folder_is_taken(listed):
    Path("empty").mkdir()
    assert fetch("sparse", "empty").result is not None


def occupied(how, runs):
    """Make ``out`` something into which nothing can be fetched."""
    out = Path("out")
    if how == "a file":
        out.touch()
        return
    if how in ("altered", "not complete"):
        fetch("sparse", out)
        if how == "altered":
            write_npz(out / "model.npz", {"readout": np.zeros(3, dtype=np.float32)})
        else:
            write_json(out / "manifest.json", {"status": "training"})
        return
    out.mkdir()
    if how == "another run":
        write_json(out / "config.json", json.loads((runs["dense"].folder / "config.json").read_text()))
    elif how == "something else":
        (out / "thesis.txt").touch()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("a file", "out is a file"),
        ("altered", "out holds the same run, altered"),
        ("not complete", "out holds the same training, not complete"),
        ("another run", "out holds a run with other settings"),
        ("something else", "out is not empty and not a run"),
    ],
)
def test_a_folder_that_holds_anything_else_is_refused_and_left_alone(how, says, listed, runs):
    occupied(how, runs)
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    with pytest.raises(RunError, match=says):
        fetch("sparse", "out")
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before


def test_a_folder_in_use_is_refused(listed):
    with folder_lock("out"), pytest.raises(MinicerebError, match="cannot write .*out: directory not empty; nothing was changed"):
        fetch("sparse", "out")
    assert os.listdir("out") == [".lock"]


def test_unknown_and_unshipped_models_are_told(listed):
    with pytest.raises(InputError, match="model: 'vgg' is not valid; expected one of sparse, dense"):
        fetch("vgg", "out")
    with pytest.raises(RunError, match=r"dense is not shipped with minicereb \(0.0 MB\); rebuild it with: "):
        fetch("dense", "out")
    assert os.listdir() == []


def test_a_full_disk_leaves_no_part_of_a_run(listed, monkeypatch):
    written = []

    def full(descriptor):
        written.append(descriptor)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MinicerebError, match="no space left"):
        fetch("sparse", "out")
    assert os.listdir() == []


def test_altered_or_lost_in_the_package_a_model_is_refused_and_found_out(listed):
    path = listed / "sparse" / "model.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for state in ("altered", "missing"):
        with pytest.raises(DataError, match=f"minicereb/pretrained/sparse/model.npz is {state}.*: install minicereb again"):
            fetch("sparse", "out")
        (report,) = verify(["sparse"])
        assert (report.state, report.folder, report.test_accuracy) == ("altered", None, None)
        path.unlink(missing_ok=True)
    assert os.listdir() == []


# -- verifying ---------------------------------------------------------------------------------------------------------------


def test_what_ships_and_what_is_in_runs_is_verified_with_wiring_and_accuracy(listed, runs):
    fetch("sparse", "runs/sparse")
    reports = list(verify())
    assert [(report.name, report.folder, report.state) for report in reports] == [
        ("sparse", None, "ok"),
        ("sparse", Path("runs/sparse"), "ok"),
        ("dense", None, "missing"),
    ]
    assert "wiring drawn again" in reports[0].detail
    assert reports[0].test_accuracy == reports[1].test_accuracy == runs["sparse"].result["test_accuracy"]
    assert models()["dense"].command in reports[2].detail
    (report,) = verify([str(runs["dense"].folder)])  # known by its settings, wherever it lies
    assert (report.name, report.state) == ("dense", "ok")
    assert "wiring" not in report.detail


def test_without_the_data_the_files_are_verified(listed, monkeypatch):
    def absent(name):
        raise DataError(f"{name} is not here")

    monkeypatch.setattr(datasets, "load", absent)
    (report,) = verify(["sparse"])
    assert (report.state, report.test_accuracy) == ("ok", None)
    assert report.detail.startswith("files only: ")


def test_wiring_that_is_not_drawn_bit_by_bit_is_wrong(listed, monkeypatch):
    monkeypatch.setattr(Wiring, "sha256", lambda self: "0" * 64)
    (report,) = verify(["sparse"])
    assert report.state == "wrong"
    assert "cannot be drawn again bit by bit" in report.detail


def changed(folder, change):
    """Change the readout of a run, and its manifest so that it fits."""
    arrays = read_npz(folder / "model.npz")
    write_npz(folder / "model.npz", {**arrays, "readout": change(arrays["readout"])})
    manifest = json.loads((folder / "manifest.json").read_text())
    write_json(folder / "manifest.json", {**manifest, "model_sha256": sha256_file(folder / "model.npz")})


def test_a_folder_is_told_apart_from_the_one_listed(listed):
    folder = fetch("sparse", "runs/sparse").folder
    changed(folder, lambda readout: readout * np.float32(1 + 1e-6))
    report = list(verify(["sparse"]))[1]
    assert report.state == "rebuilt"
    assert "other bits" in report.detail
    changed(folder, lambda readout: -readout)
    report = list(verify(["sparse"]))[1]
    assert report.state == "wrong"
    assert report.test_accuracy < models()["sparse"].test_accuracy
    settings = (folder / "config.json").read_text()
    (folder / "config.json").write_text(settings.replace('"seed": 0', '"seed": 1'))
    report = list(verify(["sparse"]))[1]
    assert (report.state, "config.json" in report.detail) == ("altered", True)
    (folder / "config.json").write_text(settings)
    (folder / "model.npz").write_bytes(b"")
    assert list(verify(["runs/sparse"]))[0].state == "altered"
    write_json(folder / "manifest.json", {"status": "training"})
    assert list(verify(["runs/sparse"]))[0].state == "missing"


def test_only_names_and_folders_of_listed_models_can_be_verified(listed, small):
    config = Train(PerceptronModel(()), Data(small.name, small.sha256), 50, 1, 1e-3)
    for chosen in ("vgg", ".", str(complete(config, small, "other").folder)):
        with pytest.raises(InputError, match="expected one of sparse, dense, or the folder of one"):
            next(verify(["sparse", chosen]))


# -- making the list ---------------------------------------------------------------------------------------------------------


def test_added_again_a_run_gives_the_same_list(listed, runs):
    before = {path: path.read_bytes() for path in listed.rglob("*") if path.is_file()}
    add(runs["sparse"].folder, "sparse", "sparse wiring", True, listed)
    assert {path: path.read_bytes() for path in listed.rglob("*") if path.is_file()} == before


def test_the_command_that_is_listed_says_where_to_and_not_how_it_was_carried_out(runs, tmp_path):
    run, folder = runs["dense"], tmp_path / "run"
    fetched = {path.name: path.read_bytes() for path in run.folder.iterdir() if path.suffix}
    folder.mkdir()
    for name, content in fetched.items():
        (folder / name).write_bytes(content)
    command = ["/opt/bin/minicereb", "train", "mlp", "--threads", "1", "--hidden", "10", "--memory=1GiB", "--json", "--out=/my"]
    write_json(folder / "manifest.json", {**run.manifest, "command": command})
    assert add(folder, "dense", "", True, tmp_path / "list").command == "minicereb train mlp --hidden 10 --out runs/dense"


def test_what_cannot_be_added_is_told_and_nothing_written(runs, tmp_path, monkeypatch):
    folder, root = runs["dense"].folder, tmp_path / "list"
    with pytest.raises(InputError, match="name: 'My model' is not valid"):
        add(folder, "My model", "", True, root)
    with pytest.raises(RunError, match="not a run folder"):
        add(tmp_path, "dense", "", True, root)
    monkeypatch.setattr(pretrained, "SHIPPED", 1000)
    with pytest.raises(InputError, match="at most 1,000 bytes of model.npz, or --listed"):
        add(folder, "dense", "", True, root)
    monkeypatch.setattr(runs_module, "is_whole", lambda run: False)
    with pytest.raises(DataError, match="was altered"):
        add(folder, "dense", "", True, root)
    write_json(tmp_path / "config.json", json.loads((folder / "config.json").read_text()))
    with pytest.raises(RunError, match="not complete"):
        add(tmp_path, "dense", "", True, root)
    assert not root.exists()
