"""Data that moved: every command that needs the data of a run takes them from their new place, by content."""

import re

import numpy as np
import pytest
from commands import document, invoke, succeed

TINY = ("--epochs", "1", "--batch-size", "10")
MLP = ("train", "mlp", "--hidden", "8", *TINY)
CNN = ("train", "cnn", "--stages", "2", "--hidden", "5", *TINY)
EVALUATION = ("--attacks", "pgd-mse", "--epsilon", "0.1", "--images", "4", "--no-certify")
NEEDS_DATA = {
    "attack": ("attack", "RUN", "--method", "fgsm", "--images", "4"),
    "evaluate": ("evaluate", "RUN", *EVALUATION),
    "explain": ("explain", "RUN", "--what", "attack"),
    "export": ("export", "CEREBELLUM", "exported.npz"),
    "gradcheck": ("gradcheck", "RUN", "--images", "1"),
    "train with an encoder": ("train", "cerebellum", "--encoder", "ENCODER", "--cells", "30", *TINY, "--out", "behind"),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """Two runs on data that were renamed afterwards, and other data of the same shape."""
    folder = tmp_path_factory.mktemp("moved")
    for name, seed in (("old.npz", 0), ("other.npz", 1)):
        rng = np.random.default_rng(seed)
        images = {f"x_{part}": rng.integers(0, 256, (60, 8, 8), dtype=np.uint8) for part in ("train", "test")}
        np.savez(folder / name, **images, **{f"y_{part}": np.arange(60) % 3 for part in ("train", "test")})
    succeed(*MLP, "--dataset", folder / "old.npz", "--out", folder / "run")
    succeed(*CNN, "--dataset", folder / "old.npz", "--out", folder / "encoder")
    succeed("train", "cerebellum", "--cells", "30", *TINY, "--dataset", folder / "old.npz", "--out", folder / "cerebellum")
    (folder / "elsewhere").mkdir()
    (folder / "old.npz").rename(folder / "elsewhere" / "new.npz")
    return folder


def filled(arguments, places):
    known = {"RUN": places / "run", "ENCODER": places / "encoder", "CEREBELLUM": places / "cerebellum"}
    return [known.get(argument, argument) for argument in arguments]


@pytest.mark.parametrize("command", NEEDS_DATA)
def test_the_data_are_taken_from_their_new_place_by_content(places, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    arguments = filled(NEEDS_DATA[command], places)
    if command != "train with an encoder":
        lost = invoke(*arguments)
        assert lost.exit_code == 2
        assert "if the data moved, give the place of the same data with --dataset" in lost.stderr
        assert lost.stderr.count("\n") == 1
    refused = invoke(*arguments, "--dataset", places / "other.npz")
    assert refused.exit_code == 2
    assert len(set(re.findall(r"\b[0-9a-f]{12}\b", refused.stderr))) == 2
    assert refused.stderr.count("\n") == 1
    succeed(*arguments, "--dataset", places / "elsewhere" / "new.npz")


@pytest.mark.parametrize("name", ["run", "encoder"])
def test_a_model_without_wiring_is_exported_without_its_data(places, tmp_path, name):
    written = [tmp_path / "without.npz", tmp_path / "with.npz"]
    succeed("export", places / name, written[0])
    succeed("export", places / name, written[1], "--dataset", places / "elsewhere" / "new.npz")
    assert written[0].read_bytes() == written[1].read_bytes()
    assert invoke("export", places / name, written[0], "--dataset", places / "other.npz").exit_code == 2


def test_the_page_of_an_evaluation_takes_them_too(places, tmp_path):
    moved = ("--dataset", places / "elsewhere" / "new.npz")
    folder = document("evaluate", places / "run", *EVALUATION, "--seed", "7", *moved)["folder"]
    for ending in ("png", "svg"):
        (places / "run" / "evaluations" / folder / f"nearest.{ending}").unlink()
    page = ("report", folder, "--out", tmp_path / "page.html")
    succeed(*page)
    assert "Not drawn" in (tmp_path / "page.md").read_text()
    succeed(*page, *moved)
    assert "Not drawn" not in (tmp_path / "page.md").read_text()
    assert invoke(*page, "--dataset", places / "other.npz").exit_code == 2
    assert "needs no data" in invoke("report", places / "run", *moved).stderr


def test_a_training_is_found_again_under_the_new_name(places, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    new = places / "elsewhere" / "new.npz"
    (tmp_path / "first.npz").write_bytes(new.read_bytes())
    run = document(*MLP, "--dataset", "first.npz")["run"]
    (tmp_path / "first.npz").unlink()
    assert document(*MLP, "--dataset", new)["run"] == run


def test_without_a_run_there_is_nothing_to_be_moved():
    assert "given with the folder of a run" in invoke("gradcheck", "--dataset", "digits").stderr


def test_all_runs_are_checked_before_the_first_is_evaluated(places, monkeypatch):
    monkeypatch.setattr("minicereb.cli.evaluate.evaluate_run", lambda *_: pytest.fail("it has begun"))
    moved = ("--dataset", places / "elsewhere" / "new.npz")
    assert "nowhere" in invoke("evaluate", places / "run", places / "nowhere", *EVALUATION, *moved).stderr
    assert "images" in invoke("evaluate", places / "run", *EVALUATION, "--images", "61", *moved).stderr
