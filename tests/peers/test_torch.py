"""Convolutional networks against PyTorch, where it is installed: outputs and derivatives in float32, to 1e-5 of their length."""

import numpy as np
import pytest

from minicereb.bench.peers import convolutional_network
from minicereb.calculus.batchnorm import batch_norm, batch_norm_input_gradient, batch_norm_weight_gradient
from minicereb.calculus.convolution import convolution, convolution_input_gradient, convolution_weight_gradient
from minicereb.calculus.pooling import max_pool, max_pool_input_gradient
from minicereb.learning.backprop import Backpropagation
from minicereb.learning.optimizers import Momentum
from minicereb.models.convolutional import BatchNorm, initial_convolutional
from minicereb.randomness import generator

torch = pytest.importorskip("torch", reason="PyTorch is not installed: python -m pip install torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # what PyTorch warns of is its own affair


def drawn(seed, *shape):
    return generator(seed, "peers").standard_normal(shape, dtype=np.float32)


def channels_first(array):
    """A tensor as PyTorch has images and kernels, whose derivative is kept."""
    return torch.tensor(np.moveaxis(array, -1, 1).copy(), requires_grad=True)


def channels_last(tensor):
    array = tensor.detach().numpy()
    return np.moveaxis(array, 1, -1) if array.ndim > 2 else array


def assert_close(found, tensor):
    """``‖found - expected‖₂ ≤ 1e-5 ‖expected‖₂``."""
    expected = channels_last(tensor)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    assert np.linalg.norm(found.astype(np.float64) - expected) <= 1e-5 * np.linalg.norm(expected)


CASES = {  # batch, height, width, channels, outputs, kernel, stride, padding
    "a layer as usual": (8, 16, 16, 32, 48, (3, 3), 1, 1),
    "odd sides": (5, 13, 7, 3, 6, (3, 3), 1, 1),
    "stride 2": (4, 15, 10, 5, 7, (3, 3), 2, 1),
    "stride 2, no padding": (4, 14, 9, 5, 7, (3, 2), 2, 0),
    "stride 3, padding 2": (3, 17, 11, 4, 5, (5, 3), 3, 2),
    "stride 3, kernel 2": (3, 10, 11, 4, 5, (2, 2), 3, 0),
    "one pixel": (6, 1, 1, 9, 4, (3, 3), 1, 1),
    "one pixel, padding 2": (6, 1, 1, 9, 4, (3, 3), 2, 2),
    "one channel": (6, 9, 8, 1, 1, (3, 3), 1, 2),
    "a batch of one": (1, 12, 12, 7, 5, (3, 3), 1, 1),
    "kernel of one pixel": (4, 6, 5, 8, 3, (1, 1), 1, 0),
    "kernel as large as the image": (4, 5, 6, 3, 11, (5, 6), 1, 0),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_convolution(case):
    batch, height, width, channels, outputs, kernel, stride, padding = case
    x, weight, bias = drawn(0, batch, height, width, channels), drawn(1, outputs, *kernel, channels), drawn(2, outputs)
    v = convolution(x, weight, bias, stride, padding)
    credit = drawn(3, *v.shape)
    peers = channels_first(x), channels_first(weight), torch.tensor(bias, requires_grad=True)
    expected = torch.nn.functional.conv2d(*peers, stride=stride, padding=padding)
    expected.backward(channels_first(credit).detach())
    assert_close(v, expected)
    assert_close(convolution_input_gradient(credit, weight, (height, width), stride, padding), peers[0].grad)
    d_weight, d_bias = convolution_weight_gradient(credit, x, kernel, stride, padding)
    assert_close(d_weight, peers[1].grad)
    assert_close(d_bias, peers[2].grad)


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("ties", [False, True])
def test_max_pooling_and_who_wins_among_equals(size, ties):
    x = drawn(0, 4, 8, 7, 5)
    x = np.round(x) if ties else x
    h, winner = max_pool(x, size)
    credit = drawn(1, *h.shape)
    peer = channels_first(x)
    expected = torch.nn.functional.max_pool2d(peer, size)
    expected.backward(channels_first(credit).detach())
    assert np.array_equal(h, channels_last(expected))
    assert np.array_equal(max_pool_input_gradient(credit, winner, size, (8, 7)), channels_last(peer.grad))


@pytest.mark.parametrize("shape", [(6, 5, 7, 4), (32, 3)])
@pytest.mark.parametrize("learning", [True, False])
def test_batch_normalisation(shape, learning):
    v, credit, channels = 3 + 2 * drawn(0, *shape), drawn(1, *shape), shape[-1]
    layer = BatchNorm(drawn(2, channels), drawn(3, channels), drawn(4, channels), drawn(5, channels) ** 2)
    peer_type = torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d
    peer = peer_type(channels).train(learning)
    with torch.no_grad():
        for name, array in (("weight", layer.gamma), ("bias", layer.beta), ("running_mean", layer.mean)):
            getattr(peer, name).copy_(torch.tensor(array))
        peer.running_var.copy_(torch.tensor(layer.variance))
    seen = channels_first(v)
    expected = peer(seen)
    expected.backward(channels_first(credit).detach())
    bound = layer.while_learning(0, 1) if learning else layer
    h, cache = bound.forward(v)
    assert_close(h, expected)
    assert_close(bound.input_gradient(credit, cache), seen.grad)
    assert_close(layer.mean, peer.running_mean)
    assert_close(layer.variance, peer.running_var)
    if learning:
        gradients = bound.weight_gradient(credit, cache)
        assert_close(gradients["gamma"], peer.weight.grad)
        assert_close(gradients["beta"], peer.bias.grad)
        assert np.array_equal(h, batch_norm(v, layer.gamma, layer.beta)[0])
        assert np.array_equal(batch_norm_input_gradient(credit, cache), bound.input_gradient(credit, cache))
        assert np.array_equal(batch_norm_weight_gradient(credit, cache)[0], gradients["gamma"])


# -- a whole network ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_norm", [False, True])
def test_steps_of_learning_with_momentum_and_weight_decay(batch_norm):
    """A stage of two convolutions and one of one; two steps, so that what the first leaves behind counts."""
    began = initial_convolutional(
        (12, 10, 3),
        5,
        0,
        stages=((6, 8), (12,)),
        hidden=(20,),
        batch_norm=batch_norm,
        dropout=(0, 0),
        normalisation=(np.full(3, 0.4), np.full(3, 0.3)),
    )
    peer, pairs = convolutional_network(began)
    x, labels = generator(0, "images").random((32, 360), dtype=np.float32), generator(0, "labels").integers(0, 5, 32)
    rate, decay, l2 = 0.05, 0.9, 0.01
    rule = Backpropagation(began, Momentum(rate, decay), 16, l2=l2)
    before = [array.copy() for array, _ in pairs]
    decayed, others = ([each for _, each in pairs if (each.ndim > 1) == decays] for decays in (True, False))
    optimizer = torch.optim.SGD([{"params": decayed, "weight_decay": l2}, {"params": others}], lr=rate, momentum=decay)
    for part, learned in zip((slice(0, 16), slice(16, 32)), rule.learn(x, labels), strict=True):
        outputs = peer(channels_first((x[part].reshape(16, 12, 10, 3) - np.float32(0.4)) / np.float32(0.3)).detach())
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(outputs, torch.tensor(labels[part])).backward()
        optimizer.step()
        assert_close(learned.outputs, outputs)
    for array, parameter in pairs:
        if batch_norm and abs(array).max() < 1e-6:  # the bias of a convolution: the batch's mean takes it away
            assert float(abs(parameter).max()) < 1e-6
        else:
            assert_close(array, parameter)
    ours = np.concatenate([(array - old).ravel() for (array, _), old in zip(pairs, before, strict=True)])
    theirs = np.concatenate([(channels_last(each) - old).ravel() for (_, each), old in zip(pairs, before, strict=True)])
    assert np.linalg.norm(ours - theirs) <= 1e-5 * np.linalg.norm(theirs)
    for layer, norm in zip(began.layers[1:], peer, strict=True):
        if isinstance(layer, BatchNorm):
            assert_close(layer.mean, norm.running_mean)
            assert_close(layer.variance, norm.running_var)
