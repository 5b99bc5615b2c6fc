"""Back-pressure from the device: how many batches may be on it whose work it has not done.

A step returns before the device has done it. Without a limit a host that is faster, as with CUDA graphs, would copy
batch after batch, and the device's memory would hold all of them: up to the 50 steps between two reads of the losses.
"""

from collections import deque
from typing import Protocol

# Two keep the device at work while the host prepares the next: one at work, one behind it. The third is for hosts that
# are late now and then. Each further one takes a batch of memory for nothing.
MOST_IN_FLIGHT = 3


class Passing(Protocol):
    """As torch's events: something on the device that passes when all work before it is done."""

    def synchronize(self) -> None:
        """Wait until it has passed."""
        ...


class InFlight:
    """Lets the host ask for a next batch only while fewer than `most` are on the device unfinished."""

    def __init__(self, most: int = MOST_IN_FLIGHT) -> None:
        self._most = most
        self._asked: deque[Passing] = deque()

    def admit(self, asked: Passing) -> None:
        """Before each batch: `asked` passes when the work on all earlier batches is done. Waits for older ones.

        Afterwards at most `most` - 1 earlier batches are unfinished, and so `most` with the new one.
        """
        self._asked.append(asked)
        if len(self._asked) == self._most:
            self._asked.popleft().synchronize()
