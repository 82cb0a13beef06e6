"""Interval and CROWN bounds against the package bound-propagation (0.4.7), where it is installed.

auto-LiRPA 0.3, the newest release on the index, cannot be imported with a current NumPy or PyTorch.
"""

import numpy as np
import pytest

from minicereb.attacks.ball import with_rounding
from minicereb.backend import in_float64
from minicereb.certificates.certify import certify
from minicereb.models.layers import Dense
from minicereb.models.mlp import initial_mlp
from minicereb.models.sequential import Sequential

torch = pytest.importorskip("torch", reason="PyTorch is not installed: python -m pip install torch")
peer = pytest.importorskip(
    "bound_propagation", reason="bound-propagation is not installed: python -m pip install bound-propagation"
)
pytestmark = pytest.mark.filterwarnings("ignore")  # what PyTorch warns of is its own affair


def linear(weight, bias):
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
    layer.weight.data, layer.bias.data = (torch.tensor(np.asarray(array, dtype=np.float64)) for array in (weight, bias))
    return layer


def margins_by_the_peer(network, x, label, epsilon, crown):
    """The smallest lower bound on the label's output minus another, for each image; with `crown` the better of both kinds."""
    *hidden, last = network.layers
    others = np.delete(np.eye(len(last.bias)), label, axis=0)
    apart = np.eye(len(last.bias))[label] - others  # one output for each difference
    layers = [linear(layer.weight, layer.bias) if isinstance(layer, Dense) else torch.nn.ReLU() for layer in hidden]
    layers.append(linear(apart @ last.weight, apart @ last.bias))
    bounded = peer.BoundModelFactory(adaptive_relu=True).build(torch.nn.Sequential(*layers))
    box = peer.HyperRectangle.from_eps(torch.tensor(x), with_rounding(epsilon, "linf", x.shape[1]))
    with torch.no_grad():
        found = bounded.ibp(box).lower
        if crown:
            found = torch.maximum(found, bounded.crown(box, bound_upper=False).concretize().lower)
    return found.numpy().min(axis=1)


@pytest.mark.parametrize("hidden", [(20,), (30, 20), (20, 20, 20)])
@pytest.mark.parametrize("method", ["interval", "crown"])
def test_bounds_are_equal_to_rounding(hidden, method):
    """In float64: certificates of a network in float32 leave room for its rounding."""
    drawn = initial_mlp(12, hidden, 4, seed=3).layers
    network = Sequential(tuple(in_float64(each) if isinstance(each, Dense) else each for each in drawn))
    x = np.random.default_rng(0).uniform(0.3, 0.7, (40, 12))  # the box [0, 1] cuts nothing off
    for epsilon in (0.001, 0.02, 0.1):
        for label in range(4):
            ours = certify(network, x, np.full(40, label), epsilon, method=method).margin
            right = network.forward(x)[0].argmax(axis=1) == label
            theirs = margins_by_the_peer(network, x, label, epsilon, method == "crown")
            assert np.allclose(ours[right], theirs[right], rtol=1e-6, atol=1e-6)
