"""A line of a given speed to a server: a TCP proxy in its own process, which can also fail.

`python -m benchmarks.harness.slow_line HOST:PORT --megabytes 50 --milliseconds 20` prints the port that it listens on.
All connections share the speed, towards the client; each way takes half of the time. On its stdin: `cut` ends all
connections, `stall` holds all bytes back until `go`.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 2**17
# Chunks of a connection on the way: more would be read ahead of the line.
_IN_FLIGHT = 8


class Line:
    """When bytes arrive that are sent now."""

    def __init__(self, bytes_per_second: float, seconds: float) -> None:
        self._rate, self._delay = bytes_per_second, seconds / 2
        self._free = 0.0
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.open: set[asyncio.StreamWriter] = set()

    def due(self, size: int, *, limited: bool) -> float:
        """The time (loop's clock) at which `size` bytes are through."""
        now = time.monotonic()
        if limited:
            self._free = max(self._free, now) + size / self._rate
        return (self._free if limited else now) + self._delay

    async def serve(self, host: str, port: int) -> int:
        """Listen; returns the port."""

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there_reader, there_writer = await asyncio.open_connection(host, port, limit=_CHUNK)
            both = {writer, there_writer}
            self.open |= both
            try:
                await asyncio.gather(
                    self._copy(reader, there_writer, limited=False),
                    self._copy(there_reader, writer, limited=True),
                )
            finally:
                self.open -= both
                for one in both:
                    one.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=_CHUNK)
        found: int = server.sockets[0].getsockname()[1]
        return found

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, limited: bool
    ) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)

        async def send() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                await self.flowing.wait()
                if not data:
                    writer.write_eof()
                    return
                writer.write(data)
                await writer.drain()

        sender = asyncio.ensure_future(send())
        # A side that has gone is no error of the line.
        with suppress(OSError):
            while True:
                data = await reader.read(_CHUNK)
                await queue.put((self.due(len(data), limited=limited), data))
                if not data or sender.done():
                    break
        with suppress(OSError):
            await sender


async def _main(options: argparse.Namespace) -> None:
    host, _, port = options.server.rpartition(":")
    line = Line(options.megabytes * 1e6, options.milliseconds / 1e3)
    print(await line.serve(host, int(port)), flush=True)
    loop = asyncio.get_running_loop()
    while word := await loop.run_in_executor(None, sys.stdin.readline):
        if word.strip() == "cut":
            for writer in list(line.open):
                writer.transport.abort()
        elif word.strip() == "stall":
            line.flowing.clear()
        elif word.strip() == "go":
            line.flowing.set()


class SlowLine:
    """The proxy as the process that started it has it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        self._process = process
        self.port = int(process.stdout.readline())

    def say(self, word: str) -> None:
        """cut, stall or go."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()


@contextmanager
def slow_line(server: str, megabytes: float, milliseconds: float) -> Iterator[SlowLine]:
    """A line to `server` (host:port), in its own process."""
    command = [sys.executable, "-m", "benchmarks.harness.slow_line", server]
    command += ["--megabytes", str(megabytes), "--milliseconds", str(milliseconds)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield SlowLine(process)
        finally:
            process.kill()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server")
    parser.add_argument("--megabytes", type=float, required=True)
    parser.add_argument("--milliseconds", type=float, required=True)
    asyncio.run(_main(parser.parse_args()))
