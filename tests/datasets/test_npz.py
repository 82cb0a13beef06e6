"""The user's own images: what is accepted, and what every mistake is called."""

import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minicereb.datasets import npz
from minicereb.errors import DataError


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
        ({"y_train": np.zeros((12, 1), dtype=int)}, r"y_train has shape \(12, 1\)"),
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
