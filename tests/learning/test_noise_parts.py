"""The parts of a loss's variance over the noise, against closed forms: sums, products and squares of normal noise."""

import numpy as np
import pytest

from minicereb.calculus.activations import Activation
from minicereb.calculus.noise import Gaussian, Logistic
from minicereb.calculus.replicated import loss_named
from minicereb.calculus.variance_parts import exchanged, share
from minicereb.errors import InputError
from minicereb.learning.exact import Exact
from minicereb.learning.noise import Address
from minicereb.learning.noise_parts import noise_parts
from minicereb.models.noisy import NoisyLayer, NoisyNetwork
from minicereb.models.noisy_convolution import NoisyConvolution
from minicereb.randomness import generator

SAMPLES = 20_000


class Of:
    """A loss that is a function of the outputs."""

    smooth = True

    def __init__(self, function):
        self.function = function

    def value(self, outputs, labels):
        return self.function(outputs)


def network(widths, activation=None, law=None, silent=()):
    layers = []
    for number, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
        draw = generator(number, "parts").standard_normal
        arrays = draw((outputs, inputs)), draw(outputs), np.array([0.5 + number])
        layers.append(NoisyLayer(*arrays, None if number in silent else law or Gaussian(), activation))
    return NoisyNetwork(tuple(layers))


def parts_of(model, function, samples=SAMPLES, seed=0, images=1):
    x = generator(9, "parts").uniform(0, 1, (images, model.layers[0].inputs))
    return x, noise_parts(model, Of(function), x, np.zeros(images, dtype=np.int64), samples, Address(seed, (4,)))


def close(part, variance, expected):
    found = share(part, variance)
    assert abs(found.value - expected) < 4 * found.standard_error + 1e-12, (found, expected)
    assert found.standard_error < 0.05


@pytest.mark.parametrize("law", [Gaussian(), Logistic()])
def test_a_sum_has_no_interactions_and_dimension_1(law):
    model = network((3, 4, 2), law=law)
    _, found = parts_of(model, lambda outputs: outputs[0] - 2 * outputs[1], images=2)
    to_outputs = np.array([1.0, -2.0])
    squares = [np.square(0.5 * to_outputs @ model.layers[1].weight), np.square(1.5 * to_outputs)]
    variance = law.standard_deviation**2 * sum(each.sum() for each in squares)
    assert share(found.variance, np.ones(SAMPLES))[0] == pytest.approx(variance, rel=0.05)
    close(found.single, found.variance, 1)
    close(found.weighted, found.variance, 1)
    for number in range(2):
        for part in (found.alone, found.total):
            close(part[number], found.variance, squares[number].sum() / sum(each.sum() for each in squares))


def test_a_square_has_the_parts_of_its_closed_form():
    """``(μ + Σ_j a_j e_j)²``: single values have 4μ²a_j² + 2a_j⁴ of the variance, pairs 4a_i²a_j²."""
    model = network((3, 4, 2))
    x, found = parts_of(model, lambda outputs: outputs[0] ** 2)
    first, last = model.layers
    mean = (last.weight @ (first.weight @ x[0] + first.bias) + last.bias)[0]
    a = np.concatenate([0.5 * last.weight[0], [1.5]])
    single = 4 * mean**2 * a**2 + 2 * a**4
    pairs = 4 * np.triu(np.outer(a**2, a**2), 1)
    variance = single.sum() + pairs.sum()
    close(found.variance, np.full(SAMPLES, variance), 1)
    close(found.single, found.variance, single.sum() / variance)
    close(found.weighted, found.variance, (single.sum() + 2 * pairs.sum()) / variance)
    within, between = pairs[:4, :4].sum(), pairs[:4, 4].sum()
    for number, alone in enumerate((single[:4].sum() + within, single[4])):
        close(found.alone[number], found.variance, alone / variance)
        close(found.total[number], found.variance, (alone + between) / variance)


def test_a_product_is_all_interaction():
    model = network((3, 2))
    x, _ = parts_of(model, lambda outputs: outputs[0], 3)
    mean = (model.layers[0].weight @ x[0] + model.layers[0].bias)[:, None, None]
    _, found = parts_of(model, lambda outputs: np.prod(outputs - mean, axis=0))
    close(found.single, found.variance, 0)
    close(found.alone[0], found.variance, 1)
    close(found.weighted, found.variance, 2)


def test_what_a_hidden_layer_of_thresholds_explains_is_the_sum_over_its_patterns():
    """The variance of the mean loss given the pattern, by enumeration; outputs without noise leave nothing else."""
    hidden, outputs = network((3, 4, 3), Activation("threshold", 1.0)).layers
    model = NoisyNetwork((hidden, NoisyLayer(outputs.weight, outputs.bias, outputs.scale, None, None)))
    x, labels, loss = generator(9, "parts").uniform(0, 1, (1, 3)), np.zeros(1, dtype=np.int64), loss_named("cross-entropy")
    found = noise_parts(model, loss, x, labels, SAMPLES, Address(0, (4,)))
    first, last = model.layers
    fires = Gaussian().distribution((first.weight @ x[0] + first.bias) / first.scale)
    patterns = (np.arange(16)[:, None] >> np.arange(4)) & 1
    chance = np.where(patterns, fires, 1 - fires).prod(axis=1)
    losses = loss.value((last.weight @ patterns.T + last.bias[:, None])[:, None], labels)[0]
    mean = chance @ losses
    assert mean == pytest.approx(float(Exact().on(model, loss, x.T.copy(), labels, None, False).loss[0]), rel=1e-9)
    variance = chance @ (losses - mean) ** 2
    single = 0.0
    for j in range(4):
        on = patterns[:, j] == 1
        means = chance[on] @ losses[on] / fires[j], chance[~on] @ losses[~on] / (1 - fires[j])
        single += fires[j] * (1 - fires[j]) * (means[0] - means[1]) ** 2
    close(found.variance, np.full(SAMPLES, variance), 1)
    close(found.single, found.variance, single / variance)
    close(found.alone[0], found.variance, 1)
    assert (found.alone[1] == 0).all()


def test_intervals_cover_and_estimates_are_unbiased():
    model, off = network((3, 4, 2)), []
    x, _ = parts_of(model, lambda outputs: outputs[0], 3)
    mean = (model.layers[1].weight @ (model.layers[0].weight @ x[0] + model.layers[0].bias) + model.layers[1].bias)[0]
    a = np.concatenate([0.5 * model.layers[1].weight[0], [1.5]]) ** 2
    expected = (2 * a**2).sum() / (2 * a.sum() ** 2)
    for seed in range(100):
        _, found = parts_of(model, lambda outputs: (outputs[0] - mean) ** 2, 400, seed)
        one = share(found.single, found.variance)
        off.append((one.value - expected) / one.standard_error)
    assert abs(np.mean(off)) < 0.4
    assert 0.7 < np.std(off) < 1.4


def test_noise_of_a_convolution_is_exchanged_unit_by_unit():
    arrays = generator(0, "parts").standard_normal((2, 2, 2, 1)), np.zeros(2), np.array([0.7])
    layer = NoisyConvolution(*arrays, Gaussian(), None, image=(4, 4, 1))
    last = NoisyLayer(generator(1, "parts").standard_normal((1, 18)), np.zeros(1), np.array([1.0]), Gaussian(), None)
    _, found = parts_of(NoisyNetwork((layer, last)), lambda outputs: outputs[0], 4_000)
    size = 0.49 * np.square(last.weight).sum()
    close(found.single, found.variance, 1)
    close(found.alone[0], found.variance, size / (size + 1))


def test_an_exchange_of_nothing_and_of_everything():
    f, other = generator(0, "parts").standard_normal((2, 50))
    assert not exchanged(f, other, other).alone.any()
    everything = exchanged(f, other, f)
    assert np.allclose(everything.total, 0.5 * (f - other) ** 2)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="samples: 2"):
        parts_of(network((3, 2)), lambda outputs: outputs[0], 2)
    with pytest.raises(InputError, match="network: 'without noise'"):
        parts_of(network((3, 2), silent=(0,)), lambda outputs: outputs[0], 5)
