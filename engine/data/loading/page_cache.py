"""How much memory this process may use for files, as the system and its control groups have it.

A file read once from start to end in the background, so that the system holds it in its page cache.

posix_fadvise(WILLNEED) would be shorter, but Linux caps it at a few MiB a call whatever length it is given.
A file that does not fit into memory is better left alone: its end would only drive out its beginning.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def free_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Bytes that can still be used, counting what the page cache holds as free: it gives way.

    The least of the machine's and of what each control group above this process leaves (versions 1 and 2).
    """
    return min([_of_machine(proc), *_of_groups(proc, cgroups)])


def _of_machine(proc: Path) -> int:
    lines = (line.split() for line in (proc / "meminfo").read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:")


def _of_groups(proc: Path, cgroups: Path) -> Iterator[int]:
    """What is left under each limit; a group without one, or that this process can't see, says nothing."""
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
        # Inside a container its own group is the root, and the path is one that only its host has.
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
