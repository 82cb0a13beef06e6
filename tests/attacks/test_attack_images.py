"""What an attack claims is true, does not depend on how the work is cut, and never looks weaker for trying harder."""

import dataclasses

import numpy as np
import pytest
import strict

from minicereb import backend
from minicereb.attacks.ball import ball_around
from minicereb.attacks.objectives import OBJECTIVES
from minicereb.attacks.pgd import pgd
from minicereb.attacks.run import Attacked, attack_images
from minicereb.attacks.settings import Attack
from minicereb.attacks.sources import Landscape
from minicereb.backend import to_device, to_numpy
from minicereb.calculus.losses import margin
from minicereb.errors import InputError, MinicerebError
from minicereb.models.layers import Dense
from minicereb.models.mlp import initial_mlp
from minicereb.models.sequential import Sequential

IMAGES = 24
FGSM = Attack("fgsm", "mse", 0.125)
PGD = Attack("pgd", "margin", 0.125, steps=5, step_size=0.03125)
ATTACKS = [
    FGSM,
    PGD,
    *(dataclasses.replace(PGD, objective=objective) for objective in ("mse", "cross-entropy")),
    dataclasses.replace(PGD, keep="last"),
    dataclasses.replace(PGD, random_start=False),
    dataclasses.replace(PGD, restarts=3, seed=5),
    Attack("pgd", "dlr", 0.5, steps=5, step_size=0.2, norm="l2"),
    Attack("fgsm", "margin", 0.5, norm="l2"),
    Attack("pgd", "cross-entropy", 0.125, steps=5, step_size=0.03125, targets=2),
    Attack("apgd", "cross-entropy", 0.125, steps=12),
    Attack("apgd", "dlr", 0.125, steps=12, targets=9, restarts=2),
    Attack("apgd", "margin", 0.5, steps=12, norm="l2", random_start=False),
    Attack("fab", "margin", 0.125, steps=12, targets=9),
    Attack("fab", "margin", 0.5, steps=12, norm="l2", restarts=2),
    Attack("square", "margin", 0.125, steps=60),
    Attack("square", "margin", 0.5, steps=60, norm="l2", restarts=2),
    Attack("random", "margin", 0.125, steps=40),
    Attack("random", "dlr", 0.5, steps=40, norm="l2"),
]
every_attack = pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))


def rows_and_labels(model):
    """Stored images, and labels of which about two thirds are what the model answers."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 256, (IMAGES, 30), dtype=np.uint8)
    answers = to_numpy(model.forward(to_device(rows.astype(np.float32) / 255))[0].argmax(axis=1))
    return rows, np.where(rng.random(IMAGES) < 0.5, answers, rng.integers(0, 3, IMAGES))


SHAPE = (5, 6)


@pytest.fixture(params=["cerebellum", "perceptron"])
def victim(request, build_cerebellum):
    """A model in float32 with images and labels."""
    model = build_cerebellum(cells=80, dtype=np.float32) if request.param == "cerebellum" else initial_mlp(30, (20,), 3, 0)
    return model, *rows_and_labels(model)


def run(model, attack, rows, labels, ids=None, **options):
    """All blocks of an attack as one."""
    ids = np.arange(len(rows)) if ids is None else np.asarray(ids)
    shape = SHAPE if rows.shape[1] == 30 else None
    blocks = attack_images(model, attack, rows, labels, ids, image_shape=shape, **options)
    return Attacked(*map(np.concatenate, zip(*blocks, strict=True)))


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
    assert (attacked.distance[~wrong] > 0)[attacked.success[~wrong] | (attack.method != "fab")].all()


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


@every_attack
def test_images_one_by_one_fare_as_all_at_once(victim, attack):
    model, rows, labels = victim
    together = run(model, attack, rows, labels)
    for image in range(IMAGES):
        alone = run(model, attack, rows, labels, [image])
        assert np.allclose(alone.x_adv[0], together.x_adv[image], rtol=0, atol=1e-6)
        assert alone.success[0] == together.success[image]


@every_attack
def test_images_in_another_order_fare_the_same(victim, attack):
    model, rows, labels = victim
    order = np.random.default_rng(1).permutation(IMAGES)[:15]
    together, shuffled = run(model, attack, rows, labels), run(model, attack, rows, labels, order)
    assert np.array_equal(shuffled.ids, order)
    assert np.allclose(shuffled.x_adv, together.x_adv[order], rtol=0, atol=1e-6)
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
    """A bound out of ``numpy.linspace`` must not turn the images into float64."""
    model = build_cerebellum(cells=80, dtype=np.float32)
    rows, labels = rows_and_labels(model)
    for attack in (FGSM, PGD):
        found = run(model, dataclasses.replace(attack, epsilon=np.float64(0.125), step_size=np.float64(0.03125)), rows, labels)
        expected = run(model, attack, rows, labels)
        assert found.x_adv.dtype == np.float32
        assert np.array_equal(found.x_adv, expected.x_adv)


# -- trying harder -----------------------------------------------------------------------------------------------------------


def no_weaker(harder, weaker):
    """Misclassified before not, then by the objective; equal runs are equal bits."""
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
    """How far the image is that PGD chooses out of those with these outputs, 0.1 apart."""
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
    """Written out: start at the image, step along the sign, project; five times."""
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
    strict.install(monkeypatch)
    model, (x, labels) = build_cerebellum(dtype=np.float32), draw_images(6, dtype=np.float32)
    before = strict.StrictArray.reads
    points = list(pgd(Landscape(model, margin, labels), ball_around(x, 0.125, "linf"), x, steps=4, step_size=0.03125))
    assert strict.StrictArray.reads == before
    assert len(points) == 5


# -- models of others --------------------------------------------------------------------------------------------------------


class Student:
    """A linear classifier with the two methods that an attack needs, and nothing else."""

    def __init__(self, weight):
        self.weight = weight

    def forward(self, x):
        return x @ self.weight, None

    def input_gradient(self, d_outputs, cache):
        return d_outputs @ self.weight.T


WEIGHT = np.random.default_rng(0).standard_normal((30, 3)).astype(np.float32)
WEIGHT -= WEIGHT.mean(axis=0)  # every class is some image's answer


@every_attack
def test_a_students_own_classifier_can_be_attacked(attack):
    own, ours = Student(WEIGHT), Sequential((Dense(np.ascontiguousarray(WEIGHT.T), np.zeros(3, dtype=np.float32)),))
    rows, labels = rows_and_labels(ours)
    found, expected = run(own, attack, rows, labels), run(ours, attack, rows, labels)
    assert np.allclose(found.x_adv, expected.x_adv, rtol=0, atol=1e-6)
    assert np.array_equal(found.success, expected.success)
    assert found.success.sum() > (found.clean_predicted != labels).sum()


class Broken(Student):
    """Goes wrong as told: for the last image, away from the middle of the box, or in its gradient."""

    def __init__(self, where, value):
        super().__init__(WEIGHT)
        self.where, self.value = where, np.float32(value)

    def forward(self, x):
        outputs, cache = super().forward(x)
        if self.where == "last image":
            outputs[-1:] = self.value
        if self.where == "away":
            outputs[np.abs(x - 0.5).max(axis=1) > 0.25] = self.value
        return outputs, cache

    def input_gradient(self, d_outputs, cache):
        gradient = super().input_gradient(d_outputs, cache)
        return gradient * self.value if self.where == "gradient" else gradient


@pytest.mark.parametrize("label", [0, 1, 2])
@pytest.mark.parametrize(
    ("where", "value"), [("last image", np.nan), ("last image", np.inf), ("away", np.nan), ("away", np.inf), ("gradient", np.nan)]
)
@pytest.mark.parametrize("settings", [{"method": "fgsm"}, {"keep": "best"}, {"keep": "last"}], ids=str)
def test_outputs_or_gradients_that_are_not_finite_are_an_error_and_no_robustness(settings, where, value, label):
    """Whatever the label: of outputs that are NaN the first is argmax's answer, which may well be the right one."""
    rows = np.random.default_rng(0).integers(77, 179, (IMAGES, 30), dtype=np.uint8)  # within 0.2 of the middle
    labels = Student(WEIGHT).forward(rows.astype(np.float32) / 255)[0].argmax(axis=1)
    chosen = labels == label
    assert chosen.any()
    attack = dataclasses.replace(PGD, random_start=False, **settings)
    with np.errstate(invalid="ignore"), pytest.raises(MinicerebError, match="not finite"):
        run(Broken(where, value), attack, rows[chosen], labels[chosen])


@pytest.mark.parametrize("spoil", [lambda z: z[:, 0], lambda z: z[:-1], lambda z: z[None], lambda z: z.T], ids=range(4))
def test_outputs_of_a_wrong_shape_are_named(spoil):
    class Misshapen(Student):
        def forward(self, x):
            return spoil(x @ self.weight), None

    rows, labels = rows_and_labels(Student(WEIGHT))
    with pytest.raises(InputError, match="outputs of shape") as caught:
        run(Misshapen(WEIGHT), PGD, rows, labels)
    assert caught.value.setting == "model"


# -- settings ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("epsilon", -1.0),
        ("epsilon", -1e-9),
        ("epsilon", float("nan")),
        ("epsilon", float("inf")),
        ("steps", 0),
        ("steps", -5),
        ("step-size", 0.0),
        ("step-size", -0.1),
        ("step-size", float("nan")),
        ("step-size", float("inf")),
        ("restarts", 0),
        ("seed", -1),
        ("method", "cw"),
        ("method", ""),
        ("objective", "loss"),
        ("keep", "first"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(setting, wrong):
    with pytest.raises(InputError, match=setting) as caught:
        dataclasses.replace(PGD, **{setting.replace("-", "_"): wrong})
    assert caught.value.setting == setting
    assert caught.value.value is wrong


@pytest.mark.parametrize("epsilon", [0, 0.0, 1e-30, 1, 7.5])
def test_every_bound_from_zero_on_can_be_used(victim, epsilon):
    model, rows, labels = victim
    for attack in (FGSM, PGD):
        attacked = run(model, dataclasses.replace(attack, epsilon=epsilon), rows, labels)
        assert attacked.distance.max() <= min(epsilon, 1) + 1e-6


# -- the ends of what can be asked ------------------------------------------------------------------------------------------


@every_attack
def test_one_image_can_be_attacked(victim, attack):
    model, rows, labels = victim
    attacked = run(model, attack, rows[:1], labels[:1])
    assert attacked.x_adv.shape == (1, 30)


@every_attack
def test_a_model_that_is_always_wrong_is_left_alone(victim, attack):
    model, rows, _ = victim
    labels = (model.forward(rows.astype(np.float32) / 255)[0].argmax(axis=1) + 1) % 3
    attacked = run(model, attack, rows, labels)
    assert attacked.success.all()
    assert np.array_equal(attacked.x_adv, attacked.x)


class Level:
    """Answers the first class, with outputs that change nowhere, and a gradient of zeros."""

    def __init__(self, classes):
        self.classes = classes

    def forward(self, x):
        return np.tile(np.arange(self.classes, 0, -1, dtype=np.float32), (len(x), 1)), x.shape

    def input_gradient(self, d_outputs, shape):
        return np.zeros(shape, dtype=np.float32)


@every_attack
@pytest.mark.parametrize("classes", [2, 3, 4, 10])
@pytest.mark.parametrize("epsilon", [1e-30, 0.125, 1.0, 30.0])
def test_a_gradient_of_zeros_leads_nowhere_and_to_no_error(attack, classes, epsilon):
    x = np.random.default_rng(0).random((5, 30), dtype=np.float32).round(1)
    attacked = run(Level(classes), dataclasses.replace(attack, epsilon=epsilon), x, np.zeros(5, dtype=np.int64))
    assert not attacked.success.any()
    assert np.isfinite(attacked.value).all()


@every_attack
@pytest.mark.parametrize("classes", [2, 3])
def test_few_classes_are_enough(attack, classes):
    model = initial_mlp(30, (20,), classes, 0)
    rows = np.random.default_rng(0).random((IMAGES, 30), dtype=np.float32)
    labels = model.forward(rows)[0].argmax(axis=1)
    attacked = run(model, dataclasses.replace(attack, epsilon=2.0, step_size=0.5), rows, labels)
    assert attacked.success.any()


@pytest.mark.parametrize(
    ("low", "high"),
    [(-0.25, 1.0), (0.0, 1.5), (0.0, 255.0), (np.nan, 1.0), (0.0, np.inf)],
    ids=["below", "above", "255", "nan", "inf"],
)
def test_images_outside_the_box_are_named(low, high):
    rows = np.random.default_rng(0).random((9, 30), dtype=np.float32)
    rows[4, 7], rows[6, 3] = high, low
    with pytest.raises(InputError, match=r"images: .*in image [46] .*expected float in \[0, 1\], or uint8 from 0 to 255"):
        run(Student(WEIGHT), PGD, rows, np.zeros(9, dtype=np.int64))
    untouched = np.array([0, 1, 2, 3, 5, 7, 8])
    assert len(run(Student(WEIGHT), PGD, rows, np.zeros(9, dtype=np.int64), untouched).ids) == 7


def test_rows_and_labels_must_fit():
    rows = np.zeros((4, 30), dtype=np.float32)
    for wrong_rows, labels, named in (
        (rows, np.zeros(3, dtype=np.int64), "images"),
        (rows[None], np.zeros(1, dtype=np.int64), "images"),
        (rows, np.array([0, 1, -1, 2]), "labels"),
        (rows, np.array([0, 1, 3, 2]), "model"),  # which has three outputs
    ):
        with pytest.raises(InputError) as caught:
            run(Student(WEIGHT), PGD, wrong_rows, labels)
        assert caught.value.setting == named


@every_attack
def test_gradients_of_a_wrong_shape_are_named(attack):
    class Misshapen(Student):
        def input_gradient(self, d_outputs, cache):
            return super().input_gradient(d_outputs, cache)[:, :5]

    rows, labels = rows_and_labels(Student(WEIGHT))
    if attack.method in ("square", "random"):
        run(Misshapen(WEIGHT), attack, rows, labels)  # they do not ask for it
    else:
        with pytest.raises(InputError, match="an input gradient of shape"):
            run(Misshapen(WEIGHT), attack, rows, labels)


@every_attack
@pytest.mark.parametrize("where", ["gradient", "away"])
def test_no_attack_takes_what_is_not_finite_for_robustness(attack, where):
    rows = np.random.default_rng(0).integers(77, 179, (IMAGES, 30), dtype=np.uint8)
    labels = Student(WEIGHT).forward(rows.astype(np.float32) / 255)[0].argmax(axis=1)
    if (where, attack.method) in (("gradient", "square"), ("gradient", "random"), ("away", "fab")):
        return  # these do not go there
    large = dataclasses.replace(attack, epsilon=3.0 if attack.norm == "l2" else 0.4, step_size=1.0)
    with np.errstate(invalid="ignore"), pytest.raises(MinicerebError, match="not finite"):
        run(Broken(where, np.nan), large, rows, labels)


# -- for another judge -------------------------------------------------------------------------------------------------------


@every_attack
def test_all_can_be_attempted_for_another_judge(victim, attack):
    """Then also what is wrong already, and to the end: never a weaker point than else."""
    model, rows, labels = victim
    usual, everything = run(model, attack, rows, labels), run(model, attack, rows, labels, attempt_all=True)
    wrong = usual.clean_predicted != labels
    assert np.array_equal(everything.success | (attack.keep == "last"), usual.success | (attack.keep == "last"))
    if attack.method == "fab":
        assert np.array_equal(everything.x_adv, usual.x_adv)
        return
    assert (everything.distance > 0).all()
    assert (everything.distance[wrong] > 0.5 * attack.epsilon).any()
    if attack.keep == "best" and attack.objective != "dlr" and not attack.targets:
        assert (everything.value >= usual.value - 1e-6).all()


# -- targets -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["pgd", "apgd", "square", "fgsm"])
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
    """On a level model the last points are the starts."""
    x, labels = np.full((3, 500), 0.5, dtype=np.float32), np.zeros(3, dtype=np.int64)
    attack = Attack("pgd", "margin", 0.25, steps=1, keep="last")
    starts = [
        run(Level(4), dataclasses.replace(attack, targets=targets, restarts=restarts), x, labels).x_adv
        for targets, restarts in ((0, 1), (0, 2), (1, 1), (2, 1), (2, 2))
    ]
    for number, one in enumerate(starts):
        for other in starts[number + 1 :]:
            assert np.abs(one - other).mean() > 0.1
