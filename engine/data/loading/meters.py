"""Where a loader's time goes: decoding, the disk, copies, and how long the consumer waited.

A thread is measured per batch, not per image, with counters of the system: its CPU time, its time waiting for a core
(Linux's schedstat), and its major faults, pages of the file that came from the disk. If there were major faults, the
rest of its time counts as waiting for the disk. Systems that count no faults of a thread (macOS) show no such waiting.

On a device with streams copies and idle times are measured between events, which are read after they have completed:
nothing here waits for the device.
"""

import dataclasses
import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from engine.devices import abilities
from engine.system import faults_of_thread

if TYPE_CHECKING:
    # It takes seconds, and decoding alone has no need of it.
    import torch


class Timed(Protocol):
    """As torch's events, recorded with timing: something on the device that passes."""

    def query(self) -> bool:
        """Whether it has passed."""
        ...

    def elapsed_time(self, end_event: Any, /) -> float:
        """Milliseconds from here to there."""
        ...


@dataclass(frozen=True, kw_only=True)
class DataFigures:
    """Sums since a loader was opened; the difference of two is what happened in between."""

    wait_seconds: float = 0.0
    """Time the consumer waited for data."""
    idle_seconds: float = 0.0
    """Time the device waited for data: on a CPU the same, on a GPU less, while it still has work."""
    fill_seconds: float = 0.0
    """Wall-clock time of filling batches, without waiting for a slot's last copy."""
    window_seconds: float = 0.0
    """Part of fill_seconds: waiting for a window of the file (page-wise order)."""
    download_seconds: float = 0.0
    """Part of fill_seconds: waiting for a window while the file is still downloaded."""
    download_bytes: float = 0.0
    """Bytes of records that have arrived from a URL."""
    cpu_seconds: float = 0.0
    """CPU time of all decoding threads."""
    queue_seconds: float = 0.0
    """Time the decoding threads waited for a core, summed over them."""
    read_seconds: float = 0.0
    """Time the decoding threads waited for the disk, summed over them."""
    copy_seconds: float = 0.0
    """Time of copies to the device; 0 on a CPU."""
    images: float = 0.0
    record_bytes: float = 0.0
    """Bytes of the records, from disk or page cache."""
    asked: float = 0.0
    """Batches asked for."""
    ready: float = 0.0
    """Share of slots that were ready when a batch was asked for, summed over batches."""

    def __sub__(self, earlier: "DataFigures") -> "DataFigures":
        names = [field.name for field in dataclasses.fields(self)]
        return DataFigures(**{name: getattr(self, name) - getattr(earlier, name) for name in names})


@dataclass(frozen=True)
class Busy:
    """A decoding thread's time in seconds: computing, waiting for a core, waiting for the disk."""

    cpu: float
    queue: float
    read: float


class ThreadMeter:
    """The clocks of the thread that constructs it, which alone may use it."""

    def __init__(self) -> None:
        try:
            self._schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        except OSError:
            # Without schedstat, waiting for a core counts as waiting for the disk.
            self._schedstat = -1
        self._wall = self._cpu = 0.0
        self._queue, self._faults = self._counted()

    def begin(self) -> None:
        """Start a measurement; discards one that was not ended."""
        self._wall, self._cpu = time.perf_counter(), time.thread_time()

    def end(self) -> Busy:
        """End the measurement."""
        wall, cpu = time.perf_counter() - self._wall, time.thread_time() - self._cpu
        queue, faults = self._counted()
        # A thread may also have waited for a core before the measurement, to wake up.
        still = max(0.0, wall - cpu)
        queued = min(queue - self._queue, still)
        read = still - queued if faults > self._faults else 0.0
        self._queue, self._faults = queue, faults
        return Busy(cpu, queued, read)

    def _counted(self) -> tuple[float, int]:
        """Seconds of waiting for a core, and major faults, since the thread started."""
        queue = 0.0
        if self._schedstat >= 0:
            queue = int(os.pread(self._schedstat, 96, 0).split()[1]) / 1e9
        return queue, faults_of_thread()

    def __del__(self) -> None:
        if getattr(self, "_schedstat", -1) >= 0:
            os.close(self._schedstat)


class PoolMeter:
    """Sums over the threads of a pool; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums = Busy(0.0, 0.0, 0.0)

    def add(self, busy: Busy) -> None:
        """Add one measurement of a thread."""
        with self._lock:
            sums = self._sums
            self._sums = Busy(sums.cpu + busy.cpu, sums.queue + busy.queue, sums.read + busy.read)

    def figures(self) -> Busy:
        """The sums so far."""
        return self._sums


# Pairs of events that may be pending before the completed ones are read.
_MOST_PAIRS = 64


class DeviceMeter:
    """Sums a GPU's time between pairs of events, each read after both have completed."""

    def __init__(self) -> None:
        self._pairs: deque[tuple[Timed, Timed]] = deque()
        self._seconds = 0.0

    def add(self, begin: Timed, end: Timed) -> None:
        """Add a pair of events, recorded with timing on one stream."""
        self._pairs.append((begin, end))
        if len(self._pairs) > _MOST_PAIRS:
            self._look()

    def seconds(self) -> float:
        """The sum over all pairs that have completed by now."""
        self._look()
        return self._seconds

    def _look(self) -> None:
        while self._pairs and self._pairs[0][1].query():
            begin, end = self._pairs.popleft()
            self._seconds += begin.elapsed_time(end) / 1e3


class LoaderMeter:
    """The figures of one loader: the producer's thread calls `filled`, the consumer's thread the other methods."""

    def __init__(self, pool: PoolMeter, device: "torch.device") -> None:
        self._pool, self._has_events = pool, abilities(device).streams
        self.copies, self.idle = DeviceMeter(), DeviceMeter()
        self._fill = self._window = self._download = self._bytes = 0.0
        self._arrived = 0
        self._wait = self._ready = 0.0
        self._images = self._asked = 0

    def filled(
        self,
        *,
        images: int,
        record_bytes: int,
        seconds: float,
        window_seconds: float,
        downloading: bool = False,
    ) -> None:
        """A batch was filled in `seconds`, including `window_seconds` of waiting for a window of the file, which was
        still `downloading` when the wait began."""
        self._images += images
        self._bytes += record_bytes
        self._fill += seconds
        if downloading:
            self._download += window_seconds
        else:
            self._window += window_seconds

    def arrived(self, count: int) -> None:
        """So many bytes have arrived by now."""
        self._arrived = count

    def handed_over(self, *, ready: float, waited: float) -> None:
        """A batch was asked for while the share `ready` of the slots was ready, and came after `waited` seconds."""
        self._asked += 1
        self._ready += ready
        self._wait += waited

    @property
    def idle_seconds(self) -> float:
        """Time the device waited for data; on a GPU only completed work counts."""
        return self.idle.seconds() if self._has_events else self._wait

    def figures(self) -> DataFigures:
        """All sums up to now; on a GPU only completed work counts."""
        busy = self._pool.figures()
        return DataFigures(
            wait_seconds=self._wait,
            idle_seconds=self.idle_seconds,
            fill_seconds=self._fill,
            window_seconds=self._window,
            download_seconds=self._download,
            download_bytes=self._arrived,
            cpu_seconds=busy.cpu,
            queue_seconds=busy.queue,
            read_seconds=busy.read,
            copy_seconds=self.copies.seconds(),
            images=self._images,
            record_bytes=self._bytes,
            asked=self._asked,
            ready=self._ready,
        )
