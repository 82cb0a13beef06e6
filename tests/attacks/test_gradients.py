"""Gradients of the mean objective of a noisy network: unbiased, the same for every block, and refused where there are none."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from noisy_oracle import LAWS as ORACLE_LAWS
from noisy_oracle import build_network, distribution_of, draw_points, on_device
from scipy import stats

from minicereb import backend
from minicereb.attacks.gradients import Landscape, MeanGradient, fitting_estimator, frozen_noise, mean_slope, source_named
from minicereb.attacks.objectives import likeliest_wrong
from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import to_device, to_numpy
from minicereb.calculus.activations import Activation
from minicereb.calculus.losses import cross_entropy, dlr, margin, targeted_dlr, targeted_margin
from minicereb.calculus.noise import Gaussian
from minicereb.errors import InputError
from minicereb.experiments.kinds.gradient_sources import quiet_outputs
from minicereb.learning.credit import Estimator
from minicereb.learning.estimators import ESTIMATORS
from minicereb.models.mlp import initial_mlp
from minicereb.models.noisy_convolution import initial_noisy_convolutional
from minicereb.models.noisy_time import initial_noisy_in_time
from minicereb.models.prediction import Averaged
from minicereb.parallel import blocks

LAWS = [Gaussian(), Gaussian()]


@pytest.fixture
def network():
    return build_network((6, 4, 3), LAWS, (0.8, 0.5), seed=2)


def mean_margin(network, x, labels):
    """Mean margin over every pattern of the hidden layer, and over output noise by many draws that all images share."""
    from scipy import stats

    hidden, last = network.layers
    p = stats.norm.cdf((x @ hidden.weight.T.astype(np.float64) + hidden.bias) / hidden.scale[0])
    noise = np.random.default_rng(0).standard_normal((20_000, 3)) * last.scale[0]
    total = np.zeros(len(x))
    for pattern in range(1 << len(hidden.bias)):
        h = np.array([pattern >> bit & 1 for bit in range(len(hidden.bias))])
        outputs = last.weight.astype(np.float64) @ h + last.bias + noise
        by_label = [margin(outputs, np.full(len(outputs), label))[0].mean() for label in range(3)]
        total += np.where(h, p, 1 - p).prod(axis=1) * np.array(by_label)[labels]
    return total


@pytest.mark.parametrize(
    ("name", "draws"), [("flip", 2_000), ("resample", 2_000), ("rao-blackwell", 40_000), ("antithetic", 40_000)]
)
def test_the_gradient_is_that_of_the_mean_objective(network, name, draws):
    """They agree to a tenth of its size, the accuracy that this many draws allow (five standard errors, measured)."""
    x, labels = draw_points(3, 6, 3, seed=4)
    _, found = source_named(name, network, draws, 0)(network, margin, x, labels)
    step, truth = 1e-3, np.zeros(x.shape)
    for pixel in range(6):
        up, down = x.astype(np.float64), x.astype(np.float64)
        up[:, pixel] += step
        down[:, pixel] -= step
        truth[:, pixel] = (mean_margin(network, up, labels) - mean_margin(network, down, labels)) / (2 * step)
    assert np.abs(found - truth).max() < 0.1 * np.abs(truth).max()


def test_blocks_of_images_meet_the_same_noise(network):
    x, labels = draw_points(7, 6, 3, seed=4)
    source = MeanGradient(ESTIMATORS["flip"], 8, 3)
    together = source(network, margin, x, labels)[1]
    apart = [source(network, margin, x[part], labels[part])[1] for part in blocks(7, 3)]
    assert np.allclose(together, np.concatenate(apart), rtol=1e-4, atol=1e-6)
    assert not np.allclose(together, MeanGradient(ESTIMATORS["flip"], 8, 4)(network, margin, x, labels)[1])


@pytest.mark.parametrize(("name", "opposite"), [("baseline", False), ("antithetic", True), ("sobol", False)])
def test_every_estimator_meets_noise_of_its_own_design(network, name, opposite):
    met, watched = [], ESTIMATORS[name]

    class Watched(Estimator):
        design, baseline, columns_per_sample = watched.design, True, 1
        name = "watched"

        def on(self, network, loss, x_t, labels, noise, scales):
            met.append(noise)
            return watched.on(network, loss, x_t, labels, noise, scales)

    MeanGradient(Watched(), 64, 0)(network, margin, *draw_points(3, 6, 3))
    (noise,) = met
    assert [e.shape for e in noise] == [(4, 1, 64), (3, 1, 64)]
    assert all(np.array_equal(e[:, :, 32:], -e[:, :, :32]) == opposite for e in noise)
    if name == "sobol":  # one point in each 32nd part of the law, in each half
        parts = np.sort((stats.norm.cdf(noise[0].astype(np.float64)) * 32).astype(int).reshape(4, 2, 32))
        assert (parts == np.arange(32)).all()


@pytest.mark.parametrize("name", ["flip", "resample", "rao-blackwell"])
def test_an_estimate_stays_within_the_memory_budget(name):
    network = build_network((64, 60, 40, 10), [*LAWS, LAWS[0]], (0.8, 0.5, 0.5))
    x, labels = draw_points(64, 64, 10)
    source = MeanGradient(ESTIMATORS[name], 64, 0)
    whole = source(network, margin, x, labels)[1]
    backend.configure(memory="16MB")
    tracemalloc.start()
    found = source(network, margin, x, labels)[1]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    close = np.isclose(found, whole, rtol=1e-4, atol=1e-5).all(axis=1)
    assert (~close).sum() <= 1  # a threshold neuron within rounding of its threshold may fire in one and not in the other
    assert np.allclose(found, whole, rtol=0, atol=1e-3 * np.abs(whole).max())
    assert peak < 16 << 20


@pytest.mark.parametrize("average", [False, True])
def test_an_attack_breaks_what_has_no_derivative(network, average):
    model = Averaged(network, 64, 0) if average else network
    rows = np.random.default_rng(0).random((40, 6), dtype=np.float32)
    labels = model.forward(rows)[0].argmax(axis=1)
    attack = Attack("pgd", "margin", 0.5, steps=20, step_size=0.05, gradient="flip", draws=16)
    (attacked,) = attack_images(model, attack, rows, labels, np.arange(40))
    assert attacked.success.mean() > 0.3
    assert attacked.distance.max() <= 0.5 + 1e-6


@pytest.mark.parametrize(
    ("activation", "name", "expected"),
    [
        ("threshold", "analytic", "flip: threshold neurons have no derivative"),
        ("log-absolute", "analytic", "resample: log-absolute neurons have no derivative"),
        ("sigmoid", "flip", "--activation threshold"),
        ("threshold", "backprop", "threshold neurons have no derivative"),
    ],
)
def test_a_gradient_that_is_not_there_is_refused_and_one_that_is_named(activation, name, expected):
    with pytest.raises(InputError, match=expected):
        source_named(name, build_network((6, 4, 3), LAWS, (0.8, 0.5), activation), 8, 0)


def network_in_time(activation="threshold", spiking=False):
    how = {"spiking": spiking, "presentation": "rows", "steps": 1, "leak": 0.8, "law": Gaussian(), "scales": (0.5, 0.5)}
    return initial_noisy_in_time((3, 2), (8,), 3, 0, activation=Activation(activation), **how)


def convolutional(activation="threshold"):
    how = {"kernel": 2, "stride": 1, "pool": 1, "pooling": "mean", "law": Gaussian(), "scales": (0.5, 0.5)}
    return initial_noisy_convolutional((3, 2), (4,), (), 3, 0, activation=Activation(activation), **how)


FITTING = [
    (convolutional, {}, "flip"),
    (convolutional, {"activation": "log-absolute"}, "resample"),
    (convolutional, {"activation": "sigmoid"}, "backprop"),
    (network_in_time, {}, "surrogate"),
    (network_in_time, {"activation": "log-absolute"}, "antithetic"),
    (network_in_time, {"activation": "sigmoid"}, "backprop"),
    (network_in_time, {"spiking": True}, "flip"),
]


@pytest.mark.parametrize(("build", "settings", "name"), FITTING)
def test_every_kind_of_network_has_a_gradient_of_its_mean(build, settings, name):
    network = build(**settings)
    assert fitting_estimator(network) == name
    assert isinstance(source_named(name, network, 8, 0), MeanGradient)


@pytest.mark.parametrize(
    ("build", "settings", "name"),
    [*(FITTING[number] for number in (0, 3, 4, 6)), (network_in_time, {}, "flip"), (network_in_time, {}, "resample")],
)
def test_an_attack_along_the_fitting_gradient_is_better_than_chance(build, settings, name):
    network, rng = build(**settings), np.random.default_rng(0)
    rows = rng.random((40, 6), dtype=np.float32)
    for layer in network.layers:  # so that several classes are answered
        layer.bias[...] = -0.5 * layer.weight.reshape(len(layer.bias), -1).sum(axis=1)
    noise = tuple(rng.standard_normal((width, 1, 64), dtype=np.float32) for width in network.widths)
    network.layers[-1].bias[...] -= network.run(np.ascontiguousarray(rows.T), noise).outputs.mean(axis=(1, 2))
    model = Averaged(network, 64, 0)
    labels = model.forward(rows)[0].argmax(axis=1)
    attacks = [Attack("pgd", "margin", 0.3, steps=20, step_size=0.05, gradient=name, draws=32)]
    attacks.append(Attack("random", "margin", 0.3, steps=1))
    found, by_chance = (
        next(iter(attack_images(model, attack, rows, labels, np.arange(40)))).success.mean() for attack in attacks
    )
    assert found > max(0.5, by_chance + 0.25)


def test_recurrent_neurons_name_a_gradient_that_applies_to_them():
    with pytest.raises(InputError, match="surrogate: threshold neurons have no derivative"):
        source_named("analytic", network_in_time(), 8, 0)
    with pytest.raises(InputError, match="flip with sigmoid neurons"):
        source_named("flip", network_in_time("sigmoid"), 8, 0)


def test_a_mean_answer_has_no_gradient_of_its_own(network):
    smooth = build_network((6, 4, 3), LAWS, (0.8, 0.5), "sigmoid")
    with pytest.raises(InputError, match="no derivative of its own"):
        source_named("analytic", Averaged(smooth, 8, 0), 8, 0)


def test_only_a_network_with_noise_has_a_mean_over_it():
    with pytest.raises(InputError, match="only networks with noise"):
        source_named("flip", initial_mlp(4, (3,), 2, 0), 8, 0)


# -- straight through, and frozen --------------------------------------------------------------------------------------------


def perturbed(value, x, step=1e-4):
    """Return central differences of a sum over independent images, with respect to every pixel."""
    found = np.zeros(x.shape)
    for pixel in range(x.shape[1]):
        up, down = x.copy(), x.copy()
        up[:, pixel] += step
        down[:, pixel] -= step
        found[:, pixel] = (value(up) - value(down)) / (2 * step)
    return found


@pytest.mark.parametrize("law", ORACLE_LAWS, ids=lambda law: law.name)
def test_a_threshold_lets_through_the_slope_of_its_mean_response(law):
    """One neuron: P(v + σe > 0) = F(v/σ)."""
    (layer, _) = build_network((3, 2, 2), [law, law], (0.7, 0.5)).layers
    v = np.linspace(-3, 3, 13)
    expected = (distribution_of(law).cdf((v + 1e-5) / 0.7) - distribution_of(law).cdf((v - 1e-5) / 0.7)) / 2e-5
    scale = layer.scale.astype(np.float64)
    assert np.allclose(mean_slope(replace(layer, scale=scale), v), expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("activation", ["arctan-inverse", "log-absolute", "log-absolute-minus"])
def test_other_activations_let_through_about_the_slope_of_theirs(activation):
    """A sum over 16 pairs of nodes: a jump or a pole is smoothed, if not exactly."""
    (layer, _) = build_network((3, 2, 2), LAWS, (0.7, 0.5), activation).layers
    layer = replace(layer, scale=layer.scale.astype(np.float64))
    v, noise = np.linspace(-2, 2, 9), 0.7 * stats.norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    mean = [[layer.activation(at + step + noise).mean() for step in (1e-2, -1e-2)] for at in v]
    expected = (np.array(mean)[:, 0] - np.array(mean)[:, 1]) / 2e-2
    found = mean_slope(layer, v)
    assert np.corrcoef(found, expected)[0, 1] > 0.95
    assert np.abs(found - expected).max() < 0.3 * np.abs(expected).max()


@pytest.mark.parametrize("law", ORACLE_LAWS, ids=lambda law: law.name)
def test_what_does_nothing_has_nearly_the_slope_1(law):
    class Identity:
        name, smooth = "identity", False

        def __call__(self, v):
            return v

    (layer, _) = build_network((3, 2, 2), [law, law], (0.7, 0.5), "arctan-inverse").layers
    v = np.linspace(-3, 3, 13)
    found = mean_slope(replace(layer, scale=layer.scale.astype(np.float64), activation=Identity()), v)
    assert np.allclose(found, 1, rtol=0, atol=0.05)


def test_without_a_law_a_threshold_lets_through_the_slope_of_a_sigmoid():
    (layer, _) = build_network((3, 2, 2), [None, None], (0.7, 0.5)).layers
    v = np.linspace(-3, 3, 13).astype(np.float32)
    sigmoid = 1 / (1 + np.exp(-v.astype(np.float64)))
    assert mean_slope(layer, v).dtype == np.float32
    assert np.allclose(mean_slope(layer, v), sigmoid * (1 - sigmoid), rtol=1e-5, atol=0)


def test_a_smooth_network_has_nothing_to_be_passed_straight_through():
    network = build_network((6, 4, 3), LAWS, (0.8, 0.5), "sigmoid", dtype=np.float64)
    x, labels = draw_points(5, 6, 3)
    _, found = source_named("straight-through", network, 1, 0)(network, cross_entropy, x.astype(np.float64), labels)
    expected = perturbed(lambda z: cross_entropy(network.forward(z)[0], labels)[0], x.astype(np.float64))
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_straight_through_is_the_chain_rule_with_the_density(network):
    x, labels = draw_points(5, 6, 3)
    point, found = source_named("straight-through", network, 1, 0)(network, margin, x, labels)
    hidden, last = network.layers
    v = x @ hidden.weight.T + hidden.bias
    outputs = (v > 0) @ last.weight.T + last.bias
    slope = stats.norm.pdf(v / hidden.scale) / hidden.scale
    expected = ((margin(outputs, labels)[1] @ last.weight) * slope) @ hidden.weight
    assert np.allclose(point.outputs, network.forward(x)[0])
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_frozen_noise_is_the_images_own_and_stays():
    network = build_network((6, 4, 3), LAWS, (0.8, 0.5), "sigmoid", dtype=np.float64)
    x, labels = draw_points(5, 6, 3)
    x, ids = x.astype(np.float64), np.array([7, 3, 100, 0, 12])
    source = source_named("frozen", network, 1, 4, ids)
    point, found = source(network, cross_entropy, x, labels)
    assert np.array_equal(source(network, cross_entropy, x, labels)[1], found)
    bound = network.at(frozen_noise(network, 4, ids))
    expected = perturbed(lambda z: cross_entropy(bound.forward(z)[0], labels)[0], x)
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert np.array_equal(point.outputs, network.forward(x)[0])  # the point is as the network answers
    some = np.array([3, 1])
    for part in (source.of(some), source_named("frozen", network, 1, 4, ids[some])):
        assert np.allclose(part(network, cross_entropy, x[some], labels[some])[1], found[some], rtol=1e-12, atol=0)
    other = source_named("frozen", network, 1, 5, ids)(network, cross_entropy, x, labels)[1]
    assert not np.isclose(other, found).all(axis=1).any()


def test_without_numbers_all_images_share_the_frozen_noise():
    network = build_network((6, 4, 3), LAWS, (0.8, 0.5), "sigmoid")
    x, labels = np.tile(draw_points(1, 6, 3)[0], (4, 1)), np.zeros(4, dtype=np.int64)
    _, found = source_named("frozen", network, 1, 4)(network, cross_entropy, x, labels)
    assert np.allclose(found, found[0], rtol=1e-5, atol=0)
    _, apart = source_named("frozen", network, 1, 4, np.arange(4))(network, cross_entropy, x, labels)
    assert not np.isclose(apart[1:], apart[0]).all(axis=1).any()


@pytest.mark.parametrize("activation", ["threshold", "sigmoid", "log-absolute"])
@pytest.mark.parametrize("gradient", ["straight-through", "frozen"])
@pytest.mark.parametrize("method", ["pgd", "apgd", "fab"])
def test_every_search_follows_them(activation, gradient, method):
    network = build_network((6, 8, 3), LAWS, (0.8, 0.5), activation, seed=4, spread=3)
    rows = np.random.default_rng(0).random((40, 6), dtype=np.float32)
    labels = network.forward(rows)[0].argmax(axis=1)
    attack = Attack(method, "margin", 0.5, steps=20, step_size=0.05, gradient=gradient)
    (attacked,) = attack_images(network, attack, rows, labels, np.arange(40))
    assert attacked.success.mean() > 0.05, attacked.success.mean()
    if (method, activation, gradient) == ("fab", "log-absolute", "straight-through"):
        return  # by slopes of ln|v| near 0 FAB comes elsewhere for a last digit of a matrix product, and so with fewer images
    for image in (0, 17):
        (alone,) = attack_images(network, attack, rows, labels, np.array([image]))
        assert np.allclose(alone.x_adv[0], attacked.x_adv[image], rtol=0, atol=1e-5)


@pytest.mark.parametrize("gradient", ["straight-through", "frozen"])
def test_every_device_has_them(xp_device, gradient):
    network = build_network((6, 8, 3), LAWS, (0.8, 0.5), seed=2)
    x, labels = draw_points(9, 6, 3)
    ids = np.arange(9)
    here = source_named(gradient, network, 1, 0, ids)(network, dlr, x, labels)[1]
    there = on_device(network)
    source = source_named(gradient, there, 1, 0, to_device(ids))
    found = source(there, dlr, to_device(x), to_device(labels))[1]
    assert found.dtype == np.float32
    assert np.allclose(to_numpy(found), here, rtol=1e-3, atol=1e-5)


def test_they_are_refused_where_there_is_nothing_of_the_kind():
    with pytest.raises(InputError, match="gradient: 'straight-through'"):
        source_named("straight-through", initial_mlp(4, (3,), 2, 0), 8, 0)
    with pytest.raises(InputError, match="no noise to hold fixed"):
        source_named("frozen", build_network((6, 4, 3), [None, None], (0.8, 0.5)), 8, 0)


# -- targets -----------------------------------------------------------------------------------------------------------------


def test_a_landscape_with_targets_is_that_of_the_targeted_objective():
    model = initial_mlp(6, (5,), 4, 0)
    x = np.random.default_rng(0).random((7, 6), dtype=np.float32)
    labels, targets = np.arange(7) % 4, (np.arange(7) + 2) % 4
    landscape = Landscape(model, targeted_dlr, labels, targets=targets)
    point, gradient = landscape.value_and_gradient(x)
    outputs, cache = model.forward(x)
    value, d_outputs = targeted_dlr(outputs, labels, targets)
    assert np.array_equal(point.value, value)
    assert np.array_equal(landscape.evaluate(x).value, value)
    assert np.array_equal(gradient, model.input_gradient(d_outputs, cache))
    some = np.array([4, 2])
    assert np.allclose(landscape.of(some).evaluate(x[some]).value, value[some], rtol=1e-5)
    assert np.array_equal(landscape.wrong(point), outputs.argmax(axis=1) != labels)


def test_an_estimator_finds_the_gradient_of_a_targeted_objective(network):
    """Estimators repeat labels for every neuron and draw: the targets go with them."""
    x, labels = draw_points(6, 6, 3)
    rivals = (labels + 1) % 3
    source = source_named("flip", network, 500, 0)
    _, found = Landscape(network, targeted_margin, labels, source, rivals).value_and_gradient(x)
    each = [
        Landscape(network, lambda z, y, t=t: targeted_margin(z, y, np.full_like(y, t)), labels, source).value_and_gradient(x)[1]
        for t in range(3)
    ]
    assert np.allclose(found, np.array(each)[rivals, np.arange(6)], rtol=1e-4, atol=1e-6)


def test_the_exact_gradient_of_a_targeted_objective_is_what_the_estimates_tend_to(network):
    quiet = quiet_outputs(network)
    x, labels = draw_points(6, 6, 3)
    for rivals in ((labels + 1) % 3, np.full(6, 2)):
        labels_now = np.where(labels == rivals, (labels + 1) % 3, labels)
        by = {
            name: Landscape(quiet, targeted_margin, labels_now, source_named(name, quiet, draws, 0), rivals).value_and_gradient(
                x
            )[1]
            for name, draws in (("exact", 1), ("flip", 4_000))
        }
        assert (np.abs(by["exact"]).max(axis=1) > 0).all()
        assert np.abs(by["exact"] - by["flip"]).max() < 0.1 * np.abs(by["exact"]).max()


def test_the_likeliest_wrong_classes_come_first():
    outputs = np.array([[3.0, 1, 2, 0], [0, 5, 4, 9]])
    assert np.array_equal(likeliest_wrong(outputs, np.array([0, 1]), 3), [[2, 1, 3], [3, 2, 0]])
    assert likeliest_wrong(outputs, np.array([2, 0]), 1).tolist() == [[0], [3]]
