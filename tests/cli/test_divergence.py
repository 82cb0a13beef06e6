"""A far too high learning rate is reported in one line, whatever learns, and no NumPy warning reaches the user."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from commands import invoke

FAMILIES = {
    "cerebellum": ("cerebellum", "--cells", "300"),
    "full cerebellum": ("cerebellum", "--cells", "300", "--wiring", "full", "--batch-size", "1"),
    "mlp": ("mlp", "--hidden", "20"),
    "mse": ("mlp", "--hidden", "20", "--loss", "mse"),
    "cnn": ("cnn", "--stages", "4", "--hidden", "8"),
    "vgg": ("vgg", "--width", "0.05"),
    "glr": ("glr", "--hidden", "8", "--activation", "sigmoid"),
    "glr, threshold": ("glr", "--hidden", "8"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """400 training images, 8 x 8 in colour: each of three classes is a fixed picture with noise."""
    rng = np.random.default_rng(0)
    pictures, y = rng.random((3, 8, 8, 3)), np.arange(460) % 3
    x = np.clip(pictures[y] + 0.6 * rng.standard_normal((460, 8, 8, 3)), 0, 1).astype(np.float32)
    path = tmp_path_factory.mktemp("data") / "c3.npz"
    np.savez(path, x_train=x[:400], y_train=y[:400], x_test=x[400:], y_test=y[400:])
    return path


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("rate", ["1e6", "1e19", "1e30"])
@pytest.mark.parametrize("family", FAMILIES)
def test_divergence_is_one_line_that_names_the_rate(family, rate, keep, data, tmp_path):
    out = ("--out", tmp_path / "run", "--epochs", 2, "--learning-rate", rate, "--keep", keep)
    result = invoke("train", *FAMILIES[family], "--dataset", data, *out)
    (line,) = result.stderr.splitlines()
    assert "training diverged" in line
    assert f"lower --learning-rate ({float(rate):g} here)" in line
    if result.exit_code == 0:  # it ended in finite numbers
        assert line.startswith("warning: ")
        assert f"warning: {json.loads((tmp_path / 'run' / 'manifest.json').read_text())['warning']}" == line
        assert line in invoke("show", tmp_path / "run").stdout
    else:
        assert (result.exit_code, result.stdout) == (2, "")
        assert not (tmp_path / "run" / "model.npz").exists()
        assert "training diverged" in invoke("train", *FAMILIES[family], "--dataset", data, *out).stderr  # again the same


@pytest.mark.parametrize("family", FAMILIES)
def test_a_usual_training_has_no_warning(family, data, tmp_path):
    result = invoke("train", *FAMILIES[family], "--dataset", data, "--out", tmp_path / "run", "--epochs", 5, "--json")
    assert result.stderr == ""
    assert "warning" not in json.loads(result.stdout)
    assert "warning" not in json.loads((tmp_path / "run" / "manifest.json").read_text())


def test_no_warning_of_numpys_is_seen_from_outside(data, tmp_path):
    """In a process of its own, where nothing turns warnings into errors: after one epoch only the last update has overflowed."""
    arguments = ("train", *FAMILIES["cnn"], "--dataset", data, "--learning-rate", "1e19", "--keep", "last", "--epochs", "1")
    command = [
        sys.executable,
        "-c",
        "from minicereb.cli.main import main; main()",
        *map(str, arguments),
        "--batch-size",
        "400",
        "--out",
        str(tmp_path / "run"),
    ]
    found = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONWARNINGS": "default"})
    assert (found.returncode, found.stdout) == (2, "")
    (line,) = found.stderr.splitlines()
    assert "training diverged" in line
