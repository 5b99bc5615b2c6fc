"""A file read once from start to end in the background, so that the system holds it in its page cache.

posix_fadvise(WILLNEED) would be shorter, but Linux caps it at a few MiB a call whatever length it is given.
"""

import threading
from pathlib import Path

_CHUNK = 4 * 2**20


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
