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
# Above "high" the system slows a group down until it has given memory back. The last one is version 1's.
_LIMITS = ("memory.max", "memory.high", "memory.limit_in_bytes")


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


def limit_threads() -> None:
    """Let torch compute on the CPU with a thread for each core that may be used, or as OMP_NUM_THREADS says.

    torch's own choice knows no quota of CPU time. A run's processes share the cores: see process_group.
    """
    import torch

    torch.set_num_threads(compute_threads(usable_cores()))


def usable_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Bytes of memory that this process may use at most: the machine's, or less under a limit."""
    limits = [_meminfo("MemTotal", proc)]
    for group in _groups("memory", proc, cgroups):
        limits += [int(limit) for name in _LIMITS if (limit := _first(group / name)).isdigit()]
    return min(limits)


def free_memory(proc: Path = _PROC, cgroups: Path = _CGROUPS) -> int:
    """Bytes of memory that are free, of the machine and under each limit; the page cache counts as free."""
    free = [_meminfo("MemAvailable", proc)]
    for group in _groups("memory", proc, cgroups):
        # In version 1 a group's own figures are without those of the groups in it.
        old = (group / "memory.usage_in_bytes").exists()
        usage, total = _first(group / f"memory.{'usage_in_bytes' if old else 'current'}"), "total_" * old
        words = _words(group / "memory.stat")
        statistics = dict(zip(words[::2], words[1::2], strict=False))
        freed = sum(int(statistics.get(name, 0)) for name in (
            f"{total}active_file", f"{total}inactive_file", "slab_reclaimable"
        ))  # fmt: skip
        for limit in (_first(group / name) for name in _LIMITS):
            if limit.isdigit() and usage.isdigit():
                free.append(max(0, int(limit) - int(usage) + freed))
    return min(free)


def _groups(controller: str, proc: Path, cgroups: Path) -> set[Path]:
    """The folders of this process's groups that may limit it, and of the groups around them."""
    found: set[Path] = set()
    for mount, root, own in _mounts(controller, proc, cgroups):
        if ".." in root:
            # Mounted before this process's namespace was made: its root has no name here, so look for this process.
            below = "*/" * root.count("..") + own.strip("/")
            groups = [
                group for group in mount.glob(below) if str(os.getpid()) in _words(group / "cgroup.procs")
            ]
        else:
            # Inside a container its group is the root, whatever its name on the host.
            inside = root == "/" or f"{own}/".startswith(f"{root}/")
            groups = [mount / (own.removeprefix(root) if inside else "").strip("/")]
        for group in groups or [mount]:
            found |= {mount, group, *(parent for parent in group.parents if mount in parent.parents)}
    return found


def _mounts(controller: str, proc: Path, cgroups: Path) -> Iterator[tuple[Path, str, str]]:
    """Where groups are to be seen: folder, name of the group that it shows, name of this process's group."""
    own: dict[str, str] = {}
    for line in _read(proc / "self" / "cgroup").splitlines():
        _, controllers, name = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), name)
        # The usual folders: a container may hide where they are mounted.
        if not controllers:
            yield cgroups, "/", name
        elif controller in controllers.split(","):
            yield from ((cgroups / folder, "/", name) for folder in (controllers, controller))
    yield cgroups, "/", ""
    for line in _read(proc / "self" / "mountinfo").splitlines():
        where, _, what = line.partition(" - ")
        kind, _, options = (*what.split(" ", 2), "", "")[:3]
        if kind == "cgroup2" or (kind == "cgroup" and controller in options.split(",")):
            root, mount = where.split()[3:5]
            yield Path(mount), root, own.get("" if kind == "cgroup2" else controller, "/")


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
