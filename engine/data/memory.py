"""How much memory this process may use for files, as the system and its control groups have it."""

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
