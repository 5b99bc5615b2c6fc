"""stdout and stderr of every command: any name can be printed, and a lost terminal does not end the work.

A terminal or log that is not UTF-8 gets the letters it does not have as \\u65e5. With a full disk behind `> log`, a
terminal that is gone or a closed stream (`2>&-`), output is dropped; how the command ends depends on it.
Standard library only, as errors.py, which imports this.
"""

import errno
import io
import os
import select
import socket
import sys
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# They can't fail; any other way to handle letters that an encoding does not have is replaced.
_HANDLERS = {"backslashreplace", "ignore", "namereplace", "replace", "xmlcharrefreplace"}


class Output(io.FileIO):
    """The bytes below sys.stdout or sys.stderr.

    With `piped` the first write to a pipe that nobody reads raises BrokenPipeError (`... | head`). The first failure
    is kept as `lost`; what can't be written is dropped.
    """

    def __init__(self, descriptor: int, *, piped: bool = False) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._piped = piped
        self.lost: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write or drop all of `data`; returns its size."""
        left = memoryview(data).cast("B")
        size = len(left)
        while left:
            try:
                # None: another program has made the terminal non-blocking, and it is busy.
                done: int | None = super().write(left)
            except OSError as error:
                known, self.lost = self.lost, self.lost or error
                if self._piped and error.errno == errno.EPIPE and not known:
                    raise
                break
            if done is None:
                select.select([], [self], [])
            left = left[done or 0 :]
        return size


def guard_streams(*, piped: bool) -> Output | None:
    """Put an Output below sys.stdout, which is returned, and one below sys.stderr, for the rest of the process.

    Streams that are closed or no files, as in a notebook, get none.
    """
    # Else the next file that is opened gets the free number, and what libraries print.
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stderr, _ = _over(sys.stderr, piped=False)
    sys.stdout, output = _over(sys.stdout, piped=piped)
    return output


def _over(stream: TextIO | None, *, piped: bool) -> tuple[TextIO, Output | None]:
    """A text stream as `stream` over an Output, and that; None is a stream that was closed."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8"), None
    try:
        output = Output(stream.fileno(), piped=piped)
    except io.UnsupportedOperation:
        return stream, None
    with suppress(OSError):
        stream.flush()
    unbuffered = bool(getattr(stream, "write_through", False))
    text = io.TextIOWrapper(
        # With `python -u` there is no buffer.
        output if unbuffered else io.BufferedWriter(output),
        stream.encoding,
        stream.errors if stream.errors in _HANDLERS else "backslashreplace",
        line_buffering=bool(stream.line_buffering),
        write_through=unbuffered,
    )
    return text, output


# Sockets whose names are taken until this process ends.
_said: list[socket.socket] = []


def say_once(line: str, environment: Mapping[str, str] = os.environ) -> None:
    """Print the line on stderr, unless another rank of this run on this host has: all find the same things wrong.

    The rank that prints it stays for a second: else torchrun would end the others on their way to the same line, and
    they would say that.
    """
    several = any(environment.get(name, "1") != "1" for name in ("LOCAL_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"))
    if several and not _first_to_say(line):
        return
    # In one piece: all write to the same terminal.
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
    if several:
        time.sleep(1.0)


def _first_to_say(line: str) -> bool:
    """The system gives the name of a socket to one process. Ranks of a host have the same parent.

    Names without a file are Linux's: elsewhere each rank says its line.
    """
    if sys.platform != "linux":
        return True
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(f"\0engine-{os.getppid()}-{zlib.crc32(line.encode('utf-8', 'surrogatepass'))}")
    except OSError:
        name.close()
        return False
    _said.append(name)
    return True
