"""Estimators through time, against the sum over all paths of tiny recurrent and spiking networks.

The oracle runs every pattern of responses (2 units, 3 steps: 64 paths) by a loop over steps, in float64, and weighs its loss by
the product of its probabilities; see tests/learning/test_estimators.py for how means are compared.
"""

import functools
import itertools
from dataclasses import replace

import numpy as np
import pytest
import strict_arrays
from measured_estimates import assert_unbiased, compare, measure
from noisy_oracle import MEAN_LOSSES, derivatives, distribution_of, draw_points

from minicereb import backend
from minicereb.attacks.gradients import source_named
from minicereb.backend import in_float64, to_device, to_numpy
from minicereb.calculus.activations import Activation
from minicereb.calculus.losses import cross_entropy
from minicereb.calculus.noise import Gaussian, Laplace, Logistic
from minicereb.calculus.replicated import CrossEntropy, OfRows, ZeroOne, loss_named
from minicereb.errors import InputError
from minicereb.experiments.architectures import NoisyModel
from minicereb.gradcheck.differences import check_gradient
from minicereb.learning import glr
from minicereb.learning.glr import GLR, estimate, estimator_named
from minicereb.learning.noise import Address
from minicereb.learning.optimizers import SGD
from minicereb.learning.pathwise import Surrogate, surrogate_slope
from minicereb.learning.probes import Probing
from minicereb.learning.scores import ScoreFunction
from minicereb.models.noisy import NoisyLayer, NoisyNetwork
from minicereb.models.noisy_time import NoisyTime, initial_noisy_in_time
from minicereb.randomness import generator

STEPS, UNITS, PART, GAUSSIAN = 3, 2, 2, Gaussian()
SCORES = ("plain", "baseline", "antithetic", "sobol", "rao-blackwell")
SHAPES = ("recurrent", "spiking", "whole", "both", "last")
WAYS = [("both", name, "derivative") for name in SCORES] + [("both", "rao-blackwell", last) for last in ("score", "resample")]
WAYS += [("recurrent", "antithetic", "derivative"), ("recurrent", "rao-blackwell", "derivative")]
WAYS += [
    ("spiking", "antithetic", "derivative"),
    ("whole", "rao-blackwell", "derivative"),
    ("last", "rao-blackwell", "derivative"),
]
WAYS += [(shape, "flip", "derivative") for shape in SHAPES] + [("spiking", "flip", "resample"), ("recurrent", "flip", "resample")]
WAYS += [(shape, "resample", "resample") for shape in SHAPES]
PROBES = 3  # of 6 units
SEEDS = {"recurrent": 11, "spiking": 11, "whole": 8, "both": 10, "last": 1}  # with which every parameter matters


@functools.cache
def build(shape, activation="threshold", law=None, output_law=GAUSSIAN, steps=STEPS, seed=None):
    """A small network in which every parameter matters; "both" is a spiking layer whose neurons are connected to each other."""
    rng = generator(SEEDS[shape] if seed is None else seed, "networks in time of a test")

    def draw(spread, *size):
        return rng.normal(0, spread, size).astype(np.float32)

    spikes = shape != "recurrent"
    weight, bias, recurrent = draw(1.2, UNITS, PART), draw(0.4, UNITS), draw(1.5, UNITS, UNITS)
    layer = NoisyTime(
        weight,
        bias,
        np.array([0.9], dtype=np.float32),
        law or (Logistic() if spikes else Gaussian()),
        Activation(activation),
        recurrent=recurrent if shape in ("recurrent", "both") else None,
        steps=steps,
        whole=shape == "whole",
        leak=0.75 if spikes else 0.0,
        firing=0.25 if spikes else 0.0,
        averages=shape not in ("recurrent", "last"),
    )
    scale = np.array([0.6], dtype=np.float32)
    return NoisyNetwork((layer, NoisyLayer(draw(3, 3, UNITS), draw(0.5, 3), scale, output_law, None)))


def copy_of(network):
    """The network with arrays of its own."""
    return NoisyNetwork(
        tuple(
            replace(layer, **{name: array.copy() for name, array in vars(layer).items() if hasattr(array, "shape")})
            for layer in network.layers
        )
    )


def on_device(network):
    """The network on the configured device."""
    return NoisyNetwork(
        tuple(
            replace(layer, **{name: to_device(array) for name, array in vars(layer).items() if hasattr(array, "shape")})
            for layer in network.layers
        )
    )


# -- the oracle --------------------------------------------------------------------------------------------------------------


def parts_of(layer, x):
    """What every step shows of one image."""
    return [x] * layer.steps if layer.whole else np.split(x, layer.steps)


def path(layer, x, responses):
    """Drives of one image along given responses, both (..., steps, units)."""
    m, h, drives = np.zeros(responses.shape[-1]), np.zeros(responses.shape[-1]), []
    for t, part in enumerate(parts_of(layer, x)):
        m = layer.leak * m * (1 - h) + layer.weight @ part + layer.bias
        if layer.recurrent is not None:
            m = m + h @ layer.recurrent.T
        m = np.broadcast_to(m, responses[..., t, :].shape)
        drives.append(m - layer.firing)
        h = responses[..., t, :]
    return np.stack(drives, axis=-2)


def paths():
    return np.array(list(itertools.product((0.0, 1.0), repeat=STEPS * UNITS))).reshape(-1, STEPS, UNITS)


def mean_loss(network, x, labels, loss):
    """Exact mean loss of every image over all paths and the noise of the outputs."""
    layer, last = network.layers
    law, h = distribution_of(layer.law), paths()
    responses = h.mean(axis=1) if layer.averages else h[:, -1]
    losses = MEAN_LOSSES[loss](last, responses @ last.weight.T + last.bias)
    p = law.cdf(np.array([path(layer, image, h) for image in x]) / layer.scale[0])
    probability = np.where(h > 0, p, 1 - p).prod(axis=(2, 3))
    return (probability * losses[:, labels].T).sum(axis=1)


@functools.cache
def case(shape, loss):
    network = build(shape)
    x, labels = draw_points(2, network.layers[0].inputs, 3, seed=8)
    return network, x, labels, derivatives(functools.partial(mean_loss, loss=loss), network, x, labels)


@pytest.mark.parametrize("loss", ["cross-entropy", "zero-one"])
@pytest.mark.parametrize(("shape", "name", "last"), WAYS)
def test_estimators_against_the_sum_over_all_paths(shape, name, last, loss):
    network, x, labels, truth = case(shape, loss)
    samples = 1 << 20 if last == "score" else 1 << 17  # the score of the outputs' noise varies most
    found = measure(network, loss_named(loss), estimator_named(name, last, probes=PROBES), x, labels, samples)
    assert found.keys() == truth.keys()
    rare = last == "resample" and shape in ("recurrent", "last")  # some responses turn the answer once in a hundred thousand runs
    assert_unbiased(found, truth, resolution=0.9, unnoticed=1e-3 if rare else 1e-5)


def measure_all(network, loss, estimator, x, labels):
    return measure(network, loss, estimator, x, labels, samples=1 << 17)


def test_the_comparison_notices_what_the_membrane_keeps(monkeypatch):
    """Without the leak's share in the gradient the weights of a spiking layer are wrong, and the test above says so."""
    network, x, labels, truth = case("spiking", "cross-entropy")
    monkeypatch.setattr(NoisyTime, "carried", lambda self, d_v, v: d_v)
    found = measure_all(network, CrossEntropy(), estimator_named("rao-blackwell", "derivative"), x, labels)
    assert compare(found, truth)[0]["weight_0"] > 3


# -- smooth recurrent units --------------------------------------------------------------------------------------------------


def mean_loss_of_smooth(network, x, labels):
    """Mean cross-entropy by Gauss-Hermite quadrature over the noise of two sigmoid units in two steps."""
    layer, last = network.layers
    nodes, weights = np.polynomial.hermite_e.hermegauss(12)
    grid = np.array(list(itertools.product(nodes, repeat=4))).reshape(-1, 2, 2)
    weights = functools.reduce(np.multiply.outer, [weights / weights.sum()] * 4).ravel()
    means = []
    for image, label in zip(x, labels, strict=True):
        h = np.zeros((len(grid), 2))
        for t, part in enumerate(np.split(image, 2)):
            v = layer.weight @ part + layer.bias + h @ layer.recurrent.T + layer.scale[0] * grid[:, t]
            h = 1 / (1 + np.exp(-v))
        means.append(MEAN_LOSSES["cross-entropy"](last, h @ last.weight.T + last.bias)[:, label] @ weights)
    return np.array(means)


@functools.cache
def smooth_case():
    network = build("recurrent", "sigmoid", output_law=None, steps=2)
    x, labels = draw_points(2, 4, 3, seed=8)
    return network, x, labels, derivatives(mean_loss_of_smooth, network, x, labels)


@pytest.mark.parametrize("name", ["antithetic", "baseline", "resample", "backprop"])
def test_smooth_recurrent_units_against_quadrature(name):
    network, x, labels, truth = smooth_case()
    estimator = estimator_named(name, "derivative", probes=PROBES)
    found = measure(network, CrossEntropy(), estimator, x, labels, samples=1 << 19)
    assert_unbiased(found, truth, resolution=0.6 if name in ("resample", "backprop") else 2.5)


# -- variance ----------------------------------------------------------------------------------------------------------------


def losses_of(last, h, label):
    """The cross-entropy at responses (..., steps, units) of a layer whose last response is read."""
    z = h[..., -1, :] @ last.weight.T + last.bias
    return np.log(np.exp(z).sum(axis=-1)) - z[..., label]


def exact_moments_of_one_flip(network, x, label):
    """Mean and variance, over one run with one flip, of the estimated gradient of b, by the sum over all pairs of paths.

    A pair is a path h and the path h' after a flip, with the same noise: its probability is a product over later steps, of
    P(h_t and h'_t | u_t, u'_t), because h_t = h'_t = 1 has probability F(min(u_t, u'_t)/σ) and so on. A unit is flipped with
    probability f(u/σ)/S, where S is the sum of f over all units, so the estimate is ±(L(h') - L(h)) S/σ ``[M-FLIP]``
    ``[M-PROBE]``.
    """
    layer, last = network.layers
    law, sigma, every = distribution_of(layer.law), layer.scale[0], paths()
    drives = path(layer, x, every)
    losses, first, second = losses_of(last, every, label), np.zeros(UNITS), np.zeros(UNITS)
    for h, u, loss in zip(every, drives, losses, strict=True):
        p = law.cdf(u / sigma)
        probability, density = np.where(h > 0, p, 1 - p).prod(), law.pdf(u / sigma)
        low, high = law.cdf(np.minimum(u, drives) / sigma), law.cdf(np.maximum(u, drives) / sigma)
        larger = np.where(drives > u, every, h)  # the response to the larger drive fires whenever the other one does
        both = np.where((h > 0) & (every > 0), low, np.where((h == 0) & (every == 0), 1 - high, larger * (high - low)))
        given = both / np.where(h > 0, p, 1 - p)  # P(h'_t | h_t)
        for t, unit in itertools.product(range(STEPS), range(UNITS)):
            turned = h[: t + 1].copy()
            turned[t, unit] = 1 - turned[t, unit]
            chance = (every[:, : t + 1] == turned).all(axis=(1, 2)) * given[:, t + 1 :].prod(axis=(1, 2))
            assert np.isclose(chance.sum(), 1)
            estimates = (losses - loss) * (1 - 2 * h[t, unit]) * density.sum() / sigma
            drawn = probability * density[t, unit] / density.sum()
            first[unit] += drawn * chance @ estimates
            second[unit] += drawn * chance @ estimates**2
    return first, second - first**2


def exact_moments(network, x, label, conditional):
    """Mean and variance, over one run without baseline, of the estimated gradient of b, by the sum over all paths ``[M-PATH]``.

    The loss does not vary given the path: outputs have no noise. Given the path, the noise values are independent of each other.
    """
    layer, last = network.layers
    law, first, second = distribution_of(layer.law), np.zeros(UNITS), np.zeros(UNITS)
    for h in paths():
        a = path(layer, x, h) / layer.scale[0]
        p = law.cdf(a)
        probability = np.where(h > 0, p, 1 - p)
        given = np.where(h > 0, 1, -1) * law.pdf(a) / probability  # E[s | h], of Gaussian noise
        square = np.where(h > 0, 1 - a * law.pdf(a) / p, 1 + a * law.pdf(a) / (1 - p))  # E[s² | h]
        trace, kept = [], np.zeros(UNITS)  # ∂u_t/∂b
        for t in range(STEPS):
            kept = layer.leak * (1 - h[t - 1]) * kept + 1 if t else np.ones(UNITS)
            trace.append(kept)
        trace = np.array(trace) / layer.scale[0]
        z = last.weight @ (h.mean(axis=0) if layer.averages else h[-1]) + last.bias
        loss = np.log(np.exp(z).sum()) - z[label]
        total = (given * trace).sum(axis=0)
        spread = 0 if conditional else ((square - given**2) * trace**2).sum(axis=0)
        first += probability.prod() * loss * total
        second += probability.prod() * loss**2 * (total**2 + spread)
    return first, second - first**2


def test_the_variance_of_both_scores_is_that_of_the_sum_over_paths_and_the_spikes_have_less():
    network, (x, labels) = build("spiking", law=Gaussian(), output_law=None), draw_points(1, 6, 3, seed=8)
    runs, variances = 1 << 18, []
    for conditional in (True, False):
        estimator = ScoreFunction(conditional=conditional, derivative_last=True)
        many, answers = np.repeat(x, runs, axis=0), np.repeat(labels, runs)
        found = estimate(network, CrossEntropy(), estimator, many, answers, 1, Address(0, ()))
        credit = found.first_credit.astype(np.float64).reshape(runs, STEPS, UNITS).sum(axis=1)
        mean, variance = exact_moments(in_float64(network), x[0].astype(np.float64), labels[0], conditional)
        assert np.allclose(credit.mean(axis=0), mean, atol=5 * (variance.max() / runs) ** 0.5)
        squares = (credit - mean) ** 2
        error = squares.std(axis=0) / runs**0.5
        assert (np.abs(squares.mean(axis=0) - variance) < 5 * error).all()
        assert (error < 0.03 * variance).all()
        variances.append(variance)
    assert (variances[0] < variances[1]).all()


def test_the_variance_of_one_flip_in_a_recurrent_network_is_that_of_the_sum_over_pairs_of_paths():
    """Four flips of six units have less than a quarter of the variance of the score of the responses without a baseline."""
    network, (x, labels) = build("recurrent", output_law=None), draw_points(1, 6, 3, seed=8)
    runs, variances = 1 << 18, {}
    exact = in_float64(network), x[0].astype(np.float64), labels[0]
    many, answers = np.repeat(x, runs, axis=0), np.repeat(labels, runs)
    for probes in (1, 4):
        found = estimate(
            network, CrossEntropy(), estimator_named("flip", "derivative", probes=probes), many, answers, 1, Address(0, ())
        )
        credit = found.first_credit.astype(np.float64).reshape(runs, STEPS, UNITS).sum(axis=1)
        mean, variance = exact_moments_of_one_flip(*exact)
        squares = (credit - mean) ** 2
        error = squares.std(axis=0) / runs**0.5
        assert (np.abs(credit.mean(axis=0) - mean) < 5 * credit.std(axis=0) / runs**0.5).all()
        assert (error < 0.03 * variance).all()
        variances[probes] = squares.mean(axis=0)
        assert (np.abs(variances[1] - variance) < 5 * error).all() or probes > 1
    by_score = exact_moments(*exact, conditional=True)
    assert np.allclose(by_score[0], mean, rtol=1e-10)
    assert 4 * variances[4].sum() < by_score[1].sum() < variances[1].sum()


@pytest.mark.parametrize("shape", ["whole", "recurrent"])
def test_flips_have_less_variance_than_scores(shape):
    network, x, labels, _ = case(shape, "cross-entropy")
    spread = {}
    for name in ("flip", "rao-blackwell", "antithetic"):
        estimator = estimator_named(name, "derivative", probes=PROBES)
        runs = [estimate(network, CrossEntropy(), estimator, x, labels, 4, Address(1, (number,))) for number in range(300)]
        spread[name] = np.var([run.gradients[0]["weight"] for run in runs], axis=0).sum()
    assert 3 * spread["flip"] < spread["rao-blackwell"] < spread["antithetic"] * 1.2


# -- the layer ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_equals_the_oracle_along_its_own_responses(shape):
    network = in_float64(build(shape))
    x, _ = draw_points(3, network.layers[0].inputs, 3)
    x, layer = x.astype(np.float64), network.layers[0]
    noise = [generator(1, "noise").normal(size=(width, 3, 2)) for width in network.widths]
    trace = network.run(x.T.copy(), tuple(noise))
    for image, run in itertools.product(range(3), range(2)):
        h = (trace.signals[0][:, image, run] > 0).astype(np.float64).reshape(STEPS, UNITS)
        u = path(layer, x[image], h)
        assert np.allclose(trace.drives[0][:, image, run], u.ravel(), atol=1e-12)
        assert np.allclose(trace.signals[0][:, image, run], (u.ravel() + layer.scale * noise[0][:, image, run]), atol=1e-12)
        assert np.allclose(trace.responses[0][:, image, run], h.mean(axis=0) if layer.averages else h[-1])
        assert np.allclose(network.at(tuple(e[:, :, run : run + 1] for e in noise)).forward(x)[0], trace.outputs[:, :, run].T)
    assert np.allclose(network.forward(x)[0], network.run(x.T.copy(), None).outputs[:, :, 0].T)


@pytest.mark.parametrize("shape", ["spiking", "whole", "last"])
def test_a_flip_runs_the_neuron_again_with_its_noise(shape):
    network = in_float64(build(shape, steps=5))
    layer, (x, _) = network.layers[0], draw_points(3, network.layers[0].inputs, 3)
    e = generator(1, "noise").normal(size=(layer.units, 3, 4))
    u, v, _ = layer.run(x.astype(np.float64).T[:, :, None], e)
    for t, (image, run, unit) in itertools.product(range(5), itertools.product(range(3), range(4), range(UNITS))):
        found = layer.after_flip(v, u, t, layer.respond(v))[unit, image, run]
        m, h, seen = 0.0, 0.0, []
        for step, part in enumerate(parts_of(layer, x[image].astype(np.float64))):
            m = layer.leak * (1 - h) * m + layer.weight[unit] @ part + layer.bias[unit]
            h = float(m - layer.firing + layer.scale[0] * e[step * UNITS + unit, image, run] > 0)
            h = 1 - h if step == t else h
            seen.append(h)
        assert np.isclose(found, np.mean(seen) if layer.averages else seen[-1])


@pytest.mark.parametrize("activation", ["threshold", "sigmoid"])
@pytest.mark.parametrize("shape", SHAPES)
def test_changed_responses_run_the_later_steps_again_with_their_noise(shape, activation):
    network = in_float64(build(shape, activation, steps=5))
    layer, (x, _) = network.layers[0], draw_points(3, network.layers[0].inputs, 3)
    x, rng = x.astype(np.float64), generator(1, "noise")
    e = rng.normal(size=(layer.units, 3, 4))
    u, v, response = layer.run(x.T[:, :, None], e)
    units, others = rng.integers(0, layer.units, (12, 7)), rng.normal(size=(12, 7))
    found = layer.after_changes(v, u, units, others)
    assert found.shape == (7, 12, UNITS)
    for run, change in itertools.product(range(12), range(7)):
        image, number = divmod(run, 4)
        m, h, seen = np.zeros(UNITS), np.zeros(UNITS), []
        for t, part in enumerate(parts_of(layer, x[image])):
            m = layer.leak * m * (1 - h) + layer.weight @ part + layer.bias
            m = m if layer.recurrent is None else m + layer.recurrent @ seen[-1] if seen else m
            signal = m - layer.firing + layer.scale[0] * e[t * UNITS : (t + 1) * UNITS, image, number]
            h = layer.activation(signal)
            if units[run, change] // UNITS == t:
                h[units[run, change] % UNITS] = others[run, change]
            seen.append(h)
        after = np.mean(seen, axis=0) if layer.averages else seen[-1]
        assert np.allclose(found[change, run], after - response[:, image, number], atol=1e-12)


@pytest.mark.parametrize(("name", "activation"), [("flip", "threshold"), ("resample", "sigmoid"), ("resample", "threshold")])
def test_neither_threads_nor_memory_nor_pieces_change_what_changed_responses_teach(name, activation, monkeypatch):
    """Pieces of a fixed number of images have noise and places of their own, also if they are computed together."""
    network, (x, labels) = build("recurrent", activation), draw_points(60, 6, 3)
    estimator = estimator_named(name, "resample", probes=PROBES)
    monkeypatch.setattr(glr, "NUMBERS", 40 * estimator.numbers_per_sample(network))
    given = (network, CrossEntropy(), estimator, x, labels)

    def bits(replications, address=5):
        found = estimate(*given, replications, Address(0, (address,)), scales=True)
        return [found.loss, found.first_credit, *(array for gradient in found.gradients for array in gradient.values())]

    for replications in (1, 2):  # together, and in pieces
        results = []
        for threads, memory in ((1, "1GB"), (2, "1GB"), (3, "16MB")):
            backend.configure(threads=threads, memory=memory)
            results.append([array.tobytes() for array in bits(replications)])
        assert results[0] == results[1] == results[2]
        assert results[0] != [array.tobytes() for array in bits(replications, 6)]
    backend.configure(threads=1)
    together = bits(1)
    apart = []
    for piece, part in enumerate((slice(40), slice(40, None))):
        noise = estimator.draw(network, x[part], len(x[part]), 1, Address(0, (5, piece)))
        x_t = np.ascontiguousarray(x[part].T)
        apart.append(estimator.on(network, CrossEntropy(), x_t, labels[part], noise, True))
    assert np.allclose(np.concatenate([one.first_credit for one in apart]), together[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_the_layer_at_fixed_responses(shape):
    """``carried`` and the gradients after it are the derivatives of Σ d·u along given responses."""
    network = in_float64(build(shape))
    layer, rng = network.layers[0], generator(3, "gradients in time")
    x, d = rng.normal(size=layer.inputs), rng.normal(size=layer.units)
    h = (rng.random((STEPS, UNITS)) > 0.5).astype(np.float64)
    v = (2 * h - 1).reshape(-1, 1, 1)
    d_m = layer.carried(d[:, None, None], v)
    found = layer.weight_gradient(d_m[:, 0].T, x[None]) | layer.recurrent_gradient(d_m, v)
    for name, gradient in found.items():
        assert (
            check_gradient(
                lambda z, name=name: float(path(replace(layer, **{name: z}), x, h).ravel() @ d), gradient, getattr(layer, name)
            ).error
            < 1e-6
        )
    assert check_gradient(lambda z: float(path(layer, z, h).ravel() @ d), layer.input_gradient(d_m[:, 0].T)[0], x).error < 1e-6


# -- the surrogate -----------------------------------------------------------------------------------------------------------


def test_the_input_gradient_of_smooth_recurrent_units():
    network, (x, labels) = in_float64(build("recurrent", "sigmoid")), draw_points(2, 6, 3)
    x = x.astype(np.float64)
    outputs, signals = network.forward(x)
    gradient = network.input_gradient(cross_entropy(outputs, labels)[1], signals)
    assert check_gradient(lambda z: float(cross_entropy(network.forward(z)[0], labels)[0].sum()), gradient, x).error < 1e-6


def test_the_surrogate_is_a_density():
    a = np.linspace(-4000, 4000, 800_001)
    assert np.isclose(np.trapezoid(surrogate_slope(a), a), 1, atol=1e-3)
    assert surrogate_slope(np.zeros(1))[0] == 0.5


@pytest.mark.parametrize("shape", SHAPES)
def test_the_surrogate_gradient_is_the_derivative_of_a_linearised_network(shape):
    """Responses h + g(v - v₀), g the surrogate at the run v₀, with resets as in the run: the network whose derivative it is."""
    network = in_float64(build(shape, output_law=None))
    (layer, last), (x, labels) = network.layers, draw_points(2, network.layers[0].inputs, 3, seed=4)
    x, e = x.astype(np.float64), generator(1, "noise").normal(size=(layer.units, 2, 1))
    found = Surrogate().on(network, CrossEntropy(), x.T.copy(), labels, (e, None), False)
    trace = network.run(x.T.copy(), (e, None))

    def loss_of(layer, last, images):
        total = 0.0
        for number, image in enumerate(images):
            v0 = trace.signals[0][:, number, 0].reshape(STEPS, UNITS)
            fired, m, h, seen = (v0 > 0) * 1.0, np.zeros(UNITS), np.zeros(UNITS), []
            for t, part in enumerate(parts_of(layer, image)):
                m = layer.leak * m * (1 - (fired[t - 1] if t else 0)) + layer.weight @ part + layer.bias
                m = m if layer.recurrent is None else m + layer.recurrent @ h
                v = m - layer.firing + layer.scale[0] * e[t * UNITS : (t + 1) * UNITS, number, 0]
                h = fired[t] + 0.5 / (1 + np.abs(v0[t]) / layer.scale[0]) ** 2 / layer.scale[0] * (v - v0[t])
                seen.append(h)
            z = last.weight @ (np.mean(seen, axis=0) if layer.averages else seen[-1]) + last.bias
            total += np.log(np.exp(z).sum()) - z[labels[number]]
        return total

    gradient = layer.weight_gradient(found.first_credit, x) | found.gradients[0]
    for name, array in gradient.items():
        assert (
            check_gradient(lambda z, name=name: loss_of(replace(layer, **{name: z}), last, x), array, getattr(layer, name)).error
            < 1e-6
        )
    assert (
        check_gradient(lambda z: loss_of(layer, replace(last, weight=z), x), found.gradients[1]["weight"], last.weight).error
        < 1e-6
    )
    assert check_gradient(lambda z: loss_of(layer, last, z), layer.input_gradient(found.first_credit), x).error < 1e-6


# -- on every device ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [CrossEntropy(), ZeroOne(), OfRows()], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize(
    ("shape", "name", "last", "activation"),
    [
        *((*way, None) for way in WAYS),
        ("recurrent", "surrogate", "derivative", None),
        ("both", "surrogate", "derivative", None),
        ("recurrent", "backprop", "derivative", None),
        ("recurrent", "resample", "derivative", "sigmoid"),
    ],
)
def test_every_device_computes_the_same_from_the_same_noise(xp_device, shape, name, last, activation, loss):
    if name in ("surrogate", "backprop") and not loss.smooth:
        return
    estimator = estimator_named(name, last, probes=PROBES)
    network = build(shape, activation or ("sigmoid" if name == "backprop" else "threshold"))
    x, labels = draw_points(4, network.layers[0].inputs, 3, seed=1)
    x_t = np.ascontiguousarray(x.T)
    noise = estimator.draw(network, x, len(x), 8, Address(0, ()))
    expected = estimator.on(network, loss, x_t, labels, noise, True)
    if isinstance(noise, Probing):
        there = Probing(
            tuple(map(to_device, noise.noise)), tuple(None if one is None else to_device(one) for one in noise.places)
        )
    else:
        there = tuple(map(to_device, noise))
    network, reads = on_device(network), strict_arrays.StrictArray.reads
    found = estimator.on(network, loss, to_device(x_t), to_device(labels), there, True)
    assert strict_arrays.StrictArray.reads == reads
    pairs = [(found.loss, expected.loss), (found.first_credit, expected.first_credit)]
    for gradient, wanted in zip(found.gradients, expected.gradients, strict=True):
        assert gradient.keys() == wanted.keys()
        pairs += [(gradient[key], wanted[key]) for key in wanted]
    for array, wanted in pairs:
        assert type(array) is xp_device.ndarray
        assert (array.dtype, array.shape) == (np.float32, wanted.shape)
        assert np.allclose(to_numpy(array), wanted, rtol=0, atol=1e-4 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("shape", ["recurrent", "spiking"])
@pytest.mark.parametrize("name", ["antithetic", "rao-blackwell", "straight-through", "frozen"])
def test_attacks_have_a_gradient_on_every_device(xp_device, name, shape):
    network, (x, labels) = on_device(build(shape)), draw_points(3, 6, 3)
    point, gradient = source_named(name, network, 8, 0)(network, cross_entropy, to_device(x), to_device(labels))
    assert point.outputs.shape == (3, 3)
    assert gradient.shape == x.shape
    assert np.abs(to_numpy(gradient)).max() > 0


# -- learning, and what does not apply ---------------------------------------------------------------------------------------


def test_learning_changes_every_parameter_in_place():
    network, (x, labels) = copy_of(build("recurrent")), draw_points(40, 6, 3, seed=1)
    before = {name: array.copy() for name, array in network.parameters.items()}
    learner = GLR(
        network, CrossEntropy(), estimator_named("rao-blackwell", "derivative"), SGD(0.1), 10, 4, 0, l2=0.1, learn_scale=True
    )
    list(learner.learn(x, labels))
    assert all(not np.allclose(network.parameters[name], array) for name, array in before.items() if name != "scale_1")
    assert set(before) == {"weight_0", "bias_0", "scale_0", "recurrent_0", "weight_1", "bias_1", "scale_1"}


def test_with_persistence_neurons_keep_their_responses_and_the_input_switches_them():
    x = generator(0, "x").random((20, 784)).astype(np.float32) * (generator(1, "x").random((20, 784)) > 0.8)
    how = HOW | {"spiking": False, "scales": (0.5, 1.0), "persistence": 12.0}
    network = initial_noisy_in_time((28, 28), (64,), 10, 0, **how)
    layer = network.layers[0]
    assert np.array_equal(layer.recurrent, 6 * np.eye(64))
    assert (layer.bias == -3).all()
    random = initial_noisy_in_time((28, 28), (64,), 10, 0, **how | {"persistence": 0.0}).layers[0]
    assert np.allclose(layer.weight, 6 * random.weight, rtol=1e-6)
    e = generator(2, "noise").standard_normal((layer.units, 20, 1)).astype(np.float32)
    fired = layer.in_steps(layer.run(np.zeros((784, 20, 1), dtype=np.float32), e)[1] > 0)
    assert (fired[1:] != fired[:-1]).mean() < 1e-3
    shown = layer.in_steps(layer.run(np.ascontiguousarray(x.T)[:, :, None].astype(np.float32), e)[1] > 0)
    assert 0.01 < (shown[1:] != shown[:-1]).mean() < 0.5
    with pytest.raises(InputError, match="persistence: 3.0.*0, or --network recurrent"):
        NoisyModel((8,), network="spiking", persistence=3.0)


HOW = {"spiking": True, "presentation": "rows", "steps": 4, "leak": 0.9, "activation": Activation("threshold"), "law": Gaussian()}


def test_an_untrained_network_has_drives_of_the_size_of_the_noise():
    x = generator(0, "x").random((20, 784)).astype(np.float32)
    for spiking, presentation in itertools.product((True, False), ("rows", "whole")):
        how = HOW | {"spiking": spiking, "presentation": presentation}
        network = initial_noisy_in_time((28, 28), (64,), 10, 0, scales=(0.5, 1.0), **how)
        again = initial_noisy_in_time((28, 28), (64,), 10, 0, scales=(0.5, 1.0), **how)
        assert all(np.array_equal(array, again.parameters[name]) for name, array in network.parameters.items())
        assert network.widths == [64 * (28 if presentation == "rows" else 4), 10]
        assert network.layers[0].inputs == 784
        assert ("recurrent_0" in network.parameters) is not spiking
        assert 0.5 < network.run(np.ascontiguousarray(x.T), None).drives[0].std() < 5


@pytest.mark.parametrize(
    ("shape", "name", "how", "expected"),
    [
        ("recurrent", "flip", {"probes": 0}, "probes: 0.*at least 1"),
        ("both", "flip", {"placement": "in-turn"}, "placement.*all for recurrent"),
        ("spiking", "resample", {"placement": "in-turn"}, "placement.*all for recurrent"),
        ("spiking", "backprop", {}, "threshold neurons have no derivative"),
        ("recurrent", "antithetic", {"placement": "in-turn"}, "placement.*all for recurrent"),
        ("spiking", "exact", {}, "estimator.*exact"),
    ],
)
def test_estimators_that_do_not_fit_are_refused_with_what_would(shape, name, how, expected):
    with pytest.raises(InputError, match=expected):
        estimator_named(name, "derivative", **how).check(build(shape), CrossEntropy())
    if name == "flip":
        with pytest.raises(InputError, match="flip with sigmoid neurons.*--activation threshold, or an estimator of resample"):
            estimator_named(name, "derivative").check(build(shape, "sigmoid"), CrossEntropy())
        with pytest.raises(InputError, match="surrogate with sigmoid neurons.*backprop"):
            Surrogate().check(build(shape, "sigmoid"), CrossEntropy())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"hidden": (8, 8)}, "hidden: .*8,8.*one number"),
        ({"image": (49,)}, "presentation: .*rows.*whole"),
        ({"presentation": "columns"}, "presentation: .*columns.*rows or whole"),
        ({"scales": (1.0, 1.0, 1.0)}, "noise-scale"),
    ],
)
def test_networks_that_cannot_be_are_refused(change, expected):
    given = {"image": (7, 7), "hidden": (8,), "scales": (1.0,)} | HOW | change
    with pytest.raises(InputError, match=expected):
        initial_noisy_in_time(given.pop("image"), given.pop("hidden"), 10, 0, **given)


def test_sobol_sequences_have_enough_dimensions():
    network = initial_noisy_in_time((28, 28), (800,), 10, 0, scales=(1.0,), **HOW)
    with pytest.raises(InputError, match="sobol.*antithetic or baseline: the network draws 22,410 noise values"):
        estimator_named("sobol", "derivative").check(network, CrossEntropy())


def test_noise_of_other_laws():
    network = build("spiking", law=Laplace())
    x, labels = draw_points(2, 6, 3, seed=8)
    truth = derivatives(functools.partial(mean_loss, loss="cross-entropy"), network, x, labels)
    for name in ("flip", "rao-blackwell"):
        found = measure_all(network, CrossEntropy(), estimator_named(name, "derivative"), x, labels)
        assert_unbiased(found, truth, resolution=0.9)
