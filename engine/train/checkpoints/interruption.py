"""SIGTERM and SIGUSR1, by which schedulers and clouds announce that they take the machine back.

Within `deferred`, where something must be saved first, a signal is kept until the saving code asks for it. Anywhere
else (at the start, in validation, while waiting) it ends the work at once. Imports no torch, so that signals are
handled before torch is imported.
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
from engine.system import ENDING

_GRACE = 3.0
"""Seconds after which a signal that the main thread has not handled ends the process, unless it is deferred."""


class Interruption:
    """Whether this process was asked to end.

    `saved` and `again` are parts of the message: after which step the run was saved (empty: not yet), and how to resume
    it.
    """

    def __init__(self) -> None:
        self.asked = ""
        """The signal's name; empty before one has arrived."""
        self.saved = ""
        self.again = "run the same command to resume"
        self._deferred = False

    @contextmanager
    def watching(self) -> Generator["Interruption", None, None]:
        """Handle the signals during the block; does nothing outside of the main thread, which alone can."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.signal(number, self._handle) for number in ENDING}
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
                # All is done and saved: a signal from here on must not turn that into a failure.
                signal.signal(number, signal.SIG_IGN if handler == signal.SIG_DFL else handler)
            theirs.close()

    @contextmanager
    def deferred(self) -> Generator[None, None, None]:
        """A block that signals do not interrupt; one that arrived within is raised at its end."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False
        if self.asked:
            self.end()

    def end(self) -> None:
        """Raises Interrupted with the signal, the saved step and how to resume."""
        self._deferred = True
        state = (
            f"saved after {self.saved}: {self.again}" if self.saved else "nothing was saved yet: start again"
        )
        raise Interrupted(f"{self.asked}, {state}")

    def _watch(self, woken: socket.socket, ended: threading.Event) -> None:
        """End the process where the main thread can't handle a signal: it waits, in C, for other ranks."""
        with woken:
            while numbers := woken.recv(64):
                if not set(numbers) & set(ENDING):
                    continue
                if not self._deferred and not ended.wait(_GRACE) and not self._deferred:
                    print(f"interrupted: {signal.Signals(numbers[0]).name}", file=sys.stderr, flush=True)
                    os._exit(EXIT_AGAIN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # A second signal changes nothing: it must not interrupt the handling of the first.
        first, self.asked = not self.asked, self.asked or signal.Signals(number).name
        if first and not self._deferred:
            self.end()
