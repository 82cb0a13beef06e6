"""A small cerebellum that has learned, and what is evaluated of it."""

import pytest

from minicereb import datasets
from minicereb.robustness.evaluate import Subject
from minicereb.robustness.transfer import own_substitute


@pytest.fixture(scope="session")
def drawn():
    return datasets.load("strokes", train=400, test=60)


@pytest.fixture(scope="session")
def learned(drawn):
    return own_substitute(drawn, seed=0)


@pytest.fixture
def subject_for(drawn):
    def subject(model, **settings):
        return Subject(model, drawn.x_test, drawn.y_test, drawn.image_shape, drawn.classes, **settings)

    return subject
