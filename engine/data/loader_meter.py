"""What a loader's clocks say together: of its threads, of its slots and, on a GPU, of the device.

Copies and idle times are taken between CUDA events, which are looked at when they have passed: nothing here waits for a
device.
"""

from collections import deque

import torch

from engine.data.meters import DataFigures, PoolMeter

# With so many pairs of events not yet looked at, those that have passed are.
_MOST_PAIRS = 64


class DeviceMeter:
    """Adds up a GPU's time between pairs of events, each read once both have passed."""

    def __init__(self) -> None:
        self._pairs: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()
        self._seconds = 0.0

    def add(self, begin: torch.cuda.Event, end: torch.cuda.Event) -> None:
        """A pair that was recorded, with timing, on one stream."""
        self._pairs.append((begin, end))
        if len(self._pairs) > _MOST_PAIRS:
            self._look()

    def seconds(self) -> float:
        """The sum over all pairs that have passed by now."""
        self._look()
        return self._seconds

    def _look(self) -> None:
        while self._pairs and self._pairs[0][1].query():
            begin, end = self._pairs.popleft()
            self._seconds += begin.elapsed_time(end) / 1e3


class LoaderMeter:
    """One loader's: the producer's thread calls `filled`, the consumer's all the rest."""

    def __init__(self, pool: PoolMeter, device: torch.device) -> None:
        self._pool, self._on_gpu = pool, device.type == "cuda"
        self.copies, self.idle = DeviceMeter(), DeviceMeter()
        self._fill = self._window = self._bytes = 0.0
        self._wait = self._ready = 0.0
        self._images = self._asked = 0

    def filled(self, *, images: int, record_bytes: int, seconds: float, window_seconds: float) -> None:
        """A batch was made in `seconds`, of which a window of the file was waited for."""
        self._images += images
        self._bytes += record_bytes
        self._fill += seconds
        self._window += window_seconds

    def handed_over(self, *, ready: float, waited: float) -> None:
        """A batch was asked for when this share of the slots was ready, and came after `waited` seconds."""
        self._asked += 1
        self._ready += ready
        self._wait += waited

    @property
    def idle_seconds(self) -> float:
        """In which the device stood still for data; of a GPU, as far as it has got."""
        return self.idle.seconds() if self._on_gpu else self._wait

    def figures(self) -> DataFigures:
        """All of it up to now; of a GPU, what it has finished."""
        busy = self._pool.figures()
        return DataFigures(
            wait_seconds=self._wait,
            idle_seconds=self.idle_seconds,
            fill_seconds=self._fill,
            window_seconds=self._window,
            cpu_seconds=busy.cpu,
            queue_seconds=busy.queue,
            read_seconds=busy.read,
            copy_seconds=self.copies.seconds(),
            images=self._images,
            record_bytes=self._bytes,
            asked=self._asked,
            ready=self._ready,
        )


def timed_event(*, blocking: bool = False) -> torch.cuda.Event:
    """An event on the current stream, recorded now; one that blocks lets a thread that waits for it sleep."""
    event = torch.cuda.Event(enable_timing=True, blocking=blocking)
    event.record()
    return event
