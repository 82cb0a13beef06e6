"""Other people's files as they come: IDX files and CSV tables, in the layouts that were published, with a few made images."""

import gzip
import os
import struct
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minicereb import datasets
from minicereb.datasets import csv_table, idx, registry
from minicereb.errors import DataError, DataWarning, InputError

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx_bytes(array):
    array = np.asarray(array)
    dtype = array.dtype.newbyteorder(">")
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes((0, 0, CODES[array.dtype.str[1:]], array.ndim)) + sizes + array.astype(dtype).tobytes()


def images(n, side=6, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side), dtype=np.uint8)


def labels(n, first=0):
    return (np.arange(n) % 3 + first).astype(np.uint8)


def told(path):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = datasets.load(str(path))
    assert all(each.category is DataWarning and "\n" not in str(each.message) for each in caught)
    return data, [str(each.message) for each in caught]


def write_set(folder, before="", test="t10k", separator="-", packed=False, first=0, kind="idx1-ubyte", form=labels):
    """The four files of a set; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for seed, (split, n) in enumerate({"train": 12, test: 6}.items()):
        for what, array in ((f"images{separator}idx3-ubyte", images(n, seed=seed)), (f"labels{separator}{kind}", form(n, first))):
            path = folder / f"{before}{split}-{what}{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(idx_bytes(array)) if packed else idx_bytes(array))
            paths.append(path)
    return paths


# -- IDX ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("test", "separator"), [("t10k", "-"), ("test", "-"), ("t10k", ".")])
def test_a_set_is_loaded_by_any_of_its_files_or_by_its_folder(tmp_path, test, separator, packed):
    paths = write_set(tmp_path / "FashionMNIST" / "raw", test=test, separator=separator, packed=packed)
    loaded = [told(path) for path in (*paths, paths[0].parent, paths[0].parent.parent, tmp_path)]
    assert len({data.sha256 for data, _ in loaded}) == 1
    data, said = loaded[0]
    assert said == []
    assert (data.image_shape, data.classes, data.x_train.dtype) == ((6, 6), 3, np.uint8)
    assert np.array_equal(data.x_train, images(12).reshape(12, -1))
    assert np.array_equal(data.x_test, images(6, seed=1).reshape(6, -1))
    assert np.array_equal(data.y_test, labels(6))


@pytest.mark.parametrize("split", ["letters", "balanced"])
def test_emnists_images_are_turned_upright_and_its_letters_counted_from_0(tmp_path, split):
    first = int(split == "letters")
    paths = write_set(tmp_path / "gzip", f"emnist-{split}-", "test", packed=True, first=first)
    write_set(tmp_path / "gzip", "emnist-digits-", "test", packed=True)
    data, (said,) = told(paths[0])
    assert np.array_equal(data.x_train.reshape(-1, 6, 6), images(12).transpose(0, 2, 1))
    assert np.array_equal(data.x_test.reshape(-1, 6, 6), images(6, seed=1).transpose(0, 2, 1))
    assert np.array_equal(data.y_train, labels(12))
    assert data.classes == 3
    assert "turned upright" in said
    assert ("read as 0, 1" in said) == bool(first)
    with pytest.raises(DataError, match="holds several sets of IDX files; give the path .*emnist-.*-train-images.*; .*emnist-"):
        datasets.load(str(tmp_path / "gzip"))


def test_of_qmnists_labels_the_class_is_taken(tmp_path):
    def eight(n, first):
        return np.stack([labels(n, first).astype(np.int32), *(np.arange(n, dtype=np.int32) + 7 * k for k in range(7))], axis=1)

    paths = write_set(tmp_path, "qmnist-", "test", kind="idx2-int", form=eight)
    data, said = told(paths[1])
    assert said == []
    assert (data.classes, list(data.y_train)) == (3, list(labels(12)))


def test_labels_from_1_in_other_files_are_told(tmp_path):
    _, (said,) = told(write_set(tmp_path, first=1)[0])
    assert "class 0 has no training image" in said


def test_elements_of_every_type_are_read():
    for name in ("u1", "i1", "i2", "i4", "f4", "f8"):
        array = np.arange(6).reshape(2, 3).astype(name)
        assert np.array_equal(idx.parse(idx_bytes(array), "a file"), array)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda paths: paths[2].unlink(), "the IDX files of test images are not beside it"),
        (lambda paths: paths[0].write_bytes(b"hello"), "train-images-idx3-ubyte is not an IDX file"),
        (lambda paths: paths[0].write_bytes(paths[0].read_bytes()[:-1]), "has 447 bytes; by its header, .* should have 448"),
        (lambda paths: paths[1].write_bytes(gzip.compress(paths[1].read_bytes())[:-9]), "train-labels-idx1-ubyte is truncated"),
        (
            lambda paths: paths[1].write_bytes(idx_bytes(labels(11))),
            r"train-labels-idx1-ubyte has shape \(11,\); expected \(12,\)",
        ),
        (lambda paths: paths[1].write_bytes(bytes((0, 0, 8, 200)) + bytes(800)), "a shape that cannot be used"),
    ],
)
def test_what_is_wrong_with_idx_files_is_one_line(tmp_path, damage, words):
    paths = write_set(tmp_path)
    damage(paths)
    with pytest.raises(DataError, match=words) as error:
        datasets.load(str(paths[0]))
    assert "\n" not in str(error.value)


def test_a_folder_without_a_whole_set_is_one_line(tmp_path):
    write_set(tmp_path)[3].unlink()
    with pytest.raises(DataError, match="holds no complete set of IDX files"):
        datasets.load(str(tmp_path))
    with pytest.raises(DataError, match="does not exist"):
        datasets.load(str(tmp_path / "no-train-images-idx3-ubyte"))


# -- CSV ---------------------------------------------------------------------------------------------------------------------


def lines(x, y, last=False):
    rows = x.reshape(len(x), -1)
    for row, label in zip(rows, y, strict=True):
        cells = [*map(str, row), str(label)] if last else [str(label), *map(str, row)]
        yield ",".join(cells)


def write_csv(path, head, body, newline="\n"):
    path.write_bytes((newline.join(([head] if head else []) + list(body)) + newline).encode())
    return path


X, Y, X_TEST, Y_TEST = images(12), labels(12), images(6, seed=1), labels(6)
PIXELS = ",".join(f"pixel{number}" for number in range(36))
FORMS = {
    "mnist-in-csv": ("", {}),
    "a header": (f"label,{PIXELS}", {}),
    "rows by columns": ("label," + ",".join(f"{r}x{c}" for r in range(1, 7) for c in range(1, 7)), {}),
    "quotes": (",".join(f'"{name}"' for name in ("label", *PIXELS.split(","))), {}),
    "label last": (f"{PIXELS},class", {"last": True}),
}  # fmt: skip


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("form", FORMS)
def test_two_tables_are_training_and_test(tmp_path, form, newline):
    head, options = FORMS[form]
    path = write_csv(tmp_path / "mnist_train.csv", head, lines(X, Y, **options), newline)
    write_csv(tmp_path / "mnist_test.csv", head, lines(X_TEST, Y_TEST, **options), newline)
    data, said = told(path)
    assert said == []
    assert (data.image_shape, data.classes, data.x_train.dtype) == ((6, 6), 3, np.uint8)
    assert np.array_equal(data.x_train, X.reshape(12, -1))
    assert np.array_equal(data.x_test, X_TEST.reshape(6, -1))
    assert np.array_equal(data.y_train, Y)
    assert np.array_equal(data.y_test, Y_TEST)
    assert data.name == str(path)


def test_kaggles_train_csv_gives_its_own_test_images(tmp_path):
    path = write_csv(tmp_path / "train.csv", f"label,{PIXELS}", lines(X, Y))
    write_csv(tmp_path / "test.csv", PIXELS, (line.partition(",")[2] for line in lines(X_TEST, Y_TEST)))  # without labels
    data, (said,) = told(path)
    assert "no file of labelled test images beside it; 2 of 12 images are the test set" in said
    assert (len(data.x_train), len(data.x_test)) == (10, 2)
    both = np.concatenate((data.x_train, data.x_test))
    assert sorted(map(bytes, both)) == sorted(map(bytes, X.reshape(12, -1)))
    where = [int(np.flatnonzero((X.reshape(12, -1) == row).all(axis=1))[0]) for row in both]
    assert np.array_equal(Y[where], np.concatenate((data.y_train, data.y_test)))
    assert told(path)[0].sha256 == data.sha256


def test_an_index_is_left_out_and_a_packed_file_is_the_same(tmp_path):
    head = f",label,{PIXELS}"
    numbered = [f"{number},{line}" for number, line in enumerate(lines(X, Y))]
    one, _ = told(write_csv(tmp_path / "one.csv", head, numbered))
    packed = tmp_path / "two.csv.gz"
    packed.write_bytes(gzip.compress((tmp_path / "one.csv").read_bytes()))
    two, _ = told(packed)
    three, _ = told(write_csv(tmp_path / "three.csv", f"\ufefflabel,{PIXELS}", lines(X, Y)))
    assert one.sha256 == two.sha256 == three.sha256


def test_pixels_in_the_unit_range_stay_floats_and_many_lines_are_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_table, "LINES", 5)
    unit = np.round(X / 255, 4)
    unit[:5] = unit[:5] > 0.5  # whole numbers in the first part, but not in all
    data, _ = told(write_csv(tmp_path / "unit.csv", f"label,{PIXELS}", lines(unit, Y)))
    assert data.x_train.dtype == np.float32
    assert set(np.concatenate((data.x_train, data.x_test)).ravel()) == set(unit.astype(np.float32).ravel())
    black, _ = told(write_csv(tmp_path / "black.csv", f"label,{PIXELS}", lines((X > 127).astype(int), Y)))
    assert (black.x_train.dtype, black.x_train.max()) == (np.float32, 1)


def test_emnist_in_csv_is_turned_upright(tmp_path):
    path = write_csv(tmp_path / "emnist-balanced-train.csv", "", lines(X, Y))
    write_csv(tmp_path / "emnist-balanced-test.csv", "", lines(X_TEST, Y_TEST))
    data, (said,) = told(path)
    assert "turned upright" in said
    assert np.array_equal(data.x_train.reshape(-1, 6, 6), X.transpose(0, 2, 1))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "first line has no comma"),
        ("label;pixel0\n5;0\n", "first line has no comma"),
        ("label,pixel0,pixel1\n", "holds no images"),
        ("pixel0,pixel1\n1,2\n", "first line names no column of labels; expected one of label"),
        ("label,pixel0,pixel1\n1,2,3\n1,2\n", "only the first 0 lines consist of numbers"),
        ("label,pixel0,pixel1\ncat,2,3\n", "lines consist of numbers"),
        ("1,2,3\n1,2,3,4\n", "lines consist of numbers"),
        ("label,pixel0,pixel1\n1,2,3,4\n", "after 0 lines there are 4 columns instead of 3"),
        ("0,0.5,200.5\n" * 3 + "1,0.5,200.5\n" * 9, "pixels from 0.5 to 200.5; .*divide by 255"),
        ("0,1,nan\n" * 9 + "1,2,3\n" * 9, "NaN or infinite"),
        ("0,1,inf\n" * 9 + "1,2,3\n" * 9, "NaN or infinite"),
        ("0.5,1,200\n" * 18, "labels is float32; expected whole numbers"),
        ("1,2,3\n", "test pixels has shape .* empty"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_line(tmp_path, text, words):
    path = tmp_path / "own.csv"
    path.write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        with pytest.raises(DataError, match=words) as error:
            datasets.load(str(path))
    assert "\n" not in str(error.value)
    assert "own.csv" in str(error.value)


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        datasets.load(str(tmp_path / "none.csv"))
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="pipe.csv cannot be read: it is not a regular file"):
        datasets.load(str(tmp_path / "pipe.csv"))
    (tmp_path / "packed.csv.gz").write_bytes(gzip.compress(b"1,2,3\n" * 999)[:-9])
    with pytest.raises(DataError, match="packed.csv.gz is truncated"):
        datasets.load(str(tmp_path / "packed.csv.gz"))
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="binary.csv is not text in UTF-8"):
        datasets.load(str(tmp_path / "binary.csv"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_is_one_line_or_loads(tmp_path, data):
    content = bytearray("\n".join(lines(X, Y)).encode())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "own.csv").write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        message = ""
        try:
            datasets.load(str(tmp_path / "own.csv"))
        except DataError as error:
            message = str(error)
    assert "\n" not in message


# -- which is which ----------------------------------------------------------------------------------------------------------


def test_own_files_are_not_taken_for_cifar10(tmp_path):
    write_set(tmp_path / "raw")
    for name in ("a.npz", "a.csv", "a.CSV.gz", "t10k-labels-idx1-ubyte.gz", str(tmp_path)):
        assert not registry.in_layout_of_cifar10(name)
    assert registry.in_layout_of_cifar10("somewhere/cifar-10-batches-bin")
    with pytest.raises(InputError, match="a .csv file, IDX files"):
        datasets.load("nothing-of-the-kind")
