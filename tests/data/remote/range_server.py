"""An HTTP server of files in memory that answers to ranges, and misbehaves as it is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class RangeServer:
    """Serves `files` (path -> bytes) at `url`. What it does wrong is in the attributes, which tests set."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.tag = '"first"'
        self.asked: list[tuple[int, int]] = []
        """The ranges that were asked for, from the first byte to before the last."""
        self._paths: list[str] = []
        self.heads = 0
        self.codes: list[int] = []
        """Answers to the next requests for a range, in place of the bytes; 0: the connection is cut amid them."""
        self.damaged: list[int] = []
        """Bytes of a file that are other ones in the next answer with them; each once."""
        self.held = 0
        """Requests that wait."""
        self._held, self._going = (0, 0), threading.Event()
        self._going.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def last_asked(self, path: str) -> int:
        """The number of the last request for a range of this file."""
        return max(number for number, asked in enumerate(self._paths) if asked == path)

    def hold(self, start: int, stop: int) -> None:
        """Let requests for any of these bytes wait until `go`."""
        self._held, self._going, self.held = (start, stop), threading.Event(), 0

    def go(self) -> None:
        """Answer all that wait."""
        self._going.set()

    def _wait(self, start: int, stop: int) -> None:
        if start < self._held[1] and self._held[0] < stop and not self._going.is_set():
            self.held += 1
            self._going.wait()

    def close(self) -> None:
        """Free the port; waiting requests are never answered."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: Any) -> None:
                """Nothing."""

            def do_HEAD(self) -> None:
                outer.heads += 1
                data = outer.files.get(self.path)
                self._head(404 if data is None else 200, 0 if data is None else len(data))

            def do_GET(self) -> None:
                data = outer.files.get(self.path)
                if data is None:
                    self._head(404, 0)
                    return
                first, last = self.headers["Range"].removeprefix("bytes=").split("-")
                start, stop = int(first), int(last) + 1
                outer._paths.append(self.path)
                outer.asked.append((start, stop))
                outer._wait(start, stop)
                code = outer.codes.pop(0) if outer.codes else 206
                if self.headers.get("If-Match", outer.tag) != outer.tag:
                    code = 412
                if code not in (0, 206):
                    self._head(code, 0)
                    return
                part = bytearray(data[start:stop])
                for place in [one for one in outer.damaged if start <= one < stop]:
                    outer.damaged.remove(place)
                    part[place - start] ^= 255
                self._head(206, len(part), f"bytes {start}-{stop - 1}/{len(data)}")
                self.wfile.write(part if code else part[: len(part) // 2])
                self.close_connection = not code

            def _head(self, code: int, length: int, content_range: str = "") -> None:
                self.send_response(code)
                self.send_header("Content-Length", str(length))
                self.send_header("ETag", outer.tag)
                if content_range:
                    self.send_header("Content-Range", content_range)
                self.end_headers()

        return Handler


@contextmanager
def serving(**files: bytes) -> Iterator[RangeServer]:
    """A server of these files, as NAME.beton."""
    server = RangeServer()
    server.files = {f"/{name}.beton": data for name, data in files.items()}
    try:
        yield server
    finally:
        server.go()
        server.close()
