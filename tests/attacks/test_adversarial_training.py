"""Adversarial training: the rule learns from attacked images, all reports are about them, and a kill changes nothing."""

import numpy as np
import pytest
import strict_arrays
from threadpoolctl import threadpool_limits

from minicereb import backend, datasets, parallel
from minicereb.attacks.adversarial_training import AdversarialTraining, Adversary
from minicereb.attacks.ball import ball_around
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.objectives import OBJECTIVES
from minicereb.attacks.pgd import pgd
from minicereb.backend import to_device, to_numpy
from minicereb.calculus.losses import cross_entropy, squared_error
from minicereb.datasets.dataset import Dataset
from minicereb.errors import InputError, MinicerebError
from minicereb.learning.backprop import Backpropagation
from minicereb.learning.optimizers import SGD, Adam, RMSprop
from minicereb.learning.plasticity import DeltaRule, Learned
from minicereb.learning.training import Position, Split, accuracy, restore, train
from minicereb.models.layers import Dense
from minicereb.models.mlp import initial_mlp
from minicereb.models.sequential import Sequential
from minicereb.randomness import uniform

ADVERSARY = Adversary(0.125, 0.0625, 3)
RULES = {
    "delta rule, sparse": lambda build: DeltaRule(build(cells=60, dtype=np.float32), RMSprop(0.01), 10, 0.9),
    "delta rule, full": lambda build: DeltaRule(build(cells=60, kind="full", dtype=np.float32), Adam(0.01), 2, 0.9),
    "backpropagation": lambda build: Backpropagation(initial_mlp(30, (10,), 3, 0), Adam(0.01), 2, l1=1e-3),
}


@pytest.fixture(params=RULES)
def make_learner(request, build_cerebellum):
    return lambda seed=0: AdversarialTraining(RULES[request.param](build_cerebellum), ADVERSARY, seed, 10)


def copies(arrays):
    return {name: to_numpy(array).copy() for name, array in arrays.items()}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


class Recorder:
    """A rule that records its arguments; its model is linear."""

    def __init__(self, model, batch_size=4):
        self.model, self.batch_size, self.batches_ahead, self.steps, self.met = model, batch_size, 2, 0, []

    def arrays(self):
        return {}

    def learn(self, x, labels):
        for part in parallel.blocks(len(x), self.batch_size):
            self.steps += 1
            self.met.append(to_numpy(x[part]).copy())
            outputs, _ = self.model.forward(x[part])
            yield Learned(cross_entropy(outputs, labels[part])[0], outputs)


def linear(classes=3, inputs=30):
    weight = np.random.default_rng(0).standard_normal((classes, inputs)).astype(np.float32)
    return Sequential((Dense(to_device(weight), to_device(np.zeros(classes, dtype=np.float32))),))


def met(x, labels, model=None, adversary=ADVERSARY, seed=0, steps=0, total=10):
    """The images that the rule received, and its results for them."""
    recorder = Recorder(model or linear())
    learner = AdversarialTraining(recorder, adversary, seed, total)
    learner.steps = steps
    told = list(learner.learn(x, labels))
    assert learner.steps == recorder.steps == steps + len(told)
    return np.concatenate(recorder.met), told


# -- what is met -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_rule_meets_images_within_the_bound_on_which_the_objective_is_higher(draw_images, objective):
    x, labels = draw_images(23, dtype=np.float32)
    x_adv, told = met(x, labels, adversary=Adversary(0.125, 0.0625, 5, objective))
    assert x_adv.shape == x.shape
    assert np.abs(x_adv - x).max() == pytest.approx(0.125, abs=1e-6)
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    before, after = (OBJECTIVES[objective](linear().forward(images)[0], labels)[0] for images in (x, x_adv))
    assert (after >= before - 1e-5).all()  # DLR stays at 1 for many that are misclassified
    assert after.mean() > before.mean() + 0.1
    for learned, part in zip(told, parallel.blocks(23, 4), strict=True):
        outputs = linear().forward(x_adv[part])[0]
        assert np.array_equal(learned.outputs, outputs)
        assert np.array_equal(learned.loss, cross_entropy(outputs, labels[part])[0])


def test_of_two_classes_and_a_linear_model_they_are_the_worst_there_are(draw_images):
    """The inner maximum has a closed form: every pixel moves as far as allowed towards the other class."""
    x, labels = draw_images(20, classes=2, dtype=np.float32)
    model = linear(classes=2)
    x_adv, _ = met(x, labels, model, Adversary(0.125, 0.0625, 4))
    weight = model.layers[0].weight
    towards = weight[1 - labels] - weight[labels]
    assert np.allclose(x_adv, np.clip(x + np.float32(0.125) * np.sign(towards), 0, 1), rtol=0, atol=1e-6)


def test_they_are_the_last_points_of_pgd_on_the_network_as_it_is_before_the_update(draw_images):
    """The loop is written out for a network that learns: attack, learn, attack the changed network."""
    x, labels = draw_images(8, dtype=np.float32)
    networks = [initial_mlp(30, (10,), 3, 0) for _ in range(2)]
    learner = AdversarialTraining(Backpropagation(networks[0], SGD(0.5), 4), ADVERSARY, 3, 10)
    by_hand = Backpropagation(networks[1], SGD(0.5), 4)
    for step, learned in enumerate(learner.learn(x, labels)):
        part = slice(4 * step, 4 * step + 4)
        noise = uniform(np, 3, "adversary", (step,), np.arange(4), 30)
        start = x[part] + np.float32(0.125) * (2 * noise - 1)
        *_, last = pgd(Landscape(networks[1], cross_entropy, labels[part]), ball_around(x[part], 0.125, "linf"), start, 3, 0.0625)
        (expected,) = by_hand.learn(last.x, labels[part])
        assert np.array_equal(learned.loss, expected.loss)
        assert np.array_equal(learned.outputs, expected.outputs)
    assert same(copies(learner.arrays()), copies(by_hand.arrays()))


def test_the_starts_depend_on_seed_step_and_place_alone(draw_images):
    x, labels = draw_images(8, dtype=np.float32)
    standing = Adversary(0.125, 1e-9, 1)  # stays where it begins
    first, _ = met(x, labels, adversary=standing)
    assert np.abs(first - x).max() > 0.11
    assert not np.array_equal((first - x)[:4], (first - x)[4:])
    later, _ = met(x[4:], labels[4:], adversary=standing, steps=1)
    assert np.array_equal(later, first[4:])
    other, _ = met(x, labels, adversary=standing, seed=1)
    assert not np.array_equal(other, first)
    moves = (first - x)[(x > 0.125) & (x < 0.875)] / 0.125
    assert abs(moves.mean()) < 5 * (1 / 3 / len(moves)) ** 0.5
    assert abs((moves**2).mean() - 1 / 3) < 5 * (4 / 45 / len(moves)) ** 0.5


def test_images_and_labels_stay_as_they_are(draw_images, make_learner):
    x, labels = draw_images(20, dtype=np.float32)
    before = x.copy()
    list(make_learner().learn(x, labels))
    assert np.array_equal(x, before)


# -- resuming, threads, devices ----------------------------------------------------------------------------------------------


def dataset(images=83, test=20, inputs=30, classes=3):
    """Images whose class is the third in which they are brightest."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, images + test)
    x = rng.integers(0, 128, (images + test, inputs))
    x[np.arange(inputs) // (inputs // classes) == y[:, None]] += 90
    x = x.astype(np.uint8)
    return Dataset("a test", x[:images], y[:images], x[images:], y[images:], (inputs,), classes)


def test_training_taken_up_from_any_event_ends_with_the_same_bits(make_learner):
    split, best, learner, events = Split(dataset(), 0.2, 0), {}, make_learner(), []
    for position, done in train(learner, split, 2, 7, Position(), best):
        events.append((position, done, copies(learner.arrays()), copies(best)))
    assert len(events) > 3
    _, _, end, end_best = events[-1]
    for number, (position, _, arrays, best_then) in enumerate(events):
        resumed, best = make_learner(), {name: array.copy() for name, array in best_then.items()}
        restore(resumed.arrays(), arrays)
        rest = list(train(resumed, split, 2, 7, position, best))
        assert rest == [(position, done) for position, done, _, _ in events[number + 1 :]]
        assert same(copies(resumed.arrays()), end)
        assert same(best, end_best)


def test_every_number_of_threads_gives_the_same_bits(build_cerebellum, draw_images):
    """The networks are large enough for blocks, and for BLAS, to be divided among threads."""
    for inputs, rule in (
        (30, lambda: DeltaRule(build_cerebellum(cells=70_000, dtype=np.float32), RMSprop(1e-5), 10, 0.9)),
        (784, lambda: Backpropagation(initial_mlp(784, (300,), 3, 0), Adam(0.001), 50)),
    ):
        ends = []
        for threads in (1, 2, 5):
            backend.configure(threads=threads)
            learner = AdversarialTraining(rule(), ADVERSARY, 0, 10)
            with threadpool_limits(threads):  # what BLAS would take if it were let
                learned = list(learner.learn(*draw_images(50, inputs, dtype=np.float32)))
            ends.append({**copies(learner.arrays()), "loss": np.concatenate([batch.loss for batch in learned])})
        assert same(ends[0], ends[1])
        assert same(ends[0], ends[2])


def test_every_device_learns_the_same_in_float32(xp_device, draw_images, make_learner):
    x, labels = draw_images(20, dtype=np.float32)
    learner = make_learner()
    learned = list(learner.learn(x, labels))
    hits = learner.hits(x, labels, 0)
    assert type(hits) is xp_device.ndarray
    for array in (*learner.arrays().values(), *learned[0]):
        assert type(array) is xp_device.ndarray
        assert array.dtype == np.float32
    backend.configure(device="cpu")
    here = make_learner()
    expected = list(here.learn(to_numpy(x), to_numpy(labels)))
    for found, wanted in zip(learned, expected, strict=True):
        assert np.allclose(to_numpy(found.outputs), wanted.outputs, rtol=0, atol=1e-3)
    assert (to_numpy(hits) == here.hits(to_numpy(x), to_numpy(labels), 0)).mean() >= 0.9


def test_nothing_is_read_from_the_device(monkeypatch, draw_images, make_learner):
    strict_arrays.install(monkeypatch)
    x, labels = draw_images(20, dtype=np.float32)
    learner, before = make_learner(), strict_arrays.StrictArray.reads
    assert list(learner.learn(x, labels))
    assert strict_arrays.StrictArray.reads == before


# -- what is reported, and what it comes to ----------------------------------------------------------------------------------


def test_the_validation_accuracy_is_that_of_the_images_held_out_when_attacked(make_learner):
    split, learner, data = Split(dataset(400), 0.5, 0), make_learner(), dataset(400)
    *_, (_, done) = train(learner, split, 2, 7, Position(), {})
    x = data.x_train[split.validation].astype(np.float32) / np.float32(255)
    hits = learner.hits(x, data.y_train[split.validation], 0)
    assert hits.dtype == bool
    assert done.validation_accuracy == hits.mean()
    assert np.array_equal(hits, learner.hits(x, data.y_train[split.validation], 0))
    unharmed = accuracy(learner.model, data.x_train, data.y_train, split.validation)
    assert done.validation_accuracy < unharmed
    assert done.train_accuracy < unharmed
    assert done.validation_loss is None


@pytest.mark.parametrize("objective", ["cross-entropy", "margin"])
def test_what_is_learned_against_an_attack_withstands_it(objective):
    """On drawn digits, from images it has not seen, under an attack of more steps; learned without, next to nothing does.

    The bound is one against which this network does not leave chance if it is not raised slowly.
    """
    data, kept = datasets.load("strokes", train=3000, test=200), []
    x, labels = data.x_test.astype(np.float32) / np.float32(255), data.y_test
    for adversary in (None, Adversary(0.1, 0.035, 7, objective)):
        rule = Backpropagation(initial_mlp(784, (60,), 10, 0), Adam(2e-3), 25)
        learner = rule if adversary is None else AdversarialTraining(rule, adversary, 0, 720)
        for _ in train(learner, Split(data, 0.0, 0), 6, 0, Position(), {}):
            pass
        strong = AdversarialTraining(rule, Adversary(0.1, 0.01, 40, "margin"), 1, 720)
        kept.append((accuracy(rule.model, data.x_test, labels), float(strong.hits(x, labels, 0).mean())))
    (plain, broken), (clean, robust) = kept
    assert plain > 0.9
    assert broken < 0.1
    assert clean > 0.75
    assert robust > 0.4


def test_bound_and_step_rise_over_the_first_tenth(draw_images):
    x, labels = draw_images(8, dtype=np.float32)
    for steps, share in ((0, 0.25), (1, 0.5), (3, 1.0), (4, 1.0), (39, 1.0)):
        x_adv, _ = met(x[:4], labels[:4], adversary=Adversary(0.125, 0.125, 3), steps=steps, total=40)
        assert np.abs(x_adv - x[:4]).max() == pytest.approx(0.125 * share, abs=1e-6)


def test_the_loss_descended_is_that_of_the_rule_on_attacked_images(build_cerebellum, draw_images):
    x, labels = draw_images(10)
    cerebellum = build_cerebellum(cells=60)
    readout = cerebellum.readout.copy()
    learner = AdversarialTraining(DeltaRule(cerebellum, SGD(1.0), 10, None), Adversary(0.125, 0.03, 3, "mse"), 0, 10)
    x_adv = learner._attacked(x, labels, 1.0, "adversary", 0)
    (learned,) = learner.learn(x, labels)
    outputs, _ = type(cerebellum)(cerebellum.wiring, cerebellum.ltd_mean, readout).forward(x_adv)
    assert np.allclose(learned.outputs, outputs, rtol=0, atol=1e-12)
    assert np.allclose(learned.loss, squared_error(outputs, labels)[0], rtol=1e-9)


def test_a_learning_rate_that_is_too_high_is_one_error_and_no_warning(make_learner):
    learner = make_learner()
    learner.learner.optimizer = SGD(1e30)
    with pytest.raises(MinicerebError, match="diverged.*learning-rate"):
        list(train(learner, Split(dataset(), 0.2, 0), 100, 7, Position(), {}))


@pytest.mark.parametrize(
    ("setting", "make"),
    [
        ("adversarial", lambda: Adversary(0.0, 0.01)),
        ("adversarial", lambda: Adversary(float("nan"), 0.01)),
        ("adversarial", lambda: Adversary(float("inf"), 0.01)),
        ("adversarial-step-size", lambda: Adversary(0.1, 0.0)),
        ("adversarial-step-size", lambda: Adversary(0.1, float("nan"))),
        ("adversarial-steps", lambda: Adversary(0.1, 0.01, 0)),
        ("adversarial-objective", lambda: Adversary(0.1, 0.01, 7, "hope")),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(setting, make):
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.setting == setting
