"""The page cache: whether a file fits into memory, and a thread that reads a whole file into it.

posix_fadvise(WILLNEED) would be shorter, but Linux caps it at a few MiB per call. A file that does not fit into memory
should not be read ahead: its end would evict its beginning.
"""

import threading
from pathlib import Path

from engine.limits import free_memory

_CHUNK = 4 * 2**20
# The run, its pinned batches and other programs need memory too.
_SHARE_FOR_A_FILE = 0.9


def shortage(what: Path | str, size: int) -> str:
    """One line on why `size` bytes of a file do not fit into memory; empty if they fit."""
    free = free_memory()
    if size <= _SHARE_FOR_A_FILE * free:
        return ""
    return f"{what} ({size / 1e9:.1f} GB) does not fit into memory ({free / 1e9:.1f} GB available)"


class ReadAhead:
    """A thread that reads `path` until its end or `close()`; ignores read errors, which the real reader reports."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="read-ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        buffer = bytearray(_CHUNK)
        try:
            with open(self._path, "rb", buffering=0) as file:
                while not self._stopping.is_set() and file.readinto(buffer):
                    pass
        except OSError:
            return

    def wait(self) -> None:
        """Wait until the whole file was read."""
        self._thread.join()

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()
