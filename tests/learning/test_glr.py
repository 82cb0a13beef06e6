"""The learner follows Algorithm 1 step by step; threads, memory and interruptions change nothing."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import strict_arrays
from noisy_oracle import LAWS, build_network, draw_points, on_device

from minicereb import backend
from minicereb.backend import to_device, to_numpy
from minicereb.calculus.noise import Gaussian, Laplace
from minicereb.calculus.replicated import CrossEntropy, ZeroOne
from minicereb.datasets.dataset import Dataset
from minicereb.errors import InputError
from minicereb.learning import glr
from minicereb.learning.estimators import ESTIMATORS
from minicereb.learning.glr import GLR, estimate, estimator_named
from minicereb.learning.noise import Address, Independent
from minicereb.learning.optimizers import SGD, Adam, RMSprop
from minicereb.learning.scores import ScoreFunction
from minicereb.learning.training import Position, Split, learn_numbered, restore, train

WIDTHS, SCALES = (6, 4, 3), (1.5, 0.6)
NEURONS = sum(WIDTHS[1:])
OPTIMIZERS = [SGD(0.1), RMSprop(0.01), Adam(0.01)]
by_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)
by_estimator = pytest.mark.parametrize("name", ESTIMATORS)


def network_for(name="plain", law=LAWS[0], dtype=np.float32, seed=0):
    """A network to which the estimator with this name applies."""
    activation = "sigmoid" if name == "backprop" else "threshold"
    return build_network(WIDTHS, [law, None if name == "exact" else law], SCALES, activation, seed, dtype)


def learner_for(name="plain", optimizer=OPTIMIZERS[0], batch_size=5, replications=8, network=None, loss=None, **settings):
    network, loss = network or network_for(name), loss or CrossEntropy()
    return GLR(network, loss, ESTIMATORS[name], optimizer, batch_size, 1 if name == "exact" else replications, 0, **settings)


def copies(arrays):
    return {name: to_numpy(array).copy() for name, array in arrays.items()}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


# -- a step ------------------------------------------------------------------------------------------------------------------


def algorithm_1(network, x, labels, noise):
    """Mean over images and replications of ``L(v) s(r) x`` ``[G5]``, one image, replication and neuron after the other."""
    gradients = [{name: np.zeros_like(getattr(layer, name)) for name in ("weight", "bias", "scale")} for layer in network.layers]
    losses = np.zeros((len(x), noise[0].shape[2]))
    for image, replication in np.ndindex(losses.shape):
        inputs, r = [x[image]], []
        for layer, e in zip(network.layers, noise, strict=True):
            r.append(layer.scale[0] * e[:, image, replication])
            v = layer.weight @ inputs[-1] + layer.bias + r[-1]
            inputs.append(v if layer.activation is None else (v > 0).astype(float))
        outputs = inputs[-1]
        losses[image, replication] = np.log(np.exp(outputs).sum()) - outputs[labels[image]]
        for layer, x_in, own, gradient in zip(network.layers, inputs, r, gradients, strict=False):
            sigma = layer.scale[0]
            score = own / sigma**2 if isinstance(layer.law, Gaussian) else np.sign(own) / sigma
            gradient["weight"] += losses[image, replication] * np.outer(score, x_in) / losses.size
            gradient["bias"] += losses[image, replication] * score / losses.size
            gradient["scale"] += losses[image, replication] * (own @ score - len(own)) / sigma / losses.size
    return losses.mean(axis=1), gradients


@pytest.mark.parametrize("law", [Gaussian(), Laplace()], ids=lambda law: law.name)
@pytest.mark.parametrize("replications", [1, 7])
def test_a_step_is_algorithm_1(law, replications):
    """Compared in float64, with the noise of each step's own address."""
    network, (x, labels) = network_for(law=law, dtype=np.float64), draw_points(10, 6, 3)
    x = x.astype(np.float64)
    learner = learner_for(network=network, replications=replications, learn_scale=True)
    expected = copies(network.parameters)
    steps = []
    for step, learned in enumerate(learner.learn(x, labels)):
        batch = slice(5 * step, 5 * step + 5)
        noise = Independent().draw(x, [law] * 2, network.widths, 5, replications, Address(0, (step, 0)))
        before = network_for(law=law, dtype=np.float64)
        restore(before.parameters, expected)
        losses, gradients = algorithm_1(before, x[batch], labels[batch], noise)
        assert np.allclose(learned.loss, losses, rtol=1e-12)
        assert np.allclose(learned.outputs, before.forward(x[batch])[0], rtol=1e-12)
        for number, gradient in enumerate(gradients):
            expected[f"weight_{number}"] -= 0.1 * gradient["weight"]
            expected[f"bias_{number}"] -= 0.1 * gradient["bias"]
            sigma = expected[f"scale_{number}"]
            expected[f"scale_{number}"] = np.exp(np.log(sigma) - 0.1 * gradient["scale"] * sigma)  # by log σ: times σ
        steps.append(noise)
    assert learner.steps == len(steps) == 2
    assert not np.isclose(steps[0][0], steps[1][0]).any()
    for name, array in network.parameters.items():
        assert np.allclose(array, expected[name], rtol=1e-10, atol=1e-12), name


@by_optimizer
@by_estimator
def test_every_array_learns_from_its_own_gradient(optimizer, name):
    network, twin, (x, labels) = network_for(name), network_for(name), draw_points(12, 6, 3)
    states = {key: optimizer.state(array) for key, array in twin.parameters.items()}
    for step, _ in enumerate(learner_for(name, optimizer, 4, network=network).learn(x, labels)):
        batch = slice(4 * step, 4 * step + 4)
        found = estimate(twin, CrossEntropy(), ESTIMATORS[name], x[batch], labels[batch], 8, Address(0, (step,)))
        for number, gradient in enumerate(found.gradients):
            for kind, array in gradient.items():
                key = f"{kind}_{number}"
                optimizer.update(twin.parameters[key], array.copy(), states[key], step + 1, np.empty_like(array))
    for key, array in network.parameters.items():
        assert np.allclose(array, twin.parameters[key], rtol=1e-5, atol=1e-6), key
        assert key.startswith("scale") or not np.array_equal(array, network_for(name).parameters[key])


def test_penalties_are_added_to_the_gradients_of_weights_alone():
    x, labels = draw_points(5, 6, 3)
    plain, penalised = learner_for(), learner_for(l2=0.3, l1=0.02)
    before = copies(plain.model.parameters)
    (one,), (other,) = plain.learn(x, labels), penalised.learn(x, labels)
    assert np.array_equal(one.loss, other.loss)
    for name, array in penalised.model.parameters.items():
        penalty = 0.3 * before[name] + 0.02 * np.sign(before[name]) if name.startswith("weight") else 0
        assert np.allclose(array, plain.model.parameters[name] - 0.1 * penalty, rtol=0, atol=1e-6), name


@pytest.mark.parametrize("learns", [False, True])
def test_noise_scales_stay_unless_they_are_to_learn_and_then_stay_above_0(learns):
    (x, labels), learner = draw_points(40, 6, 3), learner_for(optimizer=Adam(0.5), learn_scale=learns)
    list(learner.learn(x, labels))
    scales = [layer.scale[0] for layer in learner.model.layers]
    assert (scales != pytest.approx(SCALES)) == learns
    assert min(scales) > 0


def test_silent_layers_have_no_scale_to_learn():
    network, (x, labels) = network_for("exact"), draw_points(5, 6, 3)
    list(learner_for("exact", network=network, learn_scale=True).learn(x, labels))
    assert network.layers[0].scale[0] != np.float32(SCALES[0])
    assert network.layers[1].scale[0] == np.float32(SCALES[1])


def test_the_loss_on_images_held_out_has_the_same_noise_after_every_epoch():
    learner, (x, labels) = learner_for(), draw_points(20, 6, 3)
    first = learner.losses(x, labels, 0)
    learner.steps = 9
    assert np.array_equal(learner.losses(x, labels, 0), first)
    assert not np.isclose(learner.losses(x, labels, 1), first).any()
    silent = learner_for("backprop", network=build_network(WIDTHS, [None] * 2, SCALES, "sigmoid"))
    outputs, _ = silent.model.forward(x)
    assert np.allclose(
        silent.losses(x, labels, 0), np.logaddexp.reduce(outputs, axis=1) - outputs[np.arange(20), labels], rtol=1e-5
    )


def test_the_loss_on_images_held_out_is_computed_within_the_memory_budget():
    """The noise of the block is drawn whole, so the loss is the same; the runs of its images are not kept together."""
    network, (x, labels) = build_network((6, 300, 3), [Gaussian()] * 2, (1.0, 1.0), "threshold"), draw_points(256, 6, 3)
    learner = learner_for(network=network)
    found, peaks = [], []
    for memory in ("1GB", "16MB"):
        backend.configure(memory=memory)
        learner.losses(x, labels, 0)  # what is kept between calls is not counted
        tracemalloc.start()
        found.append(learner.losses(x, labels, 0))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    noise = 4 * 303 * 256 * glr.VALIDATION_RUNS
    assert peaks[0] > noise + 16e6 > peaks[1]
    assert np.allclose(found[0], found[1], rtol=1e-5)


# -- threads, memory, pieces -------------------------------------------------------------------------------------------------


def bits(found):
    arrays = [found.loss, found.first_credit, *(array for gradient in found.gradients for array in gradient.values())]
    return [array.tobytes() for array in arrays]


@by_estimator
def test_neither_threads_nor_memory_change_a_bit_and_an_address_replays(name, monkeypatch):
    """There are several pieces of work: groups of images and, in the last case, of replications of a single image."""
    network, (x, labels) = network_for(name), draw_points(150, 6, 3)
    monkeypatch.setattr(glr, "NUMBERS", NEURONS * 4096)
    many = 3 * 4096 // ESTIMATORS[name].columns_per_sample
    for images, replications in ((150, 64), (2, many)) if name != "sobol" else ((150, 64),):
        given = (network, CrossEntropy(), ESTIMATORS[name], x[:images], labels[:images], replications)
        results = []
        for threads, memory in ((1, "1GB"), (2, "1GB"), (3, "16MB")):
            backend.configure(threads=threads, memory=memory)
            results.append(bits(estimate(*given, Address(0, (5,)), scales=True)))
        assert results[0] == results[1] == results[2]
        other = bits(estimate(*given, Address(0, (6,)), scales=True))
        assert (other == results[0]) == (name == "exact")


@pytest.mark.parametrize("replications", [1, 3, 5, 100])
@pytest.mark.parametrize("samples", [4, 7, 64])
def test_pieces_of_any_size_add_up(monkeypatch, samples, replications):
    """Without noise every piece is exact, so only its share in the sum could be wrong."""
    network, (x, labels) = build_network(WIDTHS, [None] * 2, SCALES, "sigmoid", dtype=np.float64), draw_points(11, 6, 3)
    given = (network, CrossEntropy(), ESTIMATORS["backprop"], x.astype(np.float64), labels, replications, Address(0, ()))
    whole = estimate(*given)
    monkeypatch.setattr(glr, "NUMBERS", NEURONS * samples)
    parts = estimate(*given)
    assert np.allclose(parts.loss, whole.loss, rtol=1e-12)
    assert np.allclose(parts.first_credit, whole.first_credit, rtol=1e-12, atol=1e-15)
    for part, gradient in zip(parts.gradients, whole.gradients, strict=True):
        assert all(np.allclose(part[key], gradient[key], rtol=1e-12, atol=1e-15) for key in gradient)
    assert np.allclose(whole.gradients[0]["weight"], whole.first_credit.T @ x / 11, rtol=1e-12)


def test_pieces_have_noise_of_their_own(monkeypatch):
    """The same image gets different noise in each piece."""
    network, (x, labels) = network_for(), draw_points(1, 6, 3)
    monkeypatch.setattr(glr, "NUMBERS", NEURONS * 8)
    found = estimate(
        network, CrossEntropy(), ESTIMATORS["plain"], np.repeat(x, 6, axis=0), np.repeat(labels, 6), 4, Address(0, ())
    )
    assert len(np.unique(found.loss)) == 6


# -- stopping and going on ---------------------------------------------------------------------------------------------------


def dataset(images=83):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (images + 10, 6)).astype(np.uint8), rng.integers(0, 3, images + 10)
    return Dataset("a test", x[:images], y[:images], x[images:], y[images:], (6,), 3)


LEARNERS = {
    "plain, one replication": lambda: learner_for(batch_size=2, replications=1),
    "antithetic, Adam, scales": lambda: learner_for("antithetic", Adam(0.01), 2, learn_scale=True, l2=1e-3, l1=1e-4),
    "resample, RMSprop, 0-1": lambda: learner_for("resample", RMSprop(0.01), 2, 1, loss=ZeroOne(), learn_scale=True),
    "flip": lambda: learner_for("flip", batch_size=2, replications=1),
    "baseline by image, allocated": lambda: learner_for(
        "rao-blackwell", Adam(0.01), 2, 1, baseline="image", allocation="scatter", images=83
    ),
    "baseline by class": lambda: learner_for("rao-blackwell", batch_size=2, replications=1, baseline="class", images=83),
    "flip, allocated": lambda: learner_for("flip", batch_size=2, replications=1, allocation="scatter", images=83),
}
every_learner = pytest.mark.parametrize("make_learner", LEARNERS.values(), ids=LEARNERS)


@every_learner
def test_training_taken_up_from_any_event_ends_with_the_same_bits(make_learner):
    split, best, learner, events = Split(dataset(), 0.2, 0), {}, make_learner(), []
    for position, done in train(learner, split, 2, 7, Position(), best):
        events.append((position, done, copies(learner.arrays()), copies(best)))
    assert len(events) > 2  # there is something between the ends of epochs
    assert learner.steps == position.steps == 66
    for number, (position, _, arrays, best_then) in enumerate(events):
        resumed, best_again = make_learner(), copies(best_then)
        restore(resumed.arrays(), arrays)
        rest = list(train(resumed, split, 2, 7, position, best_again))
        assert rest == [(position, done) for position, done, _, _ in events[number + 1 :]]
        assert same(copies(resumed.arrays()), events[-1][2])
        assert same(best_again, events[-1][3])


@every_learner
def test_all_that_changes_is_among_the_arrays_and_is_written_in_place(make_learner):
    learner, (x, labels) = make_learner(), draw_points(4, 6, 3)
    arrays, before = learner.arrays(), copies(learner.arrays())
    list(learn_numbered(learner, x, labels, np.arange(4)))
    assert all(array is arrays[name] for name, array in learner.arrays().items())
    assert all(arrays[name] is array for name, array in learner.model.parameters.items())
    unchanged = {name for name, array in arrays.items() if np.array_equal(array, before[name])}
    assert unchanged == ({"scale_0", "scale_1"} if not learner.learn_scale else set())


# -- on every device ---------------------------------------------------------------------------------------------------------


@by_estimator
def test_learning_on_every_device(xp_device, name):
    """The draws agree up to rounding, and so do the weights, except for neurons close to their threshold."""
    here, (x, labels) = network_for(name), draw_points(20, 6, 3)
    there = on_device(network_for(name))
    learner = learner_for(name, Adam(0.01), network=there, learn_scale=True)
    inputs, reads = (to_device(x), to_device(labels)), strict_arrays.StrictArray.reads
    list(learner.learn(*inputs))
    assert strict_arrays.StrictArray.reads == reads  # nothing waits for the device
    assert all(type(array) is xp_device.ndarray and array.dtype == np.float32 for array in learner.arrays().values())
    backend.configure(device="cpu")
    list(learner_for(name, Adam(0.01), network=here, learn_scale=True).learn(x, labels))
    for key, array in here.parameters.items():
        assert np.allclose(to_numpy(there.parameters[key]), array, rtol=0, atol=1e-3), key


# -- settings ----------------------------------------------------------------------------------------------------------------


def test_estimators_are_found_by_name():
    for name, found in ESTIMATORS.items():
        if isinstance(found, ScoreFunction):
            assert estimator_named(name, "score") == found
            assert estimator_named(name, "derivative") == replace(found, derivative_last=True)
        else:
            assert estimator_named(name, "derivative") == found
            with pytest.raises(InputError, match=f"last-layer: 'score'.*derivative.*{name}"):
                estimator_named(name, "score")
    for name, last_layer, setting in (("best", "score", "estimator"), ("plain", "both", "last-layer")):
        with pytest.raises(InputError) as caught:
            estimator_named(name, last_layer)
        assert caught.value.setting == setting


@pytest.mark.parametrize(
    ("given", "setting", "expected"),
    [
        ({"replications": 0}, "replications", "at least 1"),
        ({"name": "baseline", "replications": 1}, "replications", "at least 2"),
        ({"name": "antithetic", "replications": 6 + 1}, "replications", "even number of at least 4"),
        ({"name": "sobol", "replications": 12}, "replications", "power of two"),
        ({"name": "flip", "network": network_for("backprop")}, "estimator", "--activation threshold.*resample.*backprop"),
        ({"name": "exact", "network": build_network((3, 21, 2), [LAWS[0], None], SCALES)}, "estimator", "at most 20.*flip"),
        ({"name": "flip", "network": network_for("exact"), "loss": ZeroOne()}, "estimator", "expected output noise"),
        ({"name": "exact", "network": network_for("exact"), "loss": ZeroOne()}, "estimator", "expected output noise"),
        ({"name": "exact", "network": network_for()}, "estimator", "--no-output-noise"),
        ({"name": "backprop", "network": network_for()}, "estimator", "threshold neurons have no derivative"),
        ({"l2": -1.0}, "l2", "at least 0"),
        ({"l1": float("nan")}, "l1", "at least 0"),
    ],
)
def test_a_learner_that_cannot_learn_is_refused_with_what_would_do(given, setting, expected):
    with pytest.raises(InputError, match=expected) as caught:
        learner_for(**given)
    assert caught.value.setting == setting
