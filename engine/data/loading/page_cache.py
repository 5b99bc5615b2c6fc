"""The page cache: whether a file fits into memory, and a thread that reads a whole file into it.

posix_fadvise(WILLNEED) would be shorter, but Linux caps it at a few MiB per call. A file that does not fit into memory
should not be read ahead: its end would evict its beginning.
"""

import threading
from pathlib import Path

from engine.data.beton.reader import Arrival
from engine.limits import free_memory
from engine.system import opened_again

_CHUNK = 4 * 2**20
_LOOK_SECONDS = 0.2
# The run, its pinned batches and other programs need memory too.
_SHARE_FOR_A_FILE = 0.9


def shortage(what: Path | str, size: int) -> str:
    """One line on why `size` bytes of a file do not fit into memory; empty if they fit."""
    free = free_memory()
    if size <= _SHARE_FOR_A_FILE * free:
        return ""
    return f"{what} ({size / 1e9:.1f} GB) does not fit into memory ({free / 1e9:.1f} GB available)"


class ReadAhead:
    """A thread that reads `path` until its end or `close()`; ignores errors, which the real reader reports.

    A file that is still downloaded (`arrival`) is read when it is complete.
    """

    def __init__(self, path: Path, arrival: Arrival | None = None) -> None:
        self._path, self._arrival = path, arrival
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        buffer = bytearray(_CHUNK)
        try:
            with open(self._whole_file(), "rb", buffering=0) as file:
                while not self._stopping.is_set() and file.readinto(buffer):
                    pass
        except OSError:
            return

    def _whole_file(self) -> Path | int:
        if self._arrival is None:
            return self._path
        # Not by its `wait`: nobody needs the file yet.
        while not self._arrival.is_complete and not self._stopping.wait(_LOOK_SECONDS):
            pass
        return opened_again(self._arrival.descriptor)

    def wait(self) -> None:
        """Wait until the whole file was read."""
        self._thread.join()

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()
