"""What a run ran on and with: package versions, the machine, the source's git revision.

Every fact is cheap, and none is worth failing a run for: what can't be known is left out or None.
"""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

import engine

_PACKAGES = ("torch", "torchvision", "numba", "numpy", "ffcv")
_SOURCE = Path(__file__).resolve().parents[2]
_CGROUP = Path("/sys/fs/cgroup")


def versions() -> dict[str, str | None]:
    """Version by package; None for one that is not installed."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "engine": engine.__version__,
    }


def machine() -> dict[str, Any]:
    """Processor, cores and memory that this process may use, and the GPUs it sees."""
    return {
        "cpu": _cpu_name(),
        "cores": usable_cores(_CGROUP / "cpu.max"),
        "memory_gb": round(usable_memory(_CGROUP / "memory.max") / 2**30, 1),
        "gpus": _gpu_names(),
    }


def revision(source: Path = _SOURCE) -> dict[str, Any] | None:
    """Git commit of the source and whether its tracked files were changed since; None outside git."""
    top = _git(source, "rev-parse", "--show-toplevel")
    # An unpacked copy inside some other repository must not claim that repository's commit.
    if top is None or Path(top).resolve() != source:
        return None
    commit = _git(source, "rev-parse", "HEAD")
    changes = _git(source, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return None
    return {"commit": commit, "dirty": bool(changes)}


def usable_cores(limit_file: Path) -> int:
    """Cores this process may run on: its affinity, or less where a container limits it by time share."""
    cores = len(os.sched_getaffinity(0))
    quota, _, period = _read(limit_file).partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def usable_memory(limit_file: Path) -> int:
    """Bytes of memory this process may use: the machine's, or less where a container limits it."""
    total = int(psutil.virtual_memory().total)
    limit = _read(limit_file)
    return min(total, int(limit)) if limit.isdigit() else total


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu_names() -> list[str]:
    # A process that never imported torch used no GPU, and importing it takes seconds.
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
