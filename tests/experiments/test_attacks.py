"""Attacks on runs: counted right, kept, not repeated, and the same within any memory budget."""

import numpy as np
import pytest

from minicereb import parallel
from minicereb.attacks.settings import Attack
from minicereb.errors import InputError
from minicereb.experiments.kinds.attacked import Tally, attack_config, attack_run, stored_record
from minicereb.experiments.laboratory import record_in_run
from minicereb.experiments.runs import load_model, read_run, run_training
from minicereb.files import read_npz

ATTACK = Attack("pgd", "margin", 0.05, steps=5, step_size=0.02)


@pytest.fixture
def run(cerebellum, strokes, tmp_path):
    for _ in run_training(cerebellum, strokes, tmp_path / "run"):
        pass
    return read_run(tmp_path / "run")


def attacked(run, strokes, images=60, attack=ATTACK):
    config, tally = attack_config(run, strokes, attack, images), Tally(keep_images=True)
    for _ in attack_run(run, load_model(run, strokes), strokes, config, tally):
        pass
    return config, tally


def test_the_record_counts_what_the_saved_images_show(run, strokes, tmp_path):
    config, tally = attacked(run, strokes)
    tally.save(tmp_path / "images.npz")
    saved, record = read_npz(tmp_path / "images.npz"), stored_record(run, config)
    model = load_model(run, strokes)
    assert record["images"] == len(saved["y"]) == 60
    np.testing.assert_array_equal(saved["ids"], np.arange(60))
    np.testing.assert_array_equal(saved["y"], strokes.y_test[:60])
    np.testing.assert_array_equal(saved["x"], strokes.x_test[:60] * np.float32(1 / 255))
    predicted = model.forward(saved["x_adv"])[0].argmax(axis=1)
    np.testing.assert_array_equal(saved["predicted"], predicted)
    np.testing.assert_array_equal(saved["success"], predicted != saved["y"])
    assert record["robust_accuracy"] == np.mean(predicted == saved["y"])
    assert record["clean_accuracy"] == np.mean(model.forward(saved["x"])[0].argmax(axis=1) == saved["y"])
    assert record["robust_interval"][0] <= record["robust_accuracy"] <= record["robust_interval"][1]
    np.testing.assert_allclose(saved["distance"], np.abs(saved["x_adv"] - saved["x"]).max(axis=1), atol=1e-7)
    assert saved["distance"].max() <= ATTACK.epsilon + 1e-6
    assert saved["x_adv"].min() >= 0
    assert saved["x_adv"].max() <= 1


def test_an_attack_is_found_again_by_its_settings_alone(run, strokes):
    config, _ = attacked(run, strokes)
    assert stored_record(run, config) is not None
    assert stored_record(run, attack_config(run, strokes, ATTACK, 59)) is None
    assert record_in_run(run, config).parent == run.folder / "attacks"


def test_the_memory_budget_changes_blocks_but_not_results(run, strokes, monkeypatch):
    _, whole = attacked(run, strokes)
    monkeypatch.setattr(parallel, "images_per_block", lambda bytes_per_image, at_most=256: 7)
    monkeypatch.setattr("minicereb.attacks.run.images_per_block", lambda bytes_per_image, at_most=256: 7)
    _, cut = attacked(run, strokes)
    assert (len(whole.blocks), len(cut.blocks)) == (1, 9)
    joined = np.concatenate([block.x_adv for block in cut.blocks])
    close = np.abs(joined - whole.blocks[0].x_adv).max(axis=1) < 1e-5
    assert close.mean() > 0.9  # a rounding may turn the sign of a gradient that is zero but for it
    assert abs(cut.robust - whole.robust) <= 2


@pytest.mark.parametrize("images", [0, -1, 101])
def test_more_images_than_there_are_are_refused(images, run, strokes):
    with pytest.raises(InputError, match="images"):
        attack_config(run, strokes, ATTACK, images)


def test_none_means_all_test_images(run, strokes):
    assert attack_config(run, strokes, ATTACK, None).images == 100
