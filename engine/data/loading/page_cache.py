"""The page cache: how much memory is free for files, and a thread that reads a whole file into it.

posix_fadvise(WILLNEED) would be shorter, but Linux caps it at a few MiB per call. A file that does not fit into memory
should not be read ahead: its end would evict its beginning.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def free_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Bytes of memory that are free; the page cache counts as free.

    The minimum of the machine's and of what each control group of this process leaves (cgroup versions 1 and 2).
    """
    return min([_of_machine(proc), *_of_groups(proc, cgroups)])


def _of_machine(proc: Path) -> int:
    lines = (line.split() for line in (proc / "meminfo").read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:")


def _of_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """The bytes left under each limit of a group that this process can see."""
    for line in (proc / "self" / "cgroup").read_text().splitlines():
        _, controllers, own = line.split(":", 2)
        if "memory" in controllers.split(","):
            root, names = cgroups / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
            caches = ("total_active_file", "total_inactive_file")
        elif not controllers:
            root, names = cgroups, ("memory.max", "memory.current")
            caches = ("active_file", "inactive_file")
        else:
            continue
        # Inside a container its group is the root, and the path exists only on the host.
        for group in (root / own.lstrip("/"), *(root / own.lstrip("/")).parents):
            if group == root.parent:
                break
            if (group / names[0]).is_file():
                limit, usage = ((group / name).read_text().strip() for name in names)
                if limit != "max":
                    yield max(0, int(limit) - int(usage) + _cached(group, caches))


def _cached(group: Path, names: tuple[str, ...]) -> int:
    statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return sum(int(statistics[name]) for name in names)


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
