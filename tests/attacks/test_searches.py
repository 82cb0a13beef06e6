"""The searches: APGD against its algorithm written out, images dropped on the way, the windows of Square."""

import dataclasses

import numpy as np
import pytest
import strict_arrays

from minicereb.attacks.apgd import apgd
from minicereb.attacks.ball import NORMS, ball_around
from minicereb.attacks.fab import fab
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.pgd import momentum, pgd
from minicereb.attacks.random_points import random_points
from minicereb.attacks.run import attack_images, trace
from minicereb.attacks.search import CheckedSearch, best, first_wrong, last
from minicereb.attacks.settings import Attack
from minicereb.attacks.square import bump, square, window_at
from minicereb.backend import to_device
from minicereb.calculus.losses import cross_entropy, margin, targeted_dlr, targeted_margin
from minicereb.errors import InputError, MinicerebError
from minicereb.models.mlp import initial_mlp
from minicereb.randomness import Draws

both_norms = pytest.mark.parametrize("norm", NORMS)
SHAPE = (5, 6)


@pytest.fixture(scope="module")
def problem():
    """Return a small perceptron with images that it classifies correctly, and their labels."""
    model = initial_mlp(30, (20,), 4, 3)
    x = np.random.default_rng(0).random((40, 30), dtype=np.float32)
    return model, x, model.forward(x)[0].argmax(axis=1)


def searches(landscape, ball, ids=None):
    """Return one search of every kind that chooses its own points."""
    draws = Draws(0, "test", (0,), np.arange(len(ball.x)) if ids is None else ids)
    return {
        "apgd": lambda: apgd(landscape, ball, ball.x, 20),
        "momentum": lambda: momentum(landscape, ball, ball.x, 20, ball.epsilon / 8, 1.0),
        "nesterov": lambda: momentum(landscape, ball, ball.x, 20, ball.epsilon / 8, 0.5, nesterov=True),
        "square": lambda: square(landscape, ball, draws, 60, SHAPE),
        "random": lambda: random_points(landscape, ball, draws, 30),
    }


# -- APGD --------------------------------------------------------------------------------------------------------------------


def written_out(model, x, label, epsilon, norm, steps, rho=0.75):
    """Algorithm 1 for one image, in the paper's own order: the points, and the step sizes at the checkpoints."""

    def project(z):
        if norm == "linf":
            return np.clip(np.clip(z, x - epsilon, x + epsilon), 0, 1)
        return np.clip(x + (z - x) * min(1, epsilon / max(np.linalg.norm(z - x), 1e-300)), 0, 1)

    def slope(z):
        outputs, cache = model.forward(z[None])
        value, d_outputs = cross_entropy(outputs, np.array([label]))
        g = model.input_gradient(d_outputs, cache)[0]
        return value[0], np.sign(g) if norm == "linf" else g / np.linalg.norm(g)

    share = [0, 0.22]
    while share[-1] < 1:
        share.append(share[-1] + max(share[-1] - share[-2] - 0.03, 0.06))
    checkpoints = [round(p * steps) for p in share if round(p * steps) <= steps]
    eta, before, here = 2 * epsilon, x, x
    value, direction = slope(x)
    points, values = [x], [value]
    top, top_x, top_direction = value, x, direction
    rises, etas, tops = 0, [eta], [top]
    for k in range(steps):
        a = 1 if k == 0 else 0.75
        z = project(here + eta * direction)
        before, here = here, project(here + a * (z - here) + (1 - a) * (here - before))
        previous, (value, direction) = value, slope(here)
        points.append(here)
        values.append(value)
        rises += value > previous
        if value > top:
            top, top_x, top_direction = value, here, direction
        if k + 1 in checkpoints[1:]:
            window = k + 1 - checkpoints[checkpoints.index(k + 1) - 1]
            stuck = len(etas) > 1 and etas[-1] == etas[-2] and tops[-1] == top
            stuck |= len(etas) == 1 and tops[-1] == top
            if rises < rho * window or stuck:
                eta, here, value, direction = eta / 2, top_x, top, top_direction
            etas.append(eta)
            tops.append(top)
            rises = 0
    return np.array(points), np.array(values), etas


@both_norms
def test_apgd_is_its_algorithm(problem, norm):
    model, x, labels = problem
    model = type(model)(tuple(dataclasses.replace(layer, **doubled(layer)) for layer in model.layers))
    x = x.astype(np.float64)
    epsilon = 0.1 if norm == "linf" else 0.5
    ball = ball_around(x, epsilon, norm)
    found = [(point.x, point.value) for point in apgd(Landscape(model, cross_entropy, labels), ball, x, 100)]
    halved = 0
    for image in range(10):
        points, values, etas = written_out(model, x[image], labels[image], epsilon, norm, 100)
        assert len(found) == len(points) == 101
        halved += len(set(etas))
        assert np.allclose([value[image] for _, value in found], values, rtol=1e-9, atol=0)
        assert np.allclose([x_now[image] for x_now, _ in found], points, rtol=0, atol=1e-9)
    assert halved > 30  # steps of several lengths


def doubled(layer):
    return {
        field.name: getattr(layer, field.name).astype(np.float64)
        for field in dataclasses.fields(layer)
        if isinstance(getattr(layer, field.name), np.ndarray)
    }


# -- momentum ----------------------------------------------------------------------------------------------------------------


@both_norms
def test_momentum_without_memory_is_pgd(problem, norm):
    model, x, labels = problem
    ball, landscape = ball_around(x, 0.1 if norm == "linf" else 0.5, norm), Landscape(model, cross_entropy, labels)
    plain = [point.x for point in pgd(landscape, ball, x, 9, 0.02)]
    for nesterov in (False, True):
        found = [point.x for point in momentum(landscape, ball, x, 9, 0.02, 0.0, nesterov)]
        assert np.allclose(found, plain, rtol=0, atol=1e-6)


@both_norms
@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_its_algorithm(problem, norm, nesterov):
    """For one image after the other, in float64: g ← μ g + ∇/‖∇‖, x ← P(x + α u(g)), the gradient at x or at P(x + α μ g)."""
    model, x, labels = problem
    model = type(model)(tuple(dataclasses.replace(layer, **doubled(layer)) for layer in model.layers))
    x, epsilon, alpha, mu = x.astype(np.float64), 0.1 if norm == "linf" else 0.5, 0.03, 0.8
    ball = ball_around(x, epsilon, norm)
    found = [point.x for point in momentum(Landscape(model, cross_entropy, labels), ball, x, 12, alpha, mu, nesterov)]
    assert len(found) == 13
    for image in range(10):

        def project(z, centre=x[image]):
            if norm == "linf":
                return np.clip(np.clip(z, centre - epsilon, centre + epsilon), 0, 1)
            return np.clip(centre + (z - centre) * min(1, epsilon / max(np.linalg.norm(z - centre), 1e-300)), 0, 1)

        here, total = x[image], np.zeros_like(x[image])
        for step in range(12):
            at = project(here + alpha * mu * total) if nesterov else here
            assert np.allclose(found[step][image], at, rtol=0, atol=1e-9)
            outputs, cache = model.forward(at[None])
            gradient = model.input_gradient(cross_entropy(outputs, labels[image : image + 1])[1], cache)[0]
            total = mu * total + gradient / (np.abs(gradient).mean() if norm == "linf" else np.linalg.norm(gradient))
            here = project(here + alpha * (np.sign(total) if norm == "linf" else total / np.linalg.norm(total)))
        assert np.allclose(found[12][image], here, rtol=0, atol=1e-9)


# -- APGD, again -------------------------------------------------------------------------------------------------------------


def test_more_iterations_of_apgd_break_no_less(problem):
    model, x, labels = problem
    counts, values = [], []
    for steps in (1, 5, 20, 100):
        found = best(
            apgd(Landscape(model, margin, labels), ball_around(x, 0.03, "linf"), x, steps), Landscape(model, margin, labels)
        )
        counts.append((found.value > 0).sum())
        values.append(found.value.mean())
    assert counts == sorted(counts)
    assert values == sorted(values)
    assert 0 < counts[-1] < 40


# -- what every search does --------------------------------------------------------------------------------------------------


@both_norms
@pytest.mark.parametrize("name", ["apgd", "momentum", "nesterov", "square", "random"])
def test_every_point_is_in_ball_and_box(problem, norm, name):
    model, x, labels = problem
    epsilon = 0.2 if norm == "linf" else 1.0
    ball, landscape = ball_around(x, epsilon, norm), Landscape(model, margin, labels)
    for point in searches(landscape, ball)[name]():
        assert (ball.size(point.x - x) <= epsilon + 1e-6).all()
        assert point.x.min() >= 0
        assert point.x.max() <= 1
        assert point.x.dtype == np.float32
        assert np.array_equal(point.outputs, model.forward(point.x)[0])


@both_norms
@pytest.mark.parametrize("name", ["apgd", "momentum", "nesterov", "square", "random"])
def test_what_leaves_a_search_changes_nothing_for_the_rest(problem, norm, name):
    """Some images leave after a few points, and more after others; the remaining ones continue as if alone."""
    model, x, labels = problem
    ball, landscape = ball_around(x, 0.1 if norm == "linf" else 0.5, norm), Landscape(model, margin, labels)
    whole = list(searches(landscape, ball)[name]())
    search, left = searches(landscape, ball)[name](), np.arange(40)
    point = next(search)
    for number in range(1, len(whole)):
        keep = {4: np.arange(3, 39), 11: np.array([5, 0, 30]), 12: np.array([1])}.get(number)
        if keep is not None:
            left = left[keep]
        point = search.send(keep)
        assert np.allclose(point.x, whole[number].x[left], rtol=0, atol=1e-5)
        assert np.allclose(point.value, whole[number].value[left], rtol=0, atol=1e-4)
    with pytest.raises(StopIteration):
        next(search)


@both_norms
@pytest.mark.parametrize("name", ["apgd", "momentum", "nesterov", "square", "random"])
def test_the_first_misclassified_point_counts_and_else_the_best(problem, norm, name):
    model, x, labels = problem
    ball, landscape = ball_around(x, 0.06 if norm == "linf" else 0.3, norm), Landscape(model, margin, labels)
    whole = list(searches(landscape, ball)[name]())
    found = first_wrong(searches(landscape, ball)[name](), landscape)
    wrong = np.array([landscape.wrong(point) for point in whole])
    values = np.array([point.value for point in whole])
    assert 2 < wrong.any(axis=0).sum() < 38
    chosen = np.where(wrong.any(axis=0), wrong.argmax(axis=0), values.argmax(axis=0))
    expected = np.array([whole[number].x[image] for image, number in enumerate(chosen)])
    assert np.allclose(found.x, expected, rtol=0, atol=1e-5)
    assert np.array_equal(landscape.wrong(found), wrong.any(axis=0))


def test_a_search_ends_when_every_image_is_wrong(problem):
    model, x, labels = problem
    landscape, asked = Landscape(model, margin, (labels + 1) % 4), []

    def counted():
        for point in apgd(landscape, ball_around(x, 0.1, "linf"), x, 100):
            asked.append(len(point.x))
            yield point

    assert landscape.wrong(first_wrong(counted(), landscape)).all()
    assert len(asked) == 1


@pytest.mark.parametrize("name", ["apgd", "momentum", "nesterov", "square", "random"])
@both_norms
def test_the_searches_read_nothing_from_the_device(monkeypatch, build_cerebellum, draw_images, name, norm):
    strict_arrays.install(monkeypatch)
    model, (x, labels) = build_cerebellum(dtype=np.float32), draw_images(6, dtype=np.float32)
    ball, landscape = ball_around(x, 0.125, norm), Landscape(model, margin, labels)
    search = searches(landscape, ball, to_device(np.arange(6)))[name]()
    before = strict_arrays.StrictArray.reads
    assert len(list(search)) >= 20
    assert strict_arrays.StrictArray.reads == before


def test_fab_looks_at_the_device_a_few_times_a_step(monkeypatch, build_cerebellum, draw_images):
    strict_arrays.install(monkeypatch)
    model, (x, labels) = build_cerebellum(dtype=np.float32), draw_images(6, dtype=np.float32)
    before = strict_arrays.StrictArray.reads
    list(fab(Landscape(model, margin, labels), ball_around(x, 0.125, "linf"), x, 10))
    assert 0 < strict_arrays.StrictArray.reads - before <= 10 * 2 * 4


def test_what_is_not_finite_is_told_at_the_end_of_any_walk(problem):
    model, x, labels = problem
    spoiled = x.copy()
    spoiled[3, 3] = np.nan
    landscape = Landscape(model, margin, labels)
    for go in (last, lambda search: best(search, landscape), lambda search: first_wrong(search, landscape)):
        with np.errstate(invalid="ignore"), pytest.raises(MinicerebError, match="not finite"):
            go(apgd(landscape, ball_around(x, 0.01, "linf"), spoiled, 8))


def test_a_walk_passes_everything_on(problem):
    model, x, labels = problem
    landscape, ball = Landscape(model, margin, labels), ball_around(x, 0.1, "linf")
    plain = [point.value for point in apgd(landscape, ball, x, 7)]
    assert np.array_equal([point.value for point in CheckedSearch(apgd(landscape, ball, x, 7))], plain)
    assert np.array_equal(last(apgd(landscape, ball, x, 7)).value, plain[-1])


# -- Square ------------------------------------------------------------------------------------------------------------------


def test_the_windows_shrink_as_published():
    """On 28 by 28 pixels and 10,000 queries, p = 0.8 / 2^n."""
    for queries, halvings in ((0, 0), (10, 0), (11, 1), (51, 2), (201, 3), (501, 4), (1001, 5), (2001, 6), (4001, 7), (6001, 8)):
        side = max(round((0.8 / 2**halvings * 784) ** 0.5), 1)
        assert window_at(queries / 10_000, 28, 28) == (side, side)
    assert window_at(0.81, 28, 28) == (1, 1)


def test_without_rescaling_the_windows_shrink_after_the_published_queries():
    """AutoAttack has 5,000 queries and does not rescale: the last p is 0.8/128; rescaled it is 0.8/512. Here of 300 queries."""
    x = np.full((6, 784), 0.5, dtype=np.float32)
    model = initial_mlp(784, (5,), 3, 0)
    landscape, ball = Landscape(model, margin, np.zeros(6, dtype=int)), ball_around(x, 0.25, "linf")
    for rescale, halvings in ((True, 9), (False, 3)):  # the ninth after 80% of the queries; three after 200 of them
        top = None
        for number, point in enumerate(square(landscape, ball, draws_of(6), 300, (28, 28), rescale)):
            if number == 299:
                changed = (point.x != top.x).sum(axis=1)
            if top is None:
                top = point._replace(x=point.x.copy(), value=point.value.copy())
            better = point.value > top.value
            top.x[better], top.value[better] = point.x[better], point.value[better]
        side = max(round((0.8 / 2**halvings * 784) ** 0.5), 1)
        assert changed.max() <= side * side
        assert changed.max() > side * side / 5
        assert window_at(299 / (300 if rescale else 10_000), 28, 28) == (side, side)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 2), (1, 40), (7, 5), (3, 100), (28, 28)])
@pytest.mark.parametrize("odd", [False, True])
def test_a_window_fits_every_image(height, width, odd):
    sizes = [window_at(progress, height, width, odd) for progress in np.linspace(0, 1, 50)]
    assert all(1 <= tall <= height and 1 <= wide <= width for tall, wide in sizes)
    if odd:
        assert all(side % 2 for size in sizes for side in size)
    else:
        areas = [tall * wide for tall, wide in sizes]
        assert areas == sorted(areas, reverse=True)
        assert areas[0] == pytest.approx(0.8 * height * width, abs=max(height, width))


@pytest.mark.parametrize("shape", [None, (5, 6), (5, 2, 3), (1, 30), (30, 1)])
@both_norms
def test_square_changes_one_window_at_a_time(problem, norm, shape):
    """In L∞ the points lie at the ends of every pixel's range; a step changes what a window can hold."""
    model, x, labels = problem
    ball = ball_around(x, 0.2 if norm == "linf" else 1.0, norm)
    draws = Draws(0, "test", (0,), np.arange(40))
    points = list(square(Landscape(model, margin, labels), ball, draws, 50, shape))
    assert len(points) == 50
    height, width, channels = (1, 30, 1) if shape is None else (*shape, 1)[:3]
    top = points[0]
    top = top._replace(x=top.x.copy(), value=top.value.copy())
    for number, point in enumerate(points[1:], 1):
        changed = (abs(point.x - top.x) > 1e-5).reshape(40, height, width, channels).any(axis=3)
        tall, wide = window_at(number / 50, height, width, odd=norm == "l2")
        if norm == "linf":
            assert ((point.x == ball.low) | (point.x == ball.high)).all()
            rows, columns = changed.any(axis=2), changed.any(axis=1)
            assert all(np.ptp(np.flatnonzero(row)) < tall for row in rows if row.any())
            assert all(np.ptp(np.flatnonzero(column)) < wide for column in columns if column.any())
        else:
            assert (changed.reshape(40, -1).sum(axis=1) <= 2 * tall * wide).all()
        better = point.value > top.value
        top.x[better], top.value[better] = point.x[better], point.value[better]
    assert (top.value > points[0].value).any()


def test_the_stripes_of_square_are_vertical():
    x = np.full((6, 30), 0.5, dtype=np.float32)
    model = initial_mlp(30, (5,), 3, 0)
    search = square(Landscape(model, margin, np.zeros(6, dtype=int)), ball_around(x, 0.25, "linf"), draws_of(6), 2, SHAPE)
    images = next(search).x.reshape(6, *SHAPE)
    assert set(np.unique(images)) == {0.25, 0.75}
    assert (images == images[:, :1]).all()
    assert (images[:, 0] != images[:, 0, :1]).any()


def draws_of(images):
    return Draws(0, "test", (0,), np.arange(images))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 1), (1, 3), (5, 5), (3, 7), (25, 25)])
def test_a_bump_is_a_hill_and_a_hollow_of_norm_1(height, width):
    pattern = bump(height, width)
    assert pattern.shape == (height, width)
    assert np.linalg.norm(pattern) == pytest.approx(1)
    left = width // 2
    if width > 1:
        assert (pattern[:, :left] > 0).all()
        assert (pattern[:, left:] < 0).all()


def test_a_hill_is_a_sum_of_rectangles():
    """Σ_{k=0}^{M} 1/(n + 1 - k)², n the rings, M = n less the distance from the middle, as published."""
    pattern = bump(5, 10)[:, :5]
    rings = 2
    distance = np.maximum(*np.abs(np.indices((5, 5)) - 2))
    expected = np.array([[sum(1 / (rings + 1 - k) ** 2 for k in range(rings - d + 1)) for d in row] for row in distance])
    assert np.allclose(pattern / pattern[2, 2], expected / expected[2, 2])


# -- traces ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attack", "points"),
    [
        (Attack("fgsm", "margin", 0.1), 1),
        (Attack("pgd", "mse", 0.1, steps=7), 8),
        (Attack("apgd", "cross-entropy", 0.1, steps=7), 8),
        (Attack("apgd", "dlr", 0.1, steps=7, targets=2), 8),
        (Attack("momentum", "margin", 0.1, steps=7, nesterov=True), 8),
        (Attack("square", "margin", 0.1, steps=7), 7),
        (Attack("random", "margin", 0.1, steps=7, norm="l2"), 7),
    ],
    ids=lambda value: getattr(value, "method", ""),
)
def test_a_trace_is_the_objective_along_the_way(problem, attack, points):
    model, x, labels = problem
    found = trace(model, attack, x, labels, np.arange(0, 40, 3), image_shape=SHAPE)
    assert found.shape == (points, 14)
    assert found.dtype == np.float32
    whole = trace(model, attack, x, labels, np.arange(40), image_shape=SHAPE)
    assert np.allclose(found, whole[:, ::3], rtol=1e-4, atol=1e-5)
    if attack.method == "apgd" and not attack.targets:
        ball = ball_around(x, 0.1, "linf")
        start = x + np.float32(0.1) * ball.offsets(Draws(0, "attack start", (0,), np.arange(40)))
        expected = [point.value for point in apgd(Landscape(model, cross_entropy, labels), ball, start, 7)]
        assert np.allclose(whole, expected, rtol=1e-4, atol=1e-5)


def test_a_trace_of_an_attack_with_targets_is_that_of_the_first(problem):
    model, x, labels = problem
    attack = Attack("pgd", "dlr", 0.1, steps=3, random_start=False, targets=3)
    outputs = model.forward(x)[0]
    likeliest = np.where(np.arange(4) == labels[:, None], -np.inf, outputs).argmax(axis=1)
    assert np.allclose(trace(model, attack, x, labels, np.arange(40))[0], targeted_dlr(outputs, labels, likeliest)[0])


@pytest.mark.parametrize("targets", [0, 1])
def test_a_trace_begins_where_the_attack_does(problem, targets):
    model, x, labels = problem
    attack = Attack("pgd", "margin", 0.1, steps=1, step_size=1e-9, keep="last", targets=targets)
    (attacked,) = attack_images(model, attack, x, labels, np.arange(40), include_misclassified=True)
    assert (attacked.distance > 0.05).all()
    outputs = model.forward(attacked.x_adv)[0]
    likeliest = np.where(np.arange(4) == labels[:, None], -np.inf, model.forward(x)[0]).argmax(axis=1)
    expected = targeted_margin(outputs, labels, likeliest)[0] if targets else margin(outputs, labels)[0]
    assert np.allclose(trace(model, attack, x, labels, np.arange(40))[0], expected, rtol=0, atol=1e-5)


# -- what is refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"method": "cw"}, "method"),
        ({"norm": "l1"}, "norm"),
        ({"targets": -1}, "targets"),
        ({"targets": 9, "objective": "mse"}, "objective"),
        ({"method": "random", "targets": 2}, "targets"),
        ({"method": "fab", "objective": "dlr"}, "objective"),
        ({"method": "fmn", "objective": "mse"}, "objective"),
        ({"method": "momentum", "decay": 1.5}, "decay"),
        ({"method": "momentum", "decay": float("nan")}, "decay"),
        ({"decay": 0.5}, "decay"),
        ({"method": "pgd", "nesterov": True}, "nesterov"),
        ({"rescale": False}, "rescale"),
    ],
)
def test_settings_that_do_not_go_together_are_named(settings, named):
    with pytest.raises(InputError) as caught:
        Attack(**{"method": "apgd", "objective": "margin", "epsilon": 0.1, **settings})
    assert caught.value.setting == named


@pytest.mark.parametrize("shape", [(5, 5), (5, 6, 1, 1), (6, 6), (2, 3, 4), ()])
def test_an_image_shape_that_does_not_fit_is_named(problem, shape):
    model, x, labels = problem
    with pytest.raises(InputError, match="image_shape"):
        list(attack_images(model, Attack("square", "margin", 0.1, steps=2), x, labels, np.arange(2), image_shape=shape))
