"""A command that is watched: its output is passed on, and it ends in time with all that it started."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

# Seconds for an interrupted command to end its processes and remove its temporary files.
GRACE = 10.0


@dataclass(frozen=True, kw_only=True)
class Watched:
    """How a command ended."""

    code: int
    last: str
    """The last line of its output that is not empty."""
    in_time: bool
    seconds: float


def watch(
    command: Sequence[str],
    longest: float,
    *,
    tell: Callable[[str], None] = lambda line: print(line, end="", flush=True),
    environment: Mapping[str, str] | None = None,
    grace: float = GRACE,
) -> Watched:
    """Run it for at most `longest` seconds; `tell` gets each line of stdout and stderr, with its line end.

    It is a session, so that all processes that it has started end with it, also when this process is interrupted. One
    that is late is interrupted as Ctrl-C would; `grace` seconds later its session is ended by force.
    """
    begin, late = time.monotonic(), threading.Event()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=None if environment is None else {**os.environ, **environment},
        start_new_session=True,
    ) as process:

        def stop() -> None:
            late.set()
            _end(process, grace)

        timer = threading.Timer(longest, stop)
        timer.start()
        try:
            assert process.stdout is not None
            last = _pass_on(process.stdout, tell)
            code = process.wait()
        finally:
            timer.cancel()
            _end(process, grace)
    return Watched(code=code, last=last, in_time=not late.is_set(), seconds=time.monotonic() - begin)


def _end(process: "subprocess.Popen[str]", grace: float) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _pass_on(output: IO[str], tell: Callable[[str], None]) -> str:
    last = ""
    for line in output:
        tell(line)
        last = line.strip() or last
    return last
