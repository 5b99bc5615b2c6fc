"""What a run ran on and with: package versions, the machine, the source's git revision.

Every fact is cheap, and none is worth failing a run for: what can't be known is left out or None.
"""

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import engine
from engine.devices import names
from engine.limits import usable_cores, usable_memory

_PACKAGES = ("torch", "torchvision", "numba", "numpy", "ffcv")
_SOURCE = Path(__file__).resolve().parents[2]


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
        "cores": usable_cores(),
        "threads": _threads(),
        "memory_gb": round(usable_memory() / 2**30, 1),
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


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_name() -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    if sys.platform == "darwin" and (brand := _said("sysctl", "-n", "machdep.cpu.brand_string")):
        return brand
    return platform.processor() or platform.machine()


def _threads() -> int | None:
    torch = sys.modules.get("torch")
    return torch.get_num_threads() if torch is not None else None


def _gpu_names() -> list[str]:
    # A process that never imported torch used no GPU, and importing it takes seconds.
    return names() if "torch" in sys.modules else []


def _git(folder: Path, *arguments: str) -> str | None:
    return _said("git", "--no-optional-locks", "-C", str(folder), *arguments)


def _said(*command: str) -> str | None:
    """What a command prints; None where it fails or is missing."""
    try:
        done = subprocess.run(
            command,
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
