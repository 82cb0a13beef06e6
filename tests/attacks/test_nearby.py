"""What a change of a few pixels does, from a linear first layer: the same as a whole pass, query by query or in one loop."""

import dataclasses

import numpy as np
import pytest
from quick_attacks import run

from minicereb import backend
from minicereb import compiled as machine
from minicereb.attacks import square_loop as module
from minicereb.attacks.ball import ball_around
from minicereb.attacks.classifier import guarded
from minicereb.attacks.gradients import Landscape
from minicereb.attacks.nearby import REFRESHED, Nearby, NearbyOfFew, bytes_per_image, few, first_layer, fitting_layer, nearby
from minicereb.attacks.search import best, first_wrong
from minicereb.attacks.settings import Attack
from minicereb.attacks.square import square
from minicereb.calculus.losses import cross_entropy, margin, targeted_margin
from minicereb.compiled import numba_problem
from minicereb.models.cerebellum import CerebellarNetwork
from minicereb.models.layers import Dense
from minicereb.models.mlp import initial_mlp
from minicereb.models.sequential import Sequential
from minicereb.randomness import Draws, generator

THRESHOLD = 0.4
KINDS = {
    "sparse": {},
    "with replacement": {"replacement": True, "k": 5},
    "codons": {"codons": 0.5},
    "full": {"kind": "full"},
    "threshold": {},
    "many classes": {"classes": 13},
    "perceptron": (20,),
    "two hidden layers": (20, 12),
    "linear": (),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
with_readout = pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("two hidden layers", "linear")])
needs_numba = pytest.mark.skipif(numba_problem() is not None, reason=str(numba_problem()))
every_way = pytest.mark.parametrize(
    "way", [lambda loop, *arrays: loop, pytest.param(lambda loop, *arrays: machine.machine_code(loop), marks=needs_numba)]
)
IMAGES = 12


@pytest.fixture
def problem(build_cerebellum):
    """A model of each kind, images, and labels of which most are its predictions."""

    def build(kind, dtype=np.float64):
        settings = KINDS[kind]
        if isinstance(settings, tuple):
            drawn = initial_mlp(30, settings, 4, 1)
            layers = [
                Dense(layer.weight.astype(dtype), layer.bias.astype(dtype) + dtype(0.1)) if isinstance(layer, Dense) else layer
                for layer in drawn.layers
            ]
            model = Sequential(tuple(layers))
        else:
            model = build_cerebellum(cells=70, dtype=dtype, **settings)
            if model.wiring.rest is not None:
                rest = dataclasses.replace(model.wiring, rest=model.wiring.rest.astype(dtype))
                model = dataclasses.replace(model, wiring=rest)
            if kind == "threshold":
                model = dataclasses.replace(model, fires_above=THRESHOLD)
        x = generator(0, "images of a test").random((IMAGES, 30)).astype(dtype)
        labels = model.forward(x)[0].argmax(axis=1)
        labels[0] = (labels[0] + 1) % 3
        return model, x, labels

    return build


@every_kind
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_images_near_the_current_ones_get_the_outputs_of_a_whole_pass(problem, kind, dtype):
    model, x, labels = problem(kind, dtype)
    landscape, rng = Landscape(model, margin, labels), np.random.default_rng(1)
    here, images = few(landscape, x, fitting_layer(landscape, x)), np.arange(IMAGES)
    changed = moved = 0
    for number in range(2 * REFRESHED + 50):
        if number == 70:
            keep = np.array([0, 3, 4, 8, 9])
            here.of(keep)
            images, landscape = images[keep], landscape.of(keep)
        proposed = here.x.copy()
        for row in proposed:
            place, width = rng.integers(0, 28), rng.integers(0, 4)
            row[place : place + width] = rng.random(len(row[place : place + width]))
        point, whole = here.evaluate(proposed), landscape.evaluate(proposed)
        tolerance = (1e-5 if dtype == np.float32 else 1e-12) * abs(whole.outputs).max()
        assert np.allclose(point.outputs, whole.outputs, rtol=0, atol=tolerance)
        assert np.allclose(point.value, whole.value, rtol=0, atol=2 * tolerance)
        assert point.outputs.dtype == dtype
        where = rng.random(len(images)) < 0.3
        before = here.x.copy()
        here.move(where)
        assert np.array_equal(here.x, np.where(where[:, None], proposed, before))
        assert np.allclose(here.value, landscape.evaluate(here.x).value, rtol=0, atol=2 * tolerance)
        changed, moved = changed + (point.value != here.value).sum(), moved + where.sum()
    assert changed > 100
    assert moved > 100


def two_ways(monkeypatch, way, model, x, labels, points, steps=2 * REFRESHED + 30, targets=None, epsilon=0.1, shape=(5, 6)):
    """What an attack by Square comes to, query by query and in one loop."""
    objective = margin if targets is None else targeted_margin
    landscape, ball = Landscape(model, objective, labels, targets=targets), ball_around(x, epsilon, "linf")
    draws, found = Draws(3, "test", (0,), np.arange(len(x))), []
    yields = []
    for use in (lambda loop, *arrays: None, way):
        monkeypatch.setattr(module, "compiled", use)
        visited = 0

        def search():
            nonlocal visited
            keep = None
            inner = square(landscape, ball, draws, steps, shape, points=points)
            while True:
                try:
                    point = inner.send(keep)
                except StopIteration:
                    return
                visited += 1
                keep = yield point

        found.append((best if points == "best" else first_wrong)(search(), landscape))
        yields.append(visited)
    return landscape, found, yields


@every_way
@with_readout
@pytest.mark.parametrize("points", ["best", "first"])
def test_one_loop_comes_to_the_same_images_as_query_by_query(monkeypatch, problem, way, kind, points):
    """They may differ in a pixel that makes no difference: only where two values are equal but for rounding."""
    model, x, labels = problem(kind)
    landscape, (one, other), yields = two_ways(monkeypatch, way, model, x, labels, points)
    assert yields[1] < 6 < yields[0]
    assert (one.x != other.x).mean() < 0.03
    assert np.allclose(one.value, other.value, rtol=0, atol=1e-12 * abs(one.outputs).max())
    assert np.allclose(other.outputs, model.forward(other.x)[0], rtol=0, atol=1e-12 * abs(one.outputs).max())
    assert landscape.wrong(other).sum() > 1


@every_way
def test_one_loop_knows_targets_channels_and_lines(monkeypatch, problem, way):
    model, x, labels = problem("sparse")
    targets = (labels + 1 + np.arange(IMAGES) % 2) % 3
    for given in ({"targets": targets}, {"shape": (5, 3, 2)}, {"shape": None}, {"shape": (5, 2, 3), "epsilon": 0.3}):
        _, (one, other), yields = two_ways(monkeypatch, way, model, x, labels, "first", **given)
        assert yields[1] < 6
        assert (one.x != other.x).mean() < 0.03, given
        assert np.allclose(one.value, other.value, rtol=0, atol=1e-12), given


@needs_numba
def test_in_float32_one_loop_differs_by_rounding(monkeypatch, build_cerebellum):
    """Nearly all images take the same path; of the others, where two proposals were equal but for rounding, none is worse off."""
    model = build_cerebellum(cells=9000, k=4, shape=(14, 14), classes=10, dtype=np.float32)
    x = generator(0, "images of a test").random((40, 196), dtype=np.float32)
    labels = model.forward(x)[0].argmax(axis=1)
    arguments = (model, x, labels, "best", 600)
    _, (one, other), _ = two_ways(monkeypatch, machine.compiled, *arguments, epsilon=0.02, shape=(14, 14))
    same = (one.x == other.x).all(axis=1)
    size = abs(one.outputs).max()
    assert same.mean() > 0.7
    assert np.allclose(one.value[same], other.value[same], rtol=0, atol=1e-5 * size)
    assert abs(one.value - other.value).mean() < 1e-2 * size


@needs_numba
def test_threads_and_blocks_change_no_bit_of_what_one_loop_finds(build_cerebellum):
    model = build_cerebellum(cells=9000, k=4, dtype=np.float32)
    x = generator(0, "images of a test").random((50, 30), dtype=np.float32)
    labels = model.forward(x)[0].argmax(axis=1)
    attack, found = Attack("square", "margin", 0.05, steps=300), []
    assert module.loop_for(Landscape(model, margin, labels), ball_around(x, 0.05, "linf"), "first") is not None
    for threads, memory in ((1, "512MB"), (3, "512MB"), (2, "16MB")):
        backend.configure(threads=threads, memory=memory)
        found.append(run(model, attack, x, labels))
    assert all(np.array_equal(found[0].x_adv, other.x_adv) for other in found[1:])
    alone = run(model, attack, x, labels, ids=[7])
    assert np.array_equal(alone.x_adv[0], found[0].x_adv[7])
    assert 5 < found[0].success.sum() < 45


class Never(CerebellarNetwork):
    """Its whole pass gives every image the label 0, by far; its first layer says otherwise."""

    def forward(self, x):
        outputs = super().forward(x)[0]
        outputs[:, 0] += 100
        return outputs, None


@every_way
@pytest.mark.parametrize("points", ["best", "first"])
def test_only_a_whole_pass_says_that_an_image_is_misclassified(monkeypatch, problem, way, points):
    model, x, _ = problem("sparse")
    model, labels = Never(model.wiring, model.ltd_mean, model.readout), np.zeros(IMAGES, dtype=np.int64)
    claims = (first_layer(model).outputs(first_layer(model).drive(x)).argmax(axis=1) != 0).sum()
    assert claims > 3
    landscape, found, _ = two_ways(monkeypatch, way, model, x, labels, points, steps=60)
    for point in found:
        assert not landscape.wrong(Landscape(model, margin, labels).evaluate(point.x)).any()
    assert not landscape.wrong(found[1]).any()


class Offering:
    """A user's model that calls something else its first layer."""

    first_layer = "a linear one"

    def forward(self, x):
        return x[:, :3], None


def test_a_device_takes_whole_passes(xp_device, build_cerebellum, draw_images):
    model, (x, _) = build_cerebellum(dtype=np.float32), draw_images(6, dtype=np.float32)
    landscape = Landscape(model, margin, model.forward(x)[0].argmax(axis=1))
    here = nearby(landscape, x)
    assert (fitting_layer(landscape, x) is None) == (xp_device is not np)
    proposed = xp_device.clip(x + x.dtype.type(0.1), 0, 1)
    where = here.evaluate(proposed).value != here.value
    where[:3] = False
    assert int(where.sum()) == 3
    here.move(where)
    assert np.array_equal(backend.to_numpy(here.x), backend.to_numpy(xp_device.where(where[:, None], proposed, x)))


def test_everything_else_takes_whole_passes(monkeypatch, problem):
    model, x, labels = problem("full")
    ball = ball_around(x, 0.1, "linf")
    monkeypatch.setattr(module, "compiled", lambda loop, *arrays: loop)
    fits = Landscape(model, margin, labels)
    assert module.loop_for(fits, ball, "best") is not None
    for landscape, points in (
        (fits, "every"),
        (Landscape(model, cross_entropy, labels), "best"),
        (Landscape(model, targeted_margin, labels, targets=labels), "best"),
        (Landscape(problem("two hidden layers")[0], margin, labels), "best"),
        (Landscape(Offering(), margin, labels), "best"),
    ):
        assert module.loop_for(landscape, ball, points) is None
    assert first_layer(guarded(Offering())) is None
    assert bytes_per_image(Offering()) == 0
    assert bytes_per_image(model) == 16 * model.wiring.cells
    assert fitting_layer(fits, x.astype(np.float32)) is None
    assert fitting_layer(fits, x) is not None
    assert type(nearby(fits, x)) is Nearby
    with monkeypatch.context() as change:
        change.setattr("minicereb.attacks.nearby.LEAST", 70 * 30)
        assert type(nearby(fits, x)) is NearbyOfFew
    monkeypatch.setattr(
        "minicereb.attacks.nearby.execution", lambda: backend.Execution(memory=4 * model.wiring.matrix.nbytes - 4)
    )
    assert fitting_layer(fits, x) is None
    assert type(nearby(fits, x)) is Nearby
