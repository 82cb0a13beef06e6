"""Interval and CROWN bounds against the packages bound-propagation (0.4.7) and auto-LiRPA (0.3), where they are installed.

auto-LiRPA 0.3, the newest release on the index, needs Python 3.10, torch 1.12.1 and NumPy below 2.
"""

import importlib

import numpy as np
import pytest

from minicereb.attacks.ball import with_rounding
from minicereb.backend import in_float64
from minicereb.certificates.certify import certify
from minicereb.models.layers import Dense
from minicereb.models.mlp import initial_mlp
from minicereb.models.sequential import Sequential

torch = pytest.importorskip("torch", reason="PyTorch is not installed: python -m pip install torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # what PyTorch warns of is its own affair


def linear(weight, bias):
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
    layer.weight.data, layer.bias.data = (torch.tensor(np.asarray(array, dtype=np.float64)) for array in (weight, bias))
    return layer


def installed(name):
    """The package, which may be there and yet not fit what else is installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"{name} cannot be imported: {error}")


def by_bound_propagation(network, x, epsilon):
    peer = installed("bound_propagation")
    bounded = peer.BoundModelFactory(adaptive_relu=True).build(network)
    box = peer.HyperRectangle.from_eps(x, epsilon)
    return bounded.ibp(box).lower, bounded.crown(box, bound_upper=False).concretize().lower


def by_auto_lirpa(network, x, epsilon):
    peer, perturbations = installed("auto_LiRPA"), installed("auto_LiRPA.perturbations")
    bounded = peer.BoundedModule(network, torch.empty_like(x), bound_opts={"relu": "adaptive"})
    box = peer.BoundedTensor(x, perturbations.PerturbationLpNorm(norm=np.inf, eps=epsilon))
    return tuple(bounded.compute_bounds(x=(box,), method=method)[0] for method in ("IBP", "backward"))


def margins_by(peer, network, x, label, epsilon, crown):
    """The smallest lower bound on the label's output minus another, for each image; if `crown`, the better of both kinds."""
    *hidden, last = network.layers
    others = np.delete(np.eye(len(last.bias)), label, axis=0)
    apart = np.eye(len(last.bias))[label] - others  # one output for each difference
    layers = [linear(layer.weight, layer.bias) if isinstance(layer, Dense) else torch.nn.ReLU() for layer in hidden]
    layers.append(linear(apart @ last.weight, apart @ last.bias))
    with torch.no_grad():
        bounds = peer(torch.nn.Sequential(*layers), torch.tensor(x), with_rounding(epsilon, "linf", x.shape[1]))
    found = torch.maximum(*bounds) if crown else bounds[0]
    return found.numpy().min(axis=1)


@pytest.mark.parametrize("hidden", [(20,), (30, 20), (20, 20, 20)])
@pytest.mark.parametrize("method", ["interval", "crown"])
@pytest.mark.parametrize("peer", [by_bound_propagation, by_auto_lirpa])
def test_bounds_are_equal_to_rounding(hidden, method, peer):
    """In float64: certificates of a network in float32 leave room for its rounding."""
    drawn = initial_mlp(12, hidden, 4, seed=3).layers
    network = Sequential(tuple(in_float64(each) if isinstance(each, Dense) else each for each in drawn))
    x = np.random.default_rng(0).uniform(0.3, 0.7, (40, 12))  # the box [0, 1] cuts nothing off
    for epsilon in (0.001, 0.02, 0.1):
        for label in range(4):
            ours = certify(network, x, np.full(40, label), epsilon, method=method).margin
            right = network.forward(x)[0].argmax(axis=1) == label
            theirs = margins_by(peer, network, x, label, epsilon, method == "crown")
            assert np.allclose(ours[right], theirs[right], rtol=1e-6, atol=1e-6)
