"""The demo's server: which addresses it takes, and what it is told to leave."""

import socket

import pytest

from engine.demo.demo_server import _options, free_address, is_loopback
from engine.errors import UserError


def test_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} of 127.0.0.1 is in use: .* --port 0 "):
            free_address("127.0.0.1", port)
    assert free_address("127.0.0.1", port) == ("127.0.0.1", port)


def test_port_zero_is_a_free_one() -> None:
    address, port = free_address("localhost", 0)
    assert is_loopback(address) and port > 0


@pytest.mark.parametrize("host", ["no such host", "192.0.2.1", "a" * 300])
def test_address_elsewhere_is_one_line(host: str) -> None:
    with pytest.raises(UserError, match=r"is no address of this machine.*127\.0\.0\.1.*0\.0\.0\.0"):
        free_address(host, 0)


def test_wildcard_is_not_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "0.0.0.0", "::")] == [True, True, False, False]


def test_every_option_is_known_to_streamlit() -> None:
    config = pytest.importorskip("streamlit.config")
    for name in _options("127.0.0.1", 8501, 20):
        config.get_option(name.replace("_", ".", 1))
