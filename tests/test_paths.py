"""Only regular files are read, unwritable places are reported at once, and no link leads out of a folder."""

import errno
import os
import signal
import subprocess

import numpy as np
import pytest

from minicereb import files, paths
from minicereb.documents import iterate_json_lines, read_json
from minicereb.errors import DataError, MinicerebError


@pytest.fixture
def _impatient():
    """Make a reader that waits for a pipe fail instead of waiting for ever."""

    def give_up(*_):
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path):
    os.mkfifo(path)
    return path


def device(path):
    path.symlink_to("/dev/zero")
    return path


def folder(path):
    path.mkdir()
    return path


READERS = {
    "open_regular": paths.open_regular,
    "read_bytes": paths.read_bytes,
    "read_text": paths.read_text,
    "sha256_file": files.sha256_file,
    "read_npz": files.read_npz,
    "read_json": lambda path: read_json(path, dict),
    "json lines": lambda path: list(iterate_json_lines(path, dict)),
}


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("make", [pipe, device, folder])
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, reader, make):
    path = make(tmp_path / "it")
    with pytest.raises((OSError, DataError), match=r"(?i)regular file|is a directory|permission"):
        READERS[reader](path)


@pytest.mark.usefixtures("_impatient")
def test_a_pipe_is_no_lock_and_a_link_is_not_followed_to_make_one(tmp_path):
    assert not files.is_locked(pipe(tmp_path / "pipe"))
    (tmp_path / ".lock").symlink_to(tmp_path / "elsewhere")
    for path in ("pipe", ".lock"):
        with pytest.raises(DataError, match="not a regular file"), files.file_lock(tmp_path / path, "it"):
            pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", ["n" * 251 + ".npz", "ä" * 125 + ".npz"])
def test_a_name_as_long_as_can_be_is_written(tmp_path, name):
    files.write_npz(tmp_path / name, {"x": np.arange(3)})
    paths.check_file(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    with files.atomic_folder(tmp_path / name[:-4]):
        pass


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("n" * 256, "file name too long"),
        ("new/" + "n" * 256 + "/file", "file name too long"),
        ("there/file", "not a directory"),
        ("", "is a directory"),
        ("nul\0", "null"),
    ],
)
def test_where_nothing_can_be_written_is_told(tmp_path, place, why):
    (tmp_path / "there").touch()
    with pytest.raises(MinicerebError, match=f"cannot write .*: .*{why}"):
        paths.check_file(tmp_path / place)
    if place:
        with pytest.raises(MinicerebError, match=f"cannot write into .*: .*{why}"):
            paths.check_folder(tmp_path / place)
    assert os.listdir(tmp_path) == ["there"]


def test_where_it_can_nothing_is_left_behind(tmp_path):
    paths.check_file(tmp_path / "a" / "b" / "file")
    paths.check_folder(tmp_path / "a" / "b")
    assert not os.listdir(tmp_path)


def test_a_disk_that_takes_nothing_is_told(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(paths.tempfile, "TemporaryFile", full)
    with pytest.raises(MinicerebError, match="read-only file system"):
        paths.check_file(tmp_path / "file")


def test_the_way_within_a_folder_leads_through_no_link(tmp_path):
    assert paths.beneath(tmp_path, "attacks", "1.json") == tmp_path / "attacks" / "1.json"
    (tmp_path / "attacks").symlink_to(tmp_path.parent)
    with pytest.raises(DataError, match="attacks is a symbolic link"):
        paths.beneath(tmp_path, "attacks", "1.json")


def test_standard_input_is_no_file(tmp_path):
    """``/dev/stdin`` of a command in a pipe is a pipe."""
    code = "from minicereb.files import read_npz; read_npz('/dev/stdin')"
    import sys

    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.PIPE, capture_output=True, timeout=60, check=False)
    assert b"not a regular file" in done.stderr
