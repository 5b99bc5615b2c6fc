"""Paths and URLs are told apart, and what can't be reached is told in one line."""

import os
import pickle
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import fsspec
import pytest

from engine.config.write import SourceConfig
from engine.data.sources.access.location import Entry, LocalPath, locate
from engine.errors import UserError
from tests.data.sources.forms import contents, folder_contents, open_source, refused


def test_local_path_reads_whole_files_and_ranges(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    place = LocalPath(str(tmp_path)) / "a"
    assert (place.kind(), place.size(), place.read()) == ("file", 10, b"0123456789")
    assert (place.read_range(3, 4), place.read_range(8, 4), place.read_range(20, 4)) == (b"3456", b"89", b"")
    assert place.parent.entries() == [Entry("a", False)]
    assert (place.parent.kind(), (place / "b").kind()) == ("folder", "missing")
    assert (place.name, str(place.parent)) == ("a", str(tmp_path))


def test_relative_paths_have_a_name_and_a_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in (".", "./", "x/.."):
        assert LocalPath(path).name == tmp_path.name
        assert LocalPath(path).parent.path == str(tmp_path.parent)


def test_only_a_few_files_stay_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(100):
        (tmp_path / str(number)).write_bytes(b"x")
        assert (LocalPath(str(tmp_path)) / str(number)).read_range(0, 1) == b"x"
    assert len(os.listdir("/proc/self/fd")) < before + 20


def test_file_url_reads_like_a_path(animals: Path) -> None:
    source = open_source(f"file://{animals}")
    assert source.ids == open_source(animals).ids
    assert contents(source) == folder_contents(animals / "train")
    assert source.where(0) == f"file://{animals}/train/{source.ids[0]}"


def test_pickled_remote_path_keeps_its_file_system() -> None:
    fsspec.filesystem("memory").pipe_file("/there/a.bin", b"0123456789")
    place = locate(SourceConfig(path="memory://there")) / "a.bin"
    again = pickle.loads(pickle.dumps(place))
    assert (again.kind(), again.size(), again.read(), again.read_range(8, 10)) == (
        "file",
        10,
        b"0123456789",
        b"89",
    )
    assert (again.read_range(3, 0), str(again), again.parent.entries()) == (
        b"",
        "memory:///there/a.bin",
        [Entry("a.bin", False)],
    )
    assert (again / "b").kind() == "missing"
    with pytest.raises(
        UserError, match=r"^cannot read memory:///there/b: it does not exist: check the path$"
    ):
        (again.parent / "b").read()


@pytest.mark.parametrize(
    ("path", "options", "expected"),
    [
        ("gopher://x/y", "", "cannot open gopher://x/y: Protocol not known: gopher"),
        ("gdrive://x/y", "", "cannot open gdrive://x/y: "),
        ("memory://x", "{", "source.storage_options is not JSON: "),
        ("memory://x", "[1]", "source.storage_options is not a JSON object"),
        ("somewhere", '{"anon": true}', "source.storage_options is for URLs, and somewhere is a path: drop"),
        ("memory://nowhere", "", "source.path memory:///nowhere does not exist: pass the folder"),
    ],
)
def test_bad_path_or_storage_options_are_refused(path: str, options: str, expected: str) -> None:
    assert refused(path, storage_options=options).startswith(expected)


@pytest.fixture
def server() -> Iterator[str]:
    """Answers everything with the number that the path begins with, and where that is 200 does not say a size."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = int(self.path[1:4])
            if status == 200:
                self.send_response(status)
                self.end_headers()
            else:
                self.send_error(status)

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [404, 410])
def test_404_and_410_mean_missing(server: str, status: int) -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp")
    assert refused(f"{server}/{status}/x.tar").startswith(
        f"source.path {server}/{status}/x.tar does not exist"
    )


@pytest.mark.parametrize(("status", "words"), [(403, "Forbidden"), (503, "Service Unavailable")])
def test_refusing_server_is_not_called_missing(server: str, status: int, words: str) -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp")
    message = refused(f"{server}/{status}/x.tar")
    assert message.startswith(f"cannot read {server}/{status}/x.tar: {status}, message='{words}'")


def test_remote_file_of_unknown_size_is_refused(server: str) -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp")
    expected = f"cannot read {server}/200/x.tar: its server does not say how large it is: download it first"
    assert refused(f"{server}/200/x.tar") == expected


def test_unreachable_server_is_not_called_missing() -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/x.tar"
    assert refused(url).startswith(f"cannot read {url}: Cannot connect to host 127.0.0.1:")
