"""Data sets by name."""

import numpy as np
import pytest

from minicereb.datasets import Dataset, load, registry
from minicereb.errors import DataError, InputError


def test_strokes_with_options():
    data = load("strokes", train=30, test=20, size=10, seed=2)
    assert isinstance(data, Dataset)
    assert data.x_train.shape == (30, 100)
    assert data.x_test.shape == (20, 100)
    assert data.image_shape == (10, 10)


def test_a_path_is_a_name(tmp_path, own_arrays):
    path = tmp_path / "mine.NPZ"
    with open(path, "wb") as file:
        np.savez(file, **own_arrays)
    assert load(str(path)).name == str(path)
    assert load(path).classes == 3


def test_a_mistyped_file_is_suggested(tmp_path, own_arrays):
    np.savez(tmp_path / "mine.npz", **own_arrays)
    with pytest.raises(DataError, match=r"mime.npz does not exist; did you mean '.*mine.npz'\?$"):
        load(str(tmp_path / "mime.npz"))
    with pytest.raises(DataError, match="other.csv does not exist$"):
        load(str(tmp_path / "none" / "other.csv"))


@pytest.mark.parametrize("name", ["imagenet", "", "mine.npy"])
def test_an_unknown_name_says_which_there_are(name):
    with pytest.raises(InputError, match="strokes14, digits, cifar10, or the path of an .npz file, a .csv file, IDX files"):
        load(name)


@pytest.mark.parametrize(
    ("name", "option"),
    [("strokes", "colour"), ("mnist", "size"), ("mine.npz", "train"), ("strokes14", "size"), ("mnist14", "train")],
)
def test_an_unknown_option_is_named(name, option):
    with pytest.raises(
        InputError, match=f"{option}: 3 is not valid; expected only with dataset strokes, .* size, seed or strokes14,"
    ):
        load(name, **{option: 3})


def test_descriptions_tell_the_truth():
    rows = {row.name: row for row in registry.describe()}
    assert list(rows) == ["mnist", "mnist14", "strokes", "strokes14", "digits", "cifar10"]
    strokes = load("strokes")
    assert (rows["strokes"].training, rows["strokes"].test) == (len(strokes.x_train), len(strokes.x_test))
    assert rows["strokes"].image_shape == strokes.image_shape
    assert rows["mnist14"].training + rows["mnist14"].test == rows["mnist"].training + rows["mnist"].test
