"""Sizes of gradients, counted by hand on a linear model."""

from types import SimpleNamespace

import numpy as np
import pytest

from minicereb.attacks.settings import Attack
from minicereb.backend import to_device
from minicereb.datasets.dataset import Dataset
from minicereb.errors import InputError
from minicereb.experiments.architectures import PerceptronModel
from minicereb.experiments.configs import Data, Train
from minicereb.experiments.kinds.attacked import EDGES, GradientSizes
from minicereb.models.layers import Dense
from minicereb.models.sequential import Sequential

TRAIN = Train(PerceptronModel(()), Data("by hand", "0" * 64), 1, 1, 0.1)
X = np.array([(0.9, 0.1, 0.5), (0.1, 0.9, 0.5), (0.2, 0.8, 0.5)], dtype=np.float32)  # the last is misclassified


def sizes(objective, scale=1.0, images=3, labels=(0, 1, 0)):
    """Outputs are the first two of three pixels, scaled."""
    weight = np.array([(scale, 0, 0), (0, scale, 0)], dtype=np.float32)
    model = Sequential((Dense(to_device(weight), to_device(np.zeros(2, dtype=np.float32))),))
    labels = np.array(labels)
    laboratory = SimpleNamespace(dataset=Dataset("by hand", X, labels, X, labels, (1, 3), 2), model=lambda train: model)
    steps = GradientSizes(TRAIN, Attack("fgsm", objective, 0.1), images).run(laboratory)
    while True:
        try:
            assert "gradients of perceptron" in next(steps)
        except StopIteration as stop:
            return stop.value


def bins(record, when):
    """Lower edges of the bins that are not empty, with their counts."""
    return {EDGES[n]: count for n, count in enumerate(record[when]["counts"]) if count}


@pytest.mark.parametrize(("scale", "edge"), [(1.0, 0.0), (0.02, -1.75), (1e-20, EDGES[0]), (1e9, EDGES[-2])])
def test_the_margins_gradient_is_the_difference_of_two_rows_wherever_the_image_is(scale, edge):
    record = sizes("margin", scale)
    assert (record["images"], record["robust_accuracy"], record["classes"]) == (2, 2 / 3, 2)
    for when in ("before", "after"):
        assert bins(record, when) == {edge: 4}
        assert record[when]["zero_entries"] == pytest.approx(1 / 3)
        assert (record[when]["zero"], record[when]["not_finite"]) == (0, 0)


def test_the_squared_errors_gradient_grows_on_the_way():
    record = sizes("mse")
    assert bins(record, "before") == {-1.0: 4}  # errors of 0.1
    assert bins(record, "after") == {-0.75: 4}  # and of 0.2


def test_no_right_image_is_no_gradient():
    record = sizes("margin", labels=(1, 0, 0))
    assert (record["images"], record["robust_accuracy"]) == (0, 0)
    assert sum(record["before"]["counts"]) == record["before"]["zero_entries"] == 0


def test_no_images_are_refused():
    with pytest.raises(InputError, match="images: 0"):
        GradientSizes(TRAIN, Attack("fgsm", "mse", 0.1), 0)
