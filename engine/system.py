"""System calls that not every system has, and what is done where they are missing: the one place that asks for them.

Linux has them all. macOS has no affinity, posix_fadvise, memfd_create, O_DIRECT and /proc; locks and resource usage are
POSIX. Windows, where WSL2 is the way to run this, has none. What is missing costs speed or a figure, never a result.
Standard library only.
"""

import ctypes
import errno
import importlib
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, Any


def _module(name: str) -> Any:
    with suppress(ImportError):
        return importlib.import_module(name)
    return None


# POSIX alone has them.
fcntl, resource = _module("fcntl"), _module("resource")

ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""The signals by which schedulers and clouds announce that they take the machine back."""


# ---- cores and memory ----


def allowed_cores() -> frozenset[int]:
    """The cores that this process may use: its affinity, or all where the system knows none."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def bind_thread(thread: int, cores: frozenset[int]) -> None:
    """Bind a thread to these cores, where the system can. Raises OSError where it may not."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(thread, cores)


def threads_of_process() -> list[int]:
    """The ids of this process's threads; empty where the system does not list them."""
    with suppress(FileNotFoundError):
        return [int(name) for name in os.listdir("/proc/self/task")]
    return []


def physical_memory() -> tuple[int, int]:
    """Bytes of memory of this machine, and those that are free, where there is no /proc/meminfo."""
    try:
        import psutil
    except ImportError:
        # Before anything is installed; what is free is not known then.
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return total, total
    found = psutil.virtual_memory()
    return found.total, found.available


def peak_memory() -> int | None:
    """The most bytes of memory that this process has had so far; None where the system does not tell."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, kibibytes elsewhere.
    return peak if sys.platform == "darwin" else peak * 1024


def faults_of_thread() -> int:
    """Pages that the disk had to be read for by the calling thread; 0 where the system does not count them."""
    if not hasattr(resource, "RUSAGE_THREAD"):
        return 0
    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt


def open_files_limit() -> int:
    """How many files this process may have open; -1 without a limit, or where the system does not tell."""
    soft = -1 if resource is None else resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return -1 if resource is None or soft == resource.RLIM_INFINITY else soft


# ---- files ----


def lock(file: IO[Any] | int) -> None:
    """Lock an open file (flock) until it is closed; without locks in the system nothing happens.

    Raises BlockingIOError where another process holds the lock, and OSError where the file system has none.
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_shared(file: int) -> None:
    """As `lock`, beside others who lock it so: only `lock` itself is refused then. Again is fine."""
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def lock_for_process(file: int) -> None:
    """As `lock`, with a POSIX lock, which ends with this process even where one that it forked lives on."""
    if fcntl is not None:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def read_at(descriptor: int, buffer: memoryview, start: int) -> int:
    """Read into `buffer` from byte `start` of a file; returns how many bytes, 0 at its end."""
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [buffer], start)
    found = os.pread(descriptor, len(buffer), start)
    buffer[: len(found)] = found
    return len(found)


def sync_data(descriptor: int) -> None:
    """Wait until what was written to a file is on the disk, as far as that is needed to read it."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def reserve(descriptor: int, size: int) -> bool:
    """Give the file open there `size` bytes of the disk, in one piece where there is one; False where none can be had.

    Linux's fallocate; the portable posix_fallocate writes to each block where the file system has no such thing.
    Raises OSError: ENOSPC where the disk has not so much.
    """
    call = (
        getattr(ctypes.CDLL(None, use_errno=True), "fallocate64", None) if sys.platform == "linux" else None
    )
    if call is None:
        return False
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    while call(descriptor, 0, 0, size):
        number = ctypes.get_errno()
        if number in (errno.EOPNOTSUPP, errno.ENOSYS):
            return False
        # A signal may come in between.
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True


def advise(descriptor: int, start: int, size: int, advice: str) -> None:
    """posix_fadvise with POSIX_FADV_`advice`, where the system takes advice."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, start, size, getattr(os, f"POSIX_FADV_{advice}"))


def opened_again(descriptor: int) -> int:
    """Another descriptor, for reading, of the file that is open there, whatever lies at its path by now.

    The two share advice and position where there is no /proc.
    """
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
    except FileNotFoundError:
        return os.dup(descriptor)


def opened_direct(descriptor: int) -> int:
    """The same file once more, for writes past the page cache (O_DIRECT); -1 where the system knows no such thing.

    Raises OSError where the file system knows none.
    """
    if not hasattr(os, "O_DIRECT"):
        return -1
    try:
        return os.open(f"/proc/self/fd/{descriptor}", os.O_WRONLY | os.O_DIRECT)
    except FileNotFoundError:
        return -1


# ---- processes ----


def runs(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not asked for yet does not, where the system tells."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return not os.path.exists("/proc/self/stat") and _answers(pid)
    # A zombie has ended, and its parent has not asked yet.
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
