"""The one door to finishing packed crops on a device, and the choice of who does it."""

import torch

from engine.data.gpu import torch_resize
from engine.data.storage.formats import of_mode
from engine.data.storage.packing import GEOMETRY_COLUMNS
from engine.triton_support import why_not_triton


def finish_packed(
    buffer: torch.Tensor,
    geometry: torch.Tensor,
    mode: int,
    resolution: int,
    mean: torch.Tensor,
    inverse_std: torch.Tensor,
    dtype: torch.dtype = torch.float32,
    memory_format: torch.memory_format = torch.channels_last,
) -> torch.Tensor:
    """Resized, flipped and normalised images, `dtype` (n, 3, resolution, resolution), on the arguments' device.

    `buffer` (bytes,) uint8 and `geometry` (n, 8) int64 are as engine.data.storage.packing makes them, for images
    of `mode`: packed crops, or whole records anywhere in a buffer of any size. Levels are resized by the law of
    portable_resize.py and rounded to 0..255, then (level - mean) * inverse_std is computed in float32 with mean and
    inverse_std (3,) float32, and rounded once to `dtype`. Nothing is read back by the host where Triton does it. The
    buffer's bytes are trusted to be there: only shapes and types are checked. Raises ValueError for wrong ones.
    """
    device = buffer.device
    _check(buffer, geometry, mode, resolution, mean, inverse_std)
    out = torch.empty(
        (len(geometry), 3, resolution, resolution), dtype=dtype, device=device, memory_format=memory_format
    )
    if len(geometry) == 0:
        return out
    if why_not_triton(device):
        torch_resize.resize(buffer, geometry, mode, mean, inverse_std, out)
        return out
    # Imported here since it may be missing, and takes time that a CPU's user need not spend.
    from engine.data.gpu import triton_resize

    # Triton launches on the thread's current device, whatever its arguments lie on.
    with torch.cuda.device(device):
        triton_resize.resize(buffer, geometry, mode, mean, inverse_std, out)
    return out


def resizer_name(device: torch.device) -> str:
    """In words, who finishes packed crops on this device, and why."""
    reason = why_not_triton(device)
    return f"plain PyTorch ({reason})" if reason else "one Triton kernel"


def _check(
    buffer: torch.Tensor,
    geometry: torch.Tensor,
    mode: int,
    resolution: int,
    mean: torch.Tensor,
    inverse_std: torch.Tensor,
) -> None:
    if of_mode(mode).packing is None:
        raise ValueError(f"crops of storage mode {mode} can't be finished")
    if resolution < 1:
        raise ValueError(f"resolution {resolution}")
    wanted = {
        "buffer": (buffer, torch.uint8, (buffer.numel(),)),
        "geometry": (geometry, torch.int64, (len(geometry), GEOMETRY_COLUMNS)),
        "mean": (mean, torch.float32, (3,)),
        "inverse_std": (inverse_std, torch.float32, (3,)),
    }
    for name, (tensor, dtype, shape) in wanted.items():
        if tensor.dtype != dtype or tensor.shape != shape or not tensor.is_contiguous():
            raise ValueError(f"{name} is {tensor.dtype} of shape {tuple(tensor.shape)}, not {dtype} {shape}")
        if tensor.device != buffer.device:
            raise ValueError(f"{name} is on {tensor.device}, the buffer on {buffer.device}")
