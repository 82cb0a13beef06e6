"""Small data and configs for tests of runs."""

import numpy as np
import pytest
from toy_study import study

from minicereb import datasets
from minicereb.experiments.architectures import CerebellumModel, PerceptronModel
from minicereb.experiments.configs import Data, Train


@pytest.fixture(scope="session")
def strokes():
    return datasets.load("strokes", train=600, test=100)


@pytest.fixture
def cerebellum(strokes):
    return Train(CerebellumModel("random", 500, 4), Data("strokes", strokes.sha256), 10, 3, 0.5 / 500)


@pytest.fixture
def perceptron(strokes):
    return Train(PerceptronModel((20,)), Data("strokes", strokes.sha256), 4, 3, 1e-3, "adam")


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Data that every process finds: a file."""
    drawn = datasets.load("strokes", train=400, test=60)
    images = {split: getattr(drawn, split).reshape(-1, 28, 28) for split in ("x_train", "x_test")}
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(path, **images, y_train=drawn.y_train, y_test=drawn.y_test)
    return datasets.load(str(path))


@pytest.fixture(scope="session")
def whole(small, tmp_path_factory):
    """What comes of the study when nothing happens to it."""
    out = tmp_path_factory.mktemp("whole") / "alone"
    assert [step.done for step in study(small, out)][-1] == 12
    return out
