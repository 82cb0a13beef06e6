"""An attack's claims are true and do not depend on how the work is divided; more effort never gives a weaker result."""

import dataclasses

import numpy as np
import pytest
import strict_arrays
from quick_attacks import FGSM, IMAGES, PGD, Level, every_attack, rows_and_labels, run

from minicereb import backend
from minicereb.attacks.ball import ball_around
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.objectives import OBJECTIVES
from minicereb.attacks.pgd import pgd
from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.calculus.losses import margin

# -- claims ------------------------------------------------------------------------------------------------------------------


@every_attack
def test_bound_box_label_and_answers_are_what_the_images_say(victim, attack):
    model, rows, labels = victim
    attacked = run(model, attack, rows, labels)
    assert np.array_equal(attacked.ids, np.arange(IMAGES))
    assert np.array_equal(attacked.y, labels)
    assert np.array_equal(attacked.x, rows.astype(np.float32) * np.float32(1 / 255))
    assert attacked.x_adv.dtype == np.float32
    order = np.inf if attack.norm == "linf" else 2
    change = np.linalg.norm(attacked.x_adv.astype(np.float64) - attacked.x, order, axis=1)
    assert np.allclose(attacked.distance, change, rtol=1e-12, atol=0)
    assert change.max() <= attack.epsilon + 1e-6
    assert attacked.x_adv.min() >= 0
    assert attacked.x_adv.max() <= 1
    outputs = model.forward(attacked.x_adv)[0]
    assert np.array_equal(attacked.predicted, outputs.argmax(axis=1))
    assert np.array_equal(attacked.success, attacked.predicted != labels)
    assert np.allclose(attacked.value, OBJECTIVES[attack.objective](outputs, labels)[0], rtol=0, atol=1e-6)
    assert np.array_equal(attacked.clean_predicted, model.forward(attacked.x)[0].argmax(axis=1))


@every_attack
def test_an_image_that_is_misclassified_already_is_left_alone(victim, attack):
    model, rows, labels = victim
    attacked = run(model, attack, rows, labels)
    wrong = attacked.clean_predicted != labels
    assert 3 < wrong.sum() < IMAGES - 3
    assert np.array_equal(attacked.x_adv[wrong], attacked.x[wrong])
    assert attacked.success[wrong].all()
    assert (attacked.distance[~wrong] > 0)[attacked.success[~wrong] | (attack.traits.keeps != "nearest")].all()


@every_attack
def test_a_bound_of_zero_changes_nothing(victim, attack):
    model, rows, labels = victim
    attacked = run(model, dataclasses.replace(attack, epsilon=0.0), rows, labels)
    assert np.array_equal(attacked.x_adv, attacked.x)
    assert np.array_equal(attacked.success, attacked.clean_predicted != labels)


def test_an_attack_does_some_harm(victim):
    model, rows, labels = victim
    attacked = run(model, PGD, rows, labels)
    assert attacked.success.sum() > (attacked.clean_predicted != labels).sum()
    assert not attacked.success.all()


@every_attack
def test_every_device_claims_the_same(xp_device, build_cerebellum, attack):
    model = build_cerebellum(cells=80, dtype=np.float32)
    rows, labels = rows_and_labels(model)
    there = run(model, attack, rows, labels)
    for array in there:
        assert type(array) is np.ndarray  # claims are on the host
    backend.configure(device="cpu")
    here = run(build_cerebellum(cells=80, dtype=np.float32), attack, rows, labels)
    assert np.array_equal(there.clean_predicted, here.clean_predicted)
    assert np.mean(np.abs(there.x_adv - here.x_adv) > 1e-6) < 0.01  # where a gradient vanishes but for rounding
    assert np.mean(there.success != here.success) < 0.1


# -- independence ------------------------------------------------------------------------------------------------------------


def rounding(attack):
    """How far the last digits of a matrix product, which depend on the size of the batch, may move an attacked image.

    Searches for the nearest misclassified image divide by small differences of outputs, which multiplies them.
    """
    return 2e-5 if attack.traits.keeps == "nearest" else 1e-6


@every_attack
def test_images_one_by_one_fare_as_all_at_once(victim, attack):
    model, rows, labels = victim
    together = run(model, attack, rows, labels)
    for image in range(IMAGES):
        alone = run(model, attack, rows, labels, [image])
        assert np.allclose(alone.x_adv[0], together.x_adv[image], rtol=0, atol=rounding(attack))
        assert alone.success[0] == together.success[image]


@every_attack
def test_images_in_another_order_fare_the_same(victim, attack):
    model, rows, labels = victim
    order = np.random.default_rng(1).permutation(IMAGES)[:15]
    together, shuffled = run(model, attack, rows, labels), run(model, attack, rows, labels, order)
    assert np.array_equal(shuffled.ids, order)
    assert np.allclose(shuffled.x_adv, together.x_adv[order], rtol=0, atol=rounding(attack))
    assert np.array_equal(shuffled.success, together.success[order])


def test_the_memory_budget_cuts_blocks_and_changes_nothing(build_cerebellum):
    class Hungry:
        def __init__(self, model):
            self.forward, self.input_gradient, self.bytes_per_image = model.forward, model.input_gradient, 1 << 20

    model = build_cerebellum(cells=80, dtype=np.float32)
    rows, labels = rows_and_labels(model)
    backend.configure(memory="16MB")
    few = list(attack_images(Hungry(model), PGD, rows, labels, np.arange(IMAGES)))
    assert len(few) > 5
    whole = run(model, PGD, rows, labels)
    assert np.allclose(np.concatenate([block.x_adv for block in few]), whole.x_adv, rtol=0, atol=1e-6)
    assert np.array_equal(np.concatenate([block.success for block in few]), whole.success)


def test_the_seed_and_the_restart_give_the_start(build_cerebellum):
    model = build_cerebellum(cells=80, dtype=np.float32)
    rows, labels = rows_and_labels(model)
    short = dataclasses.replace(PGD, steps=1, step_size=1e-6, keep="last")
    first, again = (run(model, short, rows, labels).x_adv for _ in range(2))
    assert np.array_equal(first, again)
    pending = run(model, short, rows, labels).clean_predicted == labels
    starts = [run(model, dataclasses.replace(short, seed=seed), rows, labels).x_adv[pending] for seed in (0, 1)]
    assert np.abs(starts[0] - starts[1]).mean() > 0.02


def test_random_starts_fill_the_ball():
    """A model without a gradient stays where it starts: uniform in the ball, but for what the box cuts off."""

    class Flat:
        def forward(self, x):
            return np.tile(np.float32([1, 0]), (len(x), 1)), None

        def input_gradient(self, d_outputs, cache):
            return np.zeros((len(d_outputs), 500), dtype=np.float32)

    x, labels = np.full((40, 500), 0.5, dtype=np.float32), np.zeros(40, dtype=np.int64)
    moved = run(Flat(), dataclasses.replace(PGD, epsilon=0.25, keep="last"), x, labels).x_adv.astype(np.float64) - 0.5
    assert -0.25 <= moved.min() < -0.2499
    assert 0.2499 < moved.max() <= 0.25
    assert abs(moved.mean()) < 4.9 * 0.25 / 3**0.5 / moved.size**0.5  # a false alarm in a million seeds
    assert moved.var() == pytest.approx(0.25**2 / 3, rel=0.05)
    (edge,) = {run(Flat(), dataclasses.replace(PGD, epsilon=0.75), x, labels).x_adv.max()}
    assert edge == 1


def test_without_images_there_are_no_claims(build_cerebellum):
    model = build_cerebellum(dtype=np.float32)
    rows, labels = rows_and_labels(model)
    assert list(attack_images(model, PGD, rows, labels, np.arange(0))) == []


def test_numbers_of_numpy_are_numbers(build_cerebellum):
    """A bound from ``numpy.linspace`` must not turn the images into float64."""
    model = build_cerebellum(cells=80, dtype=np.float32)
    rows, labels = rows_and_labels(model)
    for attack in (FGSM, PGD):
        found = run(model, dataclasses.replace(attack, epsilon=np.float64(0.125), step_size=np.float64(0.03125)), rows, labels)
        expected = run(model, attack, rows, labels)
        assert found.x_adv.dtype == np.float32
        assert np.array_equal(found.x_adv, expected.x_adv)


# -- trying harder -----------------------------------------------------------------------------------------------------------


def no_weaker(harder, weaker):
    """Misclassified points come first, then the objective decides; equal runs give equal bits."""
    return (harder.success > weaker.success) | ((harder.success == weaker.success) & (harder.value >= weaker.value))


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("random_start", [True, False])
def test_more_steps_never_look_weaker(victim, objective, random_start):
    model, rows, labels = victim
    attack = dataclasses.replace(PGD, objective=objective, step_size=0.1, random_start=random_start)  # too large a step
    results = [run(model, dataclasses.replace(attack, steps=steps), rows, labels) for steps in (1, 2, 3, 6, 12)]
    for weaker, harder in zip(results, results[1:], strict=False):
        assert no_weaker(harder, weaker).all()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_more_restarts_never_look_weaker(victim, objective):
    model, rows, labels = victim
    attack = dataclasses.replace(PGD, objective=objective, steps=1, step_size=0.01)
    results = [run(model, dataclasses.replace(attack, restarts=restarts), rows, labels) for restarts in (1, 2, 4, 8)]
    for weaker, harder in zip(results, results[1:], strict=False):
        assert no_weaker(harder, weaker).all()
    assert (results[-1].value > results[0].value).any()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_best_point_is_no_weaker_than_the_last(victim, objective):
    model, rows, labels = victim
    attack = dataclasses.replace(PGD, objective=objective, step_size=0.1)
    best, last = (run(model, dataclasses.replace(attack, keep=keep), rows, labels) for keep in ("best", "last"))
    assert no_weaker(best, last).all()
    assert (best.value > last.value).any()


class Path:
    """Its gradient always points to brighter pixels, and its outputs depend on how far an image of 0.5 went that way."""

    def __init__(self, *outputs):
        self.outputs = np.float32(outputs)

    def forward(self, x):
        return self.outputs[np.rint((x.mean(axis=1) - 0.5) * 10).astype(int)], len(x)

    def input_gradient(self, d_outputs, images):
        return np.ones((images, 5), dtype=np.float32)


def walk(objective, *outputs):
    """Return the distance of the image that PGD chooses among images with these outputs, 0.1 apart."""
    attack = Attack("pgd", objective, (len(outputs) - 1) / 10, steps=len(outputs) - 1, step_size=0.1, random_start=False)
    attacked = run(Path(*outputs), attack, np.full((1, 5), 0.5, dtype=np.float32), np.zeros(1, dtype=np.int64))
    return round(10 * float(attacked.distance[0])), bool(attacked.success[0])


def test_a_misclassified_point_counts_before_one_with_a_larger_objective():
    """The squared error rewards raising the right output too: a search that kept its maximum would overlook the break."""
    assert walk("mse", (1, 0.5), (1, 1.2), (50, 0), (60, 0)) == (1, True)
    assert walk("mse", (1, 0.5), (1, 1.2), (50, 0), (1, 3)) == (3, True)
    assert walk("mse", (1, 0.5), (30, 1.2), (50, 0), (40, 3)) == (2, False)


def test_of_equal_points_the_first_counts():
    assert walk("margin", (1, 0.5), (1, 0.5), (1, 0.5)) == (0, False)
    assert walk("margin", (1, 0.5), (1, 3), (1, 3), (2, 3)) == (1, True)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_last_point_is_the_last_iterate(victim, objective):
    """Compared with five steps written out: step along the sign from the image, then project."""
    model, rows, labels = victim
    attack = dataclasses.replace(PGD, objective=objective, random_start=False, keep="last")
    attacked = run(model, attack, rows, labels)
    pending = attacked.clean_predicted == labels
    x, here = attacked.x[pending], attacked.x[pending].copy()
    for _ in range(attack.steps):
        outputs, cache = model.forward(here)
        gradient = model.input_gradient(OBJECTIVES[objective](outputs, labels[pending])[1], cache)
        here = here + np.float32(attack.step_size) * np.sign(gradient)
        here = np.clip(np.clip(here, x - np.float32(attack.epsilon), x + np.float32(attack.epsilon)), 0, 1)
    assert np.allclose(attacked.x_adv[pending], here, rtol=0, atol=1e-6)


def test_pgd_yields_the_start_brought_into_the_ball_and_a_point_after_every_step(victim):
    model, rows, labels = victim
    x = rows.astype(np.float32) / 255
    landscape = Landscape(model, margin, labels)
    start = x + np.float32(0.5) * np.sign(np.random.default_rng(0).standard_normal(x.shape)).astype(np.float32)
    points = list(pgd(landscape, ball_around(x, 0.125, "linf"), start, steps=4, step_size=0.03125))
    assert len(points) == 5
    low, high = np.maximum(x - np.float32(0.125), 0), np.minimum(x + np.float32(0.125), 1)
    assert np.array_equal(points[0].x, np.clip(start, low, high))
    for point in points:
        assert (point.x >= low).all()
        assert (point.x <= high).all()
        assert np.array_equal(point.outputs, model.forward(point.x)[0])
        assert np.array_equal(point.value, margin(point.outputs, labels)[0])
    for before, after in zip(points, points[1:], strict=False):
        assert not np.shares_memory(before.x, after.x)
        assert np.abs(after.x - before.x).max() <= 0.03125 + 1e-6


def test_the_search_reads_nothing_from_the_device(monkeypatch, build_cerebellum, draw_images):
    strict_arrays.install(monkeypatch)
    model, (x, labels) = build_cerebellum(dtype=np.float32), draw_images(6, dtype=np.float32)
    before = strict_arrays.StrictArray.reads
    points = list(pgd(Landscape(model, margin, labels), ball_around(x, 0.125, "linf"), x, steps=4, step_size=0.03125))
    assert strict_arrays.StrictArray.reads == before
    assert len(points) == 5


# -- for another judge -------------------------------------------------------------------------------------------------------


@every_attack
def test_all_can_be_attempted_for_another_judge(victim, attack):
    """Misclassified images are attacked too, and searches run to the end; no point is weaker than otherwise."""
    model, rows, labels = victim
    usual, everything = run(model, attack, rows, labels), run(model, attack, rows, labels, include_misclassified=True)
    wrong = usual.clean_predicted != labels
    assert np.array_equal(everything.success | (attack.keep == "last"), usual.success | (attack.keep == "last"))
    if attack.traits.keeps == "nearest":
        assert np.array_equal(everything.x_adv, usual.x_adv)
        return
    assert (everything.distance > 0).all()
    assert (everything.distance[wrong] > 0.5 * attack.epsilon).any()
    if attack.keep == "best" and attack.objective != "dlr" and not attack.targets:
        assert (everything.value >= usual.value - 1e-6).all()


@pytest.mark.parametrize("more", [{"restarts": 4}, {"targets": 2}])
def test_no_later_search_undoes_an_earlier_one(victim, more):
    """With the last point of each search, too, every further search adds to the broken images."""
    model, rows, labels = victim
    once = dataclasses.replace(PGD, keep="last", steps=1, step_size=0.01, targets=1 if "targets" in more else 0)
    first = run(model, once, rows, labels, include_misclassified=True)
    all_of_them = run(model, dataclasses.replace(once, **more), rows, labels, include_misclassified=True)
    assert (all_of_them.success | ~first.success).all()
    assert all_of_them.success.sum() > first.success.sum()


# -- targets -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["pgd", "momentum", "apgd", "square", "fgsm"])
def test_more_targets_never_break_less(victim, method):
    model, rows, labels = victim
    attack = Attack(method, "margin", 0.06, steps=8, targets=1)
    one, two, many = (run(model, dataclasses.replace(attack, targets=targets), rows, labels) for targets in (1, 2, 9))
    assert not (one.success & ~two.success).any()
    assert np.array_equal(two.x_adv, many.x_adv)  # of three classes two are wrong
    assert two.success.any()


def test_a_search_towards_a_class_raises_it(victim):
    """With one target, the likeliest wrong class, PGD goes where its output gains on the label's."""
    model, rows, labels = victim
    attack = Attack("pgd", "margin", 0.01, steps=8, step_size=0.005, targets=1, random_start=False, keep="last")
    attacked = run(model, attack, rows, labels)
    pending = attacked.clean_predicted == labels
    before, after = (model.forward(x[pending])[0] for x in (attacked.x, attacked.x_adv))
    y, some = labels[pending], np.arange(pending.sum())
    rival = np.where(np.arange(3) == y[:, None], -np.inf, before).argmax(axis=1)
    assert (after[some, rival] - after[some, y] > before[some, rival] - before[some, y]).all()


def test_every_target_and_restart_has_a_start_of_its_own():
    """For a constant model the last points are the starts."""
    x, labels = np.full((3, 500), 0.5, dtype=np.float32), np.zeros(3, dtype=np.int64)
    attack = Attack("pgd", "margin", 0.25, steps=1, keep="last")
    starts = [
        run(Level(4), dataclasses.replace(attack, targets=targets, restarts=restarts), x, labels).x_adv
        for targets, restarts in ((0, 1), (0, 2), (1, 1), (2, 1), (2, 2))
    ]
    for number, one in enumerate(starts):
        for other in starts[number + 1 :]:
            assert np.abs(one - other).mean() > 0.1
