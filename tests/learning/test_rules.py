"""Learning rules as functions: the table, their arguments, and rules that other packages offer."""

import os
import subprocess
import sys
import types
from importlib.metadata import EntryPoint

import numpy as np
import pytest

from minicereb import extensions
from minicereb.calculus.cerebellum import granule, loss, purkinje
from minicereb.errors import ExtensionError, InputError
from minicereb.experiments.architectures import CerebellumModel
from minicereb.learning.optimizers import SGD, RMSprop
from minicereb.learning.plasticity import DeltaRule
from minicereb.learning.rules import RULES, delta, ltd_ltp, rule_named, rule_names


def sign_rule(z, error, readout):
    return np.sign(z) @ error


@pytest.fixture
def offered(monkeypatch):
    """Make an entry point that names an object an installed rule."""

    def install(name, found):
        module = types.ModuleType("a_package_with_a_rule")
        module.RULE = found
        monkeypatch.setitem(sys.modules, module.__name__, module)
        point = EntryPoint(name, "a_package_with_a_rule:RULE", "minicereb.rules")
        monkeypatch.setattr(extensions, "entry_points", lambda group: [point] if group == point.group else [])
        extensions.offered.cache_clear()

    yield install
    extensions.offered.cache_clear()


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_rule_is_given_activity_less_the_mean_and_the_error(build_cerebellum, draw_images, batch_size):
    model, (x, labels) = build_cerebellum(cells=300, kind="full"), draw_images(batch_size)
    seen = []

    def rule(z, error, readout):
        seen.append((z.copy(), error.copy(), readout.copy()))
        return np.zeros_like(readout)

    before = model.readout.copy()
    (learned,) = DeltaRule(model, SGD(1.0), batch_size, 0.9, rule=rule).learn(x, labels)
    h = granule(x, model.wiring.weights.T)
    outputs = purkinje(h, model.ltd_mean, before)
    _, error = loss(outputs, np.eye(3)[labels])
    z, given, readout = (np.concatenate(parts, axis=axis) for parts, axis in zip(zip(*seen, strict=True), (0, 1, 0), strict=True))
    assert np.allclose(z[:, :batch_size], (h - model.ltd_mean).T, rtol=0, atol=1e-13)
    assert np.allclose(given[:batch_size, :3], error / batch_size, rtol=0, atol=1e-13)
    assert not z[:, batch_size:].any()
    assert not given[batch_size:].any()
    assert np.array_equal(readout, before)
    assert np.array_equal(model.readout, before)


@pytest.mark.parametrize("ltd_decay", [None, 0.9])
def test_the_fused_delta_rule_equals_the_function(build_cerebellum, draw_images, ltd_decay):
    models = [build_cerebellum(cells=300, ltd=False) for _ in range(2)]
    x, labels = draw_images(25)
    for model, rule in zip(models, (delta, lambda *given: delta(*given)), strict=True):
        list(DeltaRule(model, RMSprop(0.01), 10, ltd_decay, rule=rule).learn(x, labels))
    assert np.allclose(models[0].readout, models[1].readout, rtol=0, atol=1e-11)
    assert np.array_equal(models[0].ltd_mean, models[1].ltd_mean)


def test_a_synapse_that_knows_only_whether_its_fibre_is_active():
    z, error = np.array([[2.0, -1.0], [0.5, 0.0]]), np.array([[1.0], [10.0]])
    assert np.array_equal(ltd_ltp(z, error, np.zeros((2, 1))), [[1.0], [1.0]])


def test_the_table_knows_its_own_rules():
    assert rule_names() == ["delta", "ltd-ltp", "least-squares", "pessimistic"]
    assert all(rule_named(name) is rule for name, rule in RULES.items())
    with pytest.raises(InputError, match="delta, ltd-ltp, least-squares, pessimistic"):
        CerebellumModel("full", 10, rule="sign")


def test_a_rule_of_another_package_is_a_setting(offered):
    offered("sign", sign_rule)
    assert rule_names()[-1] == "sign"
    assert rule_named("sign") is sign_rule
    assert CerebellumModel("full", 10, rule="sign").rule == "sign"


def test_a_rule_of_another_package_learns_from_the_command_line(tmp_path):
    """Build a package as if it were installed beside ours."""
    (tmp_path / "signs.py").write_text("import numpy as np\n\n\ndef rule(z, error, readout):\n    return np.sign(z) @ error\n")
    about = tmp_path / "signs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: signs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[minicereb.rules]\nsign = signs:rule\n")
    options = ["--dataset", "strokes", "--cells", "200", "--epochs", "1", "--batch-size", "500", "--out", "run"]
    command = [sys.executable, "-c", "from minicereb.cli.main import main; main()", "train", "cerebellum", "--rule", "sign"]
    found = subprocess.run(
        [*command, *options], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert '"sign"' in (tmp_path / "run" / "config.json").read_text()


@pytest.mark.parametrize(("name", "found", "message"), [("delta", sign_rule, "minicereb's own"), ("pi", 3.14, "type float")])
def test_what_is_no_rule_is_refused(offered, name, found, message):
    offered(name, found)
    with pytest.raises(ExtensionError, match=message):
        rule_named("delta")
