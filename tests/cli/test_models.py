"""``minicereb models`` as a user runs it."""

import json
import os
import shlex
from types import SimpleNamespace

import pytest
from commands import document, invoke, succeed

from minicereb.cli import registries as command
from minicereb.cli import train
from minicereb.datasets import store
from minicereb.experiments.identity import config_hash
from minicereb.experiments.pretrained import fetch, models


@pytest.fixture
def _no_data(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(store, "places", lambda: [tmp_path_factory.mktemp("nothing")])


def test_list_names_each_model_and_how_to_rebuild_what_does_not_ship():
    printed = succeed("models", "list").stdout
    for entry in models().values():
        assert f"{entry.test_accuracy:.2%}" in printed
        assert entry.model.sha256[:12] in printed
        assert (entry.command in printed) == (not entry.shipped)
    rows = document("models", "list")["models"]
    assert [row["name"] for row in rows] == list(models())
    keys = ["name", "title", "test_accuracy", "bytes", "sha256", "hash", "shipped", "command", "folder"]
    assert all(list(row) == keys for row in rows)


class Met(Exception):
    """What was to be trained."""


@pytest.mark.parametrize("name", models())
def test_the_command_of_the_list_is_the_training_of_the_model(name, monkeypatch, tmp_path):
    entry = models()[name]
    data = {fetched.name: fetched.sha256 for fetched in (fetch(n, tmp_path / n).config.data for n in ("base", "threshold"))}

    def met(config, dataset, out, encoder):
        raise Met(config_hash(config), str(out))

    monkeypatch.setattr(train.datasets, "load", lambda name: SimpleNamespace(name=name, sha256=data[name]))
    monkeypatch.setattr(train, "train_with_progress", met)
    result = invoke(*shlex.split(entry.command)[1:])
    assert isinstance(result.exception, Met), result.output
    assert result.exception.args == (entry.hash, f"runs/{name}")


@pytest.mark.usefixtures("_no_data")
def test_a_fetched_model_is_a_run_that_is_shown_and_found():
    assert document("models", "fetch", "threshold") == {
        "run": "runs/threshold",
        "name": "threshold",
        "test_accuracy": models()["threshold"].test_accuracy,
    }
    assert "runs/threshold: threshold neurons" in succeed("models", "fetch", "threshold").stdout
    assert "test accuracy" in succeed("show", "runs/threshold").stdout
    assert "mnist14" in succeed("models", "fetch", "threshold", "--out", "elsewhere").stdout
    folders = {row["name"]: row["folder"] for row in document("models", "list")["models"]}
    assert folders.pop("threshold") == "runs/threshold"
    assert set(folders.values()) == {None}


@pytest.mark.usefixtures("_no_data")
@pytest.mark.parametrize("doing", ["attack", "evaluate"])
def test_without_the_data_what_needs_them_says_how_to_get_them(doing):
    succeed("models", "fetch", "threshold")
    result = invoke(doing, "runs/threshold")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "mnist is not on this machine" in result.stderr
    assert "minicereb data fetch mnist" in result.stderr


@pytest.mark.usefixtures("_no_data")
def test_verify_without_data_compares_the_files():
    report = document("models", "verify")
    assert report["ok"]
    assert all(list(row) == ["name", "folder", "state", "detail", "test_accuracy"] for row in report["models"])
    states = {row["name"]: (row["state"], row["test_accuracy"]) for row in report["models"]}
    assert states == {entry.name: ("ok" if entry.shipped else "missing", None) for entry in models().values()}
    succeed("models", "fetch", "base", "--out", "mine")
    assert "files only: mnist is not here" in succeed("models", "verify", "mine").stdout


@pytest.mark.usefixtures("_no_data")
def test_verify_exits_with_1_where_a_file_is_altered_or_a_model_asked_for_is_not_here():
    succeed("models", "fetch", "base")
    with open("runs/base/model.npz", "ab") as file:
        file.write(b"0")
    result = invoke("models", "verify", "base")
    assert result.exit_code == 1
    assert "altered" in result.stdout
    listed = next(entry for entry in models().values() if not entry.shipped)
    result = invoke("models", "verify", listed.name)
    assert result.exit_code == 1
    assert listed.command in result.stdout


BIG = next(entry.name for entry in models().values() if not entry.shipped)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("fetch", "vgg"), "model: 'vgg' is not valid; expected one of base, "),
        (("verify", "vgg"), "or the folder of one"),
        (("fetch", BIG), f"{BIG} is not shipped with minicereb"),
        (("fetch",), "NAME"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(arguments, says):
    result = invoke("models", *arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert says in result.stderr
    assert os.listdir() == []


def test_a_folder_with_something_else_is_refused():
    os.mkdir("mine")
    open("mine/notes.txt", "w").close()
    result = invoke("models", "fetch", "base", "--out", "mine")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "mine is not empty and not a run; choose another --out" in result.stderr
    assert os.listdir("mine") == ["notes.txt"]


def test_a_run_is_added_to_the_list_of_a_checkout(tmp_path, monkeypatch):
    fetch("threshold", "run")
    monkeypatch.setattr(command.store, "CHECKOUT", tmp_path)
    arguments = ("models", "add", "run", "--name", "mine", "--title", "my own", "--listed")
    refused = invoke(*arguments)
    assert refused.exit_code == 2
    assert "in a checkout" in refused.stderr
    (tmp_path / "setup.cfg").touch()
    nowhere = invoke("models", "add", "nowhere", *arguments[3:])
    assert (nowhere.exit_code, nowhere.stderr) == (2, "Error: nowhere does not exist\n")
    assert "mine, my own" in succeed(*arguments).stdout
    entry = json.loads((tmp_path / "minicereb" / "pretrained" / "registry.json").read_text())["mine"]
    assert not entry["shipped"]
    assert [file["name"] for file in entry["files"]] == ["model.npz"]
    assert entry["hash"] == models()["threshold"].hash
    assert not (tmp_path / "minicereb" / "pretrained" / "mine").exists()
