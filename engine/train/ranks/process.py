"""Corrects two defaults of C libraries that make training on a CPU slow. Imports no torch.

Both were measured with a step of 256 images of 20 px on 2 cores.

OpenMP's threads wait for each other by spinning. Beside other light work a thread loses its core while the rest spin
for it: 2,200 images/s became 90 to 280. With a short spin they stayed at 1,650 to 2,190, and an idle machine is not
slower. It does not help beside work that keeps a core busy: there a run fell to 200 images/s all the same.

glibc returns every freed large block to the system, so the activations of each step are mapped and zeroed again:
12,000 to 14,000 page faults per step. Keeping the memory leaves about 100.
"""

import ctypes
import os
import platform

# Long enough for the gaps between the kernels of a step, short enough to free the core for other work.
_SPIN_COUNT = "10000"

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_LARGEST = 2**31 - 1


def limit_spinning() -> None:
    """Shorten OpenMP's spinning; works only before torch is imported, and not if OMP_WAIT_POLICY is set."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)


def keep_freed_memory() -> bool:
    """Have glibc keep freed memory; returns whether that worked (False with another C library)."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))
