"""What is worth knowing about a user's data or options is said in one line on standard error, whatever the command."""

import warnings

import numpy as np
import pytest
from commands import invoke, succeed

from minicereb.errors import DataWarning


@pytest.fixture
def channels_first(tmp_path):
    """A file of images as PyTorch has them, (n, 1, 8, 8), their labels (n, 1)."""
    rng = np.random.default_rng(0)
    y = np.arange(40) % 3
    x = rng.integers(0, 100, (40, 1, 8, 8), dtype=np.uint8) + (50 * y[:, None, None, None]).astype(np.uint8)
    path = tmp_path / "first.npz"
    np.savez(path, x_train=x[:30], y_train=y[:30, None], x_test=x[30:], y_test=y[30:, None])
    return path


def test_a_note_is_one_line_on_standard_error(channels_first, tmp_path):
    settings = ("--stages", "2", "--hidden", "4", "--epochs", "1", "--json", "--out", str(tmp_path / "run"))
    result = invoke("train", "cnn", "--dataset", str(channels_first), *settings)
    assert result.exit_code == 0, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"note: {channels_first}: images of shape (1, 8, 8) are taken as channels")
    assert "note:" not in result.stdout


def test_other_warnings_are_shown_as_before(channels_first, tmp_path, monkeypatch):
    def load(name):
        warnings.warn("about something else", UserWarning, stacklevel=1)
        warnings.warn("two\nlines", DataWarning, stacklevel=1)
        raise SystemExit(0)

    monkeypatch.setattr("minicereb.datasets.load", load)
    with pytest.warns(UserWarning, match="something else") as caught:
        result = invoke("train", "mlp", "--dataset", str(channels_first))
    assert [each.category for each in caught] == [UserWarning]
    assert result.stderr == "note: two lines\n"


@pytest.mark.parametrize(
    ("options", "remark"),
    [
        (("cerebellum", "--rule", "least-squares", "--epochs", "3"), "--epochs has no effect with --rule least-squares"),
        (("cerebellum", "--rule", "least-squares", "--keep", "last"), "--keep has no effect with --rule least-squares"),
        (("cerebellum", "--epochs", "1", "--no-ltd", "--ltd-decay", "0.5"), "--ltd-decay has no effect with --no-ltd"),
        (("glr", "--epochs", "1", "--activation", "sigmoid", "--noise", "none", "--noise-scale", "2"),
         "--noise-scale has no effect with --noise none"),
    ],
)  # fmt: skip
def test_an_option_without_effect_is_named(options, remark, tmp_path):
    size = ("--cells", "20") if options[0] == "cerebellum" else ("--hidden", "3")
    result = succeed("train", *options, *size, "--dataset", "strokes14", "--out", tmp_path / "run")
    assert f"note: {remark}\n" in result.stderr
