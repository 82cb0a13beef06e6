"""Training can be stopped and resumed anywhere, holds out the stated images, and keeps the best epoch."""

import dataclasses
import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from minicereb import backend, parallel
from minicereb.backend import to_device, to_numpy
from minicereb.calculus.activations import Activation
from minicereb.calculus.losses import cross_entropy
from minicereb.calculus.noise import law_named
from minicereb.calculus.replicated import loss_named
from minicereb.datasets.dataset import Dataset
from minicereb.datasets.transforms import crop_and_flip, to_unit
from minicereb.errors import InputError, MinicerebError
from minicereb.learning import training
from minicereb.learning.backprop import Backpropagation
from minicereb.learning.glr import GLR, estimator_named
from minicereb.learning.noise import Address, Independent
from minicereb.learning.optimizers import SGD, Adam, RMSprop
from minicereb.learning.pessimistic import PessimisticDeltaRule
from minicereb.learning.plasticity import DeltaRule, Learned
from minicereb.learning.training import EpochDone, Position, Split, accuracy, restore, train
from minicereb.models.mlp import initial_mlp
from minicereb.models.noisy import initial_noisy
from minicereb.randomness import generator


def dataset(images=83, test=20, inputs=30, classes=3):
    """Images whose class is the third in which they are brightest, so that there is something to learn."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, classes, images + test)
    x = rng.integers(0, 128, (images + test, inputs))
    x[np.arange(inputs) // (inputs // classes) == y[:, None]] += 90
    x = x.astype(np.uint8)
    return Dataset("a test", x[:images], y[:images], x[images:], y[images:], (inputs,), classes)


LEARNERS = {
    "delta rule, sparse": lambda build: DeltaRule(build(cells=60, dtype=np.float32), RMSprop(0.01), 10, 0.9),
    "delta rule, full": lambda build: DeltaRule(build(cells=60, kind="full", dtype=np.float32), Adam(0.01), 2, 0.9),
    "delta rule, pessimistic": lambda build: PessimisticDeltaRule(
        build(cells=60, dtype=np.float32), RMSprop(0.01), 10, 0.9, 0.1, 0.5, 20
    ),
    "delta rule, one by one": lambda build: DeltaRule(build(cells=60, dtype=np.float32), SGD(0.1), 1, None),
    "backpropagation": lambda build: Backpropagation(initial_mlp(30, (10,), 3, 0), Adam(0.01), 2),
    "likelihood ratio": lambda build: glr("gaussian", estimator="flip"),
}
DIVERGING = [name for name in LEARNERS if name != "likelihood ratio"]  # threshold neurons only saturate
EPOCHS = 3


@pytest.fixture(params=LEARNERS)
def make_learner(request, build_cerebellum):
    return lambda: LEARNERS[request.param](build_cerebellum)


def copies(arrays):
    return {name: to_numpy(array).copy() for name, array in arrays.items()}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


# -- resuming ----------------------------------------------------------------------------------------------------------------


def test_training_taken_up_from_any_event_ends_with_the_same_bits(make_learner):
    split, best = Split(dataset(), 0.2, 0), {}
    learner = make_learner()
    events = []
    for position, done in train(learner, split, EPOCHS, 7, Position(), best):
        events.append((position, done, copies(learner.arrays()), copies(best)))
    assert len(events) > EPOCHS  # there is something between the ends of epochs
    _, _, end, end_best = events[-1]
    for number, (position, _, arrays, best_then) in enumerate(events):
        resumed, best = make_learner(), {name: array.copy() for name, array in best_then.items()}
        restore(resumed.arrays(), arrays)
        rest = list(train(resumed, split, EPOCHS, 7, position, best))
        assert rest == [(position, done) for position, done, _, _ in events[number + 1 :]]
        assert same(copies(resumed.arrays()), end)
        assert same(best, end_best)


def test_training_that_is_closed_stays_at_the_event(make_learner):
    split, learner = Split(dataset(), 0.2, 0), make_learner()
    training = train(learner, split, EPOCHS, 7, Position(), {})
    position, _ = next(training)
    arrays = copies(learner.arrays())
    training.close()
    assert list(training) == []
    assert same(copies(learner.arrays()), arrays)
    other = make_learner()
    assert next(train(other, split, EPOCHS, 7, Position(), {}))[0] == position
    assert same(copies(other.arrays()), arrays)


def test_complete_training_has_no_more_events(make_learner):
    split = Split(dataset(), 0.2, 0)
    *_, (position, _) = train(make_learner(), split, EPOCHS, 7, Position(), {})
    assert position.epoch == EPOCHS
    assert list(train(make_learner(), split, EPOCHS, 7, position, {})) == []


def test_a_position_is_json_and_back(make_learner):
    for position, _ in train(make_learner(), Split(dataset(), 0.2, 0), 1, 7, Position(), {}):
        assert Position(**dataclasses.asdict(position)) == position


def test_every_device_trains_the_same_way(xp_device, make_learner):
    learner, best = make_learner(), {}
    *_, (position, done) = train(learner, Split(dataset(), 0.2, 0), EPOCHS, 7, Position(), best)
    assert done.train_accuracy > 0.6
    for array in (*learner.arrays().values(), *best.values()):
        assert type(array) is xp_device.ndarray
    stored = copies(best)
    restore(learner.arrays(), stored)
    assert same(copies(learner.arrays()), stored)
    backend.configure(device="cpu")
    *_, (here, _) = train(make_learner(), Split(dataset(), 0.2, 0), EPOCHS, 7, Position(), {})
    assert (position.epoch, position.steps) == (here.epoch, here.steps)
    assert position.best_accuracy == pytest.approx(here.best_accuracy, abs=0.1)


# -- what an epoch is --------------------------------------------------------------------------------------------------------


class Scripted:
    """A learner that only records its calls; its model classifies this many of the first validation images correctly."""

    def __init__(self, correct=(), batch_size=4, batches_ahead=2, loss=1.0):
        self.correct, self.batch_size, self.batches_ahead, self.loss = correct, batch_size, batches_ahead, loss
        self.model, self.steps, self.seen, self.epoch, self.array = self, 0, [], 0, np.zeros(1)

    def arrays(self):
        return {"array": self.array}

    def learn(self, x, labels):
        for part in parallel.blocks(len(x), self.batch_size):
            self.steps += 1
            self.array += 1
            self.seen.append((x[part], labels[part]))
            yield Learned(np.full(len(x[part]), self.loss), np.eye(3)[labels[part]])

    def forward(self, x):
        """It is called once for each epoch, on the images held out, whose label is 0."""
        right = self.correct[self.epoch]
        self.epoch += 1
        return np.eye(3)[np.where(np.arange(len(x)) < right, 0, 1)], None


def numbered(images=50):
    """A data set in which an image is recognised by its pixels, all of class 0."""
    x = np.repeat(np.arange(images, dtype=np.float32)[:, None] / 64, 5, axis=1)
    zeros = np.zeros(images, dtype=np.int64)
    return Dataset("numbered", x, zeros, x, zeros, (5,), 3)


@pytest.mark.parametrize("validation", [0.0, 0.2])
def test_an_epoch_shows_every_training_image_once_in_a_new_order(validation):
    learner, split = Scripted((0, 0, 0)), Split(numbered(), validation, 0)
    events = list(train(learner, split, 3, 7, Position(), {}))
    orders = []
    for epoch in range(3):
        steps = -(-len(split.training) // 4)
        batches = learner.seen[epoch * steps : (epoch + 1) * steps]
        assert [len(x) for x, _ in batches[:-1]] == [4] * (steps - 1)
        orders.append(np.concatenate([x[:, 0] for x, _ in batches]) * 64)
        assert np.array_equal(np.sort(orders[-1]), split.training)
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[1], orders[2])
    assert [position.seen for position, _ in events[:3]] == [8, 16, 24]
    assert [done.epoch for _, done in events if done] == [1, 2, 3]


@pytest.mark.parametrize(("batch_size", "batches_ahead"), [(4, 2), (7, 1), (50, 3)])
def test_augmented_images_are_those_of_seed_epoch_and_number_whatever_the_batches(batch_size, batches_ahead):
    x = np.random.default_rng(0).integers(0, 256, (50, 30), dtype=np.uint8)
    data = Dataset("images", x, np.arange(50) % 3, x, np.arange(50) % 3, (5, 6), 3)
    learner, split = Scripted((0, 0), batch_size, batches_ahead), Split(data, 0.2, 0)
    events = list(train(learner, split, 2, 7, Position(), {}, augment=True))
    assert events[-1][0].epoch == 2
    seen = np.concatenate([x for x, _ in learner.seen])
    for epoch in (0, 1):
        order = split.training[generator(7, "order", epoch).permutation(len(split.training))]
        expected = to_unit(crop_and_flip(x[order], (5, 6), 7, epoch, order))
        assert np.array_equal(seen[epoch * len(order) : (epoch + 1) * len(order)], expected)
        assert not np.array_equal(expected, to_unit(x[order]))


def test_labels_travel_with_their_images():
    learner = Scripted()
    data = dataclasses.replace(numbered(), y_train=np.arange(50) % 3)
    list(train(learner, Split(data, 0.0, 0), 1, 7, Position(), {}))
    for x, labels in learner.seen:
        assert np.array_equal(labels, (x[:, 0] * 64).astype(int) % 3)


def test_the_order_depends_on_seed_and_epoch_alone():
    seen = []
    for seed, batches_ahead in ((7, 2), (7, 100), (8, 2)):
        learner = Scripted(batches_ahead=batches_ahead)
        list(train(learner, Split(numbered(), 0.0, 0), 2, seed, Position(), {}))
        seen.append(np.concatenate([x for x, _ in learner.seen]))
    assert np.array_equal(seen[0], seen[1])
    assert not np.array_equal(seen[0], seen[2])


@given(st.lists(st.integers(0, 10), min_size=1, max_size=8))
def test_the_best_epoch_is_the_earliest_maximum(correct):
    learner, best = Scripted(correct), {}
    *_, (position, _) = train(learner, Split(numbered(), 0.2, 0), len(correct), 7, Position(), best)
    assert position.best_epoch == correct.index(max(correct)) + 1
    assert position.best_accuracy == max(correct) / 10
    assert best["array"] == position.best_epoch * 10  # as it was then: ten batches an epoch


def test_chosen_on_the_test_images_the_best_epoch_is_theirs():
    data, best = numbered(), {}
    split = Split(dataclasses.replace(data, x_test=data.x_train[:10], y_test=data.y_train[:10]), 0.0, 0, "test")
    *_, (position, done) = train(Scripted((3, 9, 5)), split, 3, 7, Position(), best)
    assert (position.best_epoch, position.best_accuracy, done.test_accuracy) == (2, 0.9, 0.5)
    assert best["array"] == 2 * 13
    assert done.validation_accuracy is None


def test_without_images_held_out_the_last_epoch_is_the_best():
    learner, best = Scripted(), {}
    *_, (position, done) = train(learner, Split(numbered(), 0.0, 0), 3, 7, Position(), best)
    assert position.best_epoch == 3
    assert best["array"] == 3 * 13
    assert done == EpochDone(3, 1.0, 1.0, None)
    assert learner.epoch == 0  # nothing was classified


def test_what_an_epoch_came_to_is_the_mean_over_its_images():
    class Noted(Scripted):
        def learn(self, x, labels):
            for learned in super().learn(x, labels):
                yield Learned(x[: len(learned.loss), 0] * 0 + self.steps, learned.outputs[:, [1, 0, 2]][:, :: (-1) ** self.steps])

    (*_, (_, done)) = train(Noted(batch_size=25, batches_ahead=1), Split(numbered(), 0.0, 0), 1, 7, Position(), {})
    assert done.loss == 1.5  # 25 images with loss 1 and 25 with loss 2
    assert done.train_accuracy == 0.0


@pytest.mark.parametrize("loss", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_ends_training_with_advice(loss):
    with pytest.raises(MinicerebError, match="diverged in epoch 1.*learning-rate"):
        list(train(Scripted(loss=loss), Split(numbered(), 0.0, 0), 3, 7, Position(), {}))


@pytest.mark.parametrize(("name", "threads"), [(name, 1) for name in DIVERGING] + [("delta rule, many cells", 2)])
def test_a_learning_rate_that_is_too_high_is_one_error_and_no_warning(build_cerebellum, name, threads):
    """This holds also if the overflow happens on another thread."""
    backend.configure(threads=threads)
    many_cells = DeltaRule(build_cerebellum(cells=70_000, dtype=np.float32), SGD(1.0), 10, 0.9)
    learner = LEARNERS[name](build_cerebellum) if name in LEARNERS else many_cells
    learner.optimizer = SGD(1e30)
    with pytest.raises(MinicerebError, match="diverged.*learning-rate"):
        list(train(learner, Split(dataset(), 0.2, 0), 100, 7, Position(), {}))


# -- the loss on the images held out -----------------------------------------------------------------------------------------


class Telling(Scripted):
    """Return an image's number as its loss, and record the blocks that were requested."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.asked = []

    def losses(self, x, labels, block):
        self.asked.append((block, len(x)))
        return x[:, 0] * 64


def test_the_loss_held_out_is_the_mean_over_its_images_in_fixed_blocks(monkeypatch):
    learner, split = Telling((0, 0)), Split(numbered(), 0.4, 0)
    monkeypatch.setattr(training, "VALIDATION_BLOCK", 8)
    dones = [done for _, done in train(learner, split, 2, 7, Position(), {}) if done]
    assert learner.asked == [(0, 8), (1, 8), (2, 4)] * 2
    assert [done.validation_loss for done in dones] == pytest.approx([split.validation.mean()] * 2)


def test_without_images_held_out_or_a_learner_that_tells_there_is_no_loss():
    for learner, share in ((Telling(), 0.0), (Scripted((0,)), 0.4)):
        *_, (_, done) = train(learner, Split(numbered(), share, 0), 1, 7, Position(), {})
        assert done.validation_loss is None


def test_a_learner_that_says_what_it_hits_is_judged_by_that(monkeypatch):
    class Hitting(Scripted):
        def hits(self, x, labels, block):
            return (x[:, 0] * 64 + self.steps) % 3 == block % 2

    learner, split = Hitting(), Split(numbered(), 0.4, 0)
    monkeypatch.setattr(training, "VALIDATION_BLOCK", 8)
    *_, (position, done) = train(learner, split, 1, 7, Position(), {})
    blocks = [(split.validation[start : start + 8] + learner.steps) % 3 for start in (0, 8, 16)]
    expected = sum((block == number % 2).sum() for number, block in enumerate(blocks)) / 20
    assert done.validation_accuracy == position.best_accuracy == expected
    assert learner.epoch == 0  # its model was not asked


def test_a_loss_held_out_that_is_not_finite_ends_training_with_advice():
    learner = Telling((0,))
    learner.losses = lambda x, labels, block: x[:, 0] * np.inf
    with pytest.raises(MinicerebError, match="diverged in epoch 1.*learning-rate"):
        list(train(learner, Split(numbered(), 0.4, 0), 1, 7, Position(), {}))


def glr(law, loss="cross-entropy", estimator="antithetic", activation="threshold"):
    """A learner of a small noisy network."""
    law = law and law_named(law)
    network = initial_noisy(30, (6,), 3, 0, activation=Activation(activation), law=law, scales=(0.7,))
    chosen = estimator_named(estimator, "derivative")
    return GLR(network, loss_named(loss), chosen, Adam(0.01), 2, 4 if law else 1, seed=3)


@pytest.mark.parametrize("loss", ["cross-entropy", "zero-one"])
def test_the_losses_of_a_noisy_network_are_a_mean_over_its_noise(xp_device, loss):
    learner, data = glr("gaussian", loss), dataset()
    x, labels = to_device(data.x_test.astype(np.float32) / 255), to_device(data.y_test)
    before = copies(learner.arrays())
    told = [to_numpy(learner.losses(x, labels, block)) for block in range(60)]
    assert told[0].shape == (20,)
    assert np.array_equal(told[7], to_numpy(learner.losses(x, labels, 7)))
    assert not np.array_equal(told[0], told[1])
    assert learner.steps == 0
    assert same(copies(learner.arrays()), before)
    at, laws = Address(0, (0,), "another stream"), [layer.law for layer in learner.model.layers]
    noise = Independent().draw(x, laws, learner.model.widths, 20, 1920, at)
    values = to_numpy(learner.loss.value(learner.model.run(xp_device.ascontiguousarray(x.T), noise).outputs, labels))
    error = (values.var(axis=1, dtype=np.float64) * 2 / 1920) ** 0.5  # of the difference of two means over 1,920 runs each
    assert np.abs(np.mean(told, axis=0) - values.mean(axis=1)).max() < 5.5 * error.max()  # a false alarm in a million


def test_the_losses_of_a_network_without_noise_are_those_of_its_outputs():
    learner, data = glr(None, estimator="backprop", activation="sigmoid"), dataset()
    x = data.x_test.astype(np.float32) / 255
    expected = cross_entropy(learner.model.forward(x)[0], data.y_test)[0]
    np.testing.assert_allclose(learner.losses(x, data.y_test, 0), expected, rtol=1e-5)


# -- holding out -------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 300), st.floats(0, 1, exclude_max=True), st.integers(0, 9))
def test_the_share_that_is_held_out_is_right_and_disjoint(images, validation, seed):
    assume(round(validation * images) < images)
    split = Split(numbered(images), validation, seed)
    assert len(split.validation) == round(validation * images)
    assert np.array_equal(np.sort(np.concatenate((split.validation, split.training))), np.arange(images))
    assert np.array_equal(split.validation, Split(numbered(images), validation, seed).validation)


def test_every_image_is_held_out_equally_often_and_the_seed_says_which():
    splits = [Split(numbered(20), 0.25, seed).validation for seed in range(400)]
    counts = np.bincount(np.concatenate(splits), minlength=20)
    assert np.abs(counts - 100).max() < 5.5 * (400 * 0.25 * 0.75) ** 0.5  # a false alarm in a million
    assert len({tuple(validation) for validation in splits}) > 390


@pytest.mark.parametrize("validation", [1.0, -0.1, float("nan"), 0.999])
def test_a_share_that_cannot_be_held_out_is_named(validation):
    with pytest.raises(InputError) as caught:
        Split(numbered(), validation, 0)
    assert caught.value.setting == "validation"


# -- accuracy ----------------------------------------------------------------------------------------------------------------


def test_accuracy_is_the_share_of_correct_answers(xp_device, build_cerebellum):
    model, data = build_cerebellum(dtype=np.float32), dataset()
    outputs = to_numpy(model.forward(to_device(data.x_test.astype(np.float32) / 255))[0])
    right = outputs.argmax(axis=1) == data.y_test
    assert 0 < right.sum() < 20
    assert accuracy(model, data.x_test, data.y_test) == right.mean()
    assert accuracy(model, data.x_test, data.y_test, np.array([3, 5, 5])) == right[[3, 5, 5]].mean()


def test_accuracy_does_not_depend_on_the_memory():
    class Counting:
        bytes_per_image, blocks = 1 << 20, 0

        def forward(self, x):
            self.blocks += 1
            return np.eye(3)[(x[:, 0] * 255).astype(int) % 3], None

    rows, labels = np.repeat(np.arange(200, dtype=np.uint8)[:, None], 5, axis=1), np.zeros(200, dtype=int)
    small, large = Counting(), Counting()
    backend.configure(memory="16MB")
    few = accuracy(small, rows, labels)
    backend.configure(memory="16GB")
    assert few == accuracy(large, rows, labels)
    assert small.blocks > large.blocks == 1


# -- divergence in finite numbers --------------------------------------------------------------------------------------------


def diverged(learner, split, epochs=3):
    """Train to the end and return the warning about divergence."""
    *_, (_, done) = train(learner, split, epochs, 7, Position(), {})
    return training.divergence(learner, split, done.loss)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_good_training_is_not_called_diverged(build_cerebellum, name):
    assert diverged(LEARNERS[name](build_cerebellum), Split(dataset(), 0.2, 0)) is None


@pytest.mark.parametrize("name", LEARNERS)
def test_a_training_that_diverges_in_finite_numbers_is_told_with_its_rate(build_cerebellum, name):
    learner, split = LEARNERS[name](build_cerebellum), Split(dataset(), 0.2, 0)
    learner.optimizer = RMSprop(1e4) if name.startswith("delta") else Adam(1e4)  # whose steps are bounded: no overflow
    if name in ("delta rule, one by one", "delta rule, full"):  # began with another optimiser
        learner.state = learner.optimizer.state(learner.model.readout)
    said = diverged(learner, split)
    assert re.fullmatch(
        r"training diverged: the loss on training images is \S+, that of constant answers \S+; lower --learning-rate "
        r"\(10000 here\), and give another --out if you gave one",
        said,
    )


@pytest.mark.parametrize("loss", ["cross-entropy", "zero-one"])
def test_noisy_networks_are_judged_by_their_own_loss(loss):
    learner, split = glr("gaussian", loss, estimator="flip"), Split(dataset(), 0.2, 0)
    assert diverged(learner, split) is None
    learner.learned[...] = 0
    for array in learner.model.parameters.values():
        array[...] = 0
    assert training.divergence(learner, split) is None  # constant answers are no divergence


def test_no_better_than_chance_and_a_loss_that_grew_is_told():
    class Wrong(Scripted):
        def forward(self, x):
            return np.tile(np.array([0.0, 4.0, 0.0]), (len(x), 1)), None

        def loss_of(self, outputs, labels):
            return cross_entropy(outputs, labels)[0]

    data = dataclasses.replace(numbered(), y_train=np.arange(50) % 3)
    assert "the loss on training images is 2.676, that of constant answers 1.211" in training.divergence(
        Wrong(), Split(data, 0.0, 0)
    )


def test_a_late_divergence_is_told_though_an_earlier_epoch_is_kept(build_cerebellum):
    learner, split = LEARNERS["backpropagation"](build_cerebellum), Split(dataset(), 0.2, 0)
    assert diverged(learner, split) is None
    assert "the last epoch's loss is 1e+06, that of constant answers" in training.divergence(learner, split, 1e6)


def test_the_last_update_is_seen_although_no_loss_is():
    class Overflowing(Scripted):
        def forward(self, x):
            return np.full((len(x), 3), np.inf), None

    with pytest.raises(MinicerebError, match="diverged: a value is inf; lower --learning-rate, and give"):
        diverged(Overflowing(), Split(numbered(), 0.0, 0), 1)


def test_an_accuracy_of_outputs_that_overflow_is_no_warning():
    class Overflowing:
        def forward(self, x):
            return x * np.float32(1e38) * np.float32(1e38) - x * np.float32(1e38) * np.float32(1e38), None

    data = numbered()
    assert accuracy(Overflowing(), data.x_train, data.y_train) == 1.0  # NaN throughout: the first class
