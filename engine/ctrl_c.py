"""Ctrl-C while modules are being imported: one line and exit code 130, instead of a traceback out of an import.

Imports nothing of the engine, and little else: every entry point imports it first.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def importing() -> Iterator[None]:
    """A block that holds only imports; Ctrl-C in it ends the process at once, since there is nothing to clean up.

    KeyboardInterrupt would not do: libraries catch it, or print it as an "Exception ignored", half-way through their
    imports. Anywhere but in the main thread, or where SIGINT is ignored or handled already, nothing changes.
    """
    before = signal.getsignal(signal.SIGINT)
    ours = before is signal.default_int_handler
    try:
        if ours:
            signal.signal(signal.SIGINT, _leave)
    except ValueError:
        # Only the main thread receives signals, and only it may set a handler.
        ours = False
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    # A shell's code for it, and errors.EXIT_CTRL_C.
    os._exit(128 + number)
