"""The line of the stage `remote`, and its options."""

import socket
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.harness.slow_line import slow_line
from benchmarks.stages.remote import _parse
from engine.errors import UserError
from tests.data.remote.range_server import serving


def test_slow_line_brings_all_bytes_and_can_be_cut() -> None:
    obstore = pytest.importorskip("obstore")
    HTTPStore = pytest.importorskip("obstore.store").HTTPStore
    content = bytes(range(256)) * 4000
    with serving(some=content) as server, slow_line(server.url.removeprefix("http://"), 50, 2) as line:
        there = HTTPStore.from_url(
            f"http://127.0.0.1:{line.port}",
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )
        assert bytes(obstore.get_range(there, "some.beton", start=0, length=len(content))) == content
        with socket.create_connection(("127.0.0.1", line.port), timeout=20) as connection:
            connection.sendall(b"GET /some.beton HTTP/1.1\r\nHost: a\r\nRange: bytes=0-9\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 206"
            line.say("cut")
            # Without an end, this is a timeout.
            with suppress(ConnectionResetError):
                while connection.recv(4096):
                    pass


def test_wrong_options_are_one_line(tmp_path: Path) -> None:
    for argv, says in (
        (["--against=other"], "give some of litdata"),
        (["--nginx=/none/nginx"], "needs /none/nginx"),
    ):
        with pytest.raises(UserError, match=says):
            _parse(argv)
