"""Where a loader's time goes: decoding, the disk, copies, and how long the consumer waited for it all.

A thread is measured a batch at a time, not an image at a time, by what the system counts anyway: its CPU time, how
long it waited for a core (Linux's schedstat), and its major faults, the pages of the file that had to come from the
disk. Where it met such faults, what is left of its time is what it stood still for the disk. What a GPU adds to it is
below.

What a loader's clocks say together: of its threads, of its slots and, on a GPU, of the device.

Copies and idle times are taken between CUDA events, which are looked at when they have passed: nothing here waits for a
device.
"""

import dataclasses
import os
import resource
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # It takes seconds, and decoding alone has no need of it.
    import torch


@dataclass(frozen=True, kw_only=True)
class DataFigures:
    """What a loader has done since it was opened, all in sums; the difference of two is what it did between them."""

    wait_seconds: float = 0.0
    """In which the consumer stood still for data."""
    idle_seconds: float = 0.0
    """In which the device did: on a CPU the same, on a GPU less where it still has work."""
    fill_seconds: float = 0.0
    """In which batches were made, by the clock; not: until a slot's last copy had ended."""
    window_seconds: float = 0.0
    """Of these: until a window of the file was there (page-wise order)."""
    cpu_seconds: float = 0.0
    """CPU time of all threads that made them."""
    queue_seconds: float = 0.0
    """In which these threads waited for a core, added up over them."""
    read_seconds: float = 0.0
    """In which they stood still for the disk, likewise."""
    copy_seconds: float = 0.0
    """Of copies to the device; 0 on a CPU."""
    images: float = 0.0
    record_bytes: float = 0.0
    """Of their records, wherever they were read from."""
    asked: float = 0.0
    """Batches asked for."""
    ready: float = 0.0
    """Share of the slots that were ready when one was asked for, added up."""

    def __sub__(self, earlier: "DataFigures") -> "DataFigures":
        names = [field.name for field in dataclasses.fields(self)]
        return DataFigures(**{name: getattr(self, name) - getattr(earlier, name) for name in names})


@dataclass(frozen=True)
class Busy:
    """What a decoding thread did with a stretch of time, in seconds."""

    cpu: float
    queue: float
    read: float


class ThreadMeter:
    """The calling thread's own clocks: only the thread that made it may use it."""

    def __init__(self) -> None:
        try:
            self._schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:
            # A system that keeps no such record: waiting for a core can't be told from waiting for the disk.
            self._schedstat = -1
        self._wall = self._cpu = 0.0
        self._queue, self._faults = self._counted()

    def begin(self) -> None:
        """A stretch begins; one that never ended is forgotten."""
        self._wall, self._cpu = time.perf_counter(), time.thread_time()

    def end(self) -> Busy:
        """The stretch ends."""
        wall, cpu = time.perf_counter() - self._wall, time.thread_time() - self._cpu
        queue, faults = self._counted()
        # Before a stretch begins, too, a thread may have waited for a core: to wake up for it.
        still = max(0.0, wall - cpu)
        queued = min(queue - self._queue, still)
        read = still - queued if faults > self._faults else 0.0
        self._queue, self._faults = queue, faults
        return Busy(cpu, queued, read)

    def _counted(self) -> tuple[float, int]:
        """Seconds of waiting for a core, and major faults, since the thread began."""
        queue = 0.0
        if self._schedstat >= 0:
            queue = int(os.pread(self._schedstat, 96, 0).split()[1]) / 1e9
        return queue, resource.getrusage(resource.RUSAGE_THREAD).ru_majflt

    def __del__(self) -> None:
        if getattr(self, "_schedstat", -1) >= 0:
            os.close(self._schedstat)


class PoolMeter:
    """Adds up what the threads of a pool did. Calls from all of them may overlap."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums = Busy(0.0, 0.0, 0.0)

    def add(self, busy: Busy) -> None:
        """A thread's stretch."""
        with self._lock:
            sums = self._sums
            self._sums = Busy(sums.cpu + busy.cpu, sums.queue + busy.queue, sums.read + busy.read)

    def figures(self) -> Busy:
        """The sums so far."""
        return self._sums


# With so many pairs of events not yet looked at, those that have passed are.
_MOST_PAIRS = 64


class DeviceMeter:
    """Adds up a GPU's time between pairs of events, each read once both have passed."""

    def __init__(self) -> None:
        self._pairs: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()
        self._seconds = 0.0

    def add(self, begin: "torch.cuda.Event", end: "torch.cuda.Event") -> None:
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

    def __init__(self, pool: PoolMeter, device: "torch.device") -> None:
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


def timed_event(*, blocking: bool = False) -> "torch.cuda.Event":
    """An event on the current stream, recorded now; one that blocks lets a thread that waits for it sleep."""
    import torch

    event = torch.cuda.Event(enable_timing=True, blocking=blocking)
    event.record()
    return event
