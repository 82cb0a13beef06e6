"""Properties decided by the complete verifier: against sampling, in the order of the file's inputs, and within the bounds."""

import itertools

import numpy as np
import pytest

from minicereb.errors import InputError
from minicereb.interchange.decide import decide
from minicereb.interchange.onnx_reader import OnnxModel
from minicereb.interchange.vnnlib import Property
from minicereb.models.mlp import initial_mlp


def question(network, centre, radius):
    """Can another class win within the box?"""
    label = int(network.forward(centre[None].astype(np.float32))[0].argmax())
    rows = np.eye(3)
    return Property(
        centre - radius, centre + radius, [((rows[label] - rows[j])[None], np.zeros(1)) for j in range(3) if j != label]
    )


@pytest.mark.parametrize("seed", range(6))
def test_verdicts_agree_with_a_grid(seed):
    network, rng = initial_mlp(2, (6, 5), 3, seed=seed), np.random.default_rng(seed)
    centre = rng.random(2)
    found = {}
    for radius in (0.05, 0.4, 2.0):
        asked = question(network, centre, radius)
        grid = np.stack([each.ravel() for each in np.meshgrid(*np.linspace(asked.low, asked.high, 200).T)], axis=1)
        z = network.forward(grid.astype(np.float32))[0].astype(np.float64)
        broken = any(((z @ a.T) <= b).all(axis=1).any() for a, b in asked.cases)
        answer = decide(OnnxModel(network, None, (2,)), asked, 20)
        assert answer.verdict in (("broken",) if broken else ("certified", "broken"))
        found[radius] = answer.verdict
        if answer.verdict == "broken":
            x = answer.counterexample
            assert x.dtype == np.float32
            assert (x >= asked.low).all()
            assert (x <= asked.high).all()
            outputs = network.forward(x[None])[0][0].astype(np.float64)
            assert any((a @ outputs <= b).all() for a, b in asked.cases)
        else:
            assert answer.bound > 0


def test_a_counterexample_has_the_order_of_the_file():
    network, order = initial_mlp(4, (6,), 3, seed=1), np.array([2, 0, 3, 1])
    centre = np.random.default_rng(1).random(4)
    asked = question(network, centre[order], 3.0)
    low, high = (np.empty(4), np.empty(4))
    low[order], high[order] = asked.low, asked.high
    asked = Property(low + np.arange(4), high + np.arange(4), asked.cases)  # another box for every input
    x = decide(OnnxModel(network, order, (2, 1, 2)), asked, 20).counterexample
    assert (x >= asked.low).all()
    assert (x <= asked.high).all()
    outputs = network.forward(x[order][None])[0][0].astype(np.float64)
    assert any((a @ outputs <= b).all() for a, b in asked.cases)


def test_conjunctions_are_met_as_a_whole():
    network, box = initial_mlp(2, (6,), 3, seed=3), (np.zeros(2), np.ones(2))
    z = network.forward(np.array(list(itertools.product(np.linspace(0, 1, 99, dtype=np.float32), repeat=2))))[0]
    least, most = z.min(axis=0).astype(float), z.max(axis=0).astype(float)
    both = np.stack([np.eye(3)[0], -np.eye(3)[0]])  # least ≤ z_0 ≤ most
    for bounds, verdict in (
        ((0.5 * (least + most))[0] + np.array([0.1, 0.1]), "broken"),
        ((most[0] + 2, most[0] + 1), "certified"),
    ):
        high, low = (bounds[0], bounds[0] - 0.2) if verdict == "broken" else bounds
        asked = Property(*box, [(both, np.array([high, -low]))])
        assert decide(OnnxModel(network, None, (2,)), asked, 20).verdict == verdict


REFUSED = {
    "inputs": (Property(np.zeros(3), np.ones(3), [(np.eye(3)[:1], np.zeros(1))]), "3 inputs"),
    "outputs": (Property(np.zeros(2), np.ones(2), [(np.eye(4)[:1], np.zeros(1))]), "4 outputs"),
    "an empty box": (Property(np.ones(2), np.zeros(2), [(np.eye(3)[:1], np.zeros(1))]), "empty"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_question_about_another_network_is_refused(what):
    asked, words = REFUSED[what]
    with pytest.raises(InputError, match=words):
        decide(OnnxModel(initial_mlp(2, (4,), 3, seed=0), None, (2,)), asked, 1)


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf")])
def test_a_time_limit_that_is_none_is_refused(seconds):
    network = initial_mlp(2, (4,), 3, seed=0)
    with pytest.raises(InputError, match="seconds"):
        decide(OnnxModel(network, None, (2,)), question(network, np.zeros(2), 0.1), seconds)
