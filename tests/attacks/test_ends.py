"""Users' models, settings at the limits of their ranges, and the error messages beyond them."""

import dataclasses

import numpy as np
import pytest
from quick_attacks import FGSM, IMAGES, PGD, WEIGHT, Level, Student, every_attack, rows_and_labels, run

from minicereb.errors import InputError, MinicerebError
from minicereb.models.layers import Dense
from minicereb.models.mlp import initial_mlp
from minicereb.models.sequential import Sequential

# -- models of others --------------------------------------------------------------------------------------------------------


@every_attack
def test_a_students_own_classifier_can_be_attacked(attack):
    own, ours = Student(WEIGHT), Sequential((Dense(np.ascontiguousarray(WEIGHT.T), np.zeros(3, dtype=np.float32)),))
    rows, labels = rows_and_labels(ours)
    found, expected = run(own, attack, rows, labels), run(ours, attack, rows, labels)
    assert np.allclose(found.x_adv, expected.x_adv, rtol=0, atol=1e-6)
    assert np.array_equal(found.success, expected.success)
    assert found.success.sum() > (found.clean_predicted != labels).sum()


class Broken(Student):
    """Fails as specified: for the last image, away from the middle of the box, or in its gradient."""

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
        (rows, np.zeros(3, dtype=np.int64), "labels"),
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
    if (where, attack.method) in (("gradient", "square"), ("gradient", "random"), ("away", "fab"), ("away", "fmn")):
        return  # these do not go there
    large = dataclasses.replace(attack, epsilon=3.0 if attack.norm == "l2" else 0.4, step_size=1.0)
    with np.errstate(invalid="ignore"), pytest.raises(MinicerebError, match="not finite"):
        run(Broken(where, np.nan), large, rows, labels)
