"""What a page stores is what the engine computes, up to the rounding that the page tells of."""

import base64
import zlib

import numpy as np
import pytest

from minicereb.attacks.run import attack_images, attack_paths
from minicereb.attacks.settings import Attack
from minicereb.certificates.certify import certified_radii, certify
from minicereb.datasets import to_unit
from minicereb.errors import InputError
from minicereb.explore.attack_story import Exploration, attack_story
from minicereb.explore.hidden_units import hidden_units_of
from minicereb.explore.motor_story import eyelid_story, pole_story
from minicereb.explore.packing import pack, rounded
from minicereb.models.cerebellum import initial_cerebellum
from minicereb.models.mlp import initial_mlp
from minicereb.models.sequential import Sequential
from minicereb.models.wiring import draw_wiring
from minicereb.tasks.eyelid_conditioning import Eyelid, Session
from minicereb.tasks.pole_balancing import PoleBalancer, PoleTask

SHORT = Exploration(images=4, epsilons=(0.02, 0.1), methods=("fgsm", "pgd"), objectives=("mse", "margin"), steps=5)


def result(story):
    """What a generator returns."""
    while True:
        try:
            next(story)
        except StopIteration as stop:
            return stop.value


@pytest.fixture(scope="module")
def story(drawn, learned):
    return result(attack_story(learned, drawn, SHORT, "analytic"))


def test_every_step_is_the_engines(story, drawn, learned):
    about, arrays = story
    x = to_unit(drawn.x_test[:4])
    labels = drawn.y_test[:4]
    assert np.array_equal(arrays["image"], drawn.x_test[:4])
    for method, steps in (("fgsm", 1), ("pgd", 5)):
        assert about["methods"][method] == steps
        ways = [(objective, epsilon) for objective in SHORT.objectives for epsilon in SHORT.epsilons]
        for way, (objective, epsilon) in enumerate(ways):
            attack = Attack(method, objective, epsilon, steps=5, random_start=False)
            (path,) = attack_paths(learned, attack, drawn.x_test, drawn.y_test, np.arange(4))
            points = path.x if method == "pgd" else np.concatenate((x[None], path.x))
            change = np.moveaxis(arrays[f"change/{method}"][way].astype(np.float64), -1, 0) * epsilon / 127
            assert np.abs(change - (points - x)).max() <= epsilon / 254 + 1e-6
            for step, point in enumerate(points):
                outputs, _ = learned.forward(point)
                kept = arrays[f"output/{method}"][way, :, :, step] * about["units"]["output"]
                assert np.allclose(kept, outputs, rtol=0, atol=0.51 * about["units"]["output"])
                assert np.array_equal(arrays[f"answer/{method}"][way, :, step], outputs.argmax(axis=1))
                true = outputs[np.arange(4), labels]
                others = np.where(np.arange(10) == labels[:, None], -np.inf, outputs).max(axis=1)
                margin = arrays[f"margin/{method}"][way, :, step] * about["units"]["margin"]
                assert np.allclose(margin, true - others, rtol=0, atol=0.51 * about["units"]["margin"] + 1e-5)


def test_a_unit_is_shown_active_exactly_if_it_is(story, drawn, learned):
    units = hidden_units_of(learned)
    shown = story.arrays["activity/pgd"][0, :, :, 0]
    activity = units.activity(to_unit(drawn.x_test[:4]))
    assert np.array_equal(shown > 0, activity > 0)
    assert np.all(shown * story.about["units"]["activity"] - activity < story.about["units"]["activity"] * 1.001)
    assert 0 < (shown > 0).mean() < 1


def test_the_broken_bound_is_that_of_the_attacks(story, drawn, learned):
    labels = drawn.y_test[:4]
    for image in range(4):
        wrong = [
            epsilon
            for way, epsilon in enumerate(SHORT.epsilons * 2)
            for method in SHORT.methods
            if (story.arrays[f"answer/{method}"][way, image] != labels[image]).any()
        ]
        already = story.arrays["answer/pgd"][0, image, 0] != labels[image]
        assert story.about["broken"][image] == (0.0 if already else min(wrong, default=None))
    attack = Attack("pgd", "margin", 0.1, steps=5, random_start=False)
    (attacked,) = attack_images(learned, attack, drawn.x_test, drawn.y_test, np.arange(4))
    assert np.array_equal((story.arrays["answer/pgd"][3] != labels[:, None]).any(axis=1), attacked.success)
    assert attacked.success.any()


def test_radii_are_certified_and_below_what_is_broken(story, drawn, learned):
    for image, (radius, broken) in enumerate(zip(story.about["certified"], story.about["broken"], strict=True)):
        one = drawn.x_test[image : image + 1], drawn.y_test[image : image + 1]
        if radius is None:
            assert broken == 0
            continue
        assert certify(learned, *one, radius).certified.all()
        assert radius == 0.1 or not certify(learned, *one, radius + 0.1 / 1024).certified.any()
        assert broken is None or radius < broken


def test_a_misclassified_image_has_no_radius(drawn, learned):
    wrong = (drawn.y_test[:3] + 1) % 10
    assert np.array_equal(certified_radii(learned, drawn.x_test[:3], wrong, 0.1, 2), [-1, -1, -1])
    with pytest.raises(InputError, match="largest"):
        certified_radii(learned, drawn.x_test[:3], wrong, 0.0)


class Unchanged:
    """A layer that no certificate knows."""

    def forward(self, x):
        return x, None

    def input_gradient(self, d_output, cache):
        return d_output


def test_a_model_without_certificate_says_why(drawn):
    model = Sequential((*initial_mlp(784, (6,), 10, seed=0).layers, Unchanged()))
    story = result(attack_story(model, drawn, Exploration(2, (0.1,), ("fgsm",), ("margin",)), "analytic"))
    assert story.about["certified"] is None
    assert "Unchanged" in story.about["not_certified"]
    assert story.about["hidden"] is None
    assert story.arrays["activity/fgsm"].shape == (1, 2, 0, 2)


@pytest.mark.parametrize("fires_above", [None, 0.4])
@pytest.mark.parametrize("kind", ["random", "full"])
def test_chosen_cells_are_those_of_the_whole_circuit(kind, fires_above):
    model = initial_cerebellum(draw_wiring(kind, 1_000, (5, 6), 3 if kind == "random" else None, 0), 3, 0, fires_above)
    x = np.random.default_rng(0).random((7, 30)).astype(np.float32)
    units = hidden_units_of(model)
    assert (units.name, units.count, len(units.chosen)) == ("granule cells", 1_000, 400)
    active = model.forward(x)[1].active[units.chosen].T
    assert np.array_equal(units.activity(x) > 0, active)
    assert 0 < active.mean() < 1


def test_a_linear_model_has_no_hidden_units():
    assert hidden_units_of(initial_mlp(9, (), 3, seed=0)) is None
    assert hidden_units_of(initial_mlp(9, (5,), 3, seed=0)).count == 5


def test_the_lid_and_the_pole_are_those_of_the_tasks():
    settings = Eyelid(acquisition=4, cells=200)
    about, arrays = result(eyelid_story(settings))
    trials = list(Session(settings).trials())
    assert about["closure"] == [round(trial.closure, 1) for trial in trials]
    for number, trial in enumerate(trials):
        assert np.allclose(arrays["lid"][number] * about["units"]["lid"], trial.lid, rtol=0, atol=about["units"]["lid"])
    task = PoleTask(cells=200, seconds=1.0)
    about, arrays = result(pole_story(task, 5))
    trials = list(PoleBalancer(task).learn(5, 500))
    assert about["seconds"] == [trial.seconds for trial in trials]
    for number, trial in enumerate(trials):
        angle = arrays["angle"][number, : about["steps"][number]] * about["units"]["angle"]
        assert np.allclose(angle, trial.path[:, 2], rtol=0, atol=about["units"]["angle"])


def test_packed_arrays_are_found_again():
    numbers = np.array([-300, 7], dtype=np.int16)
    arrays = {"a": np.arange(6, dtype=np.uint8).reshape(2, 3), "b": numbers, "c": np.array([], dtype=np.int8)}
    table, text = pack(arrays)
    content = zlib.decompress(base64.b64decode(text))
    for name, array in arrays.items():
        place = table[name]
        found = np.frombuffer(content, np.dtype(place["type"]), array.size, place["at"]).reshape(place["shape"])
        assert np.array_equal(found, array)
    with pytest.raises(TypeError, match="float64"):
        pack({"x": np.zeros(3)})


def test_rounding_is_within_half_a_unit():
    values = np.random.default_rng(0).normal(size=1000)
    numbers, unit = rounded(values, "int16")
    assert np.abs(numbers).max() == 32767
    assert np.abs(numbers * unit - values).max() <= unit * 0.5000001
    assert rounded(np.zeros(3), "int16")[1] > 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"images": 0}, "images: 0"),
        ({"epsilons": ()}, "epsilon"),
        ({"epsilons": (0.1, 0.1)}, "epsilon"),
        ({"epsilons": (0.2, 0.1)}, "epsilon"),
        ({"epsilons": (0.0,)}, "epsilon"),
        ({"methods": ("square",)}, "method: 'square'"),
        ({"objectives": ("dlr", "dlr")}, "objective"),
        ({"steps": 0}, "steps: 0"),
    ],
)
def test_settings_that_make_no_page_are_named(changes, named):
    with pytest.raises(InputError, match=named):
        Exploration(**changes)


def test_too_many_images_are_named(drawn, learned):
    with pytest.raises(InputError, match="images: 61"):
        result(attack_story(learned, drawn, Exploration(images=61), "analytic"))
