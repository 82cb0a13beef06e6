"""Backpropagation descends the mean cross-entropy, or the squared error, by its derivative."""

import numpy as np
import pytest

from minicereb.backend import to_device, to_numpy
from minicereb.calculus.losses import DESCENDED
from minicereb.gradcheck.differences import check_gradient
from minicereb.learning.backprop import Backpropagation
from minicereb.learning.optimizers import SGD, Adam, RMSprop
from minicereb.models.convolutional import initial_convolutional
from minicereb.models.layers import Dense, ReLU
from minicereb.models.mlp import initial_mlp
from minicereb.models.sequential import Sequential
from minicereb.parallel import blocks


def perceptron(hidden=(20, 10), dtype=np.float64, **_):
    """Build a network on the configured device, in a given precision."""
    layers = initial_mlp(30, hidden, 3, 0).layers
    return Sequential(
        tuple(
            Dense(layer.weight.astype(dtype), layer.bias.astype(dtype)) if isinstance(layer, Dense) else layer for layer in layers
        )
    )


def mean_loss(network, x, labels, loss="cross-entropy"):
    return float(DESCENDED[loss](network.forward(x)[0], labels)[0].mean())


@pytest.mark.parametrize("hidden", [(), (20,), (20, 10)])
@pytest.mark.parametrize("batch_size", [1, 3, 10])
@pytest.mark.parametrize("loss", list(DESCENDED))
def test_a_step_of_gradient_descent_goes_against_the_derivative_of_the_mean_loss(draw_images, hidden, batch_size, loss):
    x, labels = draw_images(batch_size)
    network = perceptron(hidden)
    before = [array.copy() for layer in network.layers for array in getattr(layer, "parameters", {}).values()]
    (learned,) = Backpropagation(network, SGD(1.0), batch_size, loss=loss).learn(x, labels)
    after = [array.copy() for layer in network.layers for array in getattr(layer, "parameters", {}).values()]
    fresh = perceptron(hidden)
    parameters = [array for layer in fresh.layers for array in getattr(layer, "parameters", {}).values()]
    assert learned.loss.mean() == pytest.approx(mean_loss(fresh, x, labels, loss), rel=1e-12)
    assert np.array_equal(learned.outputs, fresh.forward(x)[0])
    for old, new, parameter in zip(before, after, parameters, strict=True):

        def loss_at(values, parameter=parameter, old=old):
            parameter[...] = values
            found = mean_loss(fresh, x, labels, loss)
            parameter[...] = old
            return found

        check = check_gradient(loss_at, old - new, old)
        assert check.error < 1e-6
        assert check.directions >= 15


def test_penalties_pull_weights_and_not_biases(draw_images):
    x, labels = draw_images(10)
    plain, penalised, before = perceptron(), perceptron(), perceptron()
    (told,) = Backpropagation(plain, SGD(0.5), 10).learn(x, labels)
    (learned,) = Backpropagation(penalised, SGD(0.5), 10, l2=0.3, l1=0.02).learn(x, labels)
    assert np.array_equal(learned.loss, told.loss)
    for one, other, start in zip(plain.layers, penalised.layers, before.layers, strict=True):
        if isinstance(one, Dense):
            pull = 0.5 * (0.3 * start.weight + 0.02 * np.sign(start.weight))
            assert np.allclose(other.weight, one.weight - pull, rtol=0, atol=1e-12)
            assert np.array_equal(other.bias, one.bias)


def test_images_are_taken_batch_by_batch_and_the_last_may_be_short(draw_images):
    x, labels = draw_images(23)
    together, one_by_one = perceptron(), perceptron()
    learner = Backpropagation(together, Adam(0.01), 10)
    learned = list(learner.learn(x, labels))
    assert [len(batch.loss) for batch in learned] == [10, 10, 3]
    assert learner.steps == 3
    other = Backpropagation(one_by_one, Adam(0.01), 10)
    for part in blocks(23, 10):
        list(other.learn(x[part], labels[part]))
    for name, array in learner.arrays().items():
        assert np.array_equal(array, other.arrays()[name])


def test_a_short_batch_is_averaged_over_its_own_images(draw_images):
    x, labels = draw_images(3)
    ten, three = (Backpropagation(perceptron(), SGD(0.5), batch_size) for batch_size in (10, 3))
    for learner in (ten, three):
        list(learner.learn(x, labels))
    for name, array in ten.arrays().items():
        assert np.array_equal(array, three.arrays()[name])


def test_only_what_has_weights_learns_and_a_cerebellum_behind_is_taken_as_it_is(build_cerebellum, draw_images):
    x, labels = draw_images(50)
    cerebellum = build_cerebellum(cells=300, shape=(12,))
    (encoder,) = initial_mlp(30, (), 12, 0).layers
    encoder = Dense(encoder.weight.astype(np.float64), encoder.bias.astype(np.float64))
    network = Sequential((encoder, ReLU(), cerebellum))
    readout, first = cerebellum.readout.copy(), mean_loss(network, x, labels)
    learner = Backpropagation(network, Adam(0.01), 10)
    assert {name.split("_")[0] for name in learner.arrays()} == {"weight", "bias"}
    for _ in range(20):
        list(learner.learn(x, labels))
    assert np.array_equal(cerebellum.readout, readout)
    assert mean_loss(network, x, labels) < first - 0.1


def test_every_array_that_learns_is_named_once_and_written_in_place(draw_images):
    network = perceptron()
    learner = Backpropagation(network, Adam(0.01), 10)
    arrays = learner.arrays()
    assert len(arrays) == 3 * 2 * 3  # weights and biases of three layers, each with two moments
    before = {name: array.copy() for name, array in arrays.items()}
    list(learner.learn(*draw_images(10)))
    for name, array in learner.arrays().items():
        assert array is arrays[name]
        assert not np.array_equal(array, before[name])
    own = {id(array) for layer in network.layers for array in getattr(layer, "parameters", {}).values()}
    assert own < {id(array) for array in arrays.values()}


@pytest.mark.parametrize("optimizer", [SGD(0.1), RMSprop(0.001), Adam(0.001)], ids=lambda optimizer: type(optimizer).__name__)
def test_every_device_learns_the_same_in_float32(xp_device, draw_images, optimizer):
    learner = Backpropagation(perceptron(dtype=np.float32), optimizer, 10)
    x, labels = draw_images(35, dtype=np.float32)
    outputs = [to_numpy(batch.outputs) for batch in learner.learn(x, labels)]
    here = perceptron()
    here = Sequential(
        tuple(Dense(to_numpy(layer.weight), to_numpy(layer.bias)) if isinstance(layer, Dense) else layer for layer in here.layers)
    )
    reference = Backpropagation(here, optimizer, 10)
    x, labels = to_numpy(x).astype(np.float64), to_numpy(labels)
    for found, wanted in zip(outputs, reference.learn(x, labels), strict=True):
        assert np.allclose(found, wanted.outputs, rtol=0, atol=1e-3)
    for array in learner.arrays().values():
        assert type(array) is type(to_device(np.zeros(1)))
        assert array.dtype == np.float32


def test_a_network_that_draws_and_follows_is_taken_up_again_with_the_same_bits(draw_images):
    x, labels = draw_images(12, inputs=36, dtype=np.float32)

    def begun():
        normalisation = np.zeros(1), np.ones(1)
        settings = {"stages": ((3,),), "hidden": (5,), "batch_norm": True, "dropout": (0.3, 0.3)}
        return Backpropagation(
            initial_convolutional((6, 6), 3, 0, **settings, normalisation=normalisation), Adam(0.01), 4, seed=5
        )

    whole, first, second = begun(), begun(), begun()
    list(whole.learn(x, labels))
    list(first.learn(x[:8], labels[:8]))
    for name, array in second.arrays().items():
        array[...] = first.arrays()[name]
    second.steps = first.steps
    list(second.learn(x[8:], labels[8:]))
    for name, array in whole.arrays().items():
        assert np.array_equal(array, second.arrays()[name])
