"""SIGTERM and SIGUSR1, by which schedulers and clouds announce that they take the machine back.

Where something is under way that must be saved first (`deferred`), the signal is kept until whoever saves asks for it;
anywhere else, at the start, in validation, while waiting, it ends what is being done at once. Imports no torch: it
is there before torch is.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from engine.errors import EXIT_AGAIN, Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)

_GRACE = 3.0
"""Seconds in which the main thread should have heeded a signal where nothing is to be saved first."""


class Interruption:
    """Whether this process was asked to end.

    `saved` and `again` are what the message says: how far the run was when it was saved, if it was, and what goes on
    from there.
    """

    def __init__(self) -> None:
        self.asked = ""
        """The signal's name, once there was one."""
        self.saved = ""
        self.again = "the same command goes on"
        self._deferred = False

    @contextmanager
    def watching(self) -> Generator["Interruption", None, None]:
        """Take the signals over for the block; only a process's main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        ended = threading.Event()
        threading.Thread(target=self._watch, args=(ours, ended), name="signals", daemon=True).start()
        try:
            yield self
        finally:
            ended.set()
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                # All is done and saved; a signal in the moment that is left must not make a failure of it.
                signal.signal(number, signal.SIG_IGN if handler == signal.SIG_DFL else handler)
            theirs.close()

    @contextmanager
    def deferred(self) -> Generator[None, None, None]:
        """A block that is not ended by a signal; one that came in it is raised at its end."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.asked:
            self.end()

    def end(self) -> None:
        """Raises Interrupted with what is known."""
        self._deferred = True
        state = (
            f"saved after {self.saved}: {self.again}" if self.saved else "nothing was saved yet: start again"
        )
        raise Interrupted(f"{self.asked}, {state}")

    def _watch(self, woken: socket.socket, ended: threading.Event) -> None:
        """End the process where the main thread can't: it waits, in C, for ranks that are gone or never come."""
        with woken:
            while numbers := woken.recv(64):
                if not set(numbers) & set(SIGNALS):
                    continue
                if not self._deferred and not ended.wait(_GRACE) and not self._deferred:
                    print(f"interrupted: {signal.Signals(numbers[0]).name}", file=sys.stderr, flush=True)
                    os._exit(EXIT_AGAIN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # A second one changes nothing, and must not break what the first has set off.
        first, self.asked = not self.asked, self.asked or signal.Signals(number).name
        if first and not self._deferred:
            self.end()
