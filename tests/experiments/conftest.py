"""Small data and configs for tests of runs."""

import pytest

from minicereb import datasets
from minicereb.experiments.configs import CerebellumModel, Data, PerceptronModel, Train


@pytest.fixture(scope="session")
def strokes():
    return datasets.load("strokes", train=600, test=100)


@pytest.fixture
def cerebellum(strokes):
    return Train(CerebellumModel("random", 500, 4), Data("strokes", strokes.sha256), 10, 3, 0.5 / 500)


@pytest.fixture
def perceptron(strokes):
    return Train(PerceptronModel((20,)), Data("strokes", strokes.sha256), 4, 3, 1e-3, "adam")
