"""A file read once from start to end in the background, so that the system holds it in its page cache.

posix_fadvise(WILLNEED) would be shorter, but Linux caps it at a few MiB a call whatever length it is given.
A file that does not fit into memory is better left alone: its end would only drive out its beginning.
"""

import threading
from pathlib import Path

from engine.data.memory import free_memory

_CHUNK = 4 * 2**20
# The run itself, its pinned batches and other programs need some, too.
_SHARE_FOR_A_FILE = 0.9


def shortage(what: Path | str, size: int) -> str:
    """Why so many bytes of a file would not stay in memory, in one line; empty where they would."""
    free = free_memory()
    if size <= _SHARE_FOR_A_FILE * free:
        return ""
    return f"{what} ({size / 1e9:.1f} GB) does not fit into memory ({free / 1e9:.1f} GB can be used)"


class ReadAhead:
    """Reads `path` in its own thread until the end or `close()`; a read error is left to the real reader."""

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
        """Until the whole file was read."""
        self._thread.join()

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._thread.join()
