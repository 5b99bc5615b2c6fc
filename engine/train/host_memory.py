"""Keeping freed memory in the process when training on the CPU.

glibc returns every freed large block to the system, so each step's activations are mapped, zeroed and
faulted in anew: 12,000 to 14,000 page faults a step of 256 small images, a tenth of its time and far more on a
busy machine. What a step needs, the next one needs again.
"""

import ctypes
import platform

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tell glibc not to give freed memory back; returns whether it agreed (False: another C library)."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))
