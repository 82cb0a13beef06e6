"""Bounds on networks with noisy convolutions, asked without noise: those of the dense network that computes the same."""

import numpy as np
import pytest

from minicereb.calculus.activations import Activation
from minicereb.calculus.noise import Gaussian
from minicereb.certificates.affine import affine_network_of, why_not_certifiable
from minicereb.certificates.certify import certify
from minicereb.models.noisy import NoisyLayer, NoisyNetwork
from minicereb.models.noisy_convolution import initial_noisy_convolutional
from minicereb.models.noisy_time import initial_noisy_in_time

HOW = {"law": Gaussian(), "scales": (0.5,)}


def convolutional(activation="sigmoid", image=(6, 5, 2), channels=(3, 2), pool=1, pooling="mean"):
    how = {"kernel": 2, "stride": 1 if pool > 1 else 2, "pool": pool, "pooling": pooling, **HOW}
    return initial_noisy_convolutional(image, channels, (4,), 3, 0, activation=Activation(activation), **how)


def expanded(network):
    """The same without shared weights: what a layer gives for each unit vector; a mean of squares becomes a layer of its own."""
    layers = []
    for layer in network.layers:
        at = np.eye(layer.inputs + 1, layer.inputs, dtype=np.float32)  # the last row is 0
        *sent, bias = layer.drive_of_rows(at)
        weight = np.array(sent) - bias
        layers.append(NoisyLayer(np.ascontiguousarray(weight.T), bias, layer.scale, layer.law, layer.activation))
    return NoisyNetwork(tuple(layers))


@pytest.mark.parametrize("activation", ["sigmoid", "threshold", "absolute"])
@pytest.mark.parametrize("method", ["interval", "crown"])
def test_certificates_are_those_of_the_network_without_shared_weights(activation, method):
    network = convolutional(activation)
    assert why_not_certifiable(network) is None
    x = np.random.default_rng(0).random((30, 60), dtype=np.float32)
    labels = network.forward(x)[0].argmax(axis=1)
    dense = expanded(network)
    assert np.allclose(dense.forward(x)[0], network.forward(x)[0], atol=1e-5)
    found, expected = (certify(each, x, labels, 0.01, method=method) for each in (network, dense))
    assert np.array_equal(found.certified, expected.certified)
    assert found.certified.any() or activation == "threshold"


@pytest.mark.parametrize("channels", [(3,), (3, 2)])
def test_mean_pooling_is_an_affine_map_as_well(channels):
    network = convolutional(image=(9, 8, 1), channels=channels, pool=2)
    x = np.random.default_rng(0).random((20, 72), dtype=np.float32)
    outputs = network.forward(x)[0]
    found = certify(network, x, outputs.argmax(axis=1), 0.003)
    assert found.certified.any()
    h = x.T.astype(np.float64)
    parts = affine_network_of(network)
    for affine, unit in parts.hidden:
        h = affine.part(slice(None)).apply(h) + (0 if affine.bias is None else affine.bias[:, None])
        h = 1 / (1 + np.exp(-h)) if unit.name == "sigmoid" else h
    output = parts.output.part(slice(None))
    assert np.allclose((output.apply(h) + output.bias[:, None]).T, outputs, atol=1e-5)
    near = np.clip(x + np.random.default_rng(1).choice([-0.003, 0.003], x.shape).astype(np.float32), 0, 1)
    same = network.forward(near)[0].argmax(axis=1) == outputs.argmax(axis=1)
    assert same[found.certified].all()


def test_what_has_no_bounds_is_refused_with_what_would_fit():
    assert "only for mean pooling" in why_not_certifiable(convolutional(image=(8, 8), channels=(3,), pool=2, pooling="max"))
    assert "log-absolute" in why_not_certifiable(convolutional("log-absolute"))
    how = {"presentation": "whole", "steps": 2, "leak": 0.8, "activation": Activation("threshold"), **HOW}
    for spiking in (True, False):
        network = initial_noisy_in_time((6, 5), (4,), 3, 0, spiking=spiking, **how)
        assert "smoothing" in why_not_certifiable(network)
