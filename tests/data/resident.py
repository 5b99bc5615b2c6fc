"""Which parts of a file the system holds in memory, and how to have it hold none."""

import ctypes
import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_MINCORE = ctypes.CDLL(None, use_errno=True).mincore
_MINCORE.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


def drop(path: Path) -> None:
    """Put the file on disk and out of the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def resident(memory: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """For each system page of a mapped file whether it is in memory."""
    pages = np.zeros(-(-len(memory) // mmap.PAGESIZE), np.uint8)
    if _MINCORE(memory.ctypes.data, len(memory), pages.ctypes.data):
        raise OSError(ctypes.get_errno(), "mincore")
    return (pages & 1).astype(bool)
