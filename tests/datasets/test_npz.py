"""The user's own images: what is accepted, and what every mistake is called."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minicereb.datasets import npz
from minicereb.errors import DataError, DataWarning


@pytest.fixture
def save(tmp_path, own_arrays):
    """Writes a file with some arrays changed (None leaves one out) and returns its path."""

    def write(**changes):
        path = tmp_path / "own.npz"
        np.savez(path, **{name: array for name, array in {**own_arrays, **changes}.items() if array is not None})
        return path

    return write


def test_bytes_stay_bytes(save, own_arrays):
    data = npz.load(save())
    assert data.x_train.dtype == np.uint8
    assert data.y_train.dtype == np.int64
    assert (data.image_shape, data.classes, data.inputs) == ((4, 5), 3, 20)
    assert np.array_equal(data.x_test, own_arrays["x_test"].reshape(6, 20))
    assert data.name.endswith("own.npz")


@pytest.mark.parametrize("shape", [(20,), (4, 5), (2, 2, 5)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_floats_become_float32_rows(save, shape, dtype):
    rng = np.random.default_rng(0)
    x_train, x_test = (rng.random((n, *shape)).astype(dtype) for n in (12, 6))
    data = npz.load(save(x_train=np.asfortranarray(x_train), x_test=x_test))
    assert data.image_shape == shape
    for rows, images in ((data.x_train, x_train), (data.x_test, x_test)):
        assert rows.dtype == np.float32
        assert rows.flags.c_contiguous
        assert np.array_equal(rows, images.reshape(len(images), -1).astype(np.float32))


def with_pixel(value):
    images = np.full((12, 4, 5), 0.5)
    images[3, 2, 1] = value
    return images


HALF = np.full((6, 4, 5), 0.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y_test": None, "x_test": None}, "lacks x_test, y_test"),
        ({"x_train": with_pixel(np.nan), "x_test": HALF}, "x_train holds pixels that are NaN or infinite"),
        ({"x_train": with_pixel(-np.inf), "x_test": HALF}, "x_train holds pixels that are NaN or infinite"),
        ({"x_train": with_pixel(255.0), "x_test": HALF}, "x_train holds pixels from 0.5 to 255"),
        ({"x_train": with_pixel(-1e-9), "x_test": HALF}, "x_train holds pixels from -1e-09"),
        ({"x_train": np.zeros((12, 4, 5), dtype=np.int64)}, "x_train is int64; expected uint8"),
        ({"x_train": np.zeros((12, 4, 5), dtype=bool)}, "x_train is bool"),
        ({"x_train": np.zeros((12, 4, 5), dtype=np.complex64)}, "x_train is complex64"),
        ({"x_train": np.zeros(12, dtype=np.uint8)}, r"x_train has shape \(12,\)"),
        ({"x_train": np.uint8(3)}, r"x_train has shape \(\)"),
        ({"x_test": np.zeros((0, 4, 5), dtype=np.uint8), "y_test": np.zeros(0, dtype=int)}, "x_test .* empty"),
        ({"x_train": np.zeros((12, 0), dtype=np.uint8)}, "x_train .* empty"),
        ({"y_train": np.arange(11) % 3}, r"y_train has shape \(11,\); expected \(12,\)"),
        ({"y_train": np.zeros((12, 1, 1), dtype=int)}, r"y_train has shape \(12, 1, 1\)"),
        ({"y_train": np.full((12, 3), 2)}, r"y_train has shape \(12, 3\); expected one label for each image, or one-hot"),
        ({"y_train": np.ones((12, 14), dtype=int)}, r"y_train has shape \(12, 14\) and is multi-label: 14 to 14 labels"),
        ({"x_train": 255 * HALF}, "x_train holds pixels from 127.5 to 127.5; .*; divide by 255"),
        ({"x_train": with_pixel(-1.0)}, r"x_train holds pixels from -1 to .*; if black is -1, take \(x \+ 1\) / 2"),
        ({"x_train": with_pixel(-0.42) * 2}, "undo the standardisation"),
        ({"x_train": np.full((12, 4, 5), 300)}, "x_train is int64; expected uint8, or .*; it holds 300 to 300"),
        ({"x_train": np.full((12, 4, 5), 200)}, r"x_train is int64; expected uint8, or .*; convert with .astype\('uint8'\)"),
        ({"layout": np.array("NCHW")}, "layout is 'NCHW'; expected channels-last or channels-first"),
        ({"layout": np.arange(3)}, r"layout is int64 of shape \(3,\)"),
        ({"y_test": np.arange(6) / 2}, "y_test is float64; expected whole numbers"),
        ({"y_train": np.arange(12) % 3 - 1}, "y_train holds labels from -1 to 1"),
        ({"y_train": np.arange(12, dtype=np.uint64) << np.uint64(60)}, "y_train holds labels from 0 to"),
        ({"y_test": np.arange(6)}, "y_test holds the label 5; the largest in y_train is 2"),
        ({"y_train": np.zeros(12, dtype=int), "y_test": np.zeros(6, dtype=int)}, "at least 2 classes"),
        ({"x_test": np.zeros((6, 5, 4), dtype=np.uint8)}, r"x_test holds uint8 of shape \(5, 4\), x_train"),
        ({"x_test": HALF}, "x_test holds float64"),
        ({"x_train": np.array([None] * 12)}, "own.npz"),
    ],
)
def test_every_mistake_is_named_in_one_line(save, changes, words):
    with pytest.raises(DataError, match=words) as error:
        npz.load(save(**changes))
    assert "\n" not in str(error.value)
    assert "own.npz" in str(error.value)


# -- what others' conventions are taken as -----------------------------------------------------------------------------------


def quiet(path):
    """Load without a word."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return npz.load(path)


def told(path):
    """Load, and return the data set and what was said of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = npz.load(path)
    assert all(each.category is DataWarning and "\n" not in str(each.message) for each in caught)
    return data, [str(each.message) for each in caught]


def images(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_first_are_transposed_and_it_is_said(save, channels):
    x_train, x_test = images(12, channels, 6, 5), images(6, channels, 6, 5, seed=1)
    data, (said,) = told(save(x_train=x_train, x_test=x_test))
    assert data.image_shape == (6, 5, channels)
    for rows, before in ((data.x_train, x_train), (data.x_test, x_test)):
        assert rows.flags.c_contiguous
        assert np.array_equal(rows.reshape(-1, 6, 5, channels), before.transpose(0, 2, 3, 1))
    assert f"({channels}, 6, 5)" in said
    assert f"(6, 5, {channels})" in said
    same = quiet(save(x_train=x_train.transpose(0, 2, 3, 1), x_test=x_test.transpose(0, 2, 3, 1)))
    assert data.sha256 == same.sha256


@pytest.mark.parametrize("shape", [(3, 6, 3), (3, 3, 3), (1, 28, 1), (3, 4, 4), (5, 6, 6), (28, 28, 28)])
def test_an_order_of_axes_that_cannot_be_told_is_refused_unless_the_file_says_it(save, shape):
    x_train, x_test = images(12, *shape), images(6, *shape)
    with pytest.raises(DataError, match=r"x_train has shape \(12, .*layout='channels-first' or layout='channels-last'") as error:
        npz.load(save(x_train=x_train, x_test=x_test))
    assert "\n" not in str(error.value)
    last = quiet(save(x_train=x_train, x_test=x_test, layout="channels-last"))
    assert (last.image_shape, last.x_train.tobytes()) == (shape, x_train.tobytes())
    first = quiet(save(x_train=x_train, x_test=x_test, layout="channels-first"))
    assert first.image_shape == (shape[1], shape[2], shape[0])
    assert first.x_train.tobytes() == x_train.transpose(0, 2, 3, 1).tobytes()


@pytest.mark.parametrize("shape", [(4, 5), (20,), (6, 5, 1), (32, 32, 3), (4, 4, 3), (4, 4, 1), (1, 1, 3), (2, 2, 5), (6, 7, 2)])
def test_channels_last_stay_as_they_are(save, shape):
    x_train, x_test = images(12, *shape), images(6, *shape)
    data = quiet(save(x_train=x_train, x_test=x_test))
    assert (data.image_shape, data.x_train.tobytes()) == (shape, x_train.tobytes())


def test_hashes_are_those_from_before(save):
    assert quiet(save()).sha256 == "275471ac9022c5ca352405d81729705c414de0e50727f81c9721fd2ea1e28bf2"


@pytest.mark.parametrize(
    "form",
    [
        lambda y: y[:, None],
        lambda y: y[:, None].astype(np.uint8),
        lambda y: y.astype(np.float32),
        lambda y: y.astype(np.float16),
        lambda y: np.eye(3)[y],
        lambda y: np.eye(3, dtype=bool)[y],
        lambda y: np.eye(3, dtype=np.uint8)[y],
    ],
)
def test_labels_in_other_forms_are_the_same_data(save, own_arrays, form):
    changed = quiet(save(y_train=form(own_arrays["y_train"]), y_test=form(own_arrays["y_test"])))
    assert changed.sha256 == quiet(save()).sha256
    assert (changed.classes, changed.y_train.dtype) == (3, np.int64)


def test_absent_classes_are_named_with_what_chance_is(save, own_arrays):
    data, (said,) = told(save(y_train=own_arrays["y_train"] + 1, y_test=own_arrays["y_test"] + 1))
    assert data.classes == 4
    assert "class 0 has no training image" in said
    assert "chance is 1/3, not 1/4; if labels are counted from 1, subtract 1" in said
    _, (said,) = told(save(y_train=np.where(own_arrays["y_train"] == 1, 5, own_arrays["y_train"])))
    assert "classes 1, 3, 4 have no training image" in said
    assert "chance is 1/3, not 1/6" in said
    assert "subtract" not in said
    _, (said,) = told(save(y_train=np.arange(12) * 100))
    assert "1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 1079 others" in said


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_that_were_scaled_twice_are_told(save, own_arrays, dtype):
    dark = {name: (own_arrays[name] / 255 / (1 if dtype == np.uint8 else 255)).astype(dtype) for name in ("x_train", "x_test")}
    _, (said,) = told(save(**dark))
    assert "multiply by 255" in said
    assert "x_train" in said


# -- MedMNIST ----------------------------------------------------------------------------------------------------------------


def medmnist(tmp_path, shape=(28, 28), labels=lambda n: (np.arange(n) % 3)[:, None].astype(np.uint8)):
    """A file as MedMNIST v2 and v3 have them: six arrays, the labels with an axis of their own."""
    arrays = {}
    for seed, (split, n) in enumerate({"train": 12, "val": 4, "test": 6}.items()):
        arrays |= {f"{split}_images": images(n, *shape, seed=seed), f"{split}_labels": labels(n)}
    path = tmp_path / "somemnist.npz"
    np.savez_compressed(path, **arrays)
    return path, arrays


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3), (64, 64, 3)])
def test_medmnist_files_are_read_as_they_come(tmp_path, shape):
    path, arrays = medmnist(tmp_path, shape)
    data, (said,) = told(path)
    assert (data.image_shape, data.classes) == (shape, 3)
    assert np.array_equal(data.x_train, arrays["train_images"].reshape(12, -1))
    assert np.array_equal(data.x_test, arrays["test_images"].reshape(6, -1))
    assert np.array_equal(data.y_test, arrays["test_labels"][:, 0])
    assert "val_images are not used" in said


def test_medmnist_files_of_another_kind_are_refused_by_name(tmp_path):
    several = lambda n: (np.arange(14 * n).reshape(n, 14) % 3 == 0).astype(np.uint8)  # noqa: E731
    with pytest.raises(DataError, match=r"train_labels has shape \(12, 14\) and is multi-label: 4 to 5 labels an image"):
        told(medmnist(tmp_path, labels=several)[0])
    with pytest.raises(DataError, match=r"train_images has shape \(12, 28, 28, 28\): volumes"):
        told(medmnist(tmp_path, (28, 28, 28))[0])
    path, arrays = medmnist(tmp_path)
    np.savez(path, **{name: arrays[name] for name in arrays if name != "test_labels"})
    with pytest.raises(DataError, match="lacks test_labels; expected the arrays train_images, train_labels"):
        npz.load(path)


def test_files_that_are_no_npz(tmp_path):
    path = tmp_path / "own.npz"
    with pytest.raises(DataError, match="does not exist"):
        npz.load(path)
    single = io.BytesIO()
    np.save(single, np.arange(3))
    for content in (b"", b"hello", b"PK\x03\x04", single.getvalue()):
        path.write_bytes(content)
        with pytest.raises(DataError, match="own.npz"):
            npz.load(path)
    with pytest.raises(DataError):
        npz.load(tmp_path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_truncated_file_is_an_error(save, data):
    path = save()
    content = path.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(DataError, match="own.npz"):
        npz.load(path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_is_an_error_or_does_no_harm(save, data):
    path = save()
    intact, content = npz.load(path).sha256, bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    message = ""
    try:
        loaded = npz.load(path).sha256
    except DataError as error:
        message = str(error)
    if message:
        assert "own.npz" in message
        assert "\n" not in message
    else:
        assert loaded == intact  # a flip in a date, for example


def test_a_flag_that_claims_encryption_is_an_error(save):
    path = save()
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="own.npz"):
        npz.load(path)
