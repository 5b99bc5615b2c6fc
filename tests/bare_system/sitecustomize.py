"""Takes from Python what macOS or Windows lacks. With this folder in PYTHONPATH, Python runs it first in each process.

fcntl, resource, /proc, /sys and /dev/shm are hidden from this project's files alone: libraries ask for other things on
other systems.
"""

import builtins
import importlib.abc
import io
import os
import signal
import sys
from pathlib import Path
from typing import Any

_ROOT = str(Path(__file__).resolve().parents[2])
_HERE = str(Path(__file__).resolve())
_STANDARD = str(Path(os.__file__).parent)

for _name in (
    *(
        "sched_getaffinity",
        "sched_setaffinity",
        "posix_fadvise",
        "posix_fallocate",
        "memfd_create",
        "O_DIRECT",
    ),
    *(
        "preadv",
        "pwritev",
        "sendfile",
        "copy_file_range",
        "splice",
        "pidfd_open",
        "eventfd",
        "fork",
        "forkpty",
    ),
):
    if hasattr(os, _name):
        delattr(os, _name)
for _name in ("SIGUSR1", "SIGUSR2", "pthread_sigmask", "sigwait", "sigpending"):
    if hasattr(signal, _name):
        delattr(signal, _name)


class _Gone(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name in _MODULES and _is_ours():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


_MODULES = ("fcntl", "resource")
for _name in _MODULES:
    sys.modules.pop(_name, None)
sys.meta_path.insert(0, _Gone())


def _is_ours() -> bool:
    """Whether a file of this project calls, by way of the standard library or not."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_code.co_filename.startswith((_STANDARD, "<frozen", _HERE)):
        if "site-packages" in frame.f_code.co_filename:
            return False
        frame = frame.f_back
    return frame.f_code.co_filename.startswith(_ROOT) and "site-packages" not in frame.f_code.co_filename


def _hidden(call: Any) -> Any:
    def asked(path: Any = ".", *arguments: Any, **options: Any) -> Any:
        name = os.fspath(path) if isinstance(path, (str, os.PathLike)) else ""
        if name.startswith(("/proc", "/sys/", "/dev/shm")) and _is_ours():
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return call(path, *arguments, **options)

    return asked


for _name in ("open", "stat", "lstat", "listdir", "scandir"):
    setattr(os, _name, _hidden(getattr(os, _name)))
builtins.open = io.open = _hidden(io.open)
