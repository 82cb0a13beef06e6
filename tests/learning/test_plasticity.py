"""The delta rule does what the paper's equations say, step by step."""

import dataclasses

import numpy as np
import pytest
import strict_arrays
from scipy.sparse import csr_array

from minicereb import parallel
from minicereb.backend import to_device, to_numpy
from minicereb.calculus.cerebellum import granule, loss, ltd_mean, purkinje, readout_gradient
from minicereb.learning.optimizers import SGD, Adam, RMSprop
from minicereb.learning.plasticity import DeltaRule

OPTIMIZERS = [SGD(0.05), RMSprop(0.01), Adam(0.01)]
by_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda optimizer: type(optimizer).__name__)


class Paper:
    """A cerebellum that learns by the equations of :mod:`minicereb.calculus.cerebellum`, in float64."""

    def __init__(self, model, optimizer, ltd_decay):
        data, indices, starts = model.wiring.csr()
        shape = (model.wiring.cells, model.wiring.width)
        self.J = csr_array((data.astype(np.float64), indices, starts), shape=shape).toarray().T
        self.W, self.mu = (to_numpy(array).astype(np.float64) for array in (model.readout, model.ltd_mean))
        self.optimizer, self.beta = optimizer, ltd_decay
        self.M, self.V, self.t = np.zeros_like(self.W), np.zeros_like(self.W), 0

    def step(self, x, labels):
        h = granule(x, self.J)
        if self.beta is not None:
            self.mu = ltd_mean(self.mu, h, self.beta)
        outputs = purkinje(h, self.mu, self.W)
        value, error = loss(outputs, np.eye(self.W.shape[1])[labels])
        g = readout_gradient(h, self.mu, error)
        self.t += 1
        eta = self.optimizer.learning_rate
        if isinstance(self.optimizer, SGD):
            self.W = self.W - eta * g
        elif isinstance(self.optimizer, RMSprop):
            self.V = 0.99 * self.V + 0.01 * g**2
            self.W = self.W - eta * g / (np.sqrt(self.V) + 1e-8)
        else:
            self.M, self.V = 0.9 * self.M + 0.1 * g, 0.999 * self.V + 0.001 * g**2
            self.W = self.W - eta * (self.M / (1 - 0.9**self.t)) / (np.sqrt(self.V / (1 - 0.999**self.t)) + 1e-8)
        return value, outputs


def learn(rule, x, labels, batches_at_once=None):
    """Learn from all images, in calls of this many batches, and return losses and outputs."""
    group = (batches_at_once or rule.batches_ahead) * rule.batch_size
    learned = [batch for part in parallel.blocks(len(x), group) for batch in rule.learn(x[part], labels[part])]
    return [np.concatenate([to_numpy(array) for array in arrays]) for arrays in zip(*learned, strict=True)]


@by_optimizer
@pytest.mark.parametrize("ltd_decay", [None, 0.9])
@pytest.mark.parametrize("batch_size", [1, 3, 10])
@pytest.mark.parametrize("kind", ["random", "full"])
def test_learning_follows_the_paper_step_by_step(build_cerebellum, draw_images, optimizer, ltd_decay, batch_size, kind):
    """Compared in float64, for 7 full batches and, with batches of 3 and 10, a last one of a single image.

    Tolerance: sums are taken in another order, which in 8 steps of size 0.01 moves weights of size 1 by some 1e-15; a gradient
    that vanishes but for rounding (1e-17) moves a weight by 1e-17 / 1e-8 of a step.
    """
    model = build_cerebellum(cells=300, kind=kind, ltd=ltd_decay is None)
    x, labels = draw_images(7 * batch_size + (batch_size > 1))
    rule, paper = DeltaRule(model, optimizer, batch_size, ltd_decay), Paper(model, optimizer, ltd_decay)
    value, outputs = learn(rule, x, labels)
    steps = [paper.step(x[part], labels[part]) for part in parallel.blocks(len(x), batch_size)]
    assert np.allclose(value, np.concatenate([step[0] for step in steps]), rtol=0, atol=1e-10)
    assert np.allclose(outputs, np.concatenate([step[1] for step in steps]), rtol=0, atol=1e-10)
    assert np.allclose(model.readout, paper.W, rtol=0, atol=1e-10)
    assert np.allclose(model.ltd_mean, paper.mu, rtol=0, atol=1e-14)
    assert rule.steps == paper.t == len(steps)
    assert np.abs(paper.W - build_cerebellum(cells=300, kind=kind).readout).max() > 1e-3  # it did learn


@by_optimizer
@pytest.mark.parametrize("kind", ["random", "full"])
def test_learning_on_every_device_follows_the_paper_in_float32(xp_device, build_cerebellum, draw_images, optimizer, kind):
    """Tolerance: a weight moves by about 0.01 a step for 5 steps, and a gradient that is small by cancellation has few digits.

    With SGD learning diverges here: weights come to 60, and float32 has as many digits of them as of others.
    """
    model = build_cerebellum(cells=3000, kind=kind, dtype=np.float32, ltd=False)
    x, labels = draw_images(43, dtype=np.float32)
    rule, paper = DeltaRule(model, optimizer, 10, 0.9), Paper(model, optimizer, 0.9)
    _, outputs = learn(rule, x, labels)
    host_x, host_labels = to_numpy(x), to_numpy(labels)
    steps = [paper.step(host_x[part], host_labels[part]) for part in parallel.blocks(43, 10)]
    assert np.allclose(outputs, np.concatenate([step[1] for step in steps]), rtol=1e-3, atol=1e-3)
    assert np.allclose(to_numpy(model.ltd_mean), paper.mu, rtol=0, atol=1e-6)
    assert np.abs(to_numpy(model.readout) - paper.W).mean() < 1e-6 * max(10, np.abs(paper.W).max())
    for array in rule.arrays().values():
        assert type(array) is xp_device.ndarray
        assert array.dtype == np.float32


def test_the_order_of_blocks_of_cells_does_not_matter(build_cerebellum, draw_images):
    """70,000 cells are several blocks, 300 are one; a cell of the larger learns by its own activity and the common error."""
    model = build_cerebellum(cells=70_000)
    x, labels = draw_images(43)
    rule, paper = DeltaRule(model, RMSprop(1e-4), 10, 0.9), Paper(model, RMSprop(1e-4), 0.9)
    assert len(rule.parts) > 2
    _, outputs = learn(rule, x, labels)
    steps = [paper.step(x[part], labels[part]) for part in parallel.blocks(43, 10)]
    assert np.allclose(outputs, np.concatenate([step[1] for step in steps]), rtol=0, atol=1e-9)
    assert np.allclose(model.readout, paper.W, rtol=0, atol=1e-9)


def test_a_batch_to_which_the_response_is_known_teaches_the_same(xp_device, build_cerebellum, draw_images):
    models = [build_cerebellum(cells=300, dtype=np.float32, ltd=False) for _ in range(2)]
    one, other = (DeltaRule(model, SGD(0.05), 7, 0.9) for model in models)
    x, labels = draw_images(7, dtype=np.float32)
    known = xp_device.zeros((300, other.columns), dtype=np.float32)
    v = xp_device.zeros((300, 7), dtype=np.float32)
    known[:, :7] = xp_device.maximum(models[1].wiring.project(slice(0, 300), xp_device.ascontiguousarray(x.T), v), 0)
    for _ in range(3):
        (learned,) = one.learn(x, labels)
        assert np.allclose(to_numpy(learned.outputs), to_numpy(other.learn_known(known, labels).outputs), rtol=0, atol=1e-5)
    assert np.allclose(to_numpy(models[0].readout), to_numpy(models[1].readout), rtol=0, atol=1e-6)


def test_the_climbing_fibre_may_carry_another_error(build_cerebellum, draw_images):
    """Targets that are numbers, and an error that is never below -0.1."""
    model = build_cerebellum(classes=1, ltd=False)
    x, targets = draw_images(8)[0], np.linspace(-1, 1, 8)

    def error(outputs, targets):
        difference = np.maximum(outputs - targets[:, None], -0.1)
        return 0.5 * difference[:, 0] ** 2, difference

    before, (learned,) = model.readout.copy(), DeltaRule(model, SGD(0.05), 8, None, error).learn(x, targets)
    h = np.maximum(x @ Paper(model, SGD(0.05), None).J, 0)
    e = np.maximum(h @ before - targets[:, None], -0.1)
    assert np.allclose(learned.loss, 0.5 * e[:, 0] ** 2)
    assert np.allclose(model.readout, before - 0.05 * h.T @ e / 8, rtol=0, atol=1e-12)


@pytest.mark.parametrize("ltd_decay", [None, 0.9])
@pytest.mark.parametrize("batch_size", [1, 3, 10])
def test_batches_that_are_presented_together_or_one_by_one_teach_the_same(build_cerebellum, draw_images, ltd_decay, batch_size):
    models = [build_cerebellum(cells=300, kind="full") for _ in range(3)]
    rules = [DeltaRule(model, Adam(0.01), batch_size, ltd_decay) for model in models]
    assert rules[0].batches_ahead > 2
    x, labels = draw_images(3 * rules[0].batches_ahead * batch_size + 1)
    results = [learn(rule, x, labels, at_once) for rule, at_once in zip(rules, (None, 1, 2), strict=True)]
    for model, result in zip(models[1:], results[1:], strict=True):
        assert np.allclose(result[1], results[0][1], rtol=0, atol=1e-9)
        assert np.allclose(model.readout, models[0].readout, rtol=0, atol=1e-9)
        assert np.allclose(model.ltd_mean, models[0].ltd_mean, rtol=0, atol=1e-13)


@pytest.mark.parametrize("kind", ["random", "full"])
def test_one_images_change_of_weights_is_pre_times_post_to_the_bit(build_cerebellum, draw_images, kind):
    model = build_cerebellum(cells=300, kind=kind, dtype=np.float32, ltd=False)
    x, labels = draw_images(1, dtype=np.float32)
    before = model.readout.copy()
    rule = DeltaRule(model, SGD(0.25), 1, None)
    (learned,) = rule.learn(x, labels)
    pre = np.maximum(model.wiring.project(slice(None), np.ascontiguousarray(x.T), np.empty((300, 1), dtype=np.float32)), 0)
    post = learned.outputs - np.eye(3, dtype=np.float32)[labels]
    if kind == "random":  # with full wiring the product of matrices may round the activity differently for one image than for two
        assert np.array_equal(model.readout, before - np.float32(0.25) * (pre * post))
    assert np.allclose(model.readout, before - 0.25 * pre * post, rtol=0, atol=1e-6)
    change = (model.readout - before).astype(np.float64)
    singular = np.linalg.svd(change, compute_uv=False)
    assert singular[1] < 1e-5 * singular[0]


def test_with_ltd_one_images_change_is_the_centred_activity_times_the_error(build_cerebellum, draw_images):
    model, (x, labels) = build_cerebellum(cells=300), draw_images(1)
    before = model.readout.copy()
    (learned,) = DeltaRule(model, SGD(0.25), 1, 0.9).learn(x, labels)
    h = np.maximum(model.wiring.project(slice(None), np.ascontiguousarray(x.T), np.empty((300, 1))), 0)
    post = learned.outputs - np.eye(3)[labels]
    assert np.allclose(before - model.readout, 0.25 * (h - model.ltd_mean[:, None]) * post, rtol=0, atol=1e-14)
    assert (h[:, 0] < model.ltd_mean).any()  # synapses of cells below their mean change the other way


def test_a_silent_cell_without_a_mean_keeps_its_weights(build_cerebellum, draw_images):
    model = build_cerebellum(cells=300, ltd=False)
    x, labels = draw_images(10)
    before = model.readout.copy()
    active = (model.forward(x)[1].active).any(axis=1)
    list(DeltaRule(model, Adam(0.1), 10, None).learn(x, labels))
    assert np.array_equal(model.readout[~active], before[~active])
    assert (model.readout[active] != before[active]).any(axis=1).all()
    assert 0 < active.sum() < 300


def test_without_ltd_the_mean_is_left_as_it_is_and_subtracted(build_cerebellum, draw_images):
    model, (x, labels) = build_cerebellum(), draw_images(10)
    before, (expected, _) = model.ltd_mean.copy(), model.forward(x)
    (learned,) = DeltaRule(model, SGD(0.1), 10, None).learn(x, labels)
    assert np.array_equal(model.ltd_mean, before)
    assert np.allclose(learned.outputs, expected, rtol=0, atol=1e-14)


def test_the_ltd_mean_converges_to_the_mean_activity(build_cerebellum, draw_images):
    """After t presentations of a batch, all but β^t of the initial difference is gone."""
    model, (x, labels) = build_cerebellum(), draw_images(10)
    h = np.maximum(model.wiring.project(slice(None), np.ascontiguousarray(x.T), np.empty((40, 10))), 0).mean(axis=1)
    first, rule = model.ltd_mean.copy(), DeltaRule(model, SGD(1e-6), 10, 0.9)
    for presentations in range(1, 201):
        list(rule.learn(x, labels))
        if presentations in (1, 5, 50, 200):
            assert np.allclose(model.ltd_mean, h + 0.9**presentations * (first - h), rtol=0, atol=1e-13)
    assert np.allclose(model.ltd_mean, h, rtol=0, atol=1e-9)


def test_the_error_falls_to_the_least_squares_of_a_few_images(build_cerebellum, draw_images):
    """More cells than images: a readout without error exists, and the rule finds it."""
    model, (x, labels) = build_cerebellum(cells=300), draw_images(5)
    rule = DeltaRule(model, SGD(0.05), 5, None)
    losses = [float(next(rule.learn(x, labels)).loss.sum()) for _ in range(3000)]
    assert losses[-1] < 1e-8 * losses[0]
    assert np.array_equal(model.forward(x)[0].argmax(axis=1), labels)


def test_learning_writes_into_the_model_it_was_given(build_cerebellum, draw_images):
    model, (x, labels) = build_cerebellum(), draw_images(3)
    rule = DeltaRule(model, RMSprop(0.1), 3, 0.9)
    arrays = rule.arrays()
    assert {"readout", "ltd_mean"} < arrays.keys()
    before = {name: array.copy() for name, array in arrays.items()}
    list(rule.learn(x, labels))
    assert arrays["readout"] is model.readout
    assert arrays["ltd_mean"] is model.ltd_mean
    for name, array in rule.arrays().items():
        assert array is arrays[name]
        assert not np.array_equal(array, before[name])


@pytest.mark.parametrize("kind", ["random", "full"])
def test_learning_reads_nothing_from_the_device(monkeypatch, build_cerebellum, draw_images, kind):
    strict_arrays.install(monkeypatch)
    model = build_cerebellum(cells=300, kind=kind, dtype=np.float32)
    x, labels = draw_images(20, dtype=np.float32)
    rule = DeltaRule(model, RMSprop(0.01), 10, 0.9)
    before = strict_arrays.StrictArray.reads
    for part in parallel.blocks(20, 10):
        list(rule.learn(x[part], labels[part]))
    assert strict_arrays.StrictArray.reads == before


def test_a_learner_on_the_device_takes_nothing_from_the_host(monkeypatch, build_cerebellum, draw_images):
    strict_arrays.install(monkeypatch)
    model, (x, labels) = build_cerebellum(), draw_images(3)
    leaky = dataclasses.replace(model, ltd_mean=to_numpy(model.ltd_mean))
    for wrong, images in ((leaky, x), (model, to_numpy(x))):
        with pytest.raises(TypeError):
            list(DeltaRule(wrong, SGD(0.1), 3, 0.9).learn(images, labels))
    assert len(list(DeltaRule(model, SGD(0.1), 3, 0.9).learn(to_device(to_numpy(x)), labels))) == 1


def test_the_mean_of_cells_that_fell_silent_does_not_fall_into_subnormal_numbers(xp_device, build_cerebellum):
    model = build_cerebellum(cells=50, dtype=np.float32, ltd=False)
    rule = DeltaRule(model, RMSprop(1e-3), 2, 0.5)
    seen, dark = to_device(np.ones((2, 30), dtype=np.float32)), to_device(np.zeros((2, 30), dtype=np.float32))
    labels = to_device(np.array([0, 1]))
    learn(rule, seen, labels)
    assert to_numpy(model.ltd_mean).max() > 0.01
    for _ in range(200):
        learn(rule, dark, labels)
        mean = to_numpy(model.ltd_mean)
        assert not ((mean != 0) & (mean < np.finfo(np.float32).tiny)).any()
    assert not mean.any()
