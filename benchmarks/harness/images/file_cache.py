"""The system's page cache: which share of a file is in it, filling it with a file, and dropping a file from it."""

import ctypes
import mmap
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from engine.errors import UserError

_CHUNK = 16 * 2**20
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]

# A page may come or go at any time; more than this share is no accident.
_NEARLY = 0.01
# Some virtual machines keep dropping pages that were not used for a while.
_PASSES = 3
_ENOUGH = 0.9


def resident_share(path: Path) -> float:
    """The share of the file's pages that are in memory, by mincore(2)."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        # numpy gets the address of a read-only map; ctypes needs a writable one.
        content = np.frombuffer(mapped, np.uint8)
        pages = np.zeros(-(-len(content) // mmap.PAGESIZE), np.uint8)
        failed = _LIBC.mincore(content.ctypes.data, len(content), pages.ctypes.data)
        # The map can't be closed while an array refers to it.
        del content
    if failed:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), str(path))
    return float((pages & 1).mean())


def fill_all(files: Iterable[Path]) -> None:
    """Fill the page cache with each file."""
    for file in files:
        fill(file)


def drop_all(files: Iterable[Path]) -> None:
    """Drop each file."""
    for file in files:
        drop(file)


def fill(path: Path) -> None:
    """Read the file into the page cache. Raises UserError where it does not stay there."""
    buffer = bytearray(_CHUNK)
    for _ in range(_PASSES):
        with open(path, "rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
        share = resident_share(path)
        if share >= 1 - _NEARLY:
            return
    if share < _ENOUGH:
        raise UserError(
            f"only {share:.0%} of {path} stays in the page cache: free some memory or lower --images"
        )


def drop(path: Path) -> None:
    """Drop the file from the page cache. Raises UserError where the system keeps it."""
    with open(path, "rb") as file:
        # Pages that are not yet on the disk would stay.
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    share = resident_share(path)
    if share > _NEARLY:
        raise UserError(
            f"{share:.0%} of {path} stays in memory, so its first read can't be measured: close programs that use "
            "it, or keep it on a disk (XDG_CACHE_HOME names the folder)"
        )
