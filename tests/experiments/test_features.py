"""Cerebella that learn from an encoder's features: the files, runs killed and taken up, and what does not fit."""

import dataclasses
import itertools

import numpy as np
import pytest

from minicereb.attacks.adversarial_training import Adversary
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import to_unit
from minicereb.errors import DataError, InputError, InUseError, RunError
from minicereb.experiments.architectures import CerebellumModel, ConvolutionalModel, exported_arrays
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.runs import load_model, read_run, run_training
from minicereb.files import folder_lock
from minicereb.learning.training import accuracy
from minicereb.randomness import generator


@pytest.fixture(scope="session")
def squares():
    """Small colour images of two kinds: the left or the right half is brighter."""
    rng = generator(0, "squares")
    labels = rng.integers(0, 2, 300)
    images = rng.integers(0, 120, (300, 8, 8, 3))
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] += rng.integers(0, 90)
    rows = images.reshape(300, -1).astype(np.uint8)
    return Dataset("squares", rows[:240], labels[:240], rows[240:], labels[240:], (8, 8, 3), 2)


@pytest.fixture(scope="session")
def data(squares):
    return Data("squares", squares.sha256)


@pytest.fixture(scope="session")
def encoder(squares, data, tmp_path_factory):
    model = ConvolutionalModel(((4,), (6,)), (8,), True, (0.1, 0.1))
    folder = tmp_path_factory.mktemp("encoder") / "run"
    list(run_training(Train(model, data, 16, 2, 1e-2, "adam"), squares, folder))
    return read_run(folder)


@pytest.fixture
def config(encoder, data):
    return Train(CerebellumModel("random", 80, 4), data, 8, 3, 0.5 / 80, encoder=encoder.config)


def complete(config, dataset, folder, encoder):
    for _ in run_training(config, dataset, folder, encoder):
        pass
    return read_run(folder)


def test_what_it_answers_is_the_encoder_and_then_the_cerebellum(config, squares, encoder, tmp_path):
    run = complete(config, squares, tmp_path / "run", encoder)
    model, network = load_model(run, squares), load_model(encoder, squares)
    x = to_unit(squares.x_test)
    features = x
    for layer in network.layers[: len(model.layers) - 1]:
        features, _ = layer.forward(features)
    np.testing.assert_array_equal(model.cerebellum.forward(features)[0], model.forward(x)[0])
    assert accuracy(model, squares.x_test, squares.y_test) == run.result["test_accuracy"] > 0.8
    assert {"weight_0", "gamma_1", "readout", "ltd_mean", "projection_indices"} <= exported_arrays(model).keys()


def test_features_are_kept_beside_the_encoder_and_computed_once(config, squares, encoder, tmp_path):
    first = list(run_training(config, squares, tmp_path / "one", encoder))
    paths = sorted(encoder.folder.glob("features-*.npy"))
    assert [np.load(path).shape for path in paths] == [(60, 24), (240, 24)]
    times = [path.stat().st_mtime_ns for path in paths]
    again = list(run_training(dataclasses.replace(config, seed=1), squares, tmp_path / "two", encoder))
    assert [path.stat().st_mtime_ns for path in paths] == times
    assert all(step.encoded is None for step in again)
    for path in paths:
        path.unlink()
    encoding = list(run_training(config, squares, tmp_path / "three", encoder))
    assert [step.encoded for step in encoding[:3]] == [128, 240, 300]
    assert len(encoding) >= len(first)
    models = [(tmp_path / name / "model.npz").read_bytes() for name in ("one", "three")]
    assert models[0] == models[1]


@pytest.mark.parametrize("stops", [(1,), (2, 3), (4, 1, 5)])
def test_stopped_anywhere_and_taken_up_it_ends_with_the_same_bytes(stops, config, squares, encoder, tmp_path):
    whole = complete(config, squares, tmp_path / "whole", encoder)
    for path in encoder.folder.glob("features-*.npy"):
        path.unlink()
    for stop in stops:
        training = run_training(config, squares, tmp_path / "stopped", encoder)
        assert list(itertools.islice(training, stop))
        training.close()
        assert not list(encoder.folder.glob(".features*"))
    resumed = complete(config, squares, tmp_path / "stopped", encoder)
    assert (resumed.folder / "model.npz").read_bytes() == (whole.folder / "model.npz").read_bytes()
    assert resumed.metrics() == whole.metrics()


def test_the_closed_form_learns_from_features_too(config, squares, encoder, tmp_path):
    solved = dataclasses.replace(config, model=dataclasses.replace(config.model, rule="least-squares"))
    run = complete(solved, squares, tmp_path / "run", encoder)
    assert accuracy(load_model(run, squares), squares.x_test, squares.y_test) == run.result["test_accuracy"] > 0.8


def test_an_encoder_that_is_missing_changed_or_another_is_refused(config, squares, encoder, tmp_path):
    with pytest.raises(RunError, match="needs the run of its encoder.* got no run"):
        list(run_training(config, squares, tmp_path / "run"))
    training = run_training(config, squares, tmp_path / "run", encoder)
    next(step for step in training if step.position.seen)
    training.close()
    other = tmp_path / "other"
    list(run_training(dataclasses.replace(encoder.config, seed=5), squares, other))
    with pytest.raises(RunError, match="needs the run of its encoder"):
        list(run_training(config, squares, tmp_path / "run", read_run(other)))
    changed = dataclasses.replace(read_run(other), hash=encoder.hash)
    with pytest.raises(RunError, match="begun with an encoder other than"):
        list(run_training(config, squares, tmp_path / "run", changed))


def test_damaged_features_and_features_in_the_making_are_one_line(config, squares, encoder, tmp_path):
    complete(config, squares, tmp_path / "run", encoder)
    path = next(encoder.folder.glob("features-*-train.npy"))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"train\.npy.*delete both"):
        list(run_training(config, squares, tmp_path / "other", encoder))
    path.unlink()
    with folder_lock(encoder.folder), pytest.raises(InUseError, match="in use"):
        list(run_training(config, squares, tmp_path / "other", encoder))


def test_settings_that_do_not_fit_an_encoder(config, encoder, data):
    with pytest.raises(InputError, match="encoder: .*used only with cerebella"):
        dataclasses.replace(encoder.config, encoder=encoder.config)
    with pytest.raises(InputError, match="encoder: .*a convolutional network"):
        dataclasses.replace(config, encoder=dataclasses.replace(config, encoder=None))
    with pytest.raises(InputError, match="encoder: 'trained on other .*a network trained on the data it is used on, squares"):
        dataclasses.replace(config, encoder=dataclasses.replace(encoder.config, data=Data("other", "0" * 64)))
    with pytest.raises(InputError, match="adversarial"):
        dataclasses.replace(config, adversary=Adversary(0.1, 0.05, 2))
    with pytest.raises(InputError, match="patch"):
        dataclasses.replace(config, model=CerebellumModel("local", 80, 4, patch=True))
