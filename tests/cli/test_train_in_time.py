"""``train glr --network recurrent`` and ``spiking``: from the command to the files, and what is refused in one line."""

import json
import re

import numpy as np
import pytest
from commands import document, invoke, refused

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
        (("recurrent", "--hidden", 64, "--learning-rate", 0.02, "--batch-size", 5), True),
        (("recurrent", "--learn-scale"), False),
        (("recurrent", "--activation", "sigmoid", "--last-layer", "resample"), False),
        (("recurrent", "--estimator", "rao-blackwell", "--replications", 8), False),
        (("spiking", "--estimator", "resample", "--probes", 8), False),
        (("recurrent", "--noise", "none"), False),
    ],
)
def test_a_network_in_time_learns_and_is_read_again(data, tmp_path, options, learns):
    given = ("train", "glr", "--hidden", 12, "--dataset", data, "--epochs", 10, "--out", tmp_path / "run")
    result = invoke(*given, "--network", *options, "--json")
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
        (("--network", "spiking", "--estimator", "exact"), "estimator: 'exact'.*flip, resample, rao-blackwell, antithetic"),
        (("--network", "recurrent", "--estimator", "exact", "--activation", "sigmoid"), "estimator: 'exact'.*expected resample"),
        (
            ("--network", "recurrent", "--estimator", "flip", "--activation", "sigmoid"),
            "estimator: 'flip with sigmoid neurons'.*expected --activation threshold, or an estimator of resample",
        ),
        (("--network", "recurrent", "--probes", "0"), "probes: 0 is not valid"),
        (("--network", "recurrent", "--last-layer", "score"), "last-layer: 'score'.*derivative or resample"),
        (("--network", "spiking", "--persistence", "3"), "persistence: 3.0 is not valid; expected 0, or --network recurrent"),
        (("--network", "recurrent", "--persistence", "-1"), "persistence"),
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


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--network", "cnn", "--kernel", 9), "kernel: 9 is not valid; expected at most 5, the smaller side of the images"),
        (("--network", "cnn", "--kernel", 2, "--pool", 5), "channels.*a smaller kernel, stride or pool"),
        (("--network", "cnn", "--kernel", 3, "--noise", "none"), "estimator: 'backprop'.*expected surrogate"),
    ],
)
def test_convolutions_that_do_not_fit_are_refused_in_one_line(data, tmp_path, options, expected):
    result = invoke("train", "glr", "--dataset", data, "--out", tmp_path / "run", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert re.search(expected, line), line


@pytest.mark.parametrize(
    ("options", "without_effect"),
    [
        (
            ("cnn", "--kernel", 3, "--steps", 3, "--leak", 0.5),
            ["--steps has no effect with --network cnn", "--leak"],
        ),
        (("cnn", "--kernel", 3, "--pooling", "max"), ["--pooling has no effect with --pool 1"]),
        (("spiking", "--probes", 3), ["--probes has no effect with --network spiking"]),
        (("recurrent", "--steps", 3, "--probes", 4), ["--steps has no effect with --presentation rows"]),
        (
            ("recurrent", "--estimator", "rao-blackwell", "--probes", 3),
            ["--probes has no effect with --estimator rao-blackwell"],
        ),
        (("cnn", "--kernel", 3, "--no-output-noise"), []),  # the outputs then learn by the derivative
    ],
)
def test_options_without_effect_are_said_to_have_none(data, tmp_path, options, without_effect):
    given = ("train", "glr", "--hidden", 4, "--dataset", data, "--epochs", 1, "--out", tmp_path / "run")
    result = invoke(*given, "--network", *options)
    assert result.exit_code == 0, result.output
    notes = [line for line in result.stderr.splitlines() if line.startswith("note:")]
    assert len(notes) == len(without_effect)
    assert all(f"note: {said}" in note for said, note in zip(without_effect, notes, strict=True)), notes


def test_layers_in_time_are_neither_bounded_nor_written_to_onnx(data, tmp_path):
    run = tmp_path / "run"
    assert (
        invoke("train", "glr", "--network", "spiking", "--hidden", 4, "--dataset", data, "--epochs", 1, "--out", run).exit_code
        == 0
    )
    assert "no bounds are known for layers with time steps; evaluate --answer" in refused("certify", run, "--images", 20)
    assert "'a layer with time steps' is not valid" in refused("export", run, tmp_path / "net.onnx")
    assert invoke("export", run, tmp_path / "net.npz").exit_code == 0


@pytest.mark.parametrize("options", [("--activation", "sigmoid"), ("--pool", 2), ("--hidden", "")])
def test_convolutions_are_certified_without_their_noise(data, tmp_path, options):
    run = tmp_path / "run"
    given = ("train", "glr", "--network", "cnn", "--kernel", 2, "--stride", 1, "--channels", 3, "--hidden", 6, "--dataset", data)
    assert invoke(*given, *options, "--epochs", 2, "--out", run).exit_code == 0
    found = document("evaluate", run, "--epsilon", 0.002, "--images", 20, "--attacks", "random", "--certify")
    assert found["no_certificate"] is None
    assert 0 <= found["epsilons"][0]["certified"] <= found["epsilons"][0]["attacked"]
    assert "evaluate --certify has bounds for this model" in refused("certify", run, "--images", 20)
