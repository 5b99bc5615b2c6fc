"""SIGTERM and SIGUSR1, by which schedulers and clouds announce that they take the machine back.

Where something is under way that must be saved first (`deferred`), the signal is kept until whoever saves asks for it;
anywhere else, at the start, in validation, while waiting, it ends what is being done at once. Imports no torch: it
is there before torch is.
"""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from engine.errors import Interrupted

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


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
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # A second one changes nothing, and must not break what the first has set off.
        first, self.asked = not self.asked, self.asked or signal.Signals(number).name
        if first and not self._deferred:
            self.end()
