"""Downloads from a server of our own, with mirrors that fail in every way."""

import gzip
import http.server
import threading

import pytest

from minicereb.datasets import download, store
from minicereb.errors import DataError, InputError, MinicerebError


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers /KIND/NAME.gz; the kind says how it misbehaves."""

    contents: dict[str, bytes] = {}
    asked: list[str] = []

    def do_GET(self):
        kind, name = self.path.strip("/").split("/")
        self.asked.append(kind)
        packed = gzip.compress(self.contents[name.removesuffix(".gz")])
        if kind == "absent" or (kind == "flaky" and self.asked.count("flaky") < 3):
            self.send_error(404 if kind == "absent" else 503)
            return
        body = {
            "truncated": packed[: len(packed) // 2],
            "hangs_up": packed[: len(packed) // 2],
            "another": gzip.compress(b"another content"),
            "page": b"<html>sign in</html>",
            "unpacked": self.contents[name.removesuffix(".gz")],
        }.get(kind, packed)
        self.send_response(200)
        self.send_header("Content-Length", str(len(packed) if kind == "hangs_up" else len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(contents, monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Handler, "contents", contents)
    monkeypatch.setattr(Handler, "asked", [])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.fixture
def mirrors(folder, server):
    """Sets the mirrors of both files of tiny, by their kind."""

    def set_mirrors(*kinds, only=None):
        tiny = store.downloads()["tiny"]
        files = tuple(
            file._replace(mirrors=tuple(f"{server}/{kind}/{file.name}.gz" for kind in kinds))
            if only in (None, file.name)
            else file
            for file in tiny.files
        )
        store.downloads()["tiny"] = tiny._replace(files=files)

    return set_mirrors


def test_the_third_mirror_is_good(mirrors, folder, contents):
    mirrors("absent", "truncated", "good")
    reports = download.fetch("tiny", backoff=0)
    assert [report.state for report in reports] == ["ok", "ok"]
    assert all("/good/" in report.detail for report in reports)
    assert Handler.asked == ["absent", "truncated", "good"] * 2
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == contents
    assert [report.state for report in store.verify("tiny")] == ["ok", "ok"]


def test_what_is_here_is_not_fetched_again(mirrors, filled):
    mirrors("absent")
    assert [report.detail for report in download.fetch("tiny")] == ["already here", "already here"]
    assert Handler.asked == []


def test_a_damaged_file_is_replaced(mirrors, filled, contents):
    mirrors("good")
    (filled / "labels.gz").write_bytes(b"\x1f\x8bdamaged")
    download.fetch("tiny", backoff=0)
    assert Handler.asked == ["good"]
    assert store.read(store.downloads()["tiny"].files[1]) == contents["labels"]


def test_a_mirror_that_answers_later_is_asked_again(mirrors, monkeypatch):
    mirrors("flaky")
    waits = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    download.fetch("tiny", backoff=0.5)
    assert Handler.asked == ["flaky"] * 4
    assert waits == [0.5, 1.0]


def test_a_mirror_may_send_the_content_unpacked(mirrors):
    mirrors("unpacked")
    assert [report.state for report in download.fetch("tiny", backoff=0)] == ["ok", "ok"]


def test_total_failure_says_why_and_leaves_nothing(mirrors, folder):
    mirrors("absent", "truncated", "hangs_up", "another", "page")
    with pytest.raises(MinicerebError) as error:
        download.fetch("tiny", backoff=0)
    message = str(error.value)
    assert "\n" not in message
    for words in ("images", "HTTP status 404", "cannot be decompressed", "another SHA-256", "data import", "--dataset strokes"):
        assert words in message
    assert not folder.exists()


def test_a_dead_server_is_an_error_of_one_line(folder):
    with pytest.raises(MinicerebError, match=r"ConnectionError|Timeout") as error:
        download.fetch("tiny", backoff=0)
    assert "\n" not in str(error.value)


def test_a_second_call_goes_on_where_the_first_failed(mirrors, folder):
    mirrors("good")
    mirrors("absent", only="labels")
    with pytest.raises(MinicerebError, match="labels"):
        download.fetch("tiny", backoff=0)
    assert [path.name for path in folder.iterdir()] == ["images"]
    mirrors("good")
    assert [report.detail == "already here" for report in download.fetch("tiny", backoff=0)] == [True, False]


def test_an_interrupt_leaves_nothing_half_written(mirrors, folder, monkeypatch):
    import pooch

    def interrupted(self, url, output_file, pooch):
        output_file.write(b"\x1f\x8b")
        raise KeyboardInterrupt

    mirrors("good")
    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download.fetch("tiny")
    assert not folder.exists()


def test_an_interrupt_while_placing_leaves_nothing(mirrors, folder, monkeypatch):
    def interrupted(content):
        raise KeyboardInterrupt

    mirrors("good")
    monkeypatch.setattr("minicereb.files.os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        download.fetch("tiny")
    assert list(folder.iterdir()) == []


def test_progress_only_on_a_terminal(mirrors, capsys, monkeypatch):
    mirrors("absent", "good")
    download.fetch("tiny", backoff=0)
    assert capsys.readouterr() == ("", "")
    for path in store.places()[0].glob("tiny/*"):
        path.unlink()
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    download.fetch("tiny", backoff=0)
    output, progress = capsys.readouterr()
    assert output == ""
    assert progress.count("\n") == 4
    assert progress.count("100 %") == 2
    assert "images from 127.0.0.1" in progress


def test_only_what_is_in_the_registry_can_be_fetched(folder):
    with pytest.raises(InputError, match="expected one that can be downloaded: tiny"):
        download.fetch("imagenet")


def test_no_more_is_taken_than_a_file_has():
    received = download.Bounded(10)
    received.write(b"12345")
    with pytest.raises(DataError, match="more bytes than the file has"):
        received.write(b"678901")
