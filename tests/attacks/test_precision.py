"""Norms of large images, and of gradients whose squares overflow or underflow in float32."""

import dataclasses

import numpy as np
import pytest
from quick_attacks import ATTACKS, Student, run

from minicereb.attacks.ball import ball_around, row_norms, row_products, unit_rows, with_rounding
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.pgd import pgd
from minicereb.calculus.losses import margin

PIXELS = 150_528  # 224 × 224 × 3
LARGE = [attack for attack in ATTACKS if attack.norm == "l2"]


@pytest.fixture(scope="module")
def signs():
    """All weights are ±1, so that the pixels' rounding errors add up instead of cancelling."""
    side = np.where(np.random.default_rng(0).random(PIXELS) < 0.5, np.float32(1), np.float32(-1))
    return Student(np.stack((side, -side), axis=1)), side


@pytest.mark.parametrize("attack", LARGE, ids=str)
@pytest.mark.parametrize("epsilon", [0.5, 30.0])
def test_an_image_of_150_528_pixels_stays_in_its_ball(signs, attack, epsilon):
    """The distance of float32 images, computed in float64, is within the stated tolerance."""
    model, side = signs
    x = np.full((2, PIXELS), 0.75, dtype=np.float32)
    x[1] = np.random.default_rng(1).random(PIXELS, dtype=np.float32)
    x += np.float32(1e-4) * side  # so little that every attack but random points can undo it
    x = x.clip(0, 1)
    labels = model.forward(x)[0].argmax(axis=1)
    attack = dataclasses.replace(attack, epsilon=epsilon, step_size=epsilon / 3, steps=min(attack.steps, 5))
    attacked = run(model, attack, x, labels)
    size = np.linalg.norm(attacked.x_adv.astype(np.float64) - x, axis=1)
    assert np.allclose(attacked.distance, size, rtol=1e-12, atol=0)
    assert (size <= with_rounding(epsilon, "l2", PIXELS)).all()
    if attack.method in ("fgsm", "pgd", "momentum", "apgd"):
        assert (size >= 0.9 * epsilon).all()  # no smaller ball than was asked for


def test_the_tolerance_grows_with_what_rounding_does():
    assert with_rounding(0.1, "linf", PIXELS) == 0.1 + 1e-6
    assert with_rounding(0.5, "l2", 784) == 0.5 + 1e-6
    assert with_rounding(0.5, "l2", PIXELS) == pytest.approx(0.5 + PIXELS**0.5 * 2**-25 + 0.5 * 2**-22, rel=1e-12)
    assert with_rounding(0.5, "l2", PIXELS) < 0.5 + 1.2e-5


@pytest.mark.parametrize("scale", [1.0, 1e-13, 1e-30, 1e-44, 1e25])
@pytest.mark.parametrize("inputs", [1, 3, 784, PIXELS])
def test_norms_and_directions_of_any_size(inputs, scale):
    rows = (np.random.default_rng(0).standard_normal((2, inputs)) * scale).astype(np.float32)
    rows[1, 0] = scale
    exact = np.linalg.norm(rows.astype(np.float64), axis=1)
    with np.errstate(all="raise", under="ignore"):
        norms, units, products = row_norms(rows), unit_rows(rows), row_products(rows, rows / np.float32(scale or 1))
    assert np.allclose(norms, exact, rtol=1e-6, atol=1e-45)
    if scale > 1e-40:  # else the entries themselves have few digits
        assert np.allclose(products, exact**2 / scale, rtol=1e-5)
    there = exact > 0
    assert np.allclose(np.linalg.norm(units[there].astype(np.float64), axis=1), 1, rtol=1e-6, atol=0)


@pytest.mark.parametrize("scale", [1e-13, 1e-30, 1e-38, 1e25, 1e30])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_gradient_of_any_size_gives_a_full_step(norm, scale):
    """Scaled outputs lead to the same points."""
    weight = np.random.default_rng(0).standard_normal((30, 2)).astype(np.float32)
    x = np.full((3, 30), 0.5, dtype=np.float32)

    def last(weight):
        ball = ball_around(x, 0.2, norm)
        *_, point = pgd(Landscape(Student(weight), margin, np.zeros(3, dtype=int)), ball, x, 1, 0.1)
        return point.x

    moved = last(weight * np.float32(scale))
    assert np.allclose(moved, last(weight), rtol=0, atol=1e-6)
    assert np.allclose(ball_around(x, 0.2, norm).size(moved - x), 0.1, rtol=1e-5)


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if attack.method not in ("random", "square")], ids=str)
@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_no_search_depends_on_the_scale_of_the_outputs(attack, scale):
    """Exceptions are objectives that depend on the scale: the squared error, and the cross-entropy of tiny outputs."""
    if attack.objective in ("mse", "cross-entropy", "dlr"):
        return
    rng = np.random.default_rng(0)
    weight, x = rng.standard_normal((30, 3)).astype(np.float32), rng.random((20, 30), dtype=np.float32)
    labels = (x @ weight).argmax(axis=1)
    plain, scaled = (run(Student(weight * np.float32(factor)), attack, x, labels) for factor in (1, scale))
    assert np.array_equal(plain.success, scaled.success)
    assert plain.success.any()
    if attack.method not in ("fab", "fmn"):
        assert np.allclose(plain.x_adv, scaled.x_adv, rtol=0, atol=1e-5)
