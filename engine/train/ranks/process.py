"""Two defaults of the C libraries that make training on a CPU slow, put right. Imports no torch.

Both were measured with a step of 256 images of 20 px on 2 cores. OpenMP's threads wait for each other by spinning:
beside light other work a thread is put aside while the rest spin for it, and 2,200 images/s became 90 to 280; with
a short spin they stayed at 1,650 to 2,190, and a quiet machine is no slower. Beside work that keeps a core busy
it does not help: a run fell to 200 images/s all the same.

glibc returns every freed
large block to the system, so each step's activations are mapped and zeroed anew: 12,000 to 14,000 page faults a
step, now about 100.
"""

import ctypes
import os
import platform

# Long enough to bridge the gaps between a step's kernels, short enough to leave the core to whoever needs it.
_SPIN_COUNT = "10000"

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_LARGEST = 2**31 - 1


def limit_spinning() -> None:
    """Has an effect only before torch is imported, and none where the user has chosen a policy."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPIN_COUNT)


def keep_freed_memory() -> bool:
    """Tell glibc not to give freed memory back; returns whether it agreed (False: another C library)."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))
