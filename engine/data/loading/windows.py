"""The windows of page-wise order: read into memory before their use, and released after it.

    disk --WILLNEED--> page cache --POPULATE_READ--> memory map <-- decoders
           released:   FADV_DONTNEED    <--          MADV_DONTNEED

A thread reads the next window of the file while the current one is used, so at most two are in memory. It requests
pages some way ahead, so that the disk always has several requests, and then maps them, so that no decoder has a page
fault. The rest of the map is declared random: otherwise each fault would read many times what is used. Direct reads
into own memory were as fast (1.5 GB file, a quarter of it as memory, windows of 64 MiB: 0.8 to 1.1 GB/s against 1.0 to
1.1), but every rank of a host would hold its own copy; random order read the same file 15 times.

Each rank of a host does all this by itself. Pages that one rank has read the others find in the page cache, and the
system keeps a page that another process has mapped: the last rank that is done with a window releases it. Ranks
exchange gradients at every step, so none is behind by a window.

Of a file that is still downloaded, the windows' pages are asked for in the epoch's order, and waited for.
"""

import ctypes
import mmap
import os
import sys
import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.reader import Arrival
from engine.data.sampling.order import Windows
from engine.errors import UserError, describe_os_error
from engine.system import advise, opened_again, read_at

# From Linux's mman.h, some others' are the same; Python's mmap.madvise has some, but keeps the GIL while the disk is
# read. The last one is Linux's alone: elsewhere, as where there is no posix_fadvise, pages are plainly read.
_MADV_NORMAL, _MADV_RANDOM, _MADV_DONTNEED, _MADV_POPULATE_READ = 0, 1, 4, 22

# Pages requested ahead, including the one that is waited for.
_PAGES_AHEAD = 8
# Linux silently cuts larger requests down to this, its default read-ahead.
_REQUEST = 128 * 2**10


class WindowReader:
    """Holds the windows in use of one epoch in `memory`, the read-only map of the file at `path`.

    `descriptor` is that file where it is open already: another one may be at `path` by now. `arrival` says what of it
    is there. Reading begins with the first call of `advance`. Owns a thread and a file descriptor: use it as a context
    manager, or call `close()`, which also releases the windows.
    """

    def __init__(
        self,
        path: Path,
        memory: NDArray[np.uint8],
        windows: Windows,
        descriptor: int | None = None,
        arrival: Arrival | None = None,
    ) -> None:
        self._arrival = None if arrival is None or arrival.is_complete else arrival
        self._file = _MappedFile(path, memory, descriptor)
        self._spans = windows.spans
        self._window_of = np.empty(len(windows.order), np.int32)
        self._window_of[windows.order] = np.repeat(np.arange(len(windows.spans)), np.diff(windows.starts))
        # Guarded by _changed: the first and last window in use, and the number of windows read.
        self._changed = threading.Condition()
        self._first, self._last, self._ready = 0, 0, 0
        self._begun = False
        self._stopping = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="windows", daemon=True)
        self._thread.start()

    def advance(self, ids: NDArray[np.int64]) -> None:
        """Wait until these samples are in memory; the samples of earlier calls may be released.

        Batches come in the epoch's order, but may start anywhere in it. Raises UserError when the file can't be read,
        ValueError for samples of a released window, RuntimeError after `close()`.
        """
        used = self._window_of[ids]
        first, last = int(used.min()), int(used.max())
        with self._changed:
            if first < self._first:
                raise ValueError(f"window {first} was released: window {self._first} is in use")
            self._first, self._last, self._begun = first, last, True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._stopping or self._error is not None or self._ready > last)
            if self._error is not None:
                raise self._error
            if self._stopping:
                raise RuntimeError("the window reader is closed")

    def _run(self) -> None:
        released = window = 0
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._begun or self._stopping)
                released = window = self._first
            if self._arrival and not self._stopping:
                self._arrival.prefer(np.concatenate(self._spans[window:]))
            while self._wait_for_work(released, window):
                if released < self._first:
                    self._release(released)
                    released += 1
                else:
                    self._read(window)
                    window += 1
                    with self._changed:
                        self._ready = window
                        self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised again in the consumer by advance
            with self._changed:
                self._error = error
                self._changed.notify_all()
        finally:
            # The last window may have been read in part.
            for left in range(released, min(window + 1, len(self._spans))):
                self._release(left)

    def _wait_for_work(self, released: int, window: int) -> bool:
        """Wait for a window to release or to read; returns False when the reader was closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or released < self._first or window < self._wanted()
            )
            return not self._stopping

    def _wanted(self) -> int:
        """The number of windows that should be read by now: those in use and the next one."""
        return min(max(self._last, self._first + 1) + 1, len(self._spans))

    def _read(self, window: int) -> None:
        if self._arrival:
            self._arrival.wait(self._spans[window], lambda: not self._stopping and window >= self._first)
        spans, asked = self._spans[window].tolist(), 0
        for place, (start, stop) in enumerate(spans):
            if not self._stopping and window >= self._first:
                for ahead in spans[asked : place + _PAGES_AHEAD]:
                    self._file.request(*ahead)
                asked = place + _PAGES_AHEAD
            # Requested pages are waited for even if not needed: before they arrive they can't be released.
            if place >= asked:
                return
            self._file.load(start, stop)

    def _release(self, window: int) -> None:
        for start, stop in self._spans[window].tolist():
            self._file.release(start, stop)

    def close(self) -> None:
        """End the thread, also within a window, and release all windows."""
        with self._changed:
            if self._stopping:
                return
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        self._file.close()

    def __enter__(self) -> "WindowReader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _MappedFile:
    """Ranges of a file and its map, from byte `start` to before byte `stop`, read and released."""

    def __init__(self, path: Path, memory: NDArray[np.uint8], descriptor: int | None) -> None:
        self._path, self._memory = path, memory
        self._buffer = memoryview(bytearray(_REQUEST))
        self._madvise = ctypes.CDLL(None, use_errno=True).madvise
        self._madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        try:
            # Opened anew, since advice on how it is read belongs to the open file.
            self._descriptor = os.open(path, os.O_RDONLY) if descriptor is None else opened_again(descriptor)
        except OSError as error:
            raise describe_os_error(error, path, "open") from None
        advise(self._descriptor, 0, 0, "RANDOM")
        self._advise(0, len(memory), _MADV_RANDOM)

    def request(self, start: int, stop: int) -> None:
        """Ask the system to start reading; returns at once."""
        for at in range(start, stop, _REQUEST):
            advise(self._descriptor, at, min(_REQUEST, stop - at), "WILLNEED")

    def load(self, start: int, stop: int) -> None:
        """Wait until the range is in memory. Raises UserError when it can't be read."""
        if sys.platform == "linux" and self._advise(start, stop, _MADV_POPULATE_READ):
            return
        # Linux before 5.14, or a file that can't be read: plain reading distinguishes the two.
        try:
            while start < stop:
                count = read_at(self._descriptor, self._buffer[: stop - start], start)
                if count == 0:
                    raise UserError(
                        f"{self._path} became shorter while it was read: it ends before byte {stop}; copy or "
                        f"write it again, and start the run again"
                    )
                start += count
        except OSError as error:
            raise describe_os_error(error, self._path, "read") from None

    def release(self, start: int, stop: int) -> None:
        """Release all system pages of the range; a neighbour that still needs one reads it again."""
        start, stop = start // mmap.PAGESIZE * mmap.PAGESIZE, -(-stop // mmap.PAGESIZE) * mmap.PAGESIZE
        # In this order: the page cache keeps mapped pages.
        self._advise(start, stop, _MADV_DONTNEED)
        advise(self._descriptor, start, stop - start, "DONTNEED")

    def _advise(self, start: int, stop: int, advice: int) -> bool:
        start = start // mmap.PAGESIZE * mmap.PAGESIZE
        return self._madvise(self._memory.ctypes.data + start, stop - start, advice) == 0

    def close(self) -> None:
        """Reset the map's advice and close the file."""
        self._advise(0, len(self._memory), _MADV_NORMAL)
        os.close(self._descriptor)
