"""Runs: killed and resumed without a trace, and refused when they are damaged or someone else's."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from killed_writes import killed_at_each_write

from minicereb.attacks.adversarial_training import Adversary
from minicereb.errors import DataError, MinicerebError, RunError
from minicereb.experiments import runs
from minicereb.experiments.architectures import CerebellumModel, build_learner, exported_arrays
from minicereb.experiments.runs import load_model, read_run, run_training
from minicereb.files import folder_lock
from minicereb.learning.training import Position, Split, accuracy, train


def complete(config, dataset, folder):
    for _ in run_training(config, dataset, folder):
        pass
    return read_run(folder)


@pytest.fixture
def run(cerebellum, strokes, tmp_path):
    return complete(cerebellum, strokes, tmp_path / "run")


@pytest.mark.parametrize("kind", ["cerebellum", "perceptron"])
def test_interrupted_anywhere_and_taken_up_again_a_run_ends_with_the_same_bytes(kind, strokes, tmp_path, request):
    config = request.getfixturevalue(kind)
    whole = complete(config, strokes, tmp_path / "whole")
    for number, stops in enumerate([(1,), (2, 5, 3), (9, 1, 1)]):
        folder = tmp_path / f"stopped{number}"
        for stop in stops:
            training = run_training(config, strokes, folder)
            events = list(itertools.islice(training, stop))
            training.close()
            assert events
        assert complete(config, strokes, folder).metrics() == whole.metrics()
        assert (folder / "model.npz").read_bytes() == (whole.folder / "model.npz").read_bytes()
        assert not (folder / "checkpoint.npz").exists()


@pytest.mark.parametrize("kind", ["cerebellum", "perceptron"])
def test_a_training_against_an_adversary_goes_on_with_the_same_bytes(kind, strokes, tmp_path, request):
    config = dataclasses.replace(request.getfixturevalue(kind), adversary=Adversary(0.05, 0.03, 2), batch_size=10)
    whole = complete(config, strokes, tmp_path / "whole")
    for stop in (1, 2, 3):
        training = run_training(config, strokes, tmp_path / "stopped")
        assert list(itertools.islice(training, stop))
        training.close()
    resumed = complete(config, strokes, tmp_path / "stopped")
    assert (resumed.folder / "model.npz").read_bytes() == (whole.folder / "model.npz").read_bytes()
    assert resumed.metrics() == whole.metrics()
    attacked = [record["validation_accuracy"] for record in whole.metrics()]
    assert whole.result["epoch"] == 1 + int(np.argmax(attacked))
    assert whole.result["validation_accuracy"] >= max(attacked)  # of the images as they are
    assert load_model(whole, strokes)


def test_killed_between_checkpoints_a_run_goes_on_from_the_last_one(cerebellum, strokes, tmp_path, monkeypatch):
    whole = complete(cerebellum, strokes, tmp_path / "whole")
    monkeypatch.setattr(runs, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    training = run_training(cerebellum, strokes, tmp_path / "killed")
    next(itertools.islice(training, 70, None))
    checkpoint = (tmp_path / "killed" / "checkpoint.npz").read_bytes()
    training.close()  # frees the folder's lock; a kill would not have written the checkpoint that this writes
    (tmp_path / "killed" / "checkpoint.npz").write_bytes(checkpoint)
    first = next(run_training(cerebellum, strokes, tmp_path / "killed"))
    assert first.resumed
    assert (first.position.epoch, first.position.seen) > (0, 600)
    assert complete(cerebellum, strokes, tmp_path / "killed").result["test_accuracy"] == whole.result["test_accuracy"]
    assert (tmp_path / "killed" / "model.npz").read_bytes() == (whole.folder / "model.npz").read_bytes()


def test_a_run_that_is_completed_by_another_process_meanwhile_is_left(cerebellum, strokes, tmp_path, monkeypatch):
    original = runs.build_learner

    def meanwhile(*given):
        monkeypatch.setattr(runs, "build_learner", original)
        complete(cerebellum, strokes, tmp_path)
        return original(*given)

    monkeypatch.setattr(runs, "build_learner", meanwhile)
    assert list(run_training(cerebellum, strokes, tmp_path)) == []
    assert load_model(read_run(tmp_path), strokes) is not None


def test_a_complete_run_is_not_done_again(run, cerebellum, strokes):
    before = (run.folder / "manifest.json").stat().st_mtime_ns
    assert list(run_training(cerebellum, strokes, run.folder)) == []
    assert (run.folder / "manifest.json").stat().st_mtime_ns == before


def test_the_loaded_model_has_the_reported_accuracy(run, strokes):
    assert accuracy(load_model(run, strokes), strokes.x_test, strokes.y_test) == run.result["test_accuracy"]


def test_the_model_kept_is_that_of_the_best_epoch_on_the_held_out_images(run, cerebellum, strokes, tmp_path):
    accuracies = [record["validation_accuracy"] for record in run.metrics()]
    assert run.result["epoch"] == 1 + int(np.argmax(accuracies))
    assert run.result["validation_accuracy"] == max(accuracies)
    last = complete(dataclasses.replace(cerebellum, keep="last"), strokes, tmp_path / "last")
    assert last.result["epoch"] == cerebellum.epochs
    assert last.result["validation_accuracy"] == accuracies[-1]


def test_without_held_out_images_the_last_epoch_is_kept(cerebellum, strokes, tmp_path):
    run = complete(dataclasses.replace(cerebellum, validation=0.0), strokes, tmp_path / "run")
    assert run.result["epoch"] == cerebellum.epochs
    assert run.result["validation_accuracy"] is None


def test_other_settings_in_the_same_folder_are_refused_and_named(run, cerebellum, strokes):
    before = (run.folder / "model.npz").read_bytes()
    with pytest.raises(RunError, match="seed: 9 here, 0 there"):
        list(run_training(dataclasses.replace(cerebellum, seed=9), strokes, run.folder))
    assert (run.folder / "model.npz").read_bytes() == before


def test_impossible_settings_leave_no_folder_behind(cerebellum, strokes, tmp_path):
    config = dataclasses.replace(cerebellum, model=CerebellumModel("random", 10, 785))
    with pytest.raises(MinicerebError, match="inputs-per-cell: 785"):
        list(run_training(config, strokes, tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["cerebellum", "perceptron"])
def test_killed_before_any_of_its_files_has_its_name_a_run_ends_with_the_same_bytes(kind, strokes, tmp_path, request):
    config = dataclasses.replace(request.getfixturevalue(kind), epochs=2)
    whole = complete(config, strokes, tmp_path / "whole")
    expected = sorted(path.name for path in whole.folder.iterdir())
    for number in killed_at_each_write(lambda number: complete(config, strokes, tmp_path / str(number))):
        folder = tmp_path / str(number)
        assert len(list(folder.glob(".*.part"))) == 1
        assert complete(config, strokes, folder).metrics() == whole.metrics()
        assert (folder / "model.npz").read_bytes() == (whole.folder / "model.npz").read_bytes()
        assert sorted(path.name for path in folder.iterdir()) == expected
    assert number >= 8  # settings and manifest, two files an epoch, model and manifest; more checkpoints on a slow machine


def test_a_folder_that_is_no_run_is_refused_and_left_alone(cerebellum, strokes, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="not empty and not a run"):
        list(run_training(cerebellum, strokes, tmp_path))
    with pytest.raises(RunError, match="is a file"):
        list(run_training(cerebellum, strokes, tmp_path / "thesis.txt"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.txt"]
    with pytest.raises(RunError, match="not a run folder"):
        read_run(tmp_path)


def test_a_run_in_use_is_refused(cerebellum, strokes, tmp_path):
    with folder_lock(tmp_path / "run"), pytest.raises(RunError, match="in use"):
        list(run_training(cerebellum, strokes, tmp_path / "run"))


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_model_is_refused(damage, run, strokes):
    path = run.folder / "model.npz"
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    with pytest.raises(DataError, match="missing or was altered"):
        load_model(run, strokes)


def test_a_damaged_checkpoint_and_damaged_settings_are_told_in_one_line(cerebellum, strokes, tmp_path):
    training = run_training(cerebellum, strokes, tmp_path / "run")
    next(training)
    training.close()
    path = tmp_path / "run" / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"checkpoint\.npz"):
        list(run_training(cerebellum, strokes, tmp_path / "run"))
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config\.json"):
        read_run(tmp_path / "run")


def test_an_incomplete_run_and_other_data_give_no_model(cerebellum, run, strokes, tmp_path):
    training = run_training(cerebellum, strokes, tmp_path / "half")
    next(training)
    training.close()
    with pytest.raises(RunError, match="not complete"):
        load_model(read_run(tmp_path / "half"), strokes)
    with pytest.raises(DataError, match="trained on .* and strokes holds other data"):
        load_model(run, dataclasses.replace(strokes, y_test=strokes.y_test[::-1].copy()))


def test_wiring_that_cannot_be_drawn_again_is_noticed(run, strokes, monkeypatch):
    monkeypatch.setattr("minicereb.models.wiring.Wiring.sha256", lambda self: "0" * 64)
    with pytest.raises(DataError, match="cannot be drawn again"):
        load_model(run, strokes)


def test_least_squares_is_a_run_like_any_other_and_no_worse_on_its_training_images(run, cerebellum, strokes, tmp_path):
    config = dataclasses.replace(cerebellum, model=dataclasses.replace(cerebellum.model, rule="least-squares"))
    solved = complete(config, strokes, tmp_path / "solved")
    assert solved.result["train_accuracy"] >= run.result["train_accuracy"]
    assert accuracy(load_model(solved, strokes), strokes.x_test, strokes.y_test) == solved.result["test_accuracy"]


def test_the_manifest_names_versions_device_data_and_command(run, strokes):
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert manifest["versions"]["numpy"] == np.__version__
    assert manifest["execution"]["device"] == "cpu"
    assert manifest["data"]["sha256"] == strokes.sha256
    assert manifest["command"]
    assert manifest["status"] == "complete"


@pytest.mark.parametrize("wiring", [("full", None), ("random", 4), ("local", 9)])
def test_an_export_recomputes_the_outputs_without_the_engine(wiring, cerebellum, strokes, tmp_path):
    from scipy.sparse import csr_array

    config = dataclasses.replace(cerebellum, model=CerebellumModel(wiring[0], 200, wiring[1]), epochs=1)
    model = load_model(complete(config, strokes, tmp_path / "run"), strokes)
    out = exported_arrays(model)
    projection = csr_array(
        (out["projection_data"], out["projection_indices"], out["projection_indptr"]), shape=tuple(out["projection_shape"])
    )
    x = strokes.x_test[:20].astype(np.float32) / np.float32(255)
    granule = np.maximum(projection @ x.T.astype(np.float64), 0)
    expected = (granule - out["ltd_mean"][:, None]).T @ out["readout"]
    np.testing.assert_allclose(model.forward(x)[0], expected, rtol=1e-4, atol=1e-4)


def test_an_exported_perceptron_recomputes_the_outputs_without_the_engine(perceptron, strokes, tmp_path):
    model = load_model(complete(perceptron, strokes, tmp_path / "run"), strokes)
    out = exported_arrays(model)
    assert set(out) == {"weight_0", "bias_0", "weight_1", "bias_1"}
    x = strokes.x_test[:20].astype(np.float32) / np.float32(255)
    hidden = np.maximum(x @ out["weight_0"].T + out["bias_0"], 0)
    np.testing.assert_allclose(model.forward(x)[0], hidden @ out["weight_1"].T + out["bias_1"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["cerebellum", "perceptron"])
def test_along_a_cosine_the_rate_falls_to_zero_with_the_last_step_of_a_training(kind, strokes, request):
    config = dataclasses.replace(request.getfixturevalue(kind), schedule="cosine")
    learner, split = build_learner(config, strokes), Split(strokes, config.validation, config.seed)
    for position, _ in train(learner, split, config.epochs, config.seed, Position(), {}):
        last = position.steps
    assert learner.optimizer.total_steps == last == config.epochs * -(-550 // config.batch_size)
    assert build_learner(request.getfixturevalue(kind), strokes).optimizer.total_steps is None


def test_a_run_from_before_schedules_is_found_complete_and_another_schedule_is_refused(run, cerebellum, strokes):
    stored = json.loads((run.folder / "config.json").read_text())
    del stored["config"]["schedule"]
    (run.folder / "config.json").write_text(json.dumps(stored))
    assert read_run(run.folder).config == cerebellum
    assert list(run_training(cerebellum, strokes, run.folder)) == []
    with pytest.raises(RunError, match="schedule: cosine here, constant there"):
        list(run_training(dataclasses.replace(cerebellum, schedule="cosine"), strokes, run.folder))


def test_a_training_along_a_cosine_goes_on_with_the_same_bytes(cerebellum, strokes, tmp_path):
    config = dataclasses.replace(cerebellum, schedule="cosine")
    whole = complete(config, strokes, tmp_path / "whole")
    training = run_training(config, strokes, tmp_path / "stopped")
    list(itertools.islice(training, 70))
    training.close()
    complete(config, strokes, tmp_path / "stopped")
    assert (tmp_path / "stopped" / "model.npz").read_bytes() == (whole.folder / "model.npz").read_bytes()
