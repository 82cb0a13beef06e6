"""The table of attack methods, and a method that another package adds."""

import dataclasses
import json
import os
import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint

import numpy as np
import pytest
from quick_attacks import Student, run

from minicereb import extensions
from minicereb.attacks.methods import METHODS, OF_THE_RUN, Method, method_named, method_names
from minicereb.attacks.pgd import fgsm
from minicereb.attacks.settings import Attack
from minicereb.errors import ExtensionError, InputError
from minicereb.robustness.catalogue import ATTACKS, attack_named, attack_names, attacks_named

FIELDS = {field.name for field in dataclasses.fields(Attack)}
OWN = '''
from minicereb.attacks.methods import Method


def halves(landscape, ball, start, steps, step_size):
    """Go along the gradient, half as far with every step."""
    here = ball.project(start)
    for step in range(steps):
        point, gradient = landscape.value_and_gradient(here)
        keep = yield point
        if keep is not None:
            landscape, ball, here, gradient = landscape.of(keep), ball.of(keep), here[keep], gradient[keep]
        here = ball.project(here + step_size * 0.5**step * ball.ascent(gradient))
    yield landscape.evaluate(here)


METHOD = Method(halves, "ball", ("steps", "step_size", "random_start", "restarts"), steps=7)
'''


@pytest.fixture
def own(monkeypatch, tmp_path):
    """Install the method above under the name ``halves``."""
    (tmp_path / "of_mine.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    points = [EntryPoint("halves", "of_mine:METHOD", "minicereb.attacks")]
    monkeypatch.setattr(extensions, "entry_points", lambda group: [point for point in points if point.group == group])
    extensions.offered.cache_clear()
    yield points
    extensions.offered.cache_clear()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_names_settings_that_there_are(name):
    method = METHODS[name]
    assert set(method.settings) - {"image_shape", "points"} <= FIELDS
    given = method.passed(Attack(name, method.objectives[0], 0.1), image_shape=(2, 3), points="best")
    assert set(given) == set(method.settings) - set(OF_THE_RUN)


def test_a_row_with_an_unknown_word_is_refused():
    with pytest.raises(InputError, match="begins.*image, ball, nearby, draws"):
        Method(fgsm, "anywhere", ())
    with pytest.raises(InputError, match="keeps.*best, first, nearest"):
        Method(fgsm, "image", (), keeps="all")


@pytest.mark.parametrize(("setting", "value"), [("decay", 0.5), ("nesterov", True), ("rescale", False), ("targets", 2)])
def test_a_setting_that_a_method_does_not_have_is_refused(setting, value):
    for name, method in METHODS.items():
        objective = "margin"
        if method.has(setting):
            assert getattr(Attack(name, objective, 0.1, **{setting: value}), setting) == value
        else:
            with pytest.raises(InputError, match=f"{setting}.*{name} has no such setting"):
                Attack(name, objective, 0.1, **{setting: value})


def test_a_method_of_ones_own_is_known_by_its_name(own):
    assert method_names() == (*METHODS, "halves")
    assert "halves" in attack_names()
    assert attacks_named(["halves", "standard"])[0] == "halves"
    named = attack_named("halves")
    (attack,) = named.make(0.2, "linf", 3, "analytic", 32)
    assert attack == Attack("halves", "margin", 0.2, steps=7, seed=3)
    assert named.white_box
    assert not named.smallest
    assert named.objectives == ("margin",)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_method_of_ones_own_attacks(own, norm):
    rng = np.random.default_rng(0)
    model = Student(rng.standard_normal((20, 3)).astype(np.float32))
    x = (0.3 + 0.4 * rng.random((50, 20))).astype(np.float32)
    labels = model.forward(x)[0].argmax(axis=1)
    settings = {"random_start": False, "norm": norm, "step_size": 0.1}
    mine = run(model, Attack("halves", "margin", 0.1, steps=1, **settings), x, labels)
    same = run(model, Attack("pgd", "margin", 0.1, steps=1, **settings), x, labels)
    assert mine.success.any()
    assert np.array_equal(mine.x_adv, same.x_adv)


def test_a_name_of_our_own_or_no_name_at_all_is_refused(own):
    with pytest.raises(InputError, match="method.*pgd.*halves"):
        method_named("quarters")
    with pytest.raises(InputError, match="attacks"):
        attack_named("quarters")
    own[0] = EntryPoint("pgd", "of_mine:METHOD", "minicereb.attacks")
    extensions.offered.cache_clear()
    with pytest.raises(ExtensionError, match="'pgd' .* is a name of minicereb's own"):
        method_names()


def test_installed_beside_minicereb_it_is_known_to_the_commands(tmp_path):
    """As pip would install it: a module, and the metadata of a distribution with an entry point."""
    (tmp_path / "of_mine.py").write_text(OWN)
    about = tmp_path / "of_mine-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: of-mine\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[minicereb.attacks]\nhalves = of_mine:METHOD\n")
    model = """
        import numpy as np

        class Linear:
            weight = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)

            def forward(self, x):
                return x @ self.weight, None

            def input_gradient(self, d_outputs, cache):
                return d_outputs @ self.weight.T
    """
    (tmp_path / "own.py").write_text(textwrap.dedent(model))
    rows = np.random.default_rng(1).random((40, 6)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x_test=rows, y_test=np.arange(40) % 3, x_train=rows, y_train=np.arange(40) % 3)

    def command(*words):
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        made = [sys.executable, "-c", "from minicereb.cli.main import main; main()", *words]
        return subprocess.run(
            made, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
        )

    assert "halves" in command("attack", "--help").stdout
    own = ("--model", "own:Linear", "--dataset", "rows.npz", "--epsilon", "0.1", "--no-certify", "--json")
    report = json.loads(command("evaluate", *own, "--attacks", "halves").stdout)
    assert list(report["epsilons"][0]["by_attack"]) == ["halves"]
    train = ("train", "mlp", "--hidden", "8", "--dataset", "rows.npz", "--epochs", "1", "--out", "run")
    command(*train)
    record = json.loads(command("attack", "run", "--method", "halves", "--json").stdout)
    assert record["method"] == "halves"


def test_the_catalogue_names_every_method():
    assert {search["method"] for attack in ATTACKS.values() for search in attack.searches} == set(METHODS)
