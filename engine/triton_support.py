"""Whether Triton's kernels run on a device, and if not, why."""

import functools
import importlib.util
import os
import shutil
from typing import TYPE_CHECKING

from engine.devices import is_cuda
from engine.files import library_cache

if TYPE_CHECKING:
    import torch

# The oldest NVIDIA GPUs that Triton's authors name as supported, since Triton 3.2.
_OLDEST_CAPABILITY = (8, 0)

_CACHE = "TRITON_CACHE_DIR"


@functools.cache
def why_not_triton(device: "torch.device") -> str:
    """Empty where Triton's kernels run on `device`, else the reason they do not, in words."""
    if not is_cuda(device):
        return f"Triton does not run on {device.type}"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    # torch takes a second to import, which commands without a device need not wait for.
    import torch

    capability = torch.cuda.get_device_capability(device)
    if capability < _OLDEST_CAPABILITY:
        names = [".".join(map(str, numbers)) for numbers in (_OLDEST_CAPABILITY, capability)]
        return f"Triton needs compute capability {names[0]}, and this GPU has {names[1]}"
    if not (os.environ.get("CC") or any(map(shutil.which, ("gcc", "clang")))):
        return "Triton needs a C compiler, and there is none"
    keep_compiled_kernels()
    return ""


def keep_compiled_kernels() -> None:
    """Have Triton keep compiled kernels elsewhere where the home, its usual place, can't be written.

    So it is in many containers: without a line in /etc/passwd a user has no home, or the root folder.
    """
    home = os.environ.get("TRITON_HOME") or os.path.expanduser("~")
    usable = os.path.isabs(home) and os.path.isdir(home) and os.access(home, os.W_OK)
    if not usable and (folder := library_cache("triton")):
        os.environ.setdefault(_CACHE, str(folder))
