"""Every estimator is unbiased, with the variance that theory gives it; and these tests notice an estimator that is not.

Networks are small enough for an exact answer (tests/noisy_oracle.py). An estimate is repeated in rounds of fresh noise. The mean
of the rounds is compared with the truth, and their spread says how far it may be off: Student's t for every number, with
Bonferroni's correction. Addresses are fixed, so the tests do not flicker.
"""

import functools
import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
import strict_arrays
from measured_estimates import FALSE_ALARM, assert_unbiased, compare, measure
from noisy_oracle import (
    LAWS,
    build_network,
    derivatives,
    distribution_of,
    draw_points,
    mean_loss,
    mean_loss_of_smooth,
    on_device,
    patterns,
    score,
)
from scipy import stats

from minicereb.backend import in_float64, to_device, to_numpy
from minicereb.calculus.activations import ACTIVATIONS
from minicereb.calculus.noise import Gaussian, Laplace, Logistic
from minicereb.calculus.replicated import CrossEntropy, OfRows, ZeroOne, loss_named
from minicereb.errors import InputError
from minicereb.learning.estimators import ESTIMATORS
from minicereb.learning.glr import estimate
from minicereb.learning.noise import Address, Antithetic, Independent
from minicereb.learning.scores import ScoreFunction

SCORES = ("plain", "baseline", "antithetic", "sobol", "rao-blackwell")
DERIVATIVE_LAST = {f"{name}, derivative last": replace(ESTIMATORS[name], derivative_last=True) for name in SCORES}
OUTPUT_DRAWS = {f"{name}, output draws": replace(ESTIMATORS[name], output_draws=6) for name in ("baseline", "rao-blackwell")}
BY_NAME = {**ESTIMATORS, **DERIVATIVE_LAST, **OUTPUT_DRAWS}
DRAWN = [name for name in ESTIMATORS if name != "exact"]  # which draws no noise: tests/learning/test_exact.py
FOR_THRESHOLD = [name for name in DRAWN if name != "backprop"]
FOR_ANY = [name for name in FOR_THRESHOLD if name not in ("rao-blackwell", "flip")]


# -- one threshold neuron ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FirstOutput:
    """The loss is the only output itself."""

    smooth = True

    def value(self, outputs, labels):
        return outputs[0]

    def derivative(self, outputs, labels):
        return np.ones_like(outputs)


def one_neuron(law, dtype=np.float32):
    """A neuron that fires or not, and a loss of 0.2 + 0.9h."""
    network = build_network((3, 1, 1), [law, law], (0.8, 0.3), seed=1, dtype=dtype)
    network.layers[1].weight[...], network.layers[1].bias[...] = 0.9, 0.2
    return network


def closed_form(network, x):
    """``∇θ = ΔL f(-u) x``, ``∇x = ΔL f(-u) θ``, ``∂/∂σ = -ΔL f(a) u/σ²`` with f(-u) = f(a)/σ, a = u/σ."""
    hidden, last = in_float64(network).layers
    law, sigma = distribution_of(hidden.law), hidden.scale[0]
    u = x @ hidden.weight[0] + hidden.bias[0]
    difference, p = last.weight[0, 0], law.cdf(u / sigma)
    d_u = difference * law.pdf(u / sigma) / sigma
    return {
        "loss": last.bias[0] + difference * p,
        "input": d_u[:, None] * hidden.weight,
        "weight_0": (d_u @ x)[None] / len(x),
        "bias_0": d_u.mean(keepdims=True),
        "scale_0": (-d_u * u / sigma).mean(keepdims=True),
        "weight_1": p.mean(keepdims=True)[None],
        "bias_1": np.ones(1),
        "scale_1": np.zeros(1),
    }


@pytest.mark.parametrize("name", [*FOR_THRESHOLD, *DERIVATIVE_LAST])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_one_threshold_neuron_against_the_closed_form(law, name):
    network, (x, labels) = one_neuron(law), draw_points(2, 3, 1, seed=62)
    found = measure(network, FirstOutput(), BY_NAME[name], x, labels, samples=1 << 15)
    assert_unbiased(found, closed_form(network, x.astype(np.float64)))


# -- small networks of threshold neurons -------------------------------------------------------------------------------------

NETWORKS = {
    "two layers": ((5, 4, 3), [Gaussian()] * 2, (1.5, 0.6), 3, 1 << 16),
    "three layers": ((4, 3, 3, 3), [Laplace()] * 3, (1.5, 0.6, 0.5), 15, 1 << 18),
}  # widths, laws, noise scales, a seed with which every parameter matters, samples
CASES = [("two layers", name) for name in (*FOR_THRESHOLD, *DERIVATIVE_LAST, *OUTPUT_DRAWS)] + [
    ("three layers", name) for name in FOR_THRESHOLD
]
every_loss = pytest.mark.parametrize("loss", ["cross-entropy", "zero-one"])
every_case = pytest.mark.parametrize(("shape", "name"), CASES)


@functools.cache
def case(shape, loss):
    """A network, images, labels and the true derivatives."""
    widths, laws, scales, seed, _ = NETWORKS[shape]
    network, (x, labels) = build_network(widths, laws, scales, seed=seed), draw_points(2, widths[0], widths[-1], seed)
    return network, x, labels, derivatives(functools.partial(mean_loss, loss=loss), network, x, labels)


@functools.cache
def measured(shape, loss, name):
    network, x, labels, _ = case(shape, loss)
    return measure(network, loss_named(loss), BY_NAME[name], x, labels, samples=NETWORKS[shape][-1])


@every_loss
@every_case
def test_threshold_networks_against_the_sum_over_all_patterns(shape, name, loss):
    found, (*_, truth) = measured(shape, loss, name), case(shape, loss)
    assert found.keys() == truth.keys()
    assert_unbiased(found, truth)


# -- smooth neurons, and others ----------------------------------------------------------------------------------------------


@functools.cache
def smooth_case():
    network = build_network((2, 2, 2), [Gaussian(), Logistic()], (1.2, 0.7), "sigmoid", seed=6, slope=2.0)
    x, labels = draw_points(2, 2, 2, seed=6)
    return network, x, labels, derivatives(mean_loss_of_smooth, network, x, labels)


@pytest.mark.parametrize("name", [*FOR_ANY, "backprop", "baseline, derivative last"])
def test_backpropagation_and_likelihood_ratios_agree_with_the_mean_loss_of_a_smooth_network(name):
    """The paper's Remark 1, each side against the derivative of the mean itself, by quadrature."""
    network, x, labels, truth = smooth_case()
    found = measure(network, CrossEntropy(), BY_NAME[name], x, labels, samples=1 << 17)
    assert found.keys() == truth.keys()
    assert_unbiased(found, truth)


def mean_response(network, x, labels):
    """Mean output of one neuron with any activation, read out linearly."""
    hidden, last = network.layers
    sigma, t = hidden.scale[0], np.linspace(-3, 2, 400)
    distance = np.exp(
        np.pi / 2 * np.sinh(t)
    )  # from v = 0, where there may be a jump or a pole: exp-sinh quadrature on both sides
    v = sigma * np.concatenate((distance, -distance))
    weights = np.tile(distance * np.pi / 2 * np.cosh(t) * (t[1] - t[0]), 2)
    u = x @ hidden.weight[0] + hidden.bias[0]
    density = distribution_of(hidden.law).pdf((v - u[:, None]) / sigma)
    return last.bias[0] + last.weight[0, 0] * (density * hidden.activation(v)) @ weights


@functools.cache
def one_neuron_case(activation):
    slope = 3.0 if activation == "sigmoid" else 1.0
    network = build_network((2, 1, 1), [Gaussian()] * 2, (0.8, 0.3), activation, seed=14, slope=slope)
    x, labels = draw_points(2, 2, 1, seed=14)
    return network, x, labels, derivatives(mean_response, network, x, labels)


@pytest.mark.parametrize("name", [*FOR_ANY, "backprop"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_neurons_of_any_activation_against_quadrature(activation, name):
    network, x, labels, truth = one_neuron_case(activation)
    if name == "backprop" and not network.layers[0].activation.smooth:
        with pytest.raises(InputError, match=activation):
            BY_NAME[name].check(network, CrossEntropy())
        return
    assert_unbiased(measure(network, FirstOutput(), BY_NAME[name], x, labels, samples=1 << 17), truth)


# -- these tests notice ------------------------------------------------------------------------------------------------------


@every_loss
@every_case
def test_another_factor_is_noticed_in_every_array(shape, name, loss):
    """Half of the right estimate, or twice (which also doubles its spread); not for the scales, whose estimates spread most."""
    found, (*_, truth) = measured(shape, loss, name), case(shape, loss)
    for array in found:
        for factor in (0.5,) if array.startswith("scale") else (0.5, 2):
            assert compare({**found, array: factor * found[array]}, truth)[0][array] > 1, (array, factor)


@every_loss
@every_case
def test_a_forgotten_division_by_sigma_is_noticed_in_every_layer(shape, name, loss):
    found, (network, *_, truth) = measured(shape, loss, name), case(shape, loss)
    for number, layer in enumerate(network.layers):
        arrays = [f"{kind}_{number}" for kind in ("weight", "bias", "scale")] + ["input"] * (number == 0)
        errors, _ = compare({**found, **{array: layer.scale * found[array] for array in arrays}}, truth)
        assert max(errors[array] for array in arrays) > 1, number


class MeanOfAll(Independent):
    """The baseline that biases by 1/K."""

    def others(self, loss):
        return np.repeat(loss.mean(axis=1, keepdims=True), loss.shape[1], axis=1)


class PairsAsIfIndependent(Antithetic):
    """Leaves one replication out, not its pair: a factor of 1 + 1/(K-1)."""

    def others(self, loss):
        return Independent.others(self, loss)


class ScoreOfTheGaussian(Laplace):
    """A law with another's score."""

    def score(self, e):
        return e


class RatioAtAnotherPlace(Laplace):
    """A law whose conditional score is taken at the opposite place."""

    def density_ratio(self, e):
        return super().density_ratio(-e)


@pytest.mark.parametrize("design", [MeanOfAll(), PairsAsIfIndependent()], ids=lambda design: type(design).__name__)
@pytest.mark.parametrize("derivative_last", [False, True])
def test_a_baseline_that_depends_on_its_own_noise_is_noticed(design, derivative_last):
    network, x, labels, truth = case("two layers", "zero-one")
    estimator = ScoreFunction("wrong", design, baseline=True, derivative_last=derivative_last)
    errors, _ = compare(measure(network, ZeroOne(), estimator, x, labels, samples=1 << 18), truth)
    assert errors["loss"] < 1
    assert errors["weight_0"] > 1
    assert errors["bias_0"] > 1
    assert (errors["bias_1"] > 1) != derivative_last


@pytest.mark.parametrize(("law", "name"), [(ScoreOfTheGaussian(), "baseline"), (RatioAtAnotherPlace(), "rao-blackwell")])
def test_a_wrong_score_is_noticed(law, name):
    network, x, labels, truth = case("three layers", "cross-entropy")
    wrong = replace(network, layers=tuple(replace(layer, law=law) for layer in network.layers))
    errors, _ = compare(measure(wrong, CrossEntropy(), ESTIMATORS[name], x, labels), truth)
    assert errors["loss"] < 1
    assert max(errors["weight_0"], errors["weight_1"]) > 1


# -- variance ----------------------------------------------------------------------------------------------------------------

VARIANCES = ("plain", "baseline", "antithetic", "rao-blackwell", "flip")
REPLICATIONS = 4
QUADRATURE = np.polynomial.legendre.leggauss(300)


def variance_case(law):
    """A layer of three threshold neurons, outputs without noise, one image."""
    network, (x, labels) = build_network((3, 3, 2), [law, None], (0.8, 1.0), seed=1), draw_points(1, 3, 2, seed=1)
    return network, x, labels


def moment(law, power, low, high):
    """``∫ s(e)^power f(e) de``."""
    if low < 0 < high:  # Laplace's score jumps at 0
        return moment(law, power, low, 0) + moment(law, power, 0, high)
    places, weights = QUADRATURE
    start, end = np.arcsinh(np.clip((low, high), -1e8, 1e8))
    t = (start + end) / 2 + (end - start) / 2 * places
    e = np.sinh(t)
    return (end - start) / 2 * weights @ (np.cosh(t) * score(law, e) ** power * distribution_of(law).pdf(e))


@functools.cache
def predicted_variance(name, law):
    """Variance of the first layer's credit over K replications, from the loss of every pattern: shape (neurons,)."""
    network, x, (label,) = variance_case(law)
    network = in_float64(network)
    hidden, last = network.layers
    law, neurons, K = distribution_of(hidden.law), len(hidden.bias), REPLICATIONS
    a = (hidden.weight @ x[0] + hidden.bias) / hidden.scale

    def loss_of(h):
        outputs = last.weight @ h + last.bias
        return np.logaddexp.reduce(outputs) - outputs[label]

    h = patterns(neurons)
    losses, p = np.array([loss_of(one) for one in h]), np.where(h > 0, law.cdf(a), law.cdf(-a)).prod(axis=1)
    mean = p @ losses
    variances = []
    for neuron, u in enumerate(a):
        fires = h[:, neuron] > 0
        first, second = (
            np.where(
                fires,
                moment(hidden.law, power, -u, np.inf) / law.cdf(u),
                moment(hidden.law, power, -np.inf, -u) / law.cdf(-u),
            )
            for power in (1, 2)
        )
        gradient = p @ (losses * first)
        if name == "plain":
            variance = (p @ (losses**2 * second) - gradient**2) / K
        elif name in ("baseline", "rao-blackwell"):  # the sample covariance of loss and score
            square = second if name == "baseline" else first**2
            variance = p @ ((losses - mean) ** 2 * square) / K - (K - 2) / (K * (K - 1)) * gradient**2
            variance += (p @ (losses - mean) ** 2) * (p @ square) / (K * (K - 1))
        elif name == "antithetic":  # the baseline cancels between e and -e
            variance = (_mean_of_pairs(hidden.law, a, neuron, loss_of) - gradient**2) / (K // 2)
        else:
            flips = law.pdf(u) * np.array([loss_of(np.where(np.arange(neurons) == neuron, 1 - one, one)) for one in h])
            flips = (flips - law.pdf(u) * losses) * np.where(fires, -1, 1)
            variance = (p @ flips**2 - (p @ flips) ** 2) / K
        variances.append(variance / hidden.scale[0] ** 2)
    return np.array(variances)


def _mean_of_pairs(law, a, neuron, loss_of):
    """``E[(½(L(e) - L(-e)) s(e))²]``: a neuron's noise is weaker than its drive, or fires it, or silences it."""
    total, weaker = 0.0, 2 * distribution_of(law).cdf(np.abs(a)) - 1
    for state in itertools.product((0, 1, -1), repeat=len(a)):
        state = np.array(state)
        probability = np.where(state == 0, weaker, (1 - weaker) / 2)
        with_e, with_opposite = (np.where(state == 0, a > 0, sign * state > 0).astype(float) for sign in (1, -1))
        ends = (0, abs(a[neuron])) if state[neuron] == 0 else (abs(a[neuron]), np.inf)
        square = moment(law, 2, *ends) * (2 if state[neuron] == 0 else 1)
        others = np.delete(probability, neuron).prod()
        total += others * square * ((loss_of(with_e) - loss_of(with_opposite)) / 2) ** 2
    return total


@functools.cache
def measured_variance(name, law, images=1 << 14):
    """Variance of the first layer's credit, and what it may be off by: normal, with the fourth moment that was found."""
    network, x, labels = variance_case(law)
    estimator = BY_NAME[name if name == "flip" else f"{name}, derivative last"]
    given = (np.tile(x, (images, 1)), np.tile(labels, images), REPLICATIONS, Address(0, ()))
    credit = estimate(network, CrossEntropy(), estimator, *given).first_credit.astype(np.float64)
    square = (credit - credit.mean(axis=0)) ** 2
    return square.mean(axis=0), stats.norm.isf(FALSE_ALARM / 2 / credit.shape[1]) * square.std(axis=0) / images**0.5


@pytest.mark.parametrize("name", VARIANCES)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_variances_are_those_of_the_sum_over_all_patterns(law, name):
    predicted, (found, allowed) = predicted_variance(name, law), measured_variance(name, law)
    assert (np.abs(found - predicted) < allowed).all(), (found, predicted, allowed)
    assert (allowed < 0.2 * predicted).all()


@pytest.mark.parametrize(("name", "other"), list(itertools.permutations(VARIANCES, 2)))
def test_the_variance_of_another_estimator_is_noticed(name, other):
    predicted, (found, allowed) = predicted_variance(other, Gaussian()), measured_variance(name, Gaussian())
    assert (np.abs(found - predicted) > allowed).any()


# -- on every device ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [CrossEntropy(), ZeroOne(), OfRows()], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("name", [*DRAWN, *DERIVATIVE_LAST])
def test_every_device_computes_the_same_from_the_same_noise(xp_device, name, loss):
    if name == "backprop" and not loss.smooth:
        return
    estimator, activation = BY_NAME[name], "sigmoid" if name == "backprop" else "threshold"
    network = build_network((5, 4, 3, 2, 3), LAWS, (1.0, 0.8, 0.6, 0.4), activation, seed=1)
    x, labels = draw_points(6, 5, 3, seed=1)
    x_t = np.ascontiguousarray(x.T)
    noise = estimator.design.draw(x, LAWS, network.widths, len(x), 8, Address(0, ()))
    expected = estimator.on(network, loss, x_t, labels, noise, True)
    there = (*map(to_device, (x_t, labels)), tuple(map(to_device, noise)))
    network, reads = on_device(network), strict_arrays.StrictArray.reads
    found = estimator.on(network, loss, *there, True)
    assert strict_arrays.StrictArray.reads == reads
    pairs = [(found.loss, expected.loss), (found.first_credit, expected.first_credit)]
    for gradient, wanted in zip(found.gradients, expected.gradients, strict=True):
        assert gradient.keys() == wanted.keys()
        pairs += [(gradient[key], wanted[key]) for key in wanted]
    for array, wanted in pairs:
        assert type(array) is xp_device.ndarray
        assert (array.dtype, array.shape) == (np.float32, wanted.shape)
        assert np.allclose(to_numpy(array), wanted, rtol=0, atol=1e-4 * max(1, np.abs(wanted).max()))


@pytest.mark.parametrize("name", [*DRAWN, *DERIVATIVE_LAST])
def test_images_may_share_their_noise(name):
    """As in an attack, noise with one replication axis for all images has the same effect as a copy for each image."""
    estimator, activation = BY_NAME[name], "sigmoid" if name == "backprop" else "threshold"
    network, (x, labels) = build_network((5, 4, 3), LAWS[:2], (1.0, 0.5), activation), draw_points(6, 5, 3)
    shared = estimator.design.draw(x, LAWS[:2], network.widths, 1, 8, Address(0, ()))
    copied = tuple(np.repeat(e, len(x), axis=1) for e in shared)
    one, other = (estimator.on(network, OfRows(), x.T.copy(), labels, noise, False) for noise in (shared, copied))
    assert np.allclose(one.loss, other.loss, rtol=1e-5)
    assert np.allclose(one.first_credit, other.first_credit, rtol=1e-4, atol=1e-5)


# -- what does not apply -----------------------------------------------------------------------------------------------------


def network_of(activation="threshold", hidden_law=LAWS[0], output_law=LAWS[0], output_activation=None):
    network = build_network((3, 2, 2), [hidden_law, output_law], (1.0, 1.0), activation)
    last = replace(network.layers[1], activation=output_activation and network.layers[0].activation)
    return replace(network, layers=(network.layers[0], last))


SMOOTH_LOSS, STEP_LOSS = CrossEntropy(), ZeroOne()


@pytest.mark.parametrize(
    ("name", "loss", "network", "expected"),
    [
        ("flip", SMOOTH_LOSS, network_of("sigmoid"), "flip with sigmoid neurons.*--activation threshold.*baseline.*backprop"),
        (
            "rao-blackwell",
            SMOOTH_LOSS,
            network_of("log-absolute"),
            "rao-blackwell with log-absolute.*--activation threshold.*plain",
        ),
        ("flip", STEP_LOSS, network_of(output_law=None), "expected output noise.*loss without a derivative"),
        ("resample", STEP_LOSS, network_of(output_law=None), "expected output noise.*loss without a derivative"),
        ("flip", STEP_LOSS, network_of(output_activation=True), "no output activation"),
        ("flip", SMOOTH_LOSS, network_of(output_activation=True), "baseline.*for outputs with such an activation"),
        ("baseline, derivative last", STEP_LOSS, network_of(output_law=None), "expected output noise"),
        ("plain", SMOOTH_LOSS, network_of(output_law=None), "noise in every layer, outputs included"),
        ("sobol", SMOOTH_LOSS, network_of(hidden_law=None), "noise in every layer"),
        ("flip", SMOOTH_LOSS, network_of(hidden_law=None), "noise in every hidden layer"),
        ("resample", SMOOTH_LOSS, network_of(hidden_law=None), "noise in every hidden layer"),
        ("backprop", STEP_LOSS, network_of("sigmoid"), "plain.*for a loss without a derivative"),
        ("backprop", SMOOTH_LOSS, network_of(), "flip, rao-blackwell or antithetic: threshold neurons have no derivative"),
        ("backprop", SMOOTH_LOSS, network_of("arctan-inverse"), "expected resample or antithetic: arctan-inverse neurons"),
    ],
)
def test_an_estimator_that_does_not_apply_says_what_would(name, loss, network, expected):
    with pytest.raises(InputError, match=f"estimator: .*{expected}") as caught:
        BY_NAME[name].check(network, loss)
    assert caught.value.setting == "estimator"


@pytest.mark.parametrize(
    ("name", "loss", "network"),
    [
        *[(name, loss, network_of()) for name in FOR_THRESHOLD for loss in (SMOOTH_LOSS, STEP_LOSS)],
        *[(name, SMOOTH_LOSS, network_of(output_law=None)) for name in ("flip", "resample", *DERIVATIVE_LAST)],
        *[(name, STEP_LOSS, network_of("arctan-inverse")) for name in FOR_ANY],
        *[("backprop", SMOOTH_LOSS, network_of("sigmoid", law, law)) for law in (None, LAWS[1])],
        ("backprop", SMOOTH_LOSS, network_of("absolute", output_activation=True)),
        ("plain", STEP_LOSS, network_of(output_activation=True)),
    ],
)
def test_what_applies_passes_and_runs(name, loss, network):
    x, labels = draw_points(3, 3, 2)
    BY_NAME[name].check(network, loss)
    found = estimate(network, loss, BY_NAME[name], x, labels, 4, Address(0, ()), scales=True)
    assert all(np.isfinite(array).all() for gradient in found.gradients for array in gradient.values())
    for layer, gradient in zip(network.layers, found.gradients, strict=True):
        assert gradient.keys() == {"weight", "bias"} | ({"scale"} if layer.law else set())
