"""Layers one after another: perceptrons, and a perceptron's layer before a cerebellum."""

import numpy as np
import pytest

from minicereb.backend import to_device, to_numpy
from minicereb.calculus.losses import cross_entropy
from minicereb.errors import InputError
from minicereb.gradcheck.differences import check_gradient
from minicereb.models.layers import Dense, ReLU
from minicereb.models.mlp import initial_mlp
from minicereb.models.sequential import Sequential
from minicereb.randomness import generator


def in_float64(network):
    """A copy of a network in float64 with biases that are not zero."""
    layers = []
    for number, layer in enumerate(network.layers):
        if isinstance(layer, Dense):
            bias = generator(number, "a bias").standard_normal(len(layer.bias)) / 4
            layer = Dense(layer.weight.astype(np.float64), to_device(bias))
        layers.append(layer)
    return Sequential(tuple(layers))


@pytest.fixture(params=["linear", "one hidden", "two hidden", "cerebellum"])
def network(request, build_cerebellum):
    """From 30 inputs to 3 classes."""
    if request.param == "cerebellum":
        return in_float64(Sequential((*initial_mlp(30, (), 12, 0).layers, build_cerebellum(shape=(12,)))))
    return in_float64(initial_mlp(30, {"linear": (), "one hidden": (20,), "two hidden": (20, 10)}[request.param], 3, 0))


def mean_loss(network, x, labels):
    return float(cross_entropy(network.forward(x)[0], labels)[0].mean())


def backward(network, x, labels):
    outputs, caches = network.forward(x)
    return cross_entropy(outputs, labels)[1] / len(x), caches


def test_the_input_gradient_is_the_derivative(network, draw_images):
    x, labels = draw_images(8)
    gradient = network.input_gradient(*backward(network, x, labels))
    check = check_gradient(lambda x: mean_loss(network, x, labels), gradient, x)
    assert check.error < 1e-6
    assert check.directions >= 15


def test_every_weight_gradient_is_the_derivative(network, draw_images):
    x, labels = draw_images(8)
    gradients = network.weight_gradients(*backward(network, x, labels))
    assert len(gradients) == len(network.layers)
    checked = 0
    for layer, gradient in zip(network.layers, gradients, strict=True):
        assert gradient.keys() == getattr(layer, "parameters", {}).keys()
        for name, d_parameter in gradient.items():
            parameter = layer.parameters[name]

            def loss_at(values, parameter=parameter):
                before = parameter.copy()
                parameter[...] = values
                loss = mean_loss(network, x, labels)
                parameter[...] = before
                return loss

            check = check_gradient(loss_at, d_parameter, parameter.copy())
            assert check.error < 1e-6
            assert check.directions >= 15
            checked += 1
    assert checked == 2 * sum(isinstance(layer, Dense) for layer in network.layers)


@pytest.mark.parametrize("hidden", [(), (20,), (20, 10)])
def test_every_device_computes_the_same_in_float32(xp_device, draw_images, hidden):
    network = initial_mlp(30, hidden, 3, 0)
    x, labels = draw_images(8, dtype=np.float32)
    d_outputs, caches = backward(network, x, labels)
    results = [network.forward(x)[0], network.input_gradient(d_outputs, caches)]
    results += [gradient for layer in network.weight_gradients(d_outputs, caches) for gradient in layer.values()]
    dense = [layer for layer in network.layers if isinstance(layer, Dense)]
    here = Sequential(
        tuple(
            Dense(to_numpy(layer.weight).astype(np.float64), to_numpy(layer.bias).astype(np.float64))
            if isinstance(layer, Dense)
            else layer
            for layer in network.layers
        )
    )
    x, labels = to_numpy(x).astype(np.float64), to_numpy(labels)
    d_outputs, caches = backward(here, x, labels)
    expected = [here.forward(x)[0], here.input_gradient(d_outputs, caches)]
    expected += [gradient for layer in here.weight_gradients(d_outputs, caches) for gradient in layer.values()]
    assert len(results) == 2 + 2 * len(dense)
    for found, wanted in zip(results, expected, strict=True):
        assert type(found) is xp_device.ndarray
        assert found.dtype == np.float32
        assert np.allclose(to_numpy(found), wanted, rtol=0, atol=1e-5)


def test_a_sequence_is_a_layer():
    first, second = Dense(np.full((2, 3), 2.0), np.ones(2)), Dense(np.ones((1, 2)), np.zeros(1))
    nested, flat = Sequential((Sequential((first, ReLU())), second)), Sequential((first, ReLU(), second))
    x = np.arange(6.0).reshape(2, 3) - 4
    (outputs, caches), (expected, flat_caches) = nested.forward(x), flat.forward(x)
    assert np.array_equal(outputs, expected)
    d_outputs = np.ones((2, 1))
    assert np.array_equal(nested.input_gradient(d_outputs, caches), flat.input_gradient(d_outputs, flat_caches))


def test_an_untrained_perceptron_has_the_stated_shapes_and_variances():
    network = initial_mlp(300, (200, 100), 50, 0)
    assert [type(layer) for layer in network.layers] == [Dense, ReLU, Dense, ReLU, Dense]
    for layer, (outputs, inputs, variance) in zip(
        network.layers[::2], [(200, 300, 2 / 300), (100, 200, 2 / 200), (50, 100, 1 / 100)], strict=True
    ):
        assert layer.weight.shape == (outputs, inputs)
        assert layer.weight.dtype == layer.bias.dtype == np.float32
        assert not layer.bias.any()
        size = outputs * inputs  # bounds of 4.9 deviations: a false alarm in a million seeds
        assert abs(layer.weight.mean(dtype=np.float64)) < 4.9 * (variance / size) ** 0.5
        assert abs(layer.weight.var(dtype=np.float64) / variance - 1) < 4.9 * (2 / size) ** 0.5


def test_the_seed_gives_the_weights_and_each_layer_has_its_own():
    first, again, other = (initial_mlp(20, (20,), 20, seed).layers for seed in (0, 0, 1))
    assert np.array_equal(first[0].weight, again[0].weight)
    assert not np.array_equal(first[0].weight, other[0].weight)
    assert abs(np.corrcoef(first[0].weight.ravel(), first[2].weight.ravel())[0, 1]) < 4.9 / 20


def test_a_layer_without_units_is_refused():
    with pytest.raises(InputError, match="hidden: '20,0'"):
        initial_mlp(30, (20, 0), 3, 0)


def test_while_learning_only_what_the_network_made_itself_is_written_over():
    rng = generator(0, "written over")
    x = rng.standard_normal((5, 4))
    first, last = (Dense(rng.standard_normal((3, width)), rng.standard_normal(3)) for width in (4, 3))
    model, before = Sequential((ReLU(), first, ReLU(), last)), x.copy()
    bound, credit = model.while_learning(0, 0), rng.standard_normal((5, 3))
    (outputs, caches), (bound_outputs, bound_caches) = model.forward(x), bound.forward(x)
    np.testing.assert_array_equal(bound_outputs, outputs)
    for one, other in zip(model.weight_gradients(credit, caches), bound.weight_gradients(credit, bound_caches), strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    np.testing.assert_array_equal(x, before)
