"""The cores and memory that this process may use, and the threads that its user wants: the one place that finds them.

A container, a SLURM job or a service is limited by control groups (cgroup versions 1 and 2, nested), which a process's
affinity and the machine's memory do not show. Standard library only: the doctor runs without any package.
"""

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from engine.system import allowed_cores, physical_memory

_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def usable_cores(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Cores that this process may keep busy, at least 1: its affinity, or less under a quota of CPU time."""
    return share_of_quota(len(allowed_cores()), 1, proc, cgroups)


def share_of_quota(cores: int, processes: int, proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """`cores`, or less where a quota leaves each of so many processes less; at least 1."""
    return max(1, int(min(cores, cpu_quota(proc, cgroups) / processes)))


def cpu_quota(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> float:
    """CPU time that this process and those limited with it may use, in cores; infinite without a limit."""
    quotas = [math.inf]
    for group in _groups("cpu", proc, cgroups):
        quota, period = (*_words(group / "cpu.max"), "", "")[:2]
        if not quota:
            quota, period = (_first(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
        # No limit is "max" or -1.
        if quota.isdigit() and period.isdigit() and int(period):
            quotas.append(int(quota) / int(period))
    return min(quotas)


def compute_threads(
    cores: int, environment: Mapping[str, str] = os.environ, launcher: Path | None = None
) -> int:
    """Threads for torch's work on the CPU: as many as `cores`, or what the user set in OMP_NUM_THREADS.

    torchrun sets it to 1 for several processes if the user did not: that counts only if torchrun, whose environment
    is the file `launcher`, got it too.
    """
    wanted = environment.get("OMP_NUM_THREADS", "").split(",")[0]
    if wanted == "1" and "TORCHELASTIC_RUN_ID" in environment:
        of_user = _read(launcher or _PROC / str(os.getppid()) / "environ").split("\0")
        wanted = wanted if "OMP_NUM_THREADS=1" in of_user else ""
    return int(wanted) if wanted.isdigit() and int(wanted) else cores


def usable_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Bytes of memory that this process may use at most: the machine's, or less under a limit."""
    limits = [_meminfo("MemTotal", proc)]
    for group in _groups("memory", proc, cgroups):
        limit = _first(group / "memory.max") or _first(group / "memory.limit_in_bytes")
        limits += [int(limit)] if limit.isdigit() else []
    return min(limits)


def free_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Bytes of memory that are free, of the machine and under each limit; the page cache counts as free."""
    free = [_meminfo("MemAvailable", proc)]
    for group in _groups("memory", proc, cgroups):
        total, names = "", ("memory.max", "memory.current")
        if not (group / names[0]).exists():
            # A group's own figures are without those of the groups in it.
            total, names = "total_", ("memory.limit_in_bytes", "memory.usage_in_bytes")
        limit, usage = (_first(group / name) for name in names)
        if limit.isdigit() and usage.isdigit():
            words = _words(group / "memory.stat")
            statistics = dict(zip(words[::2], words[1::2], strict=False))
            cached = sum(int(statistics.get(f"{total}{kind}_file", 0)) for kind in ("active", "inactive"))
            free.append(max(0, int(limit) - int(usage) + cached))
    return min(free)


def _groups(controller: str, proc: Path, cgroups: Path) -> Iterator[Path]:
    """The folders of this process's groups that may limit it, and of the groups around them.

    Inside a container its group is the root, whatever its name on the host.
    """
    places: dict[Path, set[str]] = {cgroups: {""}}
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, own = line.split(":", 2)
        if not controllers:
            places[cgroups].add(own.strip("/"))
        elif controller in controllers.split(","):
            root = cgroups / (controllers if (cgroups / controllers).is_dir() else controller)
            places.setdefault(root, {""}).add(own.strip("/"))
    for root, paths in places.items():
        yield from {root / part for path in paths for part in (Path(path), *Path(path).parents)}


def _meminfo(name: str, proc: Path) -> int:
    if words := _words(proc / "meminfo"):
        return int(words[words.index(f"{name}:") + 1]) * 1024
    return physical_memory()[name == "MemAvailable"]


def _words(path: Path) -> list[str]:
    return _read(path).split()


def _first(path: Path) -> str:
    return next(iter(_words(path)), "")


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""
