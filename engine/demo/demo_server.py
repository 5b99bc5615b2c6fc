"""Streamlit's server in this process, for a page whose networks are loaded already."""

import asyncio
import errno
import ipaddress
import signal
import socket
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from engine.demo.demo_page import Limits, Model, Sample
from engine.errors import UserError

_SCRIPT = Path(__file__).with_name("demo_script.py")


@dataclass(frozen=True)
class Content:
    """What the page shows."""

    models: Sequence[Model]
    samples: Sequence[Sample]
    limits: Limits


_content: list[Content] = []


def content() -> Content:
    """What `serve` was given; for the page's script, which Streamlit runs in a thread of each visitor."""
    return _content[-1]


def serve(page: Content, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C, which is raised again as KeyboardInterrupt once all is closed.

    `port` 0 is any free one. `tell` gets the page's address as soon as it can be opened. Raises UserError for an
    address or a port that can't be had.
    """
    address, port = free_address(host, port)
    # The page's own limit decides; Pillow warns at 89 million pixels.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    _content.append(page)
    asyncio.run(_serve(address, port, page.limits.megabytes, tell))


async def _serve(address: str, port: int, megabytes: int, tell: Callable[[str], None]) -> None:
    from streamlit.web import bootstrap
    from streamlit.web.server import Server

    bootstrap.load_config_options(_options(address, port, megabytes))
    server = Server(str(_SCRIPT), False)
    try:
        await server.start()
    except SystemExit:
        # Streamlit's way to say that another process was faster.
        raise _in_use(address, port) from None
    asked: list[int] = []

    def stop() -> None:
        # A second Ctrl-C ends the process though a network is still at work.
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        asked.append(signal.SIGINT)
        server.stop()

    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop)
    tell(f"http://{f'[{address}]' if ':' in address else address}:{port}")
    await server.stopped
    if asked:
        raise KeyboardInterrupt


def _options(address: str, port: int, megabytes: int) -> dict[str, object]:
    """Streamlit's settings, above those of the user's own config.toml."""
    return {
        "server_address": address,
        "server_port": port,
        "server_maxUploadSize": megabytes,
        # No browser is opened, and nothing outside is asked for this machine's address.
        "server_headless": True,
        "server_fileWatcherType": "none",
        "server_enableXsrfProtection": True,
        "browser_gatherUsageStats": False,
        # A bug's traceback, with its paths, is for the terminal.
        "client_showErrorDetails": "none",
        "client_toolbarMode": "minimal",
        "logger_level": "error",
        "global_developmentMode": False,
    }


def free_address(host: str, port: int) -> tuple[str, int]:
    """The numeric address of `host` and a free port on it. Raises UserError if they can't be had."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise _not_here(host) from None
    address = str(place[0])
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise _in_use(address, port) from None
            if error.errno == errno.EACCES:
                raise UserError(f"--port {port} needs root's rights: choose one above 1023") from None
            raise _not_here(host) from None
        return address, int(probe.getsockname()[1])


def _not_here(host: str) -> UserError:
    return UserError(
        f"--host {host} is no address of this machine: give 127.0.0.1 for this machine alone, 0.0.0.0 for the network"
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the numeric address."""
    return ipaddress.ip_address(host.partition("%")[0]).is_loopback


def _in_use(address: str, port: int) -> UserError:
    return UserError(
        f"port {port} of {address} is in use: choose another with --port, or --port 0 for any that is free"
    )
