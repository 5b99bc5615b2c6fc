"""What the device was measured to do: matrix products, and copies from memory to memory."""

from collections.abc import Callable

import torch

from benchmarks.turns import Work

# Large enough for the device to be busy with, small enough for a round to hold several.
_SIDE = {"cpu": 1024, "cuda": 8192}
# Several times a CPU's cache, or a GPU's.
_COPIED = {"cpu": 256 * 2**20, "cuda": 2**30}


def matrix_work(device: torch.device, dtype: torch.dtype) -> tuple[Work, float]:
    """A product of two square matrices, and its FLOPs (2 n^3)."""
    side = _SIDE[device.type]
    first, second = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty(side, side, device=device, dtype=dtype)
    product: Callable[[], object] = lambda: torch.mm(first, second, out=out)  # noqa: E731
    return Work(call=product), 2.0 * side**3


def copy_work(device: torch.device) -> tuple[Work, float]:
    """A copy within the device's memory, and the bytes that are read and written."""
    source = torch.ones(_COPIED[device.type], dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return Work(call=lambda: target.copy_(source)), 2.0 * source.numel()
