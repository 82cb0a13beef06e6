"""Finding, checking and importing files."""

import gzip
import hashlib
import io
import json
import os
import tracemalloc
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minicereb import paths
from minicereb.datasets import store
from minicereb.errors import DataError, InputError, MinicerebError


def states(name="tiny"):
    return {report.file.name: report.state for report in store.verify(name)}


def test_the_shipped_registry_is_complete():
    mnist = store.downloads()["mnist"]
    assert [file.bytes for file in mnist.files] == [47_040_016, 60_008, 7_840_016, 10_008]
    for file in mnist.files:
        assert len(bytes.fromhex(file.sha256)) == 32
        assert len(set(file.mirrors)) >= 2
        assert all(mirror.startswith("https://") and mirror.endswith(f"/{file.name}.gz") for mirror in file.mirrors)


ENTRY = {"title": "x", "licence": "x", "source": "x", "files": [{"name": 7, "bytes": 1, "sha256": "", "mirrors": []}]}


@pytest.mark.parametrize("text", ['{"mnist": 1}', json.dumps({"mnist": ENTRY}), "[" * 100_000, "NaN", "\xff"])
def test_a_damaged_registry_is_told(tmp_path, monkeypatch, text):
    (tmp_path / "package" / "data").mkdir(parents=True)
    (tmp_path / "package" / "data" / "registry.json").write_text(text, encoding="latin1")
    monkeypatch.setattr(store.importlib.resources, "files", lambda name: tmp_path / "package")
    store.downloads.cache_clear()
    try:
        with pytest.raises(DataError, match="data/registry.json"):
            store.downloads()
    finally:
        store.downloads.cache_clear()


def test_places_are_searched_in_the_stated_order(folder, tmp_path, monkeypatch):
    assert store.places() == [tmp_path / "data", tmp_path / "cache"]
    checkout = tmp_path / "checkout"
    (checkout / "data").mkdir(parents=True)
    (checkout / "data" / "registry.json").write_text("{}")
    monkeypatch.setattr(store, "CHECKOUT", checkout)
    monkeypatch.delenv("MINICEREB_DATA")
    assert store.places() == [checkout / "data", tmp_path / "cache"]


@pytest.mark.parametrize(
    "where",
    [
        *("data/tiny/images", "data/tiny/images.gz", "data/images", "cache/tiny/images.gz"),
        *("data/TINY/raw/images", "data/TINY/raw/images.gz", "data/raw/images.gz", "data/TINY/images"),  # as torchvision does
    ],
)
def test_a_file_is_found_plain_or_gzip_in_every_place(folder, tmp_path, contents, where):
    path = tmp_path / where
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(contents["images"]) if path.suffix else contents["images"])
    file = store.downloads()["tiny"].files[0]
    assert store.find(file) == path
    assert store.read(file) == contents["images"]


@pytest.mark.parametrize("where", ["", "mnist/", "MNIST/raw/", "raw/"])
@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images.idx3-ubyte"])
def test_mnist_is_found_under_torchvisions_and_kaggles_names(folder, tmp_path, monkeypatch, where, name, ending):
    content = b"some pixels"
    file = store.DataFile("mnist", "train-images-idx3-ubyte", len(content), hashlib.sha256(content).hexdigest(), ())
    path = tmp_path / "data" / where / (name + ending)
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(content) if ending else content)
    assert store.find(file) == path
    assert store.read(file) == content


def test_verify_tells_missing_truncated_and_altered(filled, contents):
    assert states() == {"images": "ok", "labels": "ok"}
    (filled / "images").write_bytes(contents["images"][:-1])
    assert states()["images"] == "truncated"
    (filled / "images").write_bytes(contents["images"] + b"x")
    assert states()["images"] == "altered"
    (filled / "images").unlink()
    assert states() == {"images": "missing", "labels": "ok"}
    with pytest.raises(InputError, match="tiny"):
        store.verify("strokes")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_never_passes_and_never_is_a_traceback(filled, contents, data):
    name, path = data.draw(st.sampled_from([("images", filled / "images"), ("labels", filled / "labels.gz")]))
    whole = contents["images"] if name == "images" else gzip.compress(contents["labels"])
    damaged = bytearray(whole)
    damaged[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(damaged)
    file = next(file for file in store.downloads()["tiny"].files if file.name == name)
    if states()[name] == "ok":  # a flip in gzip's header, for example in its date, does no harm
        assert store.read(file) == contents[name]
        return
    assert states()[name] in ("truncated", "altered")
    with pytest.raises(DataError) as error:
        store.read(file)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_truncated_file_is_named(filled, contents, data):
    whole = gzip.compress(contents["labels"])
    (filled / "labels.gz").write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(DataError, match="labels.gz is truncated"):
        store.read(store.downloads()["tiny"].files[1])


def test_a_gzip_bomb_is_not_unpacked(folder):
    folder.mkdir(parents=True)
    (folder / "labels.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    assert states()["labels"] == "altered"


def test_import_knows_files_by_content(folder, tmp_path, contents):
    plain, packed = tmp_path / "downloaded (1)", tmp_path / "whatever.bin"
    plain.write_bytes(contents["labels"])
    packed.write_bytes(gzip.compress(contents["images"]))
    reports = store.import_files([plain, packed])
    assert {report.file.name: report.path for report in reports} == {"labels": folder / "labels", "images": folder / "images"}
    assert states() == {"images": "ok", "labels": "ok"}
    assert sorted(path.name for path in folder.iterdir()) == ["images", "labels"]


def test_import_takes_what_it_knows_from_a_folder(folder, tmp_path, contents):
    raw = tmp_path / "raw"
    (raw / "below").mkdir(parents=True)
    (raw / "a").write_bytes(contents["labels"])
    (raw / "b.gz").write_bytes(gzip.compress(contents["images"])[:-9])
    (raw / "notes.txt").write_text("nothing")
    assert [report.file.name for report in store.import_files([raw])] == ["labels"]
    assert states() == {"images": "missing", "labels": "ok"}


def test_import_looks_into_subfolders_and_zips(folder, tmp_path, contents):
    root = tmp_path / "downloads"
    (root / "MNIST" / "raw").mkdir(parents=True)
    (root / "MNIST" / "raw" / "whatever").write_bytes(gzip.compress(contents["images"]))
    os.mkfifo(root / "a pipe")  # nobody writes to it
    (root / "loop").symlink_to(root)
    with zipfile.ZipFile(root / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("below/labels.idx", contents["labels"])
        archive.writestr("notes.txt", "nothing")
    reports = store.import_files([root])
    assert {report.file.name for report in reports} == {"images", "labels"}
    assert any(report.detail == f"imported from {root / 'archive.zip'}, below/labels.idx" for report in reports)
    assert states() == {"images": "ok", "labels": "ok"}
    assert sorted(path.name for path in folder.iterdir()) == ["images", "labels"]  # and nothing was unpacked beside them
    assert sorted(path.name for path in root.iterdir()) == ["MNIST", "a pipe", "archive.zip", "loop"]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_import_of_a_zip(folder, tmp_path, contents, ending):
    path = tmp_path / "kaggle.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(f"{name}.idx3-ubyte{ending}", gzip.compress(content) if ending else content)
        archive.writestr("../escaped", b"no")
    assert {report.file.name for report in store.import_files([path])} == {"images", "labels"}
    assert states() == {"images": "ok", "labels": "ok"}
    assert not (tmp_path / "escaped").exists()


def encrypted(path, content):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labels", content)
    raw = bytearray(path.read_bytes())
    for signature, flag in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(signature) + flag] |= 1
    path.write_bytes(raw)


def test_a_zip_that_cannot_be_used_is_one_line(folder, tmp_path, contents, monkeypatch):
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing")
    for damage in (None, slice(-30, -20), slice(30, 38)):
        if damage:
            content = bytearray(path.read_bytes())
            content[damage] = bytes(len(content[damage]))
            path.write_bytes(content)
        with pytest.raises(DataError, match="some.zip") as error:
            store.import_files([path])
        assert "\n" not in str(error.value)
    encrypted(path, contents["labels"])
    with pytest.raises(DataError, match="holds no known file .labels cannot be read: .*encrypted"):
        store.import_files([path])
    monkeypatch.setattr(store, "MOST_UNPACKED", 100)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(2):
            archive.writestr(f"{number}", bytes(len(contents["labels"])))
    with pytest.raises(DataError, match="holds too many bytes"):
        store.import_files([path])


def test_a_member_is_read_no_further_than_a_known_file_is_long(folder, tmp_path, monkeypatch):
    read = []
    identified = store._identified
    monkeypatch.setattr(store, "_identified", lambda source, known: read.append(identified(source, known)) or read[-1])
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("plain", bytes(50_000_000))
        archive.writestr("packed.gz", gzip.compress(bytes(50_000_000)))
    with pytest.raises(DataError, match="no known file"):
        store.import_files([tmp_path / "bomb.zip"])
    assert [len(content) for content, _ in read] == [10_241, 10_241]  # of the zip itself, and of the member that is gzip


def test_import_of_what_is_no_file(folder, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe cannot be read: not a regular file"):
        store.import_files([tmp_path / "pipe"])


def test_import_places_nothing_unless_all_is_known(folder, tmp_path, contents):
    good, other = tmp_path / "good", tmp_path / "other"
    good.write_bytes(contents["labels"])
    other.write_bytes(b"something else")
    with pytest.raises(DataError) as error:
        store.import_files([good, other])
    message = str(error.value)
    assert str(other) in message
    assert hashlib.sha256(b"something else").hexdigest() in message
    assert "\n" not in message
    assert all(file.sha256 in message and file.name in message for file in store.downloads()["tiny"].files)
    assert states() == {"images": "missing", "labels": "missing"}


@pytest.mark.parametrize(("content", "words"), [(None, "does not exist"), (gzip.compress(b"0" * 99, mtime=0)[:-3], "truncated")])
def test_import_names_what_cannot_be_read(folder, tmp_path, content, words):
    path = tmp_path / "given.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"given.gz .*{words}"):
        store.import_files([path])


def test_import_of_a_folder_without_known_files(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no known file"):
        store.import_files([tmp_path / "empty"])


def test_a_place_that_cannot_be_written_is_named(folder, tmp_path, contents):
    (tmp_path / "data").write_text("a file where the folder should be")
    (tmp_path / "given").write_bytes(contents["labels"])
    with pytest.raises(MinicerebError, match="cannot write"):
        store.import_files([tmp_path / "given"])


@pytest.mark.parametrize("packed", [False, True])
def test_a_small_file_takes_little_memory_whatever_the_largest_may_have(tmp_path, packed):
    content = bytes(range(256)) * 10
    (tmp_path / "small").write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    try:
        with open(tmp_path / "small", "rb") as file:
            found = store.decompressed(file, 1 << 28)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == content
    assert peak < 4 << 20


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 20, 21])
def test_a_file_is_read_no_further_than_one_byte_beyond_the_limit(monkeypatch, length):
    monkeypatch.setattr(paths, "PIECE", 10)
    content = bytes(range(length))
    assert store.decompressed(io.BytesIO(content), 10) == content[:11]
    assert store.decompressed(io.BytesIO(gzip.compress(content)), 10) == content[:11]
