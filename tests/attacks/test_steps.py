"""The default step size: it fits ε, norm and steps, and results with the old default of 0.01 are found again."""

import dataclasses

import numpy as np
import pytest
from quick_attacks import Student, run

import minicereb.experiments.configs  # noqa: F401 (makes the settings known by name)
from minicereb.attacks.methods import METHODS
from minicereb.attacks.settings import Attack, fitting_step
from minicereb.errors import InputError
from minicereb.experiments.identity import config_hash, from_json, hashes, to_json

STEPPING = [name for name, method in METHODS.items() if method.has("step_size")]


@pytest.mark.parametrize("method", STEPPING)
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("epsilon", "steps"), [(0.1, 40), (2.0, 40), (2.0, 7), (1e-30, 3), (30.0, 1)])
def test_the_steps_cross_the_ball(method, norm, epsilon, steps):
    attack = Attack(method, "margin", epsilon, steps=steps, norm=norm)
    assert attack.step_size * steps == pytest.approx(2.5 * epsilon)
    assert attack.too_short is None
    assert attack == dataclasses.replace(attack) == from_json(to_json(attack))


@pytest.mark.parametrize("epsilon", [0.0, 5e-324])
def test_a_bound_of_nothing_has_a_step_too(epsilon):
    assert Attack("pgd", "margin", epsilon).step_size == 0.01
    assert fitting_step(epsilon, 40) == 0.01


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_with_the_default_pgd_is_as_strong_as_it_can_be_at_any_bound(norm):
    """A linear model away from the box: the least margin within ε is m - ε‖w‖ in the dual norm. Forty steps of 0.01 lead 0.4."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((900, 2)).astype(np.float32)
    x = (0.45 + 0.1 * rng.random((100, 900))).astype(np.float32)
    outputs = x.astype(np.float64) @ weight
    w = (weight[:, 1] - weight[:, 0]).astype(np.float64)
    gap, dual = np.abs(outputs[:, 1] - outputs[:, 0]), np.linalg.norm(w, {"linf": 1, "l2": 2}[norm])
    model, labels = Student(weight), outputs.argmax(axis=1)
    for epsilon in (0.0, *np.quantile(gap / dual, (0.1, 0.5, 0.9))):
        sure = np.abs(gap - epsilon * dual) > 1e-3
        broken = run(model, Attack("pgd", "margin", float(epsilon), norm=norm, random_start=False), x, labels).success
        assert np.array_equal(broken[sure], (gap < epsilon * dual)[sure])


@pytest.mark.parametrize(
    ("attack", "found"),
    [
        (Attack("pgd", "margin", 0.1, step_size=0.01), "304bcae89d2b4d805bbb2cd8255422618bafcf8bca4c143e14859e4d3046196b"),
        (Attack("apgd", "dlr", 0.1, steps=100, targets=9), "12fab416197586a15950a6267dccb5240f7acbd7ecdeaf4ed2c405175a81f37c"),
        (Attack("fab", "margin", 1.0, norm="l2"), "3eabecc3b12745240b4b0c8813b09af0a966ff6dd7ee6e9190e425f6f83a1ba5"),
        (Attack("square", "margin", 0.1, steps=5_000), "77100d93386ae9cba136c9a3cb63bebd24e01192e29acea46516e0c394882b90"),
        (Attack("fgsm", "mse", 0.1), "a743b70b393e033f5704fc54cc6c9bedd4f91dd7d1a4b5358fd73d20e28c77b9"),
    ],
    ids=lambda value: getattr(value, "method", ""),
)
def test_what_was_done_with_a_step_of_001_is_found_again(attack, found):
    """Hashes of version 424d849, in which 0.01 was the default of every method; those of searches revised since come last."""
    assert hashes(attack)[-1] == found
    assert (config_hash(attack) == found) == (attack.revision == 0)
    assert attack.revision == (attack.method == "square")


def test_a_fitting_step_is_another_experiment_and_the_same_when_it_is_given():
    fitting = Attack("pgd", "margin", 0.1)
    assert config_hash(fitting) == config_hash(Attack("pgd", "margin", 0.1, step_size=2.5 * 0.1 / 40))
    assert config_hash(fitting) != config_hash(Attack("pgd", "margin", 0.1, step_size=0.01))


@pytest.mark.parametrize(
    ("steps", "step_size", "short"), [(40, 0.01, True), (40, 0.05, False), (39, 0.05, True), (1, 2.0, False)]
)
def test_steps_too_short_for_the_ball_are_told(steps, step_size, short):
    for method in STEPPING:
        words = Attack(method, "margin", 2.0, steps=steps, step_size=step_size, norm="l2").too_short
        assert (words is not None) == short
        assert words is None or f"a step of {5 / steps:g} would fit" in words
    assert Attack("apgd", "margin", 2.0, steps=1).too_short is None


def test_no_length_but_a_number_above_0_is_a_step():
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="step-size"):
            Attack("pgd", "margin", 0.1, step_size=wrong)
