"""Large sequential writes past the page cache, by O_DIRECT, where the file system knows it.

Written through the page cache, each byte is copied and its page found, accounted for and given back again, which takes
as much of a processor as everything else that is done to a record that is kept as it is; and the files that are being
read are pushed out of the memory. Here blocks go from a buffer to the disk, in a thread, while the next one is filled.
"""

import errno
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import BinaryIO

from engine.system import opened_direct

_BLOCK = 4096
"""Bytes; what O_DIRECT writes begins and ends at a multiple of it: of any disk's blocks."""

_BUFFER = 4 * 2**20

# What a file system says that does not know O_DIRECT, or wants other multiples.
_NOT_DIRECT = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}


class DirectFile:
    """A position in `file` from which it is written; as long as it is, `file` itself must not be written to.

    `flush` brings everything to the file, which a block that ends without an error does by itself. Any method that
    writes may raise the OSError of a write before it. `file` is not closed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._plain = file.fileno()
        self._direct = _open_direct(self._plain)
        self._buffer, self._other = (memoryview(mmap.mmap(-1, _BUFFER)) for _ in range(2))
        self._start, self._fill = 0, 0
        """The buffer's place in the file, a multiple of _BLOCK, and how much of it is filled."""
        self._end = os.fstat(self._plain).st_size
        self._writing = ThreadPoolExecutor(1, "write")
        self._pending: Future[None] | None = None

    def __enter__(self) -> "DirectFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.flush()
        finally:
            self.close()

    def fileno(self) -> int:
        """The file's descriptor, for what is not writing."""
        return self._plain

    def tell(self) -> int:
        """Where the next byte goes."""
        return self._start + self._fill

    def seek(self, offset: int) -> int:
        """Go on there; what lies between it and the file's end so far is zeros."""
        here = self.tell()
        if offset == here:
            return offset
        if offset > here >= self._end:
            # Zeros to the block's end, so that the last one need not go another way, nor be waited for.
            self.write(bytes(min(offset - here, -here % _BLOCK)))
        if self._fill % _BLOCK:
            self.flush()
        else:
            self._send()
        self._fill = 0
        self._start, before = offset - offset % _BLOCK, offset % _BLOCK
        if before:
            self._wait()
            self._buffer[:before] = os.pread(self._plain, before, self._start).ljust(before, b"\0")
        self._fill = before
        return offset

    def write(self, data: bytes | memoryview) -> int:
        """Write bytes, of any number."""
        left = memoryview(data)
        while left:
            # Each step leaves what `flush` can go on with, should Ctrl-C end it there.
            count = min(len(left), _BUFFER - self._fill)
            self._buffer[self._fill : self._fill + count] = left[:count]
            self._fill += count
            left = left[count:]
            if self._fill == _BUFFER:
                self._send()
        return len(data)

    def flush(self) -> None:
        """All that was written is in the file on return, as far as other processes see; for the disk, sync it."""
        self._wait()
        whole = self._fill - self._fill % _BLOCK
        self._write_blocks(self._buffer[:whole], self._start)
        _write_all(self._plain, self._buffer[whole : self._fill], self._start + whole)
        self._end = max(self._end, self.tell())

    def close(self) -> None:
        """End here; what was written since the last flush may be lost."""
        self._writing.shutdown()
        if self._direct >= 0:
            os.close(self._direct)
            self._direct = -1

    def _send(self) -> None:
        """Let the thread write the buffer, whole blocks, and go on with the other one behind it."""
        self._wait()
        size = self._fill
        self._pending = self._writing.submit(self._write_blocks, self._buffer[:size], self._start)
        self._fill = 0
        self._start += size
        self._end = max(self._end, self._start)
        self._buffer, self._other = self._other, self._buffer

    def _wait(self) -> None:
        # One that failed stays, so that nothing after it can pass for written.
        if self._pending is not None:
            self._pending.result()
            self._pending = None

    def _write_blocks(self, data: memoryview, offset: int) -> None:
        if self._direct >= 0:
            try:
                _write_all(self._direct, data, offset)
            except OSError as error:
                if error.errno not in _NOT_DIRECT:
                    raise
                os.close(self._direct)
                self._direct = -1
            else:
                return
        _write_all(self._plain, data, offset)


def bytes_on_disk(found: os.stat_result) -> int:
    """What a file takes on the disk, by its `stat`: without holes in it, such as the unused ends of pages."""
    return min(found.st_size, found.st_blocks * 512)


def _open_direct(descriptor: int) -> int:
    """The same file once more, with O_DIRECT; -1 where its file system does not know it."""
    try:
        return opened_direct(descriptor)
    except OSError as error:
        if error.errno not in _NOT_DIRECT:
            raise
        return -1


def _write_all(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
