"""The pessimistic delta rule follows its equations on every device; its bounds hold; errors name bad settings."""

import dataclasses

import numpy as np
import pytest
from scipy.sparse import csr_array

from minicereb import backend, parallel
from minicereb.backend import to_device, to_numpy
from minicereb.calculus import cerebellum as paper
from minicereb.calculus.losses import DESCENDED
from minicereb.certificates.certify import certify
from minicereb.errors import InputError
from minicereb.experiments.architectures import CerebellumModel
from minicereb.gradcheck.differences import check_gradient
from minicereb.learning.optimizers import SGD, RMSprop
from minicereb.learning.pessimistic import PessimisticDeltaRule
from minicereb.learning.plasticity import DeltaRule

FIBRES = pytest.mark.parametrize("fires_above", [None, 0.5])


def projection(model):
    data, indices, starts = model.wiring.csr()
    shape = (model.wiring.cells, model.wiring.width)
    return csr_array((data.astype(np.float64), indices, starts), shape=shape).toarray().T


def expected_step(model, x, labels, decay, epsilon, share, loss="mse"):
    """Mean after a batch, loss, outputs and gradient, by the equations."""
    J, W, targets = projection(model), to_numpy(model.readout).astype(np.float64), np.eye(model.readout.shape[1])[labels]
    rest = 0 if model.wiring.rest is None else to_numpy(model.wiring.rest)
    h = paper.granule(paper.mossy(x, model.fires_above), J, rest)
    mean = to_numpy(model.ltd_mean).astype(np.float64)
    mean = mean if decay is None else paper.ltd_mean(mean, h, decay)
    outputs = paper.purkinje(h, mean, W)
    value, error = DESCENDED[loss](outputs, labels)
    low, high = paper.granule_bounds(*paper.mossy_bounds(x, epsilon, model.fires_above), J, rest)
    at_worst = paper.worst_outputs(low, high, mean, W, targets)
    worst_value, worst = paper.pessimistic_loss(at_worst, targets) if loss == "mse" else DESCENDED[loss](at_worst, labels)
    gradient = (1 - share) * paper.readout_gradient(h, mean, error)
    gradient += share * paper.pessimistic_gradient(low, high, mean, worst, W, targets)
    return mean, (1 - share) * value + share * worst_value, outputs, gradient


@FIBRES
@pytest.mark.parametrize("options", [{"kind": "random"}, {"kind": "full"}, {"kind": "local", "field": 3, "codons": 0.4}], ids=str)
@pytest.mark.parametrize(("decay", "batch_size", "loss"), [(0.9, 10, "mse"), (None, 3, "cross-entropy"), (0.9, 1, "mse")])
def test_a_training_follows_the_equations(build_cerebellum, draw_images, fires_above, options, decay, batch_size, loss):
    """In float64; ε grows over the first half of seven steps; the last batch may be smaller."""
    model = dataclasses.replace(build_cerebellum(cells=300, ltd=decay is None, **options), fires_above=fires_above)
    x, labels = draw_images(6 * batch_size + 1)
    rule = PessimisticDeltaRule(model, SGD(0.02), batch_size, decay, 0.1, 0.6, 7, DESCENDED[loss])
    for number, part in enumerate(parallel.blocks(len(x), batch_size)):
        reached = 0.1 * min(1, number / 3.5)
        mean, value, outputs, gradient = expected_step(model, x[part], labels[part], decay, reached, 0.6, loss)
        before = model.readout.copy()
        (learned,) = rule.learn(x[part], labels[part])
        assert np.allclose(learned.loss, value, rtol=1e-12, atol=1e-12)
        assert np.allclose(learned.outputs, outputs, rtol=0, atol=1e-12)
        assert np.allclose(model.ltd_mean, mean, rtol=0, atol=1e-14)
        assert np.allclose(before - model.readout, 0.02 * gradient, rtol=0, atol=1e-12)


@FIBRES
def test_a_training_on_every_device_follows_the_equations_in_float32(xp_device, build_cerebellum, draw_images, fires_above):
    model = build_cerebellum(cells=3000, dtype=np.float32, ltd=False)
    model = dataclasses.replace(model, fires_above=fires_above)
    x, labels = draw_images(10, dtype=np.float32)
    rule = PessimisticDeltaRule(model, SGD(0.02), 10, 0.9, 0.1, 0.5, 1)
    rule.steps = 1
    mean, loss, outputs, gradient = expected_step(model, to_numpy(x).astype(np.float64), to_numpy(labels), 0.9, 0.1, 0.5)
    before = to_numpy(model.readout).copy()
    (learned,) = rule.learn(x, labels)
    assert np.allclose(to_numpy(learned.loss), loss, rtol=1e-4)
    assert np.allclose(to_numpy(learned.outputs), outputs, rtol=0, atol=1e-4)
    assert np.allclose(to_numpy(model.ltd_mean), mean, rtol=0, atol=1e-6)
    assert np.allclose(before - to_numpy(model.readout), 0.02 * gradient, rtol=0, atol=1e-5)
    assert rule.hits(x, labels).shape == (10,)
    for array in rule.arrays().values():
        assert type(array) is xp_device.ndarray
        assert array.dtype == np.float32


@FIBRES
def test_the_rule_descends_its_loss(build_cerebellum, draw_images, fires_above):
    model, (x, labels) = build_cerebellum(cells=20), draw_images(4)
    J, mean, targets = projection(model), model.ltd_mean, np.eye(3)[labels]
    low, high = paper.granule_bounds(*paper.mossy_bounds(x, 0.1, fires_above), J)

    def value(W):
        return paper.pessimistic_loss(paper.worst_outputs(low, high, mean, W, targets), targets)[0].mean()

    W = model.readout.copy()
    _, error = paper.pessimistic_loss(paper.worst_outputs(low, high, mean, W, targets), targets)
    assert check_gradient(value, paper.pessimistic_gradient(low, high, mean, error, W, targets), W).error < 1e-7


@FIBRES
def test_no_image_within_epsilon_leaves_the_bounds(build_cerebellum, draw_images, fires_above):
    model, (x, labels) = build_cerebellum(cells=50), draw_images(20)
    rng, J, targets = np.random.Generator(np.random.PCG64(3)), projection(model), np.eye(3)[labels]
    low, high = paper.granule_bounds(*paper.mossy_bounds(x, 0.2, fires_above), J)
    worst = paper.worst_outputs(low, high, model.ltd_mean, model.readout, targets)
    for _ in range(50):
        near = np.clip(x + 0.2 * rng.choice([-1, -0.5, 0.3, 1], x.shape), 0, 1)
        h = paper.granule(paper.mossy(near, fires_above), J)
        assert (h >= low - 1e-12).all()
        assert (h <= high + 1e-12).all()
        assert ((1 - 2 * targets) * (worst - paper.purkinje(h, model.ltd_mean, model.readout)) >= -1e-12).all()


@FIBRES
def test_images_that_the_worst_activity_leaves_correct_are_certified(build_cerebellum, draw_images, fires_above):
    model = dataclasses.replace(build_cerebellum(cells=200, kind="local", field=3, codons=0.5), fires_above=fires_above)
    x, _ = draw_images(200)
    labels = model.forward(x)[0].argmax(axis=1)
    hits = PessimisticDeltaRule(model, SGD(0.1), 10, None, 0.01, 0.5, 10).hits(x, labels)
    assert 10 < hits.sum() < 200
    assert certify(model, x, labels, 0.01 - 1e-9, method="interval").certified[hits].all()


def test_without_pessimism_it_is_the_delta_rule(build_cerebellum, draw_images):
    models = [build_cerebellum(cells=300) for _ in range(2)]
    x, labels = draw_images(40)
    list(PessimisticDeltaRule(models[0], RMSprop(0.01), 10, 0.9, 0.1, 0.0, 4).learn(x, labels))
    list(DeltaRule(models[1], RMSprop(0.01), 10, 0.9).learn(x, labels))
    assert np.allclose(models[0].readout, models[1].readout, rtol=0, atol=1e-10)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_and_calls_do_not_change_a_bit(build_cerebellum, draw_images, threads):
    """70,000 cells are several blocks."""
    x, labels = draw_images(30, dtype=np.float32)
    found = []
    for count, group in ((1, 30), (threads, 10)):
        backend.configure(device="cpu", threads=count)
        model = build_cerebellum(cells=70_000, dtype=np.float32, ltd=False)
        rule = PessimisticDeltaRule(model, RMSprop(1e-4), 10, 0.9, 0.1, 0.5, 3)
        assert len(rule.parts) > 2
        for part in parallel.blocks(30, group):
            list(rule.learn(x[part], labels[part]))
        found.append([*rule.arrays().values(), rule.hits(x, labels)])
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other)


def test_a_threshold_has_no_gradient_but_its_fibres_have(build_cerebellum, draw_images):
    graded, (x, _) = build_cerebellum(), draw_images(5)
    model = dataclasses.replace(graded, fires_above=0.5)
    outputs, cache = model.forward(x)
    fires = paper.mossy(x, 0.5)
    assert np.array_equal(outputs, graded.forward(fires)[0])
    assert not model.input_gradient(outputs, cache).any()
    assert np.array_equal(model.fibre_gradient(outputs, cache), graded.input_gradient(outputs, graded.forward(fires)[1]))


@pytest.mark.parametrize(
    ("setting", "options"),
    [
        ("mossy-fibres", {"mossy_fibres": "spiking"}),
        ("threshold", {"mossy_fibres": "threshold", "threshold": 0.0}),
        ("threshold", {"mossy_fibres": "threshold", "threshold": 1.0}),
        ("threshold", {"mossy_fibres": "threshold"}),
        ("threshold", {"threshold": 0.5}),
        ("field", {"field": 3}),
        ("codons", {"codons": 1.5}),
        ("loss", {"rule": "least-squares", "loss": "cross-entropy"}),
        ("epsilon", {"rule": "pessimistic", "uncertainty": -0.1, "pessimism": 0.5}),
        ("epsilon", {"uncertainty": 0.1}),
        ("pessimism", {"rule": "pessimistic", "uncertainty": 0.1}),
        ("pessimism", {"rule": "pessimistic", "uncertainty": 0.1, "pessimism": 1.5}),
        ("pessimism", {"pessimism": 0.5}),
    ],
)
def test_a_bad_setting_is_named(setting, options):
    with pytest.raises(InputError) as caught:
        CerebellumModel("random", 10, 4, **options)
    assert caught.value.setting == setting


@pytest.mark.parametrize(("setting", "numbers"), [("epsilon", (-0.1, 0.5)), ("pessimism", (0.1, 2.0))])
def test_a_rule_refuses_bad_numbers(build_cerebellum, setting, numbers):
    with pytest.raises(InputError) as caught:
        PessimisticDeltaRule(build_cerebellum(), SGD(0.1), 10, None, *numbers, 10)
    assert caught.value.setting == setting


def test_images_outside_the_box_are_refused(build_cerebellum, draw_images):
    rule, (x, labels) = PessimisticDeltaRule(build_cerebellum(), SGD(0.1), 10, None, 0.1, 0.5, 10), draw_images(5)
    for call in (lambda: list(rule.learn(2 * x, labels)), lambda: rule.hits(2 * x, labels)):
        with pytest.raises(InputError):
            call()
    assert len(list(rule.learn(to_device(to_numpy(x)), labels))) == 1
