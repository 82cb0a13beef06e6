"""``minicereb data`` as a user runs it."""

import gzip
import hashlib
import json

import pytest
from click.testing import CliRunner

from minicereb.cli.registries import data
from minicereb.datasets import store
from minicereb.errors import DataError, InputError

CONTENT = b"0123456789" * 7


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A registry of one data set with one file; returns the folder in which it belongs."""
    file = store.DataFile("tiny", "labels", len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), ("http://127.0.0.1:9/labels.gz",))
    registry = {"tiny": store.Download("tiny", "one file", "none", "here", (file,))} | store.downloads()
    monkeypatch.setattr(store, "downloads", lambda: registry)
    monkeypatch.setattr(store, "places", lambda: [tmp_path / "data"])
    return tmp_path / "data" / "tiny"


def run(*arguments):
    return CliRunner().invoke(data, arguments)


def test_list(folder):
    result = run("list")
    assert result.exit_code == 0
    for words in (
        "mnist",
        "60,000 + 10,000",
        "strokes",
        "digits",
        "minicereb data fetch mnist",
        "minicereb data fetch cifar10",
        ".npz",
    ):
        assert words in result.output
    document = json.loads(run("list", "--json").output)
    assert [row["name"] for row in document["datasets"]] == ["mnist", "mnist14", "strokes", "strokes14", "digits", "cifar10"]
    assert document["datasets"][0]["image_shape"] == [28, 28]


def test_import_then_verify_then_fetch(folder, tmp_path):
    assert run("verify", "tiny").exit_code == 1
    (tmp_path / "given.gz").write_bytes(gzip.compress(CONTENT))
    imported = json.loads(run("import", str(tmp_path / "given.gz"), "--json").output)
    assert imported["ok"]
    assert imported["files"][0]["path"] == str(folder / "labels")
    verified = run("verify", "tiny")
    assert verified.exit_code == 0
    assert "tiny/labels" in verified.output
    assert "ok" in verified.output
    assert "already here" in run("fetch", "tiny").output


def test_verify_tells_a_truncated_file(folder):
    folder.mkdir(parents=True)
    (folder / "labels").write_bytes(CONTENT[:-1])
    result = run("verify", "--json")
    assert result.exit_code == 1
    files = {(file["dataset"], file["file"]): file for file in json.loads(result.output)["files"]}
    assert files["tiny", "labels"]["state"] == "truncated"
    assert files["tiny", "labels"]["detail"] == "69 of 70 bytes"
    assert files["mnist", "t10k-labels-idx1-ubyte"]["state"] == "missing"


def test_mistakes_are_raised_for_the_main_command_to_tell(folder, tmp_path):
    assert isinstance(run("fetch", "imagenet").exception, InputError)
    assert isinstance(run("verify", "strokes").exception, InputError)
    assert isinstance(run("import", str(tmp_path / "absent")).exception, DataError)
    assert run("import").exit_code == 2  # click's own: an argument is missing
