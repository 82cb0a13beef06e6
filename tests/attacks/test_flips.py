"""Attacks on a model whose pixels pass a threshold first: greedy, beam, Square on bits, and gradients past the threshold."""

import dataclasses
import itertools

import numpy as np
import pytest
from quick_attacks import run

from minicereb import backend
from minicereb.attacks.ball import ball_around
from minicereb.attacks.flips import _Asked, _Circuit, beam, flippable
from minicereb.attacks.gradients import Landscape, binary_stage, source_named
from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import to_device, to_numpy
from minicereb.calculus.losses import margin
from minicereb.certificates.certify import certify
from minicereb.errors import InputError
from minicereb.experiments.evaluation.settings import EvaluatedModel
from minicereb.models.mlp import initial_mlp
from minicereb.models.sequential import Sequential
from minicereb.randomness import Draws
from minicereb.robustness.catalogue import FLIPS as CATALOGUED
from minicereb.robustness.catalogue import STANDARD
from minicereb.robustness.checklist import CheckContext, checklist
from minicereb.robustness.evaluate import EvaluationPlan, EvaluationTarget, evaluate_images
from minicereb.robustness.outcomes import no_outcomes

FLIPS = ("greedy", "beam", "square-bits")
METHODS = [
    *(Attack(method, "margin", 0.1, steps=40) for method in FLIPS),
    Attack("greedy", "dlr", 0.1, steps=40, targets=2, restarts=3),
    Attack("beam", "cross-entropy", 0.12, steps=9, norm="l2", width=3),
    Attack("square-bits", "margin", 0.12, steps=40, norm="l2"),
    *(
        Attack(method, "margin", 0.1, steps=20, gradient=gradient)
        for method in ("pgd", "apgd", "fab", "fmn")
        for gradient in ("straight-through", "relaxed")
    ),
    Attack("pgd", "mse", 0.12, steps=20, norm="l2", gradient="relaxed"),
]
each_method = pytest.mark.parametrize("attack", METHODS, ids=str)
THRESHOLD = 0.4


@pytest.fixture
def victim(build_cerebellum, draw_images):
    """A cerebellum in float32 of fibres that fire above 0.4, images that it has right, and their labels."""

    def build(cells=60, count=40, kind="random", **settings):
        model = build_cerebellum(cells=cells, kind=kind, dtype=np.float32, **settings)
        model = dataclasses.replace(model, fires_above=THRESHOLD)
        x, _ = draw_images(count, dtype=np.float32)
        return model, x, model.forward(x)[0].argmax(axis=1)

    return build


def brute_force(model, x, labels, epsilon, norm="linf"):
    """The largest margin of each image over all sets of flips within ε."""
    can = flippable(ball_around(x, epsilon, norm), model.fires_above)
    most = []
    for image, label in enumerate(labels):
        places = np.flatnonzero(can.price[image] <= can.budget)
        sets = np.array(list(itertools.product([False, True], repeat=len(places))))
        sets = sets[(sets * can.price[image, places]).sum(axis=1) <= can.budget]
        images = np.tile(x[image], (len(sets), 1))
        images[:, places] = np.where(sets, can.to[image, places], images[:, places])
        most.append(margin(model.forward(images)[0], np.full(len(sets), label))[0].max())
    return np.array(most)


@pytest.mark.parametrize(("epsilon", "norm"), [(0.1, "linf"), (0.08, "l2")])
@pytest.mark.parametrize("wiring", [{}, {"kind": "full"}, {"replacement": True}])
def test_a_wide_beam_finds_what_trying_all_flips_finds(victim, epsilon, norm, wiring):
    model, x, labels = victim(**wiring)
    most = brute_force(model, x, labels, epsilon, norm)
    found = {}
    for width in (1, 8, 400):
        sets = {"width": width} if width > 1 else {}
        attack = Attack("beam" if sets else "greedy", "margin", epsilon, steps=40, norm=norm, **sets)
        attacked = run(model, attack, x, labels, include_misclassified=True)
        found[width] = attacked.value
        assert (attacked.value <= most + 1e-5).all()
        assert np.array_equal(attacked.success, attacked.value > 0)
    assert (found[400] > most - 1e-5).mean() > (0.99 if norm == "linf" else 0.95)
    assert 3 < (most > 0).sum() < len(x) - 3
    assert (found[1] > most - 1e-5).mean() > 0.7
    assert (found[8] > most - 1e-5).mean() > 0.7


def test_the_effect_of_a_flip_is_that_on_the_outputs(xp_device, build_cerebellum, draw_images):
    model = dataclasses.replace(build_cerebellum(dtype=np.float32, replacement=True), fires_above=THRESHOLD)
    x, _ = draw_images(7, dtype=np.float32)
    fires, rows = x > np.float32(THRESHOLD), to_device(np.array([1, 4, 5]))
    theta, circuit = binary_stage(model)
    assert theta == THRESHOLD
    changed = to_numpy(fires).astype(np.float32)
    changed[[1, 4, 5], 9] = 1 - changed[[1, 4, 5], 9]
    expected = to_numpy(circuit.forward(to_device(changed))[0])[[1, 4, 5]]
    change = to_device((2 * changed[[1, 4, 5], 9] - 1).astype(np.float64))
    for state in (_Circuit(circuit, fires), _Asked(circuit, fires)):
        for keep in (False, True):
            found = state.flip(9, rows, change, keep)
        if isinstance(state, _Circuit):
            assert np.allclose(to_numpy(state.outputs[rows]), expected, rtol=0, atol=1e-5)
            assert np.allclose(to_numpy(found), expected, rtol=0, atol=1e-5)
        else:
            assert np.array_equal(to_numpy(state.fibres), changed)


@each_method
def test_attacked_images_are_in_the_ball_and_on_the_right_side(victim, attack):
    """Changed fibres are those of pixels that can cross θ; float32 rounds nothing back or beyond."""
    model, x, labels = victim()
    x[:, :8] = np.float32(THRESHOLD) + np.float32(0.1) * np.array([-1, 1, 0.999, -0.999, 0, 1e-7, -1e-7, 0.5], dtype=np.float32)
    attacked = run(model, attack, x, labels)
    can = flippable(ball_around(x, attack.epsilon, attack.norm), THRESHOLD)
    fires = attacked.x_adv > np.float32(THRESHOLD)
    changed = fires ^ can.fires
    assert not (changed & (can.price > can.budget * (1 + 1e-4))).any()
    assert attacked.success[attacked.clean_predicted == labels].any()
    if attack.traits.flips:
        assert np.array_equal(attacked.x_adv[~changed], attacked.x[~changed])
        at = attacked.x_adv[changed]
        assert set(at) <= {np.float32(THRESHOLD), np.nextafter(np.float32(THRESHOLD), np.float32(1))}
        assert (attacked.distance <= attack.epsilon + 6e-8).all()
        if attack.norm == "l2":
            assert (attacked.distance <= attack.epsilon).all()


@each_method
def test_the_size_of_blocks_changes_no_bit(victim, attack):
    model, x, labels = victim(cells=3000, count=50)
    whole = run(model, attack, x, labels)
    backend.configure(device="cpu", memory="16MB")
    blocks = list(attack_images(model, attack, x, labels, np.arange(len(x)), image_shape=(5, 6)))
    assert attack.traits.flips <= (len(blocks) > 1)
    alone = run(model, attack, x, labels, ids=[7])
    assert np.array_equal(np.concatenate([block.x_adv for block in blocks]), whole.x_adv)
    assert np.array_equal(alone.x_adv[0], whole.x_adv[7])


@each_method
def test_no_certified_image_is_broken(victim, attack):
    model, x, labels = victim(count=200)
    certified = to_numpy(certify(model, x, labels, attack.epsilon, attack.norm).certified)
    attacked = run(model, attack, x, labels)
    assert 5 < certified.sum() < 195
    assert not (attacked.success & certified).any()


@pytest.mark.parametrize("method", FLIPS)
def test_on_every_device(xp_device, build_cerebellum, draw_images, method):
    model = dataclasses.replace(build_cerebellum(dtype=np.float32), fires_above=THRESHOLD)
    x, _ = draw_images(10, dtype=np.float32)
    labels = to_numpy(model.forward(x)[0].argmax(axis=1))
    assert run(model, Attack(method, "margin", 0.2, steps=30), to_numpy(x), labels).success.sum() > 3


def test_greedy_attacks_any_classifier_of_fibres(victim):
    model, x, labels = victim()

    class Fibres:
        """A threshold in front of another model."""

        fires_above, of_fibres = THRESHOLD, dataclasses.replace(model, fires_above=None)

        def forward(self, x):
            return model.forward(x)

    attack = Attack("greedy", "margin", 0.1, steps=40)
    assert np.allclose(run(Fibres(), attack, x, labels).value, run(model, attack, x, labels).value, rtol=0, atol=1e-5)
    assert np.array_equal(run(Sequential((model,)), attack, x, labels).x_adv, run(model, attack, x, labels).x_adv)


def test_restarts_begin_elsewhere(victim):
    model, x, labels = victim()
    ball, landscape = ball_around(x, 0.1, "linf"), Landscape(model, margin, labels)
    first = [next(beam(landscape, ball, Draws(0, "test", (restart,), np.arange(len(x))), 9)).x for restart in (0, 1, 2)]
    assert np.array_equal(first[0], x)
    assert (first[1] != x).any(axis=1).mean() > 0.7
    assert not np.array_equal(first[1], first[2])


# -- gradients past the threshold ---------------------------------------------------------------------------------------------


def test_the_model_itself_has_no_gradient_and_says_so(victim):
    model, x, labels = victim()
    with pytest.raises(InputError, match="gradient.*straight-through or relaxed"):
        run(model, Attack("pgd", "margin", 0.1), x, labels)
    ball = ball_around(x, 0.1, "linf")
    for name in ("straight-through", "relaxed"):
        source = source_named(name, model, 1, 0, None, ball)
        landscape = Landscape(model, margin, labels, source)
        point, gradient = landscape.value_and_gradient(x)
        assert np.array_equal(point.outputs, model.forward(x)[0])
        assert ((gradient != 0).any(axis=1) | (np.abs(x - np.float32(THRESHOLD)) > 0.1).all(axis=1)).mean() > 0.7
        assert not gradient[np.abs(x - np.float32(THRESHOLD)) > 0.1].any()


def test_straight_through_is_the_derivative_by_the_fibres(victim):
    model, x, labels = victim()
    _, gradient = Landscape(model, margin, labels, source_named("straight-through", model, 1, 0)).value_and_gradient(x)
    outputs, cache = model.forward(x)
    assert np.array_equal(gradient, model.fibre_gradient(margin(outputs, labels)[1], cache))


def test_a_relaxed_gradient_grows_steeper(victim):
    model, x, labels = victim()
    landscape = Landscape(model, margin, labels, source_named("relaxed", model, 1, 0, None, ball_around(x, 0.1, "linf")))
    shares = []
    for _ in range(100):
        gradient = np.abs(landscape.value_and_gradient(x)[1])
        shares.append((gradient > gradient.max() / 100).mean())
    assert shares[0] > 3 * shares[-1]
    assert shares[-1] > 0


@pytest.mark.parametrize("method", FLIPS)
def test_a_model_without_a_threshold_is_named(method):
    model, x = initial_mlp(30, (20,), 3, 0), np.zeros((3, 30), dtype=np.float32)
    with pytest.raises(InputError, match=f"method.*{method}.*this model has no threshold on the pixels"):
        list(attack_images(model, Attack(method, "margin", 0.1), x, np.zeros(3, dtype=int), np.arange(3)))
    with pytest.raises(InputError, match="gradient.*relaxed.*analytic"):
        list(attack_images(model, Attack("pgd", "margin", 0.1, gradient="relaxed"), x, np.zeros(3, dtype=int), np.arange(3)))


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "beam", "width": 0},
        {"method": "greedy", "width": 2},
        {"method": "pgd", "width": 9},
        {"method": "greedy", "steps": 0},
        {"method": "square-bits", "targets": -1},
        {"method": "beam", "epsilon": float("nan")},
    ],
)
def test_bad_settings_are_named(settings):
    with pytest.raises(InputError, match=list(settings)[-1]):
        Attack(**{"objective": "margin", "epsilon": 0.1, **settings})


# -- evaluations --------------------------------------------------------------------------------------------------------------


def test_an_evaluation_has_the_attacks_that_the_model_calls_for(cerebellum, build_cerebellum):
    firing = dataclasses.replace(cerebellum, model=dataclasses.replace(cerebellum.model, mossy_fibres="threshold", threshold=0.5))
    assert EvaluatedModel(cerebellum, (0.1,), 10).attacks == STANDARD
    for attacks in (STANDARD, (*STANDARD, *CATALOGUED)):
        evaluation = EvaluatedModel(firing, (0.1,), 10, attacks)
        assert evaluation.attacks == (*STANDARD, *CATALOGUED)
    assert EvaluatedModel(firing, (0.1,), 10, ("square",)).attacks == ("square",)
    assert evaluation.gradient_of(dataclasses.replace(build_cerebellum(), fires_above=0.5)) == "straight-through"
    assert evaluation.revision == EvaluatedModel(cerebellum, (0.1,), 10).revision + 1
    with pytest.raises(InputError, match="attacks.*beam,relaxed.*this model has no threshold on the pixels"):
        EvaluatedModel(cerebellum, (0.1,), 10, ("square", "beam", "relaxed"))


def test_nothing_certified_is_broken_in_an_evaluation_and_the_gradient_is_there(victim):
    model, x, labels = victim(count=60)

    def certifier(x, labels, ids, epsilon, norm):
        return certify(model, x, labels, epsilon, norm)

    settings = {"gradient": "straight-through", "certifier": certifier}
    target = EvaluationTarget(model, x, labels, (5, 6), 3, **settings)
    plan = EvaluationPlan((0.05, 0.1), ("fgsm-mse", "apgd-margin", "fab-t", *CATALOGUED))
    outcomes = no_outcomes(np.arange(60), labels, 30, 2, len(plan.attacks))
    for _ in evaluate_images(target, plan, outcomes, 0):
        pass
    broken = ~outcomes.survivors(1)
    assert 5 < broken.sum() < 55
    assert outcomes.certified[1].any()
    assert (broken <= (brute_force(model, x, labels, 0.1) > 0)).all()
    assert (broken >= (brute_force(model, x, labels, 0.1) > 1e-5)).all()
    found = dict(checklist(CheckContext(target, plan, outcomes, 1)))
    assert found["gradients-there"].verdict != "not tested"
    assert found["black-box-not-stronger"].verdict == "pass"
    assert found["random-not-stronger"].verdict == "pass"
