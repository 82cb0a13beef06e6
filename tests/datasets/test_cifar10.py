"""CIFAR-10's archive, hostile and broken ones, and folders of the same layout."""

import gzip
import io
import tarfile
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minicereb import datasets
from minicereb.datasets import cifar10, download, store
from minicereb.errors import DataError, DataWarning, MinicerebError

IMAGES = 5  # in each file of the small archives


def contents(images=IMAGES, seed=0):
    """Content of each of the six files, by name."""
    rng = np.random.default_rng(seed)
    records = rng.integers(0, 256, (len(cifar10.FILES), images, cifar10.RECORD), dtype=np.uint8)
    records[:, :, 0] = np.arange(records[:, :, 0].size).reshape(-1, images) % 10  # every class is there
    return {name: each.tobytes() for name, each in zip(cifar10.FILES, records, strict=True)}


def member(name, content=b"", size=None, kind=tarfile.REGTYPE, link=""):
    """Header and content of a member; `size` is what the header says, if not the truth."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content) if size is None else size, kind, link
    return info.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % 512)


def regular():
    """The members of a good archive, in the order of the official one."""
    files = contents()
    folder, last = cifar10.FOLDER, files.pop("data_batch_2.bin")
    return [
        member(folder, kind=tarfile.DIRTYPE),
        *(member(f"{folder}/{name}", content) for name, content in files.items()),
        member(f"{folder}/readme.html", b"a note"),
        member(f"{folder}/batches.meta.txt", b"airplane\n"),
        member(f"{folder}/data_batch_2.bin", last),
    ]


def packed(members):
    return gzip.compress(b"".join(members) + bytes(1024), compresslevel=1, mtime=0)


def registered(monkeypatch, archive):
    """Make `archive` what the registry calls CIFAR-10."""
    name = "cifar-10-binary.tar.gz"
    file = store.DataFile("cifar10", name, len(archive), store.sha256(archive), (f"http://127.0.0.1:9/{name}",), archive=True)
    registry = store.downloads() | {"cifar10": store.Download("cifar10", "a small one", "none", "here", (file,))}
    monkeypatch.setattr(store, "downloads", lambda: registry)
    monkeypatch.setattr(cifar10, "IMAGES", IMAGES)
    return file


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The only place that is searched."""
    monkeypatch.setattr(store, "places", lambda: [tmp_path / "data"])
    return tmp_path / "data"


@pytest.fixture
def archive(place, monkeypatch):
    """A small archive that the registry knows and that is here."""
    content = packed(regular())
    file = registered(monkeypatch, content)
    store.place_file(file, content, "")
    return place / "cifar10" / file.name


def everything(folder):
    """Paths, kinds and contents of all below a folder."""
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def unpacked(folder, files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


# -- the archive -------------------------------------------------------------------------------------------------------------


def test_every_pixel_is_where_it_belongs(archive):
    loaded = datasets.load("cifar10")
    assert (loaded.name, loaded.image_shape, loaded.classes) == ("cifar10", (32, 32, 3), 10)
    assert (loaded.x_train.shape, loaded.x_train.dtype) == ((5 * IMAGES, 3072), np.uint8)
    assert (loaded.x_test.shape, loaded.y_test.dtype) == ((IMAGES, 3072), np.int64)
    x, y = np.concatenate((loaded.x_train, loaded.x_test)), np.concatenate((loaded.y_train, loaded.y_test))
    records = b"".join(contents().values())
    assert [records[image * cifar10.RECORD] for image in range(6 * IMAGES)] == y.tolist()
    images = x.reshape(-1, 32, 32, 3)
    for image, row, column, channel in np.random.default_rng(0).integers(0, (6 * IMAGES, 32, 32, 3), (3000, 4)):
        assert images[image, row, column, channel] == records[image * cifar10.RECORD + 1 + channel * 1024 + row * 32 + column]


def test_the_shipped_registry_names_the_official_archive():
    (file,) = store.downloads()["cifar10"].files
    assert (file.name, file.bytes, file.archive) == ("cifar-10-binary.tar.gz", 170_052_171, True)
    assert len(bytes.fromhex(file.sha256)) == 32
    assert all(mirror.startswith("https://") and mirror.endswith(file.name) for mirror in file.mirrors)


@pytest.mark.parametrize(
    ("damage", "state"),
    [
        (lambda whole: whole[:-9], "truncated"),
        (lambda whole: whole + b"x", "altered"),
        (lambda whole: gzip.compress(gzip.decompress(whole), compresslevel=1, mtime=1), "altered"),
        (lambda whole: whole[:900] + bytes([whole[900] ^ 1]) + whole[901:], "altered"),
        (lambda whole: b"", "truncated"),
    ],
)
def test_what_is_not_the_archive_byte_by_byte_is_refused(archive, damage, state):
    archive.write_bytes(damage(archive.read_bytes()))
    assert [report.state for report in store.verify("cifar10")] == [state]
    with pytest.raises(DataError, match=f"cifar-10-binary.tar.gz is {state}") as error:
        datasets.load("cifar10")
    assert "\n" not in str(error.value)


def changed(**replaced):
    """The members with one of them replaced, put before all others (`first`) or behind (`last`), or left out (None)."""
    members = regular()
    if "first" in replaced:
        members.insert(0, replaced["first"])
    if "last" in replaced:
        members.append(replaced["last"])
    if "second" in replaced:
        members[1:2] = [] if replaced["second"] is None else [replaced["second"]]
    return members


FIRST = f"{cifar10.FOLDER}/data_batch_1.bin"
WHOLE = IMAGES * cifar10.RECORD
HOSTILE = {
    "an absolute path": (changed(last=member("/tmp/data_batch_1.bin", b"x")), "'/tmp/data_batch_1.bin', which does not belong"),
    "a path upwards": (changed(last=member("../data_batch_1.bin", b"x")), "'../data_batch_1.bin', which does not belong"),
    "upwards from within": (changed(last=member(f"{cifar10.FOLDER}/../../x", b"x")), "which does not belong"),
    "a symbolic link": (changed(second=member(FIRST, kind=tarfile.SYMTYPE, link="/etc/passwd")), "data_batch_1.bin', which"),
    "a hard link": (changed(second=member(FIRST, kind=tarfile.LNKTYPE, link="/etc/passwd")), "data_batch_1.bin', which"),
    "a device": (changed(second=member(FIRST, kind=tarfile.CHRTYPE)), "data_batch_1.bin', which"),
    "a pipe": (changed(second=member(FIRST, kind=tarfile.FIFOTYPE)), "data_batch_1.bin', which"),
    "a folder for a file": (changed(second=member(FIRST, kind=tarfile.DIRTYPE)), "data_batch_1.bin', which"),
    "the folder as a link": (changed(first=member(cifar10.FOLDER, kind=tarfile.SYMTYPE, link="/")), "which does not belong"),
    "a huge member": (changed(second=member(FIRST, size=1 << 40)), "has 1099511627776 bytes; expected 15365"),
    "a huge note": (changed(first=member(f"{cifar10.FOLDER}/readme.html", size=1 << 40)), "expected at most 65536"),
    "a short member": (changed(second=member(FIRST, bytes(WHOLE - 1))), "has 15364 bytes; expected 15365"),
    "a member twice": (changed(last=member(FIRST, bytes(WHOLE))), "data_batch_1.bin', which"),
    "another file": (changed(last=member(f"{cifar10.FOLDER}/data_batch_6.bin", bytes(WHOLE))), "data_batch_6.bin', which"),
    "a pickle": (changed(last=member("cifar-10-batches-py/data_batch_1", b"cos\n")), "which does not belong"),
    "a name of two lines": (changed(last=member("two\nlines")), r"two\\nlines', which"),
    "a file less": (changed(second=None), "lacks cifar-10-batches-bin/data_batch_1.bin"),
    "a label": (changed(second=member(FIRST, b"\x0a" * WHOLE)), "data_batch_1.bin holds the label 10; expected 0 to 9"),
    "nothing": ([], "lacks"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_archive_that_holds_anything_else_is_refused_although_its_hash_is_right(case, place, tmp_path, monkeypatch):
    members, words = HOSTILE[case]
    content = packed(members)
    store.place_file(registered(monkeypatch, content), content, "")
    before = everything(tmp_path)
    with pytest.raises(DataError, match=words) as error:
        datasets.load("cifar10")
    assert "\n" not in str(error.value)
    assert "cifar-10-binary.tar.gz" in str(error.value)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"no archive", mtime=0), packed(regular())[:-2000]])
def test_what_cannot_be_unpacked_is_one_line(content):
    with pytest.raises(DataError, match="it (cannot be unpacked|lacks)") as error:
        list(cifar10.archived(content, "it", IMAGES))
    assert "\n" not in str(error.value)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1, max_size=4), st.booleans())
def test_damage_anywhere_is_one_line_or_leaves_six_files_of_the_right_size(flips, in_a_header):
    content = bytearray(b"".join(regular()) + bytes(1024))
    for at, bits in flips:
        content[at % 512 if in_a_header else at % len(content)] ^= bits
    try:
        found = dict(cifar10.archived(gzip.compress(bytes(content), 1), "it", IMAGES))
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert {name: len(each) for name, each in found.items()} == dict.fromkeys(cifar10.FILES, WHOLE)


# -- how it comes here -------------------------------------------------------------------------------------------------------


def answering(monkeypatch, content):
    """Let every download bring `content`."""
    import pooch

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", lambda self, url, output, pooch: output.write(content))


def test_it_is_fetched_as_it_is_and_only_if_it_is_the_right_one(place, monkeypatch):
    content = packed(regular())
    registered(monkeypatch, content)
    answering(monkeypatch, content[:-1] + b"x")
    with pytest.raises(MinicerebError, match="another SHA-256.*data import") as error:
        download.fetch("cifar10", backoff=0)
    assert "\n" not in str(error.value)
    assert not place.exists()
    answering(monkeypatch, content)
    (report,) = download.fetch("cifar10", backoff=0)
    assert report.path == place / "cifar10" / "cifar-10-binary.tar.gz"
    assert everything(place) == {report.path.parent: None, report.path: content}
    assert [report.state for report in store.verify("cifar10")] == ["ok"]


def test_it_is_imported_under_any_name_beside_files_of_other_kinds(place, tmp_path, monkeypatch):
    content = packed(regular())
    registered(monkeypatch, content)
    raw = unpacked(tmp_path / "raw", {"download (1)": content, "notes": b"nothing"})
    (report,) = store.import_files([raw])
    assert report.path.read_bytes() == content
    (raw / "another").write_bytes(gzip.compress(zlib.decompress(content, 31), mtime=9))
    with pytest.raises(DataError, match="another is not a known file"):
        store.import_files([raw / "another"])
    (raw / "another").write_bytes(content[:-20])
    with pytest.raises(DataError, match="another is truncated or altered"):
        store.import_files([raw / "another"])


# -- folders -----------------------------------------------------------------------------------------------------------------


def test_a_folder_is_named_by_its_path_and_counts_by_its_content(archive, tmp_path):
    official = datasets.load("cifar10")
    same, other = (unpacked(tmp_path / str(seed) / cifar10.FOLDER, contents(seed=seed)) for seed in (0, 1))
    loaded = datasets.load(str(same))
    assert loaded.name == str(same)
    assert loaded.sha256 == official.sha256
    assert datasets.load(other).sha256 != official.sha256


@pytest.mark.parametrize("where", ["cifar10", f"cifar10/{cifar10.FOLDER}", cifar10.FOLDER, "."])
def test_a_folder_never_passes_as_the_official_data(where, place, tmp_path, monkeypatch):
    registered(monkeypatch, packed(regular()))
    unpacked(place / where, contents(seed=1))
    monkeypatch.chdir(place.parent)
    unpacked(tmp_path / "cifar10", contents(seed=1))  # of that very name, in the current folder
    with pytest.raises(DataError, match="cifar10 is not on this machine.*data fetch cifar10"):
        datasets.load("cifar10")
    assert [report.state for report in store.verify("cifar10")] == ["missing"]
    assert datasets.load("./cifar10").name == str(tmp_path / "cifar10")


def test_an_archive_of_other_images_never_passes_as_the_official_one(archive):
    members = regular()
    members[1] = member(FIRST, contents(seed=1)["data_batch_1.bin"])
    archive.write_bytes(packed(members))
    with pytest.raises(DataError, match="is (altered|truncated)"):
        datasets.load("cifar10")


BROKEN = {
    "a file less": ({"data_batch_3.bin": None}, "lacks data_batch_3.bin; expected the six files"),
    "half a record": ({"data_batch_1.bin": bytes(WHOLE - 1)}, "data_batch_1.bin has 15364 bytes; expected records of 3073"),
    "no record": (dict.fromkeys(cifar10.FILES, b""), "has 0 bytes"),
    "a file cut short": ({"test_batch.bin": bytes(WHOLE - 3073)}, "test_batch.bin has 12292 bytes, data_batch_1.bin 15365"),
    "a label": ({"data_batch_5.bin": b"\xff" * WHOLE}, "data_batch_5.bin holds the label 255; expected 0 to 9"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_folder_that_is_not_whole_is_refused(case, tmp_path):
    replaced, words = BROKEN[case]
    files = {name: content for name, content in (contents() | replaced).items() if content is not None}
    folder = unpacked(tmp_path / "mine", files)
    with pytest.raises(DataError, match=words) as error:
        datasets.load(folder)
    assert "\n" not in str(error.value)


def test_what_is_no_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        datasets.load(tmp_path / cifar10.FOLDER)
    (unpacked(tmp_path / "mine", contents()) / "test_batch.bin").unlink()
    (tmp_path / "mine" / "test_batch.bin").mkdir()
    with pytest.raises(DataError, match="lacks test_batch.bin"):
        datasets.load(tmp_path / "mine")


def test_no_copy_of_all_pixels_is_made(tmp_path):
    folder = unpacked(tmp_path / "mine", contents(images=500))
    pixels, file = 6 * 500 * cifar10.PIXELS, 500 * cifar10.RECORD
    tracemalloc.start()
    loaded = datasets.load(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(loaded.x_train) == 2500
    assert peak < pixels + 2.5 * file


def test_an_archive_is_read_one_file_at_a_time():
    stream = cifar10.archived(packed(regular()), "it", IMAGES)
    assert io.BytesIO(next(stream)[1]).getbuffer().nbytes == WHOLE
    stream.close()


def test_real_cifar10():
    if any(store.find(file) is None for file in store.download_of("cifar10").files):
        pytest.skip("CIFAR-10 is not on this machine: minicereb data fetch cifar10, or set MINICEREB_DATA")
    data = cifar10.load()
    assert (data.x_train.shape, data.x_test.shape) == ((50_000, 3072), (10_000, 3072))
    assert list(data.y_train[:5]) == [6, 9, 9, 4, 1]
    assert list(data.y_test[:5]) == [3, 8, 8, 0, 6]
    assert [list(np.bincount(y)) for y in (data.y_train, data.y_test)] == [[5000] * 10, [1000] * 10]
    assert np.abs(data.channel_statistics[0] - (0.4914, 0.4822, 0.4465)).max() < 1e-4  # the means that every tutorial subtracts


def test_a_folder_in_which_a_class_is_absent_is_told(tmp_path):
    files = {name: bytes(cifar10.RECORD) + bytes([9]) + bytes(cifar10.RECORD - 1) for name in cifar10.FILES}
    with pytest.warns(DataWarning, match="classes 1, 2, 3, 4, 5, 6, 7, 8 have no training image.*chance is 1/2, not 1/10"):
        datasets.load(str(unpacked(tmp_path / "own", files)))
