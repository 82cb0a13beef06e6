"""``minicereb gradcheck``: the project's derivatives, a run's, and a wrong one."""

import json

import numpy as np
import pytest
from commands import invoke

from minicereb.models.layers import ReLU

SMALL = ("--dataset", "small.npz", "--epochs", "1", "--batch-size", "10", "--out", "run")


@pytest.fixture(autouse=True)
def _small_images(_in_an_empty_folder):
    rng = np.random.default_rng(0)
    arrays = {f"x_{part}": rng.integers(0, 256, (60, 8, 8), dtype=np.uint8) for part in ("train", "test")}
    np.savez("small.npz", **arrays, **{f"y_{part}": np.arange(60) % 3 for part in ("train", "test")})


def trained(*arguments):
    result = invoke("train", *arguments, *SMALL)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (("cerebellum", "--cells", "50"), "DeltaRule, one step"),
        (("mlp", "--hidden", "8"), "layer 2 Dense"),
        (("cnn", "--stages", "2", "--hidden", "5", "--batch-norm"), "layer 1 Convolution"),
        (("glr", "--hidden", "4", "--activation", "sigmoid", "--replications", "10"), "Backprop, layer 1"),
    ],
)
def test_a_model_of_every_kind_is_checked(model, expected):
    trained(*model)
    result = invoke("gradcheck", "run", "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["ok"]) == (0, True), report
    assert expected in [row["derivative"] for row in report["derivatives"]]
    assert all(row["state"] == "ok" and row["error"] < report["tolerance"] for row in report["derivatives"])


def test_what_has_no_derivative_is_said():
    trained("glr", "--hidden", "4", "--activation", "log-absolute", "--replications", "10", "--estimator", "plain")
    result = invoke("gradcheck", "run")
    assert result.exit_code == 0
    assert "log-absolute neurons have no derivative" in result.stdout


def test_a_wrong_derivative_exits_with_1(monkeypatch):
    trained("mlp", "--hidden", "8")
    monkeypatch.setattr(ReLU, "input_gradient", lambda self, d_h, active: d_h)
    result = invoke("gradcheck", "run")
    assert result.exit_code == 1
    assert "layer 1 ReLU" in result.stdout
    assert " wrong" in result.stdout


def test_mistakes_are_told_in_one_line():
    trained("mlp", "--hidden", "8")
    for arguments, told in ((("nowhere",), "nowhere does not exist"), (("run", "--images", "0"), "from 1 to 60")):
        result = invoke("gradcheck", *arguments)
        assert (result.exit_code, told in result.stderr) == (2, True), result.stderr
