"""Files appear whole or not at all, and damage is noticed."""

import errno
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import time
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minicereb import files, paths
from minicereb.errors import DataError, InUseError, MinicerebError, RunError

with_files = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

# -- writing -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def old(tmp_path):
    """An existing file; afterwards the folder may contain only files with this name."""
    path = tmp_path / "model.npz"
    path.write_bytes(b"old")
    yield path
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.npz"]


def test_a_file_appears_whole_at_the_end(old):
    with files.atomic_write(old) as file:
        file.write(b"new")
        assert old.read_bytes() == b"old"
    assert old.read_bytes() == b"new"


def write_half(path, error):
    with files.atomic_write(path) as file:
        file.write(b"half of the n")
        raise error


@pytest.mark.parametrize("error", [ValueError("stop"), KeyboardInterrupt("stop"), MinicerebError("stop"), MemoryError("stop")])
def test_an_exception_leaves_the_old_file_and_nothing_else(old, error):
    with pytest.raises(type(error), match="stop"):
        write_half(old, error)
    assert old.read_bytes() == b"old"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_says_so(old, monkeypatch, call):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(MinicerebError, match="model.npz: no space left on the device; nothing was changed"):
        files.write_npz(old, {"x": np.arange(3)})
    monkeypatch.undo()
    assert old.read_bytes() == b"old"


def test_a_disk_that_fills_up_while_writing_leaves_the_old_file(old):
    with pytest.raises(MinicerebError, match="no space left"):
        write_half(old, OSError(errno.ENOSPC, "No space left on device"))
    assert old.read_bytes() == b"old"


def test_a_place_that_cannot_be_written_is_named(old):
    with pytest.raises(MinicerebError, match="cannot write .*beneath"), files.atomic_write(old / "beneath"):
        pass
    with pytest.raises(MinicerebError, match="cannot write"), files.atomic_write(old.parent):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system")
@pytest.mark.parametrize("name", ["pipe", "link to it"])
def test_a_pipe_is_not_replaced(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    os.symlink("pipe", tmp_path / "link to it")
    path = tmp_path / name
    for attempt in (lambda: files.write_json(path, {}), lambda: paths.check_file(path)):
        with pytest.raises(MinicerebError, match="cannot write .*: not a regular file"):
            attempt()
    assert stat.S_ISFIFO(os.stat(path).st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link to it", "pipe"]


def test_folders_are_made_and_permissions_are_the_users(tmp_path):
    path = tmp_path / "a" / "b" / "notes.json"
    files.write_json(path, {"a": [1, None]})
    assert json.loads(path.read_text()) == json.loads(path.read_text()) == {"a": [1, None]}
    plain = tmp_path / "plain"
    plain.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    def fill(names):
        with files.atomic_folder(tmp_path / "new") as part:
            for name in names:
                (part / name).touch()
                assert not (tmp_path / "new" / name).exists()

    with pytest.raises(TypeError):
        fill(["one", 2])
    assert list(tmp_path.iterdir()) == []
    fill(["one"])
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "one"]
    with pytest.raises(MinicerebError, match="nothing was changed"):
        fill(["two"])
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "one"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}])
def test_what_json_cannot_hold_is_not_written(tmp_path, value):
    with pytest.raises((MinicerebError, TypeError)):
        files.write_json(tmp_path / "notes.json", value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("-inf"), float("nan"), "half of \ud83d"])
def test_what_cannot_be_written_is_named_in_one_line(tmp_path, value):
    with pytest.raises(MinicerebError, match=r"notes.json: layers.1.variance is .*; nothing was changed"):
        files.write_json(tmp_path / "notes.json", {"layers": [{"variance": 1.0}, {"variance": value}]})


# -- hashes ------------------------------------------------------------------------------------------------------------------


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path):
    content = bytes(range(256)) * 10_000
    (tmp_path / "file").write_bytes(content)
    assert files.sha256_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


def test_the_hash_of_arrays_sees_type_shape_value_and_order_but_not_layout():
    x = np.arange(6, dtype=np.int32).reshape(2, 3)
    others = [x.ravel(), x.T, x + 1, x.astype(np.int64), x.view(np.float32), x[:0], np.zeros(())]
    hashes = {files.sha256_arrays(array) for array in [x, *others]}
    assert len(hashes) == 1 + len(others)
    assert files.sha256_arrays(np.asfortranarray(x)) == files.sha256_arrays(x)
    assert files.sha256_arrays(x, x.T) != files.sha256_arrays(x.T, x)


def test_canonical_json_is_equal_for_equal_values():
    one, other = files.canonical_json({"b": 1, "a": [0.1, "µ"]}), files.canonical_json({"a": [0.1, "µ"], "b": 1})
    assert one == other == '{"a":[0.1,"µ"],"b":1}'
    with pytest.raises(ValueError, match="JSON"):
        files.canonical_json(float("nan"))


# -- npz ---------------------------------------------------------------------------------------------------------------------

# One array is larger than what zipfile reads at once: it hands out the beginning before it has checked the end.
ARRAYS = {"readout": np.arange(3000, dtype=np.float32).reshape(2, 1500), "ids": np.array([-1, 1 << 40]), "step": np.array(7)}


def same(read, arrays):
    return read.keys() == arrays.keys() and all(
        read[name].dtype == array.dtype and np.array_equal(read[name], array) for name, array in arrays.items()
    )


@pytest.fixture
def npz(tmp_path):
    path = tmp_path / "arrays.npz"
    files.write_npz(path, ARRAYS)
    return path


def test_arrays_come_back(npz):
    assert same(files.read_npz(npz), ARRAYS)


def test_equal_arrays_give_equal_bytes_whenever_they_are_written(npz, monkeypatch):
    first = npz.read_bytes()
    monkeypatch.setattr(time, "time", lambda: 2e9)
    files.write_npz(npz, {name: array.copy() for name, array in ARRAYS.items()})
    assert npz.read_bytes() == first


@pytest.mark.parametrize("platform", ["linux", "win32"])
def test_the_bytes_of_an_npz_are_pinned_for_every_python_numpy_and_system(tmp_path, monkeypatch, platform):
    """Python 3.11.4 to 3.13 write this with ``np.savez``, so that older models can be trained again to the same SHA-256."""
    monkeypatch.setattr(sys, "platform", platform)
    small = {"now/weight_0": np.arange(6, dtype="<f4").reshape(2, 3), "state": np.array("ε"), "µ": np.zeros((0, 2), dtype="<i8")}
    files.write_npz(tmp_path / "small.npz", small)
    assert files.sha256_file(tmp_path / "small.npz") == "9abe81279bdc6b506b9dcc8ccf25adb6f3c1de334b450134e70f6484ef3e7a17"
    assert same(files.read_npz(tmp_path / "small.npz"), small)
    for entry in zipfile.ZipFile(tmp_path / "small.npz").infolist():
        assert (entry.create_system, entry.extract_version, entry.date_time[0]) == (3, 45, 1980)


def test_equal_arrays_give_equal_bytes_whatever_their_layout(npz):
    first = npz.read_bytes()
    files.write_npz(npz, {**ARRAYS, "readout": np.asfortranarray(ARRAYS["readout"])})
    assert npz.read_bytes() == first


def test_what_numpy_wrote_under_an_older_python_is_read(npz):
    """Python 3.10 leaves the sizes in the fixed fields of the header."""
    content, readout = bytearray(npz.read_bytes()), ARRAYS["readout"]
    length = len(_npy(readout))
    content[4:6], content[18:26] = (20).to_bytes(2, "little"), length.to_bytes(4, "little") * 2
    npz.write_bytes(content)
    assert same(files.read_npz(npz), ARRAYS)


def _npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_a_truncated_npz_is_an_error_wherever_it_ends(npz):
    content = npz.read_bytes()
    for length in (*range(300), *range(300, 12_000, 197), *range(12_000, len(content))):
        npz.write_bytes(content[:length])
        with pytest.raises(DataError, match="arrays.npz"):
            files.read_npz(npz)


def damage(npz, content, place, value):
    """Return the result of reading after one byte was changed: an error, the same arrays, other ones, or a traceback."""
    altered = bytearray(content)
    altered[place] = value
    npz.write_bytes(altered)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy takes some headers for those of Python 2
        try:
            return "same" if same(files.read_npz(npz), ARRAYS) else "other arrays"
        except DataError:
            return "error"
        except Exception as error:
            return type(error).__name__


def test_a_flipped_bit_in_any_byte_is_an_error_or_does_no_harm(npz):
    content = npz.read_bytes()
    values = range(content.index(ARRAYS["readout"].tobytes()), 12_000)
    places = set(range(len(content))) - set(values) | set(values[::97])
    flips = [(place, bit % 8) for place in places for bit in (place, place + 3)]
    results = {(place, bit): damage(npz, content, place, content[place] ^ (1 << bit)) for place, bit in flips}
    assert {flip: result for flip, result in results.items() if result not in ("error", "same")} == {}
    assert list(results.values()).count("error") > len(results) / 2


@with_files
@given(st.data())
def test_an_altered_byte_is_an_error_or_does_no_harm(npz, data):
    files.write_npz(npz, ARRAYS)
    content = npz.read_bytes()
    place, value = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 255))
    assert damage(npz, content, place, value) in ("error", "same")


@pytest.mark.parametrize("header", ["'<f4'→'<f2'", "(2, 1500)→(2, 1400)", "(2, 1500)→(1, 1500)", "(2, 1500)→(2, 1501)"])
def test_a_header_that_claims_more_or_less_than_there_is_is_an_error(npz, header):
    before, after = header.encode().split("→".encode())
    content = npz.read_bytes()
    assert before in content
    npz.write_bytes(content.replace(before, after))
    with pytest.raises(DataError, match="arrays.npz"):
        files.read_npz(npz)


def test_an_archive_that_lost_an_entry_is_an_error(npz):
    """One bit in the directory can turn the entries behind it into a comment."""
    content = bytearray(npz.read_bytes())
    first_entry = content.index(b"PK\x01\x02")
    second_entry = content.index(b"PK\x01\x02", first_entry + 1)
    end = content.index(b"PK\x05\x06")
    content[first_entry + 32 : first_entry + 34] = (end - second_entry).to_bytes(2, "little")
    npz.write_bytes(content)
    with pytest.raises(DataError, match="arrays.npz"):
        files.read_npz(npz)


@pytest.mark.parametrize("kind", ["text", "nothing", "npy", "pickle", "folder", "missing"])
def test_what_is_no_npz_is_an_error_that_names_the_file(tmp_path, kind):
    path = tmp_path / "arrays.npz"
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        with open(path, "wb") as file:
            if kind == "npy":
                np.save(file, np.arange(3))
            elif kind == "pickle":
                np.array([None]).dump(file)
            elif kind == "text":
                file.write(b"hello")
    with pytest.raises(DataError, match="arrays.npz"):
        files.read_npz(path)


def test_objects_are_never_unpickled(tmp_path):
    np.savez(tmp_path / "arrays.npz", fine=np.arange(3), objects=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="arrays.npz"):
        files.read_npz(tmp_path / "arrays.npz")


def npz_of(path, *entries, compress=zipfile.ZIP_STORED):
    """Write an archive of names and bytes with correct checksums."""
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, content in entries:
            archive.writestr(name, content)


def npy(header, data=b""):
    text = header.encode() if isinstance(header, str) else f"{header!r}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def header(shape, descr="<f4"):
    return {"descr": descr, "fortran_order": False, "shape": shape}


@pytest.mark.parametrize(
    "content",
    [
        npy(header((2**40, 2**20))),
        npy(header((2**62, 2**62, 2**62))),
        npy(header((2**70,))),
        npy(header((-1,)), b"1234"),
        npy(header((-1, -1)), b"1234"),
        npy(header((3,)), b"12345678"),
        npy(header((1,)), b"12345678"),
        npy(header((1,), "|O"), b"12345678"),
        npy(header((1,), [("a", "<f4")]), b"1234"),
        npy(header((1,), "<U1"), b"\xff\xff\xff\x7f"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': " + "(" * 3000 + ")" * 3000 + "}\n"),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,\n"),
        npy("[1, 2]\n"),
        b"\x93NUMPY\x09\x00",
        b"no array",
    ],
)
def test_a_header_is_not_believed_though_every_sum_matches(tmp_path, content):
    """Nothing is allocated by what a header claims: the first would be an exabyte."""
    npz_of(tmp_path / "arrays.npz", ("fine.npy", npy(header((1,)), b"1234")), ("x.npy", content))
    with pytest.raises(DataError, match="arrays.npz") as caught:
        files.read_npz(tmp_path / "arrays.npz")
    assert len(str(caught.value).splitlines()) == 1


def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path, monkeypatch):
    content = npy(header((1 << 20,), "|u1"), bytes(1 << 20))
    npz_of(tmp_path / "arrays.npz", ("x.npy", content), compress=zipfile.ZIP_DEFLATED)
    assert files.read_npz(tmp_path / "arrays.npz")["x"].shape == (1 << 20,)  # so small a one does no harm
    monkeypatch.setattr(files, "UNSUSPICIOUS", 1000)
    with pytest.raises(DataError, match="compression ratio"):
        files.read_npz(tmp_path / "arrays.npz")


@pytest.mark.parametrize("compress", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_that_numpy_does_not_write_is_refused(tmp_path, compress):
    npz_of(tmp_path / "arrays.npz", ("x.npy", npy(header((1,)), b"1234")), compress=compress)
    with pytest.raises(DataError, match="arrays.npz"):
        files.read_npz(tmp_path / "arrays.npz")


DECLARED = {"x": (np.float32, ("n", "d")), "y": (np.int64, ("n",)), "name": ("U", ()), "w": (np.float32, ("n", "..."))}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"x": None}, "the array x is missing"),
        ({"x": np.zeros((3, 2))}, r"the array x is float64 \(3, 2\); expected .*float32"),
        ({"x": np.zeros(3, dtype=np.float32)}, r"the array x is float32 \(3,\)"),
        ({"y": np.zeros(4, dtype=np.int64)}, r"the array y is int64 \(4,\); expected .* \(3\)"),
        ({"name": np.zeros((), dtype=np.int64)}, "the array name is int64"),
        ({"name": np.array(["a", "b"])}, "the array name is"),
        ({"w": np.zeros((4, 2, 2), dtype=np.float32)}, "the array w is"),
    ],
)
def test_what_is_not_declared_is_named_before_it_is_read(tmp_path, changed, said):
    arrays = {"x": np.zeros((3, 2), dtype=np.float32), "y": np.arange(3), "name": np.array("a")}
    arrays["w"] = np.zeros((3, 2, 2), dtype=np.float32)
    files.write_npz(tmp_path / "arrays.npz", arrays | {"later": np.arange(2)})
    assert same(files.read_npz(tmp_path / "arrays.npz", DECLARED), arrays)
    assert set(files.read_npz(tmp_path / "arrays.npz", {**DECLARED, "gone": (np.int64, ())}, optional=("gone",))) == set(arrays)
    files.write_npz(tmp_path / "arrays.npz", {name: each for name, each in (arrays | changed).items() if each is not None})
    with pytest.raises(DataError, match=f"arrays.npz .*{said}"):
        files.read_npz(tmp_path / "arrays.npz", DECLARED)


# -- lock --------------------------------------------------------------------------------------------------------------------

HOLD = """
import sys
from minicereb.files import folder_lock
with folder_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Start another process that locks the folder until its input ends."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline().strip() == b"held"
        yield process
        process.kill()


def test_a_folder_has_one_holder(tmp_path, holder):
    with pytest.raises(RunError, match="in use by another process"), files.folder_lock(tmp_path):
        pass
    holder.communicate(b"")
    with files.folder_lock(tmp_path):
        pass


def test_a_file_system_without_locks_is_named_and_not_taken_for_another_process(tmp_path, monkeypatch):
    def fails(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files, "_lock", fails)
    with pytest.raises(MinicerebError, match="cannot lock .*: no locks available") as caught, files.folder_lock(tmp_path):
        pass
    assert not isinstance(caught.value, InUseError)


def test_a_killed_process_holds_nothing(tmp_path, holder):
    with pytest.raises(RunError), files.folder_lock(tmp_path):  # it does hold the folder while it lives
        pass
    holder.kill()
    holder.wait()
    with files.folder_lock(tmp_path):
        assert (tmp_path / ".lock").exists()


def test_a_folder_is_free_again_after_an_exception_and_held_against_its_own_process(tmp_path):
    def fail_inside():
        with files.folder_lock(tmp_path / "run"):
            with pytest.raises(RunError), files.folder_lock(tmp_path / "run"):
                pass
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        fail_inside()
    with files.folder_lock(tmp_path / "run"):
        assert (tmp_path / "run").is_dir()


def test_a_member_of_an_npz_that_is_no_array_is_told(tmp_path):
    np.savez(tmp_path / "x.npz", one=np.zeros(3))
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.writestr("two.npy", b"nothing of the kind")
    with pytest.raises(DataError, match="x.npz is damaged .*two is not an array"):
        files.read_npz(tmp_path / "x.npz")


def test_ctrl_c_while_a_temporary_file_or_folder_is_made_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(make):
        def call(*arguments, **options):
            made = make(*arguments, **options)
            if made is not None:
                made.close()
            raise KeyboardInterrupt

        return call

    monkeypatch.setattr(files, "open", interrupted(open), raising=False)
    with pytest.raises(KeyboardInterrupt), files.atomic_write(tmp_path / "new"):
        pass
    monkeypatch.setattr(files.Path, "mkdir", interrupted(files.Path.mkdir))
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(tmp_path / "folder"):
        pass
    assert list(tmp_path.iterdir()) == []
