"""The records of a checked file in plain reads: many at a time, by several threads, ahead of their use.

    samples, in file order -> stretches of some MB -> read, then examined, in threads -> results in order

Not through a memory map, where a disk that fails ends the process: here it names the records it failed at. Memory
stays at a few stretches a thread, whatever the file's size.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.data.beton.checksum import crc32
from engine.data.beton.reader import Beton
from engine.errors import UserError, describe_os_error
from engine.limits import usable_cores
from engine.system import read_at

Result = TypeVar("Result")

# Enough requests for a disk to be busy, on however few cores; no more memory than a few hundred MB, on however many.
_LEAST_THREADS, _MOST_THREADS = 4, 16
_STRETCH = 4 * 2**20
# What is read in vain, rather than ask the disk once more.
_GAP = 64 * 2**10


@dataclass(frozen=True, eq=False)
class Stretch:
    """Records read in one go. Arrays have an entry for each, in the order asked for."""

    samples: NDArray[np.int64]
    data: NDArray[np.uint8]
    """All of them, and what lies between them."""
    offsets: NDArray[np.int64]
    """Where each one begins in `data`."""
    sizes: NDArray[np.int64]
    unread: NDArray[np.bool_]
    """Those that the disk fails to read."""

    def record(self, row: int) -> memoryview:
        """The bytes of one of them."""
        start = int(self.offsets[row])
        return self.data.data[start : start + int(self.sizes[row])]

    def checksums(self) -> NDArray[np.uint32]:
        """The crc32 of each."""
        return np.array([crc32(self.record(row)) for row in range(len(self.samples))], np.uint32)


class RecordReader:
    """Reads records of one file, through a file descriptor of its own: use it as a context manager.

    Raises UserError when the file can't be opened or has become shorter.
    """

    def __init__(self, beton: Beton) -> None:
        self._path = beton.path
        self._starts = beton.images["data_ptr"].astype(np.int64)
        self._sizes = beton.sizes.astype(np.int64)
        self._descriptor = beton.open()
        self._mark = beton.mark
        try:
            self.check()
        except UserError:
            os.close(self._descriptor)
            raise

    def check(self) -> None:
        """Raises UserError when the file has other tables or checksums now than when it was opened."""
        if self._mark and os.fstat(self._descriptor).st_size >= self._mark.state[2]:
            # A shorter one shows where it ends. The records are the business of those who read them.
            self._mark = self._mark.renewed(self._path, self._descriptor, has_checksums=True)

    def __enter__(self) -> "RecordReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def read(self, sample: int) -> bytes:
        """One record. Raises UserError when the disk fails, too."""
        record = np.empty(self._sizes[sample], np.uint8)
        try:
            self._fill(record, int(self._starts[sample]))
        except OSError as error:
            raise describe_os_error(error, self._path, f"read sample {sample} of") from None
        return record.tobytes()

    def examine(
        self, samples: NDArray[np.int64], work: Callable[[Stretch], Result]
    ) -> Generator[Result, None, None]:
        """What `work` makes of the stretches of these samples, in their order.

        It runs in one thread per core, 4 to 16, while later stretches are read. Fastest for samples in the
        order in which they lie in the file. To be closed, which ends the threads, before the reader is.
        """
        threads = min(_MOST_THREADS, max(_LEAST_THREADS, usable_cores()))
        waiting: deque[Future[Result]] = deque()
        with ThreadPoolExecutor(threads, thread_name_prefix="examine") as pool:
            try:
                for part in self._cut(samples):
                    waiting.append(pool.submit(lambda part: work(self._load(part)), part))
                    if len(waiting) == 2 * threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
                self.check()
            finally:
                for future in waiting:
                    future.cancel()

    def _cut(self, samples: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """The samples in groups that lie close behind each other; a record larger than a stretch is one by itself."""
        starts = self._starts[samples]
        ends = starts + self._sizes[samples]
        between = starts[1:] - ends[:-1]
        breaks = [0, *(np.flatnonzero((between < 0) | (between > _GAP)) + 1).tolist(), len(samples)]
        for first, behind in pairwise(breaks):
            while first < behind:
                # The ends ascend.
                fit = np.searchsorted(ends[first:behind], starts[first] + _STRETCH, "right")
                last = first + max(1, int(fit))
                yield samples[first:last]
                first = last

    def _load(self, samples: NDArray[np.int64]) -> Stretch:
        start, sizes = int(self._starts[samples[0]]), self._sizes[samples]
        offsets = self._starts[samples] - start
        data = np.empty(offsets[-1] + sizes[-1], np.uint8)
        unread = np.zeros(len(samples), np.bool_)
        try:
            self._fill(data, start)
        except OSError:
            # One by one, to know which.
            for row, (offset, size) in enumerate(zip(offsets.tolist(), sizes.tolist(), strict=True)):
                try:
                    self._fill(data[offset : offset + size], start + offset)
                except OSError:
                    unread[row] = True
        return Stretch(samples, data, offsets, sizes, unread)

    def _fill(self, buffer: NDArray[np.uint8], start: int) -> None:
        """Read from byte `start` of the file until the buffer is full."""
        view, done = buffer.data, 0
        while done < len(view):
            count = read_at(self._descriptor, view[done:], start + done)
            if count == 0:
                raise UserError(
                    f"{self._path} became shorter while it was read: it ends before byte {start + len(view)}; copy "
                    "or write it again"
                )
            done += count
