"""Against a linear model everything is known: no attack may claim more than the exact oracle, and PGD must claim as much.

Weights, pixels and bounds are multiples of powers of two, small enough that float32 computes all that counts without rounding.
"""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minicereb.attacks.objectives import OBJECTIVES
from minicereb.attacks.run import attack_images
from minicereb.attacks.settings import Attack
from minicereb.backend import to_device
from minicereb.models.layers import Dense
from minicereb.models.sequential import Sequential

EPSILONS = [0.0, 1 / 256, 0.125, 0.25, 0.75, 1.0, 1.5]


def linear(weight, bias):
    return Sequential((Dense(weight, bias),))


@st.composite
def problems(draw, classes):
    """A linear model, images and labels."""
    inputs, images, count = draw(st.integers(1, 6)), draw(st.integers(1, 8)), draw(classes)
    eighths = st.integers(-16, 16).map(lambda number: number / 8)
    weight = draw(hnp.arrays(np.float32, (count, inputs), elements=eighths))
    bias = draw(hnp.arrays(np.float32, count, elements=eighths))
    x = draw(hnp.arrays(np.float32, (images, inputs), elements=st.integers(0, 256).map(lambda number: number / 256)))
    return linear(weight, bias), x, draw(hnp.arrays(np.int64, images, elements=st.integers(0, count - 1)))


two_classes, ten_classes = problems(st.just(2)), problems(st.integers(3, 10))


def oracle(model, x, labels, epsilon):
    """The least margin of each image over the ball and the box, and whether some point there is misclassified.

    The margin of the label over class j is least at m_j + Σ_i min(w_i lo_i, w_i hi_i), where pixel i moves by lo_i to hi_i.
    Of equal outputs the first is the model's answer. In float64, which is exact for the numbers used here.
    """
    (layer,) = model.layers
    weight, bias, x = (array.astype(np.float64) for array in (layer.weight, layer.bias, x))
    w = weight[labels][:, None] - weight  # (images, classes, inputs)
    low, high = np.maximum(x - epsilon, 0) - x, np.minimum(x + epsilon, 1) - x
    m = bias[labels][:, None] - bias + (w * x[:, None]).sum(axis=2)
    m += np.minimum(w * low[:, None], w * high[:, None]).sum(axis=2)
    rivals = np.arange(len(bias))
    m[rivals == labels[:, None]] = np.inf
    return m.min(axis=1), ((m < 0) | ((m == 0) & (rivals < labels[:, None]))).any(axis=1)


def run(model, attack, x, labels):
    (attacked,) = attack_images(model, attack, x, labels, np.arange(len(x)))
    return attacked


def across(epsilon, **settings):
    """Return PGD with steps that cross the ball from one side to the other."""
    return Attack("pgd", epsilon=epsilon, steps=9, step_size=max(epsilon / 4, 1 / 256), **{"objective": "margin", **settings})


@settings(max_examples=60)
@given(two_classes, st.sampled_from(EPSILONS), st.sampled_from(["best", "last"]))
def test_pgd_on_the_margin_breaks_exactly_what_can_be_broken(problem, epsilon, keep):
    model, x, labels = problem
    least, broken = oracle(model, x, labels, epsilon)
    attacked = run(model, across(epsilon, random_start=False, keep=keep), x, labels)
    assert np.array_equal(attacked.success, broken)
    attempted = attacked.clean_predicted == labels
    if keep == "last":
        assert np.array_equal(attacked.value[attempted], -least[attempted])


@settings(max_examples=60)
@given(two_classes, st.sampled_from(EPSILONS), st.integers(0, 2**31), st.integers(1, 3))
def test_pgd_from_random_starts_breaks_exactly_what_can_be_broken(problem, epsilon, seed, restarts):
    """Random starts are not such multiples: where the oracle finds a tie, rounding may decide."""
    model, x, labels = problem
    least, broken = oracle(model, x, labels, epsilon)
    attacked = run(model, across(epsilon, seed=seed, restarts=restarts), x, labels)
    assert np.array_equal(attacked.success[least != 0], broken[least != 0])


@settings(max_examples=60)
@given(ten_classes, st.sampled_from(EPSILONS), st.sampled_from(list(OBJECTIVES)), st.sampled_from(["best", "last"]))
def test_with_more_classes_no_attack_breaks_what_cannot_be_broken(problem, epsilon, objective, keep):
    model, x, labels = problem
    least, broken = oracle(model, x, labels, epsilon)
    for attack in (
        across(epsilon, objective=objective, keep=keep),
        across(epsilon, objective=objective, keep=keep, random_start=False),
        Attack("fgsm", objective, epsilon),
    ):
        success = run(model, attack, x, labels).success
        assert not (success & ~broken)[least != 0].any()


@settings(max_examples=60)
@given(two_classes, st.sampled_from(EPSILONS))
def test_one_step_of_fgsm_is_enough_where_the_margin_is_linear(problem, epsilon):
    model, x, labels = problem
    _, broken = oracle(model, x, labels, epsilon)
    assert np.array_equal(run(model, Attack("fgsm", "margin", epsilon), x, labels).success, broken)


@settings(max_examples=60)
@given(two_classes, st.sampled_from(["margin", "mse"]), st.sampled_from(EPSILONS))
def test_fgsm_is_its_closed_form(problem, objective, epsilon):
    """clip(x + ε sign(∂l/∂x), 0, 1): for two classes and the margin ∂l/∂x = w_rival - w_y, for the squared error Wᵀe."""
    model, x, labels = problem
    (layer,) = model.layers
    weight, bias = layer.weight.astype(np.float64), layer.bias.astype(np.float64)
    attacked = run(model, Attack("fgsm", objective, epsilon), x, labels)
    error = x.astype(np.float64) @ weight.T + bias - np.eye(2)[labels]
    gradient = error @ weight if objective == "mse" else weight[1 - labels] - weight[labels]
    expected = np.clip(x + epsilon * np.sign(gradient), 0, 1)
    attempted = attacked.clean_predicted == labels
    assert np.array_equal(attacked.x_adv[attempted], expected[attempted])
    assert np.array_equal(attacked.x_adv[~attempted], x[~attempted])


def test_fgsm_on_the_cross_entropy_goes_along_the_difference_of_the_weights():
    rng = np.random.default_rng(0)
    weight, x = rng.standard_normal((2, 30)).astype(np.float32), rng.random((50, 30), dtype=np.float32)
    model = linear(weight, np.zeros(2, dtype=np.float32))
    labels = model.forward(x)[0].argmax(axis=1)
    attacked = run(model, Attack("fgsm", "cross-entropy", 0.25), x, labels)
    assert np.array_equal(attacked.x_adv, np.clip(x + np.float32(0.25) * np.sign(weight[1 - labels] - weight[labels]), 0, 1))


@settings(max_examples=60)
@given(two_classes, st.booleans())
def test_a_larger_bound_breaks_whatever_a_smaller_one_breaks(problem, random_start):
    model, x, labels = problem
    ties = np.any([oracle(model, x, labels, epsilon)[0] == 0 for epsilon in EPSILONS], axis=0)
    broken = [run(model, across(epsilon, random_start=random_start), x, labels).success for epsilon in EPSILONS]
    for smaller, larger in zip(broken, broken[1:], strict=False):
        assert not (smaller & ~larger)[~ties].any()


@given(two_classes)
def test_the_oracle_is_no_more_than_the_corners_of_the_box(problem):
    """A linear function has its minimum at a corner, so all corners are tried."""
    model, x, labels = problem
    (layer,) = model.layers
    epsilon = 0.25
    least, broken = oracle(model, x, labels, epsilon)
    for image, label in enumerate(labels):
        sides = [(max(pixel - epsilon, 0), min(pixel + epsilon, 1)) for pixel in x[image].astype(float)]
        corners = np.stack(np.meshgrid(*sides), axis=-1).reshape(-1, len(sides))
        outputs = corners @ layer.weight.T.astype(float) + layer.bias
        assert (outputs[:, label] - outputs[:, 1 - label]).min() == least[image]
        assert (outputs.argmax(axis=1) != label).any() == broken[image]


def test_on_a_model_of_28_by_28_pixels_the_robust_accuracy_is_the_oracles():
    """For random weights, 200 images and every bound, all images agree."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-16, 17, (2, 784)).astype(np.float32) / 128
    x = rng.integers(0, 257, (200, 784)).astype(np.float32) / 256
    model = linear(weight, np.zeros(2, dtype=np.float32))
    labels = np.where(rng.random(200) < 0.9, model.forward(x)[0].argmax(axis=1), rng.integers(0, 2, 200))
    broken = []
    for epsilon in (0.0, 1 / 256, 1 / 64, 1 / 16, 1.0):
        broken.append(oracle(model, x, labels, epsilon)[1])
        assert np.array_equal(run(model, across(epsilon, random_start=False), x, labels).success, broken[-1])
    counts = [int(images.sum()) for images in broken]
    assert counts == sorted(counts)
    assert counts[0] < counts[1] < counts[-1] == 200


@pytest.mark.parametrize("seed", [0, 123])
def test_on_every_device_pgd_is_as_strong_as_the_oracle(xp_device, seed):
    rng = np.random.default_rng(seed)
    weight, x = rng.integers(-16, 17, (2, 40)).astype(np.float32) / 64, rng.integers(0, 257, (60, 40)).astype(np.float32) / 256
    model = linear(to_device(weight), to_device(np.zeros(2, dtype=np.float32)))
    here = linear(weight, np.zeros(2, dtype=np.float32))
    labels = here.forward(x)[0].argmax(axis=1)
    broken = oracle(here, x, labels, 0.0625)[1]
    assert 0 < broken.sum() < 60
    for attack in (across(0.0625, random_start=False), across(0.0625, random_start=False, keep="last")):
        assert np.array_equal(run(model, attack, x, labels).success, broken)


# -- searches that need no step size -----------------------------------------------------------------------------------------


def apgd(epsilon, objective="margin", **settings):
    return Attack("apgd", objective, epsilon, **{"steps": 10, **settings})


def fab(epsilon, **settings):
    return Attack("fab", "margin", epsilon, **{"steps": 20, "targets": 9, **settings})


def beyond_rounding(least):
    """Images on which no rounding can decide: the oracle's margin is no tie, and no near-tie as random starts make them."""
    return np.abs(least) > 1e-4


@settings(max_examples=60)
@given(two_classes, st.sampled_from(EPSILONS), st.booleans())
def test_apgd_on_the_margin_breaks_exactly_what_can_be_broken(problem, epsilon, random_start):
    model, x, labels = problem
    least, broken = oracle(model, x, labels, epsilon)
    sure = beyond_rounding(least)
    for targets in (0, 9):
        attacked = run(model, apgd(epsilon, random_start=random_start, targets=targets), x, labels)
        assert np.array_equal(attacked.success[sure], broken[sure])


@settings(max_examples=60)
@given(ten_classes, st.sampled_from(EPSILONS))
def test_with_more_classes_apgd_and_fab_towards_each_break_exactly_what_can_be_broken(problem, epsilon):
    model, x, labels = problem
    least, broken = oracle(model, x, labels, epsilon)
    sure = beyond_rounding(least)
    tied = oracle(model, x, labels, 0.0)[0] == 0  # FAB looks for the decision, and is there already
    for attack, known in ((apgd(epsilon, targets=9), sure), (fab(epsilon), sure & ~tied)):
        assert np.array_equal(run(model, attack, x, labels).success[known], broken[known])


def momentum(epsilon, objective="margin", **settings):
    return Attack("momentum", objective, epsilon, **{"steps": 9, **settings})


@settings(max_examples=60)
@given(two_classes, st.sampled_from(EPSILONS), st.booleans(), st.booleans())
def test_momentum_on_the_margin_breaks_exactly_what_can_be_broken(problem, epsilon, random_start, nesterov):
    model, x, labels = problem
    least, broken = oracle(model, x, labels, epsilon)
    sure = beyond_rounding(least)
    for decay in (0.0, 0.5, 1.0):
        attacked = run(model, momentum(epsilon, random_start=random_start, nesterov=nesterov, decay=decay), x, labels)
        assert np.array_equal(attacked.success[sure], broken[sure])


NEW = [
    momentum(0, "cross-entropy"),
    momentum(0, "mse", nesterov=True, keep="last"),
    momentum(0, "dlr", targets=3, nesterov=True, decay=0.9),
    Attack("fmn", "margin", 0, steps=20, restarts=2),
    apgd(0, "cross-entropy"),
    apgd(0, "dlr"),
    apgd(0, "dlr", targets=9, restarts=2),
    apgd(0, "mse", keep="last"),
    fab(0, targets=0, restarts=2),
    Attack("square", "margin", 0, steps=30),
    Attack("square", "dlr", 0, steps=30, targets=2),
    Attack("random", "margin", 0, steps=30),
    Attack("pgd", "dlr", 0, steps=9, step_size=0.1, targets=3),
]


@pytest.mark.parametrize("attack", NEW, ids=range(len(NEW)))
@settings(max_examples=30)
@given(problem=problems(st.integers(2, 10)), epsilon=st.sampled_from(EPSILONS))
def test_no_search_breaks_what_cannot_be_broken(attack, problem, epsilon):
    model, x, labels = problem
    least, broken = oracle(model, x, labels, epsilon)
    success = run(model, dataclasses.replace(attack, epsilon=epsilon), x, labels).success
    assert not (success & ~broken)[beyond_rounding(least)].any()


@pytest.mark.parametrize("method", ["apgd", "fab"])
def test_on_ten_classes_of_28_by_28_pixels_the_robust_accuracy_is_the_oracles(method):
    """APGD-T and FAB-T agree for every image, at a bound that about half withstand."""
    rng = np.random.default_rng(0)
    weight, x = rng.standard_normal((10, 784)).astype(np.float32), rng.random((60, 784), dtype=np.float32)
    x[:30] = x[:30].round()  # the box matters
    model = linear(weight, np.zeros(10, dtype=np.float32))
    labels = model.forward(x)[0].argmax(axis=1)
    broken = oracle(model, x, labels, 0.01)[1]
    assert 15 < broken.sum() < 45
    attack = apgd(0.01, "dlr", targets=9, steps=50) if method == "apgd" else fab(0.01)
    assert np.array_equal(run(model, attack, x, labels).success, broken)


# -- L2, and the nearest misclassified point ---------------------------------------------------------------------------------


def distance(model, x, label, norm):
    """How far the nearest point of the box is at which some class has the label's output, by bisection in float64.

    On the way to the plane every pixel moves by min(λ a, room): a = 1 in L∞, |w| in L2.
    """
    (layer,) = model.layers
    weight, bias, x = (array.astype(np.float64) for array in (layer.weight, layer.bias, x))
    nearest = np.inf
    for rival in range(len(bias)):
        if rival == label:
            continue
        w, gap = weight[rival] - weight[label], (weight[label] - weight[rival]) @ x + bias[label] - bias[rival]
        room, reach = np.where(w > 0, 1 - x, x), (w != 0).astype(float) if norm == "linf" else np.abs(w)

        def move(multiplier, room=room, reach=reach):
            return np.minimum(multiplier * reach, room)

        low, high = 0.0, 1e6
        if np.abs(w) @ move(high) < gap - 1e-9:
            continue
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if np.abs(w) @ move(middle) < gap else (low, middle)
        nearest = min(nearest, np.linalg.norm(move(high), np.inf if norm == "linf" else 2))
    return nearest


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("classes", "steps"), [(2, 20), (5, 20), (10, 40)])
def test_fab_finds_the_nearest_point_and_not_one_nearer(norm, classes, steps):
    """Also where half of the pixels cannot move: to a relative 3e-4, and to four spacings of float32 numbers below 1."""
    rng = np.random.default_rng(classes)
    weight, x = rng.standard_normal((classes, 40)).astype(np.float32), rng.random((40, 40), dtype=np.float32)
    x[:20] = x[:20].round()
    model = linear(weight, np.zeros(classes, dtype=np.float32))
    labels = model.forward(x)[0].argmax(axis=1)
    everything = 1.0 if norm == "linf" else 40**0.5
    attacked = run(model, fab(everything, norm=norm, steps=steps), x, labels)
    assert attacked.success.all()
    exact = np.array([distance(model, image, label, norm) for image, label in zip(x, labels, strict=True)])
    assert (attacked.distance >= exact - 2e-6).all()
    assert (attacked.distance <= exact * (1 + 3e-4) + 4 * 2.0**-24).all()  # three were seen on an Intel Xeon


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("classes", "targets"), [(2, 0), (5, 9), (10, 9)])
def test_fmn_finds_the_nearest_point_and_not_one_nearer(norm, classes, targets):
    """Also where half of the pixels cannot move: to 0.5%."""
    rng = np.random.default_rng(classes)
    weight, x = rng.standard_normal((classes, 40)).astype(np.float32), rng.random((40, 40), dtype=np.float32)
    x[:20] = x[:20].round()
    model = linear(weight, np.zeros(classes, dtype=np.float32))
    labels = model.forward(x)[0].argmax(axis=1)
    everything = 1.0 if norm == "linf" else 40**0.5
    attacked = run(model, Attack("fmn", "margin", everything, norm=norm, steps=40, targets=targets), x, labels)
    assert attacked.success.all()
    exact = np.array([distance(model, image, label, norm) for image, label in zip(x, labels, strict=True)])
    assert (attacked.distance >= exact - 2e-6).all()
    assert (attacked.distance <= exact * (1 + 5e-3)).all()
    assert np.median(attacked.distance / exact) < 1 + 1e-4


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fab_does_not_depend_on_the_bound_but_for_what_counts(norm):
    rng = np.random.default_rng(0)
    weight, x = rng.standard_normal((4, 30)).astype(np.float32), rng.random((30, 30), dtype=np.float32)
    model = linear(weight, np.zeros(4, dtype=np.float32))
    labels = model.forward(x)[0].argmax(axis=1)
    far = run(model, fab(1.0 if norm == "linf" else 30**0.5, norm=norm), x, labels)
    epsilon = float(np.median(far.distance))
    near = run(model, fab(epsilon, norm=norm), x, labels)
    assert np.array_equal(near.success, far.distance <= epsilon + 1e-6)
    assert np.array_equal(near.x_adv[near.success], far.x_adv[near.success])
    assert np.array_equal(near.x_adv[~near.success], x[~near.success])


@pytest.mark.parametrize(
    "attack",
    [
        apgd(0.25, norm="l2"),
        apgd(0.25, norm="l2", random_start=False, targets=9),
        Attack("fgsm", "margin", 0.25, norm="l2"),
        Attack("pgd", "margin", 0.25, steps=10, step_size=0.1, norm="l2"),
        Attack("pgd", "margin", 0.25, norm="l2", random_start=False),
        momentum(0.25, norm="l2", random_start=False),
        momentum(0.25, norm="l2", nesterov=True),
        Attack("fmn", "margin", 0.25, norm="l2", steps=30),
        fab(0.25, norm="l2"),
    ],
    ids=str,
)
def test_in_l2_what_can_be_broken_away_from_the_box_is_broken(attack):
    """Two classes: the least margin within ε is m - ε‖w‖."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((2, 40)).astype(np.float32)
    x = (0.25 + 0.5 * rng.random((200, 40))).astype(np.float32)
    centred = 0.5 * (weight[0] - weight[1]).sum()
    model = linear(weight, np.array([-centred, 0], dtype=np.float32))
    outputs = model.forward(x)[0].astype(np.float64)
    labels = outputs.argmax(axis=1)
    w = weight.astype(np.float64)[1] - weight.astype(np.float64)[0]
    least = np.abs(outputs[:, 1] - outputs[:, 0]) - 0.25 * np.linalg.norm(w)
    sure = np.abs(least) > 1e-3
    assert 50 < (least < 0).sum() < 190
    attacked = run(model, attack, x, labels)
    assert np.array_equal(attacked.success[sure], (least < 0)[sure])


METHODS = [
    apgd(0, "cross-entropy", random_start=False),
    apgd(0, "margin", norm="l2", random_start=False),
    fab(0),
    Attack("pgd", "margin", 0, norm="l2", steps=9, step_size=0.2, random_start=False),
    Attack("fgsm", "margin", 0, norm="l2"),
]


@pytest.mark.parametrize("attack", METHODS, ids=lambda attack: f"{attack.method}-{attack.norm}")
def test_every_search_breaks_at_a_larger_bound_what_it_breaks_at_a_smaller(attack):
    rng = np.random.default_rng(0)
    weight, x = rng.standard_normal((2, 40)).astype(np.float32), rng.random((80, 40), dtype=np.float32)
    model = linear(weight, np.zeros(2, dtype=np.float32))
    labels = model.forward(x)[0].argmax(axis=1)
    broken = [run(model, dataclasses.replace(attack, epsilon=e), x, labels).success for e in (0.0, 0.02, 0.05, 0.1, 0.3, 2.0)]
    for smaller, larger in zip(broken, broken[1:], strict=False):
        assert not (smaller & ~larger).any()
    assert not broken[0].any()
    assert broken[-1].mean() > 0.9


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_queries_of_square_break_more_and_never_beyond_the_oracle(norm):
    rng = np.random.default_rng(0)
    weight, x = rng.standard_normal((3, 36)).astype(np.float32), rng.random((60, 36), dtype=np.float32)
    model = linear(weight, np.zeros(3, dtype=np.float32))
    labels = model.forward(x)[0].argmax(axis=1)
    epsilon = 0.1 if norm == "linf" else 0.5
    limit = np.array([distance(model, image, label, norm) for image, label in zip(x, labels, strict=True)]) <= epsilon
    counts = []
    for steps in (1, 30, 300, 1500):
        attacked = run(model, Attack("square", "margin", epsilon, steps=steps, norm=norm), x, labels)
        assert not (attacked.success & ~limit).any()
        counts.append(attacked.success.sum())
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]
    assert counts[-1] >= 0.7 * limit.sum()
