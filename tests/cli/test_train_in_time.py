"""``train glr --network recurrent`` and ``spiking``: from the command to the files, and what is refused in one line."""

import json
import re

import numpy as np
import pytest
from commands import invoke

from minicereb import datasets
from minicereb.experiments.runs import load_model, read_run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """400 training images of 6 x 5 pixels: each of three classes is a fixed picture with noise."""
    rng = np.random.default_rng(0)
    pictures, y = rng.random((3, 6, 5)), np.arange(460) % 3
    x = np.clip(pictures[y] + 0.3 * rng.standard_normal((460, 6, 5)), 0, 1).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "rows.npz"
    np.savez(path, x_train=x[:400], y_train=y[:400], x_test=x[400:], y_test=y[400:])
    return path


@pytest.mark.parametrize(
    ("options", "learns"),
    [
        (("spiking",), True),
        (("spiking", "--presentation", "rows", "--estimator", "rao-blackwell", "--replications", 8), False),
        (("spiking", "--estimator", "surrogate"), True),
        (("recurrent", "--activation", "sigmoid", "--estimator", "backprop"), False),
        (("recurrent", "--replications", 8, "--learn-scale"), False),
        (("recurrent", "--noise", "none"), False),
    ],
)
def test_a_network_in_time_learns_and_is_read_again(data, tmp_path, options, learns):
    given = ("train", "glr", "--network", *options, "--hidden", 12, "--dataset", data, "--epochs", 10, "--out", tmp_path / "run")
    result = invoke(*given, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert document["test_accuracy"] > 0.9 or not learns
    run = read_run(tmp_path / "run")
    dataset = datasets.load(str(data))
    model = load_model(run, dataset)
    assert ("recurrent_0" in model.parameters) == (options[0] == "recurrent")
    x = dataset.x_test.astype(np.float32) / (255 if dataset.x_test.dtype == np.uint8 else 1)
    assert np.isclose((model.forward(x)[0].argmax(axis=1) == dataset.y_test).mean(), document["test_accuracy"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--network", "spiking", "--hidden", "8,8"), "hidden: '8,8' is not valid; expected one number with --network spiking"),
        (("--network", "spiking", "--activation", "sigmoid"), "activation: 'sigmoid'.*threshold with --network spiking"),
        (("--network", "spiking", "--estimator", "resample"), "estimator: 'resample'.*flip, rao-blackwell, antithetic"),
        (("--network", "recurrent", "--estimator", "flip"), "estimator: 'flip'.*rao-blackwell, antithetic or baseline"),
        (("--network", "recurrent", "--placement", "in-turn"), "placement: 'in-turn'.*expected all"),
        (("--network", "recurrent", "--channels", "4"), "channels.*only with --network cnn"),
        (("--presentation", "whole"), "presentation: 'whole'.*recurrent or spiking"),
        (("--network", "spiking", "--leak", "1.5"), "leak"),
        (("--network", "spiking", "--presentation", "whole", "--steps", "0"), "steps"),
        (("--estimator", "surrogate", "--activation", "sigmoid"), "estimator: 'surrogate with sigmoid neurons'.*backprop"),
        (("--network", "spiking", "--estimator", "backprop"), "threshold neurons have no derivative"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(data, tmp_path, options, expected):
    result = invoke("train", "glr", "--dataset", data, "--out", tmp_path / "run", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()[-1:]
    assert re.search(expected, line), line
    assert not (tmp_path / "run" / "model.npz").exists()
